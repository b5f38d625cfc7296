"""Nearest vectors by inner product: indexes, and the contract that one of your own follows."""

from ._base import Index, Storable
from ._candidates import join_candidates, sort_candidates
from ._choose import make_index
from ._exact import Exact
from ._faiss import HNSW, IVF
from ._pgvector import PgVectorIndex
from ._qdrant import QdrantIndex

__all__ = [
    "HNSW",
    "IVF",
    "Exact",
    "Index",
    "PgVectorIndex",
    "QdrantIndex",
    "Storable",
    "join_candidates",
    "make_index",
    "sort_candidates",
]
