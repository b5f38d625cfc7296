"""Indexes over the vectors of labels or documents."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .._runtime import limits
from ..indexes import HNSW, Exact, Index, make_index
from ._corpus import Setting


def build_index(setting: Setting, n: int, vectors_of: Callable[[slice], np.ndarray]) -> Index:
    """Index of n vectors, of which `vectors_of` gives some; in parts where there are many.

    Parameters
    ----------
    setting : Setting
        Its `index` is as `make_index` takes it. One that is named is searched on the setting's
        device, if it can be.
    n : int
    vectors_of : callable
        Gives the vectors of a slice, (n_slice, d) float32.
    """
    vectors = vectors_of(slice(0, n if n <= limits.MAX_REBUILT else 1))
    index = make_index(setting.index, n, vectors.shape[1])
    if isinstance(setting.index, str):
        place_index(index, setting.device)
    return index.build(vectors) if len(vectors) == n else index.build_in_parts(n, vectors_of)


def place_index(index: Index, device: str) -> None:
    """Search on a device, where an index can."""
    if isinstance(index, Exact):
        index.move_to(device)


def index_bytes(spec: Any, n: int, width: int) -> float:
    """Bytes of an index over n vectors of some width; none of this machine for a database."""
    index = make_index(spec, n, width)
    if index.stored == "reference":
        return 0.0
    if not isinstance(index, HNSW):
        return 4.0 * n * width
    sizes = {"float32": 4.0, "float16": 2.0, "int8": 1.0}
    return n * (sizes[index.storage] * width + 8.0 * index.m)
