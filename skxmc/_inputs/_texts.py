"""Checks of what users pass in: texts, tables of texts and pictures, the number of predictions."""

from __future__ import annotations

from collections.abc import Mapping, Set
from numbers import Integral
from typing import Any

import numpy as np

__all__ = ["check_texts", "check_top_k", "is_missing", "sequence_to_list"]


def check_texts(
    X: Any,
    *,
    text_column: str = "text",
    image_column: str = "image",
    images: Any = None,
    argument: str = "X",
) -> tuple[list[str], Any]:
    """Turn documents into a list of texts and the images that belong to them.

    Parameters
    ----------
    X : sequence of str of length n_samples, or DataFrame with n_samples rows
        List, tuple, one-dimensional ndarray or Series (pandas, polars, pyarrow) of str. Of a
        DataFrame (pandas or polars) the column `text_column` holds the texts and the column
        `image_column`, if there is one, the images.
    text_column, image_column : str
        Names of the columns of a DataFrame.
    images : sequence of length n_samples or None
        Images passed beside `X`. It is returned as it is, except that a Series becomes a list.
    argument : str
        How error messages call `X`.

    Returns
    -------
    texts : list of str, length n_samples
        Empty texts are kept.
    images : list, or the type of `images`, or None
        None when neither `images` nor an image column was given. Missing values (None, NaN, NA)
        of an image column are None.

    Raises
    ------
    TypeError
        If `X` is a single str, a generator, an unordered collection or holds something else
        than str.
    ValueError
        If `X` is empty or two-dimensional, a text is missing, the text column does not exist,
        images come both from a column and from `images`, or `images` has another length.
    """
    if _is_dataframe(X):
        columns = list(X.columns)
        if columns.count(text_column) != 1:
            problem = "has no" if text_column not in columns else "has more than one"
            raise ValueError(
                f"{argument} is a DataFrame that {problem} column {text_column!r} (its columns are "
                f"{columns}); rename the column that holds the texts or set text_column."
            )
        texts = _check_strings(X[text_column], f"{argument}[{text_column!r}]")
        if columns.count(image_column) > 1:
            raise ValueError(
                f"{argument} is a DataFrame that has more than one column {image_column!r}; "
                "keep one of them."
            )
        if image_column in columns:
            if images is not None:
                raise ValueError(
                    f"images is given although {argument} has a column {image_column!r}; drop the "
                    "column, set image_column to another name, or do not pass images."
                )
            column = sequence_to_list(X[image_column])
            images = [None if is_missing(entry) else entry for entry in column]
    else:
        texts = _check_strings(X, argument)
    return texts, _check_images_length(images, len(texts), argument)


def check_top_k(k: Any, n_labels: int) -> int:
    """Check that `k` labels can be returned out of `n_labels`.

    Parameters
    ----------
    k : int
        The number of labels wanted for each document.
    n_labels : int
        The number of labels that the model knows.

    Returns
    -------
    k : int

    Raises
    ------
    TypeError
        If `k` is not an int.
    ValueError
        If `k` is below 1 or above `n_labels`.
    """
    if isinstance(k, (bool, np.bool_)) or not isinstance(k, Integral):
        raise TypeError(f"k must be an int, got {k!r} of type {type(k).__name__}.")
    if not 1 <= k <= n_labels:
        raise ValueError(
            f"k must lie between 1 and the number of labels, {n_labels}; got k={k}. Pass a "
            f"{'larger' if k < 1 else 'smaller'} k."
        )
    return int(k)


def is_missing(value: Any) -> bool:
    """Tell whether a single value stands for "nothing here": None, NaN, pandas' NA or NaT."""
    if value is None:
        return True
    if isinstance(value, (float, np.floating)):
        return bool(np.isnan(value))
    # pandas' markers are recognised by name: importing pandas for them would cost half a second.
    return type(value).__name__ in ("NAType", "NaTType")


def sequence_to_list(values: Any) -> list:
    """Turn any sequence or Series into a list of Python objects."""
    for method in ("to_pylist", "to_list", "tolist"):  # pyarrow; pandas and polars; numpy
        if hasattr(values, method):
            return getattr(values, method)()
    return list(values)


def _is_dataframe(X: Any) -> bool:
    return hasattr(X, "columns") and hasattr(X, "shape") and len(X.shape) == 2


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
    if not hasattr(X, "__len__") or isinstance(X, (Mapping, Set)):
        raise TypeError(
            f"{argument} must be a sequence of str (list, tuple, array, Series) or a DataFrame, "
            f"got {type(X).__name__}; pass list({argument})."
        )
    texts = sequence_to_list(X)
    if not texts:
        raise ValueError(f"{argument} is empty; pass at least one text.")
    for row, text in enumerate(texts):
        if type(text) is str:
            continue
        if isinstance(text, str):  # np.str_ and other subclasses
            texts[row] = str(text)
        elif is_missing(text):
            raise ValueError(
                f"{argument}[{row}] is missing ({text!r}); drop the row or fill it with ''."
            )
        else:
            mend = "decode it first" if isinstance(text, bytes) else "convert it to str first"
            raise TypeError(f"{argument}[{row}] is of type {type(text).__name__}, not str; {mend}.")
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
