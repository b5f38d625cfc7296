"""Metrics of the k best labels of each document, averaged over documents."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ._inputs import Ranking, read_ranking


def precision_at_k(
    y_true: Any,
    y_pred: Any,
    *,
    k: int | Sequence[int] = 5,
    classes: Any = None,
    exclude: Any = None,
    sample_weight: Any = None,
) -> float | np.ndarray:
    """Precision at k: the share of the k best predictions that are right.

    For each document ``hits / k``, also if there are fewer than k predictions or true labels.

    Parameters
    ----------
    y_true : sparse or dense indicator of shape (n_samples, n_labels), DataFrame, or lists
        The truth: lists hold label indices, or with `classes` names; see :mod:`skxmc.metrics`.
    y_pred : array of ints or names (n_samples, m), tuple (indices, scores), scores, or lists
        Predictions; see :mod:`skxmc.metrics`.
    k : int or sequence of int
        The number of predictions that count.
    classes : array of shape (n_labels,), optional
        The names of the labels, ``classes_`` of the fitted model. With it, lists hold names.
    exclude : sparse or bool (n_samples, n_labels), int pairs (n_pairs, 2), or None
        Filter pairs, dropped from the predictions and from the truth.
    sample_weight : array of shape (n_samples,), optional
        Weights of the documents.

    Returns
    -------
    score : float, or ndarray of shape (len(k),) if `k` is a sequence
        NaN if no document has a label.

    Examples
    --------
    >>> from skxmc.metrics import precision_at_k
    >>> precision_at_k([[0, 2], [1]], [[2, 1, 0], [1, 0, 2]], k=[1, 3])
    array([1. , 0.5])

    Names of labels, as ``predict_topk(..., return_labels=True)`` gives them:

    >>> classes = ["cat", "dog", "pet"]
    >>> precision_at_k([["cat", "pet"], ["dog"]], [["pet"], ["dog"]], k=1, classes=classes)
    1.0
    """
    ranking = read_ranking(
        y_true, y_pred, k, classes=classes, exclude=exclude, sample_weight=sample_weight
    )
    return precision(ranking)


def recall_at_k(
    y_true: Any,
    y_pred: Any,
    *,
    k: int | Sequence[int] = 5,
    classes: Any = None,
    exclude: Any = None,
    sample_weight: Any = None,
) -> float | np.ndarray:
    """Recall at k: the share of a document's labels that are among the k best predictions.

    For each document ``hits / n_true``, with n_true the number of its labels.

    Parameters
    ----------
    y_true, y_pred, k, classes, exclude, sample_weight
        As for :func:`precision_at_k`.

    Returns
    -------
    score : float, or ndarray of shape (len(k),) if `k` is a sequence
    """
    ranking = read_ranking(
        y_true, y_pred, k, classes=classes, exclude=exclude, sample_weight=sample_weight
    )
    return recall(ranking)


def rp_at_k(
    y_true: Any,
    y_pred: Any,
    *,
    k: int | Sequence[int] = 5,
    classes: Any = None,
    exclude: Any = None,
    sample_weight: Any = None,
) -> float | np.ndarray:
    """R-precision at k: hits among the k best predictions over the hits that were possible.

    For each document ``hits / min(k, n_true)`` [1]_: unlike precision at k it reaches 1 for
    documents with fewer than k labels. RP@10 is the usual figure of skill extraction: predict
    10 labels and pass ``k=10``.

    Parameters
    ----------
    y_true, y_pred, k, classes, exclude, sample_weight
        As for :func:`precision_at_k`.

    Returns
    -------
    score : float, or ndarray of shape (len(k),) if `k` is a sequence

    References
    ----------
    .. [1] Chalkidis et al., Large-Scale Multi-Label Text Classification on EU Legislation,
       ACL 2019.
    """
    ranking = read_ranking(
        y_true, y_pred, k, classes=classes, exclude=exclude, sample_weight=sample_weight
    )
    return r_precision(ranking)


def hit_at_k(
    y_true: Any,
    y_pred: Any,
    *,
    k: int | Sequence[int] = 5,
    classes: Any = None,
    exclude: Any = None,
    sample_weight: Any = None,
) -> float | np.ndarray:
    """Hit rate at k: the share of documents with a right label among the k best predictions.

    Parameters
    ----------
    y_true, y_pred, k, classes, exclude, sample_weight
        As for :func:`precision_at_k`.

    Returns
    -------
    score : float, or ndarray of shape (len(k),) if `k` is a sequence
    """
    ranking = read_ranking(
        y_true, y_pred, k, classes=classes, exclude=exclude, sample_weight=sample_weight
    )
    return hit(ranking)


def mrr_at_k(
    y_true: Any,
    y_pred: Any,
    *,
    k: int | Sequence[int] = 5,
    classes: Any = None,
    exclude: Any = None,
    sample_weight: Any = None,
) -> float | np.ndarray:
    """Mean reciprocal rank at k: one over the rank of the first right prediction.

    The rank counts from 1. The search stops at k: a document without a hit among the k best
    counts as 0. MRR without a bound needs whole rankings and k as large as the number of labels.

    Parameters
    ----------
    y_true, y_pred, k, classes, exclude, sample_weight
        As for :func:`precision_at_k`.

    Returns
    -------
    score : float, or ndarray of shape (len(k),) if `k` is a sequence
    """
    ranking = read_ranking(
        y_true, y_pred, k, classes=classes, exclude=exclude, sample_weight=sample_weight
    )
    return reciprocal_rank(ranking)


def map_at_k(
    y_true: Any,
    y_pred: Any,
    *,
    k: int | Sequence[int] = 5,
    classes: Any = None,
    exclude: Any = None,
    sample_weight: Any = None,
) -> float | np.ndarray:
    """Mean average precision at k.

    For each document the sum of the precisions at the ranks of its hits, over
    ``min(k, n_true)``, so that a perfect ranking scores 1. Labels behind rank k count as not
    found. With whole rankings and k as large as the number of labels it is MAP, scikit-learn's
    :func:`~sklearn.metrics.label_ranking_average_precision_score` where scores do not tie.

    Parameters
    ----------
    y_true, y_pred, k, classes, exclude, sample_weight
        As for :func:`precision_at_k`.

    Returns
    -------
    score : float, or ndarray of shape (len(k),) if `k` is a sequence
    """
    ranking = read_ranking(
        y_true, y_pred, k, classes=classes, exclude=exclude, sample_weight=sample_weight
    )
    return average_precision(ranking)


def ndcg_at_k(
    y_true: Any,
    y_pred: Any,
    *,
    k: int | Sequence[int] = 5,
    classes: Any = None,
    exclude: Any = None,
    sample_weight: Any = None,
) -> float | np.ndarray:
    """Normalised discounted cumulative gain at k.

    For each document the sum of ``1 / log2(rank + 1)`` over its hits, divided by the same sum over
    the ranks 1 to ``min(k, n_true)``.

    Parameters
    ----------
    y_true, y_pred, k, classes, exclude, sample_weight
        As for :func:`precision_at_k`.

    Returns
    -------
    score : float, or ndarray of shape (len(k),) if `k` is a sequence
    """
    ranking = read_ranking(
        y_true, y_pred, k, classes=classes, exclude=exclude, sample_weight=sample_weight
    )
    return ndcg(ranking)


# The formulas, on inputs that are read once: xmc_report computes all of them from one Ranking.


def precision(ranking: Ranking) -> float | np.ndarray:
    return ranking.mean(_n_hits(ranking) / ranking.depth)


def recall(ranking: Ranking) -> float | np.ndarray:
    return ranking.mean(_n_hits(ranking) / ranking.n_true[:, None])


def r_precision(ranking: Ranking) -> float | np.ndarray:
    return ranking.mean(_n_hits(ranking) / ranking.n_reachable)


def hit(ranking: Ranking) -> float | np.ndarray:
    return ranking.mean(_n_hits(ranking) > 0)


def reciprocal_rank(ranking: Ranking) -> float | np.ndarray:
    return ranking.mean(np.maximum.accumulate(ranking.hits / ranking.depth, axis=1))


def average_precision(ranking: Ranking) -> float | np.ndarray:
    precision_of_hits = ranking.hits * _n_hits(ranking) / ranking.depth
    return ranking.mean(np.cumsum(precision_of_hits, axis=1) / ranking.n_reachable)


def ndcg(ranking: Ranking) -> float | np.ndarray:
    gain = np.cumsum(ranking.hits * discounts(ranking), axis=1)
    return ranking.mean(gain / ideal_gain(ranking))


def discounts(ranking: Ranking) -> np.ndarray:
    """Return ``1 / log2(rank + 1)`` for the ranks 1 to k_max."""
    return 1 / np.log2(ranking.depth + 1)


def ideal_gain(ranking: Ranking) -> np.ndarray:
    """Return the discounted gain of a perfect ranking, (n_samples, k_max)."""
    return np.cumsum(discounts(ranking))[ranking.n_reachable - 1]


def _n_hits(ranking: Ranking) -> np.ndarray:
    return np.cumsum(ranking.hits, axis=1)
