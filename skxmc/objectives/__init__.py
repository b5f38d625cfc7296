"""What an encoder is tuned for: objectives, their losses, and how the optimiser works.

An objective is one class: :class:`Objective` says what it may define. Write one anywhere and pass
it to an estimator, or register it under the entry points ``skxmc.objectives`` to name it.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .._training._problem import Batch, TuningProblem
    from ._binary_cross_entropy_loss import BinaryCrossEntropyLoss
    from ._decoupled_softmax_loss import DecoupledSoftmaxLoss, decoupled_softmax
    from ._dual_encoder import DualEncoder
    from ._head_loss import HeadLoss
    from ._linear_head import LinearHead
    from ._objective import LabelBatch, Objective
    from ._prime import Prime
    from ._prototype_regularizer import PrototypeRegularizer
    from ._resolve import resolve_objective
    from ._threshold_consistent_loss import ThresholdConsistentLoss
    from ._training import Training
    from ._triplet_loss import DynamicMarginTripletLoss

__all__ = [
    "Batch",
    "BinaryCrossEntropyLoss",
    "DecoupledSoftmaxLoss",
    "DualEncoder",
    "DynamicMarginTripletLoss",
    "HeadLoss",
    "LabelBatch",
    "LinearHead",
    "Objective",
    "Prime",
    "PrototypeRegularizer",
    "ThresholdConsistentLoss",
    "Training",
    "TuningProblem",
    "decoupled_softmax",
    "resolve_objective",
]

# Public name -> module that holds it. Resolved at first use: most of them load PyTorch.
_NAMES = {
    "Batch": ".._training._problem",
    "BinaryCrossEntropyLoss": "._binary_cross_entropy_loss",
    "DecoupledSoftmaxLoss": "._decoupled_softmax_loss",
    "DualEncoder": "._dual_encoder",
    "DynamicMarginTripletLoss": "._triplet_loss",
    "HeadLoss": "._head_loss",
    "LabelBatch": "._objective",
    "LinearHead": "._linear_head",
    "Objective": "._objective",
    "Prime": "._prime",
    "PrototypeRegularizer": "._prototype_regularizer",
    "ThresholdConsistentLoss": "._threshold_consistent_loss",
    "Training": "._training",
    "TuningProblem": ".._training._problem",
    "decoupled_softmax": "._decoupled_softmax_loss",
    "resolve_objective": "._resolve",
}


def __getattr__(name: str) -> Any:
    if name not in _NAMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_NAMES[name], __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
