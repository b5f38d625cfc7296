"""F1, averages over labels, and the share of documents that can be answered."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ._inputs import Inputs, Ranking, read_inputs, read_ranking
from ._topk import find_pairs, predicted_pairs

# For each label the weight of its hits, of its predictions and of its true pairs.
Counts = tuple[np.ndarray, np.ndarray, np.ndarray]

# The most frequent tenth of the labels, the next four tenths, the rest.
_HEAD_TORSO_TAIL = (0.1, 0.5)


def micro_f1(
    y_true: Any,
    y_pred: Any,
    *,
    k: int | Sequence[int] | None = None,
    classes: Any = None,
    exclude: Any = None,
    sample_weight: Any = None,
) -> float | np.ndarray:
    """F1 of all pairs of a document and a label taken together.

    ``2 TP / (2 TP + FP + FN)``. Documents without labels count: what is predicted for them is
    wrong.

    Parameters
    ----------
    y_true, y_pred, classes, exclude, sample_weight
        As for :func:`precision_at_k`.
    k : int, sequence of int or None
        What is predicted: the k best labels of each document, or with None every label whose
        score is not zero (an indicator from ``predict``) and every index of an index array.

    Returns
    -------
    score : float, or ndarray of shape (len(k),) if `k` is a sequence
        NaN if nothing is true and nothing predicted.

    Examples
    --------
    >>> from scipy.sparse import csr_array
    >>> from skxmc.metrics import micro_f1
    >>> micro_f1(csr_array([[1, 1, 0], [0, 0, 1]]), csr_array([[1, 0, 0], [0, 0, 1]]))
    0.8
    """
    return _over_k(micro_f1_of, y_true, y_pred, k, classes, exclude, sample_weight)


def macro_f1(
    y_true: Any,
    y_pred: Any,
    *,
    k: int | Sequence[int] | None = None,
    classes: Any = None,
    exclude: Any = None,
    sample_weight: Any = None,
) -> float | np.ndarray:
    """F1 of each label, averaged over labels.

    Labels that are neither true nor predicted anywhere are left out, as scikit-learn does with
    ``zero_division=nan``: most labels of an extreme data set do not occur in a test set.

    Parameters
    ----------
    y_true, y_pred, k, classes, exclude, sample_weight
        As for :func:`micro_f1`.

    Returns
    -------
    score : float, or ndarray of shape (len(k),) if `k` is a sequence
        NaN if nothing is true and nothing predicted.
    """
    return _over_k(macro_f1_of, y_true, y_pred, k, classes, exclude, sample_weight)


def macro_precision_at_k(
    y_true: Any,
    y_pred: Any,
    *,
    k: int | Sequence[int] = 5,
    classes: Any = None,
    exclude: Any = None,
    sample_weight: Any = None,
) -> float | np.ndarray:
    """Precision of each label among the k best predictions, averaged over labels.

    A label's precision is the share of right ones among the documents that have it as one of
    their k best predictions, 0 for a label that is true somewhere but never predicted [1]_.
    Labels that are neither true nor predicted are left out. Rare labels weigh as much as
    frequent ones.

    Parameters
    ----------
    y_true, y_pred, k, classes, exclude, sample_weight
        As for :func:`precision_at_k`.

    Returns
    -------
    score : float, or ndarray of shape (len(k),) if `k` is a sequence

    References
    ----------
    .. [1] Schultheis et al., Generalized Test Utilities for Long-tail Performance in Extreme
       Multi-label Classification, NeurIPS 2023.
    """
    return _over_k(macro_precision_of, y_true, y_pred, k, classes, exclude, sample_weight)


def label_coverage_at_k(
    y_true: Any,
    y_pred: Any,
    *,
    k: int | Sequence[int] = 5,
    classes: Any = None,
    exclude: Any = None,
    sample_weight: Any = None,
) -> float | np.ndarray:
    """Share of the labels that are found at least once among the k best predictions.

    Of the labels that at least one document has, the share that at least one of these documents
    has among its k best predictions [1]_. A model that only ever predicts frequent labels scores
    low, however precise it is. The field writes it C@k.

    Parameters
    ----------
    y_true, y_pred, k, classes, exclude, sample_weight
        As for :func:`precision_at_k`. Weights only tell which documents count: those above 0.

    Returns
    -------
    score : float, or ndarray of shape (len(k),) if `k` is a sequence
        NaN if no document has a label.

    See Also
    --------
    coverage_at_precision : Share of the documents that can be answered, another thing.

    References
    ----------
    .. [1] Schultheis et al., On Missing Labels, Long-tails and Propensities in Extreme
       Multi-label Classification, KDD 2022.

    Examples
    --------
    >>> from skxmc.metrics import label_coverage_at_k
    >>> label_coverage_at_k([[0, 1], [0, 2]], [[0, 1, 2], [0, 1, 2]], k=[1, 2, 3])
    array([0.33333333, 0.66666667, 1.        ])
    """
    return _over_k(label_coverage_of, y_true, y_pred, k, classes, exclude, sample_weight)


def recall_by_frequency_at_k(
    y_true: Any,
    y_pred: Any,
    *,
    k: int | Sequence[int] = 5,
    frequencies: np.ndarray,
    bins: Sequence[float] = _HEAD_TORSO_TAIL,
    classes: Any = None,
    exclude: Any = None,
    sample_weight: Any = None,
) -> np.ndarray:
    """Recall at k of head, torso and tail labels.

    Labels are ordered by falling frequency, ties by index, and cut into bins. The recall of a bin
    is the share of true pairs of a document and a label of that bin that are among the
    document's k best predictions.

    Parameters
    ----------
    y_true, y_pred, k, classes, exclude, sample_weight
        As for :func:`precision_at_k`.
    frequencies : array of shape (n_labels,)
        The number of training documents of each label. A name that `classes` does not hold has
        none.
    bins : sequence of float
        Where to cut, as shares of the labels, rising, each in (0, 1). The default makes the most
        frequent tenth the head, the next four tenths the torso and the rest the tail;
        ``np.arange(1, 10) / 10`` makes deciles.

    Returns
    -------
    recall : ndarray of shape (n_bins,), or (len(k), n_bins) if `k` is a sequence
        Most frequent bin first; NaN for a bin without true pairs.
    """
    frequencies = check_frequencies(frequencies)
    ranking = read_ranking(
        y_true,
        y_pred,
        k,
        classes=classes,
        exclude=exclude,
        sample_weight=sample_weight,
        n_labels=len(frequencies),
    )
    return recall_by_frequency(ranking, pad_frequencies(frequencies, ranking), bins)


def coverage_at_precision(
    y_true: Any,
    y_pred: Any,
    *,
    precision: float,
    k: int | Sequence[int] = 1,
    classes: Any = None,
    exclude: Any = None,
    sample_weight: Any = None,
) -> tuple[float | np.ndarray, float | np.ndarray]:
    """Return the largest share of documents that can be answered with a given precision.

    Documents whose best score reaches a threshold are answered with their k best labels, the
    others not at all. Documents without labels count: any answer to them is wrong. Documents with
    equal best scores are answered together or not at all.

    Parameters
    ----------
    y_true, classes, exclude, sample_weight
        As for :func:`precision_at_k`.
    y_pred : tuple (indices, scores), or sparse or dense scores
        Predictions with scores that can be compared between documents.
    precision : float
        The precision at k that the answered documents must reach together, in (0, 1].
    k : int or sequence of int
        The number of labels in an answer.

    Returns
    -------
    coverage : float, or ndarray of shape (len(k),) if `k` is a sequence
        Share of documents (of their weight) that are answered.
    threshold : float, or ndarray of shape (len(k),) if `k` is a sequence
        Answer documents whose best score is at least this; inf if none can be answered.

    Examples
    --------
    >>> import numpy as np
    >>> from skxmc.metrics import coverage_at_precision
    >>> indices, scores = np.array([[0], [1], [2]]), np.array([[0.9], [0.8], [0.3]])
    >>> coverage_at_precision([[0], [1], [0]], (indices, scores), precision=1.0)
    (0.6666666666666666, 0.8)
    """
    if not 0 < precision <= 1:
        raise ValueError(f"precision must lie in (0, 1], got {precision!r}.")
    ranking = read_ranking(
        y_true, y_pred, k, classes=classes, exclude=exclude, sample_weight=sample_weight
    )
    confidence, answered, right, ends = answers_by_confidence(ranking)
    # The slack keeps sums of thirds and fifths from missing a precision that they equal.
    reached = (right >= (precision - 1e-12) * answered[:, None]) & ends[:, None]
    reached &= answered[:, None] > 0
    last = len(reached) - 1 - np.argmax(reached[::-1], axis=0)
    any_reached = reached.any(axis=0)
    with np.errstate(invalid="ignore"):
        coverage = np.where(any_reached, answered[last], 0.0) / answered[-1]
    threshold = np.where(any_reached, confidence[last], np.inf)
    return ranking.pick(coverage), ranking.pick(threshold)


def precision_coverage_area(
    y_true: Any,
    y_pred: Any,
    *,
    k: int | Sequence[int] = 1,
    classes: Any = None,
    exclude: Any = None,
    sample_weight: Any = None,
) -> float | np.ndarray:
    """Return the area under the curve of precision over coverage.

    Documents are answered one after the other, those with the highest best score first; the area
    is the mean of the precision so far. It measures how well one threshold for all documents
    separates right answers from wrong ones, without choosing one. Documents with equal best scores
    are answered together.

    Parameters
    ----------
    y_true, classes, exclude, sample_weight
        As for :func:`precision_at_k`.
    y_pred : tuple (indices, scores), or sparse or dense scores
        Predictions with scores that can be compared between documents.
    k : int or sequence of int
        The number of labels in an answer.

    Returns
    -------
    area : float, or ndarray of shape (len(k),) if `k` is a sequence
        Between 0 and 1. Documents without labels or without predictions count as wrong.

    Examples
    --------
    >>> import numpy as np
    >>> from skxmc.metrics import precision_coverage_area
    >>> indices, scores = np.array([[0], [1], [2]]), np.array([[0.9], [0.8], [0.3]])
    >>> round(precision_coverage_area([[0], [1], [0]], (indices, scores)), 4)
    0.8889
    """
    ranking = read_ranking(
        y_true, y_pred, k, classes=classes, exclude=exclude, sample_weight=sample_weight
    )
    confidence, answered, right, _ = answers_by_confidence(ranking)
    last = np.searchsorted(-confidence, -confidence, side="right") - 1  # of equal scores
    precision = right[last] / np.maximum(answered[last], 1e-300)[:, None]
    weight = np.diff(answered, prepend=0.0)
    return ranking.pick(weight @ precision / answered[-1])


def answers_by_confidence(
    ranking: Ranking,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Answer documents one after the other, those with the highest best score first.

    Returns
    -------
    confidence : ndarray of shape (n_samples,)
        Best scores, falling.
    answered : ndarray of shape (n_samples,)
        Weight of the documents answered so far.
    right : ndarray of shape (n_samples, k_max)
        Weight of their answers' right shares: over `answered`, it is the precision at each k.
    ends : ndarray of shape (n_samples,), bool
        Where one may stop: after documents with equal scores, and before those without any.
    """
    if ranking.scores is None:
        raise ValueError(
            "y_pred holds indices without scores, which say nothing about confidence; pass a "
            "tuple (indices, scores), or sparse or dense scores."
        )
    confidence = ranking.scores[:, 0]
    order = np.argsort(-confidence, kind="stable")
    confidence, weight = confidence[order], ranking.full_weight[order]
    shares = np.cumsum(ranking.hits[order], axis=1) / ranking.depth
    right = np.cumsum(weight[:, None] * shares, axis=0)
    ends = np.append(confidence[1:] != confidence[:-1], True) & (confidence > -np.inf)
    return confidence, np.cumsum(weight), right, ends


def label_counts(ranking: Ranking, k: int) -> Counts:
    """Return for each label the weight of hits, predictions and true pairs at `k`."""
    labels, hits = ranking.labels[:, :k], ranking.hits[:, :k]
    rows, ranks = np.nonzero(labels >= 0)
    return count_pairs(
        ranking.truth, ranking.full_weight, rows, labels[rows, ranks], hits[rows, ranks]
    )


def set_counts(inputs: Inputs) -> Counts:
    """Return for each label the weight of hits, predictions and true pairs of all predictions."""
    rows, labels = predicted_pairs(inputs.predictions, inputs.exclude)
    hits = find_pairs(inputs.truth, rows, labels)
    return count_pairs(inputs.truth, inputs.weight, rows, labels, hits)


def check_frequencies(frequencies: Any) -> np.ndarray:
    """Return label frequencies as float64 (n_labels,)."""
    frequencies = np.asarray(frequencies, dtype=np.float64)
    if frequencies.ndim != 1 or not np.isfinite(frequencies).all():
        raise ValueError(
            f"frequencies has shape {frequencies.shape} and must hold one finite number for each "
            "label; pass np.bincount(Y_train.indices, minlength=n_labels)."
        )
    return frequencies


def pad_frequencies(frequencies: np.ndarray, ranking: Ranking) -> np.ndarray:
    """Give labels behind the known ones no training document."""
    return np.pad(frequencies, (0, ranking.truth.shape[1] - len(frequencies)))


def frequency_bins(frequencies: np.ndarray, bins: Sequence[float] = _HEAD_TORSO_TAIL) -> np.ndarray:
    """Return the bin of each label, (n_labels,) int64; bin 0 holds the most frequent labels."""
    cuts = np.asarray(bins, dtype=np.float64)
    if cuts.ndim != 1 or not (np.diff(cuts, prepend=0, append=1) > 0).all():
        raise ValueError(f"bins must rise from above 0 to below 1, got {bins!r}.")
    n_labels = len(frequencies)
    bin_of = np.empty(n_labels, dtype=np.int64)
    bin_of[np.argsort(-frequencies, kind="stable")] = np.searchsorted(
        np.rint(cuts * n_labels), np.arange(n_labels), side="right"
    )
    return bin_of


def recall_by_frequency(
    ranking: Ranking, frequencies: np.ndarray, bins: Sequence[float] = _HEAD_TORSO_TAIL
) -> np.ndarray:
    """Return recall at each k in bins of labels, most frequent first."""
    bin_of = frequency_bins(frequencies, bins)
    n_bins = len(bins) + 1
    row_of = np.repeat(np.arange(len(ranking.weight)), np.diff(ranking.truth.indptr))
    total = np.bincount(
        bin_of[ranking.truth.indices], weights=ranking.weight[row_of], minlength=n_bins
    )
    rows, ranks = np.nonzero(ranking.hits)
    cells = bin_of[ranking.labels[rows, ranks]] * ranking.hits.shape[1] + ranks
    found = np.bincount(
        cells, weights=ranking.weight[rows], minlength=n_bins * ranking.hits.shape[1]
    )
    found = np.cumsum(found.reshape(n_bins, -1), axis=1)
    with np.errstate(invalid="ignore"):
        recall = np.asarray(ranking.pick(found / total[:, None]))
    return recall if ranking.single else recall.T


def _over_k(
    score: Callable[[Counts], float],
    y_true: Any,
    y_pred: Any,
    k: Any,
    classes: Any,
    exclude: Any,
    sample_weight: Any,
) -> float | np.ndarray:
    """Compute a score of label counts at one k, at several, or of all predictions."""
    shared = {"classes": classes, "exclude": exclude, "sample_weight": sample_weight}
    if k is None:
        return score(set_counts(read_inputs(y_true, y_pred, ordered=False, **shared)))
    ranking = read_ranking(y_true, y_pred, k, **shared)
    scores = np.array([score(label_counts(ranking, k)) for k in ranking.ks])
    return float(scores[0]) if ranking.single else scores


def count_pairs(
    truth: Any, weight: np.ndarray, rows: np.ndarray, labels: np.ndarray, hits: np.ndarray
) -> Counts:
    """Return for each label the weight of hits, of predicted pairs and of true ones."""
    n_labels = truth.shape[1]
    row_of = np.repeat(np.arange(truth.shape[0]), np.diff(truth.indptr))
    return (
        np.bincount(labels, weights=weight[rows] * hits, minlength=n_labels),
        np.bincount(labels, weights=weight[rows], minlength=n_labels),
        np.bincount(truth.indices, weights=weight[row_of], minlength=n_labels),
    )


def micro_f1_of(counts: Counts) -> float:
    hits, predicted, true = (part.sum() for part in counts)
    return float(2 * hits / (predicted + true)) if predicted + true else np.nan


def macro_f1_of(counts: Counts) -> float:
    hits, predicted, true = counts
    present = predicted + true > 0
    if not present.any():
        return np.nan
    return float(np.mean(2 * hits[present] / (predicted + true)[present]))


def macro_precision_of(counts: Counts) -> float:
    hits, predicted, true = counts
    present = predicted + true > 0
    if not present.any():
        return np.nan
    predicted = np.where(predicted > 0, predicted, 1.0)
    return float(np.mean((hits / predicted)[present]))


def label_coverage_of(counts: Counts) -> float:
    hits, _, true = counts
    return float(np.mean(hits[true > 0] > 0)) if (true > 0).any() else np.nan
