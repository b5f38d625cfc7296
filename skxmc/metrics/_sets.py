"""Precision, recall and F1 of predicted sets of labels: what ``predict`` returns."""

from __future__ import annotations

from typing import Any

import numpy as np

from ._classification import count_pairs, macro_f1_of, macro_precision_of, micro_f1_of
from ._inputs import Inputs, read_inputs
from ._predictions import Indices, Predictions
from ._topk import find_pairs, predicted_pairs


def set_report(
    y_true: Any,
    y_pred: Any,
    *,
    classes: Any = None,
    exclude: Any = None,
    sample_weight: Any = None,
) -> dict[str, float]:
    """Precision, recall and F1 of predicted sets by document, by label and overall.

    Parameters
    ----------
    y_true : sparse or dense indicator of shape (n_samples, n_labels), DataFrame, or lists
        The truth; see :mod:`skxmc.metrics`.
    y_pred : sparse or dense indicator, DataFrame, or lists of label indices or names
        What ``predict`` returns, or the names that ``inverse_transform`` makes of it. The order of
        the labels of a document does not matter. Scores are an error: compare them with a
        threshold first.
    classes : array of shape (n_labels,), optional
        The names of the labels, ``classes_`` of the fitted model. With it, lists hold names.
    exclude : sparse or bool (n_samples, n_labels), int pairs (n_pairs, 2), or None
        Filter pairs, dropped from the predictions and from the truth.
    sample_weight : array of shape (n_samples,), optional
        Weights of the documents. All counts are sums of weights then.

    Returns
    -------
    report : dict of str to int or float
        * ``"true_positives"``, ``"false_positives"``, ``"false_negatives"``: pairs of a document
          and a label that are predicted and true, predicted only, and true only.
        * ``"samples_precision"``, ``"samples_recall"``, ``"samples_f1"``: of each document,
          averaged over documents.
        * ``"macro_precision"``, ``"macro_recall"``, ``"macro_f1"``: of each label, averaged over
          the labels that are true or predicted somewhere.
        * ``"micro_precision"``, ``"micro_recall"``, ``"micro_f1"``: of all pairs together.
        * ``"n_documents"``, ``"n_empty_predictions"``, ``"n_empty_truths"``: documents, those
          without a predicted label, and those without a true one.

        Averages of nothing are NaN.

    See Also
    --------
    label_report : One row for each label.
    xmc_report : Metrics of rankings.

    Notes
    -----
    Documents without labels count. An empty prediction for such a document is right, and its
    precision, recall and F1 are 1; any other prediction for it makes all three 0. An empty
    prediction for a document with labels makes all three 0, too. scikit-learn's
    ``precision_recall_fscore_support(average="samples", zero_division=0)`` differs in the first
    case alone: it gives 0.

    For labels, too, 0/0 counts as 0: the precision of a label that is true somewhere but never
    predicted, and the recall of one that is predicted but never true.

    Documents that lose all their labels to filter pairs are left out everywhere.

    Examples
    --------
    >>> from skxmc.metrics import set_report
    >>> true, predicted = [["cat", "pet"], ["dog"], []], [["cat"], ["dog", "pet"], []]
    >>> report = set_report(true, predicted, classes=["cat", "dog", "pet"])
    >>> report["true_positives"], report["false_positives"], report["false_negatives"]
    (2, 1, 1)
    >>> round(report["samples_precision"], 3), round(report["micro_f1"], 3)
    (0.833, 0.667)
    """
    inputs = read_inputs(
        y_true,
        y_pred,
        classes=classes,
        exclude=exclude,
        sample_weight=sample_weight,
        ordered=False,
    )
    check_sets(inputs.predictions, "compare scores with a threshold first, or use xmc_report")
    rows, labels = predicted_pairs(inputs.predictions, inputs.exclude)
    hits = find_pairs(inputs.truth, rows, labels)
    hits_of, predicted, true = count_pairs(inputs.truth, inputs.weight, rows, labels, hits)
    totals = hits_of.sum(), predicted.sum(), true.sum()
    number = int if sample_weight is None else float
    documents = _of_documents(inputs, rows, hits)
    return {
        "true_positives": number(totals[0]),
        "false_positives": number(totals[1] - totals[0]),
        "false_negatives": number(totals[2] - totals[0]),
        **_sample_averages(*documents, inputs.weight),
        "macro_precision": macro_precision_of((hits_of, predicted, true)),
        # Recall is precision with the roles of truth and prediction exchanged.
        "macro_recall": macro_precision_of((hits_of, true, predicted)),
        "macro_f1": macro_f1_of((hits_of, predicted, true)),
        "micro_precision": _share(totals[0], totals[1], totals[2]),
        "micro_recall": _share(totals[0], totals[2], totals[1]),
        "micro_f1": micro_f1_of((hits_of, predicted, true)),
        "n_documents": number(inputs.weight.sum()),
        "n_empty_predictions": number(inputs.weight[documents[1] == 0].sum()),
        "n_empty_truths": number(inputs.weight[documents[2] == 0].sum()),
    }


def check_sets(y_pred: Predictions, fix: str) -> None:
    """Raise if predictions are scores, which do not say what is predicted."""
    if isinstance(y_pred, Indices):
        return
    values = y_pred[y_pred != -np.inf] if isinstance(y_pred, np.ndarray) else y_pred.data
    wrong = values[(values != 0) & (values != 1)]
    if len(wrong):
        raise ValueError(
            f"y_pred holds {wrong[0]:.4g}, which is a score: sets of labels are indicators of 0 "
            f"and 1, or lists; {fix}."
        )


def _of_documents(
    inputs: Inputs, rows: np.ndarray, hits: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return for each document the number of hits, predicted labels and true labels."""
    n_samples = inputs.truth.shape[0]
    n_hits = np.bincount(rows, weights=hits, minlength=n_samples)
    return n_hits, np.bincount(rows, minlength=n_samples), np.diff(inputs.truth.indptr)


def _sample_averages(
    n_hits: np.ndarray, n_predicted: np.ndarray, n_true: np.ndarray, weight: np.ndarray
) -> dict[str, float]:
    """Average precision, recall and F1 over documents; nothing for nothing is right."""
    if not weight.any():
        return dict.fromkeys(("samples_precision", "samples_recall", "samples_f1"), np.nan)
    right = (n_predicted == 0) & (n_true == 0)

    def average(numerator: np.ndarray, denominator: np.ndarray) -> float:
        values = np.where(right, 1.0, numerator / np.maximum(denominator, 1))
        return float(weight @ values / weight.sum())

    return {
        "samples_precision": average(n_hits, n_predicted),
        "samples_recall": average(n_hits, n_true),
        "samples_f1": average(2 * n_hits, n_predicted + n_true),
    }


def _share(hits: float, of: float, other: float) -> float:
    """Divide; 0 where only the other side has something, NaN where there is nothing at all."""
    if of:
        return float(hits / of)
    return 0.0 if other else np.nan
