"""Search for the vectors of greatest inner product: the contract of an index, and exact search."""

from __future__ import annotations

import inspect
import json
import operator
import sys
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
from sklearn.exceptions import NotFittedError

from .. import _limits

# Numbers of a block of scores (32 MB in float32), and the most queries in one.
_BLOCK = 2**23
_QUERIES = 256
# Candidates held back for exact scoring before they are thinned out.
_PENDING = 2**21


class Index(ABC):
    """Vectors that can be searched by inner product, the cosine if they have unit length.

    Subclasses implement `_build`, `_add`, `_search`, `_payload`, `_restore` and store the
    parameters of their ``__init__`` under their own names.
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
    def _payload(self) -> np.ndarray: ...

    @abstractmethod
    def _restore(self, payload: np.ndarray, n: int, dimension: int) -> None: ...


class ExactIndex(Index):
    """Exact search in blocks of queries and vectors, memory bounded.

    A matrix product gives approximate scores (float32, or bfloat16 where the device multiplies it
    fast) with a known bound on their error. Whatever may be among the best by that bound is scored
    again pair by pair in float32. So results do not depend on precision, device, block or batch,
    and equal vectors have equal scores.

    Parameters
    ----------
    precision : {"auto", "float32", "bfloat16"}, default="auto"
        Of the approximate scores. bfloat16 keeps a second copy of the vectors, half the size.
    device : str, default="cpu"
        Where approximate scores are computed. Not stored: a loaded index searches on the CPU.

    Examples
    --------
    >>> import numpy as np
    >>> from skxmc.retrieval import ExactIndex
    >>> index = ExactIndex().build(np.eye(3))
    >>> index.search(np.array([[0.6, 0.0, 0.8]]), k=2)[0]
    array([[2, 0]])
    """

    name = "exact"

    def __init__(self, precision: str = "auto", device: str = "cpu") -> None:
        if precision not in ("auto", "float32", "bfloat16"):
            raise ValueError(
                f"precision must be 'auto', 'float32' or 'bfloat16', got {precision!r}"
            )
        self.precision = precision
        self.device = device
        self._lock = threading.Lock()

    def _parameters(self) -> dict[str, Any]:
        return {"precision": self.precision}

    def _build(self, vectors: np.ndarray) -> None:
        self._vectors = vectors
        self._scorers: dict[str, _Scorer] = {}

    def _add(self, vectors: np.ndarray) -> None:
        self._build(np.concatenate((self._vectors, vectors)))

    def _payload(self) -> np.ndarray:
        return self._vectors.astype("<f4", copy=False).reshape(-1).view(np.uint8)

    def _restore(self, payload: np.ndarray, n: int, dimension: int) -> None:
        vectors = payload.view("<f4").reshape(n, dimension)
        self._build(np.require(vectors, np.float32, ["C_CONTIGUOUS", "ALIGNED"]))

    def _search(self, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        indices = np.empty((len(queries), k), dtype=np.int64)
        scores = np.empty((len(queries), k), dtype=np.float32)
        rough = self._use_bfloat16(len(queries), k)
        step = max(1, min(_QUERIES, _PENDING // (4 * k)))
        for start in range(0, len(queries), step):
            block = queries[start : start + step]
            lists = None
            if rough:
                limit = len(block) * (8 * k + 512)
                lists = self._shortlist(block, k, self._scorer("bfloat16"), limit)
                rough = lists is not None  # else too alike for bfloat16 to tell them apart
            if lists is None:
                lists = self._shortlist(block, k, self._scorer("float32"))
            for row, (query, ids) in enumerate(zip(block, lists, strict=True), start):
                indices[row], scores[row] = self._best(query, ids, k)
        return indices, scores

    def _use_bfloat16(self, n_queries: int, k: int) -> bool:
        if self.precision != "auto":
            return self.precision == "bfloat16"
        if self.device != "cpu":
            return True
        # For very few queries reading the vectors is the bottleneck. Where k is not small against
        # the number of vectors, it is exact scoring, of which bfloat16 leaves twice as much.
        if n_queries < 8 or len(self) < max(8192, 64 * k):
            return False
        # Importing torch takes as long as 2e11 multiplications.
        work = n_queries * self._vectors.size
        if "torch" not in sys.modules and work <= 2e11:
            return False
        from .._device import has_fast_bfloat16_cpu

        return has_fast_bfloat16_cpu()

    def _scorer(self, precision: str) -> _Scorer:
        with self._lock:
            if precision not in self._scorers:
                if precision == "float32":
                    self._scorers[precision] = _Scorer(self._vectors)
                else:
                    self._scorers[precision] = _TorchScorer(self._vectors, self.device)
            return self._scorers[precision]

    def _shortlist(
        self, queries: np.ndarray, k: int, scorer: _Scorer, limit: float = np.inf
    ) -> list[np.ndarray] | None:
        """Indices of the vectors that may be among the k best of each query.

        None where more than `limit` are left.

        Vectors of a block fall into groups. The k-th greatest of the groups' maxima is a lower
        bound of the k-th greatest score, so that few groups have to be looked into. It is several
        times cheaper than a partition of the scores.
        """
        m, n = len(queries), len(self)
        if n <= 2 * k:
            return [np.arange(n)] * m
        prepared = scorer.prepare(queries)
        slack = 2 * scorer.error(queries)
        bounds = np.full((m, k), -np.inf, dtype=np.float32)  # k distinct scores, as great as seen
        floor = np.full(m, -np.inf, dtype=np.float32)
        rows = ids = np.empty(0, dtype=np.int64)
        approximate = np.empty(0, dtype=np.float32)
        width = max(_BLOCK // _QUERIES, _BLOCK // m)
        for start in range(0, n, width):
            scores = scorer.scores(prepared, start, start + width)
            n_columns = scores.shape[1]
            group = int(np.clip(np.sqrt(n_columns / (4 * k)), 1, 32))
            n_groups = n_columns // group
            maxima = scorer.maxima(scores, group, n_groups)
            merged = np.concatenate((bounds, maxima), axis=1)
            bounds = np.partition(merged, merged.shape[1] - k, axis=1)[:, -k:]
            floor = np.maximum(floor, bounds.min(axis=1) - slack)

            hit_rows, hit_groups = np.nonzero(maxima >= floor[:, None])
            columns = hit_groups[:, None] + n_groups * np.arange(group + 1)
            values = scorer.pick(scores, hit_rows[:, None], np.minimum(columns, n_columns - 1))
            keep = (values >= floor[hit_rows, None]) & (columns < n_columns)
            rows = np.concatenate((rows, np.broadcast_to(hit_rows[:, None], keep.shape)[keep]))
            ids = np.concatenate((ids, columns[keep] + start))
            approximate = np.concatenate((approximate, values[keep]))
            if start + width >= n or len(rows) > min(limit, _PENDING):
                keep = approximate >= floor[rows]
                rows, ids, approximate = rows[keep], ids[keep], approximate[keep]
                if len(rows) > limit:
                    return None
            if len(rows) > _PENDING and start + width < n:
                rows, ids, approximate, floor = self._thin(queries, rows, ids, k, floor, slack)
        return _split(rows, ids, m)

    def _thin(
        self,
        queries: np.ndarray,
        rows: np.ndarray,
        ids: np.ndarray,
        k: int,
        floor: np.ndarray,
        slack: np.ndarray,
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Keep the k best of each row (ties without end would fill the memory), raise the floor."""
        best = [
            self._best(query, part, k)
            for query, part in zip(queries, _split(rows, ids, len(queries)), strict=True)
        ]
        ids = np.concatenate([indices for indices, _ in best])
        scores = np.concatenate([scores for _, scores in best])
        rows = np.repeat(np.arange(len(queries)), k)
        last = np.array([scores[-1] for _, scores in best])
        return rows, ids, scores, np.maximum(floor, last - slack)

    def _best(self, query: np.ndarray, ids: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """The k best of the vectors `ids` by their float32 inner product."""
        scores = np.empty(len(ids), dtype=np.float32)
        for start in range(0, len(ids), 1024):  # 1,024 vectors stay in the cache
            part = slice(start, start + 1024)
            # One dot product a pair: its bits do not depend on what else is computed.
            np.vecdot(self._vectors[ids[part]], query, out=scores[part])
        return sort_candidates(ids, scores, k)


class _Scorer:
    """Inner products in float32, and a bound on their error.

    By torch where it is loaded, else by numpy. Each has threads that spin for a while after their
    work; taking turns on the same cores, they would keep each other waiting (a single document:
    110 ms instead of 15).
    """

    relative_error = 0.0

    def __init__(self, vectors: np.ndarray) -> None:
        self.vectors = vectors
        self.greatest_norm = np.sqrt(np.vecdot(vectors, vectors).max())

    def error(self, queries: np.ndarray) -> np.ndarray:
        """Bound, for each query, on the difference to any other float32 inner product.

        Both are off by at most about d 2^-24 times the norms (Higham, Accuracy and Stability of
        Numerical Algorithms, section 3.1).
        """
        relative = self.relative_error + (queries.shape[1] + 8) * 2.0**-23
        norms = np.sqrt(np.vecdot(queries, queries)) * self.greatest_norm
        return (relative * norms).astype(np.float32)

    def prepare(self, queries: np.ndarray) -> Any:
        return queries

    def scores(self, prepared: Any, start: int, stop: int) -> Any:
        return product(prepared, self.vectors[start:stop].T)

    def maxima(self, scores: Any, group: int, n_groups: int) -> np.ndarray:
        """Maxima over the columns j, j + n_groups, j + 2 n_groups ..., float32 (m, n_groups)."""
        full = group * n_groups
        maxima = self.to_numpy(self.greatest(scores[:, :full].reshape(-1, group, n_groups)))
        rest = maxima[:, : scores.shape[1] - full]
        np.maximum(rest, self.to_numpy(scores[:, full:]), out=rest)
        return maxima

    def greatest(self, scores: Any) -> Any:
        return scores.max(axis=1)

    def to_numpy(self, scores: Any) -> np.ndarray:
        return scores

    def pick(self, scores: Any, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
        return scores[rows, columns]


class _TorchScorer(_Scorer):
    """Inner products in bfloat16 by torch, on a CPU that multiplies it fast or another device."""

    # Three roundings to 8 bits (both vectors and the sum), each off by at most 2^-9 of the
    # norms' product, and a fourth for devices that also round a partial sum.
    relative_error = 2.0**-7

    def __init__(self, vectors: np.ndarray, device: str) -> None:
        import torch

        super().__init__(vectors)
        self.torch = torch
        self.device = device
        self.vectors = self.prepare(vectors)

    def prepare(self, queries: np.ndarray) -> Any:
        from .._device import as_tensor

        prepared = self.torch.empty(queries.shape, dtype=self.torch.bfloat16, device=self.device)
        for start in range(0, len(queries), 8192):
            prepared[start : start + 8192] = as_tensor(queries[start : start + 8192])
        return prepared

    def scores(self, prepared: Any, start: int, stop: int) -> Any:
        return prepared @ self.vectors[start:stop].T

    def greatest(self, scores: Any) -> Any:
        return scores.amax(dim=1)

    def to_numpy(self, scores: Any) -> np.ndarray:
        return scores.float().cpu().numpy()

    def pick(self, scores: Any, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
        torch = self.torch
        if scores.device.type == "cpu":
            # numpy gathers faster than torch; a bfloat16 is the upper half of a float32.
            halves = scores.view(torch.int16).numpy().view(np.uint16)[rows, columns]
            return (halves.astype(np.uint32) << 16).view(np.float32)
        rows, columns = (torch.from_numpy(part).to(scores.device) for part in (rows, columns))
        return self.to_numpy(scores[rows, columns])


def _split(rows: np.ndarray, ids: np.ndarray, m: int) -> list[np.ndarray]:
    order = np.argsort(rows.astype(np.int16), kind="stable")  # 16 bits: a radix sort
    ends = np.cumsum(np.bincount(rows, minlength=m))
    return np.split(ids[order], ends[:-1])


def product(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Product of two matrices, by torch if that is loaded.

    Threads of NumPy and torch spin for a while when their work is done, and the other's wait.
    """
    if "torch" not in sys.modules:
        return left @ right
    from .._device import as_tensor

    return (as_tensor(left) @ as_tensor(right)).numpy()


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
