"""The mixture of evidence: a weighted sum of the probabilities of each kind."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse as sp

from .. import metrics
from .._inputs._targets import without_pairs
from ..indexes import sort_candidates
from ..metrics._predictions import Indices
from ..model_selection import Validation
from ._candidates import (
    Candidates,
    Proposals,
    align,
    best_candidates,
    softmax_all,
    tail_shares,
    weighted_sum,
)

Setting = tuple[float, ...]  # a temperature for each kind
Found = dict[tuple[int, ...], float]  # what weights, in twentieths, reach
Value = Callable[[tuple[int, ...], list[np.ndarray]], float]

# Up to this number of kinds all settings of a grid are tried; there are 24, 84 and 224 of them for
# two, three and four kinds.
_GRID_KINDS = 3

# Weights are multiples of a twentieth.
_PARTS = 20

# Candidates of each kind that take part in the choice of weights; the first ranks decide.
_CANDIDATES = 50

# Noise of a metric's mean over held-out documents, times the root of their number: about half of
# a document's standard deviation. Settings that close to the best are as good.
_NOISE = 0.22

# What moving all the weight away from the defaults must bring, in units of that noise. So 57
# documents choose as well as the defaults do where these fit, and better where they don't; without
# it the mixture lost up to a point and a half to its own choice.
_PRICE = 2.0


@dataclass(frozen=True)
class MixedKind:
    """What the mixture knows of a kind of evidence.

    Attributes
    ----------
    name : str
    default_weight, default_temperature : float
        Used where no held-out document can choose. Weights of all kinds are scaled to a sum of 1.
    temperatures : tuple of float
        Those that are tried.
    weight : float or None
        A weight that is given; the other kinds share the rest.
    """

    name: str
    default_weight: float
    default_temperature: float
    temperatures: tuple[float, ...]
    weight: float | None = None

    @property
    def first_temperature(self) -> float:
        """The default one where it may be tried, else the first that may."""
        if self.default_temperature in self.temperatures:
            return self.default_temperature
        return self.temperatures[0]


class Mixture:
    r"""Turns several lists of scored candidates into one list of probabilities.

    Kind e proposes labels with scores s; the probability of label l is

    .. math:: p(l) = \sum_e w_e \, \mathrm{softmax}(s_e / \tau_e)_l

    over the candidates of e (0 where e does not propose l). Weights and temperatures are those
    with the best metric on held-out documents. A penalty keeps the weights near their defaults; it
    weakens as the number of held-out documents grows. Up to three kinds, all settings of a grid
    are tried, and the best one is refined; with more kinds, the search climbs from the defaults.
    Weights are the mean of all that are nearly as good as the best. A sum of probabilities did
    better than a sum of their logarithms, in which each kind can veto the others.

    Parameters
    ----------
    kinds : sequence of MixedKind

    Attributes
    ----------
    weights_ : dict of str to float
        One a kind of evidence, summing to 1. Kinds that are missing in :meth:`predict` are left
        out, and the other weights scaled up.
    temperatures_ : dict of str to float
    score_ : float
        Metric of the best weights on the held-out documents, less their penalty; nan before
        :meth:`fit`.
    """

    def __init__(self, kinds: Sequence[MixedKind] = ()) -> None:
        self.kinds = {kind.name: kind for kind in kinds}
        self.weights_ = self._with_given({kind.name: kind.default_weight for kind in kinds})
        self.temperatures_ = {kind.name: kind.first_temperature for kind in kinds}
        self.score_ = float("nan")

    def fit(
        self,
        proposals: Proposals,
        Y: sp.csr_array,
        *,
        metric: str = "mean",
        exclude: sp.csr_array | None = None,
        propensities: np.ndarray | None = None,
    ) -> Mixture:
        """Choose weights and temperatures on held-out documents.

        Parameters
        ----------
        proposals : dict of str to (indices, scores)
            Candidates of each kind, int64 (n, m) padded with -1, and scores, float32 (n, m).
        Y : csr_array of shape (n, n_labels)
            The true labels.
        metric : str, default="mean"
            A ranking metric, such as "precision_at_5" or "psndcg_at_3", or "mean": of P@1, P@5,
            nDCG@5 and PSP@5.
        exclude : csr_array of shape (n, n_labels), or None
            Pairs that count neither as prediction nor as truth.
        propensities : ndarray of shape (n_labels,), or None
            Needed for metrics that are propensity-scored.

        Returns
        -------
        self : Mixture

        Raises
        ------
        ValueError
            If `metric` is not known, or needs propensities and there are none.
        """
        names = list(proposals)
        judge = _Judge(Y, metric, exclude, propensities)
        first = {name: sort_candidates(*proposals[name], _CANDIDATES) for name in names}
        labels, scores = align(first, exclude)
        noise = _NOISE / np.sqrt(max(1, Y.shape[0]))
        known = self._with_given({name: self.kinds[name].default_weight for name in names})
        default = np.array([known[name] for name in names])

        def value(parts: tuple[int, ...], shares: list[np.ndarray]) -> float:
            moved = np.abs(np.array(parts) / sum(parts) - default).sum() / 2
            return judge(labels, self._mix(names, parts, shares)) - _PRICE * noise * moved

        if len(names) <= _GRID_KINDS:
            (temperatures, found), steps = self._try_grid(names, scores, noise, value), (2, 1)
        else:
            start = _round_parts(default)
            temperatures, found = self._try_temperatures(names, scores, start, noise, value)
            steps = (4, 2, 1)
        shares = softmax_all(scores, temperatures)
        for step in steps:
            _climb(found, step, lambda parts: value(parts, shares))
        self.score_ = max(found.values())
        good = [parts for parts, score in found.items() if score >= self.score_ - noise]
        weights = np.mean(good, axis=0) / _PARTS
        self.weights_ = self._with_given(dict(zip(names, weights.tolist(), strict=True)))
        self.temperatures_ = dict(zip(names, temperatures, strict=True))
        return self

    def _try_grid(
        self, names: list[str], scores: list[np.ndarray], noise: float, value: Value
    ) -> tuple[Setting, Found]:
        """The best temperatures, and what weights of a coarse grid reach with them."""
        tried: dict[Setting, Found] = {}
        for temperatures in itertools.product(*(self.kinds[n].temperatures for n in names)):
            shares = softmax_all(scores, temperatures)
            tried[temperatures] = {p: value(p, shares) for p in _simplex(len(names), 5)}
        reached = {setting: max(values.values()) for setting, values in tried.items()}
        temperatures = tuple(self.kinds[name].first_temperature for name in names)
        best = max(reached, key=reached.__getitem__)
        if reached[best] > reached[temperatures] + noise:
            temperatures = best
        found = tried[temperatures].items()
        return temperatures, {tuple(4 * part for part in parts): v for parts, v in found}

    def _try_temperatures(
        self,
        names: list[str],
        scores: list[np.ndarray],
        start: tuple[int, ...],
        noise: float,
        value: Value,
    ) -> tuple[Setting, Found]:
        """The best temperatures, one kind after the other, and what the default weights reach."""
        temperatures = tuple(self.kinds[name].first_temperature for name in names)
        best = value(start, softmax_all(scores, temperatures))
        for place, name in enumerate(names):
            for temperature in self.kinds[name].temperatures:
                setting = (*temperatures[:place], temperature, *temperatures[place + 1 :])
                if setting == temperatures:
                    continue
                reached = value(start, softmax_all(scores, setting))
                if reached > best + noise:
                    temperatures, best = setting, reached
        return temperatures, {start: best}

    def predict(
        self, proposals: Proposals, k: int, exclude: sp.csr_array | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """The k most probable labels of each document.

        Parameters
        ----------
        proposals : dict of str to (indices, scores)
            As in :meth:`fit`.
        k : int
        exclude : csr_array of shape (n, n_labels), or None
            Pairs that are not returned; probabilities are those without them.

        Returns
        -------
        indices : ndarray of shape (n, k), int64
            Best first, ties in favour of the lower index; -1 where there are fewer candidates.
        probabilities : ndarray of shape (n, k), float32
            -inf where there is no candidate.
        """
        candidates = self.candidates(proposals, exclude)
        return best_candidates(candidates.labels, candidates.mixed, k)

    def candidates(self, proposals: Proposals, exclude: sp.csr_array | None = None) -> Candidates:
        """All labels that any kind of evidence proposes, with their probabilities.

        Parameters
        ----------
        proposals, exclude
            As in :meth:`predict`.
        """
        names = list(proposals)
        labels, scores = align(proposals, exclude)
        shares = softmax_all(scores, [self.temperatures_.get(name, 1.0) for name in names])
        return Candidates(
            labels,
            dict(zip(names, scores, strict=True)),
            dict(zip(names, shares, strict=True)),
            weighted_sum(self._weights_of(names), shares),
        )

    def more_candidates(
        self, first: Candidates, proposals: Proposals, known: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Labels beyond those that are known, measured by the same scale.

        Their shares are those of a softmax over the first candidates, so that nothing changes for
        these and nothing depends on how many more there are.

        Parameters
        ----------
        first : Candidates
        proposals : dict of str to (indices, scores)
            Longer lists of the same kinds.
        known : ndarray of shape (n, m), int64
            Labels that are left out, -1 where there are fewer.

        Returns
        -------
        labels : ndarray of shape (n, m_more), int64
            Best first; -1 where there are fewer.
        scores : ndarray of shape (n, m_more), float32
        """
        labels, scores = align(proposals, None)
        for own, left_out in zip(labels, known, strict=True):
            own[np.isin(own, left_out)] = -1
        mixed = weighted_sum(*self._tail(first, dict(zip(proposals, scores, strict=True))))
        return best_candidates(labels, mixed, labels.shape[1])

    def score(
        self,
        first: Candidates,
        final: np.ndarray,
        labels: np.ndarray,
        scores: dict[str, np.ndarray],
    ) -> np.ndarray:
        """Final scores of given labels, (n, m) float32.

        Parameters
        ----------
        first : Candidates
        final : ndarray of shape (n, n_candidates), float32
            Final scores of the candidates.
        labels : ndarray of shape (n, m), int64
        scores : dict of str to ndarray of shape (n, m), float32
            What each kind says of the labels.
        """
        least = np.where(first.labels >= 0, final, np.inf).min(axis=1, keepdims=True)
        tail = np.minimum(weighted_sum(*self._tail(first, scores)), least)
        columns = first.find(labels)
        known = np.take_along_axis(final, np.maximum(columns, 0), axis=1)
        return np.where(columns >= 0, known, tail).astype(np.float32)

    def parts(
        self, first: Candidates, labels: np.ndarray, scores: dict[str, np.ndarray]
    ) -> dict[str, np.ndarray]:
        """What each kind adds to the mixture for given labels: its weighted shares.

        Parameters
        ----------
        first, labels, scores
            As in :meth:`score`.

        Returns
        -------
        parts : dict of str to ndarray of shape (n, m), float32
            The sum is the mixture, for labels among the candidates and for others.
        """
        columns = first.find(labels)
        parts = {}
        for name, weight, tail in zip(scores, *self._tail(first, scores), strict=True):
            known = np.take_along_axis(first.shares[name], np.maximum(columns, 0), axis=1)
            parts[name] = np.float32(weight) * np.where(columns >= 0, known, tail)
        return parts

    def _tail(
        self, first: Candidates, scores: dict[str, np.ndarray]
    ) -> tuple[np.ndarray, list[np.ndarray]]:
        """Weights, and shares in the softmax over the first candidates, each (n, m) float32."""
        shares = [
            tail_shares(own, first.scores[name], self.temperatures_.get(name, 1.0))
            for name, own in scores.items()
        ]
        return self._weights_of(list(scores)), shares

    def _weights_of(self, names: list[str]) -> np.ndarray:
        """Weights of some kinds, scaled to a sum of 1."""
        weights = np.array([self.weights_.get(name, 0.0) for name in names])
        if weights.sum() <= 0:
            weights = np.ones(len(names))
        return weights / weights.sum()

    def state_dict(self) -> dict[str, Any]:
        """Plain numbers that :meth:`from_state` rebuilds the mixture from."""
        return {
            "weights": self.weights_,
            "temperatures": self.temperatures_,
            "score": None if np.isnan(self.score_) else self.score_,
        }

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> Mixture:
        """Rebuild from :meth:`state_dict`, for predictions."""
        mixture = cls()
        mixture.weights_ = dict(state["weights"])
        mixture.temperatures_ = dict(state["temperatures"])
        mixture.score_ = float("nan") if state["score"] is None else float(state["score"])
        return mixture

    def _mix(self, names: list[str], parts: tuple[int, ...], shares: list[np.ndarray]):
        weights = self._with_given(dict(zip(names, map(float, parts), strict=True)))
        return weighted_sum([weights[name] for name in names], shares)

    def _with_given(self, weights: dict[str, float]) -> dict[str, float]:
        """Weights summing to 1 in which those that are given are as given."""
        given = {name: kind.weight for name, kind in self.kinds.items() if kind.weight is not None}
        given = {name: weight for name, weight in given.items() if name in weights}
        free = {name: weight for name, weight in weights.items() if name not in given}
        total, rest = sum(free.values()), 1 - sum(given.values())
        if free and total <= 0:
            free, total = dict.fromkeys(free, 1.0), float(len(free))
        scaled = {name: max(rest, 0.0) * weight / total for name, weight in free.items()}
        return {name: given.get(name, scaled.get(name)) for name in weights}


class _Judge:
    """The metric of ranked candidates."""

    def __init__(self, Y, metric: str, exclude, propensities) -> None:
        self.Y = Y if exclude is None else without_pairs(Y, exclude)
        self.metrics = [
            _find_metric(name, propensities)
            for name in (Validation.MEAN_OF if metric == "mean" else [metric])
        ]
        self.depth = max(k for _, k, _ in self.metrics)

    def __call__(self, labels: np.ndarray, probabilities: np.ndarray) -> float:
        depth = min(self.depth, labels.shape[1])
        best = np.argpartition(-probabilities, depth - 1, axis=1)[:, :depth]
        best.sort(axis=1)  # labels ascend in a row: of equal ones the lower comes first
        values = np.take_along_axis(probabilities, best, axis=1)
        order = np.argsort(-values, axis=1, kind="stable")
        # Said to be indices: those of two labels look like an indicator.
        ranked = Indices(np.take_along_axis(labels, np.take_along_axis(best, order, 1), axis=1))
        return float(
            np.mean([function(self.Y, ranked, k=k, **more) for function, k, more in self.metrics])
        )


def _find_metric(name: str, propensities: np.ndarray | None):
    """Function, depth and keyword arguments of a metric such as "precision_at_5"."""
    base, _, depth = name.rpartition("_at_")
    function = getattr(metrics, f"{base}_at_k", None)
    if function is None or not depth.isdigit():
        raise ValueError(
            f"metric={name!r} is not known; pass 'mean' or a name such as 'precision_at_1'."
        )
    if not base.startswith("ps"):
        return function, int(depth), {}
    if propensities is None:
        raise ValueError(f"metric={name!r} needs propensities; pass propensities.")
    return function, int(depth), {"propensities": propensities}


def _simplex(n: int, steps: int):
    """Tuples of n non-negative integers that sum to `steps`."""
    for parts in itertools.product(range(steps + 1), repeat=n):
        if sum(parts) == steps:
            yield parts


def _round_parts(weights: np.ndarray) -> tuple[int, ...]:
    """Weights in twentieths, summing to all of them: the largest remainders are rounded up."""
    exact = np.asarray(weights) / np.sum(weights) * _PARTS
    parts = np.floor(exact).astype(int)
    order = np.argsort(parts - exact, kind="stable")
    parts[order[: _PARTS - parts.sum()]] += 1
    return tuple(parts.tolist())


def _climb(found: dict[tuple[int, ...], float], step: int, evaluate) -> None:
    """Move `step` from one weight to another for as long as it helps; extends `found`."""
    while True:
        best = max(found, key=found.__getitem__)
        for source, target in itertools.permutations(range(len(best)), 2):
            moved = list(best)
            moved[source] -= step
            moved[target] += step
            if moved[source] >= 0 and tuple(moved) not in found:
                found[tuple(moved)] = evaluate(tuple(moved))
        if max(found, key=found.__getitem__) == best:
            return
