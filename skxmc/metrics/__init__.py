"""Metrics of extreme multi-label classification.

All functions follow one pattern: ``metric(y_true, y_pred, *, k=5, exclude=None,
sample_weight=None)``, with ``propensities=`` where hits are weighed by them. They need numpy and
scipy only, never make a dense matrix of documents times labels, and have no Python loop over
documents. :func:`xmc_scores` and :func:`make_topk_scorer` make scorers of them, for the searches of
scikit-learn.

The truth, `y_true`
    A sparse or dense indicator of shape (n_samples, n_labels) holding 0 and 1, or for each document
    a list of label indices. Nested lists are always indices.

Predictions, `y_pred`
    * an array of ints of shape (n_samples, m): label indices, best first, padded with -1
      (lists of label indices of any length are read as such an array);
    * a tuple (indices, scores) of two arrays of that shape, as returned by ``predict_topk``;
    * sparse scores (n_samples, n_labels): what is stored is predicted, explicit zeros included;
    * dense scores (n_samples, n_labels), float or bool.

    Integer arrays are always indices. -1 and scores of -inf mark no prediction.

Conventions
    * Ties: the higher score comes first, then the lower label index. Index arrays keep their order.
    * `k`: an int gives a float, a sequence of ints gives an array. With fewer than k predictions
      the missing ones count as wrong; k may exceed the number of labels.
    * Documents without labels are left out of averages over documents. They count as documents
      in micro_f1, macro_f1, macro_precision_at_k and coverage_at_precision.
    * `exclude`: filter pairs, in which the label is the document itself. They are dropped from
      predictions (the next one moves up) and from the truth. Documents that lose all their labels
      that way are left out everywhere.
    * A label that is predicted twice for a document is an error.
    * Nothing to average gives NaN.
    * Propensity-scored metrics are normalised by the best that can be reached, as a quotient of
      sums over the data set.
"""

from ._classification import (
    coverage_at_precision,
    macro_f1,
    macro_precision_at_k,
    micro_f1,
    recall_by_frequency_at_k,
)
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

__all__ = [
    "coverage_at_precision",
    "hit_at_k",
    "label_propensities",
    "macro_f1",
    "macro_precision_at_k",
    "make_topk_scorer",
    "map_at_k",
    "micro_f1",
    "mrr_at_k",
    "ndcg_at_k",
    "precision_at_k",
    "psndcg_at_k",
    "psprecision_at_k",
    "psrecall_at_k",
    "recall_at_k",
    "recall_by_frequency_at_k",
    "rp_at_k",
    "xmc_report",
    "xmc_scores",
]
