"""Which documents choose the mixture: held out with their near-duplicates."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp
from scipy.sparse.csgraph import connected_components

from ..indexes import Exact

# Bounds of the number of held-out documents.
MIN_HELD_OUT, MAX_HELD_OUT = 20, 5000

# Cosine above which two documents count as one and the same.
NEAR_DUPLICATE = 0.95

# A document with more near-duplicates than these lies in a crowd, and new documents will, too:
# parts may cut through it.
_MOST_TWINS = 4

# Nearest documents among which near-duplicates are looked for.
_NEAREST = 32

# Fewer documents than these are all held out, a part at a time.
FEW_DOCUMENTS = 2000

# Parts that few documents are cut into.
N_FOLDS = 5


def hold_out(
    embeddings: np.ndarray, usable: np.ndarray, fraction: float, rng: np.random.RandomState
) -> np.ndarray:
    """Documents to choose the mixture with, held out together with their near-duplicates.

    A document whose twin stays among the neighbours says nothing of new documents, so whatever
    is closer than a cosine of 0.95 to a drawn document is held out with it, as far as it is
    among the 32 nearest. One usable document at least is left. On the icon
    data set the distance from held-out documents to the rest is then that from test documents
    to training documents, which were split by groups of near-equal names.

    Parameters
    ----------
    embeddings : ndarray of shape (n_documents, dimension), float32
    usable : ndarray of shape (n_documents,), bool
        Documents whose labels are known.
    fraction : float
        Share of the documents, at most 5,000 of them.
    rng : RandomState

    Returns
    -------
    held_out : ndarray of int64, sorted
        Empty if there are too few documents to choose anything with.
    """
    candidates = rng.permutation(np.flatnonzero(usable))
    wanted = min(MAX_HELD_OUT, int(fraction * len(candidates)))
    if wanted < MIN_HELD_OUT:
        return np.empty(0, dtype=np.int64)
    # A few thousand queries do not pay for building anything but an exact index.
    index = Exact().build(embeddings)
    held = np.zeros(len(embeddings), dtype=bool)
    n_left = len(candidates)
    for start in range(0, len(candidates), 256):
        drawn = candidates[start : start + 256]
        indices, cosines = index.search(embeddings[drawn], min(_NEAREST, len(embeddings)))
        for document, twins, cosine in zip(drawn, indices, cosines, strict=True):
            if held.sum() >= wanted:
                return np.flatnonzero(held)
            group = np.union1d(twins[cosine > NEAR_DUPLICATE], document)
            n_fresh = np.count_nonzero(usable[group] & ~held[group])
            if n_fresh < n_left:
                held[group] = True
                n_left -= n_fresh
    return np.flatnonzero(held)


def fold_documents(
    embeddings: np.ndarray, usable: np.ndarray, rng: np.random.RandomState, n_folds: int = N_FOLDS
) -> list[np.ndarray]:
    """Cut documents into parts of about equal size; few near-duplicates fall into the same part.

    Parameters
    ----------
    embeddings, usable, rng
        As in :func:`hold_out`.
    n_folds : int, default=5

    Returns
    -------
    folds : list of ndarray of int64, sorted
        Together all usable documents. Empty if there are too few, or if all of them are alike.
    """
    rows = np.flatnonzero(usable)
    if len(rows) < MIN_HELD_OUT:
        return []
    vectors = embeddings[rows]
    nearest, cosines = Exact().build(vectors).search(vectors, min(_NEAREST, len(rows)))
    twins = (cosines > NEAR_DUPLICATE) & (nearest >= 0)
    twins[twins.sum(axis=1) > 1 + _MOST_TWINS] = False  # each is its own nearest
    own = np.repeat(np.arange(len(rows)), twins.sum(axis=1))
    pairs = (np.ones(len(own), dtype=bool), (own, nearest[twins]))
    shape = (len(rows), len(rows))
    n_groups, group = connected_components(sp.csr_array(pairs, shape=shape), directed=False)
    if n_groups < n_folds:
        return []
    # Large groups first, each into the part that has fewest documents.
    sizes = np.bincount(group, minlength=n_groups)
    order = rng.permutation(n_groups)
    order = order[np.argsort(-sizes[order], kind="stable")]
    fold_of, filled = np.empty(n_groups, dtype=np.int64), np.zeros(n_folds, dtype=np.int64)
    for number in order:
        fold_of[number] = np.argmin(filled)
        filled[fold_of[number]] += sizes[number]
    return [rows[fold_of[group] == fold] for fold in range(n_folds)]


def without_rows(Y: sp.csr_array, rows: np.ndarray) -> sp.csr_array:
    """Y with some rows emptied."""
    kept = np.ones(Y.shape[0], dtype=bool)
    kept[rows] = False
    Y = Y.copy()
    Y.data *= np.repeat(kept, np.diff(Y.indptr))
    Y.eliminate_zeros()
    return Y
