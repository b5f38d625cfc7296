"""What every figure should be compared with: a method of ten lines without any deep learning."""

from collections.abc import Sequence

import numpy as np
import scipy.sparse as sp
from sklearn import config_context
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.neighbors import NearestNeighbors

# Distances are computed in blocks of this size.
BLOCK_MEGABYTES = 128


class TfidfNeighbours:
    """Labels of the nearest training documents by cosine of TF-IDF words, weighted by it.

    Parameters
    ----------
    n_neighbors : int, default=20
        Training documents whose labels are counted.
    """

    def __init__(self, n_neighbors: int = 20) -> None:
        self.n_neighbors = n_neighbors

    def fit(self, X: Sequence[str], Y: sp.csr_array) -> "TfidfNeighbours":
        """Store the training documents.

        Parameters
        ----------
        X : sequence of str of length n_samples
        Y : csr_array of shape (n_samples, n_labels)
        """
        # The names of icons and packages have one-letter words that tell a lot ("x", "r").
        self.vectorizer_ = TfidfVectorizer(token_pattern=r"\w+", sublinear_tf=True)
        self.neighbours_ = NearestNeighbors(
            n_neighbors=min(self.n_neighbors, len(X)), metric="cosine"
        ).fit(self.vectorizer_.fit_transform(X))
        self.Y_ = sp.csr_array(Y)
        return self

    def scores(self, X: Sequence[str]) -> sp.csr_array:
        """Sum of the cosines of the neighbours that have a label.

        Parameters
        ----------
        X : sequence of str of length n_samples

        Returns
        -------
        scores : csr_array of shape (n_samples, n_labels)
            What is not stored is not predicted.
        """
        X = self.vectorizer_.transform(X)
        with config_context(working_memory=BLOCK_MEGABYTES):
            nearest = self.neighbours_.kneighbors_graph(X, mode="distance")
        nearest.data = np.maximum(1.0 - nearest.data, 0.0)
        nearest.eliminate_zeros()
        return sp.csr_array(nearest) @ self.Y_
