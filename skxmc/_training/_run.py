"""How far the training of a tower has come."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import scipy.sparse as sp
import torch
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler

from ._batches import BatchMaker, HardNegativeSchedule, PositiveSampler, count_batches
from ._options import TrainingOptions


class TrainingRun:
    """What changes from step to step, beside weights, embeddings and random numbers.

    Parameters
    ----------
    Y : csr of shape (n_documents, n_labels)
        Documents without labels take no part.
    options : TrainingOptions
    rng : numpy.random.RandomState
    make_optimizer : callable
        Gives optimizer and scheduler for a number of steps.

    Attributes
    ----------
    n_epochs, n_steps : int
        Epochs, of which the last may be cut short, and steps of all of them together.
    epoch : int
        That is being trained, from 0.
    losses : list of Tensor
        Of the steps of this epoch.
    seconds : float
        That these have taken in a process before.
    best_score, best_epoch, best_weights
        Of validation.
    """

    _PARTS = ("batches", "optimizer", "scheduler")
    _VALUES = ("epoch", "losses", "seconds", "best_score", "best_epoch", "best_weights")

    def __init__(
        self,
        Y: sp.csr_array,
        options: TrainingOptions,
        rng: np.random.RandomState,
        make_optimizer: Callable[[int], tuple[Optimizer, LRScheduler]],
    ) -> None:
        n_documents = int(np.count_nonzero(np.diff(Y.indptr)))
        per_epoch = count_batches(n_documents, options.batch_size)
        self.n_steps = per_epoch * options.epochs
        if options.max_steps is not None:
            self.n_steps = min(self.n_steps, options.max_steps)
        self.n_epochs = -(-self.n_steps // per_epoch)
        schedule = options.schedule or HardNegativeSchedule.for_epochs(self.n_epochs)
        self.batches = BatchMaker(n_documents, options.batch_size, schedule, rng)
        self.sampler = PositiveSampler(Y, options.propensity)
        self.optimizer, self.scheduler = make_optimizer(self.n_steps)
        self.epoch = 0
        self.losses: list[torch.Tensor] = []
        self.seconds = 0.0
        self.best_score, self.best_epoch = -np.inf, -1
        self.best_weights: dict[str, torch.Tensor] | None = None

    def state_dict(self) -> dict[str, Any]:
        """What :meth:`load_state_dict` goes on from."""
        parts = {name: getattr(self, name).state_dict() for name in self._PARTS}
        return {**parts, **{name: getattr(self, name) for name in self._VALUES}}

    def load_state_dict(self, state: dict[str, Any], device: torch.device) -> None:
        """Go on from there."""
        for name in self._PARTS:
            getattr(self, name).load_state_dict(state[name])
        for name in self._VALUES:
            setattr(self, name, state[name])
        self.losses = [loss.to(device) for loss in self.losses]


def build_optimizer(
    parameters: Iterable[tuple[str, torch.nn.Parameter]],
    options: TrainingOptions,
    n_steps: int,
    *,
    new: tuple[str, ...],
    undecayed: tuple[str, ...],
) -> tuple[Optimizer, LRScheduler]:
    """AdamW with two learning rates, which rise for a while and then fall to zero.

    Parameters
    ----------
    parameters : iterable of (str, Parameter)
        What is trained.
    options : TrainingOptions
    n_steps : int
    new : tuple of str
        Names that begin so are of parts that start from scratch, and learn at
        ``head_learning_rate``.
    undecayed : tuple of str
        Names that begin so are of matrices without weight decay.
    """
    groups: dict[tuple[float, float], list] = {}
    for name, parameter in parameters:
        rate = options.head_learning_rate if name.startswith(new) else options.learning_rate
        # None on biases and LayerNorm weights, which are vectors.
        plain = parameter.ndim < 2 or name.startswith(undecayed)
        key = (rate, 0.0 if plain else options.weight_decay)
        groups.setdefault(key, []).append(parameter)
    optimizer = torch.optim.AdamW(
        [{"params": p, "lr": lr, "weight_decay": wd} for (lr, wd), p in groups.items()],
        eps=1e-6,
        fused=True,
    )
    warmup = min(options.warmup_steps, max(1, n_steps // 5))

    def factor(step: int) -> float:
        if step < warmup:
            return (step + 1) / warmup
        return max(0.0, (n_steps - step) / max(1, n_steps - warmup))

    return optimizer, LambdaLR(optimizer, factor)
