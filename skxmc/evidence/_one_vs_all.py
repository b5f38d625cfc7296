"""How label vectors are trained: batches of labels, decoupled softmax, Adam with decay."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse as sp
import torch

from .._runtime._device import as_tensor, resolve_device, resolve_precision, to_device
from .._training._label_batches import batch_labels, document_weights, label_positions
from ..objectives import decoupled_softmax

# Labels whose moments a CPU updates at a time: their numbers stay in its cache.
_ROWS = 128


@dataclass
class VectorBatch:
    """Documents of one step, and what they should score.

    Parameters
    ----------
    x : Tensor of shape (n, d), float32
        Features, of which dropout has left some out.
    labels : Tensor of shape (n_batch_labels,), int64, or None
        Labels that take part, ascending; None for all. Columns count within them.
    log_rates : Tensor of shape (n_batch_labels,), float32, or None
        What is taken from the labels' scores.
    positives : tuple of Tensor
        Rows and columns of positive pairs.
    weights : Tensor of shape (n_positives,), float32
        Of their losses.
    excluded : tuple of Tensor, or None
        Rows and columns of pairs that are neither positive nor negative.
    rate : float
        Learning rate of the step.
    scale : float
        Of scores.
    precision : torch.dtype
        Of matrix products.
    """

    x: torch.Tensor
    labels: torch.Tensor | None
    log_rates: torch.Tensor | None
    positives: tuple[torch.Tensor, torch.Tensor]
    weights: torch.Tensor
    excluded: tuple[torch.Tensor, torch.Tensor] | None
    rate: float
    scale: float
    precision: torch.dtype


def learn(
    weights: torch.Tensor,
    optimizer: DecayingAdam,
    batch: VectorBatch,
    reduce: Callable[[torch.Tensor, str], torch.Tensor] | None = None,
) -> torch.Tensor:
    """Make one step of some labels' vectors.

    Parameters
    ----------
    weights : Tensor of shape (n_labels, d)
        The vectors.
    optimizer : DecayingAdam
        Changes them.
    batch : VectorBatch
        Of these labels.
    reduce : callable or None
        As in :func:`decoupled_softmax`, where there are more labels than these.

    Returns
    -------
    loss : Tensor of shape ()
        Sum of the losses of the batch's positives.
    """
    vectors = weights if batch.labels is None else weights.index_select(0, batch.labels)
    scores = (batch.x * batch.scale).to(batch.precision) @ vectors.to(batch.precision).T
    if batch.log_rates is not None:
        scores -= batch.log_rates.to(batch.precision)
    losses, gradient, factors = decoupled_softmax(
        scores, batch.positives, batch.weights, batch.excluded, reduce
    )
    x = (batch.x * (factors * (batch.scale / len(batch.x)))[:, None]).to(batch.precision)
    optimizer.update(gradient.T @ x, batch.rate, batch.labels)
    return losses.sum()


class OneVsAllTraining:
    """One run of optimisation: batches, gradients and the moments of Adam.

    Parameters
    ----------
    options : object
        Holds the parameters of a `LinearModel`.
    weights : ndarray of shape (n_labels, d)
        Where the vectors start; updated in place on a CPU.
    Y : csr_array of shape (n, n_labels)
    negatives : ndarray of shape (n, m), callable or None
    exclude : csr_array of shape (n, n_labels), or None
    origin : callable or None
        What the vectors of some labels decay towards.
    random : RandomState
    """

    #: Whether other processes take part.
    is_shared = False

    def __init__(
        self,
        options: Any,
        weights: np.ndarray,
        Y: sp.csr_array,
        negatives: np.ndarray | Callable[[np.ndarray], np.ndarray] | None,
        exclude: sp.csr_array | None,
        origin: Callable[[slice | torch.Tensor], torch.Tensor] | None,
        random: np.random.RandomState,
    ) -> None:
        self.options, self.random = options, random
        self.Y, self.negatives, self.exclude = sp.csr_array(Y), negatives, exclude
        self.device = resolve_device(options.device)
        self.precision = resolve_precision(options.precision, self.device)
        self.weights = as_tensor(weights, self.device)
        seed = int(random.randint(2**31 - 1))
        self.generator = torch.Generator(self.device).manual_seed(seed)
        self.optimizer = DecayingAdam(self.weights, origin, options.decay)
        per_epoch = max(1, -(-Y.shape[0] // options.batch_size))
        self.n_steps = max(1, options.epochs * per_epoch)
        if options.max_steps is not None:
            self.n_steps = min(self.n_steps, options.max_steps)
        self.n_epochs = -(-self.n_steps // per_epoch)
        self.step = 0

    def run_epoch(self, features: Callable[[np.ndarray], np.ndarray]) -> float:
        """Train on all documents once, or until there are `n_steps`; mean loss of a positive."""
        order = self.random.permutation(self.Y.shape[0])
        order = order[: (self.n_steps - self.step) * self.options.batch_size]
        losses, n_positives = [], 0
        for start in range(0, len(order), self.options.batch_size):
            rows = np.sort(order[start : start + self.options.batch_size])
            losses.append(self._train_batch(rows, features(rows)))
            n_positives += int(np.diff(self.Y.indptr)[rows].sum())
        # Read once an epoch: reading a number of a GPU waits for all steps before.
        return float(torch.stack(losses).sum()) / max(1, n_positives)

    def finish(self) -> np.ndarray:
        """Let labels that the last steps left out decay as all others; the vectors."""
        self.optimizer.finish()
        return self.weights.cpu().numpy()

    def _train_batch(self, rows: np.ndarray, x: np.ndarray) -> torch.Tensor:
        return self._learn(self._make_batch(rows, x))

    def _learn(self, batch: VectorBatch) -> torch.Tensor:
        """One step; the sum of the losses of all positives."""
        return learn(self.weights, self.optimizer, batch)

    def _make_batch(self, rows: np.ndarray, x: np.ndarray) -> VectorBatch:
        options, device = self.options, self.device
        Y = self.Y[rows]
        excluded = None if self.exclude is None else sp.csr_array(self.exclude[rows])
        labels, log_rates = self._choose_labels(rows, Y)
        positives = label_positions(Y, labels, device)
        if excluded is not None:
            excluded = label_positions(excluded, labels, device)
        weights = document_weights(Y, options.document_exponent)
        x = to_device(x, device)
        if options.dropout:
            kept = torch.rand(x.shape, generator=self.generator, device=device) >= options.dropout
            x = x * kept / (1 - options.dropout)
        if log_rates is not None:
            log_rates = to_device(log_rates * np.float32(options.correction), device)
        self.step += 1
        rate = min(self.step / max(1.0, 0.05 * self.n_steps), 1 - self.step / (self.n_steps + 1))
        return VectorBatch(
            x,
            None if labels is None else to_device(labels, device),
            log_rates,
            positives,
            to_device(weights, device),
            excluded,
            rate=options.learning_rate * rate,
            scale=options.scale,
            precision=self.precision,
        )

    def _choose_labels(
        self, rows: np.ndarray, Y: sp.csr_array
    ) -> tuple[np.ndarray | None, np.ndarray | None]:
        """Labels of a batch and what their scores are corrected by; None where all take part."""
        if Y.shape[1] <= self.options.max_labels:
            return None, None
        proposed = self.negatives
        if proposed is not None:
            proposed = proposed(rows) if callable(proposed) else proposed[rows]
        return batch_labels(Y, proposed, self.options.random_negatives, self.random)


class DecayingAdam:
    """Adam on the rows of a matrix, with decay towards `origin` of a row (None: towards zero).

    Rows that a step leaves out keep their moments, as in lazy Adam, and their decay is made up for
    when they come next, or in :meth:`finish`. Steps are computed in float32 whatever weights are
    kept in. Moments beside float16 are bfloat16, for its range: the squares of small gradients
    would be zero in float16.
    """

    def __init__(
        self,
        weights: torch.Tensor,
        origin: Callable[[slice | torch.Tensor], torch.Tensor] | None,
        decay: float,
    ) -> None:
        self.weights, self.origin, self.decay = weights, origin, decay
        short = weights.dtype == torch.float16
        moments = torch.bfloat16 if short else weights.dtype
        self.first = torch.zeros_like(weights, dtype=moments)
        self.second = torch.zeros_like(weights, dtype=moments)
        self.n_updates = 0
        # Logarithm of the share of the start that decay has left, after all steps until now, and
        # until the last step that a row was part of.
        self.log_left = 0.0
        self.log_left_of = torch.zeros(len(weights), device=weights.device)

    def update(self, gradient: torch.Tensor, rate: float, labels: torch.Tensor | None) -> None:
        """One step; `gradient` is that of all rows, or of those in `labels`."""
        self.n_updates += 1
        corrections = 1 - 0.9**self.n_updates, 1 - 0.99**self.n_updates
        share = rate * self.decay
        if labels is not None:
            self.log_left += math.log1p(-min(share, 1 - 1e-6))
        for part in self._parts(len(gradient)):
            rows = part if labels is None else labels[part]
            grad = gradient[part].float()
            # Slices in float32 are views that are updated in place; copies have to be put back.
            kept = self.weights, self.first, self.second
            weight, first, second = (take_rows(state, rows) for state in kept)
            first.lerp_(grad, 0.1)
            second.mul_(0.99).addcmul_(grad, grad, value=0.01)
            scale = (second / corrections[1]).sqrt_().add_(1e-8)
            self._decay(weight, rows, share if labels is None else self._due(rows))
            weight.addcdiv_(first, scale, value=-rate / corrections[0])
            for state, updated in zip(kept, (weight, first, second), strict=True):
                _put(state, rows, updated)

    def finish(self) -> None:
        """Let all rows decay as far as those that the last step was about."""
        for rows in self._parts(len(self.weights)) if self.log_left else []:
            weight = take_rows(self.weights, rows)
            self._decay(weight, rows, self._due(rows))
            _put(self.weights, rows, weight)

    def _parts(self, n: int) -> list[slice]:
        """Rows that are updated at a time."""
        step = _ROWS if self.weights.device.type == "cpu" else max(1, n)
        return [slice(start, min(n, start + step)) for start in range(0, n, step)]

    def _due(self, rows: slice | torch.Tensor) -> torch.Tensor:
        """Shares of the way to the origin that some rows have missed, (n, 1); they are even now."""
        share = -torch.expm1(self.log_left - self.log_left_of[rows])[:, None]
        self.log_left_of[rows] = self.log_left
        return share

    def _decay(
        self, weight: torch.Tensor, rows: slice | torch.Tensor, share: float | torch.Tensor
    ) -> None:
        """Move some rows a share of the way to their origin, in place."""
        if self.origin is None:
            weight.mul_(1 - share)
        else:
            weight.lerp_(self.origin(rows).to(weight.device), share)


def take_rows(state: torch.Tensor, rows: slice | torch.Tensor) -> torch.Tensor:
    """Some rows of a matrix in float32: a view where that is possible."""
    return (state[rows] if isinstance(rows, slice) else state.index_select(0, rows)).float()


def _put(state: torch.Tensor, rows: slice | torch.Tensor, values: torch.Tensor) -> None:
    """Put rows back that :func:`take_rows` gave, if they are no view."""
    if not isinstance(rows, slice):
        state.index_copy_(0, rows, values.to(state.dtype))
    elif state.dtype != torch.float32:
        state[rows] = values.to(state.dtype)
