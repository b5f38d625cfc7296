"""How far probabilities are from the share of labels that are right."""

from __future__ import annotations

from typing import Any

import numpy as np

from ._inputs import Ranking, rank, read_inputs
from ._predictions import Indices, Predictions


def calibration_error(
    y_true: Any,
    y_pred: Any,
    *,
    n_bins: int = 15,
    classes: Any = None,
    exclude: Any = None,
    sample_weight: Any = None,
) -> float:
    r"""Expected calibration error of predicted pairs.

    Pairs of a document and a label are put into bins of equal number by their probability. In each
    bin the mean probability is compared with the share of pairs that are right.

    Parameters
    ----------
    y_true : sparse or dense indicator of shape (n_samples, n_labels), DataFrame, or lists
        The truth; see :mod:`skxmc.metrics`.
    y_pred : (indices, probabilities), sparse or dense probabilities
        What ``predict_topk`` or ``predict_proba`` returns. Only the pairs in it count.
    n_bins : int, default=15
        Number of bins.
    classes : array of shape (n_labels,), optional
        The names of the labels, ``classes_`` of the fitted model. With it, lists hold names.
    exclude : sparse or bool (n_samples, n_labels), int pairs (n_pairs, 2), or None
        Filter pairs, dropped from the predictions and from the truth.
    sample_weight : array of shape (n_samples,), optional
        Weights of the documents.

    Returns
    -------
    error : float
        :math:`\sum_b \frac{|b|}{n} |\bar{p}_b - \bar{y}_b|`, within 0 and 1; NaN without a
        predicted pair.

    Raises
    ------
    ValueError
        If predictions have no probabilities, or some are not within 0 and 1.

    See Also
    --------
    skxmc.inspection.CalibrationDisplay : A picture of it.

    References
    ----------
    Naeini, Cooper and Hauskrecht, "Obtaining well calibrated probabilities using Bayesian
    binning", AAAI 2015. Bins of equal number: Nixon et al., "Measuring calibration in deep
    learning", CVPR workshops 2019, section 3.

    Examples
    --------
    >>> from skxmc.metrics import calibration_error
    >>> labels, probabilities = [[0, 1], [2, 0]], [[0.9, 0.2], [0.8, 0.1]]
    >>> import numpy as np
    >>> found = np.array(labels), np.array(probabilities)
    >>> round(calibration_error([[0], [2]], found, n_bins=2), 2)
    0.15
    """
    pairs = read_pairs(
        y_true, y_pred, classes=classes, exclude=exclude, sample_weight=sample_weight
    )
    return expected_error(*calibration_curve(*pairs[:3], n_bins))


def expected_error(mean: np.ndarray, right: np.ndarray, share: np.ndarray) -> float:
    """Calibration error of a curve as :func:`calibration_curve` gives it; NaN of an empty one."""
    return float(share @ np.abs(mean - right)) if len(share) else float("nan")


def read_pairs(
    y_true: Any,
    y_pred: Any,
    *,
    classes: Any = None,
    exclude: Any = None,
    sample_weight: Any = None,
    n_labels: int | None = None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Probability, whether right, weight and label of each predicted pair, (n_pairs,) each."""
    inputs = read_inputs(
        y_true,
        y_pred,
        classes=classes,
        exclude=exclude,
        sample_weight=sample_weight,
        n_labels=n_labels,
    )
    width = np.array([_width(inputs.predictions)])
    ranking: Ranking = rank(inputs, width, single=True)
    if ranking.scores is None:
        raise ValueError(
            "y_pred has no probabilities; pass what predict_topk or predict_proba returns."
        )
    there = ranking.labels >= 0
    probabilities = np.asarray(ranking.scores, dtype=np.float64)[there]
    wrong = np.flatnonzero(~((probabilities >= 0) & (probabilities <= 1)))
    if len(wrong):
        raise ValueError(
            f"y_pred holds {len(wrong)} scores that are not within 0 and 1, the first one "
            f"{probabilities[wrong[0]]:g}; pass probabilities."
        )
    weight = np.broadcast_to(ranking.full_weight[:, None], there.shape)[there]
    return probabilities, ranking.hits[there], weight, ranking.labels[there]


def _width(predictions: Predictions) -> int:
    """Most predictions of a document, at least 1."""
    if isinstance(predictions, Indices):
        return max(1, predictions.labels.shape[1])
    if isinstance(predictions, np.ndarray):
        return max(1, predictions.shape[1])
    return max(1, int(np.diff(predictions.indptr).max(initial=0)))


def calibration_curve(
    probabilities: np.ndarray, right: np.ndarray, weight: np.ndarray, n_bins: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean probability, share that is right, and share of the weight of each bin that has any.

    Bins hold equally many pairs; those of equal probability share a bin.
    """
    if isinstance(n_bins, bool) or int(n_bins) != n_bins or n_bins < 1:
        raise ValueError(f"n_bins is {n_bins!r}; pass the number of bins, an int from 1.")
    if not len(probabilities):
        return np.empty(0), np.empty(0), np.empty(0)
    cuts = np.quantile(probabilities, np.arange(1, int(n_bins)) / int(n_bins))
    bin_of = np.searchsorted(np.unique(cuts), probabilities, side="right")
    sums = np.bincount(bin_of, weight)
    there = sums > 0
    means = [np.bincount(bin_of, weight * values)[there] for values in (probabilities, right)]
    return means[0] / sums[there], means[1] / sums[there], sums[there] / sums.sum()
