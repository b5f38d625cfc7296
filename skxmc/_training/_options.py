"""How a tower is trained, whatever the objective."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from ._batches import HardNegativeSchedule


@dataclass
class TrainingOptions:
    """How a :class:`TowerTrainer` works; the estimators' docstrings explain it."""

    epochs: int = 10
    max_steps: int | None = None
    batch_size: int = 512
    learning_rate: float = 2e-4
    head_learning_rate: float = 5e-4
    weight_decay: float = 0.01
    warmup_steps: int = 100
    max_grad_norm: float | None = None
    propensity: tuple[float, float] = (0.55, 1.5)
    image_dropout: float = 0.0
    schedule: HardNegativeSchedule | None = None
    max_graph_bytes: float = 1.5e9
    precision: torch.dtype = torch.float32
    patience: int | None = None
    verbose: int = 0
