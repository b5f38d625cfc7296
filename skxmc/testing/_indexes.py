"""The contract of an index, as a test."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
from sklearn.base import clone
from sklearn.exceptions import NotFittedError

from ..indexes import Index, Storable

_WIDTH = 16


def check_index(make: Callable[[], Index], *, recall: float = 1.0, atol: float = 1e-5) -> None:
    """Check that an index keeps the contract of :class:`skxmc.indexes.Index`.

    Parameters
    ----------
    make : callable
        Makes an empty index. The class must be importable, as it is pickled.
    recall : float, default=1.0
        Share of the true nearest vectors that a search has to find; below 1 for approximate
        indexes. With 1, ties are checked as well: all equal scores in order of position.
    atol : float, default=1e-5
        By how much numbers of a stored unit vector may differ from what was given.

    Raises
    ------
    AssertionError
        If something is not as the contract has it. The message says what.

    Examples
    --------
    >>> from skxmc.indexes import IVF, Exact
    >>> from skxmc.testing import check_index
    >>> check_index(Exact)
    >>> check_index(IVF, recall=0.9)
    """
    check = _Check(make, recall, atol)
    for step in (
        check.parameters,
        check.search,
        check.ties,
        check.few_and_none,
        check.parts,
        check.add,
        check.remove,
        check.remove_errors,
        check.filters,
        check.copies,
        check.drop,
        check.errors,
    ):
        _call(f"the check of {step.__name__}", step)


class _Check:
    """One check a method."""

    def __init__(self, make: Callable[[], Index], recall: float, atol: float) -> None:
        self.make = make
        self.recall = recall
        self.atol = atol
        self.vectors = _clusters(np.random.RandomState(0), 400)
        self.queries = _clusters(np.random.RandomState(1), 30)

    def build(self, n: int = 400) -> Index:
        index = self.make()
        _require(index.build(self.vectors[:n]) is index, "build returns another object than self")
        return index

    def parameters(self) -> None:
        index = self.make()
        _require(isinstance(index, Index), f"make returned {index!r}, which is no Index")
        _require(isinstance(getattr(index, "name", None), str), "the class has no name")
        _require(index.dimension is None and len(index) == 0, "a new index is not empty")
        before = index.get_params()
        index.build(self.vectors)
        _require(index.get_params() == before, "build changes a parameter")
        empty = clone(index)
        _require(empty.get_params() == before, "clone changes a parameter")
        _require(empty.dimension is None and len(empty) == 0, "clone copies the vectors")
        index.set_params(**before)
        _require(type(index).__name__ in repr(index), "repr does not name the class")

    def search(self) -> None:
        index = self.build()
        _require(len(index) == 400, f"400 vectors were built, len(index) is {len(index)}")
        _require(index.dimension == _WIDTH, f"dimension is {index.dimension}, not {_WIDTH}")
        self.found(index, self.vectors, "after build")
        first, again = index.search(self.queries, 7), index.search(self.queries, 7)
        _require(np.array_equal(first[0], again[0]), "two equal searches find different vectors")

    def found(self, index: Index, vectors: np.ndarray, when: str) -> None:
        """Check a search and the stored vectors of an index that holds these vectors."""
        _require(len(index) == len(vectors), f"{when}, len(index) is wrong: {len(index)}")
        stored = _call(f"{when}, vectors()", index.vectors, np.arange(len(vectors)))
        right = stored.dtype == np.float32 and stored.shape == vectors.shape
        _require(right, f"{when}, vectors() is {stored.dtype} {stored.shape}")
        off = float(np.abs(stored - vectors).max())
        _require(off <= self.atol, f"{when}, vectors() differ by {off:.2g} from those given")
        k = min(20, len(vectors))
        indices, scores = index.search(self.queries, k)
        _check_answer(indices, scores, stored, self.queries, when)
        exact = self.queries @ stored.T
        # Whatever is as good as the k-th best counts, so that rounding decides nothing.
        least = np.partition(exact, -k, axis=1)[:, -k] - 1e-5
        hits = np.take_along_axis(exact, indices, axis=1) >= least[:, None]
        share = float((hits & (indices >= 0)).mean())
        _require(share >= self.recall, f"{when}, recall is {share:.3f}, below {self.recall}")

    def ties(self) -> None:
        """Sums of small integers are exact, so that equal scores are equal in any order."""
        if self.recall < 1:
            return
        rng = np.random.RandomState(2)
        vectors, queries = (rng.randint(-1, 2, size=(n, 4)).astype(np.float32) for n in (60, 9))
        indices, _ = self.make().build(vectors).search(queries, 25)
        exact = queries @ vectors.T
        expected = np.argsort(-exact, axis=1, kind="stable")[:, :25]
        _require(
            np.array_equal(indices, expected), "of equal scores, not the lower positions come first"
        )

    def filters(self) -> None:
        index = self.build()
        rng = np.random.RandomState(4)
        best = index.search(self.queries, 10)[0]
        some = [np.flatnonzero(rng.uniform(size=400) < 0.4) for _ in self.queries]
        for what, filters in {
            "exclude for all": {"exclude": best[0][best[0] >= 0]},
            "exclude for each": {"exclude": best},  # -1 in it stands for none
            "only for all": {"only": some[0]},
            "only for each": {"only": some},
            "exclude and only": {"exclude": best, "only": some},
            "only with more than there are": {"only": [5, 17, 300]},
            "only with nothing": {"only": [[] for _ in self.queries]},
        }.items():
            self.filtered(index, what, **filters)
        left = index.remove(np.array([0, 7, 399]))
        self.filtered(
            left, "after remove, exclude for each", exclude=left.search(self.queries, 5)[0]
        )
        for what, wrong in {"a position out of range": [400], "too few lists": [[1]]}.items():
            _raises(ValueError, f"exclude with {what}", index.search, self.queries, 3, wrong)
        _raises(TypeError, "only with numbers that are not integer", index.search,
                self.queries, 3, None, [0.5])  # fmt: skip

    def filtered(self, index: Index, what: str, exclude: Any = None, only: Any = None) -> None:
        """Check one search with filters against a comparison with all vectors."""
        indices, scores = index.search(self.queries, 10, exclude, only)
        stored = index.vectors(np.arange(len(index)))
        _check_answer(indices, scores, stored, self.queries, f"with {what}")
        allowed = np.zeros((len(self.queries), len(index)), dtype=bool)
        for row in range(len(allowed)):
            own = slice(None) if only is None else only if np.ndim(only[0]) == 0 else only[row]
            allowed[row, own] = True
            own = [] if exclude is None else exclude if np.ndim(exclude[0]) == 0 else exclude[row]
            allowed[row, [position for position in own if position >= 0]] = False
        there = indices >= 0
        right = np.take_along_axis(allowed, np.maximum(indices, 0), axis=1)
        _require(right[there].all(), f"with {what}, a search finds what is left out")
        exact = np.where(allowed, self.queries @ stored.T, -np.inf)
        least = -np.sort(-exact, axis=1)[:, 9:10] - 1e-5
        n_wanted = np.minimum(allowed.sum(axis=1), 10).sum()
        hits = (there & (np.take_along_axis(exact, indices, axis=1) >= least)).sum()
        share = 1.0 if n_wanted == 0 else float(hits / n_wanted)
        _require(share >= self.recall, f"with {what}, recall is {share:.3f}, below {self.recall}")

    def few_and_none(self) -> None:
        index = self.build(6)
        indices, scores = index.search(self.queries, 9)
        missing = int((indices < 0).sum()) - 3 * len(indices)
        allowed = (1 - self.recall) * 6 * len(indices)
        _require(0 <= missing <= allowed, f"k is 9, of 6 vectors {missing} in all are not found")
        _check_answer(
            indices, scores, index.vectors(np.arange(6)), self.queries, "with few vectors"
        )
        indices, scores = index.search(self.queries[:0], 3)
        _require(indices.shape == scores.shape == (0, 3), "no queries do not give shape (0, k)")
        index = self.build(0)
        indices, scores = index.search(self.queries, 3)
        right = (indices == -1).all() and (scores == -np.inf).all()
        _require(right, "an index of no vectors finds some")
        self.found(index.add(self.vectors), self.vectors, "after add to an index of no vectors")

    def parts(self) -> None:
        index = self.make()
        same = index.build_in_parts(400, self.vectors.__getitem__) is index
        _require(same, "build_in_parts returns another object than self")
        self.found(index, self.vectors, "after build_in_parts")

    def add(self) -> None:
        index = self.build(300)
        index.search(self.queries, 1)
        _require(index.add(self.vectors[300:350]) is index, "add returns another object than self")
        index.add(self.vectors[350:])
        self.found(index, self.vectors, "after add")
        own = (index.search(self.vectors[300:], 1)[0][:, 0] == np.arange(300, 400)).mean()
        _require(own >= self.recall, f"after add, {own:.0%} of the new vectors find themselves")
        self.found(index.build(self.vectors[:200]), self.vectors[:200], "after a second build")

    def remove(self) -> None:
        index = self.build()
        index.search(self.queries, 1)
        _require(
            index.remove(np.array([7, 399, 0])) is index, "remove returns another object than self"
        )
        left = np.delete(self.vectors, [0, 7, 399], axis=0)
        self.found(index, left, "after remove")
        self.found(index.remove(np.array([], dtype=np.int64)), left, "after removing nothing")
        index.add(self.vectors[:1])
        self.found(index, np.concatenate((left, self.vectors[:1])), "after remove and add")
        index.remove(np.arange(len(index)))
        _require(len(index) == 0, "after removing everything, len(index) is not 0")
        _require((index.search(self.queries, 2)[0] == -1).all(), "it finds what was removed")
        self.found(index.add(self.vectors), self.vectors, "after removing everything and add")

    def remove_errors(self) -> None:
        index = self.build()
        wrong = {"a position below 0": [3, -1], "a position out of range": [3, 400]}
        for what, ids in {**wrong, "a position that comes twice": [5, 3, 5]}.items():
            _raises(ValueError, f"remove of {what}", index.remove, ids)
        for numbers in ([0.0, 1.0], np.ones(400, dtype=bool)):
            _raises(TypeError, f"remove of {np.asarray(numbers).dtype}", index.remove, numbers)
        _raises(ValueError, "vectors of a position out of range", index.vectors, [400])
        self.found(index, self.vectors, "after a remove that was refused")

    def copies(self) -> None:
        index = self.build()
        expected = index.search(self.queries, 7)
        copies = {
            "pickle": pickle.loads(pickle.dumps(index)),
            "deepcopy": copy.deepcopy(index),
        }
        if isinstance(index, Storable):
            written = index.to_bytes()
            right = written.dtype == np.uint8 and written.ndim == 1
            _require(right, f"to_bytes is {written.dtype} {written.shape}")
            written.flags.writeable = False
            _require(type(index).stored in ("bytes", "reference"), "stored says something else")
            held = (
                type(index).stored == "bytes"
                or len(written) < index.vectors(np.array([0])).nbytes * 100
            )
            _require(held, f"a reference has {len(written)} bytes")
            copies["to_bytes and from_bytes"] = type(index).from_bytes(written)
            for end in (len(written) - 1, len(written) // 2, 3):
                what = f"from_bytes of the first {end} bytes of {len(written)}"
                _raises(ValueError, what, type(index).from_bytes, written[:end])
        for way, other in copies.items():
            _require(type(other) is type(index), f"{way} returns a {type(other)}")
            same = other.search(self.queries, 7)
            right = all(map(np.array_equal, same, expected))
            _require(right, f"after {way}, a search finds something else")
            more = np.concatenate((self.vectors, self.vectors[:5]))
            self.found(other.add(self.vectors[:5]), more, f"after {way} and add")
        self.found(index, self.vectors, "after changes of a copy")
        _require(len(pickle.loads(pickle.dumps(self.make()))) == 0, "a new index pickles vectors")

    def drop(self) -> None:
        index = self.build()
        before = index.get_params()
        _require(index.drop() is index, "drop returns another object than self")
        _require(index.dimension is None and len(index) == 0, "after drop, the index is not empty")
        _require(index.get_params() == before, "drop changes a parameter")
        _raises(NotFittedError, "search after drop", index.search, self.queries, 1)
        self.found(index.build(self.vectors), self.vectors, "after drop and build")
        index.drop().drop()

    def errors(self) -> None:
        empty, index = self.make(), self.build()
        _raises(NotFittedError, "search before build", empty.search, self.queries, 1)
        _raises(NotFittedError, "add before build", empty.add, self.vectors)
        _raises(NotFittedError, "remove before build", empty.remove, [0])
        _raises(NotFittedError, "vectors before build", empty.vectors, [0])
        broken = self.queries.copy()
        broken[3, 2] = np.nan
        for call in (lambda vectors: index.search(vectors, 1), index.add, self.make().build):
            _raises(TypeError, "integer vectors", call, np.ones((3, _WIDTH), dtype=np.int64))
            _raises(ValueError, "vectors of one dimension", call, self.vectors[0])
            _raises(ValueError, "vectors with NaN", call, broken)
        for call in (lambda vectors: index.search(vectors, 1), index.add):
            _raises(ValueError, "vectors of another width", call, self.vectors[:, 1:])
        _raises(ValueError, "search with k=0", index.search, self.queries, 0)
        _raises(TypeError, "search with k=2.0", index.search, self.queries, 2.0)
        self.found(index, self.vectors, "after calls that were refused")


def _clusters(rng: np.random.RandomState, n: int) -> np.ndarray:
    """Unit vectors in clusters that are the same for all random states."""
    centres = np.random.RandomState(3).normal(size=(12, _WIDTH))
    vectors = centres[rng.randint(12, size=n)] + 0.5 * rng.normal(size=(n, _WIDTH))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def _check_answer(
    indices: np.ndarray, scores: np.ndarray, stored: np.ndarray, queries: np.ndarray, when: str
) -> None:
    """Shapes, order, padding, and scores that are those of the stored vectors."""
    right = indices.shape == scores.shape and len(indices) == len(queries)
    _require(right, f"{when}, search returns shapes {indices.shape} and {scores.shape}")
    right = (indices.dtype, scores.dtype) == (np.int64, np.float32)
    _require(right, f"{when}, search returns {indices.dtype} and {scores.dtype}")
    right = bool((indices >= -1).all() and (indices < len(stored)).all())
    _require(right, f"{when}, search returns positions out of range")
    there = indices >= 0
    _require((scores[~there] == -np.inf).all(), f"{when}, the score beside -1 is not -inf")
    _require((there[:, :-1] >= there[:, 1:]).all(), f"{when}, -1 stands before a position")
    _require((scores[:, :-1] >= scores[:, 1:]).all(), f"{when}, the best do not come first")
    ties = (scores[:, :-1] == scores[:, 1:]) & there[:, 1:]
    right = bool((indices[:, :-1] < indices[:, 1:])[ties].all())
    _require(right, f"{when}, of equal scores the lower position does not come first")
    rows = np.sort(indices, axis=1)
    right = bool(((rows[:, :-1] < rows[:, 1:]) | (rows[:, 1:] < 0)).all())
    _require(right, f"{when}, a vector is found twice for one query")
    exact = np.take_along_axis(queries @ stored.T, indices, axis=1)
    off = float(np.abs(scores - exact)[there].max(initial=0))
    _require(off <= 1e-5, f"{when}, scores differ by {off:.2g} from the inner products")


def _require(right: bool | np.bool_, problem: str) -> None:
    # Not an assert statement, which python -O leaves out.
    if not right:
        raise AssertionError(problem)


def _call(what: str, call: Callable[..., Any], *arguments: Any) -> Any:
    """Call, and turn an error into one of the contract."""
    try:
        return call(*arguments)
    except AssertionError:
        raise
    except Exception as error:
        raise AssertionError(f"{what} raises {error!r}") from error


def _raises(error: type[Exception], what: str, call: Callable[..., Any], *arguments: Any) -> None:
    try:
        call(*arguments)
    except error:
        return
    except Exception as other:
        raise AssertionError(f"{what} raises {other!r} instead of {error.__name__}") from other
    raise AssertionError(f"{what} raises no {error.__name__}")
