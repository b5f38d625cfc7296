"""How label vectors are trained: batches of labels, decoupled softmax, Adam with decay."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import scipy.sparse as sp
import torch

from .._runtime._device import as_tensor, resolve_device, resolve_precision
from .._training._label_batches import batch_labels, document_weights, label_positions
from ..objectives import decoupled_softmax

# Labels whose moments a CPU updates at a time: their numbers stay in its cache.
_ROWS = 128


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

    def __init__(
        self,
        options: Any,
        weights: np.ndarray,
        Y: sp.csr_array,
        negatives: np.ndarray | Callable[[np.ndarray], np.ndarray] | None,
        exclude: sp.csr_array | None,
        origin: Callable[[slice | np.ndarray], torch.Tensor] | None,
        random: np.random.RandomState,
    ) -> None:
        self.options, self.random = options, random
        self.Y, self.negatives, self.exclude = sp.csr_array(Y), negatives, exclude
        self.device = resolve_device(options.device)
        self.precision = resolve_precision(options.precision, self.device)
        self.weights = as_tensor(weights, self.device)
        self.generator = torch.Generator().manual_seed(int(random.randint(2**31 - 1)))
        self.optimizer = _DecayingAdam(self.weights, origin, options.decay)
        per_epoch = max(1, -(-Y.shape[0] // options.batch_size))
        self.n_steps = max(1, options.epochs * per_epoch)
        if options.max_steps is not None:
            self.n_steps = min(self.n_steps, options.max_steps)
        self.n_epochs = -(-self.n_steps // per_epoch)
        self.step = 0

    def run_epoch(self, features) -> float:
        """Train on all documents once, or until there are `n_steps`; mean loss of a positive."""
        order = self.random.permutation(self.Y.shape[0])
        order = order[: (self.n_steps - self.step) * self.options.batch_size]
        total, n_positives = 0.0, 0
        for start in range(0, len(order), self.options.batch_size):
            rows = np.sort(order[start : start + self.options.batch_size])
            total += self._train_batch(rows, features(rows))
            n_positives += int(np.diff(self.Y.indptr)[rows].sum())
        return total / max(1, n_positives)

    def _train_batch(self, rows: np.ndarray, x: np.ndarray) -> float:
        options, device = self.options, self.device
        Y = self.Y[rows]
        excluded = None if self.exclude is None else sp.csr_array(self.exclude[rows])
        labels = None
        if Y.shape[1] > options.max_labels:
            proposed = self.negatives
            if proposed is not None:
                proposed = proposed(rows) if callable(proposed) else proposed[rows]
            labels = batch_labels(Y, proposed, options.random_negatives, self.random)
        positives = label_positions(Y, labels, device)
        weights = document_weights(Y, options.document_exponent)
        x = torch.from_numpy(x).to(device)
        if options.dropout:
            kept = torch.rand(x.shape, generator=self.generator).to(device) >= options.dropout
            x = x * kept / (1 - options.dropout)
        vectors = self.weights if labels is None else self.weights[_index(labels, device)]
        scores = (x * options.scale).to(self.precision) @ vectors.to(self.precision).T
        losses, gradient, factors = decoupled_softmax(
            scores,
            positives,
            torch.from_numpy(weights).to(device),
            None if excluded is None else label_positions(excluded, labels, device),
        )
        x = (x * (factors * (options.scale / len(rows)))[:, None]).to(self.precision)
        self.step += 1
        rate = min(self.step / max(1.0, 0.05 * self.n_steps), 1 - self.step / (self.n_steps + 1))
        self.optimizer.update(gradient.T @ x, options.learning_rate * rate, labels)
        return float(losses.sum())


class _DecayingAdam:
    """Adam on the rows of a matrix, with decay towards `origin` of a row (None: towards zero).

    Rows that a step leaves out keep weights and moments, as in lazy Adam. Steps are computed in
    float32 whatever weights are kept in. Moments beside float16 are bfloat16, for its range: the
    squares of small gradients would be zero in float16.
    """

    def __init__(
        self,
        weights: torch.Tensor,
        origin: Callable[[slice | np.ndarray], torch.Tensor] | None,
        decay: float,
    ) -> None:
        self.weights, self.origin, self.decay = weights, origin, decay
        short = weights.dtype == torch.float16
        moments = torch.bfloat16 if short else weights.dtype
        self.first = torch.zeros_like(weights, dtype=moments)
        self.second = torch.zeros_like(weights, dtype=moments)
        self.n_updates = 0

    def update(self, gradient: torch.Tensor, rate: float, labels: np.ndarray | None) -> None:
        """One step; `gradient` is that of all rows, or of those in `labels`."""
        self.n_updates += 1
        corrections = 1 - 0.9**self.n_updates, 1 - 0.99**self.n_updates
        step = _ROWS if self.weights.device.type == "cpu" else max(1, len(gradient))
        for start in range(0, len(gradient), step):
            part = slice(start, start + step)
            rows = part if labels is None else _index(labels[part], self.weights.device)
            grad = gradient[part].float()
            # Slices in float32 are views that are updated in place; copies have to be put back.
            kept = self.weights, self.first, self.second
            weight, first, second = (state[rows].float() for state in kept)
            first.lerp_(grad, 0.1)
            second.mul_(0.99).addcmul_(grad, grad, value=0.01)
            scale = (second / corrections[1]).sqrt_().add_(1e-8)
            if self.origin is None:
                weight.mul_(1 - rate * self.decay)
            else:
                origin = self.origin(part if labels is None else labels[part])
                weight.lerp_(origin.to(weight.device), rate * self.decay)
            weight.addcdiv_(first, scale, value=-rate / corrections[0])
            if labels is not None or self.weights.dtype != torch.float32:
                for state, updated in zip(kept, (weight, first, second), strict=True):
                    state[rows] = updated.to(state.dtype)


def _index(labels: np.ndarray, device: torch.device) -> torch.Tensor:
    return torch.from_numpy(labels).to(device)
