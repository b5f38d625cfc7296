"""The parameter `memory` of the estimators."""

from __future__ import annotations

import os
from typing import Any

import joblib
from sklearn.utils import validation


def check_memory(memory: Any) -> joblib.Memory:
    """A folder (str or path-like), a joblib.Memory or None as a joblib.Memory."""
    return validation.check_memory(os.fspath(memory) if isinstance(memory, os.PathLike) else memory)
