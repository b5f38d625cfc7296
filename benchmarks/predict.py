"""Throughput, latency and cold start of predictions, beside the bare call of the model.

A frozen ViXMLClassifier is fitted, or a saved one loaded. The bare call is what transformers needs
for one text: tokeniser and forward pass of the same weights. What a prediction takes beyond the
faster of the bare calls is skxmc's own: search, one-vs-all scores, mixture.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp

from skxmc._estimator._parameters import BACKENDS

from ._chart import bars
from ._data import add_data, load, targets, texts_of_words
from ._report import (
    apart,
    command,
    interleaved,
    make_estimator,
    of_backend,
    parameter,
    peak_gb,
    repeats,
    show,
    spread,
    table,
)

K = 5
PRECISIONS = ("float32", "bfloat16")


def documents(options: argparse.Namespace) -> tuple[list[str], list[str], sp.csr_array, list[str]]:
    """Texts, label texts and targets to fit, and texts to predict."""
    data = load(options.data, options.folder)
    if options.labels is None:
        return data.text_train, data.label_text, data.Y_train, data.text_test
    texts = texts_of_words(data.text_train, options.documents + options.batch)
    labels = texts_of_words(data.text_train, options.labels, n_words=2, seed=1)
    Y = targets(options.documents, options.labels, 5, np.random.default_rng(2))
    return texts[: options.documents], labels, Y, texts[options.documents :]


def fit(options: argparse.Namespace, folder: str) -> dict[str, Any]:
    """Fit and save a model."""
    from skxmc import ViXMLClassifier

    texts, label_text, Y, _ = documents(options)
    params = {"encoder": options.encoder, "train_encoder": "frozen", "random_state": 0}
    params |= {"label_text": label_text, **dict(options.param)}
    started = time.perf_counter()
    model = make_estimator(ViXMLClassifier, params).fit(texts, Y)
    seconds = time.perf_counter() - started
    model.save(folder)
    return {"fit_seconds": seconds, "fit_peak_gb": peak_gb()}


def bare_calls(model: Any, folder: str) -> dict[str, Callable[[str], Any]]:
    """Tokeniser and model of transformers alone, in both precisions."""
    import torch
    from transformers import AutoModel, AutoTokenizer

    tower = Path(folder) / "tower"
    tokenizer = AutoTokenizer.from_pretrained(tower, local_files_only=True)
    backbone = AutoModel.from_pretrained(tower, local_files_only=True).eval()
    length = model.tower_.max_length

    def call(dtype: torch.dtype, text: str) -> Any:
        with torch.inference_mode(), torch.autocast("cpu", dtype, dtype != torch.float32):
            tokens = tokenizer(text, truncation=True, max_length=length, return_tensors="pt")
            return backbone(**tokens).last_hidden_state.mean(dim=1)

    return {f"bare model, {name}": partial(call, getattr(torch, name)) for name in PRECISIONS}


def measure(options: argparse.Namespace, folder: str) -> dict[str, Any]:
    """Throughput at a batch and latency of single documents of a saved model."""
    from skxmc import ViXMLClassifier

    # A model each: one that changes over makes its copy of the weights again.
    models = {
        of_backend("skxmc", backend): ViXMLClassifier.load(folder).set_params(backend=backend)
        for backend in options.backend
    }
    model, *_ = models.values()
    texts = documents(options)[3]
    k = min(K, len(model.classes_))
    batch = texts[: options.batch]
    calls = {name: partial(one.predict_topk, k=k) for name, one in models.items()}
    seconds = interleaved(
        {name: partial(call, batch) for name, call in calls.items()}, options.repeats
    )
    ways = {
        **{name: lambda text, call=call: call([text]) for name, call in calls.items()},
        **bare_calls(model, folder),
    }
    singles = texts[: options.singles]
    laps: dict[str, list[list[float]]] = {name: [] for name in ways}
    for counts in [False] + [True] * options.repeats:  # a first round warms up
        times: dict[str, list[float]] = {name: [] for name in ways}
        for text in singles:
            for name, way in ways.items():
                started = time.perf_counter()
                way(text)
                times[name].append(1e3 * (time.perf_counter() - started))
        if counts:
            for name, lap in times.items():
                laps[name].append(lap)
    latency = {
        name: {f"p{q}_ms": spread(np.percentile(lap, q) for lap in own) for q in (50, 95)}
        for name, own in laps.items()
    }
    medians = {name: np.median(own, axis=1) for name, own in laps.items()}
    bare = np.minimum(*(medians[f"bare model, {name}"] for name in PRECISIONS))
    return {
        "text": texts[0],
        "labels": len(model.classes_),
        "documents": model.ranker_.Y_.shape[0],
        "batch": len(batch),
        "documents_per_second": {
            name: spread(len(batch) / lap for lap in laps) for name, laps in seconds.items()
        },
        "latency": latency,
        "own_ms": {name: spread((medians[name] - bare).tolist()) for name in models},
        "peak_gb": peak_gb(),
    }


def cold(folder: str, text: str, times: int) -> dict[str, Any]:
    """Seconds of fresh processes, with imports and without."""
    runs: dict[str, list[dict[str, Any]]] = {"imports included": [], "imports excluded": []}
    with tempfile.TemporaryDirectory() as temporary:
        file = Path(temporary) / "modules.json"
        for _ in range(times):
            for name, rest in ("imports included", []), ("imports excluded", [str(file)]):
                line = [sys.executable, "-m", f"{__package__}._cold", folder, text, *rest]
                printed = subprocess.run(line, check=True, stdout=subprocess.PIPE, text=True).stdout
                found = json.loads(printed.splitlines()[-1])
                file.write_text(json.dumps(found.pop("modules")), encoding="utf-8")
                runs[name].append(found)
    return {
        name: {part: spread(one[part] for one in found) for part in found[0]}
        for name, found in runs.items()
    }


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this benchmark."""
    add_data(parser, "icons")
    add = parser.add_argument
    add("--labels", type=int, default=None,
        help="so many synthetic labels, and texts of ten words of the data")  # fmt: skip
    add("--documents", type=int, default=30_000, help="documents to fit, with --labels")
    add("--encoder", default="sentence-transformers/all-MiniLM-L6-v2", help="name or folder")
    add("--param", action="append", type=parameter, default=[], metavar="NAME=VALUE",
        help="parameter of the estimator, such as label_vectors__anchor=1; repeatable")  # fmt: skip
    add("--model", default=None, metavar="FOLDER",
        help="a saved model; if there is no such folder, it is fitted and saved there")  # fmt: skip
    add("--backend", nargs="+", default=["torch"], choices=BACKENDS, help="what runs the encoder")
    add("--batch", type=int, default=512, help="documents predicted at once")
    add("--singles", type=int, default=100, help="documents predicted one by one")
    add("--repeats", type=repeats, default=3)


def run(options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Fit, predict, and start cold, each in processes of their own."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.model or str(Path(temporary) / "model")
        result: dict[str, Any] = {"data": options.data}
        if not Path(folder).exists():
            result.update(apart(fit, options, folder))
        result.update(apart(measure, options, folder))
        yield {**result, "cold": cold(folder, result["text"], options.repeats)}


def markdown(results: list[dict[str, Any]]) -> str:
    """Return what was measured, a table for each question."""
    parts = []
    for result in results:
        batches = result["documents_per_second"]
        fitted = f"; fitted in {result['fit_seconds']:.0f} s" if "fit_seconds" in result else ""
        parts.append(
            f"{result['data']}: {result['labels']:,} labels, {result['documents']:,} documents"
            f"{fitted}. Peak {result['peak_gb']:.2f} GB."
        )
        rows = [
            [
                name,
                *(show(one[f"p{q}_ms"]) for q in (50, 95)),
                show(result["own_ms"][name]) if name in result["own_ms"] else "",
                show(batches[name], 0) if name in batches else "",
            ]
            for name, one in result["latency"].items()
        ]
        header = ["one document, ms", "p50", "p95", "beyond the faster bare model"]
        parts.append(table([*header, f"documents/s in batches of {result['batch']}"], rows, left=1))
        names = ("import_seconds", "load_seconds", "first_seconds", "seconds")
        rows = [[name, *(show(one[n]) for n in names)] for name, one in result["cold"].items()]
        header = ["fresh process, s", "import skxmc", "load", "first prediction", "together"]
        parts.append(table(header, rows, left=1))
    return "\n\n".join(parts)


def chart(results: list[dict[str, Any]]) -> str:
    """What one document takes, beside the bare call of the encoder."""
    result = results[0]
    title = f"One document, median ({result['labels']:,} labels, {result['documents']:,} documents)"
    values = [(name, one["p50_ms"]["median"]) for name, one in result["latency"].items()]
    return bars(title, values, "ms")


def main(arguments: list[str] | None = None) -> None:
    """Measure and print."""
    command(sys.modules[__name__], arguments)


if __name__ == "__main__":
    main()
