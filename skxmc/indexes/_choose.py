"""The index for a number of vectors, by name or by example."""

from __future__ import annotations

from sklearn.base import clone

from .._runtime._plugins import find_plugin
from ._base import Index
from ._exact import Exact
from ._faiss import HNSW, IVF
from ._pgvector import PgVectorIndex
from ._qdrant import QdrantIndex

_KNOWN = {kind.name: kind for kind in (Exact, HNSW, IVF, PgVectorIndex, QdrantIndex)}

# Vectors of width 384 up to which exact search is the faster one, counting one build and, in
# batches, one query for each vector indexed (a test set, or hard negatives of one epoch). Found
# with benchmarks/index.py --one-thread, k = 100, bfloat16 on AMX, in milliseconds a vector:
#
#     vectors   exact search   HNSW build + search   HNSW recall
#      30,000           0.18           0.50 + 0.63         1.000
#     100,000           0.58           0.71 + 0.79         1.000
#     300,000           1.27
#
# The left column grows in proportion; build and search of HNSW together by about 0.2 with each
# doubling. Continued, they meet at 500,000 vectors, at 1.95 ms. One query at a time HNSW answers
# sooner from 10,000 vectors on (100,000: 1.1 against 13 ms), but the build there costs as much as
# 6,000 such queries.
_AUTO_EXACT = 500_000


def make_index(spec: str | Index, n_items: int, dimension: int) -> Index:
    """Return an empty index.

    Parameters
    ----------
    spec : {"auto", "exact", "hnsw", "ivf", "pgvector", "qdrant"}, another name, or Index
        "auto" is "exact" up to 500,000 vectors of width 384 (or as many numbers in another
        shape), where building and searching "hnsw" begins to cost less, and above "hnsw" with
        vectors stored in int8, built by all threads, to be done in time with millions.
        Another name is one that an installed package registers under the entry-point group
        "skxmc.indexes". Of an index, an empty clone is made.
    n_items : int
        How many vectors the index is going to hold, about.
    dimension : int
        Their width.

    Returns
    -------
    index : Index

    Raises
    ------
    ValueError
        If there is no index of that name.
    TypeError
        If `spec` is neither a name nor an index.

    Examples
    --------
    >>> from skxmc.indexes import HNSW, make_index
    >>> make_index("auto", n_items=1000, dimension=384)
    Exact()
    >>> make_index(HNSW(m=16), n_items=1000, dimension=384)
    HNSW(m=16)
    """
    if isinstance(spec, Index):
        return clone(spec)
    if not isinstance(spec, str):
        raise TypeError(f"index must be a name or an Index object, got {spec!r}")
    if spec == "auto":
        if n_items * dimension <= _AUTO_EXACT * 384:
            return Exact()
        return HNSW(ef_construction=100, n_jobs=-1, storage="int8")
    kind = find_plugin("indexes", spec, _KNOWN)
    if not issubclass(kind, Index):
        raise TypeError(f"the plug-in {spec!r} is {kind}, which is not a subclass of Index")
    return kind()
