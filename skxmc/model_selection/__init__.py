"""Splitters for cross-validation that keep rare labels in all folds."""

from skxmc.model_selection._split import LabelStratifiedKFold, LabelStratifiedShuffleSplit

__all__ = ["LabelStratifiedKFold", "LabelStratifiedShuffleSplit"]
