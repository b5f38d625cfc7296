"""Evidence: the labels that most training documents have, for every document alike."""

from __future__ import annotations

import numpy as np

from skxmc.evidence import Evidence


class Popularity(Evidence):
    name = "popularity"
    default_weight = 0.1
    temperatures = tuned_temperatures = (1.0, 2.0)

    def __init__(self, smoothing=1.0, weight="auto"):
        self.smoothing = smoothing
        self.weight = weight

    def fit(self, corpus):
        self.counts_ = np.bincount(corpus.Y.indices, minlength=corpus.n_labels)
        return True

    def propose(self, documents, k):
        best = np.argsort(-self.counts_, kind="stable")[:k]
        scores = np.log(self.counts_[best] + self.smoothing).astype(np.float32)
        shape = (len(documents), len(best))
        return np.tile(best, (shape[0], 1)), np.broadcast_to(scores, shape)

    def add_labels(self, labels):
        self.counts_ = np.append(self.counts_, np.zeros(len(labels), dtype=self.counts_.dtype))

    def memory(self, size):
        return 0.0, 8.0 * size.n_labels
