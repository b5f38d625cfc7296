"""Label propensities, and the metrics that weigh hits by them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .._inputs._targets import encode_targets
from ._inputs import Ranking, check_classes, read_ranking, read_truth
from ._ranking import discounts, ideal_gain

# The constants A and B of the data sets that they were fitted on.
_PRESETS = {"default": (0.55, 1.5), "amazon": (0.6, 2.6), "wikipedia": (0.5, 0.4)}


def label_propensities(
    Y: Any,
    *,
    a: float = 0.55,
    b: float = 1.5,
    preset: str | None = None,
    classes: Any = None,
) -> np.ndarray:
    """Estimate for each label how probable it is that a document to which it applies has it.

    Rare labels are the ones that annotators miss. With n_l training documents of label l out of N
    the propensity is ``1 / (1 + C * (n_l + b) ** -a)`` with ``C = (ln N - 1) * (b + 1) ** a`` [1]_.
    C is taken as 0 where it would be negative, N < e.

    Parameters
    ----------
    Y : sparse or dense indicator of shape (n_samples, n_labels), DataFrame, or lists
        Targets of the training documents; lists hold label indices, or with `classes` names.
        Propensities belong to the training data: never compute them from the documents that are
        evaluated.
    a, b : float
        Constants of the model, both positive.
    preset : {"default", "amazon", "wikipedia"}, optional
        Constants by name instead of `a` and `b`: 0.55 and 1.5; 0.6 and 2.6 for product data; 0.5
        and 0.4 for Wikipedia categories.
    classes : array of shape (n_labels,), optional
        The names of the labels, ``classes_`` of the fitted model.

    Returns
    -------
    propensities : ndarray of shape (n_labels,), float64
        In (0, 1].

    References
    ----------
    .. [1] Jain, Prabhu and Varma, Extreme Multi-label Loss Functions for Recommendation, Tagging,
       Ranking and Other Missing Label Applications, KDD 2016: the sigmoidal propensity model.

    Examples
    --------
    >>> import numpy as np
    >>> from skxmc.metrics import label_propensities
    >>> label_propensities(np.array([[1, 0], [1, 0], [1, 1], [1, 0]])).round(3)
    array([0.8  , 0.721])
    """
    if preset is not None:
        if preset not in _PRESETS:
            raise ValueError(f"preset is {preset!r}; pass one of {sorted(_PRESETS)}.")
        if (a, b) != _PRESETS["default"]:
            raise ValueError("preset is given together with a or b; pass only one of them.")
        a, b = _PRESETS[preset]
    if not (a > 0 and b > 0):
        raise ValueError(f"a and b must be positive, got a={a} and b={b}.")
    if classes is None:
        truth = read_truth(Y, argument="Y")
    else:
        n_samples = Y.shape[0] if hasattr(Y, "shape") else len(Y)
        truth, _ = encode_targets(Y, n_samples, classes=check_classes(classes), argument="Y")
    frequency = np.bincount(truth.indices, minlength=truth.shape[1])
    factor = max(0.0, np.log(max(1, truth.shape[0])) - 1) * (b + 1) ** a
    return 1 / (1 + factor * (frequency + b) ** -a)


def psprecision_at_k(
    y_true: Any,
    y_pred: Any,
    *,
    k: int | Sequence[int] = 5,
    propensities: np.ndarray,
    classes: Any = None,
    exclude: Any = None,
    sample_weight: Any = None,
) -> float | np.ndarray:
    """Propensity-scored precision at k, normalised by the best that can be reached.

    A hit on label l counts 1 / p_l. The sum over the k best predictions of all documents is
    divided by the same sum for the best possible predictions of all documents: the quotient of
    sums over the data set, not the mean of quotients (KDD 2016 [1]_ and the public tables of
    results do the same).

    Parameters
    ----------
    y_true, y_pred, k, classes, exclude, sample_weight
        As for :func:`precision_at_k`.
    propensities : array of shape (n_labels,)
        Propensities in (0, 1], from :func:`label_propensities` of the training targets. A name
        that `classes` does not hold gets the smallest of them.

    Returns
    -------
    score : float, or ndarray of shape (len(k),) if `k` is a sequence
        In [0, 1]; NaN if no document has a label.

    References
    ----------
    .. [1] Jain, Prabhu and Varma, Extreme Multi-label Loss Functions for Recommendation, Tagging,
       Ranking and Other Missing Label Applications, KDD 2016, section 4.
    """
    ranking, gains, best = _read(y_true, y_pred, k, propensities, classes, exclude, sample_weight)
    return psprecision(ranking, gains, best)


def psrecall_at_k(
    y_true: Any,
    y_pred: Any,
    *,
    k: int | Sequence[int] = 5,
    propensities: np.ndarray,
    classes: Any = None,
    exclude: Any = None,
    sample_weight: Any = None,
) -> float | np.ndarray:
    """Propensity-scored recall at k, normalised by the best that can be reached.

    Like :func:`psprecision_at_k`, with the terms of each document divided by the number of its
    labels before they are summed over the data set.

    Parameters
    ----------
    y_true, y_pred, k, classes, exclude, sample_weight
        As for :func:`precision_at_k`.
    propensities : array of shape (n_labels,)
        Propensities in (0, 1], from :func:`label_propensities` of the training targets. A name
        that `classes` does not hold gets the smallest of them.

    Returns
    -------
    score : float, or ndarray of shape (len(k),) if `k` is a sequence
    """
    ranking, gains, best = _read(y_true, y_pred, k, propensities, classes, exclude, sample_weight)
    return psrecall(ranking, gains, best)


def psndcg_at_k(
    y_true: Any,
    y_pred: Any,
    *,
    k: int | Sequence[int] = 5,
    propensities: np.ndarray,
    classes: Any = None,
    exclude: Any = None,
    sample_weight: Any = None,
) -> float | np.ndarray:
    """Propensity-scored nDCG at k, normalised by the best that can be reached.

    Like :func:`psprecision_at_k`, with hits discounted by ``1 / log2(rank + 1)``, and the terms of
    each document divided by the sum of the discounts of the ranks 1 to ``min(k, n_true)`` before
    they are summed over the data set.

    Parameters
    ----------
    y_true, y_pred, k, classes, exclude, sample_weight
        As for :func:`precision_at_k`.
    propensities : array of shape (n_labels,)
        Propensities in (0, 1], from :func:`label_propensities` of the training targets. A name
        that `classes` does not hold gets the smallest of them.

    Returns
    -------
    score : float, or ndarray of shape (len(k),) if `k` is a sequence
    """
    ranking, gains, best = _read(y_true, y_pred, k, propensities, classes, exclude, sample_weight)
    return psndcg(ranking, gains, best)


def psprecision(ranking: Ranking, gains: np.ndarray, best: np.ndarray) -> float | np.ndarray:
    return ranking.ratio(np.cumsum(gains, axis=1), np.cumsum(best, axis=1))


def psrecall(ranking: Ranking, gains: np.ndarray, best: np.ndarray) -> float | np.ndarray:
    n_true = ranking.n_true[:, None]
    return ranking.ratio(np.cumsum(gains, axis=1) / n_true, np.cumsum(best, axis=1) / n_true)


def psndcg(ranking: Ranking, gains: np.ndarray, best: np.ndarray) -> float | np.ndarray:
    ideal = ideal_gain(ranking)
    return ranking.ratio(
        np.cumsum(gains * discounts(ranking), axis=1) / ideal,
        np.cumsum(best * discounts(ranking), axis=1) / ideal,
    )


def check_propensities(propensities: Any) -> np.ndarray:
    """Return propensities as float64, all of them in (0, 1]."""
    propensities = np.asarray(propensities, dtype=np.float64)
    if propensities.ndim != 1:
        raise ValueError(f"propensities has shape {propensities.shape}; pass one for each label.")
    wrong = np.flatnonzero(~((propensities > 0) & (propensities <= 1)))
    if len(wrong):
        raise ValueError(
            f"propensities[{wrong[0]}] is {propensities[wrong[0]]}; propensities lie in (0, 1]. "
            "Pass label_propensities(Y_train), not its inverse."
        )
    return propensities


def propensity_gains(ranking: Ranking, propensities: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the gain of each prediction, and the gains of the best ones, (n_samples, k_max)."""
    inverse = 1 / propensities
    gains = ranking.hits * inverse[ranking.labels]
    # Sorting the labels of each row by their gain is sorting by the rank of their gain: the column
    # indices of a CSR matrix over labels in that order.
    by_gain = np.argsort(-inverse, kind="stable")
    rank = np.empty(len(by_gain), dtype=ranking.truth.indices.dtype)
    rank[by_gain] = np.arange(len(by_gain))
    truth = ranking.truth
    ordered = type(truth)((truth.data, rank[truth.indices], truth.indptr), shape=truth.shape)
    ordered.has_sorted_indices = False
    ordered.sort_indices()
    n_true = np.diff(ordered.indptr)
    row = np.repeat(np.arange(len(n_true)), n_true)
    place = np.arange(ordered.nnz) - np.repeat(ordered.indptr[:-1], n_true)
    counts = place < gains.shape[1]
    best = np.zeros(gains.shape)
    best[row[counts], place[counts]] = inverse[by_gain[ordered.indices[counts]]]
    return gains, best


def pad_propensities(propensities: np.ndarray, ranking: Ranking) -> np.ndarray:
    """Give labels behind the known ones the smallest propensity: no training document has them."""
    n_unseen = ranking.truth.shape[1] - len(propensities)
    return np.pad(propensities, (0, n_unseen), constant_values=propensities.min(initial=1.0))


def _read(
    y_true: Any,
    y_pred: Any,
    k: Any,
    propensities: Any,
    classes: Any,
    exclude: Any,
    sample_weight: Any,
) -> tuple[Ranking, np.ndarray, np.ndarray]:
    propensities = check_propensities(propensities)
    ranking = read_ranking(
        y_true,
        y_pred,
        k,
        classes=classes,
        exclude=exclude,
        sample_weight=sample_weight,
        n_labels=len(propensities),
    )
    return ranking, *propensity_gains(ranking, pad_propensities(propensities, ranking))
