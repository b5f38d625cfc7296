"""Products of matrices beside a library with threads of its own."""

from __future__ import annotations

import sys

import numpy as np


def product(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Product of two float32 matrices, by torch if that is loaded.

    Threads of NumPy and torch spin for a while when their work is done, and the other's wait.
    """
    if "torch" not in sys.modules:
        return left @ right
    from ._device import as_tensor

    return (as_tensor(left) @ as_tensor(right)).numpy()
