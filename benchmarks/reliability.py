"""What a saved model promises, counted: loading with verification, and memory over long use.

Damage, crafted folders, interrupted saves and forks have commands of their own, because they are
tests: ``python -m tests.fuzz``, ``python tests/interrupted_saves.py`` and
``pytest tests/test_crafted_folders.py tests/test_forks.py``.
"""

import argparse
import gc
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from skxmc import ViXMLClassifier

from ._data import targets
from ._report import command, table

PARTS = ("load", "memory")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this benchmark."""
    parser.add_argument("--part", choices=("all", *PARTS), default="all", help="what to measure")
    parser.add_argument("--labels", type=int, default=30_000, help="labels of the model")
    parser.add_argument("--documents", type=int, default=30_000, help="training documents")
    parser.add_argument("--width", type=int, default=384, help="width of the embeddings")
    parser.add_argument("--predictions", type=int, default=10_000, help="of which memory is read")
    parser.add_argument("--loads", type=int, default=200, help="loads of which memory is read")
    parser.add_argument("--repeats", type=int, default=9, help="loads of each kind of verification")


def run(options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Yield what each part found."""
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(options.documents, options.width)).astype(np.float32)
    Y = targets(options.documents, options.labels, 3, rng)
    model = ViXMLClassifier("precomputed", evidence=["prototypes"], random_state=0)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "model"
        model.fit(vectors, Y).save(folder)
        if options.part in ("all", "load"):
            yield measure_loads(folder, options.repeats)
        if options.part in ("all", "memory"):
            yield measure_memory(folder, vectors[:16], options.predictions, options.loads)


def measure_loads(folder: Path, repeats: int) -> dict[str, Any]:
    """Best time of a load with each kind of verification, in turns."""
    seconds: dict[str, float] = {}
    for _ in range(repeats):
        for verify in (False, "auto", True):
            start = time.perf_counter()
            ViXMLClassifier.load(folder, verify=verify)
            taken = time.perf_counter() - start
            seconds[str(verify)] = min(taken, seconds.get(str(verify), np.inf))
    size = sum(path.stat().st_size for path in folder.rglob("*"))
    return {"part": "load", "megabytes": size / 1e6, "seconds": seconds}


def measure_memory(folder: Path, X: np.ndarray, predictions: int, loads: int) -> dict[str, Any]:
    """Resident memory after a fifth of the predictions and loads, and after all of them."""
    model, found = ViXMLClassifier.load(folder), {}
    jobs = {
        "predictions": (predictions, lambda: model.predict_topk(X, k=5)),
        "loads": (loads, lambda: ViXMLClassifier.load(folder).predict_topk(X, k=5)),
    }
    for name, (count, job) in jobs.items():
        sizes = []
        for part in (count // 5, count - count // 5):
            for _ in range(part):
                job()
            gc.collect()
            sizes.append(resident())
        found[name] = {"count": count, "before": sizes[0], "after": sizes[1]}
    return {"part": "memory", **found}


def resident() -> int:
    """Bytes of this process in memory; 0 where the system does not tell."""
    status = Path("/proc/self/status")
    if not status.is_file():
        return 0
    lines = status.read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmRSS"))


def markdown(results: list[dict[str, Any]]) -> str:
    """Return a table for all parts."""
    rows = []
    for result in results:
        if result["part"] == "load":
            plain = result["seconds"]["False"]
            for verify, seconds in result["seconds"].items():
                what = f"load of {result['megabytes']:.0f} MB, verify={verify}"
                rows.append([what, f"{1000 * seconds:.1f} ms", f"{seconds / plain:.2f} times"])
        else:
            for name in ("predictions", "loads"):
                part = result[name]
                growth = part["after"] / max(part["before"], 1) - 1
                size = f"{part['after'] / 1e6:.0f} MB"
                rows.append([f"memory after {part['count']:,} {name}", size, f"{growth:+.2%}"])
    return table(["what", "measured", "against before"], rows, left=1)


def main(arguments: list[str] | None = None) -> None:
    """Measure and print."""
    command(sys.modules[__name__], arguments)


if __name__ == "__main__":
    main()
