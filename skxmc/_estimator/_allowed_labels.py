"""Which labels a caller allows: names or masks for all documents, or pairs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import scipy.sparse as sp

from .._inputs._targets import check_exclude, narrow_indices
from .._inputs._texts import sequence_to_list
from .._ranking._allowed import Allowed


def check_allowed(
    exclude: Any, only: Any, exclude_labels: Any, n_samples: int, classes: np.ndarray
) -> Allowed:
    """Bring `exclude`, `only` and `exclude_labels` of the predicting methods into one form.

    Parameters
    ----------
    exclude, only : sparse or bool matrix, int pairs, sequence of labels, bool mask, or None
        For each document a row of a matrix of shape (n_samples, n_labels), or pairs (row, label);
        for all documents a bool mask of shape (n_labels,), or names of labels.
    exclude_labels : sequence of labels, bool mask, or None
        For all documents, whatever `exclude` says of each.
    n_samples : int
    classes : ndarray of shape (n_labels,)

    Returns
    -------
    allowed : Allowed

    Raises
    ------
    TypeError, ValueError
        If a form is not known, a shape does not fit, or a name is not that of a label.
    """
    n_labels = len(classes)
    excluded = _as_mask(exclude, classes, "exclude")
    pairs = None if excluded is not None else check_exclude(exclude, n_samples, n_labels)
    named = _as_mask(only, classes, "only")
    rows = None
    if named is None and only is not None:
        rows = check_exclude(only, n_samples, n_labels, argument="only")
    never = _as_mask(exclude_labels, classes, "exclude_labels")
    if never is None and exclude_labels is not None:
        raise TypeError(
            "exclude_labels is for all documents; pass names of labels or a mask of shape "
            f"({n_labels},), and pairs of documents and labels as exclude."
        )
    allowing = [~excluded for excluded in (excluded, never) if excluded is not None]
    allowing += [] if named is None else [named]
    mask = np.logical_and.reduce(allowing) if allowing else None
    if rows is not None and mask is not None:
        rows = _keep_columns(rows, mask)
        mask = None
    return Allowed(n_labels, pairs, mask if rows is None else rows)


def excluded_pairs(exclude: Any, n_samples: int, classes: np.ndarray) -> sp.csr_array | None:
    """What `exclude` forbids, in any of its forms, as pairs: (n_samples, n_labels), bool."""
    excluded = _as_mask(exclude, classes, "exclude")
    if excluded is None:
        return check_exclude(exclude, n_samples, len(classes))
    columns = np.flatnonzero(excluded)
    rows = np.repeat(np.arange(n_samples), len(columns))
    pairs = (rows, np.tile(columns, n_samples))
    return sp.csr_array((np.ones(len(rows), dtype=bool), pairs), shape=(n_samples, len(classes)))


def columns_of(names: Sequence, classes: np.ndarray) -> np.ndarray:
    """Columns of labels by name, (n_names,) int64; -1 of names that are not in `classes`."""
    number_of = {name: number for number, name in enumerate(classes.tolist())}
    return np.array([number_of.get(name, -1) for name in names], dtype=np.int64)


def _keep_columns(pairs: sp.csr_array, mask: np.ndarray) -> sp.csr_array:
    kept = sp.csr_array(pairs.multiply(mask[np.newaxis, :]))
    kept.eliminate_zeros()
    kept.sort_indices()
    return narrow_indices(kept.astype(bool))


def _as_mask(given: Any, classes: np.ndarray, argument: str) -> np.ndarray | None:
    """Labels that are meant for all documents, (n_labels,) bool; None for pairs or None."""
    if given is None or sp.issparse(given):
        return None
    if isinstance(given, str):
        given = [given]
    if not hasattr(given, "__len__"):
        raise TypeError(
            f"{argument} is of type {type(given).__name__}; pass a list of label names, a mask, or "
            "a matrix with a row for each document."
        )
    values = sequence_to_list(given) if not isinstance(given, set | frozenset) else list(given)
    if np.ndim(given) == 1 and np.asarray(given).dtype == bool:
        if len(given) != len(classes):
            raise ValueError(
                f"{argument} is a mask of length {len(given)} for {len(classes)} labels; pass one "
                "entry for each label."
            )
        return np.asarray(given)
    if any(isinstance(value, list | tuple | np.ndarray) for value in values) or (
        np.ndim(given) == 2
    ):
        return None
    columns = columns_of(values, classes)
    if (columns < 0).any():
        position = int(np.argmax(columns < 0))
        name = values[position]
        name = name.item() if isinstance(name, np.generic) else name
        raise ValueError(
            f"{argument}[{position}] is {name!r}, which is not the name of a label; pass names "
            "of classes_, a mask, or a matrix with a row for each document."
        )
    mask = np.zeros(len(classes), dtype=bool)
    mask[columns] = True
    return mask
