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
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

from skxmc import ViXMLClassifier
from skxmc.indexes import make_index

from ._data import targets
from ._report import command, contestant, table

# Where processes wait for each other.
_all_there: Any = None

PARTS = ("load", "memory", "processes")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this benchmark."""
    parser.add_argument("--part", choices=("all", *PARTS), default="all", help="what to measure")
    parser.add_argument("--labels", type=int, default=30_000, help="labels of the model")
    parser.add_argument("--documents", type=int, default=30_000, help="training documents")
    parser.add_argument("--width", type=int, default=384, help="width of the embeddings")
    parser.add_argument("--index", default="auto", help="such as exact:precision=float32")
    parser.add_argument("--predictions", type=int, default=10_000, help="of which memory is read")
    parser.add_argument("--loads", type=int, default=200, help="loads of which memory is read")
    parser.add_argument("--processes", type=int, default=8, help="that share one saved model")
    parser.add_argument("--repeats", type=int, default=9, help="loads of each kind of verification")


def run(options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Yield what each part found."""
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(options.documents, options.width)).astype(np.float32)
    Y = targets(options.documents, options.labels, 3, rng)
    name, parameters = contestant(options.index)
    index = make_index(name, *vectors.shape).set_params(**parameters)
    model = ViXMLClassifier("precomputed", evidence=["prototypes"], index=index, random_state=0)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "model"
        model.fit(vectors, Y).save(folder)
        if options.part in ("all", "load"):
            yield measure_loads(folder, options.repeats)
        if options.part in ("all", "memory"):
            yield measure_memory(folder, vectors[:16], options.predictions, options.loads)
        if options.part in ("all", "processes"):
            small, large = Path(place) / "small", Path(place) / "large"
            for one, n, n_labels in ((small, 64, 64), (large, *Y.shape)):
                model.fit(vectors[:n], every_name(n, n_labels)).save(one)
            yield measure_processes(options.processes, small, large, vectors[:16])


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


def every_name(n: int, n_labels: int) -> list[list[str]]:
    """Names of labels for n documents, each of which comes."""
    each = -(-n_labels // n)
    names = [f"label {number:07}" for number in range(n_labels)]
    return [[names[(row * each + place) % n_labels] for place in range(each)] for row in range(n)]


def measure_processes(n: int, small: Path, folder: Path, X: np.ndarray) -> dict[str, Any]:
    """Memory that each of some processes has to itself when all of them use one saved model.

    What libraries take is read from predictions with a small model.
    """
    context = get_context("spawn")
    all_there = context.Barrier(n)
    with ProcessPoolExecutor(n, context, _share, (all_there,)) as pool:
        found = list(pool.map(measure_process, *zip(*[(small, folder, X)] * n, strict=True)))
    names = ("libraries", "loaded", "predicted")
    private = {name: int(np.mean([own[name] for own in found])) for name in names}
    size = sum(path.stat().st_size for path in folder.rglob("*"))
    return {"part": "processes", "count": n, "megabytes": size / 1e6, **private}


def measure_process(small: Path, folder: Path, X: np.ndarray) -> dict[str, int]:
    """Private bytes with a small model, and with the model of the folder beside it."""
    found = {}
    ViXMLClassifier.load(small).predict_topk(X, k=5, return_labels=True)
    found["libraries"] = private_bytes()
    model = ViXMLClassifier.load(folder)
    gc.collect()
    found["loaded"] = private_bytes() - found["libraries"]
    for _ in range(3):
        model.predict_topk(X, k=5, return_labels=True)
    gc.collect()
    found["predicted"] = private_bytes() - found["libraries"]
    return found


def _share(barrier: Any) -> None:
    global _all_there
    _all_there = barrier


def private_bytes() -> int:
    """Bytes that this process alone has in memory, once all processes are as far."""
    if not Path("/proc/self/smaps_rollup").is_file():
        return 0
    _all_there.wait()
    lines = Path("/proc/self/smaps_rollup").read_text(encoding="utf-8").splitlines()
    found = sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("Private_"))
    _all_there.wait()  # a process that went on would have less in common with the others
    return found


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
        elif result["part"] == "processes":
            for name, what in (
                ("libraries", "libraries"),
                ("loaded", "beside them, loaded"),
                ("predicted", "beside them, after predictions"),
            ):
                of = f"a process of {result['count']}, model of {result['megabytes']:.0f} MB"
                rows.append([f"{of}: {what}", f"{result[name] / 1e6:.0f} MB", ""])
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
