"""What models and jobs take, from measured constants: memory, disk, network and core hours.

Nothing is run. Each constant says where it was measured; all are of vectors with 384 numbers and
machines without AMX, unless it says otherwise.
"""

import argparse
import sys
from collections.abc import Iterator
from typing import Any

from ._report import command, table

# Bytes in a saved model, which the processes of a machine share.
GRAPH = 656  # of a vector in the int8 graph: performance page, table of 1.3 million vectors
LABEL_VECTOR = 768  # float16, with more than 131,072 labels
PAIR = 8  # of a label of a training document: column and value
NAME = 28  # of a label of 20 bytes, with where it ends

# Bytes that each process has to itself: python -m benchmarks reliability --part processes
LIBRARIES = 394e6
PREDICTING = 15e6

# Bytes of a vector in PostgreSQL, table and graph: python -m benchmarks indexes
POSTGRES = 3790
POSTGRES_SECONDS = 0.010  # of a query, on a core of the server

# Core seconds of a document: 4,096 in 14.4 s on 2 cores, with 1.3 million labels (performance
# page); and the encoder, 10 words to 72 tokens, all-MiniLM-L6-v2.
SEARCH = 2 * 14.4 / 4096
ENCODE = (0.0010, 0.0042)

# Bytes of a document: a title and its id, and ten labels in Parquet, compressed.
INPUT, OUTPUT = 250, 80

# Bytes of a query to a database: a vector, and 100 numbers with their scores.
QUERY = 384 * 4 + 100 * 12

SHAPES = {
    "1.3 million labels": (1.3e6, 2.25e6, 22),
    "10 million labels": (1e7, 2e7, 22),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this benchmark."""
    add = parser.add_argument
    add("--documents", type=float, default=1e9, help="that get labels")
    add("--cores", type=int, default=32, help="of a machine")
    add("--machines", type=int, default=100)
    add("--partition", type=int, default=50_000, help="documents that are handed out at a time")


def run(options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Compute what each shape takes."""
    for name, (labels, documents, pairs) in SHAPES.items():
        yield {"shape": name, **model(labels, documents, pairs), **job(options)}


def model(labels: float, documents: float, pairs: float) -> dict[str, float]:
    """Bytes of a saved model, and of its vectors in a database."""
    parts = {
        "prototypes": GRAPH * labels,
        "label vectors": LABEL_VECTOR * labels,
        "neighbours": GRAPH * documents,
        "their labels": PAIR * pairs * documents,
        "names": NAME * labels,
    }
    vectors = labels + documents
    in_database = sum(parts.values()) - GRAPH * vectors
    return {
        **parts,
        "model": sum(parts.values()),
        "model without vectors": in_database,
        "database": POSTGRES * vectors,
    }


def job(options: argparse.Namespace) -> dict[str, float]:
    """What it takes to label all documents."""
    n = options.documents
    low, high = (n * (SEARCH + encode) / 3600 for encode in ENCODE)
    workers = options.cores * options.machines
    return {
        "private memory of a machine": options.cores * (LIBRARIES + PREDICTING),
        "core hours, least": low,
        "core hours, most": high,
        "hours, least": low / workers,
        "hours, most": high / workers,
        "read": INPUT * n,
        "written": OUTPUT * n,
        "tasks": n / options.partition,
        "core seconds of a task": options.partition * (SEARCH + ENCODE[1]),
        "to and from a database": 2 * QUERY * n,
        "core hours of a database": 2 * POSTGRES_SECONDS * n / 3600,
    }


def markdown(results: list[dict[str, Any]]) -> str:
    """Return a table with a column for each shape."""
    rows = []
    for name in results[0]:
        if name != "shape":
            rows.append([name, *(_number(name, result[name]) for result in results)])
    return table(["", *(result["shape"] for result in results)], rows, left=1)


def _number(name: str, value: float) -> str:
    if "hours" in name or name == "tasks" or "seconds" in name:
        return f"{value:,.0f}" if value >= 10 else f"{value:.1f}"
    return f"{value / 1e9:,.1f} GB"


def main(arguments: list[str] | None = None) -> None:
    """Compute and print."""
    command(sys.modules[__name__], arguments)


if __name__ == "__main__":
    main()
