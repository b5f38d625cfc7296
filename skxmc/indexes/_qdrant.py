"""Vectors in a Qdrant database."""

from __future__ import annotations

import atexit
import os
import threading
from collections.abc import Callable
from numbers import Integral
from typing import Any

import numpy as np
from sklearn.utils._param_validation import Interval

from .._runtime._optional import import_optional
from ._database import DatabaseIndex, Table
from ._patience import Patience
from ._runs import Runs

URL, API_KEY = "SKXMC_QDRANT_URL", "SKXMC_QDRANT_API_KEY"

# Rows, and queries, of a request.
_ROWS, _QUERIES = 1000, 64

# As many rows are named one by one in a request, more by their runs.
_NAMED = 1000

# The field of a point that has its number, to find runs of them by.
_NUMBER = "row"

_lock = threading.RLock()
_open: dict[tuple[int, str], Any] = {}
# Those that have answered before: what fails then is worth another attempt.
_answered: set[tuple[int, str]] = set()


class QdrantIndex(DatabaseIndex):
    """Vectors in a Qdrant database, in one collection for each index.

    The server is that of the environment variable ``SKXMC_QDRANT_URL``, with the key of
    ``SKXMC_QDRANT_API_KEY`` if it wants one. ``":memory:"`` and paths of folders are databases in
    this process, which compare all vectors one by one: for tests and small data. Names are drawn
    at random. A collection is deleted with the last index of the process that uses it, unless a
    model was saved or pickled with it; :meth:`drop` deletes it then.

    Parameters
    ----------
    m : int, default=16
        Neighbours of a vector in the graph.
    ef_construction : int, default=128
        Candidates kept while a vector is inserted.
    ef_search : int, default=256
        Candidates kept during a search; at least k are.

    Notes
    -----
    The server builds its graph in the background, from 10,000 KB of vectors on, and compares all
    until it is done. Where the connection is lost, the question is asked again, for a minute.

    References
    ----------
    Malkov and Yashunin, "Efficient and robust approximate nearest neighbor search using
    hierarchical navigable small world graphs" (TPAMI 2020).

    Examples
    --------
    >>> from skxmc import ViXMLClassifier
    >>> from skxmc.indexes import QdrantIndex
    >>> clf = ViXMLClassifier(index=QdrantIndex(ef_search=512))
    >>> clf.get_params()["index__ef_search"]
    512
    """

    name = "qdrant"
    _variable = URL
    _example = "http://host:6333"
    _parameter_constraints = {
        "m": [Interval(Integral, 2, None, closed="left")],
        "ef_construction": [Interval(Integral, 4, None, closed="left")],
        "ef_search": [Interval(Integral, 1, None, closed="left")],
    }

    def __init__(self, m: int = 16, ef_construction: int = 128, ef_search: int = 256) -> None:
        self.m = m
        self.ef_construction = ef_construction
        self.ef_search = ef_search

    def _table_create(self, table: Table, dimension: int) -> None:
        models = _models()

        def create(client: Any) -> None:
            if client.collection_exists(table.name):
                return
            client.create_collection(
                table.name,
                vectors_config=models.VectorParams(size=dimension, distance=models.Distance.DOT),
                hnsw_config=models.HnswConfigDiff(
                    m=int(self.m), ef_construct=int(self.ef_construction)
                ),
            )

        _run(table.address, create)
        if _is_server(table.address):  # the others have no such index, and warn
            _run(
                table.address,
                lambda client: client.create_payload_index(
                    table.name, _NUMBER, models.PayloadSchemaType.INTEGER, wait=True
                ),
            )

    def _table_insert(self, table: Table, ids: np.ndarray, vectors: np.ndarray) -> None:
        models = _models()
        for start in range(0, len(ids), _ROWS):
            numbers = ids[start : start + _ROWS].tolist()
            points = models.Batch(
                ids=numbers,
                vectors=vectors[start : start + _ROWS].tolist(),
                payloads=[{_NUMBER: number} for number in numbers],
            )
            _run(
                table.address,
                lambda client, points=points: client.upsert(table.name, points, wait=True),
            )

    def _table_finish(self, table: Table, dimension: int) -> None:
        """The server does it by itself."""

    def _table_search(
        self, table: Table, queries: np.ndarray, k: int, n: int, allowed: list[Runs] | None
    ) -> tuple[np.ndarray, np.ndarray]:
        models = _models()
        ids = np.full((len(queries), k), -1, dtype=np.int64)
        scores = np.full((len(queries), k), -np.inf, dtype=np.float32)
        params = None
        if _is_server(table.address):  # the others compare all vectors, and warn
            params = models.SearchParams(hnsw_ef=max(int(self.ef_search), k))
        filters: dict[int, Any] = {}
        rows = range(len(queries))
        if allowed is not None:
            filters = {id(one): _filter(one) for one in allowed if len(one)}
            rows = [row for row in rows if len(allowed[row])]
        for start in range(0, len(rows), _QUERIES):
            part = rows[start : start + _QUERIES]
            requests = [
                models.QueryRequest(
                    query=queries[row].tolist(),
                    filter=None if allowed is None else filters[id(allowed[row])],
                    limit=k,
                    params=params,
                )
                for row in part
            ]
            found = _run(
                table.address,
                lambda client, requests=requests: client.query_batch_points(table.name, requests),
            )
            for row, answer in zip(part, found, strict=True):
                points = answer.points
                ids[row, : len(points)] = [point.id for point in points]
                scores[row, : len(points)] = [point.score for point in points]
        return ids, scores

    def _table_vectors(self, table: Table, ids: np.ndarray, dimension: int) -> np.ndarray:
        vectors = np.empty((len(ids), dimension), dtype=np.float32)
        for start in range(0, len(ids), _ROWS):
            part = ids[start : start + _ROWS].tolist()
            points = _run(
                table.address,
                lambda client, part=part: client.retrieve(
                    table.name, part, with_payload=False, with_vectors=True
                ),
            )
            found = {point.id: point.vector for point in points}
            if len(found) < len(part):
                raise LookupError(
                    f"{len(part) - len(found)} of {len(part)} vectors are not in the collection "
                    f"{table.name!r} any more: they were purged by another index that uses it."
                )
            for row, number in enumerate(part, start=start):
                vectors[row] = found[number]
        return vectors

    def _table_count(self, table: Table, dimension: int, rows: Runs) -> int:
        def count(client: Any) -> int:
            if not client.collection_exists(table.name):
                return 0
            found = client.get_collection(table.name).config.params.vectors
            if getattr(found, "size", None) != dimension:
                return 0
            if not len(rows):
                return 0
            return client.count(table.name, count_filter=_filter(rows), exact=True).count

        return _run(table.address, count)

    def _table_keep_only(self, table: Table, rows: Runs) -> None:
        models = _models()
        others = models.Filter(must_not=_filter(rows).should) if len(rows) else models.Filter()
        selector = models.FilterSelector(filter=others)
        _run(table.address, lambda client: client.delete(table.name, selector, wait=True))

    @staticmethod
    def _table_drop(address: str, name: str) -> None:
        _run(address, lambda client: client.delete_collection(name))


def _filter(rows: Runs) -> Any:
    """What only these rows pass."""
    models = _models()
    if len(rows) <= _NAMED:
        ids = rows.ids().tolist()
        return models.Filter(should=[models.HasIdCondition(has_id=ids)])
    starts, ends = rows.ascending()
    return models.Filter(
        should=[
            models.FieldCondition(key=_NUMBER, range=models.Range(gte=start, lt=end))
            for start, end in zip(starts.tolist(), ends.tolist(), strict=True)
        ]
    )


def _models() -> Any:
    return import_optional("qdrant_client.models", "qdrant")


# -- the connection -------------------------------------------------------------------------------


def _is_server(address: str) -> bool:
    return address.startswith(("http://", "https://"))


def _run(address: str, work: Callable[[Any], Any]) -> Any:
    """Do some work, again where the server is lost; what is done twice has the same result."""
    errors = import_optional("qdrant_client.http.exceptions", "qdrant")
    key, patience = (os.getpid(), address), Patience("Qdrant")
    with _lock:
        while True:
            try:
                result = work(_client(address))
                _answered.add(key)
                return result
            except errors.ResponseHandlingException as error:
                if key not in _answered:
                    raise ConnectionError(f"no answer from the server of {URL}: {error}") from error
                patience.wait(error)


def _client(address: str) -> Any:
    qdrant = import_optional("qdrant_client", "qdrant")
    key = os.getpid(), address
    if key not in _open:
        if _is_server(address):
            client = qdrant.QdrantClient(url=address, api_key=os.environ.get(API_KEY))
        elif address == ":memory:":
            client = qdrant.QdrantClient(location=address)
        else:
            client = qdrant.QdrantClient(path=address)
        # Left to the garbage collector of a process that ends, it would fail to import.
        atexit.register(client.close)
        _open[key] = client
    return _open[key]
