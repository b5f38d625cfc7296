"""Checks of what an index receives."""

from __future__ import annotations

from typing import Any

import numpy as np


def check_vectors(vectors: Any, argument: str, dimension: int | None = None) -> np.ndarray:
    """Return `vectors` as a C-contiguous float32 array (n, d), or say what is wrong with it."""
    vectors = np.asarray(vectors)
    if not np.issubdtype(vectors.dtype, np.floating):
        raise TypeError(
            f"{argument} must be a floating array, got dtype {vectors.dtype}; "
            "convert it with .astype(np.float32)"
        )
    if vectors.ndim != 2 or vectors.shape[1] == 0:
        raise ValueError(f"{argument} must have shape (n, d) with d > 0, got {vectors.shape}")
    if dimension is not None and vectors.shape[1] != dimension:
        raise ValueError(
            f"{argument} have {vectors.shape[1]} columns, but the index holds {dimension}"
        )
    vectors = np.ascontiguousarray(vectors, dtype=np.float32)
    finite = np.isfinite(np.vecdot(vectors, vectors))  # without an array of n x d booleans
    if not finite.all():
        row = int(np.flatnonzero(~finite)[0])
        raise ValueError(f"{argument}[{row}] has NaN or infinite entries; vectors must be finite")
    return vectors


def check_positions(
    positions: Any, argument: str, length: int, *, distinct: bool = False
) -> np.ndarray:
    """Return `positions` as an int64 array (n,) of numbers below `length`, or say what is wrong."""
    positions = np.asarray(positions)
    if positions.ndim != 1:
        raise ValueError(f"{argument} must have shape (n,), got {positions.shape}")
    if positions.size == 0:
        return np.empty(0, dtype=np.int64)
    if not np.issubdtype(positions.dtype, np.integer):
        hint = "; np.flatnonzero(mask) gives those of a mask" if positions.dtype == bool else ""
        raise TypeError(f"{argument} must be an integer array, got dtype {positions.dtype}{hint}")
    if positions.min() < 0 or positions.max() >= length:
        entry = int(np.flatnonzero((positions < 0) | (positions >= length))[0])
        raise ValueError(
            f"{argument}[{entry}] is {positions[entry]}, but the index holds {length} vectors, "
            "at positions from 0 on"
        )
    positions = positions.astype(np.int64, copy=False)
    if distinct:
        order = np.argsort(positions, kind="stable")
        again = order[1:][np.diff(positions[order]) == 0]
        if len(again):
            entry = int(again.min())
            raise ValueError(
                f"{argument}[{entry}] is {positions[entry]}, which comes twice; pass each position "
                "once, as np.unique does"
            )
    return positions


def distinct_rows(vectors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The first of each set of rows with equal bytes.

    Parameters
    ----------
    vectors : ndarray of shape (n, d)
        C-contiguous.

    Returns
    -------
    distinct : ndarray of shape (m,), int64
        Rows, in their order.
    places : ndarray of shape (n,), int64
        Which of these each row is equal to.
    """
    first: dict[bytes, int] = {}
    numbers = [first.setdefault(row.tobytes(), len(first)) for row in vectors]
    places = np.array(numbers, dtype=np.int64)
    return np.unique(places, return_index=True)[1], places
