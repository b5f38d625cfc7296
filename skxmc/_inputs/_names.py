"""Targets as names: rows of names, names of columns, and the array of all names."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from itertools import chain
from numbers import Integral, Real
from typing import Any

import numpy as np
import scipy.sparse as sp

from ._indicators import FITTED, index_names, narrow_indices
from ._tables import check_not_lazy, is_table, table_rows
from ._values import is_blank, is_missing, listed, plain_text, sequence_to_list

__all__ = [
    "INDICATOR_ADVICE",
    "NAMES_ADVICE",
    "as_rows",
    "class_array",
    "drop_blank_names",
    "encode_names",
    "nested_indicator",
    "plain_name",
]

NAMES_ADVICE = "Pass one list of label names for each row, for example [['cat', 'pet'], ['dog']]"
INDICATOR_ADVICE = "or an indicator matrix of shape (n_samples, n_labels)"
_SPLIT = "For tags in one text, such as 'cat|pet', pass skxmc.datasets.split_tags"


def plain_name(name: Any) -> str | int | None:
    """A name as a plain str or int; None if it is neither."""
    if isinstance(name, str):
        return plain_text(name)
    if isinstance(name, Integral) and not isinstance(name, (bool, np.bool_)):
        return int(name)
    return None


def class_array(names: Sequence[str | int], argument: str) -> np.ndarray:
    """Plain names as an array: ints as int64, str as objects.

    An array of fixed width would pad every str to the longest.

    Raises
    ------
    ValueError
        If an int does not fit into 64 bits.
    """
    if len(names) and not isinstance(names[0], str):
        wide = [name for name in names if not -(2**63) <= name < 2**63]
        if wide:
            raise ValueError(
                f"{argument} holds the label {wide[0]}, which does not fit into 64 bits"
                f"{listed(wide, 'labels')}; pass labels of this length as str."
            )
        return np.array(names, dtype=np.int64)
    array = np.empty(len(names), dtype=object)
    array[:] = names
    return array


def as_rows(Y: Any, argument: str = "y") -> list[list]:
    """Return the labels of every row as lists."""
    check_not_lazy(Y, argument)
    rows = _rows_of_table(Y) if is_table(Y) else _rows_of_sequence(Y, argument)
    missing = [number for number, row in enumerate(rows) if is_missing(row)]
    if missing:
        raise ValueError(
            f"{argument}[{missing[0]}] is missing ({rows[missing[0]]!r}){listed(missing)}; pass [] "
            "for a row without labels."
        )
    for number, row in enumerate(rows):
        if type(row) is list:
            continue
        if isinstance(row, (str, bytes, Integral, float, np.generic)):
            raise _one_dimensional(row, number, argument)
        if not isinstance(row, Iterable) or isinstance(row, dict) or not hasattr(row, "__len__"):
            raise TypeError(
                f"{argument}[{number}] is of type {type(row).__name__}, not a list, tuple or set "
                f"of label names. {NAMES_ADVICE}."
            )
        rows[number] = sequence_to_list(row)
    return rows


def _rows_of_sequence(Y: Any, argument: str) -> list:
    if isinstance(Y, (str, bytes)) or not hasattr(Y, "__len__") or not isinstance(Y, Iterable):
        raise TypeError(
            f"{argument} is of type {type(Y).__name__}. {NAMES_ADVICE}, {INDICATOR_ADVICE}."
        )
    if isinstance(Y, (set, frozenset, dict)):
        raise TypeError(
            f"{argument} is a {type(Y).__name__}, whose rows are in no order. {NAMES_ADVICE}."
        )
    if isinstance(Y, np.ndarray) and Y.ndim not in (1, 2):
        raise ValueError(f"{argument} has shape {Y.shape}. {NAMES_ADVICE}, {INDICATOR_ADVICE}.")
    return sequence_to_list(Y)


def _rows_of_table(table: Any) -> list:
    """The cells of a column of lists, or the names in each row; missing cells are no names."""
    rows = table_rows(table)
    if rows and len(rows[0]) == 1:
        return [row[0] for row in rows]
    return [[cell for cell in row if not is_missing(cell)] for row in rows]


def _one_dimensional(row: Any, number: int, argument: str) -> ValueError:
    continuous = isinstance(row, float) and not row.is_integer()
    hint = f" {_SPLIT}({argument})." if isinstance(row, str) else ""
    return ValueError(
        f"{argument} is one-dimensional: {argument}[{number}] is the "
        f"{'continuous value' if continuous else 'scalar'} {row!r}, but a document can "
        f"have several labels. {NAMES_ADVICE}, {INDICATOR_ADVICE} ({argument}.reshape(-1, 1) "
        f"for a single 0/1 column).{hint} If every document has just one class: "
        f"[[name] for name in {argument}]."
    )


def drop_blank_names(rows: list[list]) -> tuple[list[list], int]:
    """Rows without names that are empty or blank, and how many of these there were."""
    n_blank = sum(is_blank(name) for name in chain.from_iterable(rows))
    if n_blank:
        rows = [[name for name in row if not is_blank(name)] for row in rows]
    return rows, n_blank


def warn_of_blank_names(n_blank: int, argument: str) -> None:
    """Say how many names were dropped, if any."""
    if n_blank:
        warnings.warn(
            f"{argument} holds {n_blank} label name{'s that are' if n_blank > 1 else ' that is'} "
            "empty or blank; they are dropped.",
            UserWarning,
            stacklevel=4,
        )


def nested_indicator(rows: list[list], known: Sequence | None, argument: str) -> Any:
    """An indicator that is written as nested lists, as array; None if the rows hold names.

    Names are str or int and stand once in a row. So rows of one length are an indicator if they
    hold nothing but 0 and 1 and one of them repeats itself, which it does over three labels. Rows
    over two labels that are all [0, 1] or [1, 0] can be read in both ways.

    Raises
    ------
    ValueError
        If both readings are possible.
    """
    width = len(rows[0]) if rows else 0
    if width < 2 or set(map(len, rows)) != {width}:
        return None
    flat = list(chain.from_iterable(rows))
    if not all(isinstance(entry, (Real, np.bool_)) and entry in (0, 1) for entry in flat):
        return None
    can_be_names = all(plain_name(entry) is not None for entry in flat) and width == 2
    if can_be_names and known is not None:
        if len(known) != 2:
            return None
        can_be_names = not isinstance(known[0], str)
    if can_be_names and not any(first == second for first, second in rows):
        raise ValueError(
            f"{argument} looks like an indicator given as nested lists, and may hold the label "
            f"names 0 and 1; pass np.asarray({argument}) if it is an indicator, or the names as "
            "str."
        )
    return np.array(rows, dtype=np.float32)


def encode_names(
    rows: list[list], known: np.ndarray | None, source: str, unseen: str, argument: str
) -> tuple[sp.csr_array, np.ndarray]:
    """Rows of names as CSR, and the names of its columns: `known`, or all names sorted."""
    counts = np.fromiter(map(len, rows), dtype=np.int64, count=len(rows))
    row_of = np.repeat(np.arange(len(rows)), counts)
    flat = _plain_names(list(chain.from_iterable(rows)), row_of, argument)
    if known is None:
        if not flat:
            raise ValueError(f"{argument} names no label at all; at least one row needs a label.")
        known = class_array(sorted(set(flat)), argument)
    index_of = index_names(known.tolist(), source, argument)
    columns = np.fromiter((index_of.get(name, -1) for name in flat), np.int64, count=len(flat))
    found = columns >= 0
    if not found.all():
        if unseen == "error":
            places = np.flatnonzero(~found)
            raise _unknown_name(flat[places[0]], row_of[places], known, source, argument)
        columns, row_of = columns[found], row_of[found]
    pairs = np.ones(len(columns), dtype=np.float32)
    Y = sp.csr_array((pairs, (row_of, columns)), shape=(len(rows), len(known)))
    Y.sum_duplicates()
    Y.data[:] = 1
    return narrow_indices(Y), known


def _unknown_name(
    name: str | int, rows: np.ndarray, known: np.ndarray, source: str, argument: str
) -> ValueError:
    rows = list(dict.fromkeys(rows.tolist()))
    advice = "drop it or correct the name"
    if source != FITTED:
        example = known[0] if len(known) else None
        advice = (
            f"add it there or correct the name (known are names like {example!r}; if y holds ids "
            "and label_text their texts, pass label_text as a mapping of id to text)"
        )
    return ValueError(
        f"{argument}[{rows[0]}] names the label {name!r}, which is not in {source}; {advice}"
        f"{listed(rows)}."
    )


def _plain_names(flat: list, row_of: np.ndarray, argument: str) -> list:
    """Names as plain str or plain int, all of one type."""
    if set(map(type, flat)) <= {str}:
        odd = {name for name in set(flat) if not name.isascii()}
        replaced = {name: plain_text(name) for name in odd}
        return [replaced.get(name, name) for name in flat] if replaced else flat
    plain = [plain_name(name) for name in flat]
    wrong = [position for position, name in enumerate(plain) if name is None]
    missing = [position for position in wrong if is_missing(flat[position])]
    if missing:
        raise ValueError(
            f"{argument}[{row_of[missing[0]]}] holds a missing label name ({flat[missing[0]]!r})"
            f"{listed(row_of[missing].tolist())}; drop it."
        )
    if wrong:
        name = flat[wrong[0]]
        raise TypeError(
            f"{argument}[{row_of[wrong[0]]}] holds the label name {name!r} of type "
            f"{type(name).__name__}{listed(row_of[wrong].tolist())}; names are str or int. An "
            "indicator has to be an array or a sparse matrix, or nested lists of 0 and 1."
        )
    for position, name in enumerate(plain):
        if type(name) is not type(plain[0]):
            raise TypeError(
                f"{argument}[{row_of[position]}] holds the label name {name!r} "
                f"({type(name).__name__}) but {argument}[{row_of[0]}] holds {plain[0]!r} "
                f"({type(plain[0]).__name__}); use only one of them."
            )
    return plain
