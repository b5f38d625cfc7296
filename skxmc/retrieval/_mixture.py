"""Mixture of evidence: candidates of several kinds become one ranking."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import product
from typing import Any

import numpy as np
import scipy.sparse as sp

from ..metrics._topk import find_pairs
from ._index import sort_candidates

Evidence = Mapping[str, tuple[np.ndarray, np.ndarray]]

# Temperatures that are tried, the first of each being the one without held-out documents.
# Prototypes score by cosine, label vectors by logits, neighbours by the logarithm of votes.
TEMPERATURES = {
    "prototypes": (0.05, 0.03, 0.08),
    "label_vectors": (2.0, 1.0, 3.0, 5.0),
    "neighbours": (1.0,),
}
WEIGHTS = {"prototypes": 0.3, "label_vectors": 0.4, "neighbours": 0.3}

# Weights are tried in steps of a tenth.
STEPS = 10

# Held-out documents that are looked at, and ranks that a metric may ask for.
MAX_DOCUMENTS, RANKS = 2000, 5


class Mixture:
    r"""Weighted sum of the probabilities that each kind of evidence gives.

    The scores of one kind become probabilities over its candidates by a softmax at its own
    temperature; :math:`p_l = \sum_e w_e\, \mathrm{softmax}(s_e / \tau_e)_l`. Weights and
    temperatures are those with the best metric on held-out documents. A sum of probabilities
    did better here than a product or a trained combination: a kind that does not know a label
    must not veto it.

    Parameters
    ----------
    fixed : dict of str to float, default=None
        Weights that are not chosen but given.

    Attributes
    ----------
    weights_ : dict of str to float
        One for each kind of evidence; they add up to 1.
    temperatures_ : dict of str to float
    score_ : float
        The metric on the held-out documents; NaN before :meth:`fit`.
    """

    def __init__(self, fixed: dict[str, float] | None = None) -> None:
        self.fixed = dict(fixed or {})
        self.weights_ = dict(WEIGHTS)
        self.temperatures_ = {name: choices[0] for name, choices in TEMPERATURES.items()}
        self.score_ = float("nan")

    def fit(
        self,
        evidence: Evidence,
        truth: sp.csr_array,
        *,
        metric: str = "mean",
        exclude: sp.csr_array | None = None,
        propensities: np.ndarray,
    ) -> Mixture:
        """Choose weights and temperatures.

        Parameters
        ----------
        evidence : dict of str to (indices, scores)
            Candidates of held-out documents, (n, m) int64 and float32, -1 where there are fewer.
        truth : csr_array of shape (n, n_labels)
        metric : str, default="mean"
            "precision_at_1", "precision_at_5", "ndcg_at_5", "psprecision_at_5", or "mean" of
            P@1, P@5 and PSP@5.
        exclude : csr_array of shape (n, n_labels) or None
            Pairs that count neither as predicted nor as true.
        propensities : ndarray of shape (n_labels,)
        """
        rows = np.flatnonzero(np.diff(truth.indptr))[:MAX_DOCUMENTS]
        if not len(rows):
            return self
        names = list(evidence)
        labels, scores = _align({name: (i[rows], s[rows]) for name, (i, s) in evidence.items()})
        if exclude is not None:
            scores[:, _pairs(exclude[rows], labels)] = -np.inf
        measure = _Measure(metric, labels, truth[rows], 1.0 / propensities)
        best = -np.inf
        for temperatures in product(*(TEMPERATURES[name] for name in names)):
            shares = np.stack([_softmax(s, t) for s, t in zip(scores, temperatures, strict=True)])
            for weights in self._simplex(names):
                value = measure(np.tensordot(weights, shares, axes=1))
                # The margin keeps the first of equals: results don't hang on rounding.
                if value > best + 1e-6:
                    best = value
                    self.weights_ = dict(zip(names, map(float, weights), strict=True))
                    self.temperatures_ = dict(zip(names, temperatures, strict=True))
        self.score_ = float(best)
        return self

    def predict(
        self, evidence: Evidence, k: int, exclude: sp.csr_array | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """The k best labels of each document, (n, k) int64, and their probabilities, float32.

        Ties go to the lower label; rows with fewer candidates end in -1 and -inf.
        """
        weights = self._complete_weights(list(evidence))
        labels, scores = _align(evidence)
        total = np.zeros(labels.shape, dtype=np.float32)
        for name, score in zip(evidence, scores, strict=True):
            total += np.float32(weights[name]) * _softmax(score, self.temperatures_[name])
        out = labels < 0
        if exclude is not None:
            out |= _pairs(exclude, labels)
        indices, probabilities = sort_candidates(
            np.where(out, -1, labels), np.where(out, -np.inf, total), min(k, labels.shape[1])
        )
        missing = k - indices.shape[1]
        if missing > 0:
            indices = np.pad(indices, ((0, 0), (0, missing)), constant_values=-1)
            probabilities = np.pad(probabilities, ((0, 0), (0, missing)), constant_values=-np.inf)
        return indices, probabilities

    def to_dict(self) -> dict[str, Any]:
        """All that was learned, as plain numbers."""
        return {
            "fixed": self.fixed,
            "weights": self.weights_,
            "temperatures": self.temperatures_,
            "score": None if np.isnan(self.score_) else self.score_,
        }

    @classmethod
    def from_dict(cls, state: dict[str, Any]) -> Mixture:
        """Rebuild from :meth:`to_dict`."""
        mixture = cls(state["fixed"])
        mixture.weights_ = dict(state["weights"])
        mixture.temperatures_ = dict(state["temperatures"])
        mixture.score_ = float("nan") if state["score"] is None else state["score"]
        return mixture

    def _complete_weights(self, names: list[str]) -> dict[str, float]:
        """Weights of the kinds that are there; fixed ones as given, the others share the rest."""
        fixed = {name: self.fixed[name] for name in names if name in self.fixed}
        free = {name: self.weights_[name] for name in names if name not in fixed}
        rest, total = 1.0 - sum(fixed.values()), sum(free.values())
        return fixed | {
            name: rest * (weight / total if total else 1 / len(free))
            for name, weight in free.items()
        }

    def _simplex(self, names: list[str]) -> Iterator[np.ndarray]:
        """All weights in steps of a tenth; fixed ones stay, the others share the rest."""
        free = [name for name in names if name not in self.fixed]
        rest = 1.0 - sum(self.fixed.get(name, 0.0) for name in names)
        if not free:
            yield np.array([self.fixed[name] for name in names], dtype=np.float32)
            return
        for parts in product(range(STEPS + 1), repeat=len(free)):
            if sum(parts) == STEPS:
                shares = dict(zip(free, (rest * part / STEPS for part in parts), strict=True))
                yield np.array(
                    [shares.get(name, self.fixed.get(name)) for name in names], dtype=np.float32
                )


class _Measure:
    """A metric of rankings over fixed candidates, for many scores of the same candidates."""

    def __init__(
        self, metric: str, labels: np.ndarray, truth: sp.csr_array, gains: np.ndarray
    ) -> None:
        self.metric = metric
        self.hits = _pairs(truth, labels)
        self.gains = np.where(self.hits, gains[np.maximum(labels, 0)], 0.0)
        counts = np.diff(truth.indptr)
        discounts = 1 / np.log2(np.arange(RANKS) + 2)
        self.discounts = discounts
        self.ideal = np.cumsum(discounts)[np.minimum(counts, RANKS) - 1]
        # The largest gains of each row: sorted by row, then by gain.
        rows = np.repeat(np.arange(len(counts)), counts)
        order = np.lexsort((-gains[truth.indices], rows))
        rank = np.arange(len(order)) - np.repeat(truth.indptr[:-1], counts)
        self.best = gains[truth.indices][order][rank < RANKS].sum()

    def __call__(self, scores: np.ndarray) -> float:
        k = min(RANKS, scores.shape[1])
        top = np.argpartition(-scores, k - 1, axis=1)[:, :k]
        order = np.argsort(-np.take_along_axis(scores, top, axis=1), axis=1, kind="stable")
        top = np.take_along_axis(top, order, axis=1)
        hits = np.take_along_axis(self.hits, top, axis=1)
        figures = {
            "precision_at_1": hits[:, 0].mean(),
            "precision_at_5": hits.sum(axis=1).mean() / RANKS,
            "ndcg_at_5": (hits @ self.discounts[:k] / self.ideal).mean(),
            "psprecision_at_5": np.take_along_axis(self.gains, top, axis=1).sum() / self.best,
        }
        if self.metric != "mean":
            return float(figures[self.metric])
        return (
            float(
                figures["precision_at_1"] + figures["precision_at_5"] + figures["psprecision_at_5"]
            )
            / 3
        )


def _align(evidence: Evidence) -> tuple[np.ndarray, np.ndarray]:
    """Bring the candidates of all kinds to common columns.

    Returns
    -------
    labels : ndarray of shape (n, m), int64
        The distinct candidates of each row, -1 in columns that are not used.
    scores : ndarray of shape (n_kinds, n, m), float32
        Score of each candidate, -inf where a kind does not propose it.
    """
    indices = np.concatenate([found for found, _ in evidence.values()], axis=1)
    order = np.argsort(indices, axis=1, kind="stable")
    labels = np.take_along_axis(indices, order, axis=1)
    scores = np.full((len(evidence), *labels.shape), -np.inf, dtype=np.float32)
    start = 0
    for number, (found, score) in enumerate(evidence.values()):
        own = np.full(indices.shape, -np.inf, dtype=np.float32)
        own[:, start : start + found.shape[1]] = score
        scores[number] = np.take_along_axis(own, order, axis=1)
        start += found.shape[1]
    # A label stands in neighbouring columns, once for each kind that proposes it: its scores go
    # to the first of them, the others are not used any more.
    repeated = np.zeros(labels.shape, dtype=bool)
    for shift in range(1, len(evidence)):
        same = labels[:, shift:] == labels[:, :-shift]
        first = scores[:, :, :-shift]
        np.maximum(first, np.where(same, scores[:, :, shift:], -np.inf), out=first)
        repeated[:, shift:] |= same
    labels[repeated] = -1
    scores[:, labels < 0] = -np.inf
    return labels, scores


def _softmax(scores: np.ndarray, temperature: float) -> np.ndarray:
    """Probabilities over the finite scores of each row; zeros where there is none."""
    highest = scores.max(axis=1, keepdims=True, initial=-np.inf)
    shifted = scores - np.where(np.isfinite(highest), highest, 0)
    exponentials = np.exp(shifted / np.float32(temperature))
    return exponentials / np.maximum(exponentials.sum(axis=1, keepdims=True), 1e-30)


def _pairs(matrix: sp.csr_array, labels: np.ndarray) -> np.ndarray:
    """Which (row, label) pairs of (n, m) candidates the matrix marks, bool."""
    marked = np.zeros(labels.shape, dtype=bool)
    rows, columns = np.nonzero(labels >= 0)
    marked[rows, columns] = find_pairs(matrix, rows, labels[rows, columns])
    return marked
