"""Splitters that keep rare labels in all folds, and how held-out documents are used."""

from ._split import LabelStratifiedKFold, LabelStratifiedShuffleSplit
from ._validation import Validation

__all__ = ["LabelStratifiedKFold", "LabelStratifiedShuffleSplit", "Validation"]
