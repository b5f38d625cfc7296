"""Index: exact search by NumPy, some queries at a time."""

from __future__ import annotations

import numpy as np

from skxmc.indexes import Storable, sort_candidates


class Blocked(Storable):
    name = "blocked"

    def __init__(self, block=64):
        self.block = block

    def _build(self, vectors):
        self._rows = vectors

    def _add(self, vectors):
        self._rows = np.concatenate([self._rows, vectors])

    def _search(self, queries, k):
        everything = np.arange(len(self._rows))
        found = []
        for start in range(0, len(queries), self.block):
            scores = queries[start : start + self.block] @ self._rows.T
            found.append(sort_candidates(np.tile(everything, (len(scores), 1)), scores, k))
        return tuple(np.concatenate(parts) for parts in zip(*found, strict=True))

    def _vectors_at(self, positions):
        return self._rows[positions]

    def _payload(self):
        return np.ascontiguousarray(self._rows, dtype="<f4").reshape(-1).view(np.uint8)

    def _restore(self, payload, n, dimension):
        self._rows = np.array(payload).view("<f4").reshape(n, dimension)
