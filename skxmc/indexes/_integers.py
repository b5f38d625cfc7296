"""Vectors as integers of 8 bits."""

from __future__ import annotations

import numpy as np

# Rows brought to fewer bits at a time.
_ROWS = 8192


def quantize(vectors: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows as integers, their scales, and the norms of what is lost of them.

    Parameters
    ----------
    vectors : ndarray of shape (n, d), float32 or float16

    Returns
    -------
    integers : ndarray of shape (n, max(2, d)), int8
        A row is nearly its integers times its scale.
    scales, lost : ndarray of shape (n,), float32
    """
    # One column alone is a matrix whose two strides are equal, which torch takes for another one.
    width = max(2, vectors.shape[1])
    integers = np.zeros((len(vectors), width), dtype=np.int8)
    scales, lost = np.empty((2, len(vectors)), dtype=np.float32)
    for start in range(0, len(vectors), _ROWS):
        part = vectors[start : start + _ROWS].astype(np.float32, copy=False)
        scale = np.maximum(np.abs(part).max(axis=1), np.float32(1e-30)) / np.float32(127)
        rounded = np.rint(part / scale[:, None])
        rest = part - rounded * scale[:, None]
        rows = slice(start, start + len(part))
        integers[rows, : vectors.shape[1]] = rounded
        scales[rows], lost[rows] = scale, np.sqrt(np.vecdot(rest, rest))
    return integers, scales, lost
