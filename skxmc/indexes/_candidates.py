"""Candidates of queries: sorted, and joined."""

from __future__ import annotations

import numpy as np


def sort_candidates(
    indices: np.ndarray, scores: np.ndarray, k: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return the k best candidates of each row: higher score first, then lower index.

    Parameters
    ----------
    indices : ndarray of shape (..., m), integer
        -1 where there is no candidate; below 2^32 - 1.
    scores : ndarray of shape (..., m), float32
        Of the candidates; ignored where the index is -1.
    k : int
        At least 1.

    Returns
    -------
    indices : ndarray of shape (..., min(k, m)), int64
    scores : ndarray of shape (..., min(k, m)), float32
        -inf where there is no candidate.

    Examples
    --------
    >>> import numpy as np
    >>> from skxmc.indexes import sort_candidates
    >>> sort_candidates(np.array([[7, 3, -1, 5]]), np.float32([[0.5, 0.5, 0.9, 0.8]]), k=2)[0]
    array([[5, 3]])
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
        Labels, -1 where there is none.

    Returns
    -------
    joined : ndarray of shape (n, sum of m_i), int64, sorted

    Examples
    --------
    >>> import numpy as np
    >>> from skxmc.indexes import join_candidates
    >>> join_candidates([np.array([[4, 2]]), np.array([[2, 9]])])
    array([[ 2, -1,  4,  9]])
    """
    joined = np.sort(np.concatenate(found, axis=1), axis=1)
    repeated = joined[:, 1:] == joined[:, :-1]
    joined[:, 1:][repeated] = -1
    return joined
