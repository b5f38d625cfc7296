"""What a device computes, against the same on the CPU."""

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp
import torch

from skxmc import ViXMLClassifier
from skxmc._backbones._packed import attend_by_runs
from skxmc._backbones._variable_length import attend, can_attend
from skxmc._towers._text import load_text_tower
from skxmc.evidence._linear_model import LinearModel
from skxmc.indexes import Exact
from skxmc.objectives import BinaryCrossEntropyLoss, DecoupledSoftmaxLoss, DynamicMarginTripletLoss
from skxmc.objectives._head_loss import HeadTargets

from ._data import targets, tiny_encoder, titles

# Largest difference of a float32 result, relative to the largest number on the CPU; the same of a
# model after some steps of training, in which differences grow; and the share of first labels that
# two small fits must have in common.
ROUNDING, TRAINED, AGREEMENT = 1e-4, 2e-2, 0.9

# The same of a result in bfloat16, which has 8 bits.
SHORT = 2.0**-5

Check = tuple[str, float, float]


def checks(device: str) -> Iterator[Check]:
    """Name, what was found and the bound that it has to keep, of each check.

    What is found is a difference that may not be above its bound.
    """
    yield from _losses(device)
    yield from _attention(device)
    yield from _embeddings(device)
    yield from _search(device)
    yield from _label_vectors(device)
    yield from _whole_fit(device)


def _difference(found: Any, expected: Any) -> float:
    found, expected = (np.asarray(part, dtype=np.float64) for part in (found, expected))
    return float(np.abs(found - expected).max() / max(np.abs(expected).max(), 1e-12))


def _losses(device: str) -> Iterator[Check]:
    """Losses and their gradients on random scores."""
    generator = torch.Generator().manual_seed(0)
    scores = torch.randn(64, 300, generator=generator)
    truth = torch.rand(64, 300, generator=generator) < 0.02
    truth[torch.arange(64), torch.arange(64)] = True

    def run(name: str, where: str) -> tuple[float, np.ndarray]:
        z = scores.clone().to(where).requires_grad_()
        if name == "triplet":
            positives = torch.arange(64, device=where)
            loss = DynamicMarginTripletLoss()(z / 10, truth.to(where), positives)
        else:
            pairs = tuple(part.to(where) for part in truth.nonzero(as_tuple=True))
            given = HeadTargets(None, pairs, torch.ones(len(pairs[0]), device=where), None)
            kind = {"softmax": DecoupledSoftmaxLoss, "cross-entropy": BinaryCrossEntropyLoss}[name]
            loss = kind()(z, torch.zeros(300, device=where), given)
        loss.backward()
        return loss.item(), z.grad.cpu().numpy()

    for name in ("triplet", "softmax", "cross-entropy"):
        (loss, gradient), (own_loss, own_gradient) = run(name, device), run(name, "cpu")
        yield f"{name}: loss", _difference(loss, own_loss), ROUNDING
        yield f"{name}: gradient", _difference(gradient, own_gradient), ROUNDING


def _attention(device: str) -> Iterator[Check]:
    """One kernel for all sequences, where the device has one, against one run after the other."""
    generator = torch.Generator().manual_seed(0)
    runs = [(40, 3), (100, 17), (3, 200)]
    n_tokens = sum(count * length for count, length in runs)
    drawn = torch.randn(3, n_tokens, 12, 32, generator=generator).to(device, torch.bfloat16)
    for name, causal, window in (
        ("both ways", False, None),
        ("causal", True, None),
        ("causal with a window", True, 8),
    ):
        one = can_attend(*drawn, causal, window, attend_by_runs)
        # For the reader: a device may have none, and by runs all is right as well.
        yield f"attention, {name}: not in one kernel", float(not one), 1.0
        if one:
            found, expected = (
                way(*drawn, runs, None, causal, window).float().cpu()
                for way in (attend, attend_by_runs)
            )
            yield f"attention, {name}", _difference(found, expected), SHORT


def _embeddings(device: str) -> Iterator[Check]:
    texts = titles(200, 8, np.random.default_rng(0))
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        path = tiny_encoder(Path(folder))
        for where in (device, "cpu"):
            tower = load_text_tower(path, max_length=32).eval().to(where)
            found[where] = tower.encode(tower.items(texts))
            found[f"{where}, short"] = tower.encode(tower.items(texts), precision=torch.bfloat16)
    yield "embeddings", _difference(found[device], found["cpu"]), ROUNDING
    yield "embeddings in bfloat16", _difference(found[f"{device}, short"], found["cpu"]), SHORT


def _search(device: str) -> Iterator[Check]:
    """Exact search gives the same labels and scores on every device."""
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(20_000, 64)).astype(np.float32)
    queries = rng.normal(size=(300, 64)).astype(np.float32)
    labels, scores = Exact(device=device).build(vectors).search(queries, 20)
    expected = Exact().build(vectors).search(queries, 20)
    yield "search: share of other labels", float(np.mean(labels != expected[0])), 0.0
    yield "search: scores", _difference(scores, expected[1]), ROUNDING


def _label_vectors(device: str) -> Iterator[Check]:
    """Training against all labels, and against drawn ones."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(600, 32)).astype(np.float32)
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    Y = targets(600, 400, 3.0, rng)
    for name, max_labels in ("all labels", 400), ("drawn labels", 50):
        weights = []
        for where in (device, "cpu"):
            model = LinearModel(
                epochs=3,
                dropout=0.0,
                batch_size=100,
                max_labels=max_labels,
                random_negatives=100,
                device=where,
                precision="float32",
                random_state=0,
            )
            weights.append(model.fit([x], sp.csr_array(Y)).weights_)
        yield f"label vectors, {name}", _difference(*weights), TRAINED


def _whole_fit(device: str) -> Iterator[Check]:
    """A small fit; models that were fitted on one device predict on the other."""
    rng = np.random.default_rng(0)
    texts = titles(300, 6, rng)
    words = [text.split()[0] for text in texts]
    names = sorted(set(words))
    with tempfile.TemporaryDirectory() as folder:
        path = tiny_encoder(Path(folder) / "encoder")
        first = {}
        for where in (device, "cpu"):
            model = ViXMLClassifier(
                path, label_text=names, train_encoder="full", epochs=1, max_steps=4,
                batch_size=64, precision="float32", device=where, random_state=0,
            )  # fmt: skip
            model.fit(texts, [[word] for word in words])
            model.save(Path(folder) / where.replace(":", "-"))
            first[where] = model.predict_topk(texts, k=1)
        both = first[device][0] == first["cpu"][0]
        yield "fit: share of other first labels", 1 - float(both.mean()), 1 - AGREEMENT
        for where, other in (device, "cpu"), ("cpu", device):
            saved = Path(folder) / where.replace(":", "-")
            moved = ViXMLClassifier.load(saved, device=other).predict_topk(texts, k=1)
            both = moved[0] == first[where][0]
            name = f"fitted on {where}, opened on {other}: share of other first labels"
            yield name, 1 - float(both.mean()), 1 - AGREEMENT
