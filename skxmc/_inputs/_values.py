"""Single values and plain sequences: what is missing, what is a text, which rows to name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

__all__ = ["is_blank", "is_missing", "listed", "plain_text", "sequence_to_list"]

# Rows that a message names.
_SHOWN = 5


def is_missing(value: Any) -> bool:
    """Tell whether a single value stands for "nothing here": None, NaN, pandas' NA or NaT."""
    if value is None:
        return True
    if isinstance(value, (float, np.floating)):
        return bool(np.isnan(value))
    # pandas' markers are recognised by name: importing pandas for them would cost half a second.
    return type(value).__name__ in ("NAType", "NaTType")


def is_blank(value: Any) -> bool:
    """Tell whether a value is a str without a visible character."""
    return isinstance(value, str) and not value.strip()


def sequence_to_list(values: Any) -> list:
    """Turn any sequence or Series into a list of Python objects."""
    for method in ("to_pylist", "to_list", "tolist"):  # pyarrow; pandas and polars; numpy
        if hasattr(values, method):
            return getattr(values, method)()
    return list(values)


def plain_text(text: str) -> str:
    """A str, or an object of a subclass, as a str that can be encoded.

    Members of a ``class Tag(str, Enum)`` become their value. Surrogates, which broken decoding
    leaves, become the character that a pair of them stands for, or U+FFFD.
    """
    text = str.__str__(text)
    if text.isascii():
        return text
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text


def listed(places: Sequence[Any], what: str = "rows") -> str:
    """How many places are like the first one that a message names, and the first of them.

    Returns
    -------
    addition : str
        For the message, behind the first place; empty if there is only one.
    """
    if len(places) < 2:
        return ""
    shown = ", ".join(repr(place) for place in places[:_SHOWN])
    rest = ", ..." if len(places) > _SHOWN else ""
    return f" ({len(places)} {what} in all: {shown}{rest})"
