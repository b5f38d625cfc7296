"""scikit-learn for extreme multi-label classification of text and pictures."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from . import datasets, metrics
    from ._vixml import ViXMLClassifier

__version__ = "0.1.0.dev0"

__all__ = ["ViXMLClassifier", "__version__", "datasets", "metrics"]

# Public name -> module that holds it. Resolved at first use, so that `import skxmc`
# stays fast and loads no deep learning framework.
_ESTIMATORS = {"ViXMLClassifier": "._vixml"}
_SUBPACKAGES = ("datasets", "metrics")


def __getattr__(name: str) -> Any:
    if name in _ESTIMATORS:
        value = getattr(import_module(_ESTIMATORS[name], __name__), name)
    elif name in _SUBPACKAGES:
        value = import_module(f".{name}", __name__)
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
