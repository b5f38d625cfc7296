"""Splitters that keep rare labels in all folds, and what held-out documents are used for."""

from ._precision import Precision
from ._split import LabelStratifiedKFold, LabelStratifiedShuffleSplit
from ._validation import Validation
from ._validation_monitor import ValidationMonitor

__all__ = [
    "LabelStratifiedKFold",
    "LabelStratifiedShuffleSplit",
    "Precision",
    "Validation",
    "ValidationMonitor",
]
