"""Indexes over the vectors of labels or documents."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .._runtime import limits
from ..indexes import HNSW, Index, make_index


def build_index(spec: Any, n: int, vectors_of: Callable[[slice], np.ndarray]) -> Index:
    """Index of n vectors, of which `vectors_of` gives some; in parts where there are many.

    Parameters
    ----------
    spec : str or Index
        As `make_index` takes it.
    n : int
    vectors_of : callable
        Gives the vectors of a slice, (n_slice, d) float32.
    """
    if n <= limits.MAX_REBUILT:
        vectors = vectors_of(slice(0, n))
        return make_index(spec, *vectors.shape).build(vectors)
    dimension = vectors_of(slice(0, 1)).shape[1]
    return make_index(spec, n, dimension).build_in_parts(n, vectors_of)


def index_bytes(spec: Any, n: int, width: int) -> float:
    """Bytes of an index over n vectors of some width; none of this machine for a database."""
    index = make_index(spec, n, width)
    if index.stored == "reference":
        return 0.0
    if not isinstance(index, HNSW):
        return 4.0 * n * width
    sizes = {"float32": 4.0, "float16": 2.0, "int8": 1.0}
    return n * (sizes[index.storage] * width + 8.0 * index.m)
