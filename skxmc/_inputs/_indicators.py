"""Indicator matrices in all the forms that users have them, and the names of their columns."""

from __future__ import annotations

from collections import Counter
from numbers import Integral
from typing import Any

import numpy as np
import scipy.sparse as sp

from ._tables import column_names, is_table, table_column
from ._values import plain_text

__all__ = [
    "FITTED",
    "as_indicator",
    "index_names",
    "move_columns",
    "named_columns",
    "narrow_indices",
    "own_columns",
]

# How messages call the names of a fitted model's labels.
FITTED = "the fitted classes"


def as_indicator(Y: Any, argument: str = "y") -> sp.csr_array | None:
    """Return `Y` as canonical CSR if it is an indicator, None if it holds names."""
    if hasattr(getattr(Y, "sparse", None), "to_coo"):  # a DataFrame whose columns are all sparse
        Y = Y.sparse.to_coo()
    if not sp.issparse(Y):
        if isinstance(Y, (list, tuple)) or len(getattr(Y, "shape", ())) != 2:
            return None
        dense = _dense_of_table(Y) if hasattr(Y, "column_names") else np.asarray(Y)
        if dense.dtype.kind in "US":
            return None
        if dense.dtype == object:
            if any(isinstance(entry, (str, list, tuple, set, np.ndarray)) for entry in dense.flat):
                return None
            dense = _object_to_numbers(dense, argument)
        if dense.dtype.kind not in "biuf":
            raise TypeError(
                f"{argument} is an array of dtype {dense.dtype}; pass an indicator that holds only "
                "0 and 1."
            )
        # Checked before the conversion: dense is where NaN and odd values usually come from.
        bad = np.argwhere((dense != 0) & (dense != 1))
        if len(bad):
            _raise_not_binary(argument, *bad[0], dense[tuple(bad[0])])
        return narrow_indices(sp.csr_array(dense, dtype=np.float32))
    if len(Y.shape) != 2:
        raise ValueError(
            f"{argument} is sparse with shape {Y.shape}; pass shape (n_samples, n_labels)."
        )
    if Y.dtype.kind not in "biuf":
        raise TypeError(
            f"{argument} is sparse with dtype {Y.dtype}; pass an indicator that holds only 0 and 1."
        )
    csr = sp.csr_array(Y)  # shares memory with a CSR input, which must stay as it is
    if not csr.has_canonical_format:
        if Y.format == "csr":
            csr = csr.copy()
        csr.sum_duplicates()
    wrong = np.flatnonzero((csr.data != 1) & (csr.data != 0))
    if len(wrong):
        row = int(np.searchsorted(csr.indptr, wrong[0], side="right")) - 1
        _raise_not_binary(argument, row, csr.indices[wrong[0]], csr.data[wrong[0]])
    if not csr.data.all():
        csr = csr.copy()
        csr.eliminate_zeros()
    return narrow_indices(csr.astype(np.float32, copy=False))


def _dense_of_table(table: Any) -> np.ndarray:
    """The cells of a table of pyarrow or Hugging Face, shape (n_rows, n_columns)."""
    columns = [table_column(table, name) for name in column_names(table)]
    if not columns:
        return np.empty((len(table), 0))
    dense = np.empty((len(columns[0]), len(columns)), dtype=object)
    for position, column in enumerate(columns):
        dense[:, position] = column
    return dense


def narrow_indices(csr: sp.csr_array) -> sp.csr_array:
    """Hold indices as int32 where they fit: half the memory, and one type for what follows."""
    if csr.indices.dtype == np.int32 or max(*csr.shape, csr.nnz) > np.iinfo(np.int32).max:
        return csr
    parts = (csr.data, csr.indices.astype(np.int32), csr.indptr.astype(np.int32))
    return sp.csr_array(parts, shape=csr.shape)


def _object_to_numbers(dense: np.ndarray, argument: str) -> np.ndarray:
    for row, entries in enumerate(dense):
        for column, entry in enumerate(entries):
            if not isinstance(entry, (bool, int, float, np.bool_, np.number)):
                _raise_not_binary(argument, row, column, entry)
    return dense.astype(np.float64)


def _raise_not_binary(argument: str, row: int, column: int, value: Any) -> None:
    value = value.item() if isinstance(value, np.generic) else value
    raise ValueError(
        f"{argument}[{row}, {column}] is {value!r}, but an indicator holds only 0 and 1; "
        "binarise it first (duplicate entries of a sparse matrix add up)."
    )


def named_columns(Y: Any, classes: np.ndarray, argument: str = "y") -> list | None:
    """Return the names of a table's columns, or None where columns count by their position.

    Names count where at least one of them is among `classes`. Ints that are not the very ints of
    `classes` count only if there are more or fewer of them than classes: tables are numbered by
    default, and so are the classes of a model that was fitted on an indicator.
    """
    if not is_table(Y):
        return None
    names, known = _plain_columns(Y), classes.tolist()
    common = set(known).intersection(names)
    numbered = not isinstance(known[0], str)
    if not common or (numbered and len(names) == len(known) and len(common) < len(known)):
        return None
    _check_distinct(names, argument)
    return names


def _plain_columns(table: Any) -> list:
    """Names of columns, those that are str as plain ones."""
    names = column_names(table)
    return [plain_text(name) if isinstance(name, str) else name for name in names]


def _check_distinct(names: list, argument: str) -> None:
    if len(set(names)) < len(names):
        twice = next(name for name, number in Counter(names).items() if number > 1)
        raise ValueError(
            f"{argument} has more than one column {twice!r}; keep one column for each label."
        )


def own_columns(Y: Any, argument: str = "y") -> np.ndarray | None:
    """Names of a table's columns as array; None if there are none but numbers from 0 upwards.

    "column_0" and so on, which polars makes up, are no names either.

    Raises
    ------
    TypeError
        If they are neither all str nor all int.
    ValueError
        If a name stands twice.
    """
    if not is_table(Y):
        return None
    names = _plain_columns(Y)
    if names == [f"column_{number}" for number in range(len(names))]:
        return None
    if all(isinstance(name, str) for name in names):
        array = np.empty(len(names), dtype=object)
        array[:] = names
    elif all(isinstance(name, Integral) and not isinstance(name, bool) for name in names):
        array = np.array([int(name) for name in names], dtype=np.int64)
        if np.array_equal(array, np.arange(len(names))):
            return None
    else:
        wrong = next(
            name
            for name in names
            if not isinstance(name, type(names[0]))
            or not isinstance(name, (str, Integral))
            or isinstance(name, bool)
        )
        raise TypeError(
            f"{argument} has a column named {wrong!r} of type {type(wrong).__name__}; the names of "
            "columns name the labels and must be all str or all int."
        )
    _check_distinct(names, argument)
    return array


def move_columns(
    indicator: sp.csr_array,
    columns: list,
    classes: np.ndarray,
    unseen: str,
    source: str,
    argument: str,
) -> sp.csr_array:
    """Put the named columns of an indicator where `classes` has them."""
    index_of = index_names(classes.tolist(), source, argument)
    target = np.array([index_of.get(name, -1) for name in columns], dtype=np.int64)
    if unseen == "error" and (target < 0).any():
        name = columns[int(np.argmin(target))]
        raise ValueError(
            f"{argument} has a column {name!r}, which is not in {source}; drop it or correct the "
            "name."
        )
    coo = indicator.tocoo()
    rows, labels = coo.coords[0], target[coo.coords[1]]
    known = labels >= 0
    parts = (coo.data[known], (rows[known], labels[known]))
    return narrow_indices(sp.csr_array(parts, shape=(indicator.shape[0], len(classes))))


def index_names(names: list, source: str, argument: str) -> dict:
    """Return the position of each name; an error if two labels have the same name."""
    index_of = {name: index for index, name in enumerate(names)}
    if len(index_of) < len(names):
        twice = next(name for index, name in enumerate(names) if index_of[name] != index)
        raise ValueError(
            f"{source} holds {twice!r} more than once, so that the name does not tell which "
            f"label is meant; make the texts distinct or pass {argument} as an indicator matrix."
        )
    return index_of
