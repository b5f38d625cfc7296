"""What a kind of evidence can say of a pair beside its score."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass
class Reasons:
    """Why documents get labels: what a kind of evidence can say beside its scores.

    Each part may be None: the kind cannot tell. There are n documents with m labels each.

    Parameters
    ----------
    documents : tuple of ndarray (n, m, k) int64 and ndarray (n, m, k) float32, or None
        Training documents that have the label, nearest first, as rows of
        ``documents.training_labels``, and their cosines; -1 and -inf where there are fewer.
    words : list of ndarray of shape (m, n_terms), float32, or None
        For each document what the stored entries of its row of the block of words add to the
        scores of its labels.
    pictures : ndarray of shape (n, m), float32, or None
        What the pictures of the document add to the scores of its labels.
    tokens : list of ndarray of shape (m, n_tokens), float32, or None
        For each document what its tokens add to the scores of its labels.
    """

    documents: tuple[np.ndarray, np.ndarray] | None = None
    words: list[np.ndarray] | None = None
    pictures: np.ndarray | None = None
    tokens: list[np.ndarray] | None = None
