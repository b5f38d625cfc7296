"""Where a label's documents are."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp

from .._runtime import group
from ._blocks import unit_rows


def label_centroids(documents: np.ndarray, Y: sp.csr_array) -> np.ndarray:
    """Mean embedding of each label's documents, (n_labels, dimension) float32; zero if none."""
    counts = np.maximum(np.bincount(Y.indices, minlength=Y.shape[1]), 1)
    sums = Y.T @ documents
    # In place: with a million labels there is no room for copies.
    np.divide(sums, counts[:, np.newaxis], out=sums, casting="same_kind")
    return sums.astype(np.float32, copy=False)


def label_centroids_of_all(documents: np.ndarray, Y: sp.csr_array) -> np.ndarray:
    """The same, where each process takes some of the labels; all of them have to call it."""
    if group.size() == 1:
        return label_centroids(documents, Y)
    centroids = np.empty((Y.shape[1], documents.shape[1]), dtype=np.float32)
    return group.compute_shares(
        group.ranges(Y.shape[1]),
        lambda labels: label_centroids(documents, sp.csr_array(Y[:, labels])),
        centroids,
    )


def untuned_prototypes(
    documents: np.ndarray, labels: np.ndarray | None, Y: sp.csr_array
) -> np.ndarray:
    """Prototypes without training: a label's text and the centroid of its documents.

    Parameters
    ----------
    documents : ndarray of shape (n_documents, dimension), float32
    labels : ndarray of shape (n_labels, dimension), float32, or None
        Embeddings of the labels' texts; without them the centroid stands alone.
    Y : csr_array of shape (n_documents, n_labels)

    Returns
    -------
    prototypes : ndarray of shape (n_labels, dimension), float32, unit norm
    """
    vectors = label_centroids(documents, Y)
    if labels is not None:
        vectors += labels
    return unit_rows(vectors, overwrite=True)
