"""Single documents out of many: which ones, and their texts and pictures in any form."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from sklearn.utils import check_random_state

from .._inputs._images import collect_images
from .._inputs._tables import column_names, is_table
from .._inputs._targets import as_indicator
from .._inputs._texts import check_texts, sequence_to_list, text_columns

# Of pictures that a document may have: the first is drawn.
_ANY_NUMBER = 1_000_000


def choose_rows(
    n_samples: int, n_documents: int, rows: Sequence[int] | None, random_state: Any
) -> np.ndarray:
    """Return the documents to draw: those that are named, or random ones in their order."""
    if rows is None:
        if n_documents < 1:
            raise ValueError(f"n_documents must be at least 1, got {n_documents}.")
        random = check_random_state(random_state)
        return np.sort(random.permutation(n_samples)[:n_documents])
    rows = np.asarray(rows)
    if rows.ndim != 1 or not len(rows) or rows.dtype.kind not in "iu":
        raise ValueError(f"rows must hold the numbers of at least one document, got {rows!r}.")
    if rows.min() < 0 or rows.max() >= n_samples:
        raise ValueError(
            f"rows must lie between 0 and {n_samples - 1}, got {rows.min()} to {rows.max()}."
        )
    return rows.astype(np.int64)


def _entries(values: Any) -> list:
    """One entry a row, arrays left as they are: a picture is no list of numbers."""
    is_series = hasattr(values, "to_list") or hasattr(values, "to_pylist")
    return sequence_to_list(values) if is_series else list(values)


def take(values: Any, rows: np.ndarray, n_samples: int, argument: str) -> Any:
    """The entries of `rows` of pictures or of targets in any form."""
    if values is None:
        return None
    n_values = values.shape[0] if hasattr(values, "shape") else len(values)
    if n_values != n_samples:
        raise ValueError(
            f"{argument} has {n_values} rows but X has {n_samples}; pass one entry for each "
            "document."
        )
    if argument == "Y":
        indicator = as_indicator(values)
        values = values if indicator is None else indicator
    if hasattr(values, "shape") and len(values.shape) > 1:
        return values[rows]
    entries = _entries(values)
    return [entries[row] for row in rows]


def are_embeddings(images: Any) -> bool:
    """Tell ready embeddings from pictures."""
    return isinstance(images, np.ndarray) and images.dtype.kind == "f"


def texts_of(estimator: Any, X: Any, images: Any, rows: np.ndarray) -> tuple[list[str], Any]:
    """Texts of documents, their numbers if there are none; and pictures, if X has a column."""
    text_column = getattr(estimator, "text_column", "text")
    image_column = getattr(estimator, "image_column", "image")
    numbers = hasattr(X, "dtype") and X.dtype.kind == "f"
    names = column_names(X) if is_table(X) else None
    without = (
        names is not None and len(names) > 1 and not set(text_columns(text_column)) <= set(names)
    )
    if numbers or without:
        return [f"document {row}" for row in rows], images
    return check_texts(X, text_column=text_column, image_column=image_column, images=images)


def first_pictures(images: Any, rows: np.ndarray, n_samples: int) -> list | None:
    """The first picture of each document, None where there is none."""
    if images is None:
        return None
    if are_embeddings(images):
        raise ValueError("images holds ready embeddings, which cannot be drawn; pass pictures.")
    if not isinstance(images, (str, bytes)) and len(images) == n_samples:
        # Of the others not even the files are opened.
        drawn = set(rows.tolist())
        images = [entry if row in drawn else None for row, entry in enumerate(_entries(images))]
    collected = collect_images(images, n_samples, max_images=_ANY_NUMBER)
    first = collected.index[rows, 0]
    return [None if position < 0 else collected.decode(position) for position in first]
