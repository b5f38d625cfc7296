"""Training against the plain padded loop over the same model: speed, loss, time to accuracy.

Speed is documents a second (one document with one label, forward and backward), and the share of
the processor's matrix products, in the precision that skxmc takes by itself, that goes into the
model. The loops optimise the same loss on the same batches from the same weights and take turns,
step by step.
"""

import argparse
import statistics
import sys
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

from skxmc._runtime._device import precision_name
from skxmc._training._batches import PositiveSampler
from skxmc._training._options import TrainingOptions
from skxmc._training._trainer import TowerTrainer

from ._data import add_data, load
from ._padded import ENCODERS, PaddedTrainer, load_tower, make_objective, picture_vectors
from ._report import command, parameter, peak_gb, ratio, show, spread, table

PRECISION = precision_name("auto", torch.device("cpu"))
OURS = f"skxmc, {PRECISION}"
# Batches that nothing is trained on, for the loss after training.
N_EVALUATION = 4


def product_limit(size: int) -> float:
    """GFLOP/s of the fastest of some matrix products of torch."""
    best = 0.0
    for n in {size, size // 2, size // 4}:
        left, right = torch.ones(2, n, n, dtype=getattr(torch, PRECISION))
        left @ right
        for _ in range(3):
            started = time.perf_counter()
            left @ right
            best = max(best, 2e-9 * n**3 / (time.perf_counter() - started))
    return best


def make_trainer(
    kind: type, options: argparse.Namespace, data: Any, images, precision: str, seed: int
) -> TowerTrainer:
    """A trainer of this kind with a tower of its own, ready for steps."""
    tower = load_tower(options, images, precision, padded=kind is PaddedTrainer)
    n = len(data.text_train)
    trainer = kind(
        tower,
        tower.items(data.text_train, images),
        tower.items(data.label_text),
        data.Y_train,
        make_objective(options),
        TrainingOptions(
            precision=getattr(torch, precision),
            max_graph_bytes=options.graph,
            **dict(options.train_param),
        ),
        np.random.RandomState(seed),
        bank=np.ones((n, tower.dimension), dtype=np.float32) / tower.dimension**0.5,
    )
    torch.manual_seed(seed)
    return trainer.prepare().train()


class _Loop:
    """One of the loops, with its optimiser and random numbers of its own."""

    def __init__(self, trainer: TowerTrainer, n_steps: int, seed: int) -> None:
        self.trainer = trainer
        self.optimizer, self.scheduler = trainer.build_optimizer(n_steps)
        self.seconds: list[float] = []
        self.losses: list[float] = []
        torch.manual_seed(seed)
        self.random = torch.get_rng_state()

    def step(self, rows: np.ndarray, drawn: np.ndarray) -> None:
        torch.set_rng_state(self.random)
        started = time.perf_counter()
        self.losses.append(float(self.trainer.train_step(rows, drawn, self.optimizer)))
        self.seconds.append(time.perf_counter() - started)
        self.scheduler.step()
        self.random = torch.get_rng_state()


@torch.no_grad()
def loss_of(trainer: TowerTrainer, batches: list[tuple[np.ndarray, np.ndarray]]) -> float:
    """Mean loss of batches without dropout."""
    trainer.train(False)
    trainer.generator.manual_seed(0)  # which positives the loss draws
    losses = []
    for rows, drawn in batches:
        ids, batch = trainer.objective.batch(rows, drawn)
        embeddings = torch.from_numpy(trainer.encode(trainer.items.take(ids), normalize=False))
        batch.documents = torch.arange(len(rows))
        batch.labels = torch.arange(len(rows), len(ids))
        losses.append(float(trainer.objective.compute_loss(embeddings, batch)))
    return statistics.mean(losses)


def flops_a_document(trainer: TowerTrainer, rows: np.ndarray) -> float:
    """Of a forward and a backward pass over a document and a label, without padding.

    Two for each weight and token forward, two backward, and two more where the weight is trained;
    and the attention's products, which have twelve for each pair of tokens, width and layer.
    """
    weights = sum(
        (6 if p.requires_grad else 4) * p.numel()
        for name, p in trainer.tower.backbone.named_parameters()
        if p.ndim == 2 and "embed" not in name
    )
    config = trainer.tower.backbone.config
    config = config.get_text_config() if hasattr(config, "get_text_config") else config
    documents = trainer.documents.tokens.lengths[rows] + trainer.documents.image_counts()[rows]
    labels = trainer.labels.tokens.lengths
    tokens = documents.mean() + labels.mean()
    pairs = (documents**2).mean() + (labels**2).mean()
    return weights * tokens + 12.0 * config.num_hidden_layers * config.hidden_size * pairs


def compare(options: argparse.Namespace, data: Any, images: Any, seed: int) -> dict[str, Any]:
    """All loops on the same batches, in turns, and their losses after the last one."""
    rng = np.random.RandomState(seed)
    labelled = rng.permutation(np.flatnonzero(np.diff(data.Y_train.indptr)))
    sampler = PositiveSampler(data.Y_train, (0.55, 1.5))
    kept = labelled[: min(N_EVALUATION * options.batch, len(labelled) // 5)]
    parts = np.array_split(kept, max(1, len(kept) // options.batch))
    evaluation = [(rows, sampler.draw(rows, rng)) for rows in parts]
    rest = labelled[len(kept) :]
    kinds = {f"plain, {name}": (PaddedTrainer, name) for name in options.plain}
    kinds[OURS] = (TowerTrainer, PRECISION)
    loops = {
        name: _Loop(make_trainer(kind, options, data, images, dtype, seed), options.steps, seed)
        for name, (kind, dtype) in kinds.items()
    }
    for _ in range(options.steps):
        rows = rng.choice(rest, min(options.batch, len(rest)), replace=False)
        drawn = sampler.draw(rows, rng)
        for loop in loops.values():
            loop.step(rows, drawn)
    flops = flops_a_document(loops[OURS].trainer, rest)
    return {
        name: {
            "seconds": loop.seconds,
            "documents_per_second": spread(len(rows) / lap for lap in loop.seconds[1:]),
            "gflops": len(rows) * flops / 1e9 / statistics.median(loop.seconds[1:]),
            "losses": loop.losses,
            "loss": loss_of(loop.trainer, evaluation),
            "ratio": ratio(loop.seconds[1:], loops[OURS].seconds[1:]),
        }
        for name, loop in loops.items()
    }


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this benchmark."""
    add_data(parser, "icons")
    add = parser.add_argument
    add("--encoder", default="minilm",
        help=f"{', '.join(ENCODERS)}, or the name or folder of another text encoder")  # fmt: skip
    add("--images", action="store_true", help="with pictures, as ready vectors")
    add("--memory", default=None, metavar="FOLDER", help="where to cache picture vectors")
    add("--batch", type=int, default=512, help="documents a step")
    add("--steps", type=int, default=4, help="steps of each loop; the first is not timed")
    add("--seeds", nargs="+", type=int, default=[0], help="one run each, for the losses")
    add("--max-length", type=int, default=64, help="longest text in tokens")
    add("--rank", type=int, default=64, help="of the adapters on a language model")
    add("--graph", "--chunk", type=float, default=1.5e9, help="bytes for the graphs of a step")
    add("--plain", nargs="+", default=["float32", "bfloat16"], help="precisions of the plain loop")
    add("--train-param", action="append", type=parameter, default=[], metavar="NAME=VALUE",
        help="of both loops, such as learning_rate=5e-4; repeatable")  # fmt: skip
    add("--objective-param", action="append", type=parameter, default=[], metavar="NAME=VALUE",
        help="parameter of Prime in both loops, such as head_weight=0.3; repeatable")  # fmt: skip
    add("--product-size", type=int, default=4096, help="rows of the matrices that give the limit")
    add("--time-to-accuracy", type=float, default=None, metavar="P",
        help="instead: minutes until precision at 1 is P")  # fmt: skip
    add("--param", action="append", type=parameter, default=[], metavar="NAME=VALUE",
        help="parameter of ViXMLClassifier for the time to accuracy; repeatable")  # fmt: skip
    add("--epochs", type=int, default=5, help="of the plain loop for the time to accuracy")
    add("--max-minutes", type=float, default=60, help="after which the plain loop is stopped")


def run(options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Compare the loops for each seed."""
    if options.steps < 4 and options.time_to_accuracy is None:
        raise SystemExit("--steps must be at least 4: three that are timed, and a first")
    data = load(options.data, options.folder)
    images = None
    if options.images:
        if data.images_train is None:
            raise SystemExit(f"{options.data} has no pictures; leave out --images")
        images = picture_vectors(data.images_train, len(data.text_train), options.memory)
    common = {"data": options.data, "encoder": options.encoder, "images": options.images}
    if options.time_to_accuracy is not None:
        from ._time_to_accuracy import race

        for seed in options.seeds:
            yield {**common, "seed": seed, **race(options, data, images, seed)}
        return
    for seed in options.seeds:
        loops = compare(options, data, images, seed)
        limit = product_limit(options.product_size)
        yield {
            **common,
            "batch": options.batch,
            "seed": seed,
            "loops": loops,
            "product_gflops": limit,
            "peak_gb": peak_gb(),
        }


def markdown(results: list[dict[str, Any]]) -> str:
    """Return speed and loss of each loop, over all seeds."""
    first = results[0]
    what = f"{first['data']}, {first['encoder']}, text" + " + pictures" * first["images"]
    if "race" in first:
        from ._time_to_accuracy import race_table

        return f"{what}\n\n{race_table(results)}"
    limit = max(result["product_gflops"] for result in results)
    rows = []
    for name in first["loops"]:
        loops = [result["loops"][name] for result in results]
        gflops = statistics.median(loop["gflops"] for loop in loops)
        laps = [lap for loop in loops for lap in loop["seconds"][1:]]
        own = [lap for result in results for lap in result["loops"][OURS]["seconds"][1:]]
        rows.append(
            [
                name,
                show(spread(laps)),
                f"{first['batch'] / statistics.median(laps):.1f}",
                f"{gflops:.0f}",
                f"{100 * gflops / limit:.0f} %",
                show(ratio(laps, own)),
                show(spread(loop["loss"] for loop in loops), 4),
            ]
        )
    header = ["loop", "s a step", "documents/s", "GFLOP/s", "of the limit", "skxmc is faster by"]
    steps = len(loops[0]["seconds"])
    return (
        f"{what}, batch {first['batch']}, {steps} steps, {len(results)} seeds; limit: "
        f"{limit:.0f} GFLOP/s of {PRECISION} products; peak of all loops together "
        f"{max(result['peak_gb'] for result in results):.2f} GB\n\n"
        + table([*header, "loss after"], rows, left=1)
    )


def main(arguments: list[str] | None = None) -> None:
    """Measure and print."""
    command(sys.modules[__name__], arguments)


if __name__ == "__main__":
    main()
