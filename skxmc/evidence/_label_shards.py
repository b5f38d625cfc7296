"""Label vectors of which each process trains a range of labels.

The first process makes the batches and sends them: a few megabytes a step, whatever the number of
labels. For the softmax over all labels a step needs three numbers of each document from the other
processes. Weights and moments of a label are in one process alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import torch

from .._runtime import group
from .._runtime._device import as_tensor, resolve_device
from ._one_vs_all import DecayingAdam, OneVsAllTraining, VectorBatch, learn, take_rows


@dataclass(frozen=True)
class _Shard:
    """What the others have to know before the first step.

    Parameters
    ----------
    shape : tuple of int
        Labels of all processes, and the width of a vector.
    storage : str
        Of the vectors, as numpy names it.
    decay : float
        Strength of the pull towards the anchor.
    anchor : float or None
        Which share of the start this is; None: zero.
    device : str
        Where to compute.
    """

    shape: tuple[int, int]
    storage: str
    decay: float
    anchor: float | None
    device: str


def own_labels(n_labels: int) -> slice:
    """Labels that this process trains: all of them, where no other one waits for work."""
    return group.ranges(n_labels)[0] if group.are_waiting() else slice(0, n_labels)


@contextmanager
def open_training(
    options: Any,
    start: np.ndarray,
    Y: Any,
    negatives: np.ndarray | Callable[[np.ndarray], np.ndarray] | None,
    exclude: Any,
    origin: Callable[[slice | torch.Tensor], torch.Tensor] | None,
    random: np.random.RandomState,
) -> Iterator[OneVsAllTraining]:
    """A training of vectors, in which processes that wait take part.

    Parameters
    ----------
    options, start, Y, negatives, exclude, random
        As of :class:`OneVsAllTraining`.
    origin : callable or None
        What the vectors of :func:`own_labels` decay towards.
    """
    if not group.are_waiting():
        yield OneVsAllTraining(options, start, Y, negatives, exclude, origin, random)
        return
    anchor = None if origin is None else options.anchor
    shard = _Shard(start.shape, start.dtype.name, options.decay, anchor, options.device)
    with group.helped(_train_shard, shard):
        yield _SharedTraining(options, start, Y, negatives, exclude, origin, random)


class _SharedTraining(OneVsAllTraining):
    """The first process: it makes the batches, and trains the first labels."""

    is_shared = True

    def __init__(self, options, start, Y, negatives, exclude, origin, random) -> None:
        self._ranges = group.ranges(len(start))
        self._vectors = start
        super().__init__(options, start[self._ranges[0]], Y, negatives, exclude, origin, random)
        for number, labels in list(enumerate(self._ranges))[1:]:
            group.send(start[labels], number)

    def _learn(self, batch: VectorBatch) -> torch.Tensor:
        group.same(_moved(batch, "cpu"))
        return _learn_part(self.weights, self.optimizer, batch, self._ranges[0])

    def finish(self) -> np.ndarray:
        group.same(None)
        self._vectors[self._ranges[0]] = super().finish()
        for number, labels in list(enumerate(self._ranges))[1:]:
            group.receive(self._vectors[labels], number)
        return self._vectors


def _train_shard(shard: _Shard) -> None:
    """Another process: it trains its range of labels on the batches that it is sent."""
    device = resolve_device(shard.device)
    labels = group.ranges(shard.shape[0])[group.rank()]
    shape = (labels.stop - labels.start, shard.shape[1])
    weights = as_tensor(group.receive(np.empty(shape, dtype=shard.storage), 0), device)
    origin = None
    if shard.anchor is not None:
        anchor = (weights.float() * shard.anchor).to(torch.bfloat16)

        def origin(rows: slice | torch.Tensor) -> torch.Tensor:
            return take_rows(anchor, rows)

    optimizer = DecayingAdam(weights, origin, shard.decay)
    while (batch := group.same(None)) is not None:
        _learn_part(weights, optimizer, _moved(batch, device), labels)
    optimizer.finish()
    group.send(weights.cpu().numpy(), 0)


def _learn_part(
    weights: torch.Tensor, optimizer: DecayingAdam, batch: VectorBatch, labels: slice
) -> torch.Tensor:
    """One step of a range of labels; the sum of the losses of the whole batch."""
    with group.in_step():
        loss = learn(weights, optimizer, _of_range(batch, labels), group.reduce)
        return group.reduce(loss)


def _of_range(batch: VectorBatch, labels: slice) -> VectorBatch:
    """The part of a batch that is about some labels, which are counted from the first of them."""
    if batch.labels is None:
        columns, own, log_rates = labels, None, None
    else:
        bounds = torch.tensor([labels.start, labels.stop], device=batch.labels.device)
        columns = slice(*torch.searchsorted(batch.labels, bounds).tolist())
        own = batch.labels[columns] - labels.start
        log_rates = batch.log_rates[columns]
    kept = _among(batch.positives, columns)
    return replace(
        batch,
        labels=own,
        log_rates=log_rates,
        positives=_from(batch.positives, kept, columns),
        weights=batch.weights[kept],
        excluded=batch.excluded and _from(batch.excluded, _among(batch.excluded, columns), columns),
    )


def _among(pairs: tuple[torch.Tensor, torch.Tensor], columns: slice) -> torch.Tensor:
    return (pairs[1] >= columns.start) & (pairs[1] < columns.stop)


def _from(
    pairs: tuple[torch.Tensor, torch.Tensor], kept: torch.Tensor, columns: slice
) -> tuple[torch.Tensor, torch.Tensor]:
    return pairs[0][kept], pairs[1][kept] - columns.start


def _moved(batch: VectorBatch, device: torch.device | str) -> VectorBatch:
    """The same batch on a device."""

    def move(value: Any) -> Any:
        if isinstance(value, tuple):
            return tuple(part.to(device) for part in value)
        return value.to(device) if isinstance(value, torch.Tensor) else value

    return VectorBatch(**{field.name: move(getattr(batch, field.name)) for field in fields(batch)})
