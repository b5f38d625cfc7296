"""All metrics of a data set in one pass."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .._runtime._optional import import_optional
from . import _classification, _propensity, _ranking
from ._inputs import read_ranking

_MEANS = {
    "precision": _ranking.precision,
    "ndcg": _ranking.ndcg,
    "recall": _ranking.recall,
    "rp": _ranking.r_precision,
    "hit": _ranking.hit,
    "mrr": _ranking.reciprocal_rank,
    "map": _ranking.average_precision,
}
_PROPENSITY_SCORED = {
    "psprecision": _propensity.psprecision,
    "psndcg": _propensity.psndcg,
    "psrecall": _propensity.psrecall,
}
_LABEL_AVERAGES = {
    "micro_f1": _classification.micro_f1_of,
    "macro_f1": _classification.macro_f1_of,
    "macro_precision": _classification.macro_precision_of,
    "label_coverage": _classification.label_coverage_of,
}


def xmc_report(
    y_true: Any,
    y_pred: Any,
    *,
    k: int | Sequence[int] = (1, 3, 5),
    propensities: np.ndarray | None = None,
    frequencies: np.ndarray | None = None,
    classes: Any = None,
    exclude: Any = None,
    sample_weight: Any = None,
    as_frame: bool = False,
) -> Any:
    """Compute all metrics in one pass over the predictions.

    Parameters
    ----------
    y_true, y_pred, classes, exclude, sample_weight
        As for :func:`precision_at_k`.
    k : int or sequence of int
        The numbers of predictions that count. Predict as many labels as the largest of them:
        what is not predicted counts as wrong.
    propensities : array of shape (n_labels,), optional
        From :func:`label_propensities` of the training targets; adds the propensity-scored
        metrics.
    frequencies : array of shape (n_labels,), optional
        The number of training documents of each label; adds the recall of head, torso and tail
        (see :func:`recall_by_frequency_at_k`).
    as_frame : bool
        Return a pandas DataFrame with one row for each metric and one column for each k.

    Returns
    -------
    report : dict of str to float, or DataFrame
        Keys such as ``"precision_at_1"``: precision, ndcg, recall, rp, hit, mrr, map, micro_f1,
        macro_f1, macro_precision, label_coverage, then psprecision, psndcg, psrecall, then
        recall_head, recall_torso, recall_tail.

    Examples
    --------
    >>> from skxmc.metrics import xmc_report
    >>> report = xmc_report([[0, 2], [1]], [[2, 1, 0], [1, 0, 2]], k=[1, 3])
    >>> report["precision_at_1"], report["recall_at_3"]
    (1.0, 1.0)

    Names work as well, with the ``classes_`` of the model:

    >>> classes = ["cat", "dog", "pet"]
    >>> report = xmc_report([["cat", "pet"], ["dog"]], [["pet"], ["cat"]], k=1, classes=classes)
    >>> report["precision_at_1"]
    0.5
    """
    n_labels = None
    if propensities is not None:
        propensities = _propensity.check_propensities(propensities)
        n_labels = len(propensities)
    if frequencies is not None:
        frequencies = _classification.check_frequencies(frequencies)
        n_labels = len(frequencies)
    depths: Any = k
    ks: list[Any] = [depths] if np.isscalar(depths) else list(depths)
    ranking = read_ranking(
        y_true,
        y_pred,
        ks,
        classes=classes,
        exclude=exclude,
        sample_weight=sample_weight,
        n_labels=n_labels,
    )
    values: dict[str, Any] = {name: metric(ranking) for name, metric in _MEANS.items()}
    counts = [_classification.label_counts(ranking, depth) for depth in ranking.ks]
    for name, average in _LABEL_AVERAGES.items():
        values[name] = np.array([average(count) for count in counts])
    if propensities is not None:
        propensities = _propensity.pad_propensities(propensities, ranking)
        gains = _propensity.propensity_gains(ranking, propensities)
        for name, metric in _PROPENSITY_SCORED.items():
            values[name] = metric(ranking, *gains)
    if frequencies is not None:
        frequencies = _classification.pad_frequencies(frequencies, ranking)
        bins = _classification.recall_by_frequency(ranking, frequencies)
        for name, recall in zip(("head", "torso", "tail"), bins.T, strict=True):
            values[f"recall_{name}"] = recall
    if as_frame:
        pandas = import_optional("pandas", "demo")
        return pandas.DataFrame.from_dict(values, orient="index", columns=ks)
    return {
        f"{name}_at_{depth}": float(value)
        for name, per_k in values.items()
        for depth, value in zip(ks, per_k, strict=True)
    }
