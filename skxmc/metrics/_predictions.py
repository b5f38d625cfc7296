"""Predictions in all the forms that users have them: indices, names, scores, indicators."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import chain
from numbers import Integral
from typing import Any, TypeAlias

import numpy as np
import scipy.sparse as sp

from .._inputs._indicators import FITTED, index_names, named_columns
from .._inputs._targets import as_rows
from .._inputs._texts import is_missing


@dataclass(frozen=True)
class Indices:
    """Label indices of each document, best first, padded with -1."""

    labels: np.ndarray  # (n_samples, m) ints
    scores: np.ndarray | None = None  # of the same shape
    certain: bool = True  # False: ints that may be an indicator


# Sparse scores or a dense array of them (n_samples, n_labels), or indices.
Predictions: TypeAlias = sp.sparray | sp.spmatrix | np.ndarray | Indices


def as_predictions(
    y_pred: Any, classes: np.ndarray | None = None, *, ordered: bool = True
) -> tuple[Predictions, list]:
    """Bring predictions into one of the forms that `top_labels` knows, without copying arrays.

    Parameters
    ----------
    y_pred : predictions
        As described in :mod:`skxmc.metrics`.
    classes : ndarray of shape (n_labels,), optional
        Names of the labels.
    ordered : bool
        Predictions are ranked, so that sets of labels are an error.

    Returns
    -------
    y_pred : Predictions
    unseen : list
        Predicted names that `classes` does not hold; their indices follow those of `classes`.
    """
    if isinstance(y_pred, Indices) or sp.issparse(y_pred):
        return y_pred, []
    if isinstance(y_pred, tuple) and len(y_pred) == 2 and getattr(y_pred[0], "ndim", 0) == 2:
        return _with_scores(np.asarray(y_pred[0]), np.asarray(y_pred[1]), classes)
    if isinstance(y_pred, (list, tuple)) or len(getattr(y_pred, "shape", ())) == 1:
        return _lists(y_pred, classes, ordered)
    array = np.asarray(y_pred)
    if array.ndim == 2 and array.dtype.kind in "OU":
        return _find_names(array.tolist(), classes)
    if array.ndim != 2 or array.dtype.kind not in "iubf":
        raise TypeError(
            f"y_pred is an array of shape {array.shape} and dtype {array.dtype}; pass label "
            "indices (n_samples, k), a tuple (indices, scores), or dense or sparse scores "
            "(n_samples, n_labels)."
        )
    if classes is not None:
        names = named_columns(y_pred, classes, "y_pred")
        if names is not None and (array.dtype.kind in "bf" or isinstance(names[0], str)):
            return _align(array, names, classes)
    return (Indices(array, certain=False) if array.dtype.kind in "iu" else array), []


def check_predictions(y_pred: Predictions, n_samples: int, n_columns: int, n_names: int) -> Any:
    """Check shape and values of predictions, and recognise indicators among int arrays.

    Parameters
    ----------
    y_pred : predictions as returned by `as_predictions`
    n_samples, n_columns : int
        The shape that scores must have.
    n_names : int
        The number of predictable labels: those of the columns, and names behind them.

    Returns
    -------
    y_pred : Predictions
        Indicators of bool or int are sparse: what is 0 is not predicted.
    """
    n_rows = len(y_pred.labels) if isinstance(y_pred, Indices) else y_pred.shape[0]
    if n_rows != n_samples:
        raise ValueError(
            f"y_pred has {n_rows} rows but y_true has {n_samples}; pass predictions for the same "
            "documents."
        )
    if isinstance(y_pred, Indices):
        if not y_pred.certain and _is_indicator(y_pred.labels, n_columns):
            return sp.csr_array(y_pred.labels, dtype=bool)
        _check_indices(y_pred.labels, n_names)
        _check_no_nan(y_pred.scores)
        return y_pred
    if y_pred.shape[1] not in (n_columns, n_names):
        raise ValueError(
            f"y_pred has {y_pred.shape[1]} columns but there are {n_columns} labels; pass one "
            "score for each label, or label indices as an integer array."
        )
    if not isinstance(y_pred, np.ndarray):
        csr = y_pred if y_pred.format == "csr" else sp.csr_array(y_pred)
        if np.isnan(csr.data).any():
            position = int(np.flatnonzero(np.isnan(csr.data))[0])
            row = int(np.searchsorted(csr.indptr, position, side="right")) - 1
            raise ValueError(
                f"y_pred holds a NaN score in row {row}; leave out what is not predicted."
            )
        return csr
    if y_pred.dtype == bool:
        return sp.csr_array(y_pred)
    _check_no_nan(y_pred)
    return y_pred


def _with_scores(
    first: np.ndarray, scores: np.ndarray, classes: np.ndarray | None
) -> tuple[Predictions, list]:
    """Read a pair of names or indices and scores, as ``predict_topk`` returns it."""
    if scores.shape != first.shape:
        raise ValueError(
            f"y_pred has indices of shape {first.shape} but scores of shape {scores.shape}; "
            "pass one score for each index."
        )
    unseen: list = []
    if first.dtype.kind in "OU":
        found, unseen = _find_names(first.tolist(), classes)
        first = found.labels.reshape(scores.shape)
    return Indices(first, scores), unseen


def _lists(y_pred: Any, classes: np.ndarray | None, ordered: bool) -> tuple[Indices, list]:
    """Read one list of names or label indices for each document."""
    if isinstance(y_pred, np.ndarray) and y_pred.dtype != object:
        raise TypeError(
            f"y_pred is an array of shape {y_pred.shape} and dtype {y_pred.dtype}; pass one list "
            "of labels for each document, or an array with one row for each."
        )
    rows = as_rows(y_pred, "y_pred")
    if ordered:
        for number, row in enumerate(y_pred):
            if isinstance(row, (set, frozenset)):
                raise TypeError(
                    f"y_pred[{number}] is a {type(row).__name__}, whose labels are in no order; "
                    "pass a list, best label first."
                )
    if classes is not None:
        return _find_names(rows, classes)
    padded = np.full((len(rows), max(map(len, rows), default=0)), -1, dtype=np.int64)
    for number, row in enumerate(rows):
        labels = np.asarray(row, dtype=None if row else np.int64)
        if labels.dtype.kind not in "iu" or labels.ndim != 1:
            raise TypeError(
                f"y_pred[{number}] does not hold label indices only; pass ints, or scores as "
                "an array or a sparse matrix, or names together with classes=, the classes_ of "
                "the model."
            )
        padded[number, : len(row)] = labels
    return Indices(padded, certain=False), []


def _find_names(rows: list[list], classes: np.ndarray | None) -> tuple[Indices, list]:
    """Look up predicted names; None and other missing values stand for no prediction."""
    counts = np.fromiter(map(len, rows), dtype=np.int64, count=len(rows))
    flat = list(chain.from_iterable(rows))
    row_of = np.repeat(np.arange(len(rows)), counts)
    _check_names(flat, row_of)
    if classes is None:
        example = next((name for name in flat if name is not None), None)
        raise TypeError(
            f"y_pred holds label names such as {example!r}; pass classes=, the classes_ of the "
            "model, or label indices as an int array."
        )
    known = classes.tolist()
    is_text = isinstance(known[0], str)
    wrong = [place for place, name in enumerate(flat) if name is not None]
    wrong = [place for place in wrong if isinstance(flat[place], str) != is_text]
    by_number = is_text and len(wrong) == sum(name is not None for name in flat)
    if wrong and not by_number:
        raise TypeError(
            f"y_pred[{row_of[wrong[0]]}] names the label {flat[wrong[0]]!r}, but classes holds "
            f"labels like {known[0]!r}; pass names of that type, or label indices as an int array."
        )
    unseen: list = []
    if by_number:  # ints are no names among str: they are label indices
        columns = [-1 if name is None else name for name in flat]
    else:
        index_of = index_names(known, FITTED, "y_pred")
        index_of[None] = -1
        index_of.setdefault(-1, -1)  # padding
        unseen = [name for name in dict.fromkeys(flat) if name not in index_of]
        index_of |= {name: len(known) + place for place, name in enumerate(unseen)}
        columns = [index_of[name] for name in flat]
    padded = np.full((len(rows), counts.max(initial=0)), -1, dtype=np.int64)
    padded[row_of, np.arange(len(flat)) - np.repeat(np.cumsum(counts) - counts, counts)] = columns
    return Indices(padded, certain=not by_number), unseen


def _check_names(flat: list, row_of: np.ndarray) -> None:
    """Check that all names are str or int; unwrap the scalars of numpy and missing values."""
    if set(map(type, flat)) <= {str}:
        return
    for place, name in enumerate(flat):
        if isinstance(name, str):
            flat[place] = str(name)
        elif isinstance(name, Integral) and not isinstance(name, (bool, np.bool_)):
            flat[place] = int(name)
        elif is_missing(name):
            flat[place] = None
        else:
            raise TypeError(
                f"y_pred[{row_of[place]}] holds {name!r} of type {type(name).__name__}; names of "
                "labels are str or int. Pass scores and indicators as an array or a sparse matrix."
            )


def _align(array: np.ndarray, names: list, classes: np.ndarray) -> tuple[np.ndarray, list]:
    """Put the named columns of scores where `classes` has them, others behind."""
    index_of = index_names(classes.tolist(), FITTED, "y_pred")
    unseen = [name for name in names if name not in index_of]
    index_of |= {name: len(classes) + place for place, name in enumerate(unseen)}
    if array.dtype.kind in "iu":
        bad = np.argwhere((array != 0) & (array != 1))
        if len(bad):
            row, column = bad[0]
            raise ValueError(
                f"y_pred[{row}, {column}] is {array[row, column]}, but ints below names of labels "
                "are an indicator, 0 or 1; pass scores as float."
            )
        array = array.astype(bool)
    aligned = np.full(
        (len(array), len(index_of)), False if array.dtype == bool else -np.inf, dtype=array.dtype
    )
    aligned[:, [index_of[name] for name in names]] = array
    return aligned, unseen


def _is_indicator(labels: np.ndarray, n_columns: int) -> bool:
    """Recognise an indicator among int arrays: as wide as the labels, 0 and 1, values repeat."""
    if not labels.size or labels.shape[1] != n_columns or n_columns < 2:
        return False
    if labels.min() < 0 or labels.max() > 1:
        return False
    if n_columns > 2 or (labels[:, 0] == labels[:, 1]).any():
        return True
    raise ValueError(
        "y_pred holds ints 0 and 1 over two labels, which may be an indicator or label indices, "
        "best first; pass an indicator as bool or sparse, and indices with their scores as a tuple "
        "(indices, scores)."
    )


def _check_indices(labels: np.ndarray, n_labels: int) -> None:
    """Check that label indices have the right type and range."""
    if labels.dtype.kind not in "iu":
        raise ValueError(
            f"y_pred holds label indices of shape {labels.shape} and dtype {labels.dtype}; pass "
            "ints of shape (n_samples, k), padded with -1."
        )
    if labels.size and not (labels.min() >= -1 and labels.max() < n_labels):
        row, rank = np.argwhere((labels < -1) | (labels >= n_labels))[0]
        raise ValueError(
            f"y_pred[{row}, {rank}] is the label {labels[row, rank]}, but label indices lie "
            f"between 0 and {n_labels - 1}, and -1 stands for no prediction."
        )


def _check_no_nan(scores: np.ndarray | None) -> None:
    if scores is None or scores.dtype.kind != "f":
        return
    with_nan = np.isnan(scores.max(axis=1, initial=-np.inf))  # a maximum passes NaN on
    if with_nan.any():
        raise ValueError(
            f"y_pred holds a NaN score in row {np.argmax(with_nan)}; mark no prediction by -inf."
        )
