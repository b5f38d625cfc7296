"""How time and memory of fit and predict grow with documents, labels, words and batch.

Texts are synthetic, of the shape of titles in a shop: few words, drawn by Zipf's law, and targets
in which documents and labels have power laws. One of the sizes grows by powers of two while the
others stay; an exponent is the slope of a straight line through the logarithms. Every fit and
every round of predictions has a process of its own, which begins with a tiny fit, so that loading
libraries and compiling kernels does not count.
"""

import argparse
import math
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from ._chart import points
from ._data import targets, tiny_encoder, titles
from ._report import (
    apart,
    command,
    make_estimator,
    parameter,
    peak_gb,
    restart_peak,
    show,
    spread,
    table,
)

AXES = ("documents", "labels", "words", "batch")
# Of LF-AmazonTitles-1.3M, in round figures.
FULL = {"documents": 2_200_000, "labels": 1_300_000}
FULL_POSITIVES = 22.0

FIGURES = {
    "fit_seconds": "fit, s",
    "fit_cpu_seconds": "fit, CPU s",
    "fit_gb": "fit, GB more",
    "predict_seconds": "predict, s",
    "predict_gb": "predict, GB more",
}


def fit(task: dict[str, Any], folder: str) -> dict[str, float]:
    """Fit and save; seconds, and memory beyond libraries and data."""
    _warm_up(task)
    rng = np.random.default_rng(0)
    texts = titles(task["documents"], task["words"], rng)
    label_text = titles(task["labels"], task["words"], rng)
    Y = targets(task["documents"], task["labels"], task["positives"], rng)
    model = _model(task, label_text)
    before = restart_peak()
    started, cpu_started = time.perf_counter(), time.process_time()
    model.fit(texts, Y)
    seconds, cpu_seconds = time.perf_counter() - started, time.process_time() - cpu_started
    peak = peak_gb()
    model.save(folder)
    return {
        "fit_seconds": seconds,
        "fit_cpu_seconds": cpu_seconds,
        "fit_gb": peak - before,
        "fit_peak_gb": peak,
    }


def predict(task: dict[str, Any], folder: str) -> dict[str, float]:
    """Predict so many documents in batches, with a model that is loaded; loading does not count."""
    from skxmc import ViXMLClassifier

    _warm_up(task)
    texts = titles(task["queries"], task["words"], np.random.default_rng(1))
    before = restart_peak()
    model = ViXMLClassifier.load(folder)
    k = min(5, task["labels"])
    model.predict_topk(texts[: task["batch"]], k=k)  # reads the mapped files
    started = time.perf_counter()
    for start in range(0, len(texts), task["batch"]):
        model.predict_topk(texts[start : start + task["batch"]], k=k)
    seconds = time.perf_counter() - started
    peak = peak_gb()
    return {"predict_seconds": seconds, "predict_gb": peak - before, "predict_peak_gb": peak}


def _warm_up(task: dict[str, Any]) -> None:
    rng = np.random.default_rng(2)
    small = {**task, "params": {**task["params"], "batch_size": 32}}
    texts = titles(64, task["words"], rng)
    model = _model(small, titles(16, task["words"], rng)).fit(texts, targets(64, 16, 2, rng))
    model.predict_topk(texts, k=1)


def _model(task: dict[str, Any], label_text: list[str]) -> Any:
    from skxmc import ViXMLClassifier

    params = {"encoder": task["encoder"], "label_text": label_text, "train_encoder": task["mode"]}
    params |= {"batch_size": task["batch"], "random_state": 0, **task["params"]}
    return make_estimator(ViXMLClassifier, params)


def exponent(sizes: list[float], values: list[float]) -> float:
    """Slope of the least-squares line through the logarithms."""
    if len(set(sizes)) < 2 or min(values) <= 0:
        return math.nan
    return float(np.polyfit(np.log(sizes), np.log(values), 1)[0])


def tasks(options: argparse.Namespace) -> list[dict[str, Any]]:
    """List the points: along each axis, or the one of full size."""
    params = dict(options.param)
    if options.mode != "frozen":
        params = {"epochs": 1, **params}
    if options.steps is not None:
        params["max_steps"] = options.steps
    base = {name: getattr(options, name) for name in AXES}
    common = {
        "mode": options.mode,
        "positives": options.positives,
        "queries": options.queries,
        "params": params,
    }
    if options.full:
        return [{**base, **FULL, **common, "axis": "full", "positives": FULL_POSITIVES}]
    return [
        {**base, axis: base[axis] * 2**doubling, **common, "axis": axis}
        for axis in options.axis
        for doubling in range(options.doublings + 1)
    ]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this benchmark."""
    add = parser.add_argument
    add("--axis", nargs="+", default=list(AXES), choices=AXES, help="what grows")
    add("--documents", type=int, default=8192, help="where that axis begins, as the next three")
    add("--labels", type=int, default=8192)
    add("--words", type=int, default=6, help="of a text, on average")
    add("--batch", type=int, default=256, help="documents of a training step and of a prediction")
    add("--doublings", type=int, default=3)
    add("--positives", type=float, default=5.0, help="labels of a document, on average")
    add("--queries", type=int, default=4096, help="documents predicted")
    add("--mode", default="frozen", choices=["frozen", "lora", "full"],
        help="value of train_encoder; those that tune it do so for one epoch")  # fmt: skip
    add("--steps", type=int, default=None,
        help="value of max_steps: of an encoder that is tuned, and of label vectors")  # fmt: skip
    add("--full", action="store_true",
        help="one point, {documents:,} documents x {labels:,} labels".format(**FULL))  # fmt: skip
    add("--repeats", type=int, default=3, help="processes for each point")
    add("--encoder", default="tiny",
        help="name or folder; 'tiny' is a random BERT of few layers")  # fmt: skip
    add("--width", type=int, default=64, help="of the tiny encoder; 384 is that of MiniLM")
    add("--layers", type=int, default=2, help="of the tiny encoder")
    add("--param", action="append", type=parameter, default=[], metavar="NAME=VALUE",
        help="parameter of the estimator, such as label_vectors__anchor=1; repeatable")  # fmt: skip


def run(options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Measure point after point, all of them before any is measured again."""
    points = tasks(options)
    with tempfile.TemporaryDirectory() as temporary:
        encoder = options.encoder
        if encoder == "tiny":
            encoder = apart(
                tiny_encoder, Path(temporary) / "encoder", options.width, options.layers
            )
        for number in range(options.repeats):
            for task in points:
                size = task.get(task["axis"], "")
                print(f"{task['axis']} {size}, {number + 1} ...", file=sys.stderr, flush=True)
                with tempfile.TemporaryDirectory() as folder:
                    for measure in fit, predict:
                        given = {**task, "encoder": encoder}, str(Path(folder) / "model")
                        yield {**task, "encoder": options.encoder, **apart(measure, *given)}


def join(results: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """One result for each point, with the spread of all that was measured there."""
    points: dict[tuple, dict[str, Any]] = {}
    for result in results:
        point = points.setdefault(tuple(result[name] for name in ("axis", *AXES)), {})
        for name, value in result.items():
            if name.endswith(("_seconds", "_gb")):
                point.setdefault(name, []).append(value)
            else:
                point[name] = value
    return [
        {name: spread(v) if name.endswith(("_seconds", "_gb")) else v for name, v in point.items()}
        for point in points.values()
    ]


def markdown(results: list[dict[str, Any]]) -> str:
    """Return all points, and the exponents of each axis."""
    joined = join(results)
    header = [*AXES, *FIGURES.values(), "fit, peak GB", "predict, peak GB"]
    rows = [
        [
            *(f"{point[axis]:,}" for axis in AXES),
            *(show(point[name]) for name in FIGURES),
            *(f"{point[f'{name}_peak_gb']['max']:.2f}" for name in ("fit", "predict")),
        ]
        for point in joined
    ]
    first = joined[0]
    parts = [
        f"{first['mode']}, encoder {first['encoder']}; predictions for {first['queries']:,} "
        f"documents; 'more' is beyond libraries and data\n\n{table(header, rows, left=0)}"
    ]
    rows = []
    for axis in dict.fromkeys(point["axis"] for point in joined):
        points = [point for point in joined if point["axis"] == axis]
        if len(points) < 2:
            continue
        for name, title in FIGURES.items():
            sizes = [point[axis] for point in points]
            medians = [point[name]["median"] for point in points]
            slopes = exponent(sizes, medians), exponent(sizes[-2:], medians[-2:])
            rows.append([axis, title, *(f"{slope:.2f}" for slope in slopes)])
    if rows:
        parts.append(table(["what grows", "of", "exponent", "last doubling"], rows))
    return "\n\n".join(parts)


def chart(results: list[dict[str, Any]]) -> str:
    """Seconds of a fit as documents grow, and as labels grow."""
    joined = join(results)
    series = {
        f"more {axis}": [
            (point[axis], point["fit_seconds"]["median"])
            for point in joined
            if point["axis"] == axis
        ]
        for axis in dict.fromkeys(point["axis"] for point in joined)
        if axis in ("documents", "labels")
    }
    first = joined[0]
    title = f"Seconds of a fit, {first['mode']}; what does not grow stays at {first['documents']:,}"
    return points(title, series, "documents, or labels", "s")


def main(arguments: list[str] | None = None) -> None:
    """Measure and print."""
    command(sys.modules[__name__], arguments)


if __name__ == "__main__":
    main()
