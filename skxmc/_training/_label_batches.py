"""The labels of a batch where there are too many to take all, and where its pairs stand."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp
import torch

from .._runtime._device import to_device


def batch_labels(
    Y: sp.csr_array, proposed: np.ndarray | None, n_random: int, rng: np.random.RandomState
) -> tuple[np.ndarray, np.ndarray]:
    r"""Sorted labels that a batch is trained against where there are too many to take all.

    Positives and hard negatives of all documents are taken whole, and of the m other labels a
    random sample of r, without replacement. With

    .. math:: \sum_{n\ taken} e^{z_n} + \sum_{n\ drawn} e^{z_n - \log(r / m)}

    in place of the sum over all labels, the sum of each document is right on average, whatever
    was taken whole (the estimator of Horvitz and Thompson; for a softmax: Jean et al., "On Using
    Very Large Target Vocabulary for Neural Machine Translation", ACL 2015, Section 3).

    Parameters
    ----------
    Y : csr_array of shape (n, n_labels)
        Positive pairs of the batch.
    proposed : ndarray of shape (n, m), int64, or None
        Hard negatives, -1 where there are fewer.
    n_random : int
        Number of random labels that are drawn; those that are taken already drop out.
    rng : RandomState

    Returns
    -------
    labels : ndarray of shape (n_batch_labels,), int64
    log_rates : ndarray of shape (n_batch_labels,), float32
        Logarithm of r / m for labels that were drawn, 0 for those that are taken whole.
    """
    taken = [Y.indices.astype(np.int64)]
    if proposed is not None:
        taken.append(proposed.ravel().astype(np.int64))
    taken = np.unique(np.concatenate(taken))
    taken = taken[np.searchsorted(taken, 0) :]
    drawn = np.setdiff1d(rng.randint(Y.shape[1], size=n_random), taken)
    rate = len(drawn) / max(1, Y.shape[1] - len(taken))
    labels = np.concatenate([taken, drawn])
    order = np.argsort(labels, kind="stable")
    log_rates = np.zeros(len(labels), dtype=np.float32)
    log_rates[len(taken) :] = np.log(rate) if len(drawn) else 0.0
    return labels[order], log_rates[order]


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
    return to_device(rows, device), to_device(columns, device)
