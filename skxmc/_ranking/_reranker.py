"""Re-ranks the mixture's best candidates by all that the evidence says of them."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import scipy.sparse as sp
from scipy.special import expit
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPClassifier

from .._runtime._threads import product
from ._candidates import Candidates

# Fewer held-out documents than these cannot teach it.
MIN_DOCUMENTS = 200

# Candidates of a document that are re-ranked, the best of the mixture, at least.
N_CANDIDATES = 30

# Share of the network in the final score. A quarter has nearly all of what it brings to the first
# ranks and to the choice of a threshold, and leaves rare labels most of what the mixture gives.
SHARE = np.float32(0.25)

# Added to probabilities of which the logarithm is taken.
_LEAST = np.float32(1e-6)

Pictures = Callable[[np.ndarray], np.ndarray]


class Reranker:
    r"""The probability that a candidate is right, by a small network over all evidence.

    The mixture knows how much a kind of evidence is worth on the whole. How much it is worth for
    a frequent or a rare label, with a sure or an unsure score, beside what the others say, is
    learned from the held-out documents (stacking): for each candidate the network sees the score
    and the probability of each kind, whether the kind proposes the label at all, the mixture of
    the probabilities, the number of the label's documents and, where pictures stand beside the
    embeddings, how much the document's are like those of the label; its target is whether the label
    is right. Where the mixture's probabilities compete for a sum of 1, those of the network don't,
    and so one threshold suits documents with few labels and with many. The final score is

    .. math:: \frac{1}{4} P(l \mid \text{all of it}) + \frac{3}{4} \sum_e w_e p_e(l)

    and without the first term for candidates beyond the first `n_candidates`.

    Parameters
    ----------
    random_state : int, default=0
    n_candidates : int, default=30
        Candidates of a document that are re-ranked: the best of the mixture.

    Attributes
    ----------
    layers_ : list of (weights, bias)
        The network: two layers with a ReLU between them, float32.
    mean_, scale_ : ndarray of float32
        What inputs are brought to mean 0 and spread 1 by.

    References
    ----------
    Wolpert, "Stacked generalization", Neural Networks 5, 1992.
    """

    def __init__(self, random_state: int = 0, n_candidates: int = N_CANDIDATES) -> None:
        self.random_state = random_state
        self.n_candidates = n_candidates

    def fit(
        self,
        candidates: Candidates,
        Y: sp.csr_array,
        counts: np.ndarray,
        pictures: Pictures | None = None,
    ) -> Reranker:
        """Learn from held-out documents.

        Parameters
        ----------
        candidates : Candidates
            Of the held-out documents, as :meth:`Mixture.candidates` gives them.
        Y : csr_array of shape (n, n_labels)
            Their true labels.
        counts : ndarray of shape (n_labels,)
            Documents of each label, the held-out ones among them.
        pictures : callable or None
            Gives for labels (n, m) how much their pictures are like those of the n documents.
        """
        columns = _best(candidates, self.n_candidates)
        labels = np.take_along_axis(candidates.labels, columns, axis=1)
        there = labels >= 0
        x = _describe(candidates, counts, pictures, columns)[there]
        truth = np.asarray(Y[np.nonzero(there)[0], labels[there]]).ravel() > 0
        self.mean_, self.scale_ = x.mean(axis=0), np.maximum(x.std(axis=0), np.float32(1e-6))
        model = MLPClassifier(
            (32,),
            alpha=0.1,
            batch_size=min(512, len(x)),
            learning_rate_init=3e-3,
            max_iter=40,
            random_state=self.random_state,
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # so many passes and no more
            model.fit((x - self.mean_) / self.scale_, truth)
        layers = zip(model.coefs_, model.intercepts_, strict=True)
        self.layers_ = [(w.astype(np.float32), b.astype(np.float32)) for w, b in layers]
        return self

    def rescore(
        self, candidates: Candidates, counts: np.ndarray, pictures: Pictures | None = None
    ) -> np.ndarray:
        """Final scores, (n, m) float32 within 0 and 1, of the candidates of some documents."""
        columns = _best(candidates, self.n_candidates)
        x = (_describe(candidates, counts, pictures, columns) - self.mean_) / self.scale_
        (first, first_bias), (second, second_bias) = self.layers_
        hidden = product(x.reshape(-1, x.shape[-1]), first) + first_bias
        logits = product(np.maximum(hidden, 0), second) + second_bias
        scores = (1 - SHARE) * candidates.mixed
        best = np.take_along_axis(scores, columns, axis=1)
        best += SHARE * expit(logits.reshape(best.shape))
        np.put_along_axis(scores, columns, best, axis=1)
        return scores

    # -- persistence --------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """Numbers and arrays that :meth:`from_state` rebuilds it from."""
        return {
            "random_state": self.random_state,
            "n_candidates": self.n_candidates,
            "mean": self.mean_,
            "scale": self.scale_,
            "layers": self.layers_,
        }

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> Reranker:
        """Rebuild from :meth:`state_dict`."""
        reranker = cls(state["random_state"], state["n_candidates"])
        reranker.mean_, reranker.scale_ = state["mean"], state["scale"]
        reranker.layers_ = [(weights, bias) for weights, bias in state["layers"]]
        return reranker


def _best(candidates: Candidates, n_best: int = N_CANDIDATES) -> np.ndarray:
    """Columns of each row's best candidates, (n, at most n_best)."""
    n, width = candidates.labels.shape
    if width <= n_best:
        return np.tile(np.arange(width), (n, 1))
    worst_last = np.where(candidates.labels < 0, np.float32(1), -candidates.mixed)
    return np.argpartition(worst_last, n_best - 1, axis=1)[:, :n_best]


def _describe(
    candidates: Candidates, counts: np.ndarray, pictures: Pictures | None, columns: np.ndarray
) -> np.ndarray:
    """What is known of the candidates in some columns of each row, (n, m, d) float32.

    A label that a kind of evidence does not propose gets the score of the last one proposed.
    """

    def take(values: np.ndarray) -> np.ndarray:
        return np.take_along_axis(values, columns, axis=1)

    known = [np.log(take(candidates.mixed) + _LEAST)]
    for name, scores in candidates.scores.items():
        proposed = np.isfinite(scores)
        last = np.where(proposed, scores, np.float32(np.inf)).min(axis=1, keepdims=True)
        last[~proposed.any(axis=1)] = 0
        known += [
            take(np.where(proposed, scores, last)),
            take(proposed),
            np.log(take(candidates.shares[name]) + _LEAST),
        ]
    labels = np.maximum(take(candidates.labels), 0)
    known.append(np.log1p(counts[labels]))
    if pictures is not None:
        known.append(pictures(labels))
    return np.stack(known, axis=-1, dtype=np.float32, casting="same_kind")
