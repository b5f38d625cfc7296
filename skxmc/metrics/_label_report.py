"""One row for each label: how often it is true, found, missed and wrongly predicted."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import scipy.sparse as sp

from .._inputs._texts import sequence_to_list
from .._runtime._optional import import_optional
from ._classification import label_counts, set_counts
from ._inputs import Inputs, check_k, rank, read_inputs
from ._predictions import Indices
from ._sets import check_sets
from ._topk import find_pairs

# Dense scores are sorted in blocks of this many, which take some hundred megabytes.
_BLOCK_ENTRIES = 1 << 22


def label_report(
    y_true: Any,
    y_pred: Any,
    *,
    classes: Any = None,
    k: int | None = None,
    label_text: Any = None,
    min_support: int = 1,
    exclude: Any = None,
    sample_weight: Any = None,
) -> Any:
    """Make a table with one row for each label, the most frequent label first.

    Parameters
    ----------
    y_true : sparse or dense indicator of shape (n_samples, n_labels), DataFrame, or lists
        The truth; see :mod:`skxmc.metrics`.
    y_pred : predicted sets, rankings or scores
        As for :func:`set_report`, or as for :func:`precision_at_k` with `k`.
    classes : array of shape (n_labels,), optional
        The names of the labels, ``classes_`` of the fitted model; they index the table. With it,
        lists hold names. None: the table is indexed by label indices.
    k : int, optional
        The k best labels of a document count as predicted. None: all that is predicted; scores
        other than 0 and 1 need a `k`.
    label_text : sequence of str of length n_labels, or mapping of names to str, optional
        Texts of the labels, which make a further column. Labels without a text get None.
    min_support : int, default=1
        Leave out labels that fewer documents have; 0 keeps labels that no document has.
    exclude : sparse or bool (n_samples, n_labels), int pairs (n_pairs, 2), or None
        Filter pairs, dropped from the predictions and from the truth.
    sample_weight : array of shape (n_samples,), optional
        Weights of the documents. All counts are sums of weights then.

    Returns
    -------
    report : pandas DataFrame
        Columns ``text`` (only with `label_text`), ``support`` (true pairs), ``true_positives``,
        ``false_positives``, ``false_negatives``, ``precision``, ``recall``, ``f1`` and
        ``average_precision``. Labels of equal support stay in the order of `classes`; names that
        `classes` does not hold come behind.

    Raises
    ------
    ImportError
        If pandas is not installed.

    See Also
    --------
    set_report : Averages over documents, labels and pairs.

    Notes
    -----
    Precision, recall and F1 are 0 where they are 0/0, but NaN for a label that is neither true nor
    predicted. So the mean of a column with ``min_support=0`` is the macro average of
    :func:`set_report`.

    ``average_precision`` ranks the documents of a label by its scores, without regard to `k`: it is
    scikit-learn's :func:`~sklearn.metrics.average_precision_score`. A document for which the label
    has no score, because ``predict_topk`` stopped before, counts as not found. It is NaN for labels
    without support, and where predictions have no scores that differ: indices, names, sets.

    Examples
    --------
    >>> from skxmc.metrics import label_report
    >>> true, predicted = [["cat", "pet"], ["dog", "pet"]], [["pet"], ["pet", "cat"]]
    >>> report = label_report(true, predicted, classes=["cat", "dog", "pet"])
    >>> report[["support", "true_positives", "recall"]]
         support  true_positives  recall
    pet        2               2     1.0
    cat        1               0     0.0
    dog        1               0     0.0
    """
    pandas = import_optional("pandas", "demo")
    inputs = read_inputs(
        y_true,
        y_pred,
        classes=classes,
        exclude=exclude,
        sample_weight=sample_weight,
        ordered=k is not None,
    )
    if k is None:
        check_sets(inputs.predictions, "say with k= how many of the best labels are predicted")
        hits, predicted, true = set_counts(inputs)
    else:
        ks, single = check_k(k)
        if not single:
            raise TypeError(f"k must be an int, got {k!r}; make one report for each.")
        hits, predicted, true = label_counts(rank(inputs, ks, single), int(k))
    names = _names(inputs)
    columns: dict[str, Any] = {} if label_text is None else {"text": _texts(label_text, names)}
    number = np.int64 if sample_weight is None else np.float64
    columns |= {
        "support": true.astype(number),
        "true_positives": hits.astype(number),
        "false_positives": (predicted - hits).astype(number),
        "false_negatives": (true - hits).astype(number),
        "precision": _ratio(hits, predicted, true),
        "recall": _ratio(hits, true, predicted),
        "f1": _ratio(2 * hits, predicted + true, true),
        "average_precision": _average_precision(inputs, true),
    }
    order = np.argsort(-true, kind="stable")
    order = order[true[order] >= min_support]
    return pandas.DataFrame(columns, index=pandas.Index(names)).iloc[order]


def _names(inputs: Inputs) -> list:
    if inputs.names is None:
        return list(range(inputs.truth.shape[1]))
    return inputs.names.tolist()


def _texts(label_text: Any, names: list) -> list:
    """Return the text of each label; names behind the known ones have none."""
    if isinstance(label_text, Mapping):
        return [label_text.get(name) for name in names]
    if isinstance(label_text, (str, set, frozenset)) or not hasattr(label_text, "__len__"):
        raise TypeError(
            f"label_text is of type {type(label_text).__name__}; pass a sequence with one text for "
            "each label, or a mapping of names to texts."
        )
    texts = sequence_to_list(label_text)
    if len(texts) > len(names):
        raise ValueError(
            f"label_text has {len(texts)} entries but there are {len(names)} labels; pass one text "
            "for each."
        )
    return texts + [None] * (len(names) - len(texts))


def _ratio(numerator: np.ndarray, denominator: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Divide; 0 where only the other side has something, NaN where there is nothing at all."""
    shares = np.where(other > 0, 0.0, np.nan)
    return np.divide(numerator, denominator, out=shares, where=denominator > 0)


def _average_precision(inputs: Inputs, true: np.ndarray) -> np.ndarray:
    """Return the average precision of each label over documents ranked by its scores."""
    average = np.full(len(true), np.nan)
    if not _has_scores(inputs.predictions):
        return average
    average[true > 0] = 0.0
    for rows, labels, scores in _scored_pairs(inputs):
        keep = true[labels] > 0
        if inputs.exclude is not None:
            keep &= ~find_pairs(inputs.exclude, rows, labels)
        rows, labels, scores = rows[keep], labels[keep], scores[keep]
        if len(rows):
            order = np.lexsort((-scores, labels))
            gained = _gained(inputs, rows[order], labels[order], scores[order])
            gained = np.bincount(labels[order], weights=gained, minlength=len(true))
            np.divide(gained, true, out=gained, where=true > 0)
            average += gained
    return average


def _gained(inputs: Inputs, rows: np.ndarray, labels: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """Return hits times precision at each document, the documents of a label by falling score.

    Documents of equal score count together, at the last of them.
    """
    weight = inputs.weight[rows]
    found = np.cumsum(weight * find_pairs(inputs.truth, rows, labels))
    passed = np.cumsum(weight)
    new_label = np.append(True, labels[1:] != labels[:-1])
    start = np.maximum.accumulate(np.where(new_label, np.arange(len(labels)), 0))
    before = start - 1  # the last document of the label before, -1 for none
    found_before = np.where(before >= 0, found[before], 0.0)
    passed_before = np.where(before >= 0, passed[before], 0.0)
    ends = np.append((scores[1:] != scores[:-1]) | new_label[1:], True)
    end = np.flatnonzero(ends)
    found, passed = found[end] - found_before[end], passed[end] - passed_before[end]
    new_hits = np.diff(found, prepend=0.0)
    first = np.append(True, labels[end][1:] != labels[end][:-1])
    new_hits[first] = found[first]
    gained = np.zeros(len(labels))
    gained[end] = np.divide(new_hits * found, passed, out=np.zeros(len(end)), where=passed > 0)
    return gained


def _has_scores(y_pred: Any) -> bool:
    if isinstance(y_pred, Indices):
        return y_pred.scores is not None
    values = y_pred.data if sp.issparse(y_pred) else y_pred[y_pred != -np.inf]
    return bool(((values != 0) & (values != 1)).any())


def _scored_pairs(inputs: Inputs) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Yield rows, labels and scores of predictions, those of a label in the same block."""
    y_pred = inputs.predictions
    if isinstance(y_pred, Indices):
        scores = np.asarray(y_pred.scores)
        rows, ranks = np.nonzero((y_pred.labels >= 0) & (scores > -np.inf))
        yield rows, y_pred.labels[rows, ranks].astype(np.int64), scores[rows, ranks]
    elif sp.issparse(y_pred):
        csr = sp.csr_array(y_pred)
        rows = np.repeat(np.arange(csr.shape[0]), np.diff(csr.indptr))
        yield rows, csr.indices.astype(np.int64), csr.data
    else:
        width = max(1, _BLOCK_ENTRIES // max(1, len(y_pred)))
        for start in range(0, y_pred.shape[1], width):
            block = y_pred[:, start : start + width]
            rows, labels = np.nonzero(block > -np.inf)
            yield rows, start + labels, block[rows, labels]
