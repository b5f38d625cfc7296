"""What a GPU computes, whether it is right, and how fast: one script, at most eight minutes.

Nothing is needed but the package: weights are random, in the shapes of real models. Results are
checked against the CPU first. Then come speeds, beside the fastest product of large matrices that
the device reaches in the same run, its peak. Each part can be run alone (``--parts``); one that
lacks memory, time or a package is left out, and the report says why. ``--device cpu --tiny`` runs
everything at small size on a CPU, which shows that the script works and says nothing of speed.
"""

import argparse
import gc
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from skxmc import ViXMLClassifier, estimate_memory
from skxmc._backbones._lora import add_adapters
from skxmc._inputs._images import ImageFeatures
from skxmc._runtime._device import resolve_device, resolve_precision
from skxmc._towers._tower import Tower
from skxmc._training._batches import PositiveSampler
from skxmc._training._options import TrainingOptions
from skxmc._training._trainer import TowerTrainer
from skxmc.evidence._linear_model import LinearModel
from skxmc.indexes import Exact
from skxmc.objectives import Prime

from ._data import targets, titles
from ._gpu_checks import checks
from ._gpu_models import MODELS, make_tower
from ._report import command, show, spread, table
from .train import flops_a_document

# Pictures of a document, and the width of their vectors.
PICTURES, PICTURE_WIDTH = 3, 768
# Least share of the time limit that a part needs to be begun.
_LEAST_SECONDS = 15
# Steps of training: those that warm up, and those that are timed.
_WARM, _TIMED = 2, 5


class Skipped(Exception):
    """Why a part was left out."""


class Run:
    """What all parts share.

    Parameters
    ----------
    options : Namespace
    """

    def __init__(self, options: argparse.Namespace) -> None:
        self.device, self.tiny = resolve_device(options.device), options.tiny
        self.precision = resolve_precision("auto", self.device)
        self._peak: float | None = None

    def size(self, full: int, tiny: int) -> int:
        """A number that depends on whether everything is tiny."""
        return tiny if self.tiny else full

    def wait(self) -> None:
        """Until the device has done all that it was given."""
        if self.device.type != "cpu":
            torch.accelerator.synchronize(self.device)

    def seconds(self, work: Callable[[], Any], times: int = 3) -> list[float]:
        """Of some rounds, after one that warms up."""
        work()
        found = []
        for _ in range(times):
            self.wait()
            started = time.perf_counter()
            work()
            self.wait()
            found.append(time.perf_counter() - started)
        return found

    @property
    def peak_flops(self) -> float:
        """Operations a second of the fastest product of large matrices."""
        if self._peak is None:
            n = self.size(8192, 256)
            left, right = torch.ones(2, n, n, dtype=self.precision, device=self.device)
            self._peak = 2.0 * n**3 / min(self.seconds(lambda: left @ right, 5))
        return self._peak

    def need(self, gigabytes: float) -> None:
        """Leave a part out where the device has less memory free."""
        if self.device.type != "cuda":
            return
        free = torch.cuda.mem_get_info(self.device)[0] / 1e9
        if free < gigabytes:
            raise Skipped(f"it needs {gigabytes:.0f} GB of the device, {free:.0f} are free")

    def restart_memory(self) -> None:
        """Count the peak of the device's memory from here."""
        gc.collect()
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats(self.device)

    def memory_gb(self) -> float | None:
        """The peak since :meth:`restart_memory`; None where the device does not count it."""
        if self.device.type != "cuda":
            return None
        return torch.cuda.max_memory_allocated(self.device) / 1e9


# --- the parts: each gives rows of the same columns ---


def correctness(run: Run) -> Iterator[dict[str, Any]]:
    """Compare with the CPU."""
    for name, found, bound in checks(str(run.device)):
        yield {"check": name, "found": found, "bound": bound, "right": found <= bound}


def encoding(run: Run) -> Iterator[dict[str, Any]]:
    """Embeddings of short texts."""
    texts = titles(run.size(65_536, 128), 12, np.random.default_rng(0))
    for name in ("MiniLM-L6", "DistilBERT"):
        with tempfile.TemporaryDirectory() as folder:
            tower = make_tower(name, Path(folder), run.device, run.precision, tiny=run.tiny)
        items = tower.eval().items(texts)
        seconds = run.seconds(lambda t=tower, i=items: t.encode(i, precision=run.precision))
        flops = 2.0 * _weights(tower) * float(items.tokens.lengths.sum())
        yield _speed(run, name, len(texts), seconds, flops)


def training(run: Run) -> Iterator[dict[str, Any]]:
    """Steps of tuning: one label a document, forward and backward."""
    for name, model in MODELS.items():
        run.restart_memory()
        try:
            run.need(model.training_gb)
            with tempfile.TemporaryDirectory() as folder:
                tower = make_tower(name, Path(folder), run.device, run.precision, tiny=run.tiny)
        except Skipped as reason:
            yield {"what": name, "skipped": str(reason)}
            continue
        pictures = model.decoder
        what = f"{name}, LoRA 256, {PICTURES} pictures" if model.decoder else name
        yield _train(run, what, tower, pictures)
        del tower


def _train(run: Run, what: str, tower: Tower, with_pictures: bool) -> dict[str, Any]:
    """Time some steps of a tower, and say what share of the peak they reach."""
    rng = np.random.default_rng(0)
    batch = run.size(2048, 16)
    n, n_labels = 4 * batch, 2 * batch
    texts, label_texts = titles(n, 24, rng), titles(n_labels, 6, rng)
    images = None
    if with_pictures:
        vectors = rng.normal(size=(n, PICTURE_WIDTH)).astype(np.float32)
        images = ImageFeatures(vectors, rng.integers(n, size=(n, PICTURES)).astype(np.int32))
        tower.add_images(vectors)
        add_adapters(tower.backbone.model, rank=run.size(256, 4), seed=0)
        tower.to(run.device)
    Y = targets(n, n_labels, 3.0, rng)
    options = TrainingOptions(precision=run.precision)
    trainer = TowerTrainer(
        tower,
        tower.items(texts, images),
        tower.items(label_texts),
        Y,
        Prime(head_weight=0.0),
        options,
        np.random.RandomState(0),
        bank=np.ones((n, tower.dimension), dtype=np.float32) / tower.dimension**0.5,
    ).prepare()
    trainer.train()
    optimizer, scheduler = trainer.build_optimizer(_WARM + _TIMED)
    sampler, random = PositiveSampler(Y, (0.55, 1.5)), np.random.RandomState(0)
    seconds = []
    for _ in range(_WARM + _TIMED):
        rows = random.choice(n, batch, replace=False)
        drawn = sampler.draw(rows, random)
        run.wait()
        started = time.perf_counter()
        trainer.train_step(rows, drawn, optimizer)
        scheduler.step()
        run.wait()
        seconds.append(time.perf_counter() - started)
    flops = batch * flops_a_document(trainer, np.arange(n))
    return _speed(run, what, batch, seconds[_WARM:], flops)


def label_vectors(run: Run) -> Iterator[dict[str, Any]]:
    """Steps of label vectors, of as many labels as LF-AmazonTitles-1.3M has."""
    n_labels, n = run.size(1_300_000, 6000), run.size(65_536, 256)
    run.need(10)
    rng = np.random.default_rng(0)
    x = rng.normal(size=(n, 384)).astype(np.float32)
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    Y = targets(n, n_labels, 22.0, rng)
    run.restart_memory()
    steps = run.size(40, 4)
    seconds = run.seconds(
        lambda: LinearModel(
            epochs=1, max_steps=steps, storage="float16", device=str(run.device), random_state=0
        ).fit([x], Y),
        times=2,
    )
    # Vectors that are made and brought to the device and back count as well.
    documents = min(n, 512 * steps)
    yield _speed(run, f"label vectors, {n_labels:,} labels, {steps} steps", documents, seconds)


def search(run: Run) -> Iterator[dict[str, Any]]:
    """Exact search of batches."""
    n, width = run.size(1_300_000, 9000), run.size(384, 64)
    run.need(4)
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(n, width)).astype(np.float32)
    queries = rng.normal(size=(run.size(1024, 64), width)).astype(np.float32)
    run.restart_memory()
    index = Exact(device=str(run.device)).build(vectors)
    seconds = run.seconds(lambda: index.search(queries, 100))
    flops = 2.0 * len(queries) * vectors.size
    yield _speed(run, f"search among {n:,} vectors", len(queries), seconds, flops)


def memory(run: Run) -> Iterator[dict[str, Any]]:
    """The peak of a whole fit beside what was estimated before."""
    rng = np.random.default_rng(0)
    n, n_labels = run.size(20_000, 120), run.size(5_000, 40)
    texts, label_texts = titles(n, 12, rng), titles(n_labels, 3, rng)
    Y = targets(n, n_labels, 3.0, rng)
    with tempfile.TemporaryDirectory() as folder:
        path = make_tower("MiniLM-L6", Path(folder), torch.device("cpu"), tiny=run.tiny, load=False)
        model = ViXMLClassifier(
            path, label_text=label_texts, train_encoder="full", epochs=1, batch_size=512,
            max_steps=run.size(10, 2), device=str(run.device), random_state=0,
        )  # fmt: skip
        estimate = estimate_memory(model, texts, Y)
        run.restart_memory()
        started = time.perf_counter()
        model.fit(texts, Y)
        seconds = time.perf_counter() - started
    row = _speed(run, f"fit of {n:,} documents, {n_labels:,} labels", n, [seconds])
    yield {**row, "estimated_gb": estimate.accelerator / 1e9}


PARTS = {
    "correctness": correctness,
    "encoding": encoding,
    "training": training,
    "label-vectors": label_vectors,
    "search": search,
    "memory": memory,
}


def _weights(tower: Tower) -> int:
    """Numbers of the matrices that every token is multiplied by."""
    named = tower.backbone.named_parameters()
    return sum(p.numel() for name, p in named if p.ndim == 2 and "embed" not in name)


def _speed(
    run: Run, what: str, n: int, seconds: list[float], flops: float | None = None
) -> dict[str, Any]:
    """A row: documents a second, and the share of the peak if operations were counted."""
    row = {
        "what": what,
        "documents_per_second": spread(n / lap for lap in seconds),
        "seconds": seconds,
        "memory_gb": run.memory_gb(),
    }
    if flops is not None:
        row["share_of_peak"] = flops / float(np.median(seconds)) / run.peak_flops
    return row


# --- the command ---


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this benchmark."""
    add = parser.add_argument
    add("--device", default="auto", help="'auto' is the first accelerator")
    add("--tiny", action="store_true", help="everything small, to see whether it runs")
    add("--parts", nargs="+", default=list(PARTS), choices=list(PARTS), metavar="PART",
        help=f"some of {', '.join(PARTS)}")  # fmt: skip
    add("--minutes", type=float, default=8, help="after which no further part is begun")


def run(options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Run part after part; one that fails does not keep others from running."""
    if resolve_device(options.device).type == "cpu" and not options.tiny:
        raise SystemExit("there is no accelerator here; add --device cpu --tiny to try the script")
    shared = Run(options)
    started = time.perf_counter()
    for name in options.parts:
        result: dict[str, Any] = {"part": name, "device": _name(shared.device), "rows": []}
        result |= {"precision": str(shared.precision).removeprefix("torch.")}
        print(f"{name} ...", file=sys.stderr, flush=True)
        begun = time.perf_counter()
        try:
            if 60 * options.minutes - (begun - started) < _LEAST_SECONDS:
                raise Skipped(f"no time was left of {options.minutes:g} minutes")
            shared.restart_memory()
            result["rows"].extend(PARTS[name](shared))
            result["peak_tflops"] = shared.peak_flops / 1e12
        except (Skipped, ImportError, torch.OutOfMemoryError) as reason:
            result["skipped"] = str(reason).partition("\n")[0]
        result["part_seconds"] = time.perf_counter() - begun
        yield result


def _name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else str(device)


def markdown(results: list[dict[str, Any]]) -> str:
    """Return a table of checks and one of speeds, and what was left out."""
    first = results[0]
    peaks = [result["peak_tflops"] for result in results if "peak_tflops" in result]
    peak = f"; peak {max(peaks):.2f} TFLOP/s" if peaks else ""
    parts = [f"{first['device']}, {first['precision']} products{peak}"]
    checked, speeds = [], []
    for result in results:
        for row in result["rows"]:
            (checked if "check" in row else speeds).append((result["part"], row))
    if checked:
        rows = [
            [row["check"], f"{row['found']:.2g}", f"{row['bound']:.2g}", _word(row["right"])]
            for _, row in checked
        ]
        parts.append(table(["check", "difference", "at most", "right"], rows, left=1))
    rows = [
        [
            part,
            row["what"],
            show(row["documents_per_second"], 0),
            f"{100 * row['share_of_peak']:.1f} %" if "share_of_peak" in row else "",
            "" if row["memory_gb"] is None else f"{row['memory_gb']:.2f}",
            f"{row['estimated_gb']:.2f}" if "estimated_gb" in row else "",
        ]
        for part, row in speeds
        if "skipped" not in row
    ]
    header = ["part", "what", "documents/s", "of peak", "peak GB", "estimated GB"]
    if rows:
        parts.append(table(header, rows))
    parts += [f"{result['part']}: {result['skipped']}" for result in results if "skipped" in result]
    parts += [f"{row['what']}: {row['skipped']}" for _, row in speeds if "skipped" in row]
    return "\n\n".join(parts)


def _word(right: bool) -> str:
    return "yes" if right else "NO"


def main(arguments: list[str] | None = None) -> None:
    """Measure and print."""
    command(sys.modules[__name__], arguments)


if __name__ == "__main__":
    main()
