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

# Share of the networks in the final score. On icons with pictures (seeds 0 and 1, two fits of the
# networks each) P@1, P@5 and PSP@5 are 0.794, 0.507 and 0.566 with 0.3, 0.795, 0.508 and 0.565 with
# 0.4, 0.795, 0.508 and 0.563 with half, 0.796, 0.508 and 0.558 without the mixture, by which rare
# labels live. Labels that come after the fit, which the networks know nothing of, lose by more.
SHARE = np.float32(0.4)

# Networks that start from different weights. The mean of three has less of the chance in one, whose
# PSP@5 goes up and down by half a point.
N_NETWORKS = 3

# Hidden units of a network, and its passes over the candidates: fewer over many of them, where
# more made no difference.
_HIDDEN = 32
_PASSES, _FEWER_PASSES, _MANY = 40, 15, 100_000

# Added to probabilities of which the logarithm is taken.
_LEAST = np.float32(1e-6)

Pictures = Callable[[np.ndarray], np.ndarray]


class Reranker:
    r"""The probability that a candidate is right, by small networks over all evidence.

    The mixture knows how much a kind of evidence is worth on the whole. How much it is worth for
    a frequent or a rare label, with a sure or an unsure score, beside what the others say, is
    learned from the held-out documents (stacking): for each candidate the networks see the score
    and the probability of each kind, how far they are behind the document's best, whether the kind
    proposes the label at all, the mixture of the probabilities, the number of the label's documents
    and, where pictures stand beside the embeddings, how much the document's are like those of the
    label; their target is whether the label is right. Where the mixture's probabilities compete for
    a sum of 1, those of the networks don't, and so one threshold suits documents with few labels
    and with many. The final score is

    .. math:: \frac{2}{5} P(l \mid \text{all of it}) + \frac{3}{5} \sum_e w_e p_e(l)

    and without the first term for candidates beyond the first `n_candidates`.

    Parameters
    ----------
    random_state : int, default=0
    n_candidates : int, default=30
        Candidates of a document that are re-ranked: the best of the mixture.

    Attributes
    ----------
    layers_ : list of (weights, bias)
        All networks as one: two layers with a ReLU between them, float32.
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
        x = (x - self.mean_) / self.scale_
        seeds = np.random.RandomState(self.random_state).randint(2**31, size=N_NETWORKS)
        self.layers_ = _join([_train(x, truth, seed) for seed in seeds])
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


def _train(x: np.ndarray, truth: np.ndarray, seed: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Weights and bias of the two layers of a network."""
    model = MLPClassifier(
        (_HIDDEN,),
        alpha=0.1,
        batch_size=min(512, len(x)),
        learning_rate_init=3e-3,
        max_iter=_PASSES if len(x) <= _MANY else _FEWER_PASSES,
        random_state=seed,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # so many passes and no more
        model.fit(x, truth)
    return list(zip(model.coefs_, model.intercepts_, strict=True))


def _join(networks: list[list[tuple[np.ndarray, np.ndarray]]]) -> list[tuple[np.ndarray, ...]]:
    """One network that gives the mean of several: their hidden units stand side by side."""
    first, last = zip(*networks, strict=True)
    layers = [
        (np.concatenate([w for w, _ in first], axis=1), np.concatenate([b for _, b in first])),
        (np.concatenate([w for w, _ in last]) / len(last), np.mean([b for _, b in last], axis=0)),
    ]
    return [(weights.astype(np.float32), bias.astype(np.float32)) for weights, bias in layers]


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

    def behind(values: np.ndarray) -> np.ndarray:
        """How far each candidate is behind the best of its document."""
        return values - values.max(axis=1, keepdims=True)

    mixed = np.log(take(candidates.mixed) + _LEAST)
    known = [mixed, behind(mixed)]
    for name, scores in candidates.scores.items():
        proposed = np.isfinite(scores)
        last = np.where(proposed, scores, np.float32(np.inf)).min(axis=1, keepdims=True)
        last[~proposed.any(axis=1)] = 0
        own = take(np.where(proposed, scores, last))
        shares = take(candidates.shares[name])
        surest = np.broadcast_to(shares.max(axis=1, keepdims=True), shares.shape)
        logs = [np.log(values + _LEAST) for values in (shares, surest)]
        known += [own, behind(own), take(proposed), *logs]
    labels = np.maximum(take(candidates.labels), 0)
    known.append(np.log1p(counts[labels]))
    if pictures is not None:
        known.append(pictures(labels))
    return np.stack(known, axis=-1, dtype=np.float32, casting="same_kind")
