"""Approximate search by faiss."""

from __future__ import annotations

import operator
from abc import abstractmethod
from collections.abc import Callable
from contextlib import contextmanager
from typing import Any

import numpy as np

from .. import _limits
from .._optional import import_optional
from ._index import Index, check_vectors, sort_candidates

# How faiss calls what vectors are stored as; None stores them as they are.
_QUANTIZERS: dict[str, str | None] = {"float32": None, "float16": "QT_fp16", "int8": "QT_8bit"}

# Bytes that are read at a time.
_PIECE = 2**24


class _FaissIndex(Index):
    """What the indexes of faiss have in common. They live on the CPU, in any build of faiss."""

    def _build(self, vectors: np.ndarray) -> None:
        self._faiss = self._make(vectors)
        self._add(vectors)

    def _add(self, vectors: np.ndarray) -> None:
        self._faiss.add(vectors)

    def _search(self, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        # Parameters of the call and not of the index, so that threads can share the index.
        scores, indices = self._faiss.search(queries, k, params=self._search_parameters(k))
        return sort_candidates(indices, scores, k)

    def _vectors_at(self, indices: np.ndarray) -> np.ndarray:
        return self._faiss.reconstruct_batch(indices)

    def _payload(self) -> np.ndarray:
        return _import_faiss().serialize_index(self._faiss)

    def _restore(self, payload: np.ndarray, n: int, dimension: int) -> None:
        # Read piece by piece: deserialize_index would hold a copy of all bytes beside the index.
        faiss, place = _import_faiss(), 0

        def read(size: int) -> bytes:
            nonlocal place
            part = payload[place : place + size].tobytes()
            place += len(part)
            return part

        self._faiss = faiss.read_index(faiss.PyCallbackIOReader(read, _PIECE))

    @abstractmethod
    def _make(self, vectors: np.ndarray) -> Any: ...

    @abstractmethod
    def _search_parameters(self, k: int) -> Any: ...


class HNSWIndex(_FaissIndex):
    """Hierarchical navigable small world graph: fastest search, slow to build.

    Malkov and Yashunin, "Efficient and robust approximate nearest neighbor search using
    hierarchical navigable small world graphs" (TPAMI 2020).

    Parameters
    ----------
    m : int, default=32
        Neighbours of a vector in the graph. Memory: 8 m bytes a vector beside the vector itself.
    ef_construction : int, default=200
        Candidates kept while a vector is inserted.
    ef_search : int, default=200
        Candidates kept during a search; at least k are.
    n_jobs : int, default=1
        Threads that insert; -1 takes all that faiss has. With more than one the graph depends on
        their timing, and with it the few results that approximate search misses. Searches use all
        of faiss's threads.
    storage : {"float32", "float16", "int8"}, default="float32"
        Of the vectors: 4, 2 or 1 byte a number. With "int8" each column has a scale of its own,
        between its least and greatest number in a sample of the vectors that the index is built
        from; numbers beyond are cut off. Scores are those of the stored vectors.
    """

    name = "hnsw"

    def __init__(
        self,
        m: int = 32,
        ef_construction: int = 200,
        ef_search: int = 200,
        n_jobs: int = 1,
        storage: str = "float32",
    ) -> None:
        self.m = _positive(m, "m")
        self.ef_construction = _positive(ef_construction, "ef_construction")
        self.ef_search = _positive(ef_search, "ef_search")
        self.n_jobs = n_jobs if n_jobs == -1 else _positive(n_jobs, "n_jobs")
        if storage not in _QUANTIZERS:
            raise ValueError(
                f"storage must be {', '.join(map(repr, _QUANTIZERS))}, got {storage!r}"
            )
        self.storage = storage

    def build_in_parts(self, n: int, vectors_of: Callable[[slice], np.ndarray]) -> Index:
        """As :meth:`build`, for n vectors of which ``vectors_of(slice)`` gives some."""
        # Scales come from vectors of all parts.
        sample = vectors_of(slice(0, n, max(1, n // _limits.ROWS)))
        self._faiss = self._make(check_vectors(sample, "vectors"))
        self._length, self.dimension = 0, sample.shape[1]
        for start in range(0, n, _limits.ROWS):
            self.add(vectors_of(slice(start, min(n, start + _limits.ROWS))))
        return self

    def _make(self, vectors: np.ndarray) -> Any:
        faiss = _import_faiss()
        dimension, metric = vectors.shape[1], faiss.METRIC_INNER_PRODUCT
        quantizer = _QUANTIZERS[self.storage]
        if quantizer is None:
            index = faiss.IndexHNSWFlat(dimension, self.m, metric)
        else:
            kind = getattr(faiss.ScalarQuantizer, quantizer)
            index = faiss.IndexHNSWSQ(dimension, kind, self.m, metric)
            step = max(1, len(vectors) // _limits.ROWS)
            bounds = np.repeat([[-1.0], [1.0]], dimension, axis=1)  # of unit vectors, if none came
            index.train(vectors[::step] if len(vectors) else bounds.astype(np.float32))
        index.hnsw.efConstruction = self.ef_construction
        return index

    def _add(self, vectors: np.ndarray) -> None:
        with _threads(self.n_jobs):
            self._faiss.add(vectors)

    def _search_parameters(self, k: int) -> Any:
        return _import_faiss().SearchParametersHNSW(efSearch=max(self.ef_search, k))


class IVFIndex(_FaissIndex):
    """Inverted lists of a k-means clustering: quick to build, searches the nearest clusters.

    Jegou, Douze and Schmid, "Product quantization for nearest neighbor search" (TPAMI 2011),
    section 4, without the quantisation of vectors.

    Parameters
    ----------
    nlist : int or "auto", default="auto"
        Number of clusters; "auto" is four times the square root of the number of vectors.
    nprobe : int or "auto", default="auto"
        Clusters searched; "auto" is an eighth of `nlist`, at least 16. That found 93% of the 100
        nearest on 29,000 embeddings of package descriptions, all of them on synthetic clusters.
    """

    name = "ivf"

    def __init__(self, nlist: int | str = "auto", nprobe: int | str = "auto") -> None:
        self.nlist = nlist if nlist == "auto" else _positive(nlist, "nlist")
        self.nprobe = nprobe if nprobe == "auto" else _positive(nprobe, "nprobe")

    def _make(self, vectors: np.ndarray) -> Any:
        faiss = _import_faiss()
        n, dimension = vectors.shape
        nlist = int(4 * np.sqrt(n)) if self.nlist == "auto" else self.nlist
        nlist = max(1, min(nlist, n))
        index = faiss.index_factory(dimension, f"IVF{nlist},Flat", faiss.METRIC_INNER_PRODUCT)
        index.set_direct_map_type(faiss.DirectMap.Array)  # finds a vector by its index
        # More training vectors than this a cluster make the build longer, not the search better.
        index.cp.max_points_per_centroid = 64
        index.cp.min_points_per_centroid = 1  # faiss would print a warning
        index.train(vectors if n else np.eye(1, dimension, dtype=np.float32))
        return index

    def _search_parameters(self, k: int) -> Any:
        nlist = self._faiss.nlist
        nprobe = max(16, nlist // 8) if self.nprobe == "auto" else self.nprobe
        return _import_faiss().SearchParametersIVF(nprobe=min(nprobe, nlist))


def _import_faiss() -> Any:
    return import_optional("faiss")


@contextmanager
def _threads(n_jobs: int) -> Any:
    """Let faiss use `n_jobs` threads, -1 for all; the setting belongs to the calling thread."""
    faiss = _import_faiss()
    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(before if n_jobs == -1 else n_jobs)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(before)


def _positive(value: Any, argument: str) -> int:
    if isinstance(value, bool) or not hasattr(value, "__index__") or operator.index(value) < 1:
        raise ValueError(f"{argument} must be a positive integer, got {value!r}")
    return operator.index(value)
