"""Nearest vectors by inner product."""

from ._exact import ExactIndex
from ._faiss import HNSWIndex, IVFIndex
from ._index import Index, join_candidates, make_index, sort_candidates

__all__ = ["ExactIndex", "HNSWIndex", "IVFIndex", "Index", "join_candidates", "make_index", "sort_candidates"]
