"""Splitters that keep rare labels in all folds, uses of held-out documents, and streams."""

from ._precision import Precision
from ._prequential import prequential_score
from ._split import LabelStratifiedKFold, LabelStratifiedShuffleSplit
from ._streams import as_river
from ._validation import Validation
from ._validation_monitor import ValidationMonitor

__all__ = [
    "LabelStratifiedKFold",
    "LabelStratifiedShuffleSplit",
    "Precision",
    "Validation",
    "ValidationMonitor",
    "as_river",
    "prequential_score",
]
