"""Ids of documents, as a user passes them."""

from __future__ import annotations

from numbers import Integral
from typing import Any

import numpy as np

from ._texts import is_missing, sequence_to_list


def check_document_ids(document_ids: Any, n_samples: int) -> np.ndarray | None:
    """Bring the ids of documents into one form.

    Parameters
    ----------
    document_ids : sequence of str or int of length n_samples, or None
        List, tuple, array, Series or Index. Ids may repeat.
    n_samples : int
        Number of documents.

    Returns
    -------
    document_ids : ndarray of shape (n_samples,), int64 or object, or None
        int64 if all ids are integers, else object with str.

    Raises
    ------
    TypeError
        If it is no sequence, an id is neither str nor int, or there are both.
    ValueError
        If it has another length, or an id is missing.
    """
    if document_ids is None:
        return None
    if isinstance(document_ids, (str, bytes)) or not hasattr(document_ids, "__len__"):
        raise TypeError(
            f"document_ids must be a sequence with one id for each document, got "
            f"{type(document_ids).__name__}; pass a list."
        )
    ids = sequence_to_list(document_ids)
    if len(ids) != n_samples:
        raise ValueError(
            f"document_ids has length {len(ids)} but X has {n_samples} documents; pass one id for "
            "each document."
        )
    kinds = [_kind_of(value, row) for row, value in enumerate(ids)]
    for row, kind in enumerate(kinds):
        if kind is not kinds[0]:
            raise TypeError(
                f"document_ids[{row}] is {ids[row]!r}, but document_ids[0] is {ids[0]!r}; pass ids "
                "that are all str or all int."
            )
    if kinds and kinds[0] is int:
        return np.array([int(value) for value in ids], dtype=np.int64)
    found = np.empty(len(ids), dtype=object)
    found[:] = [str(value) for value in ids]
    return found


def _kind_of(value: Any, row: int) -> type:
    """Of an id, str or int."""
    if isinstance(value, str):
        return str
    if isinstance(value, Integral) and not isinstance(value, (bool, np.bool_)):
        return int
    if is_missing(value):
        raise ValueError(f"document_ids[{row}] is missing ({value!r}); give the document an id.")
    raise TypeError(
        f"document_ids[{row}] is of type {type(value).__name__}; pass ids that are str or int."
    )
