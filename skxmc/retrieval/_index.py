"""Search for the vectors of greatest inner product: the contract of an index."""

from __future__ import annotations

import inspect
import json
import operator
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
from sklearn.exceptions import NotFittedError

from .. import _limits


class Index(ABC):
    """Vectors that can be searched by inner product, the cosine if they have unit length.

    Subclasses implement `_build`, `_add`, `_search`, `_vectors_at`, `_payload`, `_restore` and
    store the parameters of their ``__init__`` under their own names.
    """

    name: ClassVar[str]
    dimension: int | None = None
    _length = 0

    def build(self, vectors: np.ndarray) -> Index:
        """Index `vectors` (n, d), floating and finite, in place of what was there; return self."""
        vectors = check_vectors(vectors, "vectors")
        self._build(vectors)
        self._length, self.dimension = vectors.shape
        return self

    def build_in_parts(self, n: int, vectors_of: Callable[[slice], np.ndarray]) -> Index:
        """As :meth:`build`, for n vectors of which ``vectors_of(slice)`` gives some.

        An index that keeps vectors in another form never holds all of them as they are given.
        """
        vectors = None
        for start in range(0, n, _limits.ROWS):
            part = vectors_of(slice(start, min(n, start + _limits.ROWS)))
            if vectors is None:
                vectors = np.empty((n, part.shape[1]), dtype=np.float32)
            vectors[start : start + _limits.ROWS] = part
        return self.build(vectors)

    def add(self, vectors: np.ndarray) -> Index:
        """Append `vectors` (n_new, d), whose indices continue at ``len(self)``; return self."""
        self._check_built()
        vectors = check_vectors(vectors, "vectors", self.dimension)
        self._add(vectors)
        self._length += len(vectors)
        return self

    def search(self, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """Find the `k` vectors of greatest inner product with each query.

        Parameters
        ----------
        queries : ndarray of shape (m, d), floating
        k : int
            At least 1.

        Returns
        -------
        indices : ndarray of shape (m, k), int64
            Best first, of equal scores the lower index first; -1 where nothing more was found.
        scores : ndarray of shape (m, k), float32
            Inner products; -inf where nothing more was found.

        Raises
        ------
        ValueError
            If `queries` has another width than the vectors or is not finite, or ``k < 1``.
        TypeError
            If `queries` is not floating or `k` not an integer.
        """
        self._check_built()
        queries = check_vectors(queries, "queries", self.dimension)
        if isinstance(k, bool | np.bool_) or not hasattr(k, "__index__"):
            raise TypeError(f"k must be an integer, got {k!r}")
        k = operator.index(k)
        if k < 1:
            raise ValueError(f"k must be at least 1, got {k}")
        indices = np.full((len(queries), k), -1, dtype=np.int64)
        scores = np.full((len(queries), k), -np.inf, dtype=np.float32)
        found = min(k, len(self))
        if found and len(queries):
            indices[:, :found], scores[:, :found] = self._search(queries, found)
        return indices, scores

    def vectors(self, indices: np.ndarray) -> np.ndarray:
        """The vectors with some indices, (n, d) float32, as exactly as they are stored."""
        self._check_built()
        return self._vectors_at(np.asarray(indices, dtype=np.int64))

    def __len__(self) -> int:
        return self._length

    def to_bytes(self) -> np.ndarray:
        """Return the index as a uint8 array of shape (n_bytes,), for `from_bytes`."""
        self._check_built()
        shape = (self._length, self.dimension)
        header = {"index": self.name, "parameters": self._parameters(), "shape": shape}
        text = json.dumps(header)
        # Eight bytes of length, and blanks so that the payload is aligned for any number.
        text += " " * (-(8 + len(text)) % 64)
        length = np.array([len(text)], dtype="<u8").view(np.uint8)
        return np.concatenate((length, np.frombuffer(text.encode(), np.uint8), self._payload()))

    @classmethod
    def from_bytes(cls, array: np.ndarray) -> Index:
        """Return the index that `to_bytes` wrote; `array` may be a read-only memory map.

        Raises
        ------
        ValueError
            If `array` holds anything else, or an index of another class than `cls`.
        """
        array = np.asarray(array)
        try:
            end = 8 + int(array[:8].view("<u8")[0])
            header = json.loads(array[8:end].tobytes())
            shape = header["shape"]
            index = make_index(header["index"], *shape, **header["parameters"])
        except (ValueError, TypeError, KeyError, IndexError) as error:
            raise ValueError("array does not hold an index; pass what to_bytes returned") from error
        if not isinstance(index, cls):
            raise ValueError(f"array holds an index {index.name!r}, which is not a {cls.__name__}")
        index._restore(array[end:], *shape)
        index._length, index.dimension = shape
        return index

    def __getstate__(self) -> dict[str, Any]:
        # A uint8 array, so that joblib can map it and faiss objects need no pickling.
        built = None if self.dimension is None else self.to_bytes()
        return {"parameters": self._parameters(), "bytes": built}

    def __setstate__(self, state: dict[str, Any]) -> None:
        if state["bytes"] is None:
            self.__init__(**state["parameters"])
        else:
            self.__dict__ = type(self).from_bytes(state["bytes"]).__dict__

    def _parameters(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in inspect.signature(type(self)).parameters}

    def _check_built(self) -> None:
        if self.dimension is None:
            raise NotFittedError(f"this {type(self).__name__} is empty; call build(vectors) first")

    @abstractmethod
    def _build(self, vectors: np.ndarray) -> None: ...

    @abstractmethod
    def _add(self, vectors: np.ndarray) -> None: ...

    @abstractmethod
    def _search(self, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]: ...

    @abstractmethod
    def _vectors_at(self, indices: np.ndarray) -> np.ndarray: ...

    @abstractmethod
    def _payload(self) -> np.ndarray: ...

    @abstractmethod
    def _restore(self, payload: np.ndarray, n: int, dimension: int) -> None: ...


def sort_candidates(
    indices: np.ndarray, scores: np.ndarray, k: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return the k best candidates of each row: higher score first, then lower index.

    Parameters
    ----------
    indices : ndarray of shape (..., m), integer
        -1 where there is no candidate; below 2^32 - 1.
    scores : ndarray of shape (..., m), float32

    Returns
    -------
    indices : ndarray of shape (..., min(k, m)), int64
    scores : ndarray of shape (..., min(k, m)), float32
        -inf where there is no candidate.
    """
    # Score and index in one 64-bit number: sorting numbers is many times faster than an indirect
    # sort by two keys. The bits of floats, sign bit flipped or all flipped where negative, are
    # ordered as the floats are.
    scores = np.where(indices < 0, np.float32(-np.inf), scores + np.float32(0))  # -0.0 becomes 0.0
    bits = scores.view(np.uint32)
    ascending = np.where(bits >> 31, ~bits, bits | np.uint32(2**31))
    keys = (~ascending).astype(np.uint64) << np.uint64(32) | indices.astype(np.uint32)
    if keys.shape[-1] > 2 * k:
        keys = np.partition(keys, k, axis=-1)[..., :k]
    keys.sort(axis=-1)
    keys = keys[..., :k]
    ascending = ~(keys >> np.uint64(32)).astype(np.uint32)
    scores = np.where(ascending >> 31, ascending ^ np.uint32(2**31), ~ascending).view(np.float32)
    return keys.astype(np.uint32).view(np.int32).astype(np.int64), scores


def join_candidates(found: list[np.ndarray]) -> np.ndarray:
    """The distinct labels of several candidate lists, row by row, padded with -1.

    Parameters
    ----------
    found : list of ndarray of shape (n, m_i), int64

    Returns
    -------
    joined : ndarray of shape (n, sum of m_i), int64, sorted
    """
    joined = np.sort(np.concatenate(found, axis=1), axis=1)
    repeated = joined[:, 1:] == joined[:, :-1]
    joined[:, 1:][repeated] = -1
    return joined


def check_vectors(vectors: Any, argument: str, dimension: int | None = None) -> np.ndarray:
    """Return `vectors` as a C-contiguous float32 array (n, d), or say what is wrong with it."""
    vectors = np.asarray(vectors)
    if not np.issubdtype(vectors.dtype, np.floating):
        raise TypeError(
            f"{argument} must be a floating array, got dtype {vectors.dtype}; "
            "convert it with .astype(np.float32)"
        )
    if vectors.ndim != 2 or vectors.shape[1] == 0:
        raise ValueError(f"{argument} must have shape (n, d) with d > 0, got {vectors.shape}")
    if dimension is not None and vectors.shape[1] != dimension:
        raise ValueError(
            f"{argument} have {vectors.shape[1]} columns, but the index holds {dimension}"
        )
    vectors = np.ascontiguousarray(vectors, dtype=np.float32)
    finite = np.isfinite(np.vecdot(vectors, vectors))  # without an array of n x d booleans
    if not finite.all():
        row = int(np.flatnonzero(~finite)[0])
        raise ValueError(f"{argument}[{row}] has NaN or infinite entries; vectors must be finite")
    return vectors


# Vectors of width 384 up to which exact search is the faster one, counting one build and, in
# batches, one query for each vector indexed (a test set, or hard negatives of one epoch). Found
# with benchmarks/index.py --one-thread, k = 100, bfloat16 on AMX, in milliseconds a vector:
#
#     vectors   exact search   HNSW build + search   HNSW recall
#      30,000           0.18           0.50 + 0.63         1.000
#     100,000           0.58           0.71 + 0.79         1.000
#     300,000           1.27
#
# The left column grows in proportion; build and search of HNSW together by about 0.2 with each
# doubling. Continued, they meet at 500,000 vectors, at 1.95 ms. One query at a time HNSW answers
# sooner from 10,000 vectors on (100,000: 1.1 against 13 ms), but the build there costs as much as
# 6,000 such queries.
_AUTO_EXACT = 500_000

# Parameters of "hnsw" where "auto" chose it.
_AUTO_HNSW = {"ef_construction": 100, "n_jobs": -1, "storage": "int8"}


def make_index(name: str, n_items: int, dimension: int, **params: Any) -> Index:
    """Return an empty index.

    Parameters
    ----------
    name : {"auto", "exact", "hnsw", "ivf"}
        "auto" is "exact" up to 500,000 vectors of width 384 (or as many numbers in another
        shape), where building and searching "hnsw" begins to cost less, and above "hnsw" with
        vectors stored in int8, built by all threads, to be done in time with millions.
    n_items : int
        How many vectors the index is going to hold, about.
    dimension : int
        Their width.
    **params
        For the class: `ExactIndex`, `HNSWIndex` or `IVFIndex`.

    Raises
    ------
    ValueError
        If there is no index of that name.
    """
    from ._exact import ExactIndex
    from ._faiss import HNSWIndex, IVFIndex

    classes: dict[str, type[Index]] = {
        "exact": ExactIndex,
        "hnsw": HNSWIndex,
        "ivf": IVFIndex,
    }
    if name == "auto":
        if n_items * dimension <= _AUTO_EXACT * 384:
            name = "exact"
        else:
            name, params = "hnsw", {**_AUTO_HNSW, **params}
    if name not in classes:
        raise ValueError(f"index must be 'auto', {', '.join(map(repr, classes))}, got {name!r}")
    return classes[name](**params)
