"""Truth and predictions of any form, read into what all metrics are computed from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from numbers import Integral
from typing import Any

import numpy as np
import scipy.sparse as sp

from .._inputs._targets import (
    as_indicator,
    as_rows,
    check_exclude,
    encode_targets,
    extend_classes,
    narrow_indices,
    unseen_names,
    without_pairs,
)
from .._inputs._texts import sequence_to_list
from ._predictions import Indices, Predictions, as_predictions, check_predictions
from ._topk import find_pairs, top_labels


@dataclass(frozen=True)
class Inputs:
    """Truth and predictions over the same labels."""

    truth: sp.csr_array  # (n_samples, n_labels) float32, filter pairs dropped
    predictions: Predictions
    exclude: sp.csr_array | None  # the filter pairs, of the truth's shape
    weight: np.ndarray  # (n_samples,) float64: sample weight, 0 for rows that `exclude` emptied
    names: np.ndarray | None  # of the labels: `classes`, and names behind that it does not hold


@dataclass(frozen=True)
class Ranking:
    """The k best labels of each document beside the truth; k_max is the largest k asked for."""

    ks: np.ndarray  # the k asked for, int64
    single: bool  # k was an int: results are floats
    labels: np.ndarray  # (n_samples, k_max) int64, -1 where there is no prediction
    scores: np.ndarray | None  # (n_samples, k_max), -inf where there is none; None for index arrays
    hits: np.ndarray  # (n_samples, k_max) bool
    truth: sp.csr_array  # (n_samples, n_labels) float32, filter pairs dropped
    n_true: np.ndarray  # (n_samples,) labels of each row, at least 1: safe to divide by
    weight: np.ndarray  # (n_samples,) float64: sample weight, 0 for rows without truth
    full_weight: np.ndarray  # the same, but 0 only for rows that filter pairs left without truth
    names: np.ndarray | None  # of the labels, where `classes` are given

    @property
    def depth(self) -> np.ndarray:
        """Ranks 1 to k_max."""
        return np.arange(1, self.hits.shape[1] + 1)

    @property
    def n_reachable(self) -> np.ndarray:
        """The largest possible number of hits, (n_samples, k_max)."""
        return np.minimum(self.depth, self.n_true[:, None])

    def mean(self, values: np.ndarray) -> float | np.ndarray:
        """Average values of shape (n_samples, k_max) over documents, at each k."""
        return self.ratio(values, np.ones(1))

    def ratio(self, numerator: np.ndarray, denominator: np.ndarray) -> float | np.ndarray:
        """Divide sums over documents, at each k; NaN without any document to count."""
        total = self.weight @ np.broadcast_to(denominator, numerator.shape)
        with np.errstate(invalid="ignore"):
            return self.pick((self.weight @ numerator) / total)

    def pick(self, values: np.ndarray) -> float | np.ndarray:
        """Take the wanted k from values of shape (..., k_max)."""
        values = values[..., self.ks - 1]
        if not self.single:
            return values
        return float(values[0]) if values.ndim == 1 else values[..., 0]


def read_ranking(
    y_true: Any,
    y_pred: Any,
    k: int | Sequence[int],
    *,
    classes: Any = None,
    exclude: Any = None,
    sample_weight: Any = None,
    n_labels: int | None = None,
) -> Ranking:
    """Read the inputs that all ranking metrics share.

    Parameters
    ----------
    y_true, y_pred, k, classes, exclude, sample_weight
        As described in :mod:`skxmc.metrics`.
    n_labels : int, optional
        The number of labels, where something else than `y_true` and `y_pred` tells it. With
        `classes` the truth may have more: names that `classes` does not hold.

    Returns
    -------
    ranking : Ranking
    """
    ks, single = check_k(k)
    inputs = read_inputs(
        y_true,
        y_pred,
        classes=classes,
        exclude=exclude,
        sample_weight=sample_weight,
        n_labels=n_labels,
    )
    return rank(inputs, ks, single)


def rank(inputs: Inputs, ks: np.ndarray, single: bool) -> Ranking:
    """Select the best labels of each document and compare them with the truth."""
    truth = inputs.truth
    labels, scores = top_labels(inputs.predictions, int(ks.max()), truth.shape, inputs.exclude)
    n_true = np.diff(truth.indptr)
    return Ranking(
        ks=ks,
        single=single,
        labels=labels,
        scores=scores,
        hits=find_pairs(truth, np.arange(len(labels))[:, None], labels),
        truth=truth,
        n_true=np.maximum(n_true, 1),
        weight=np.where(n_true > 0, inputs.weight, 0.0),
        full_weight=inputs.weight,
        names=inputs.names,
    )


def read_inputs(
    y_true: Any,
    y_pred: Any,
    *,
    classes: Any = None,
    exclude: Any = None,
    sample_weight: Any = None,
    n_labels: int | None = None,
    ordered: bool = True,
) -> Inputs:
    """Read truth, predictions, filter pairs and weights over one set of labels.

    Parameters
    ----------
    y_true, y_pred, classes, exclude, sample_weight
        As described in :mod:`skxmc.metrics`.
    n_labels : int, optional
        The number of labels, where something else than `y_true` and `y_pred` tells it.
    ordered : bool
        Predictions are ranked, so that sets of labels are an error.

    Returns
    -------
    inputs : Inputs
    """
    names = None if classes is None else check_classes(classes, n_labels)
    predictions, unseen = as_predictions(y_pred, names, ordered=ordered)
    if names is None:
        truth = read_truth(y_true, predictions, exclude, n_labels)
        n_columns = n_predicted = truth.shape[1]
    else:
        n_columns, n_predicted = len(names), len(names) + len(unseen)
        truth, names = _read_named_truth(y_true, names, unseen)
    predictions = check_predictions(predictions, truth.shape[0], n_columns, n_predicted)
    exclude = check_exclude(exclude, truth.shape[0], n_columns)
    weight = _check_weight(sample_weight, truth.shape[0])
    if exclude is not None:
        exclude.resize(truth.shape)
        had_labels = np.diff(truth.indptr) > 0
        truth = without_pairs(truth, exclude)
        weight = np.where(had_labels & (np.diff(truth.indptr) == 0), 0.0, weight)
    return Inputs(truth, predictions, exclude, weight, names)


def read_truth(
    y_true: Any,
    y_pred: Predictions | None = None,
    exclude: Any = None,
    n_labels: int | None = None,
    argument: str = "y_true",
) -> sp.csr_array:
    """Return the truth as CSR: an indicator, or lists of label indices."""
    truth = as_indicator(y_true, argument)
    if truth is None:
        return _read_index_lists(as_rows(y_true, argument), y_pred, exclude, n_labels, argument)
    if n_labels not in (None, truth.shape[1]):
        raise ValueError(
            f"{argument} has {truth.shape[1]} columns but there are {n_labels} labels; pass "
            "targets over the same labels."
        )
    return truth


def check_classes(classes: Any, n_labels: int | None = None) -> np.ndarray:
    """Return names of labels as object array of str, or as int64."""
    if isinstance(classes, (str, bytes)) or not hasattr(classes, "__len__"):
        raise TypeError(
            f"classes is of type {type(classes).__name__}; pass the classes_ of the model, or a "
            "list with one name for each label."
        )
    names = sequence_to_list(classes)
    if not names:
        raise ValueError("classes is empty; pass one name for each label.")
    if n_labels not in (None, len(names)):
        raise ValueError(
            f"classes holds {len(names)} labels, but propensities or frequencies are for "
            f"{n_labels}; pass them for the same labels."
        )
    is_text = isinstance(names[0], str)
    for place, name in enumerate(names):
        wanted = isinstance(name, str) if is_text else isinstance(name, Integral)
        if not wanted or isinstance(name, (bool, np.bool_)):
            raise TypeError(
                f"classes[{place}] is {name!r} of type {type(name).__name__}; pass names that are "
                "all str or all int."
            )
    if not is_text:
        return np.array(names, dtype=np.int64)
    array = np.empty(len(names), dtype=object)
    array[:] = [str(name) for name in names]
    return array


def _read_named_truth(
    y_true: Any, classes: np.ndarray, predicted: list
) -> tuple[sp.csr_array, np.ndarray]:
    """Read targets as fit does. Behind the labels of `classes` come names it does not hold."""
    sized = hasattr(y_true, "shape") and len(y_true.shape) > 0
    n_samples = y_true.shape[0] if sized else len(as_rows(y_true, "y_true"))
    truth, _ = encode_targets(
        y_true, n_samples, classes=classes, unseen="ignore", argument="y_true"
    )
    true = unseen_names(y_true, classes, "y_true")
    more = list(dict.fromkeys([*predicted, *true]))
    if not more:
        return truth, classes
    names = extend_classes(classes, more)
    if true:
        truth, _ = encode_targets(y_true, n_samples, classes=names, argument="y_true")
    truth.resize(n_samples, len(names))
    return truth, names


def _read_index_lists(
    rows: list[list],
    y_pred: Predictions | None,
    exclude: Any,
    n_labels: int | None,
    argument: str,
) -> sp.csr_array:
    """Turn lists of label indices into CSR; recognise an indicator that is written as lists."""
    flat = list(chain.from_iterable(rows))
    _check_index_lists(flat, rows, argument)
    known = [n_labels, _n_columns(exclude), _n_columns(y_pred)]
    if all(number is None for number in known):  # only indices: the largest one tells
        known += [_largest_index(y_pred) + 1, max(flat, default=0) + 1]
    n_labels = max(number for number in known if number is not None)
    if _looks_like_indicator(rows, flat, n_labels, argument):
        truth: Any = as_indicator(np.array(rows), argument)
        return read_truth(truth, n_labels=max(n_labels, truth.shape[1]), argument=argument)
    if flat and max(flat) >= n_labels:
        row = next(i for i, labels in enumerate(rows) if labels and max(labels) >= n_labels)
        raise ValueError(
            f"{argument}[{row}] holds the label {max(rows[row])} but there are {n_labels} labels; "
            "pass indices below that number."
        )
    ends = np.cumsum([0, *map(len, rows)])
    parts = (np.ones(len(flat), np.float32), np.asarray(flat, dtype=np.int64), ends)
    truth = sp.csr_array(parts, shape=(len(rows), n_labels))
    truth.sum_duplicates()
    truth.data[:] = 1
    return narrow_indices(truth)


def _check_index_lists(flat: list, rows: list[list], argument: str) -> None:
    for label in flat:
        if not isinstance(label, Integral) or isinstance(label, bool) or label < 0:
            row = next(i for i, names in enumerate(rows) if any(x is label for x in names))
            raise ValueError(
                f"{argument}[{row}] holds {label!r}; lists of labels hold label indices, ints from "
                "0, or names if you pass classes=, the classes_ of the model. Pass an indicator as "
                f"np.asarray({argument})."
            )


def _looks_like_indicator(rows: list[list], flat: list[int], n_labels: int, argument: str) -> bool:
    """Tell rows of 0 and 1 of one length from label indices, which do not repeat in a row."""
    width = len(rows[0]) if rows else 0
    if width < 2 or set(map(len, rows)) != {width} or not set(flat) <= {0, 1}:
        return False
    if width > 2 or any(first == second for first, second in rows):
        return True
    if n_labels > 2:
        return False
    raise ValueError(
        f"{argument} holds rows of 0 and 1 over two labels, which may be an indicator or label "
        f"indices; pass an indicator as np.asarray({argument}), and labels as names with classes=."
    )


def _check_weight(sample_weight: Any, n_samples: int) -> np.ndarray:
    """Return weights as float64 (n_samples,), ones by default."""
    if sample_weight is None:
        return np.ones(n_samples)
    weight = np.asarray(sample_weight, dtype=np.float64)
    if weight.shape != (n_samples,):
        raise ValueError(
            f"sample_weight has shape {weight.shape} but there are {n_samples} documents; pass one "
            "weight for each."
        )
    wrong = np.flatnonzero(~((weight >= 0) & (weight < np.inf)))
    if len(wrong):
        raise ValueError(
            f"sample_weight[{wrong[0]}] is {weight[wrong[0]]}; weights are finite and not negative."
        )
    return weight


def check_k(k: Any) -> tuple[np.ndarray, bool]:
    """Return the numbers of predictions as int64, and whether a single one was asked for."""
    single = np.ndim(k) == 0
    ks = np.asarray([k] if single else k)
    if ks.dtype.kind not in "iu" or ks.ndim != 1 or not len(ks):
        raise TypeError(f"k must be an int or a sequence of ints, got {k!r}.")
    if ks.min() < 1:
        raise ValueError(f"k must be at least 1, got {k!r}.")
    return ks.astype(np.int64), single


def _n_columns(matrix: Any) -> int | None:
    """Return the number of labels that a matrix of all labels has, None for indices."""
    if matrix is None or isinstance(matrix, Indices):
        return None
    if not sp.issparse(matrix):
        matrix = np.asarray(matrix)
        if matrix.ndim != 2 or matrix.dtype.kind in "iu":
            return None
    return matrix.shape[1]


def _largest_index(y_pred: Predictions | None) -> int:
    if not isinstance(y_pred, Indices) or not y_pred.labels.size:
        return -1
    return int(y_pred.labels.max())
