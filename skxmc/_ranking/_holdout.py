"""Which documents choose the mixture: held out with their near-duplicates."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp

from ..indexes import Exact

# Bounds of the number of held-out documents.
MIN_HELD_OUT, MAX_HELD_OUT = 20, 5000

# Cosine above which two documents count as one and the same.
NEAR_DUPLICATE = 0.95


def hold_out(
    embeddings: np.ndarray, Y: sp.csr_array, fraction: float, rng: np.random.RandomState
) -> np.ndarray:
    """Documents to choose the mixture with, held out together with their near-duplicates.

    A document whose twin stays among the neighbours says nothing of new documents, so whatever
    is closer than a cosine of 0.95 to a drawn document is held out with it, as far as it is
    among the 32 nearest. One labelled document at least is left. On the icon
    data set the distance from held-out documents to the rest is then that from test documents
    to training documents, which were split by groups of near-equal names.

    Parameters
    ----------
    embeddings : ndarray of shape (n_documents, dimension), float32
    Y : csr_array of shape (n_documents, n_labels)
    fraction : float
        Share of the documents, at most 5,000 of them.
    rng : RandomState

    Returns
    -------
    held_out : ndarray of int64, sorted
        Empty if there are too few documents to choose anything with.
    """
    labelled = np.diff(Y.indptr) > 0
    candidates = rng.permutation(np.flatnonzero(labelled))
    wanted = min(MAX_HELD_OUT, int(fraction * len(candidates)))
    if wanted < MIN_HELD_OUT:
        return np.empty(0, dtype=np.int64)
    # A few thousand queries do not pay for building anything but an exact index.
    index = Exact().build(embeddings)
    held = np.zeros(len(embeddings), dtype=bool)
    n_left = len(candidates)
    for start in range(0, len(candidates), 256):
        drawn = candidates[start : start + 256]
        indices, cosines = index.search(embeddings[drawn], min(32, len(embeddings)))
        for document, twins, cosine in zip(drawn, indices, cosines, strict=True):
            if held.sum() >= wanted:
                return np.flatnonzero(held)
            group = np.union1d(twins[cosine > NEAR_DUPLICATE], document)
            n_fresh = np.count_nonzero(labelled[group] & ~held[group])
            if n_fresh < n_left:
                held[group] = True
                n_left -= n_fresh
    return np.flatnonzero(held)


def without_rows(Y: sp.csr_array, rows: np.ndarray) -> sp.csr_array:
    """Y with some rows emptied."""
    kept = np.ones(Y.shape[0], dtype=bool)
    kept[rows] = False
    Y = Y.copy()
    Y.data *= np.repeat(kept, np.diff(Y.indptr))
    Y.eliminate_zeros()
    return Y
