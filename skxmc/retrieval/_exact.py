"""Exact search in blocks."""

from __future__ import annotations

import sys
import threading
from typing import Any

import numpy as np

from .._threads import product
from ._index import Index, sort_candidates

# Numbers of a block of scores (32 MB in float32), and the most queries in one.
_BLOCK = 2**23
_QUERIES = 256
# Candidates held back for exact scoring before they are thinned out.
_PENDING = 2**21
# Fewest numbers that a query alone finds faster in bfloat16: reading them takes its time.
_MANY = 2**22


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
        self._asked = False  # whether anything that bfloat16 pays for was searched before

    def _add(self, vectors: np.ndarray) -> None:
        self._build(np.concatenate((self._vectors, vectors)))

    def _vectors_at(self, indices: np.ndarray) -> np.ndarray:
        return self._vectors[indices]

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
        # Where k is not small against the number of vectors, it is exact scoring that takes the
        # time, of which bfloat16 leaves twice as much. Two to seven queries are no faster in it.
        if n_queries == 1:
            if len(self) < 32 * k or self._vectors.size < _MANY:
                return False
        elif n_queries < 8 or len(self) < max(8192, 64 * k):
            return False
        # Importing torch takes as long as 2e11 multiplications.
        work = n_queries * self._vectors.size
        if "torch" not in sys.modules and work <= 2e11:
            return False
        from .._device import has_fast_bfloat16_cpu

        # The first query alone may be the only one: it does not wait for a copy of the vectors.
        again, self._asked = self._asked or n_queries > 1, True
        return again and has_fast_bfloat16_cpu()

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


def _split(rows: np.ndarray, ids: np.ndarray, m: int) -> list[np.ndarray]:
    order = np.argsort(rows.astype(np.int16), kind="stable")  # 16 bits: a radix sort
    ends = np.cumsum(np.bincount(rows, minlength=m))
    return np.split(ids[order], ends[:-1])
