"""Accuracy, time and memory of the estimators on a data set.

``python -m benchmarks.quality --data icons --mode all --baseline`` prints Markdown tables. Every
configuration runs in a process of its own, so that its peak of memory is its own. Filter pairs
(the label is the document itself) are dropped from predictions and truth.
"""

import argparse
import json
import os
import platform
import resource
import sys
import time
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from importlib import metadata
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from sklearn.utils import Bunch

from skxmc.datasets import load_fontawesome, load_xmc_folder
from skxmc.metrics import label_propensities, xmc_report

from ._baselines import TfidfNeighbours

MODES = ("frozen", "lora", "full")
CURVE = (1, 2, 4, 8, 12, 16)

METRICS = {
    "P@1": "precision_at_1",
    "P@3": "precision_at_3",
    "P@5": "precision_at_5",
    "nDCG@5": "ndcg_at_5",
    "PSP@1": "psprecision_at_1",
    "PSP@5": "psprecision_at_5",
}
PACKAGES = (
    "skxmc",
    "torch",
    "transformers",
    "sentence-transformers",
    "scikit-learn",
    "numpy",
    "scipy",
    "faiss-cpu",
)
# What decides how fast a CPU multiplies matrices.
CPU_FLAGS = ("avx2", "avx512f", "avx512_bf16", "avx512_vnni", "amx_bf16", "amx_int8")

# Documents of which the evidence is collected at a time.
BLOCK = 2048


# --- one measurement, in its own process ---


def measure(task: dict[str, Any]) -> dict[str, Any]:
    """Fit and evaluate one configuration.

    Parameters
    ----------
    task : dict
        data, folder, mode ("baseline" or a value of `train_encoder`), images (bool),
        exclude_train (bool), params (dict of the estimator's parameters).

    Returns
    -------
    result : dict
        The task, with ``figures``, ``evidence`` (figures of each kind alone), ``weights`` and
        ``temperatures`` of the mixture, ``fit_seconds``, ``predict_seconds``, ``cpu_seconds`` of
        both, ``peak_gb`` and ``history``.
    """
    data = load(task["data"], task["folder"])
    propensities = label_propensities(data.Y_train)

    def figures(found: Any) -> dict[str, float]:
        report = xmc_report(
            data.Y_test, found, k=(1, 3, 5), exclude=data.exclude_test, propensities=propensities
        )
        return {name: report[key] for name, key in METRICS.items()}

    run = _run_baseline if task["mode"] == "baseline" else _run_estimator
    return {**task, **run(task, data, figures)}


def load(name: str, folder: str) -> Bunch:
    """Load the quick-start set by the name "fontawesome", or a folder of that name."""
    if name == "fontawesome":
        return load_fontawesome()
    return load_xmc_folder(Path(folder) / name)


def _run_baseline(task, data, figures) -> dict[str, Any]:
    clock = _Clock()
    model = TfidfNeighbours(**task["params"]).fit(data.text_train, data.Y_train)
    clock.lap("fit")
    scores = model.scores(data.text_test)
    clock.lap("predict")
    return {**clock.result(), "figures": figures(scores)}


def _run_estimator(task, data, figures) -> dict[str, Any]:
    from skxmc import ViXMLClassifier

    images_train = data.images_train if task["images"] else None
    images_test = data.images_test if task["images"] else None
    clock = _Clock()
    model = ViXMLClassifier(
        label_text=data.label_text, train_encoder=task["mode"], **task["params"]
    )
    model.fit(
        data.text_train,
        data.Y_train,
        images=images_train,
        exclude=data.exclude_train if task["exclude_train"] else None,
    )
    clock.lap("fit")
    found = model.predict_topk(data.text_test, k=5, images=images_test, exclude=data.exclude_test)
    clock.lap("predict")
    result = {**clock.result(), "figures": figures(found), "history": model.history_}
    # After the clock and the memory were read: what each kind of evidence is worth alone.
    features = model._features(data.text_test, images_test)
    alone: dict[str, list] = {}
    for start in range(0, len(features), BLOCK):
        block = features.take(slice(start, start + BLOCK))
        for kind, (labels, scores) in model.ensemble_.evidence(block).items():
            alone.setdefault(kind, []).append((labels, scores))
    result["evidence"] = {kind: figures(_stack(blocks)) for kind, blocks in alone.items()}
    mixture = model.ensemble_.mixture_
    result["weights"] = {kind: mixture.weights_[kind] for kind in alone}
    result["temperatures"] = {kind: mixture.temperatures_[kind] for kind in alone}
    result["threshold"] = float(model.threshold_)
    return result


def _stack(blocks: Iterable[tuple]) -> tuple:
    import numpy as np

    return tuple(np.concatenate(parts) for parts in zip(*blocks, strict=True))


class _Clock:
    """Seconds between laps, and the peak of memory since the process started."""

    def __init__(self) -> None:
        self._started = time.perf_counter()
        self._cpu_started = time.process_time()
        self._laps: dict[str, float] = {}

    def lap(self, name: str) -> None:
        now = time.perf_counter()
        self._laps[f"{name}_seconds"] = now - self._started
        self._started = now

    def result(self) -> dict[str, float]:
        # Kilobytes on Linux, bytes on macOS.
        unit = 1 if sys.platform == "darwin" else 1024
        return {
            **self._laps,
            "cpu_seconds": time.process_time() - self._cpu_started,
            "peak_gb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e9,
        }


def measure_apart(task: dict[str, Any]) -> dict[str, Any]:
    """Do the same in a new process."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(measure, task).result()


# --- the report ---


def name_of(result: dict[str, Any]) -> str:
    """How a configuration is called in the tables."""
    if result["mode"] == "baseline":
        return f"TF-IDF, {result['params']['n_neighbors']} neighbours"
    parts = [result["mode"], "text + pictures" if result["images"] else "text"]
    if result["exclude_train"]:
        parts.append("exclude_train")
    hidden = {"random_state", "verbose"}
    parts += [f"{key}={value}" for key, value in result["params"].items() if key not in hidden]
    return ", ".join(parts)


def table(header: list[str], rows: list[list[str]]) -> str:
    """Return a Markdown table whose columns are aligned; all but the first two to the right."""
    widths = [max(len(row[column]) for row in [header, *rows]) for column in range(len(header))]
    rule = ["-" * width if n < 2 else "-" * (width - 1) + ":" for n, width in enumerate(widths)]
    lines = []
    for row in [header, rule, *rows]:
        cells = [
            cell.ljust(width) if n < 2 else cell.rjust(width)
            for n, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def main_table(results: list[dict[str, Any]]) -> str:
    """Return figures, seconds and memory of all configurations."""
    header = ["data", "configuration", *METRICS, "fit s", "predict s", "CPU s", "peak GB"]
    rows = [
        [
            result["data"],
            name_of(result),
            *(f"{result['figures'][name]:.3f}" for name in METRICS),
            f"{result['fit_seconds']:.1f}",
            f"{result['predict_seconds']:.1f}",
            f"{result['cpu_seconds']:.0f}",
            f"{result['peak_gb']:.2f}",
        ]
        for result in results
    ]
    return table(header, rows)


def evidence_table(results: list[dict[str, Any]]) -> str:
    """Return what each kind of evidence reaches alone, and its weight in the mixture."""
    header = ["configuration", "evidence", *METRICS, "weight", "temperature"]
    rows = []
    for result in results:
        for kind, figures in result.get("evidence", {}).items():
            rows.append(
                [
                    f"{result['data']}: {name_of(result)}",
                    kind.replace("_", " "),
                    *(f"{figures[name]:.3f}" for name in METRICS),
                    f"{result['weights'][kind]:.2f}",
                    f"{result['temperatures'][kind]:.3g}",
                ]
            )
    return table(header, rows)


def environment() -> dict[str, Any]:
    """Return what the seconds depend on: processor, threads, versions."""
    information: dict[str, str] = {}
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        for line in cpuinfo.read_text(encoding="utf-8").splitlines():
            key, _, value = line.partition(":")
            information.setdefault(key.strip(), value.strip())
    flags = information.get("flags", "").split()
    return {
        "cpu": information.get("model name") or platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "flags": [flag for flag in CPU_FLAGS if flag in flags],
        "system": platform.platform(),
        "python": platform.python_version(),
        "versions": {name: _version(name) for name in PACKAGES},
        "threads": os.environ.get("OMP_NUM_THREADS", "default"),
        "load": [round(load, 1) for load in os.getloadavg()],
    }


def _version(package: str) -> str:
    if package == "skxmc":
        from skxmc import __version__

        return __version__
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "-"


def environment_text(facts: dict[str, Any]) -> str:
    """Return the environment as Markdown."""
    versions = ", ".join(f"{name} {version}" for name, version in facts["versions"].items())
    return (
        f"{facts['cores']} cores, {facts['cpu']} ({', '.join(facts['flags']) or 'no flags known'}),"
        f" OMP_NUM_THREADS {facts['threads']}, load at the start {facts['load'][0]}\n\n"
        f"{facts['system']}, Python {facts['python']}, {versions}"
    )


# --- the command ---


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.quality",
        description=__doc__.partition("\n")[0],
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    add = parser.add_argument
    add("--data", nargs="+", default=["fontawesome"], metavar="NAME",
        help="folders below --folder, or 'fontawesome', which is built from a package")  # fmt: skip
    add("--folder", default="../shared/data", help="where the data sets are")
    add("--mode", nargs="+", default=["frozen"], choices=[*MODES, "all", "none"],
        help="values of train_encoder; 'none' runs the baseline only")  # fmt: skip
    add("--images", action=argparse.BooleanOptionalAction, default=None,
        help="with or without pictures; both, one after the other, if not given")  # fmt: skip
    add("--seed", nargs="+", type=int, default=[0], help="values of random_state, one run each")
    add("--epochs", type=int, default=None, help="epochs of the modes that tune the encoder")
    add("--curve", nargs="*", type=int, default=None, metavar="EPOCHS",
        help=f"one run for each number of epochs; without numbers {CURVE}")  # fmt: skip
    add("--param", action="append", default=[], metavar="NAME=VALUE",
        help="parameter of the estimator, the value in JSON or as a word; repeatable")  # fmt: skip
    add("--exclude-train", action="store_true", help="pass the training set's filter pairs to fit")
    add("--baseline", action="store_true", help="run TF-IDF neighbours as well")
    add("--output", type=Path, default=None, help="write everything that was measured, as JSON")
    options = parser.parse_args(arguments)
    options.params = {}
    for item in options.param:
        name, equals, value = item.partition("=")
        if not equals:
            parser.error(f"--param {item!r} has no '='; write NAME=VALUE")
        try:
            options.params[name] = json.loads(value)
        except json.JSONDecodeError:
            options.params[name] = value
    modes = [] if "none" in options.mode else options.mode
    options.mode = list(MODES) if "all" in modes else modes
    if options.curve is not None and not options.curve:
        options.curve = list(CURVE)
    return options


def tasks(options: argparse.Namespace) -> list[dict[str, Any]]:
    """List what is to be measured, in the order of the tables."""
    found = []
    for data in options.data:
        common = {"data": data, "folder": options.folder}
        if options.baseline or not options.mode:
            found.append(
                {
                    **common,
                    "mode": "baseline",
                    "images": False,
                    "exclude_train": False,
                    "params": {"n_neighbors": 20},
                }
            )
        choices = [False, True] if options.images is None else [options.images]
        if True in choices and options.mode and load(data, options.folder).images_train is None:
            choices = [False]
        for mode in options.mode:
            lengths = [options.epochs] if options.curve is None else options.curve
            for images in choices:
                for epochs in [None] if mode == "frozen" else lengths:
                    for seed in options.seed:
                        params = {"random_state": seed, **options.params}
                        if epochs is not None:
                            params["epochs"] = epochs
                        found.append(
                            {
                                **common,
                                "mode": mode,
                                "images": images,
                                "exclude_train": options.exclude_train,
                                "params": params,
                            }
                        )
    return found


def main(arguments: list[str] | None = None) -> None:
    """Measure, print, and write the report."""
    options = parse_arguments(arguments)
    facts = environment()
    results = []
    for task in tasks(options):
        print(f"{task['data']}: {name_of(task)} ...", file=sys.stderr, flush=True)
        results.append(measure_apart(task))
        if options.output is not None:  # after each: a later failure loses nothing
            report = {"environment": facts, "results": results}
            options.output.parent.mkdir(parents=True, exist_ok=True)
            options.output.write_text(json.dumps(report, indent=1), encoding="utf-8")
    print(main_table(results))
    if any("evidence" in result for result in results):
        print(f"\nEach kind of evidence alone:\n\n{evidence_table(results)}")
    print(f"\n{environment_text(facts)}")


if __name__ == "__main__":
    main()
