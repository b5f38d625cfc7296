"""Nearest vectors by inner product: indexes, and the contract that one of your own follows."""

from skxmc.indexes._base import Index, Storable
from skxmc.indexes._candidates import join_candidates, sort_candidates
from skxmc.indexes._choose import make_index
from skxmc.indexes._exact import Exact
from skxmc.indexes._faiss import HNSW, IVF

__all__ = [
    "HNSW",
    "IVF",
    "Exact",
    "Index",
    "Storable",
    "join_candidates",
    "make_index",
    "sort_candidates",
]
