"""Which labels may be given to which documents."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.sparse as sp


class Allowed:
    """Labels that may be given: all but the excluded ones, or the named ones only.

    Parameters
    ----------
    n_labels : int
    exclude : csr_array of shape (n, n_labels), bool, or None
        Pairs that may not be given.
    only : ndarray of shape (n_labels,), bool, or csr_array of shape (n, n_labels), bool, or None
        Labels that may be given, to all documents or to each.
    """

    def __init__(
        self,
        n_labels: int,
        exclude: sp.csr_array | None = None,
        only: np.ndarray | sp.csr_array | None = None,
    ) -> None:
        self.n_labels, self.exclude = n_labels, exclude
        self.only = only if sp.issparse(only) else None
        self.mask = None if only is None or sp.issparse(only) else only

    def __bool__(self) -> bool:
        """Whether anything is forbidden."""
        return any(part is not None for part in (self.exclude, self.only, self.mask))

    def take(self, rows: Any) -> Allowed:
        """The same for some of the documents."""
        exclude = None if self.exclude is None else self.exclude[rows]
        only = self.mask if self.only is None else self.only[rows]
        return Allowed(self.n_labels, exclude, only)

    def are(self, labels: np.ndarray) -> np.ndarray:
        """Whether labels (n, m) of the documents are allowed, bool; those of -1 are not."""
        found = labels >= 0
        if self.mask is not None:
            found &= self.mask[np.maximum(labels, 0)]
        if self.exclude is not None:
            found &= ~_contains(self.exclude, labels)
        if self.only is not None:
            found &= _contains(self.only, labels)
        return found

    def n_forbidden(self, n: int) -> np.ndarray:
        """Labels that each of n documents may not be given, at most, (n,) int64."""
        n_forbidden = np.zeros(n, dtype=np.int64)
        if self.mask is not None:
            n_forbidden += self.n_labels - np.count_nonzero(self.mask)
        if self.exclude is not None:
            n_forbidden += np.diff(self.exclude.indptr)
        if self.only is not None:
            n_forbidden += self.n_labels - np.diff(self.only.indptr)
        return np.minimum(n_forbidden, self.n_labels)

    def of_row(self, row: int) -> np.ndarray:
        """All labels that a document may be given, ascending, int64."""
        if self.only is not None:
            labels = self.only.indices[self.only.indptr[row] : self.only.indptr[row + 1]]
        elif self.mask is not None:
            labels = np.flatnonzero(self.mask)
        else:
            labels = np.arange(self.n_labels)
        if self.exclude is not None:
            part = slice(self.exclude.indptr[row], self.exclude.indptr[row + 1])
            labels = np.setdiff1d(labels, self.exclude.indices[part])
        return np.sort(labels).astype(np.int64)


def _contains(pairs: sp.csr_array, labels: np.ndarray) -> np.ndarray:
    """Whether (row, label) is among the pairs, (n, m) bool."""
    width = pairs.shape[1]
    rows = np.repeat(np.arange(pairs.shape[0], dtype=np.int64), np.diff(pairs.indptr))
    keys = np.sort(rows * width + pairs.indices)
    asked = np.arange(len(labels), dtype=np.int64)[:, None] * width + np.maximum(labels, 0)
    if not len(keys):
        return np.zeros(labels.shape, dtype=bool)
    place = np.minimum(np.searchsorted(keys, asked), len(keys) - 1)
    return keys[place] == asked


def front(labels: np.ndarray, scores: np.ndarray, kept: np.ndarray, k: int):
    """The first k candidates of each row that are kept, in their order.

    Returns
    -------
    labels : ndarray of shape (n, at most k), int64
        -1 where there are fewer.
    scores : ndarray of shape (n, at most k), float32
        -inf where there are fewer.
    """
    order = np.argsort(~kept, axis=1, kind="stable")[:, :k]
    kept = np.take_along_axis(kept, order, axis=1)
    labels = np.where(kept, np.take_along_axis(labels, order, axis=1), -1)
    return labels, np.where(kept, np.take_along_axis(scores, order, axis=1), np.float32(-np.inf))
