"""Checks of what users pass in: texts, tables of texts and pictures, the number of predictions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from numbers import Integral
from typing import Any

import numpy as np

from ._tables import check_not_lazy, column_names, find_column, is_table, table_column
from ._values import is_missing, listed, plain_text, sequence_to_list

__all__ = [
    "check_texts",
    "check_top_k",
    "is_missing",
    "join_texts",
    "sequence_to_list",
    "text_columns",
]

# Between the texts of several columns of a document, or of one label.
_SEPARATOR = ". "


def check_texts(
    X: Any,
    *,
    text_column: str | Sequence[str] = "text",
    image_column: str = "image",
    images: Any = None,
    argument: str = "X",
    allow_empty: bool = False,
) -> tuple[list[str], Any]:
    """Turn documents into a list of texts and the images that belong to them.

    Parameters
    ----------
    X : sequence of str of length n_samples, or table with n_samples rows
        List, tuple, one-dimensional ndarray or Series (pandas, polars, pyarrow) of str. Of a
        table (a DataFrame of pandas or polars, a Table of pyarrow, a dict of columns) the column
        `text_column` holds the texts and the column `image_column`, if there is one, the images.
    text_column : str or sequence of str
        Name of the column with the texts; those of several columns are joined. A single column of
        a DataFrame holds the texts whatever its name is.
    image_column : str
        Name of the column with the pictures.
    images : sequence of length n_samples or None
        Images passed beside `X`. It is returned as it is, except that a Series becomes a list.
    argument : str
        How error messages call `X`.
    allow_empty : bool
        Whether there may be no texts at all.

    Returns
    -------
    texts : list of str, length n_samples
        Empty texts are kept. Lone surrogates have become U+FFFD.
    images : list, or the type of `images`, or None
        None when neither `images` nor an image column was given. Missing values (None, NaN, NA)
        of an image column are None.

    Raises
    ------
    TypeError
        If `X` is a single str, a single row, a generator, an unordered collection or holds
        something else than str.
    ValueError
        If `X` is empty or two-dimensional, a text is missing, the text column does not exist,
        images come both from a column and from `images`, or `images` has another length.
    """
    columns = text_columns(text_column)
    check_not_lazy(X, argument)
    _check_not_one_row(X, columns, argument)
    if is_table(X) or isinstance(X, Mapping):
        texts = _table_texts(X, columns, image_column, argument)
        images = _table_images(X, image_column, images, argument)
    else:
        texts = _check_strings(X, argument)
    if not texts and not allow_empty:
        raise ValueError(f"{argument} is empty; pass at least one text.")
    return texts, _check_images_length(images, len(texts), argument)


def text_columns(text_column: str | Sequence[str]) -> list[str]:
    """Names of the columns with texts, as a list.

    Raises
    ------
    TypeError, ValueError
        If they are not names, or there is none.
    """
    columns = [text_column] if isinstance(text_column, str) else sequence_to_list(text_column)
    for column in columns:
        if not isinstance(column, str):
            raise TypeError(f"text_column holds {column!r}; pass the names of columns, as str.")
    if not columns:
        raise ValueError("text_column names no column; pass one name, or a list of names.")
    return columns


def join_texts(texts: Sequence[str]) -> str:
    """Several texts of one document or label as one; empty ones are left out."""
    return texts[0] if len(texts) == 1 else _SEPARATOR.join(text for text in texts if text)


def check_top_k(k: Any) -> int:
    """Check a number of labels that are wanted for each document.

    Parameters
    ----------
    k : int
        The number of labels wanted for each document.

    Returns
    -------
    k : int

    Raises
    ------
    TypeError
        If `k` is not an int.
    ValueError
        If `k` is below 1.
    """
    if isinstance(k, (bool, np.bool_)) or not isinstance(k, Integral):
        raise TypeError(f"k must be an int, got {k!r} of type {type(k).__name__}.")
    if k < 1:
        raise ValueError(f"k must be at least 1, got k={k}; pass a larger k.")
    return int(k)


# -- tables ---------------------------------------------------------------------------------------


def _check_not_one_row(X: Any, columns: list[str], argument: str) -> None:
    """Raise if `X` is a row of a table, which would be read as a document for each cell."""
    advice = f"pass a table of one row, such as df.iloc[[0]] or pandas.DataFrame([{argument}])"
    if isinstance(X, Mapping):
        scalars = (str, bytes, type(None), float, Integral)
        if X and all(isinstance(cell, scalars) for cell in X.values()):
            raise TypeError(
                f"{argument} is a dict with one value for each key, a single row; {advice}."
            )
        return
    if isinstance(X, (list, tuple)):
        if len(X) and all(isinstance(row, Mapping) for row in X):
            raise TypeError(
                f"{argument} is a list of dicts, one for each row; pass "
                f"pandas.DataFrame({argument})."
            )
        return
    if hasattr(X, "index") and hasattr(X, "to_list") and hasattr(X.index, "to_list"):
        keys = X.index.to_list()
        is_row = set(columns) <= set(keys)
        named = bool(keys) and all(isinstance(key, str) for key in keys)
        if is_row or (named and isinstance(getattr(X, "name", None), Integral)):
            raise TypeError(
                f"{argument} is a Series whose index holds names of columns ({keys[:5]}), as a row "
                f"of a table has; {advice}. If it holds a text for each document, pass "
                f"{argument}.to_list()."
            )


def _table_texts(X: Any, columns: list[str], image_column: str, argument: str) -> list[str]:
    names = column_names(X)
    if isinstance(X, Mapping):
        _check_columns_of_dict(X, columns, argument)
    elif len(names) == 1 and len(columns) == 1 and names[0] != image_column:
        columns = names  # nothing else can be meant
    advice = "rename the column that holds the texts or set text_column"
    parts = [find_column(X, name, argument, advice) for name in columns]
    if len(parts) > 1:
        whole = [all(map(is_missing, cells)) for cells in zip(*parts, strict=True)]
        for number, cells in enumerate(parts):
            parts[number] = [
                "" if is_missing(cell) and not empty else cell
                for cell, empty in zip(cells, whole, strict=True)
            ]
    texts = [
        _check_strings(cells, f"{argument}[{name!r}]")
        for name, cells in zip(columns, parts, strict=True)
    ]
    if len(texts) == 1:
        return texts[0]
    return [join_texts(cells) for cells in zip(*texts, strict=True)]


def _check_columns_of_dict(X: Mapping, columns: list[str], argument: str) -> None:
    """Raise if `X` is not a dict of columns, all of one length."""
    for name, column in X.items():
        if not hasattr(column, "__len__") or isinstance(column, (Mapping, Set)):
            raise TypeError(
                f"{argument} is a dict whose value {name!r} is of type {type(column).__name__}; "
                "pass a list for each column, or a list of texts."
            )
    lengths = {name: len(column) for name, column in X.items()}
    if len(set(lengths.values())) > 1:
        raise ValueError(
            f"{argument} is a dict of columns of different lengths, {lengths}; pass one entry for "
            "each row."
        )
    if not set(columns) & set(X):
        raise TypeError(
            f"{argument} is a dict without a column {columns[0]!r} (its keys are {list(X)[:5]}); "
            f"pass list({argument}.values()) if it holds a text for each key, or set text_column."
        )


def _table_images(X: Any, image_column: str, images: Any, argument: str) -> Any:
    """The column of pictures, or what came beside the table."""
    names = column_names(X)
    if names.count(image_column) > 1:
        raise ValueError(
            f"{argument} is a DataFrame that has more than one column {image_column!r}; keep one "
            "of them."
        )
    if image_column not in names:
        return images
    if images is not None:
        raise ValueError(
            f"images is given although {argument} has a column {image_column!r}; drop the column, "
            "set image_column to another name, or do not pass images."
        )
    column = table_column(X, image_column)
    return [None if is_missing(entry) else entry for entry in column]


# -- sequences ------------------------------------------------------------------------------------


def _check_strings(X: Any, argument: str) -> list[str]:
    if isinstance(X, (str, bytes)):
        raise TypeError(
            f"{argument} is a single {type(X).__name__}, not a sequence of texts; "
            f"pass a list with one text: [{argument}]."
        )
    shape = getattr(X, "shape", None)
    if shape is not None and len(shape) != 1:
        raise ValueError(
            f"{argument} must be one-dimensional, one text for each document, but it is a "
            f"{type(X).__name__} of shape {tuple(shape)}; pass the one column that holds the texts."
        )
    if not hasattr(X, "__len__") or isinstance(X, Set):
        raise TypeError(
            f"{argument} must be a sequence of str (list, tuple, array, Series) or a DataFrame, "
            f"got {type(X).__name__}; pass list({argument})."
        )
    texts = sequence_to_list(X)
    missing, wrong = [], []
    for row, text in enumerate(texts):
        if isinstance(text, str):
            texts[row] = plain_text(text)
        else:
            (missing if is_missing(text) else wrong).append(row)
    if missing:
        raise ValueError(
            f"{argument}[{missing[0]}] is missing ({texts[missing[0]]!r}){listed(missing)}; drop "
            "the row or fill it with ''."
        )
    if wrong:
        text = texts[wrong[0]]
        advice = "decode it first" if isinstance(text, bytes) else "convert it to str first"
        raise TypeError(
            f"{argument}[{wrong[0]}] is of type {type(text).__name__}, not str{listed(wrong)}; "
            f"{advice}."
        )
    return texts


def _check_images_length(images: Any, n_samples: int, argument: str) -> Any:
    if images is None:
        return None
    if isinstance(images, (str, bytes, Mapping, Set)) or not hasattr(images, "__len__"):
        raise TypeError(
            f"images must be a sequence with one entry for each document, got "
            f"{type(images).__name__}; pass a list, or an array of embeddings."
        )
    if len(images) != n_samples:
        raise ValueError(
            f"images has length {len(images)} but {argument} has length {n_samples}; pass one "
            "entry for each document, None where a document has no image."
        )
    if hasattr(images, "to_pylist") or hasattr(images, "to_list"):
        # A Series is indexed by its labels, not by position, and hides None as NaN.
        return [None if is_missing(entry) else entry for entry in sequence_to_list(images)]
    return images
