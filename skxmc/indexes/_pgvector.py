"""Vectors in PostgreSQL, searched by pgvector."""

from __future__ import annotations

from collections.abc import Callable
from numbers import Integral
from typing import Any

import numpy as np
from sklearn.utils._param_validation import Interval

from .._runtime._optional import import_optional
from . import _postgres
from ._database import DatabaseIndex, Table
from ._runs import Runs

# What pgvector indexes: columns of 4 bytes, and of 2.
_WIDEST, _WIDEST_HALF = 2000, 4000

# Queries that are under way at a time.
_BATCH = 256

# So few rows are compared one by one; a walk through the graph would visit most of them.
_FEW = 1000

# Candidates of a search that pgvector takes at most.
_MOST_CANDIDATES = 1000


class PgVectorIndex(DatabaseIndex):
    """Vectors in a PostgreSQL database, searched by pgvector's HNSW graph.

    The server is that of the environment variable ``SKXMC_PGVECTOR_DSN``, in the forms that libpq
    takes: ``postgresql://user@host/database``. Each index has a table of its own, with a name
    drawn at random. A table is deleted with the last index of the process that uses it, unless
    a model was saved or pickled with it; :meth:`drop` deletes it then.

    Parameters
    ----------
    m : int, default=32
        Neighbours of a vector in the graph, up to 100.
    ef_construction : int, default=128
        Candidates kept while a vector is inserted, at least ``2 * m``, up to 1,000.
    ef_search : int, default=200
        Candidates kept during a search, up to 1,000; at least k are.

    Notes
    -----
    Up to 2,000 columns are stored in float32, up to 4,000 in float16; pgvector indexes no more.
    How much memory and how many threads a build takes, the server decides
    (``maintenance_work_mem``, ``max_parallel_maintenance_workers``); the address may set both:
    ``...?options=-c maintenance_work_mem=2GB``, written with ``%20`` for the blank.
    Where the connection is lost, it is made again, and the question is asked again, for a minute.

    References
    ----------
    Malkov and Yashunin, "Efficient and robust approximate nearest neighbor search using
    hierarchical navigable small world graphs" (TPAMI 2020).

    Examples
    --------
    >>> from skxmc import ViXMLClassifier
    >>> from skxmc.indexes import PgVectorIndex
    >>> clf = ViXMLClassifier(index=PgVectorIndex(ef_search=400))
    >>> clf.get_params()["index__ef_search"]
    400
    """

    name = "pgvector"
    _variable = _postgres.VARIABLE
    _example = "postgresql://user@host/database"
    _parameter_constraints = {
        "m": [Interval(Integral, 2, 100, closed="both")],
        "ef_construction": [Interval(Integral, 4, 1000, closed="both")],
        "ef_search": [Interval(Integral, 1, _MOST_CANDIDATES, closed="both")],
    }

    def __init__(self, m: int = 32, ef_construction: int = 128, ef_search: int = 200) -> None:
        self.m = m
        self.ef_construction = ef_construction
        self.ef_search = ef_search

    def _validate_params(self) -> None:
        super()._validate_params()
        if self.ef_construction < 2 * self.m:
            raise ValueError(
                f"ef_construction={self.ef_construction} is below 2 * m = {2 * self.m}, which "
                "pgvector does not take; pass a greater one."
            )

    def _check_width(self, dimension: int) -> None:
        if dimension > _WIDEST_HALF:
            raise ValueError(
                f"the vectors have {dimension} columns, and pgvector indexes at most "
                f"{_WIDEST_HALF}; take another index, or an encoder with fewer dimensions."
            )

    # -- the database -------------------------------------------------------------------------

    def _table_create(self, table: Table, dimension: int) -> None:
        def create(connection: Any) -> None:
            connection.execute(_compose("DROP TABLE IF EXISTS {table}", table.name))
            connection.execute(
                _compose(
                    "CREATE TABLE {table} (id bigint PRIMARY KEY, embedding {kind} NOT NULL)",
                    table.name,
                    kind=_sql().SQL(f"{_kind(dimension)}({int(dimension)})"),
                )
            )
            # Vectors stay beside their number: a search reads both.
            connection.execute(
                _compose("ALTER TABLE {table} ALTER COLUMN embedding SET STORAGE PLAIN", table.name)
            )

        _postgres.run(table.address, create)

    def _table_insert(self, table: Table, ids: np.ndarray, vectors: np.ndarray) -> None:
        kind = _kind(vectors.shape[1])
        as_stored = _converter(kind)

        def insert(connection: Any) -> None:
            # By way of a table of this transaction: a copy knows no "on conflict".
            connection.execute(
                _compose("CREATE TEMP TABLE skxmc_new (LIKE {table}) ON COMMIT DROP", table.name)
            )
            with connection.cursor().copy(
                "COPY skxmc_new (id, embedding) FROM STDIN WITH (FORMAT BINARY)"
            ) as copy:
                copy.set_types(["int8", kind])
                for number, vector in zip(ids.tolist(), vectors, strict=True):
                    copy.write_row((number, as_stored(vector)))
            connection.execute(
                _compose(
                    "INSERT INTO {table} SELECT id, embedding FROM skxmc_new ORDER BY id "
                    "ON CONFLICT (id) DO NOTHING",
                    table.name,
                )
            )

        _postgres.run(table.address, insert)

    def _table_finish(self, table: Table, dimension: int) -> None:
        def finish(connection: Any) -> None:
            connection.execute(
                _compose(
                    "CREATE INDEX IF NOT EXISTS {graph} ON {table} USING hnsw "
                    "(embedding {operators}) WITH (m = {m}, ef_construction = {ef})",
                    table.name,
                    graph=_sql().Identifier(f"{table.name}_graph"),
                    operators=_sql().SQL(f"{_kind(dimension)}_ip_ops"),
                    m=_sql().Literal(int(self.m)),
                    ef=_sql().Literal(int(self.ef_construction)),
                )
            )
            connection.execute(_compose("ANALYZE {table}", table.name))

        _postgres.run(table.address, finish)

    def _table_search(
        self, table: Table, queries: np.ndarray, k: int, n: int, allowed: list[Runs] | None
    ) -> tuple[np.ndarray, np.ndarray]:
        ids = np.full((len(queries), k), -1, dtype=np.int64)
        scores = np.full((len(queries), k), -np.inf, dtype=np.float32)
        n_wanted = np.full(len(queries), n)
        if allowed is not None:
            n_wanted = np.array([len(one) for one in allowed])
        few = n_wanted <= max(_FEW, 5 * k)

        def ask(rows: np.ndarray, way: str) -> None:
            own = None if allowed is None else [allowed[row] for row in rows]
            found = self._ask(table, queries[rows], k, own, way)
            for row, pairs in zip(rows, found, strict=True):
                if pairs:
                    ids[row, : len(pairs)], scores[row, : len(pairs)] = zip(*pairs, strict=True)

        ask(np.flatnonzero(~few), "graph")
        ask(np.flatnonzero(few), "all" if allowed is None else "named")
        # The graph may lead past rows that are allowed.
        ask(np.flatnonzero(((ids >= 0).sum(axis=1) < np.minimum(n_wanted, k)) & ~few), "all")
        return ids, scores

    def _ask(
        self, table: Table, queries: np.ndarray, k: int, allowed: list[Runs] | None, way: str
    ) -> list[list[tuple]]:
        """Numbers and scores of the best rows of each query."""
        statement = _search_statement(table.name, k, way, allowed is not None)
        as_stored = _converter(_kind(queries.shape[1]))
        written: dict[int, Any] = {}

        def arguments(row: int) -> dict[str, Any]:
            own = {"query": as_stored(queries[row])}
            if allowed is not None:
                rows = allowed[row]
                if id(rows) not in written:
                    whole = _multirange(rows) if way != "named" else rows.ids().tolist()
                    written[id(rows)] = whole
                own["allowed"] = written[id(rows)]
            return own

        found: list[list[tuple]] = []
        for start in range(0, len(queries), _BATCH):
            part = range(start, min(len(queries), start + _BATCH))

            def search(connection: Any, part: range = part) -> list[list[tuple]]:
                with connection.pipeline():
                    self._set_search(connection, k)
                    cursors = [
                        connection.execute(statement, arguments(row), binary=True) for row in part
                    ]
                    return [cursor.fetchall() for cursor in cursors]

            found += _postgres.run(table.address, search)
        return found

    def _set_search(self, connection: Any, k: int) -> None:
        candidates = min(max(int(self.ef_search), k), _MOST_CANDIDATES)
        # Where rows are left out or k is above that, the walk goes on.
        connection.execute(
            "SELECT set_config('hnsw.ef_search', %s, true), "
            "set_config('hnsw.iterative_scan', 'strict_order', true), "
            "set_config('hnsw.max_scan_tuples', %s, true)",
            (str(candidates), str(max(20_000, 20 * k))),
        )

    def _table_vectors(self, table: Table, ids: np.ndarray, dimension: int) -> np.ndarray:
        def fetch(connection: Any) -> list[tuple]:
            statement = _compose("SELECT id, embedding FROM {table} WHERE id = ANY(%s)", table.name)
            return connection.execute(statement, (ids.tolist(),), binary=True).fetchall()

        found = dict(_postgres.run(table.address, fetch))
        if len(found) < len(ids):
            raise LookupError(
                f"{len(ids) - len(found)} of {len(ids)} vectors are not in the table "
                f"{table.name!r} any more: they were purged by another index that uses it."
            )
        vectors = np.empty((len(ids), dimension), dtype=np.float32)
        for row, number in enumerate(ids.tolist()):
            vectors[row] = found[number].to_numpy()
        return vectors

    def _table_count(self, table: Table, dimension: int, rows: Runs) -> int:
        def count(connection: Any) -> int:
            there = connection.execute(
                "SELECT format_type(atttypid, atttypmod) FROM pg_attribute "
                "WHERE attrelid = to_regclass(%s) AND attname = 'embedding'",
                (table.name,),
            ).fetchone()
            if there is None or not there[0].endswith(f"{_kind(dimension)}({dimension})"):
                return 0
            statement = "SELECT count(*) FROM {table} WHERE id <@ %s::int8multirange"
            return connection.execute(
                _compose(statement, table.name), (_multirange(rows),)
            ).fetchone()[0]

        return _postgres.run(table.address, count)

    def _table_keep_only(self, table: Table, rows: Runs) -> None:
        statement = _compose("DELETE FROM {table} WHERE NOT id <@ %s::int8multirange", table.name)
        kept = (_multirange(rows),)
        _postgres.run(table.address, lambda connection: connection.execute(statement, kept))

    @staticmethod
    def _table_drop(address: str, name: str) -> None:
        statement = _compose("DROP TABLE IF EXISTS {table}", name)
        _postgres.run(address, lambda connection: connection.execute(statement))


def _sql() -> Any:
    return import_optional("psycopg.sql", "pgvector")


def _compose(statement: str, table: str, **parts: Any) -> Any:
    """A statement of a table; names are quoted."""
    return _sql().SQL(statement).format(table=_sql().Identifier(table), **parts)


def _search_statement(name: str, k: int, way: str, filtered: bool) -> Any:
    # The sum hides the order from the graph: all rows that are allowed are compared then.
    distance = "(embedding <#> %(query)b)" + ("" if way == "graph" else " + 0")
    condition = "id = ANY(%(allowed)s)" if way == "named" else "id <@ %(allowed)s::int8multirange"
    where = f"WHERE {condition} " if filtered else ""
    return _compose(
        f"SELECT id, -(embedding <#> %(query)b) FROM {{table}} {where}"
        f"ORDER BY {distance} LIMIT {{k}}",
        name,
        k=_sql().Literal(int(k)),
    )


def _kind(dimension: int) -> str:
    return "vector" if dimension <= _WIDEST else "halfvec"


def _converter(kind: str) -> Callable[[np.ndarray], Any]:
    module = import_optional("pgvector", "pgvector")
    return module.Vector if kind == "vector" else module.HalfVector


def _multirange(rows: Runs) -> str:
    """Rows as PostgreSQL writes sets of numbers."""
    starts, ends = rows.ascending()
    pairs = zip(starts.tolist(), ends.tolist(), strict=True)
    return "{" + ",".join(f"[{start},{end})" for start, end in pairs) + "}"
