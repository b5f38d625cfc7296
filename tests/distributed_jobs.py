"""Jobs that several processes do together: ``torchrun tests/distributed_jobs.py FOLDER JOB ...``.

Each process writes what it found to ``FOLDER/JOB-RANK.npz``. Imported, a job runs in one process.
"""

from __future__ import annotations

import gc
import os
import shutil
import sys
import weakref
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import scipy.sparse as sp
import torch

from skxmc import DecoderXMCClassifier, ViXMLClassifier, distributed
from skxmc._features._blocks import Features
from skxmc._runtime import group
from skxmc._towers._saving import load_tower
from skxmc._training import _checkpoint
from skxmc._training._trainer import TowerTrainer
from skxmc.encoders import LoRA, TextEncoder
from skxmc.evidence import LabelVectors, Neighbours, Prototypes
from skxmc.evidence._linear_model import LinearModel
from skxmc.objectives import LinearHead, Prime, Training

Found = dict[str, Any]

WORDS = "red green blue apple car tree house dog cat bird fast slow old new big wee".split()
N = 160
_RNG = np.random.RandomState(0)
TEXTS = [" ".join(WORDS[word] for word in row) for row in _RNG.randint(len(WORDS), size=(N, 6))]
TAGS = [sorted({*text.split()})[:3] for text in TEXTS]
PICTURES = _RNG.normal(size=(N, 2, 6)).astype(np.float32)

SQUARES = [
    None if row % 5 == 0 else _RNG.randint(255, size=(8, 8, 3)).astype(np.uint8) for row in range(N)
]

# Two steps an epoch. Memory holds the graph of one pack, so that each step has second passes.
TRAINING = Training(max_graph_memory=1.0, hard_negatives=(1, 2, (2,)))
STEPS = 8


def weights_of(model: Any) -> np.ndarray:
    """All weights of a tower, one after the other."""
    state = model.featurizer_.tower.state_dict()
    return np.concatenate([state[name].float().cpu().numpy().ravel() for name in sorted(state)])


def described(model: Any, pictures: np.ndarray | None = None) -> Found:
    """Weights, losses and predictions of a fitted model."""
    images = {} if pictures is None else {"images": pictures[:40]}
    labels, scores = model.predict_topk(TEXTS[:40], k=5, **images)
    losses = np.array([entry["loss"] for entry in model.history_])
    return {"weights": weights_of(model), "losses": losses, "labels": labels, "scores": scores}


class SavedTower(TextEncoder):
    """A tower as models are saved with: it is read without transformers, which loads slowly."""

    def find(self) -> None:
        return None

    def load(self, source: None, **options: Any) -> Any:
        folder = Path(self.name)
        return load_tower(folder, joblib.load(folder / "state.joblib"))


def save_tower(folder: Path, encoder: str) -> None:
    """Write the tower of an encoder for :class:`SavedTower`."""
    given = TextEncoder(encoder)
    tower = given.load(given.find(), max_images=2, weights_dtype=torch.float32)
    joblib.dump(tower.save(folder), folder / "state.joblib")


def small(folder: Path, **params: Any) -> ViXMLClassifier:
    """A model of the tiny encoder in a folder."""
    defaults = {"epochs": 4, "batch_size": 80, "random_state": 0, "precision": "float32"}
    return ViXMLClassifier(SavedTower(str(folder / "tower")), **{**defaults, **params})


# -- what several processes find is what one finds ------------------------------------------------


def tuned(folder: Path, **params: Any) -> Found:
    """Pictures, prototypes, head, clusters and second passes."""
    model = small(folder, training=TRAINING, objective=Prime(head_weight=0.3), **params)
    return described(model.fit(TEXTS, TAGS, images=PICTURES), PICTURES)


def colours(images: list) -> np.ndarray:
    """Vectors of pictures: colours of four places."""
    return np.stack([np.asarray(image)[::4, ::4].ravel() / 255 for image in images])


def frozen(folder: Path) -> Found:
    """Shared embeddings, kept in a cache by the first process and found there by all; pictures."""
    memory = folder / f"memory-of-{distributed.size()}"
    kinds = [Prototypes(), Neighbours(), LabelVectors(max_labels=8, random_negatives=6)]
    found = {}
    for name in ("new", "kept"):
        model = small(folder, train_encoder="frozen", memory=str(memory), evidence=kinds)
        model.set_params(image_encoder=colours)
        model.fit(TEXTS, TAGS, images=SQUARES)
        labels, found[name] = model.predict_topk(TEXTS, k=5, images=SQUARES)
    return {**found, "labels": labels}


def label_vectors(folder: Path) -> Found:
    """Vectors of labels: all negatives or drawn ones, excluded pairs, decay to texts or to zero."""
    rng = np.random.RandomState(1)
    blocks = [rng.normal(size=(200, 24)).astype(np.float32) / 5]
    Y = sp.csr_array(rng.random_sample((200, 67)) < 0.05, dtype=np.float32)
    excluded = sp.csr_array(rng.random_sample((200, 67)) < 0.05)
    excluded = sp.csr_array(excluded > excluded.multiply(Y))
    texts = Features(rng.normal(size=(67, 24)).astype(np.float32) / 5)
    hard = rng.randint(67, size=(200, 2))
    found = {}
    for name, options, labels in (
        ("all", {}, texts),
        ("drawn", {"max_labels": 10, "random_negatives": 12}, texts),
        ("without texts", {"max_labels": 10, "random_negatives": 12}, None),
        ("short", {"storage": "float16"}, texts),
    ):
        model = LinearModel(epochs=3, batch_size=32, random_state=0, precision="float32", **options)

        def fit(model: LinearModel = model, labels: Features | None = labels) -> np.ndarray:
            exact = model.fit(blocks, Y, labels=labels, exclude=excluded, negatives=hard)
            return np.append(exact.vectors().astype(np.float32).ravel(), exact.losses_)

        found[name] = group.first(fit)
    return found


def few_items(folder: Path) -> Found:
    """Fewer texts in a step than there are processes."""
    model = small(folder, objective=LinearHead(), batch_size=1, max_steps=3)
    return described(model.fit(TEXTS[:4], [[0], [1], [0, 1], [2]]))


# -- what only several processes have -------------------------------------------------------------


def agreed(folder: Path) -> Found:
    """Without a seed, and with dropout in adapters, all processes have the same model."""
    model = DecoderXMCClassifier(
        str(folder / "decoder"),
        train_encoder="lora",
        adapter=LoRA(rank=2, dropout=0.2),
        epochs=2,
        batch_size=60,
        precision="float32",
    )
    return described(model.fit(TEXTS[:120], TAGS[:120]))


def not_finite(folder: Path) -> Found:
    """The loss of one process is not finite: all stop at the same step."""
    compute_loss, calls = Prime.compute_loss, []

    def broken(self: Prime, embeddings: torch.Tensor, batch: Any) -> torch.Tensor:
        calls.append(None)
        loss = compute_loss(self, embeddings, batch)
        return loss * float("nan") if len(calls) == 3 and distributed.rank() == 1 else loss

    Prime.compute_loss = broken
    try:
        return {"error": _error_of(FloatingPointError, lambda: tuned(folder)), "calls": len(calls)}
    finally:
        Prime.compute_loss = compute_loss


def failures(folder: Path) -> Found:
    """What goes wrong in one process is known in all."""
    number = distributed.rank()
    other_texts = [*TEXTS[:-1], f"number {number}"]

    def fail() -> None:
        if number == 0:
            raise OSError("no space is left")

    is_dir = Path.is_dir
    if number == 1:  # as if it were on another machine
        Path.is_dir = lambda path: is_dir(path) and not path.name.startswith("skxmc-")
    unseen = _error_of(RuntimeError, lambda: small(folder, memory=folder / "new").fit(TEXTS, TAGS))
    Path.is_dir = is_dir
    return {
        "unseen": unseen,
        "data": _error_of(ValueError, lambda: small(folder).fit(other_texts, TAGS)),
        "first": _error_of((OSError, RuntimeError), lambda: group.first(fail)),
    }


def _error_of(kinds: Any, call: Any) -> str:
    try:
        call()
    except kinds as error:
        return str(error)
    return "no error"


def restarted(folder: Path) -> Found:
    """One process is killed, in the next attempt one is interrupted; the third one ends."""
    attempt = int(os.environ["TORCHELASTIC_RESTART_COUNT"])
    memory = folder / "memory"
    _checkpoint.SECONDS = _checkpoint.PATIENCE = 0  # a state after each step
    if distributed.rank() == 0 and attempt == 1:
        shutil.copytree(memory, folder / "memory-of-the-killed")
    train_step, steps = TowerTrainer.train_step, []

    def stopped(self: TowerTrainer, *arguments: Any) -> torch.Tensor:
        steps.append(None)
        torch.distributed.barrier()  # the first process has written the state of the last step
        if distributed.rank() == 1 and len(steps) == 4 and attempt == 0:
            os._exit(9)
        if distributed.rank() == 1 and len(steps) == 3 and attempt == 1:
            raise KeyboardInterrupt
        return train_step(self, *arguments)

    TowerTrainer.train_step = stopped
    found = tuned(folder, memory=str(memory))
    return {**found, "steps": len(steps), "attempt": attempt}


def resumed(folder: Path) -> Found:
    """Other processes than those that were killed go on."""
    train_step, steps = TowerTrainer.train_step, []

    def counted(self: TowerTrainer, *arguments: Any) -> torch.Tensor:
        steps.append(None)
        return train_step(self, *arguments)

    TowerTrainer.train_step = counted
    try:
        memory = folder / "memory-of-the-killed"
        return {**tuned(folder, memory=str(memory)), "steps": len(steps)}
    finally:
        TowerTrainer.train_step = train_step


def main(folder: str, *names: str) -> None:
    """Do some jobs."""
    with distributed.processes():
        world = weakref.ref(torch.distributed.group.WORLD)
        for name in names:
            found = globals()[name](Path(folder))
            np.savez(Path(folder, f"{name}-{distributed.rank()}.npz"), **found)
    gc.collect()
    if world() is not None:  # its threads may abort a process that ends
        raise SystemExit("something keeps the group of processes")


if __name__ == "__main__":
    main(*sys.argv[1:])
