"""The labels of a batch where there are too many to take all, and where its pairs stand."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp
import torch


def batch_labels(
    Y: sp.csr_array, proposed: np.ndarray | None, n_random: int, rng: np.random.RandomState
) -> np.ndarray:
    """Sorted labels that a batch is trained against where there are too many to take all.

    Parameters
    ----------
    Y : csr_array of shape (n, n_labels)
        Positive pairs of the batch.
    proposed : ndarray of shape (n, m), int64, or None
        Hard negatives, -1 where there are fewer.
    n_random : int
        Number of random labels beside.
    rng : RandomState
    """
    parts = [Y.indices.astype(np.int64), rng.randint(Y.shape[1], size=n_random)]
    if proposed is not None:
        parts.append(proposed.ravel())
    labels = np.unique(np.concatenate(parts))
    return labels[np.searchsorted(labels, 0) :]


def document_weights(Y: sp.csr_array, exponent: float) -> np.ndarray:
    """Weight of each positive's loss, |P|^-exponent, (n_positives,) float32."""
    n_positive = np.diff(Y.indptr)
    return np.repeat(np.maximum(n_positive, 1.0) ** -exponent, n_positive).astype(np.float32)


def label_positions(
    pairs: sp.csr_array, labels: np.ndarray | None, device: torch.device
) -> tuple[torch.Tensor, torch.Tensor]:
    """Rows and columns of pairs within the batch's labels; pairs of other labels are dropped."""
    rows = np.repeat(np.arange(pairs.shape[0]), np.diff(pairs.indptr))
    columns = pairs.indices.astype(np.int64)
    if labels is not None:
        position = np.minimum(np.searchsorted(labels, columns), len(labels) - 1)
        there = labels[position] == columns
        rows, columns = rows[there], position[there]
    return torch.from_numpy(rows).to(device), torch.from_numpy(columns).to(device)
