"""Tables of pandas, polars, pyarrow and Hugging Face: names of columns, columns, rows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ._values import sequence_to_list

__all__ = [
    "as_mapping",
    "check_not_lazy",
    "column_names",
    "find_column",
    "is_table",
    "table_column",
    "table_rows",
]


def is_table(X: Any) -> bool:
    """Whether `X` has named columns: a DataFrame, a Table or a Dataset; not a dict."""
    if hasattr(X, "column_names"):  # pyarrow and Hugging Face
        return hasattr(X, "__getitem__")
    return hasattr(X, "columns") and hasattr(X, "shape") and len(X.shape) == 2


def check_not_lazy(X: Any, argument: str) -> None:
    """Raise if `X` is a query that has not been computed, such as a LazyFrame of polars."""
    if hasattr(X, "collect") and not hasattr(X, "__array__"):
        raise TypeError(
            f"{argument} is a {type(X).__name__}, whose rows are not computed yet; pass "
            f"{argument}.collect()."
        )


def column_names(table: Any) -> list:
    """Names of the columns of a table or of a dict of columns."""
    if isinstance(table, Mapping):
        return list(table)
    return sequence_to_list(table.column_names if hasattr(table, "column_names") else table.columns)


def table_column(table: Any, name: Any) -> list:
    """A column as a list of Python objects."""
    return sequence_to_list(table[name])


def find_column(table: Any, name: Any, argument: str, advice: str) -> list:
    """A column that must be there, once.

    Raises
    ------
    ValueError
        If there is none, or more than one, of that name.
    """
    names = column_names(table)
    if names.count(name) != 1:
        problem = "has no" if name not in names else "has more than one"
        raise ValueError(
            f"{argument} is a {_kind(table)} that {problem} column {name!r} (its columns are "
            f"{names}); {advice}."
        )
    return table_column(table, name)


def _kind(table: Any) -> str:
    return "dict" if isinstance(table, Mapping) else type(table).__name__


def table_rows(table: Any) -> list[list]:
    """The cells of each row."""
    if hasattr(table, "itertuples"):  # pandas, where a name may stand twice
        return [list(row) for row in table.itertuples(index=False, name=None)]
    if hasattr(table, "rows"):  # polars
        return [list(row) for row in table.rows()]
    columns = [table_column(table, name) for name in column_names(table)]
    return [list(row) for row in zip(*columns, strict=True)]


def as_mapping(values: Any) -> tuple[list, list] | None:
    """Keys and values of a mapping, or of a Series with an index of its own; else None.

    A Series of pandas that is numbered from 0 is a sequence.
    """
    if isinstance(values, Mapping):
        return list(values.keys()), list(values.values())
    if hasattr(values, "index") and hasattr(values, "to_list") and hasattr(values.index, "to_list"):
        keys = values.index.to_list()
        if keys != list(range(len(keys))):
            return keys, values.to_list()
    return None
