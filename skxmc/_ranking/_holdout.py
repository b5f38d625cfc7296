"""Which documents choose how to rank: held out with their near-duplicates."""

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

# Parts that few documents are cut into, and the most that are held out of more.
N_FOLDS = 5

# Documents that choose how to rank well enough. On icons with pictures (14,682 documents, seeds 0
# and 1) P@1, P@5 and PSP@5 are 0.794, 0.505 and 0.561 by one tenth, 0.796, 0.508 and 0.564 by three
# tenths, 0.797, 0.509 and 0.567 by five fifths.
_ENOUGH = 4000


def count_folds(n_documents: int, fraction: float) -> int:
    """Parts, each with a share `fraction` of the documents, that hold enough to choose by."""
    if n_documents < FEW_DOCUMENTS:
        return N_FOLDS
    return int(np.clip(-(-_ENOUGH // int(fraction * n_documents)), 1, N_FOLDS))


def hold_out(
    embeddings: np.ndarray,
    usable: np.ndarray,
    fraction: float,
    rng: np.random.RandomState,
    n_folds: int = 1,
) -> list[np.ndarray]:
    """Parts of documents to choose how to rank with, each with its near-duplicates.

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
        Share of the documents in a part, at most 5,000 of them.
    rng : RandomState
    n_folds : int, default=1
        Parts; none shares a document with another.

    Returns
    -------
    folds : list of ndarray of int64, sorted
        Fewer than asked for where documents run out, and none if there are too few to choose
        anything with.
    """
    candidates = rng.permutation(np.flatnonzero(usable))
    wanted = min(MAX_HELD_OUT, int(fraction * len(candidates)))
    if wanted < MIN_HELD_OUT:
        return []
    # A few thousand queries do not pay for building anything but an exact index.
    index = Exact().build(embeddings)
    fold_of = np.full(len(embeddings), -1)
    for fold in range(n_folds):
        _fill_fold(fold_of, fold, wanted, candidates, usable, embeddings, index)
    folds = [np.flatnonzero(fold_of == fold) for fold in range(n_folds)]
    return [rows for rows in folds if len(rows) and (n_folds == 1 or len(rows) >= MIN_HELD_OUT)]


def _fill_fold(
    fold_of: np.ndarray,
    fold: int,
    wanted: int,
    candidates: np.ndarray,
    usable: np.ndarray,
    embeddings: np.ndarray,
    index: Exact,
) -> None:
    """Put documents into a part, until it has as many as are wanted; changes `fold_of`."""
    candidates = candidates[fold_of[candidates] < 0]
    n_left, n_held = len(candidates), 0
    for start in range(0, len(candidates), 256):
        drawn = candidates[start : start + 256]
        indices, cosines = index.search(embeddings[drawn], min(_NEAREST, len(embeddings)))
        for document, twins, cosine in zip(drawn, indices, cosines, strict=True):
            if n_held >= wanted:
                return
            group = np.union1d(twins[cosine > NEAR_DUPLICATE], document)
            if np.any((fold_of[group] >= 0) & (fold_of[group] < fold)):
                continue  # its twin would be among the documents that are learned from
            free = fold_of[group] < 0
            n_fresh = np.count_nonzero(usable[group] & free)
            if n_fresh < n_left:
                fold_of[group] = fold
                n_held += np.count_nonzero(free)
                n_left -= n_fresh


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
