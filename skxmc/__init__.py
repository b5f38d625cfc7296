"""scikit-learn for extreme multi-label classification of text and pictures."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from . import (
        bulk,
        datasets,
        distributed,
        encoders,
        evidence,
        indexes,
        inspection,
        metrics,
        model_selection,
        objectives,
        pipeline,
        serving,
        testing,
    )
    from ._decoder import DecoderXMCClassifier
    from ._estimator._size_estimate import MemoryEstimate, estimate_memory
    from ._vixml import ViXMLClassifier

__version__ = "0.1.0.dev0"

__all__ = [
    "DecoderXMCClassifier",
    "MemoryEstimate",
    "ViXMLClassifier",
    "__version__",
    "bulk",
    "datasets",
    "distributed",
    "encoders",
    "estimate_memory",
    "evidence",
    "indexes",
    "inspection",
    "metrics",
    "mlflow",
    "model_selection",
    "objectives",
    "pipeline",
    "serving",
    "testing",
]

# Public name -> module that holds it. Resolved at first use, so that `import skxmc`
# stays fast and loads no deep learning framework.
_NAMES = {
    "DecoderXMCClassifier": "._decoder",
    "MemoryEstimate": "._estimator._size_estimate",
    "ViXMLClassifier": "._vixml",
    "estimate_memory": "._estimator._size_estimate",
}
_SUBPACKAGES = (
    "bulk",
    "datasets",
    "distributed",
    "encoders",
    "evidence",
    "indexes",
    "inspection",
    "metrics",
    "mlflow",
    "model_selection",
    "objectives",
    "pipeline",
    "serving",
    "testing",
)


def __getattr__(name: str) -> Any:
    if name in _NAMES:
        value = getattr(import_module(_NAMES[name], __name__), name)
    elif name in _SUBPACKAGES:
        value = import_module(f".{name}", __name__)
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
