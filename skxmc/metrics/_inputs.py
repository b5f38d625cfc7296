"""Truth and predictions of any form, read into what all metrics are computed from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from numbers import Integral
from typing import Any

import numpy as np
import scipy.sparse as sp

from .._inputs._targets import as_indicator, as_rows, check_exclude, narrow_indices, without_pairs
from ._topk import (
    Predictions,
    as_predictions,
    find_pairs,
    is_index_array,
    top_labels,
)


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
    exclude: Any = None,
    sample_weight: Any = None,
    n_labels: int | None = None,
) -> Ranking:
    """Read the inputs that all ranking metrics share.

    Parameters
    ----------
    y_true, y_pred, k, exclude, sample_weight
        As described in :mod:`skxmc.metrics`.
    n_labels : int, optional
        The number of labels, where something else than `y_true` and `y_pred` tells it.

    Returns
    -------
    ranking : Ranking
    """
    ks, single = _check_k(k)
    y_pred = as_predictions(y_pred)
    truth, exclude, full_weight = read_truth(y_true, y_pred, exclude, sample_weight, n_labels)
    labels, scores = top_labels(y_pred, int(ks.max()), truth.shape, exclude)
    n_true = np.diff(truth.indptr)
    return Ranking(
        ks=ks,
        single=single,
        labels=labels,
        scores=scores,
        hits=find_pairs(truth, np.arange(len(labels))[:, None], labels),
        truth=truth,
        n_true=np.maximum(n_true, 1),
        weight=np.where(n_true > 0, full_weight, 0.0),
        full_weight=full_weight,
    )


def read_truth(
    y_true: Any,
    y_pred: Predictions | None,
    exclude: Any = None,
    sample_weight: Any = None,
    n_labels: int | None = None,
) -> tuple[sp.csr_array, sp.csr_array | None, np.ndarray]:
    """Return truth without filter pairs, the filter pairs, and the weight of each row.

    Both matrices are CSR over the same labels. The weight of a row that loses all its labels to
    filter pairs is 0.
    """
    truth = as_indicator(y_true, "y_true")
    if truth is None:
        truth = _read_index_lists(as_rows(y_true, "y_true"), y_pred, exclude, n_labels)
    elif n_labels not in (None, truth.shape[1]):
        raise ValueError(
            f"y_true has {truth.shape[1]} columns but there are {n_labels} labels; pass targets "
            "over the same labels."
        )
    exclude = check_exclude(exclude, *truth.shape)
    weight = _check_weight(sample_weight, truth.shape[0])
    if exclude is not None:
        had_labels = np.diff(truth.indptr) > 0
        truth = without_pairs(truth, exclude)
        weight = np.where(had_labels & (np.diff(truth.indptr) == 0), 0.0, weight)
    return truth, exclude, weight


def _read_index_lists(
    rows: list[list], y_pred: Predictions | None, exclude: Any, n_labels: int | None
) -> sp.csr_array:
    """Turn lists of label indices into CSR."""
    flat = list(chain.from_iterable(rows))
    for label in flat:
        if not isinstance(label, Integral) or isinstance(label, bool) or label < 0:
            row = next(i for i, names in enumerate(rows) if any(x is label for x in names))
            raise ValueError(
                f"y_true[{row}] holds {label!r}; lists of labels have to hold label indices, "
                "ints from 0. Turn names into indices with the classes_ of the model."
            )
    known = [n_labels, _n_columns(exclude), _n_columns(y_pred)]
    if all(number is None for number in known):  # only indices: the largest one tells
        known += [_largest_index(y_pred) + 1, max(flat, default=0) + 1]
    n_labels = max(number for number in known if number is not None)
    if flat and max(flat) >= n_labels:
        row = next(i for i, labels in enumerate(rows) if labels and max(labels) >= n_labels)
        raise ValueError(
            f"y_true[{row}] holds the label {max(rows[row])} but there are {n_labels} labels; "
            "pass indices below that number."
        )
    ends = np.cumsum([0, *map(len, rows)])
    parts = (np.ones(len(flat), np.float32), np.asarray(flat, dtype=np.int64), ends)
    truth = sp.csr_array(parts, shape=(len(rows), n_labels))
    truth.sum_duplicates()
    truth.data[:] = 1
    return narrow_indices(truth)


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


def _check_k(k: Any) -> tuple[np.ndarray, bool]:
    single = np.ndim(k) == 0
    ks = np.asarray([k] if single else k)
    if ks.dtype.kind not in "iu" or ks.ndim != 1 or not len(ks):
        raise TypeError(f"k must be an int or a sequence of ints, got {k!r}.")
    if ks.min() < 1:
        raise ValueError(f"k must be at least 1, got {k!r}.")
    return ks.astype(np.int64), single


def _n_columns(matrix: Any) -> int | None:
    """Return the number of labels that a matrix of all labels has, None for indices."""
    if matrix is None or isinstance(matrix, tuple):
        return None
    if not sp.issparse(matrix):
        matrix = np.asarray(matrix)
        if matrix.ndim != 2 or is_index_array(matrix):
            return None
    return matrix.shape[1]


def _largest_index(y_pred: Predictions | None) -> int:
    indices = y_pred[0] if isinstance(y_pred, tuple) else y_pred
    return -1 if indices is None or not indices.size else int(indices.max())
