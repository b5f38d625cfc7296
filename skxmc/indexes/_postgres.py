"""One connection of a process to PostgreSQL, which is made again where it was lost."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from typing import Any

from .._runtime._optional import import_optional
from ._patience import Patience

VARIABLE = "SKXMC_PGVECTOR_DSN"

_lock = threading.RLock()
_open: dict[tuple[int, str], Any] = {}


def run(address: str, work: Callable[[Any], Any]) -> Any:
    """Do some work in a transaction; again from the start where the connection is lost.

    Parameters
    ----------
    address : str
        Of the server, as libpq takes it.
    work : callable
        Takes a connection of psycopg. What it does has the same result when it is done twice: it
        may be that the server did it, and the answer was lost.

    Returns
    -------
    result : object
        What `work` returned.

    Raises
    ------
    ConnectionError
        If there is no such server.
    """
    psycopg = import_optional("psycopg", "pgvector")
    key, patience = (os.getpid(), address), Patience("PostgreSQL")
    with _lock:
        while True:
            connection = None
            try:
                connection = _connect(address)
                with connection.transaction():
                    return work(connection)
            except (psycopg.OperationalError, psycopg.InterfaceError) as error:
                if connection is None and not patience and key not in _open:
                    raise ConnectionError(
                        f"no connection to the PostgreSQL server of {VARIABLE}: {error}"
                    ) from error
                if connection is not None and not connection.closed:
                    raise  # the server is there, and means it
                _open.pop(key, None)
                patience.wait(error)


def _connect(address: str) -> Any:
    psycopg = import_optional("psycopg", "pgvector")
    key = os.getpid(), address
    connection = _open.get(key)
    if connection is None or connection.closed:
        connection = psycopg.connect(address)
        try:
            _prepare(connection)
        except BaseException:
            connection.close()
            raise
        _open[key] = connection
    return connection


def _prepare(connection: Any) -> None:
    """Once a connection: the extension, and its types."""
    pgvector = import_optional("pgvector.psycopg", "pgvector")
    there = connection.execute("SELECT extversion FROM pg_extension WHERE extname = 'vector'")
    if there.fetchone() is None:
        connection.execute("CREATE EXTENSION IF NOT EXISTS vector")
    connection.commit()
    pgvector.register_vector(connection)
    # Searches are sorted by the index. A plan that reads all rows is never quicker, and the
    # planner, which knows no distances, might take it where rows are left out.
    connection.execute("SET enable_seqscan = off")
    connection.commit()
