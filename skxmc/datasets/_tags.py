"""Tags that stand in one text, such as a column of a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set

from .._inputs._texts import is_missing, sequence_to_list
from .._inputs._values import listed


def split_tags(series: Sequence[str], sep: str = "|") -> list[list[str]]:
    """Split delimited tags into lists of label names, which ``fit`` takes as y.

    Parameters
    ----------
    series : sequence of str
        A list, an array, or a column of a table, with all tags of a document in one str; a
        missing value is a document without tags.
    sep : str, default="|"
        What stands between two tags.

    Returns
    -------
    tags : list of list of str
        The tags of each document, stripped, each once; empty ones are dropped.

    Raises
    ------
    TypeError
        If `series` is no sequence, or an entry is no str.
    ValueError
        If `sep` is empty.

    See Also
    --------
    load_table : Reads whole tables.

    Examples
    --------
    >>> from skxmc.datasets import split_tags
    >>> split_tags(["kitchen|steel", "garden||", None])
    [['kitchen', 'steel'], ['garden'], []]
    >>> split_tags(["red, round", ""], sep=",")
    [['red', 'round'], []]
    """
    if not isinstance(sep, str):
        raise TypeError(f"sep is {sep!r} of type {type(sep).__name__}; pass a str.")
    if not sep:
        raise ValueError("sep is empty; pass what stands between two tags, such as '|'.")
    if isinstance(series, (str, bytes, Mapping, Set)) or not hasattr(series, "__len__"):
        raise TypeError(
            f"series is a {type(series).__name__}; pass a list, or the column with the tags."
        )
    shape = tuple(getattr(series, "shape", ()))
    if len(shape) > 1:
        raise TypeError(
            f"series is a {type(series).__name__} of shape {shape}; pass the one "
            "column with the tags."
        )
    entries = sequence_to_list(series)
    wrong = [
        n
        for n, entry in enumerate(entries)
        if not isinstance(entry, str | None) and not is_missing(entry)
    ]
    if wrong:
        entry = entries[wrong[0]]
        raise TypeError(
            f"series[{wrong[0]}] is {entry!r} of type {type(entry).__name__}, not str"
            f"{listed(wrong)}; lists of tags need no splitting."
        )
    return [[] if is_missing(entry) else _split(entry, sep) for entry in entries]


def _split(entry: str, sep: str) -> list[str]:
    tags = (tag.strip() for tag in entry.split(sep))
    return list(dict.fromkeys(tag for tag in tags if tag))
