"""Targets in all the forms that users have them: indicator matrices and lists of label names."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import chain
from numbers import Integral
from typing import Any, Literal

import numpy as np
import scipy.sparse as sp

from ._indicators import (
    FITTED,
    as_indicator,
    index_names,
    move_columns,
    named_columns,
    narrow_indices,
)
from ._texts import is_missing, sequence_to_list

__all__ = [
    "as_indicator",
    "as_rows",
    "check_exclude",
    "encode_targets",
    "encode_truth",
    "extend_classes",
    "labels_to_names",
    "narrow_indices",
    "unseen_names",
    "without_pairs",
]

_NAMES_MEND = "Pass one list of label names for each row, for example [['cat', 'pet'], ['dog']]"
_INDICATOR_MEND = "or an indicator matrix of shape (n_samples, n_labels)"


def encode_targets(
    Y: Any,
    n_samples: int,
    *,
    label_text: Sequence[str] | None = None,
    classes: np.ndarray | None = None,
    unseen: Literal["error", "ignore"] = "error",
    argument: str = "y",
) -> tuple[sp.csr_array, np.ndarray]:
    """Turn targets of any form into a CSR indicator and the names of its columns.

    Parameters
    ----------
    Y : sparse matrix or array, ndarray, DataFrame, or sequence of sequences of label names
        Either an indicator of shape (n_samples, n_labels) holding 0 and 1 or bool, sparse or
        dense, where one column is one label and not a vector of classes; or for each row its
        label names (str or int) as list, tuple, set or array, in a list, tuple, object array or
        Series. Nested lists are always names. A name that a row repeats counts once. With
        `classes`, the columns of a DataFrame are found by their names (see `named_columns`).
    n_samples : int
        The number of documents.
    label_text : sequence of str of length n_labels, optional
        The labels' texts. With an indicator they name its columns. With names they are the
        known labels, in this order, and have to be distinct.
    classes : ndarray of shape (n_labels,), optional
        The classes of a fitted model; takes the place of `label_text`.
    unseen : {"error", "ignore"}
        What to do about a name that is not among `label_text` or `classes`.
    argument : str
        How error messages call `Y`.

    Returns
    -------
    Y : csr_array of shape (n_samples, n_labels), float32
        Sorted indices, no duplicates, no explicit zeros. May share memory with the input.
    classes : ndarray of shape (n_labels,)
        Names of the columns: `classes` or `label_text` if given, else the sorted distinct names,
        or ``arange(n_labels)`` for an indicator. Names are held as object array of str (a
        fixed-width array would pad every label to the longest), ints as int64.

    Raises
    ------
    TypeError
        If a row is not a collection of names, or a name is neither str nor int.
    ValueError
        If `Y` is None, has another number of rows or columns than expected, holds something else
        than 0 and 1, has one label per row instead of a collection of them, or names an unseen
        label.
    """
    if Y is None:
        # In scikit-learn's words, which its own tools look for.
        raise ValueError(
            "This estimator requires y to be passed, but the target y is None. "
            f"{_NAMES_MEND}, {_INDICATOR_MEND}."
        )
    if hasattr(Y, "__array__") and not hasattr(Y, "__len__"):
        Y = np.asarray(Y)
    if label_text is not None:
        if isinstance(label_text, str):
            raise TypeError("label_text is a single str; pass one text for each label.")
        label_text = sequence_to_list(label_text)
    names = classes if classes is not None else label_text
    indicator = as_indicator(Y, argument)
    if indicator is not None:
        _check_n_rows(indicator.shape[0], n_samples, argument)
        columns = None if classes is None else named_columns(Y, classes, argument)
        if columns is not None:
            return move_columns(indicator, columns, classes, unseen, argument), classes
        return indicator, _name_columns(indicator.shape[1], names, classes is not None, argument)
    rows = as_rows(Y, argument)
    _check_n_rows(len(rows), n_samples, argument)
    source = FITTED if classes is not None else "label_text"
    return _encode_names(rows, names, source, unseen, argument)


def encode_truth(
    Y: Any, n_samples: int, classes: np.ndarray, *, argument: str = "y"
) -> sp.csr_array:
    """Turn the truth about predictions of a fitted model into a CSR indicator.

    Parameters
    ----------
    Y : as in :func:`encode_targets`
    n_samples : int
        The number of documents.
    classes : ndarray of shape (n_labels,)
        The classes of the fitted model.
    argument : str
        How error messages call `Y`.

    Returns
    -------
    truth : csr_array of shape (n_samples, n_labels + n_unseen), float32
        Behind the known labels come the names that the model has not seen: without columns for
        these, a label would have to be found if Y is an indicator and would not count if Y holds
        names.

    Raises
    ------
    TypeError, ValueError
        As :func:`encode_targets`, and if names are of another type than those in `classes`.
    """
    truth, _ = encode_targets(Y, n_samples, classes=classes, unseen="ignore", argument=argument)
    unseen = unseen_names(Y, classes, argument)
    if not unseen:
        return truth
    extended = extend_classes(classes, unseen)
    return encode_targets(Y, n_samples, classes=extended, argument=argument)[0]


def unseen_names(Y: Any, classes: np.ndarray, argument: str = "y") -> list:
    """Names in targets that `encode_targets` accepts which `classes` does not hold, in order."""
    if sp.issparse(Y):
        return []
    if as_indicator(Y, argument) is not None:
        names = named_columns(Y, classes, argument) or []
    else:
        names = list(chain.from_iterable(as_rows(Y, argument)))
    known = dict.fromkeys(classes.tolist())
    unseen = [name for name in dict.fromkeys(names) if name not in known]
    example = next(iter(known))
    for name in unseen:
        if isinstance(name, str) != isinstance(example, str):
            raise TypeError(
                f"{argument} names the label {name!r}, but the labels of the estimator are like "
                f"{example!r}; pass {argument} as y was passed to fit."
            )
    return [str(name) if isinstance(name, str) else int(name) for name in unseen]


def extend_classes(classes: np.ndarray, names: list) -> np.ndarray:
    """Return the names of known labels and behind them those of others, as object array."""
    extended = np.empty(len(classes) + len(names), dtype=object)
    extended[:] = [*classes.tolist(), *names]
    return extended


def labels_to_names(indices: Any, classes: np.ndarray) -> np.ndarray:
    """Look up the names of predicted labels.

    Parameters
    ----------
    indices : int array of any shape
        Label indices; -1 stands for "no label".
    classes : ndarray of shape (n_labels,)
        Names of the labels.

    Returns
    -------
    names : ndarray of the shape of `indices`, object
        str or int names; None where the index is -1.

    Raises
    ------
    ValueError
        If an index is below -1 or not below n_labels.
    """
    indices = np.asarray(indices)
    if indices.size and not (indices.min() >= -1 and indices.max() < len(classes)):
        raise ValueError(
            f"indices must lie between -1 and {len(classes) - 1}, got values from "
            f"{indices.min()} to {indices.max()}; pass indices of labels that the model knows."
        )
    names = np.empty(len(classes) + 1, dtype=object)
    names[:-1] = sequence_to_list(classes)
    names[-1] = None
    return names[indices]


def check_exclude(
    exclude: Any, n_samples: int, n_labels: int, argument: str = "exclude"
) -> sp.csr_array | None:
    """Turn filter pairs into a boolean CSR.

    Parameters
    ----------
    exclude : sparse matrix or array, bool ndarray, int array of shape (n_pairs, 2), or None
        Pairs (row, label) that must neither be predicted nor count as truth: an indicator of
        shape (n_samples, n_labels) whose stored non-zeros are the pairs, or the pairs themselves.
    n_samples, n_labels : int
        The shape of the targets.
    argument : str, default="exclude"
        What the user calls it; for messages.

    Returns
    -------
    exclude : csr_array of shape (n_samples, n_labels), bool, or None
        Sorted indices, no duplicates, no explicit zeros; None if `exclude` is None.

    Raises
    ------
    TypeError
        If `exclude` is dense but neither bool nor integer pairs.
    ValueError
        If its shape is wrong or a pair lies outside of the targets.
    """
    if exclude is None:
        return None
    shape = (n_samples, n_labels)
    dense = None if sp.issparse(exclude) else np.asarray(exclude)
    if dense is None or (dense.dtype == bool and dense.ndim == 2):
        if exclude.shape != shape if dense is None else dense.shape != shape:
            found = exclude.shape if dense is None else dense.shape
            raise ValueError(
                f"{argument} has shape {found} but the targets have shape {shape}; pass a row for "
                "each document and one column for each label, or (row, label) pairs."
            )
        pairs = sp.csr_array(exclude if dense is None else dense, copy=True).astype(bool)
    else:
        if dense.size == 0:
            dense = dense.reshape(0, 2).astype(np.int64)
        if dense.dtype.kind not in "iu" or dense.ndim != 2 or dense.shape[1] != 2:
            raise TypeError(
                f"{argument} is an array of shape {dense.shape} and dtype {dense.dtype}; pass a "
                "sparse or bool matrix of shape (n_samples, n_labels), or an int array of "
                "shape (n_pairs, 2) with pairs (row, label)."
            )
        outside = ((dense < 0) | (dense >= shape)).any(axis=1)
        if outside.any():
            first = int(np.flatnonzero(outside)[0])
            raise ValueError(
                f"{argument}[{first}] is the pair {tuple(dense[first].tolist())}, outside of the "
                f"targets' shape {shape}; pass pairs (row, label) in this order."
            )
        ones = np.ones(len(dense), dtype=bool)
        pairs = sp.csr_array((ones, (dense[:, 0], dense[:, 1])), shape=shape)
    pairs.sum_duplicates()
    pairs.eliminate_zeros()
    return narrow_indices(pairs)


def without_pairs(Y: sp.csr_array, pairs: sp.csr_array) -> sp.csr_array:
    """Y without the entries that `pairs` marks."""
    Y = sp.csr_array(Y - Y.multiply(pairs))
    Y.eliminate_zeros()
    Y.sort_indices()
    return Y


def _check_n_rows(n_rows: int, n_samples: int, argument: str) -> None:
    if n_rows != n_samples:
        raise ValueError(
            f"{argument} has {n_rows} rows but there are {n_samples} documents; pass one row for "
            "each."
        )


def _name_columns(n_labels: int, names: Any, fitted: bool, argument: str) -> np.ndarray:
    if n_labels == 0:
        raise ValueError(f"{argument} has no columns; pass an indicator with at least one label.")
    if names is None:
        return np.arange(n_labels)
    if len(names) != n_labels:
        if fitted:
            raise ValueError(
                f"{argument} has {n_labels} columns but the model was fitted on {len(names)} "
                "labels; pass an indicator over the same labels."
            )
        raise ValueError(
            f"{argument} has {n_labels} columns but label_text has {len(names)} entries; pass one "
            "text for each column."
        )
    return names if fitted else _as_class_array(names, "label_text")


def _as_class_array(names: list, argument: str) -> np.ndarray:
    for position, name in enumerate(names):
        if not isinstance(name, str):
            raise TypeError(
                f"{argument}[{position}] is {name!r} of type {type(name).__name__}, not str; "
                "pass one text for each label."
            )
    array = np.empty(len(names), dtype=object)
    array[:] = [str(name) for name in names]
    return array


def as_rows(Y: Any, argument: str = "y") -> list[list]:
    """Return the labels of every row as lists."""
    if isinstance(Y, (str, bytes)) or not hasattr(Y, "__len__") or not isinstance(Y, Iterable):
        raise TypeError(
            f"{argument} is of type {type(Y).__name__}. {_NAMES_MEND}, {_INDICATOR_MEND}."
        )
    if isinstance(Y, (set, frozenset, dict)):
        raise TypeError(
            f"{argument} is a {type(Y).__name__}, whose rows are in no order. {_NAMES_MEND}."
        )
    if isinstance(Y, np.ndarray) and Y.ndim not in (1, 2):
        raise ValueError(f"{argument} has shape {Y.shape}. {_NAMES_MEND}, {_INDICATOR_MEND}.")
    rows = sequence_to_list(Y)
    for number, row in enumerate(rows):
        if type(row) is list:
            continue
        if is_missing(row):
            raise ValueError(
                f"{argument}[{number}] is missing ({row!r}); pass [] for a row without labels."
            )
        if isinstance(row, (str, bytes, Integral, float, np.generic)):
            continuous = isinstance(row, float) and not row.is_integer()
            raise ValueError(
                f"{argument} is one-dimensional: {argument}[{number}] is the "
                f"{'continuous value' if continuous else 'scalar'} {row!r}, but a document can "
                f"have several labels. {_NAMES_MEND}, {_INDICATOR_MEND} ({argument}.reshape(-1, 1) "
                f"for a single 0/1 column). If every document has just one class: "
                f"[[name] for name in {argument}]."
            )
        if not isinstance(row, Iterable) or isinstance(row, dict) or not hasattr(row, "__len__"):
            raise TypeError(
                f"{argument}[{number}] is of type {type(row).__name__}, not a list, tuple or set "
                f"of label names. {_NAMES_MEND}."
            )
        rows[number] = sequence_to_list(row)
    return rows


def _encode_names(
    rows: list[list], known: Any, source: str, unseen: str, argument: str
) -> tuple[sp.csr_array, np.ndarray]:
    counts = np.fromiter(map(len, rows), dtype=np.int64, count=len(rows))
    flat = list(chain.from_iterable(rows))
    row_of = np.repeat(np.arange(len(rows)), counts)
    n_known = None if known is None else len(known)
    _check_names(flat, row_of, rows, n_known, argument)

    if known is None:
        if not flat:
            raise ValueError(f"{argument} names no label at all; at least one row needs a label.")
        distinct = sorted(set(flat))
        is_text = isinstance(distinct[0], str)
        classes = (
            _as_class_array(distinct, argument) if is_text else np.array(distinct, dtype=np.int64)
        )
    elif isinstance(known, np.ndarray):
        classes, distinct = known, known.tolist()
    else:
        classes = _as_class_array(known, source)
        distinct = classes.tolist()
    index_of = index_names(distinct, source, argument)
    columns = np.fromiter((index_of.get(name, -1) for name in flat), np.int64, count=len(flat))
    known_name = columns >= 0
    if not known_name.all():
        if unseen == "error":
            first = int(np.flatnonzero(~known_name)[0])
            raise ValueError(
                f"{argument}[{row_of[first]}] names the label {flat[first]!r}, which is not in "
                f"{source}; {'drop it' if source != 'label_text' else 'add it there'} or correct "
                "the name."
            )
        columns, row_of = columns[known_name], row_of[known_name]
    pairs = np.ones(len(columns), dtype=np.float32)
    Y = sp.csr_array((pairs, (row_of, columns)), shape=(len(rows), len(classes)))
    Y.sum_duplicates()
    Y.data[:] = 1
    return narrow_indices(Y), classes


def _check_names(
    flat: list, row_of: np.ndarray, rows: list[list], n_known: int | None, argument: str
) -> None:
    """Check that all names are str or all are int; unwrap the scalars of numpy."""
    types = set(map(type, flat))
    if types <= {str}:
        return
    for position, name in enumerate(flat):
        if isinstance(name, str):
            flat[position] = str(name)
        elif isinstance(name, Integral) and not isinstance(name, (bool, np.bool_)):
            flat[position] = int(name)
        else:
            if is_missing(name):
                raise ValueError(
                    f"{argument}[{row_of[position]}] holds a missing label name ({name!r}); drop "
                    "it."
                )
            raise TypeError(
                f"{argument}[{row_of[position]}] holds the label name {name!r} of type "
                f"{type(name).__name__}; names are str or int. An indicator has to be an array "
                "or a sparse matrix, not nested lists."
            )
    first_type = type(flat[0])
    for position, name in enumerate(flat):
        if type(name) is not first_type:
            raise TypeError(
                f"{argument}[{row_of[position]}] holds the label name {name!r} "
                f"({type(name).__name__}) but {argument}[{row_of[0]}] holds {flat[0]!r} "
                f"({first_type.__name__}); use only one of them."
            )
    # Rows of an indicator written as lists would silently be read as the labels 0 and 1. Over two
    # labels both readings are possible, unless there are more labels than that.
    width = len(rows[0])
    suspect = width > 2 or (width == 2 and n_known in (None, 2))
    if suspect and set(flat) <= {0, 1} and len(set(map(len, rows))) == 1:
        raise ValueError(
            f"{argument} looks like an indicator given as nested lists, which are read as label "
            f"names; pass np.asarray({argument}), or the names 0 and 1 as str if they are meant."
        )
