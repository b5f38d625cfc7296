"""Where a label's documents are."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp


def label_centroids(documents: np.ndarray, Y: sp.csr_array) -> np.ndarray:
    """Mean embedding of each label's documents, (n_labels, dimension) float32; zero if none."""
    counts = np.maximum(np.bincount(Y.indices, minlength=Y.shape[1]), 1)
    return (Y.T @ documents / counts[:, np.newaxis]).astype(np.float32)
