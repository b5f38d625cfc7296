"""Nearest vectors by inner product."""

from skxmc.retrieval._faiss import HNSWIndex, IVFIndex
from skxmc.retrieval._index import ExactIndex, Index, make_index, sort_candidates

__all__ = ["ExactIndex", "HNSWIndex", "IVFIndex", "Index", "make_index", "sort_candidates"]
