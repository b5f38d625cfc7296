"""Approximate search by faiss."""

from __future__ import annotations

import os
from abc import abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from numbers import Integral
from typing import Any

import numpy as np
from sklearn.utils._param_validation import Interval, Options, StrOptions

from .._runtime import limits
from .._runtime._optional import import_optional
from ._base import Storable
from ._candidates import sort_candidates
from ._checks import check_vectors
from ._faiss_payload import check_hnsw, check_ivf

# How faiss calls what vectors are stored as; None stores them as they are.
_QUANTIZERS: dict[str, str | None] = {"float32": None, "float16": "QT_fp16", "int8": "QT_8bit"}

# Bytes that are read at a time.
_PIECE = 2**24

_POSITIVE = Interval(Integral, 1, None, closed="left")


class _FaissIndex(Storable):
    """What the indexes of faiss have in common. They live on the CPU, in any build of faiss."""

    @staticmethod
    @abstractmethod
    def _check_payload(payload: np.ndarray, n: int, dimension: int) -> None:
        """Compare a payload with the shape (n, d) in the header, before faiss reads it."""

    # The bytes of an index that faiss reads where they lie; None if it has a copy of its own.
    _mapped: np.ndarray | None = None

    def _build(self, vectors: np.ndarray) -> None:
        self._faiss, self._mapped = self._make(vectors), None
        self._add(vectors)

    def _add(self, vectors: np.ndarray) -> None:
        self._own()
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
        self._check_payload(payload, n, dimension)
        faiss = _import_faiss()
        # Processes that map the same file share its memory. Faiss before 1.11 copies.
        if payload.flags.writeable or not hasattr(faiss, "ZeroCopyIOReader"):
            self._faiss, self._mapped = _read_copy(payload), None
        else:
            reader = faiss.ZeroCopyIOReader(faiss.swig_ptr(payload), len(payload))
            self._faiss, self._mapped = faiss.read_index(reader), payload

    def _own(self) -> None:
        """Before a change: faiss ends the process where it would have to change mapped bytes."""
        if self._mapped is not None:
            self._faiss, self._mapped = _read_copy(self._mapped), None

    @abstractmethod
    def _make(self, vectors: np.ndarray) -> Any: ...

    @abstractmethod
    def _search_parameters(self, k: int) -> Any: ...


class HNSW(_FaissIndex):
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

    Notes
    -----
    ``set_params(ef_search=...)`` holds from the next search on, other parameters from the next
    ``build`` on. Removal builds the graph again; stored vectors stay as they are.

    Examples
    --------
    >>> import numpy as np
    >>> from skxmc.indexes import HNSW
    >>> index = HNSW(m=16).build(np.eye(3))
    >>> index.search(np.array([[0.6, 0.0, 0.8]]), k=2)[0]
    array([[2, 0]])
    """

    name = "hnsw"
    _parameter_constraints = {
        "m": [_POSITIVE],
        "ef_construction": [_POSITIVE],
        "ef_search": [_POSITIVE],
        "n_jobs": [_POSITIVE, Options(Integral, {-1})],
        "storage": [StrOptions(set(_QUANTIZERS))],
    }
    _check_payload = staticmethod(check_hnsw)

    def __init__(
        self,
        m: int = 32,
        ef_construction: int = 200,
        ef_search: int = 200,
        n_jobs: int = 1,
        storage: str = "float32",
    ) -> None:
        self.m = m
        self.ef_construction = ef_construction
        self.ef_search = ef_search
        self.n_jobs = n_jobs
        self.storage = storage

    def _build_in_parts(self, n: int, vectors_of: Callable[[slice], np.ndarray]) -> None:
        # Scales come from vectors of all parts.
        sample = vectors_of(slice(0, n, max(1, n // limits.ROWS)))
        self._faiss, self._mapped = self._make(check_vectors(sample, "vectors")), None
        self._length, self.dimension = 0, sample.shape[1]
        for start in range(0, n, limits.ROWS):
            self.add(vectors_of(slice(start, min(n, start + limits.ROWS))))

    def _make(self, vectors: np.ndarray) -> Any:
        faiss = _import_faiss()
        dimension, metric = vectors.shape[1], faiss.METRIC_INNER_PRODUCT
        quantizer = _QUANTIZERS[self.storage]
        if quantizer is None:
            index = faiss.IndexHNSWFlat(dimension, int(self.m), metric)
        else:
            kind = getattr(faiss.ScalarQuantizer, quantizer)
            index = faiss.IndexHNSWSQ(dimension, kind, int(self.m), metric)
            step = max(1, len(vectors) // limits.ROWS)
            bounds = np.repeat([[-1.0], [1.0]], dimension, axis=1)  # of unit vectors, if none came
            index.train(vectors[::step] if len(vectors) else bounds.astype(np.float32))
        index.hnsw.efConstruction = int(self.ef_construction)
        return index

    def _add(self, vectors: np.ndarray) -> None:
        self._own()
        with _threads(self.n_jobs):
            self._faiss.add(vectors)

    def _remove(self, kept: np.ndarray) -> None:
        # The scales of the columns stay, so that no vector is rounded a second time.
        self._own()
        faiss = _import_faiss()
        storage = faiss.downcast_index(self._faiss.storage)
        codes = faiss.vector_to_array(storage.codes).reshape(len(self), -1)[kept]
        self._faiss.reset()
        for start in range(0, len(codes), limits.ROWS):
            self._add(storage.sa_decode(codes[start : start + limits.ROWS]))

    def _search_parameters(self, k: int) -> Any:
        # More candidates than vectors would only take memory.
        ef_search = max(min(int(self.ef_search), self._faiss.ntotal), k)
        return _import_faiss().SearchParametersHNSW(efSearch=ef_search)


class IVF(_FaissIndex):
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

    Notes
    -----
    ``set_params(nprobe=...)`` holds from the next search on, `nlist` from the next ``build`` on.
    ``add`` keeps the clusters, removal finds new ones.

    Examples
    --------
    >>> import numpy as np
    >>> from skxmc.indexes import IVF
    >>> index = IVF().build(np.eye(3))
    >>> index.search(np.array([[0.6, 0.0, 0.8]]), k=2)[0]
    array([[2, 0]])
    """

    name = "ivf"
    _parameter_constraints = {
        "nlist": [_POSITIVE, StrOptions({"auto"})],
        "nprobe": [_POSITIVE, StrOptions({"auto"})],
    }
    _check_payload = staticmethod(check_ivf)

    def __init__(self, nlist: int | str = "auto", nprobe: int | str = "auto") -> None:
        self.nlist = nlist
        self.nprobe = nprobe

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
        return _import_faiss().SearchParametersIVF(nprobe=int(min(nprobe, nlist)))


def _import_faiss() -> Any:
    return import_optional("faiss")


def _read_copy(payload: np.ndarray) -> Any:
    """The index in a payload, with memory of its own.

    Read piece by piece: deserialize_index would hold a copy of all bytes beside the index.
    """
    faiss, place = _import_faiss(), 0

    def read(size: int) -> bytes:
        nonlocal place
        part = payload[place : place + size].tobytes()
        place += len(part)
        return part

    return faiss.read_index(faiss.PyCallbackIOReader(read, _PIECE))


@contextmanager
def _threads(n_jobs: int) -> Iterator[None]:
    """Let faiss use `n_jobs` threads, -1 for all; the setting belongs to the calling thread."""
    faiss = _import_faiss()
    before = faiss.omp_get_max_threads()
    # Of a file's parameters, too: a number beyond all reason would end the process.
    most = max(before, os.cpu_count() or 1)
    faiss.omp_set_num_threads(before if n_jobs == -1 else min(int(n_jobs), most))
    try:
        yield
    finally:
        faiss.omp_set_num_threads(before)
