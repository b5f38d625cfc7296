"""All that the training of a tower can be told."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from ._batches import HardNegativeSchedule


@dataclass
class TrainingOptions:
    """All that a :class:`TowerTrainer` can be told; the estimators' docstrings explain it."""

    epochs: int = 10
    max_steps: int | None = None
    batch_size: int = 512
    learning_rate: float = 2e-4
    head_learning_rate: float = 5e-4
    weight_decay: float = 0.01
    warmup_steps: int = 100
    max_grad_norm: float | None = None
    prototypes: bool = True
    head_loss: str = "decoupled_softmax"
    head_weight: float = 0.0
    free_vectors_from_labels: bool = False
    n_negatives: int = 10
    margin: tuple[float, float] = (0.1, 0.3)
    regularization: float = 0.1
    propensity: tuple[float, float] = (0.55, 1.5)
    schedule: HardNegativeSchedule | None = None
    max_graph_bytes: float = 1.5e9
    precision: torch.dtype = torch.float32
    patience: int | None = None
    verbose: int = 0
