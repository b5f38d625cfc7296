"""Exact search in blocks."""

from __future__ import annotations

import sys
import threading
from typing import Any

import numpy as np
from sklearn.utils._param_validation import StrOptions

from .._runtime._threads import product
from ._base import Storable
from ._candidates import sort_candidates
from ._integers import quantize

# Numbers of a block of scores (32 MB in float32), and the most queries in one.
_BLOCK = 2**23
_QUERIES = 256
# Rows brought to fewer bits at a time.
_ROWS = 8192
# Candidates held back for exact scoring before they are thinned out.
_PENDING = 2**21
# Fewest numbers that few queries find faster in fewer bits: reading them takes the time.
_MANY = 2**22
# So many queries are a batch, fewer are few.
_FEW = 8


class Exact(Storable):
    """Exact search in blocks of queries and vectors, memory bounded.

    A matrix product gives approximate scores with a known bound on their error. Whatever may be
    among the best by that bound is scored again pair by pair in float32. So results do not depend
    on precision, device, block or batch, and equal vectors have equal scores.

    Parameters
    ----------
    precision : {"auto", "float32", "bfloat16"}, default="auto"
        Of the approximate scores. bfloat16 keeps a second copy of the vectors, half the size.
        "auto" is bfloat16 for batches where the device multiplies it fast; where a CPU has
        AVX-512 VNNI, few queries are compared with integers of 8 bits, a copy of a quarter of the
        size that is made with the second search.
    device : str, default="cpu"
        Where approximate scores are computed. Not stored: a loaded index searches on the CPU.

    Examples
    --------
    >>> import numpy as np
    >>> from skxmc.indexes import Exact
    >>> index = Exact().build(np.eye(3))
    >>> index.search(np.array([[0.6, 0.0, 0.8]]), k=2)[0]
    array([[2, 0]])
    """

    name = "exact"
    _parameter_constraints = {
        "precision": [StrOptions({"auto", "float32", "bfloat16"})],
        "device": [str],
    }
    _has_checksum = False  # the vectors stay in the memory map, and no value can do harm
    _not_stored = ("device",)

    def __init__(self, precision: str = "auto", device: str = "cpu") -> None:
        self.precision = precision
        self.device = device

    def _build(self, vectors: np.ndarray) -> None:
        self._vectors = vectors
        self._lock = threading.Lock()
        self._scorers: dict[str, _Scorer] = {}
        self._asked = False  # whether anything that fewer bits pay for was searched before

    def move_to(self, device: str) -> None:
        """Search on another device from now on; results stay the same.

        Parameters
        ----------
        device : str
            Such as ``"cuda"``.
        """
        self.device = device
        if self.dimension is not None:
            with self._lock:
                self._scorers.clear()

    def _add(self, vectors: np.ndarray) -> None:
        self._build(np.concatenate((self._vectors, vectors)))

    def _vectors_at(self, indices: np.ndarray) -> np.ndarray:
        return self._vectors[indices]

    def _payload(self) -> np.ndarray:
        return self._vectors.astype("<f4", copy=False).reshape(-1).view(np.uint8)

    def _restore(self, payload: np.ndarray, n: int, dimension: int) -> None:
        if len(payload) != 4 * n * dimension:
            raise ValueError(
                f"array is damaged: {len(payload)} bytes are not {n} vectors of width {dimension}"
            )
        vectors = payload.view("<f4").reshape(n, dimension)
        self._build(np.require(vectors, np.float32, ["C_CONTIGUOUS", "ALIGNED"]))

    def _search(self, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        indices = np.empty((len(queries), k), dtype=np.int64)
        scores = np.empty((len(queries), k), dtype=np.float32)
        rough = self._rough_precision(len(queries), k)
        # A vector times the integers takes less than half the time of two vectors, or of seven.
        step = 1 if rough == "int8" else max(1, min(_QUERIES, _PENDING // (4 * k)))
        for start in range(0, len(queries), step):
            rows = slice(start, start + step)
            found = None
            if rough != "float32":
                found = self._search_block(queries[rows], k, self._scorer(rough), 8 * k + 512)
                if found is None:  # too alike for so few bits
                    rough = "float32"
            if found is None:
                found = self._search_block(queries[rows], k, self._scorer("float32"))
            indices[rows], scores[rows] = found
        return indices, scores

    def _search_block(
        self, queries: np.ndarray, k: int, scorer: _Scorer, limit: float = np.inf
    ) -> tuple[np.ndarray, np.ndarray] | None:
        """The k best of each query; None where more than `limit` for each need exact scores."""
        # Another device would send all scores to the host; of a block it sends few.
        if self.device == "cpu" and len(queries) == 1 and 2 * k < len(self) <= _BLOCK:
            return self._search_one(queries, k, scorer, limit)
        lists = self._shortlist(queries, k, scorer, limit * len(queries))
        if lists is None:
            return None
        best = [self._best(query, ids, k) for query, ids in zip(queries, lists, strict=True)]
        return np.stack([ids for ids, _ in best]), np.stack([scores for _, scores in best])

    def _search_one(
        self, queries: np.ndarray, k: int, scorer: _Scorer, limit: float
    ) -> tuple[np.ndarray, np.ndarray] | None:
        """As :meth:`_search_block` for one query, whose scores fit in a block."""
        prepared, errors = scorer.prepare(queries)
        scores = scorer.to_numpy(scorer.scores(prepared, 0, len(self)))[0]
        ids = _near_the_best(scores, errors[0], k)
        if len(ids) > limit:
            return None
        greatest = (scores + errors[0])[ids]
        if len(ids) > 2 * k:
            order = np.argpartition(-greatest, 2 * k)
            ids, greatest = ids[order], greatest[order]
        # The best of those that promise most are a higher bar for the others than estimates are.
        best, exact = self._best(queries[0], ids[: 2 * k], k)
        rest = ids[2 * k :][greatest[2 * k :] >= exact[-1]]
        exact = np.concatenate((exact, self._exact(queries[0], rest)))
        return sort_candidates(np.concatenate((best, rest)), exact, k)

    def _rough_precision(self, n_queries: int, k: int) -> str:
        """Of the approximate scores."""
        if self.precision != "auto":
            return self.precision
        if self.device != "cpu":
            return "bfloat16"
        # Where k is not small against the number of vectors, it is exact scoring that takes the
        # time, of which fewer bits leave more.
        few = n_queries < _FEW
        if few and (len(self) < 32 * k or self._vectors.size < _MANY):
            return "float32"
        if not few and len(self) < max(8192, 64 * k):
            return "float32"
        # Importing torch takes as long as 2e11 multiplications.
        work = n_queries * self._vectors.size
        if "torch" not in sys.modules and work <= 2e11:
            return "float32"
        from .._runtime._device import has_fast_bfloat16_cpu, has_fast_int8_cpu

        # The first query alone may be the only one: it does not wait for a copy of the vectors.
        again, self._asked = self._asked or n_queries > 1, True
        if not again:
            return "float32"
        if not few:
            return "bfloat16" if has_fast_bfloat16_cpu() else "float32"
        # Sums of 2^17 products of 8-bit integers fit in 32 bits.
        fits = self._vectors.shape[1] <= 2**17
        return "int8" if fits and has_fast_int8_cpu() else "float32"

    def _scorer(self, precision: str) -> _Scorer:
        with self._lock:
            if precision not in self._scorers:
                if precision == "float32":
                    self._scorers[precision] = _Scorer(self._vectors)
                elif precision == "int8":
                    self._scorers[precision] = _Int8Scorer(self._vectors)
                else:
                    self._scorers[precision] = _BFloat16Scorer(self._vectors, self.device)
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
        prepared, errors = scorer.prepare(queries)
        slack = 2 * errors.max(axis=1)
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
        return sort_candidates(ids, self._exact(query, ids), k)

    def _exact(self, query: np.ndarray, ids: np.ndarray) -> np.ndarray:
        """Float32 inner products with the vectors `ids`."""
        scores = np.empty(len(ids), dtype=np.float32)
        for start in range(0, len(ids), 1024):  # 1,024 vectors stay in the cache
            part = slice(start, start + 1024)
            # One dot product a pair: its bits do not depend on what else is computed.
            np.vecdot(self._vectors[ids[part]], query, out=scores[part])
        return scores


class _Scorer:
    """Inner products in float32, and a bound on their error.

    By torch where it is loaded, else by numpy. Each has threads that spin for a while after their
    work; taking turns on the same cores, they would keep each other waiting (a single document:
    110 ms instead of 15).
    """

    def __init__(self, vectors: np.ndarray) -> None:
        self.vectors = vectors
        self.greatest_norm = np.sqrt(np.vecdot(vectors, vectors).max())

    def prepare(self, queries: np.ndarray) -> tuple[Any, np.ndarray]:
        """What :meth:`scores` takes, and the bounds on their errors, float32 (m, 1) or (m, n).

        An error is the difference to any other float32 inner product.
        """
        return queries, self.rounding(queries)

    def rounding(self, queries: np.ndarray, relative: float = 0.0) -> np.ndarray:
        """Bounds (m, 1) on errors of sums in float32, and of so much of the norms' product.

        Two sums are each off by at most about d 2^-24 times the norms (Higham, Accuracy and
        Stability of Numerical Algorithms, section 3.1).
        """
        relative += (queries.shape[1] + 8) * 2.0**-23
        norms = np.sqrt(np.vecdot(queries, queries)) * self.greatest_norm
        return (relative * norms[:, None]).astype(np.float32)

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


class _BFloat16Scorer(_Scorer):
    """Inner products in bfloat16 by torch, on a CPU that multiplies it fast or another device."""

    # Three roundings to 8 bits (both vectors and the sum), each off by at most 2^-9 of the
    # norms' product, and a fourth for devices that also round a partial sum.
    relative_error = 2.0**-7

    def __init__(self, vectors: np.ndarray, device: str) -> None:
        import torch

        super().__init__(vectors)
        self.torch = torch
        self.device = device
        self.vectors = self._cast(vectors)

    def prepare(self, queries: np.ndarray) -> tuple[Any, np.ndarray]:
        return self._cast(queries), self.rounding(queries, self.relative_error)

    def _cast(self, vectors: np.ndarray) -> Any:
        from .._runtime._device import as_tensor

        short = self.torch.empty(vectors.shape, dtype=self.torch.bfloat16, device=self.device)
        for start in range(0, len(vectors), _ROWS):
            short[start : start + _ROWS] = as_tensor(vectors[start : start + _ROWS])
        return short

    def scores(self, prepared: Any, start: int, stop: int) -> Any:
        vectors = self.vectors[start:stop]
        if len(prepared) == 1:  # twice as fast as a product of matrices
            return (vectors @ prepared[0])[None]
        return prepared @ vectors.T

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


class _Int8Scorer(_Scorer):
    """Inner products of 8-bit integers, summed exactly, by torch on a CPU that does it fast."""

    def __init__(self, vectors: np.ndarray) -> None:
        import torch

        super().__init__(vectors)
        self.torch = torch
        integers, scales, self.lost = quantize(vectors)
        self.vectors, self.scales = torch.from_numpy(integers), torch.from_numpy(scales)
        self.norms = np.sqrt(np.vecdot(vectors, vectors))

    def prepare(self, queries: np.ndarray) -> tuple[Any, np.ndarray]:
        integers, scales, lost = quantize(queries)
        norms = np.sqrt(np.vecdot(queries, queries))
        # With x = x' + e and w = w' + f, x w - x' w' = e w + x' f (Cauchy and Schwarz).
        errors = lost[:, None] * self.norms + (norms + lost)[:, None] * self.lost
        prepared = self.torch.from_numpy(integers), self.torch.from_numpy(scales)[:, None]
        return prepared, errors + self.rounding(queries)

    def scores(self, prepared: Any, start: int, stop: int) -> np.ndarray:
        integers, scales = prepared
        sums = self.torch._int_mm(integers, self.vectors[start:stop].T)
        return (sums * self.scales[start:stop]).mul_(scales).numpy()


def _near_the_best(scores: np.ndarray, errors: np.ndarray, k: int) -> np.ndarray:
    """Indices of all that may be among the k best, and of a few more.

    The k-th greatest of maxima of groups is little less than that of all, and found faster.
    """
    group = int(np.clip(np.sqrt(len(scores) / (4 * k)), 1, 32))
    n_groups = len(scores) // group
    least = (scores - errors)[: group * n_groups].reshape(group, n_groups).max(axis=0)
    return np.flatnonzero(scores + errors >= np.partition(least, n_groups - k)[n_groups - k])


def _split(rows: np.ndarray, ids: np.ndarray, m: int) -> list[np.ndarray]:
    order = np.argsort(rows.astype(np.int16), kind="stable")  # 16 bits: a radix sort
    ends = np.cumsum(np.bincount(rows, minlength=m))
    return np.split(ids[order], ends[:-1])
