"""Tuning by several processes of torch.distributed against one: the same model, and how fast.

Each number of processes is a ``torchrun`` of its own on this machine, with one thread a process if
OMP_NUM_THREADS does not say otherwise. The first number is what the others are compared with.
Documents per second are those of the last epoch. Where other programs use the machine, too, the
seconds that a process had a processor for (the largest number of them) say what is shared out.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from ._data import add_data
from ._report import command, parameter, table


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this benchmark."""
    add_data(parser, "fontawesome")
    parser.add_argument(
        "--processes", type=int, nargs="+", default=[1, 2], help="numbers that are compared"
    )
    parser.add_argument("--documents", type=int, default=None, help="first training documents")
    parser.add_argument("--images", action="store_true", help="with pictures")
    parser.add_argument(
        "--set",
        type=parameter,
        nargs="*",
        default=[],
        metavar="NAME=VALUE",
        help="parameters of ViXMLClassifier beside random_state=0, precision='float32', epochs=2",
    )


def run(options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Yield what each number of processes found."""
    params = {"random_state": 0, "precision": "float32", "epochs": 2, **dict(options.set)}
    given = {name: getattr(options, name) for name in ("data", "folder", "documents", "images")} | {
        "params": params
    }
    first = None
    for n in options.processes:
        found = _fit(given, n)
        first = found[0] if first is None else first
        yield _compare(n, found, first)


def _fit(given: dict[str, Any], n: int) -> list[dict[str, np.ndarray]]:
    """What each of n processes has found."""
    environment = {"OMP_NUM_THREADS": "1", **os.environ}
    with tempfile.TemporaryDirectory() as folder:
        options = Path(folder) / "options.json"
        options.write_text(json.dumps(given), encoding="utf-8")
        launcher = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={n}"]
        job = ["-m", "benchmarks._distributed_fit", str(options), folder]
        # Standard output is for the report.
        subprocess.run(
            [sys.executable, *launcher, *job], env=environment, check=True, stdout=sys.stderr
        )
        return [dict(np.load(Path(folder) / f"{rank}.npz")) for rank in range(n)]


def _compare(
    n: int, found: list[dict[str, np.ndarray]], first: dict[str, np.ndarray]
) -> dict[str, Any]:
    own, weights = found[0], first["weights"]
    return {
        "processes": n,
        "alike": all(np.array_equal(own["weights"], other["weights"]) for other in found),
        "difference": float(np.linalg.norm(own["weights"] - weights) / np.linalg.norm(weights)),
        "equal_labels": float(np.mean(own["labels"] == first["labels"])),
        "documents_per_second": float(own["speed"][-1]),
        "fit_seconds": float(own["seconds"]),
        "cpu_seconds": [float(one["cpu_seconds"]) for one in found],
    }


def markdown(results: list[dict[str, Any]]) -> str:
    """Return a table with one row for each number of processes."""
    rows = [
        [
            str(result["processes"]),
            "yes" if result["alike"] else "NO",
            f"{result['difference']:.1e}",
            f"{result['equal_labels']:.2%}",
            f"{result['documents_per_second']:.1f}",
            f"{result['fit_seconds']:.0f}",
            f"{max(result['cpu_seconds']):.0f}",
        ]
        for result in results
    ]
    header = ["processes", "all alike", "weights differ by", "top 5 equal"]
    header += ["documents/s", "fit, s", "CPU s a process"]
    return table(header, rows, left=1)


def main(arguments: list[str] | None = None) -> None:
    """Measure and print."""
    command(sys.modules[__name__], arguments)


if __name__ == "__main__":
    main()
