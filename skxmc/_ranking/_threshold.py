"""Above which probability labels are given."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from scipy.stats import norm

from ..model_selection import Precision

# Probability above which labels are given where no held-out document could choose one: the
# thresholds that were chosen on several data sets lie near it.
DEFAULT_THRESHOLD = 0.26

# Numbers of labels that are tried for a wanted precision.
_TRIED = 400

# Held-out documents of a label that its own threshold takes to count as much as the common one.
_PRIOR_DOCUMENTS = 10.0


def choose_threshold(
    spec: Any,
    labels: np.ndarray,
    probabilities: np.ndarray,
    truth: np.ndarray,
    missed: int,
    n_labels: int,
) -> float | np.ndarray:
    """The threshold that a parameter asks for.

    Parameters
    ----------
    spec : {"auto", "per-label"} or Precision
        What is asked for.
    labels : ndarray of shape (n, m), int64
        Candidates of held-out documents, -1 where there is none.
    probabilities : ndarray of shape (n, m), float32
    truth : ndarray of shape (n, m), bool
        Whether a candidate is right.
    missed : int
        Right labels that are not among the candidates.
    n_labels : int

    Returns
    -------
    threshold : float, or ndarray of shape (n_labels,), float32
        With "per-label" one for each label.
    """
    if isinstance(spec, Precision):
        return precision_threshold(probabilities, truth, spec.target, spec.confidence)
    common = best_threshold(probabilities[labels >= 0], truth[labels >= 0], missed)
    if spec == "auto":
        return common
    return label_thresholds(labels, probabilities, truth, common, n_labels)


def best_threshold(probabilities: np.ndarray, truth: np.ndarray, missed: int = 0) -> float:
    """Probability above which giving labels has the best micro-averaged F1.

    Parameters
    ----------
    probabilities : ndarray of shape (n_pairs,), float32
    truth : ndarray of shape (n_pairs,), bool
    missed : int, default=0
        Right pairs that are not among them.
    """
    if not truth.any():
        return DEFAULT_THRESHOLD
    order = np.argsort(-probabilities, kind="stable")
    hits = np.cumsum(truth[order])
    f1 = 2 * hits / (np.arange(1, len(order) + 1) + hits[-1] + missed)
    best = int(np.argmax(f1))
    after = probabilities[order[best + 1]] if best + 1 < len(order) else np.float32(0)
    # Halfway to the next one: what is new falls between those that were seen.
    return float((probabilities[order[best]] + after) / 2)


def label_thresholds(
    labels: np.ndarray,
    probabilities: np.ndarray,
    truth: np.ndarray,
    common: float,
    n_labels: int,
) -> np.ndarray:
    """A threshold for each label: its own best one, drawn to the common one.

    The fewer held-out documents have the label, the nearer to the common one.
    """
    there = labels >= 0
    flat, values, right = labels[there], probabilities[there], truth[there]
    order = np.argsort(flat, kind="stable")
    found, starts = np.unique(flat[order], return_index=True)
    thresholds = np.full(n_labels, common, dtype=np.float32)
    for label, part in zip(found, np.split(order, starts[1:]), strict=True):
        n_right = int(right[part].sum())
        if n_right:
            own = best_threshold(values[part], right[part])
            weight = n_right / (n_right + _PRIOR_DOCUMENTS)
            thresholds[label] = weight * own + (1 - weight) * common
    return thresholds


def precision_threshold(
    probabilities: np.ndarray, truth: np.ndarray, target: float, confidence: float
) -> float:
    """The lowest threshold at which a lower bound of the precision is at least `target`.

    The bound is that of a ratio of two means over documents, by the delta method: the labels of a
    document are right or wrong together.

    Returns
    -------
    threshold : float
        1.0, with a warning, where no threshold keeps the precision.
    """
    ranked = -np.sort(-probabilities[np.isfinite(probabilities)])
    # Most labels are hardly probable: numbers of given ones that are tried are wider apart there.
    numbers = (
        np.unique(np.geomspace(1, len(ranked), _TRIED).astype(int))[::-1] if len(ranked) else []
    )
    z = norm.ppf(confidence)
    for number in numbers:
        threshold = np.nextafter(ranked[number - 1], np.float32(-1))
        given = probabilities > threshold
        n_given, n_right = given.sum(axis=1), (given & truth).sum(axis=1)
        total = n_given.sum()
        if not total:
            break
        precision = n_right.sum() / total
        error = np.sqrt(((n_right - precision * n_given) ** 2).sum()) / total
        # Precision 1 has no spread; as many labels bound it by the rule of three.
        error = max(error, 1.0 / total)
        if precision - z * error >= target:
            return float(threshold)
    return refuse_precision(target)


def refuse_precision(target: float) -> float:
    """Warn that nobody can promise the precision; the threshold above which nothing lies."""
    warnings.warn(
        f"the held-out documents cannot show a precision of {target} at any threshold, so predict "
        "gives no label; pass a lower target, or fit on more documents.",
        UserWarning,
        stacklevel=3,
    )
    return 1.0
