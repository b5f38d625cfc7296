"""Labels that documents are likely to be mistaken for."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np


class HardNegatives:
    """Labels that documents are likely to be mistaken for, searched when first asked for.

    Parameters
    ----------
    search : callable
        Gives the labels of some documents, (n, m) int64, from their numbers.
    n_documents : int
    """

    def __init__(self, search: Callable[[np.ndarray], np.ndarray], n_documents: int) -> None:
        self._search = search
        self._known = np.zeros(n_documents, dtype=bool)
        self._found: np.ndarray | None = None

    def __call__(self, rows: np.ndarray) -> np.ndarray:
        """Labels of some documents, (n, m) int32, padded with -1."""
        new = rows[~self._known[rows]]
        if len(new):
            found = self._search(new)
            if self._found is None:  # takes memory only where it is written
                self._found = np.empty((len(self._known), found.shape[1]), dtype=np.int32)
            self._found[new], self._known[new] = found, True
        return self._found[rows]
