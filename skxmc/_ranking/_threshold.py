"""Above which probability labels are given."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp

# Labels are given above this probability where no held-out document could choose it.
DEFAULT_THRESHOLD = 0.1


def best_threshold(indices: np.ndarray, scores: np.ndarray, truth: sp.csr_array) -> float:
    """Score above which giving labels has the best micro-averaged F1.

    Parameters
    ----------
    indices, scores : ndarray of shape (n, m)
        Ranked candidates, -1 where there is none.
    truth : csr_array of shape (n, n_labels)
    """
    rows = np.repeat(np.arange(len(indices)), indices.shape[1])
    labels, flat = indices.ravel(), scores.ravel()
    found = labels >= 0
    rows, labels, flat = rows[found], labels[found], flat[found]
    if not len(flat):
        return DEFAULT_THRESHOLD
    right = np.asarray(truth[rows, labels]).ravel() > 0
    order = np.argsort(-flat, kind="stable")
    hits = np.cumsum(right[order])
    f1 = 2 * hits / (np.arange(1, len(order) + 1) + truth.nnz)
    best = flat[order[np.argmax(f1)]]
    return float(np.nextafter(best, np.float32(-1)))  # labels above it are given
