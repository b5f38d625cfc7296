"""One connection of a process to PostgreSQL, which is made again where it was lost."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable
from typing import Any

from .._runtime._optional import import_optional

logger = logging.getLogger(__name__)

VARIABLE = "SKXMC_PGVECTOR_DSN"

# Seconds that a lost server has to come back, and the longest pause between two attempts.
_PATIENCE, _PAUSE = 60.0, 1.0

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
    lost_at = None
    with _lock:
        while True:
            connection = None
            try:
                connection = _connect(address)
                with connection.transaction():
                    return work(connection)
            except (psycopg.OperationalError, psycopg.InterfaceError) as error:
                if connection is None and lost_at is None:
                    raise ConnectionError(
                        f"no connection to the PostgreSQL server of {VARIABLE}: {error}"
                    ) from error
                if connection is not None and not connection.closed:
                    raise  # the server is there, and means it
                _open.pop((os.getpid(), address), None)
                lost_at = lost_at or time.monotonic()
                waited = time.monotonic() - lost_at
                if waited > _PATIENCE:
                    raise
                logger.warning("the connection to PostgreSQL was lost and is made again")
                time.sleep(min(_PAUSE, waited / 2))


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
