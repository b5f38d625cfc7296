"""Metrics of extreme multi-label classification.

All functions follow one pattern: ``metric(y_true, y_pred, *, k=5, classes=None, exclude=None,
sample_weight=None)``, with ``propensities=`` where hits are weighed by them. They need numpy and
scipy only, and never make a dense matrix of documents times labels. :func:`set_report` measures
predicted sets, :func:`label_report` each label. :func:`xmc_scores` and :func:`make_topk_scorer`
make scorers of them, for the searches of scikit-learn.

The truth, `y_true`
    * A sparse or dense indicator of shape (n_samples, n_labels) holding 0 and 1.
    * For each document a list of label indices; with `classes`, a list of names, str or int.
    * A DataFrame with one 0/1 column for each label. With `classes` its columns are found by their
      names, in any order; a class without a column is true nowhere.

Predictions, `y_pred`
    * an array of ints of shape (n_samples, m): label indices, best first, padded with -1
      (without `classes`, lists of label indices of any length are read as such an array);
    * names, with `classes`: lists of any length, or an array such as
      ``predict_topk(return_labels=True)`` returns, where None marks no prediction;
    * a tuple (indices, scores) or (names, scores) of two arrays of that shape, as returned by
      ``predict_topk``;
    * sparse scores (n_samples, n_labels): what is stored is predicted, explicit zeros included;
    * dense float scores (n_samples, n_labels), or a DataFrame of them;
    * an indicator, bool or sparse: what is False is not predicted.

    -1 and scores of -inf mark no prediction.

Names, `classes`
    The ``classes_`` of the fitted model. A name that is not in it is a label without a
    column: it is never found where it is true, and wrong where it is predicted, unless truth and
    prediction both name it. Its propensity is the smallest one, its frequency 0.

Indicators of 0 and 1 that are lists or int arrays
    An int array as `y_true` is an indicator. As `y_pred` it is one if it is as wide as there are
    labels and a row repeats a number, which label indices never do. Nested lists of label indices
    follow the same rule. Over two labels rows such as ``[0, 1]`` can be read in both ways, and are
    an error. With `classes`, lists are names, and such lists are an error at any width.

Conventions
    * Ties: the higher score comes first, then the lower label index. Index arrays keep their order.
    * `k`: an int gives a float, a sequence of ints gives an array. With fewer than k predictions
      the missing ones count as wrong; k may exceed the number of labels.
    * Documents without labels are left out of averages over documents. They count as documents
      in micro_f1, macro_f1, macro_precision_at_k, coverage_at_precision, set_report and
      label_report.
    * `exclude`: filter pairs, in which the label is the document itself. They are dropped from
      predictions (the next one moves up) and from the truth. Documents that lose all their labels
      that way are left out everywhere.
    * A label that is predicted twice for a document is an error.
    * 0/0 counts as 0 where the other side has something: the precision of a label that is true
      but never predicted. Nothing to average gives NaN.
    * Propensity-scored metrics are normalised by the best that can be reached, as a quotient of
      sums over the data set.
"""

from __future__ import annotations

from ._calibration import calibration_error
from ._classification import (
    coverage_at_precision,
    label_coverage_at_k,
    macro_f1,
    macro_precision_at_k,
    micro_f1,
    precision_coverage_area,
    recall_by_frequency_at_k,
)
from ._label_report import label_report
from ._propensity import (
    label_propensities,
    psndcg_at_k,
    psprecision_at_k,
    psrecall_at_k,
)
from ._ranking import (
    hit_at_k,
    map_at_k,
    mrr_at_k,
    ndcg_at_k,
    precision_at_k,
    recall_at_k,
    rp_at_k,
)
from ._report import xmc_report
from ._scorers import make_topk_scorer, xmc_scores
from ._sets import set_report

__all__ = [
    "calibration_error",
    "coverage_at_precision",
    "hit_at_k",
    "label_coverage_at_k",
    "label_propensities",
    "label_report",
    "macro_f1",
    "macro_precision_at_k",
    "make_topk_scorer",
    "map_at_k",
    "micro_f1",
    "mrr_at_k",
    "ndcg_at_k",
    "precision_at_k",
    "precision_coverage_area",
    "psndcg_at_k",
    "psprecision_at_k",
    "psrecall_at_k",
    "recall_at_k",
    "recall_by_frequency_at_k",
    "rp_at_k",
    "set_report",
    "xmc_report",
    "xmc_scores",
]
