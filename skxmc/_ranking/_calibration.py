"""From final scores to the probability that a label is right."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.special import expit, logit
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression

from ._candidates import Candidates

# Added to scores of which the logarithm is taken.
_LEAST = np.float32(1e-9)

# Fewer documents than these say too little of probabilities.
MIN_DOCUMENTS = 20

# Right pairs for each point of the monotone curve, the fewest points that are worth it, and most.
_PAIRS_A_POINT, _FEWEST_POINTS, _MOST_POINTS = 30, 4, 40

# Ranks of a document that probabilities are learned from, at least.
_RANKS = 30


def describe_documents(candidates: Candidates, scores: np.ndarray) -> np.ndarray:
    """What the evidence says of a document as a whole, (n, d) float32.

    Of the final scores, and of each kind: the best one, and among how many labels it is spread
    (the inverse of the sum of squared shares). A document without a right label shows in them.

    Parameters
    ----------
    candidates : Candidates
    scores : ndarray of shape (n, m), float32
        Final scores of the candidates.
    """
    known = [_spread(scores * (candidates.labels >= 0))]
    for name, own in candidates.scores.items():
        best = own.max(axis=1)
        known += [np.where(np.isfinite(best), best, 0), _spread(candidates.shares[name])]
    return np.stack(known, axis=1).astype(np.float32)


def _spread(shares: np.ndarray) -> np.ndarray:
    total = np.maximum(shares.sum(axis=1), _LEAST)
    return np.log(total**2 / np.maximum((shares**2).sum(axis=1), _LEAST**2))


class Calibrator:
    r"""The probability that a label is right, from its final score and its document.

    The final score ranks labels, and its shares compete for a sum of 1: a document with ten right
    labels has ten small scores. A logistic regression learns from held-out documents

    .. math:: P(l) = \sigma(a \log s_l + b \log(s_l / s_1) + w \cdot x + c)

    with the score s of the label, that of the best label, and what the evidence says of the
    document as a whole (x). Within a document probabilities are in the order of the scores, and
    each label has a probability of its own. What a logistic curve cannot follow is corrected by a
    monotone one: its points are bins of equal information, and log-odds between two points are
    interpolated. Without enough documents it is
    :math:`1 - \exp(-m s_l)` with the mean number m of labels a document: scores are shares of
    them.

    Attributes
    ----------
    coefficients_ : ndarray of shape (d + 2,), float64, or None
        a, b and w; None where there were too few documents.
    intercept_ : float
    points_ : ndarray of shape (2, n_points), float64
        Log-odds of the regression, and corrected ones; no points where few pairs are right.
    mean_labels_ : float
    n_documents_ : int
        From which it was learned.

    References
    ----------
    Platt, "Probabilistic outputs for support vector machines", 1999. Zadrozny and Elkan,
    "Transforming classifier scores into accurate multiclass probability estimates", KDD 2002:
    isotonic regression.
    """

    def __init__(self, mean_labels: float = 1.0) -> None:
        self.mean_labels_ = float(mean_labels)
        self.coefficients_: np.ndarray | None = None
        self.intercept_ = 0.0
        self.points_ = np.empty((2, 0))
        self.n_documents_ = 0

    def fit(self, scores: np.ndarray, documents: np.ndarray, truth: np.ndarray) -> Calibrator:
        """Learn from held-out documents.

        Parameters
        ----------
        scores : ndarray of shape (n, m), float32
            Final scores, best first; -inf where there is none.
        documents : ndarray of shape (n, d), float32
            As :func:`describe_documents` gives them.
        truth : ndarray of shape (n, m), bool
            Whether a label is right.
        """
        most = np.percentile(truth.sum(axis=1), 95) if len(truth) else 0
        depth = max(_RANKS, int(2 * most))
        scores, truth = scores[:, :depth], truth[:, :depth]
        there = np.isfinite(scores)
        right = truth[there]
        if len(scores) < MIN_DOCUMENTS or right.all() or not right.any():
            return self
        x = _inputs(scores, documents)[there].astype(np.float64)
        mean, scale = x.mean(axis=0), np.maximum(x.std(axis=0), 1e-6)
        model = LogisticRegression(max_iter=1000, tol=1e-7).fit((x - mean) / scale, right)
        coefficients = model.coef_[0] / scale
        if coefficients[0] + coefficients[1] <= 1e-3:  # what ranks best is hardly right more often
            return self
        self.coefficients_ = coefficients
        self.intercept_ = float(model.intercept_[0] - coefficients @ mean)
        self.n_documents_ = len(scores)
        self.points_ = _correct(x @ coefficients + self.intercept_, right)
        return self

    def probabilities(self, scores: np.ndarray, documents: np.ndarray) -> np.ndarray:
        """Probability of each label, (n, m) float32; -inf where there is no score.

        Parameters
        ----------
        scores, documents
            As in :meth:`fit`.
        """
        there = np.isfinite(scores)
        if self.coefficients_ is None:
            found = -np.expm1(-self.mean_labels_ * np.where(there, scores, 0))
        else:
            odds = _inputs(scores, documents) @ self.coefficients_ + self.intercept_
            found = expit(_follow(odds, self.points_))
        return np.where(there, found, -np.inf).astype(np.float32)

    def state_dict(self) -> dict[str, Any]:
        """Numbers and an array that :meth:`from_state` rebuilds it from."""
        return {
            "mean_labels": self.mean_labels_,
            "coefficients": self.coefficients_,
            "intercept": self.intercept_,
            "points": self.points_,
            "n_documents": self.n_documents_,
        }

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> Calibrator:
        """Rebuild from :meth:`state_dict`."""
        calibrator = cls(state["mean_labels"])
        calibrator.coefficients_ = state["coefficients"]
        calibrator.intercept_, calibrator.points_ = state["intercept"], state["points"]
        calibrator.n_documents_ = state["n_documents"]
        return calibrator


def _inputs(scores: np.ndarray, documents: np.ndarray) -> np.ndarray:
    """Logarithms of scores, and less that of the best; then what is known of the document."""
    logarithms = np.log(np.maximum(scores, _LEAST))
    relative = logarithms - logarithms[:, :1]
    shape = (*scores.shape, documents.shape[1])
    return np.concatenate(
        [
            logarithms[:, :, None],
            relative[:, :, None],
            np.broadcast_to(documents[:, None, :], shape),
        ],
        axis=2,
    )


def _correct(odds: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Points of a rising curve from log-odds to those of the share that is right, (2, n_points).

    Parameters
    ----------
    odds : ndarray of shape (n_pairs,), float64
    right : ndarray of shape (n_pairs,), bool
    """
    n_bins = min(_MOST_POINTS, np.count_nonzero(right) // _PAIRS_A_POINT)
    if n_bins < _FEWEST_POINTS:
        return np.empty((2, 0))
    order = np.argsort(odds, kind="stable")
    odds, right = odds[order], right[order]
    expected = expit(odds)
    information = np.cumsum(expected * (1 - expected))
    bin_of = np.minimum((information / information[-1] * n_bins).astype(int), n_bins - 1)
    n = np.bincount(bin_of, minlength=n_bins)
    there = n > 0
    means = [
        np.bincount(bin_of, values, n_bins)[there] / n[there] for values in (odds, expected, right)
    ]
    n = n[there]
    share = (means[2] * n + 2 * means[1]) / (n + 2)  # never 0 or 1
    share = IsotonicRegression().fit_transform(means[0], share, sample_weight=n)
    _, level = np.unique(share, return_inverse=True)  # bins of one level are one point
    points = [
        np.bincount(level, n * values) / np.bincount(level, n) for values in (means[0], share)
    ]
    return np.stack([points[0], logit(points[1])])


def _follow(odds: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Log-odds on the curve through the points; beyond its ends at the distance of its ends."""
    if not points.shape[1]:
        return odds
    inside = np.clip(odds, points[0, 0], points[0, -1])
    return np.interp(inside, points[0], points[1]) + (odds - inside)
