"""Targets in all the forms that users have them: indicator matrices and lists of label names."""

from __future__ import annotations

from itertools import chain
from typing import Any, Literal

import numpy as np
import scipy.sparse as sp

from ._indicators import (
    FITTED,
    as_indicator,
    move_columns,
    named_columns,
    narrow_indices,
    own_columns,
)
from ._label_set import Labels, read_labels
from ._names import (
    INDICATOR_ADVICE,
    NAMES_ADVICE,
    as_rows,
    drop_blank_names,
    encode_names,
    nested_indicator,
    plain_name,
    warn_of_blank_names,
)
from ._values import is_blank, sequence_to_list

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


def encode_targets(
    Y: Any,
    n_samples: int,
    *,
    label_text: Any = None,
    classes: np.ndarray | None = None,
    unseen: Literal["error", "ignore"] = "error",
    argument: str = "y",
) -> tuple[sp.csr_array, np.ndarray]:
    """Turn targets of any form into a CSR indicator and the names of its columns.

    Parameters
    ----------
    Y : sparse matrix or array, ndarray, table, or sequence of sequences of label names
        Either an indicator of shape (n_samples, n_labels) holding 0 and 1 or bool, sparse or
        dense, where one column is one label and not a vector of classes; or for each row its
        label names (str or int) as list, tuple, set or array, in a list, tuple, object array or
        Series. Nested lists of 0 and 1 are an indicator, or refused where they may be names (see
        `nested_indicator`). The columns of a table that is an indicator name the labels; a table
        of str holds names, several in a row. A name that a row repeats counts once, and a blank
        one is dropped with a warning.
    n_samples : int
        The number of documents.
    label_text : Labels, or what `read_labels` takes, optional
        The known labels, in this order: by id, or by their first texts if there are no ids.
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
        Names of the columns: `classes` or those of `label_text` if given, else the names of a
        table's columns or the sorted distinct names, or ``arange(n_labels)`` for an indicator
        without names. Names are held as object array of str, ints as int64 if they fit.

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
            f"{NAMES_ADVICE}, {INDICATOR_ADVICE}."
        )
    if hasattr(Y, "__array__") and not hasattr(Y, "__len__"):
        Y = np.asarray(Y)
    labels = read_labels(label_text) if classes is None else Labels(classes, None)
    indicator = as_indicator(Y, argument)
    if indicator is not None:
        _check_n_rows(indicator.shape[0], n_samples, argument)
        return _encode_indicator(Y, indicator, labels, classes is not None, unseen, argument)
    rows, n_blank = drop_blank_names(as_rows(Y, argument))
    _check_n_rows(len(rows), n_samples, argument)
    nested = nested_indicator(rows, labels.names, argument)
    if nested is not None:
        indicator = as_indicator(nested, argument)
        return _encode_indicator(None, indicator, labels, classes is not None, unseen, argument)
    warn_of_blank_names(n_blank, argument)
    source = FITTED if classes is not None else "label_text"
    return encode_names(rows, labels.names, source, unseen, argument)


def _encode_indicator(
    Y: Any, indicator: sp.csr_array, labels: Labels, fitted: bool, unseen: str, argument: str
) -> tuple[sp.csr_array, np.ndarray]:
    """An indicator with the names of its columns; those of a table `Y` count."""
    if indicator.shape[1] == 0:
        raise ValueError(f"{argument} has no columns; pass an indicator with at least one label.")
    known = labels.names
    if known is not None:
        source = FITTED if fitted else "label_text"
        columns = named_columns(Y, known, argument)
        if columns is not None:
            return move_columns(indicator, columns, known, unseen, source, argument), known
    if fitted:
        _check_n_columns(indicator.shape[1], len(known), True, argument)
        return indicator, known
    own = own_columns(Y, argument)
    if known is None:
        if own is None:
            return indicator, np.arange(indicator.shape[1])
        blank = np.array([is_blank(name) for name in own.tolist()])
        warn_of_blank_names(indicator[:, blank].nnz if blank.any() else 0, argument)
        return (indicator[:, ~blank], own[~blank]) if blank.any() else (indicator, own)
    if own is not None and labels.ids is not None and isinstance(own[0], type(known[0])):
        raise ValueError(
            f"{argument} has a column {own[0]!r}, and none of its columns is an id of label_text "
            f"such as {known[0]!r}; name the columns by the ids, or pass {argument}.to_numpy()."
        )
    _check_n_columns(indicator.shape[1], len(known), False, argument)
    return indicator, known if own is None or labels.ids is not None else own


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
        rows, _ = drop_blank_names(as_rows(Y, argument))
        if nested_indicator(rows, classes, argument) is not None:
            return []
        names = list(chain.from_iterable(rows))
    known = dict.fromkeys(classes.tolist())
    names = dict.fromkeys(map(plain_name, dict.fromkeys(names)))
    unseen = [name for name in names if name not in known]
    example = next(iter(known))
    for name in unseen:
        if isinstance(name, str) != isinstance(example, str):
            raise TypeError(
                f"{argument} names the label {name!r}, but the labels of the estimator are like "
                f"{example!r}; pass {argument} as y was passed to fit."
            )
    return unseen


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
    distinct, places = np.unique(indices, return_inverse=True)
    known = distinct[distinct >= 0]
    own = classes[known] if hasattr(classes, "dtype") else [classes[label] for label in known]
    names = np.full(len(distinct), None, dtype=object)
    names[distinct >= 0] = sequence_to_list(own)
    return names[places].reshape(indices.shape)


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


def _check_n_columns(n_columns: int, n_known: int, fitted: bool, argument: str) -> None:
    if n_columns == n_known:
        return
    if fitted:
        raise ValueError(
            f"{argument} has {n_columns} columns but the model was fitted on {n_known} "
            "labels; pass an indicator over the same labels."
        )
    raise ValueError(
        f"{argument} has {n_columns} columns but label_text has {n_known} entries; pass one "
        "text for each column."
    )
