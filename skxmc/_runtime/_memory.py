"""The parameter `memory` of the estimators."""

from __future__ import annotations

import logging
import os
from typing import Any

import joblib
from sklearn.utils import validation

logger = logging.getLogger(__name__)


def check_memory(memory: Any) -> joblib.Memory:
    """A folder (str or path-like), a joblib.Memory or None as a joblib.Memory."""
    return validation.check_memory(os.fspath(memory) if isinstance(memory, os.PathLike) else memory)


def with_digest(result: Any) -> tuple[Any, str]:
    """What a cached function returns, so that :func:`recall` notices damage of the cache.

    joblib stores arrays as plain bytes, of which any may change without a word.
    """
    return result, _digest(result)


def recall(cached: Any, *arguments: Any, **options: Any) -> Any:
    """The result of a cached function that returns :func:`with_digest`.

    One that is damaged is reported, and computed again. `cached` is a function of a joblib.Memory.
    """
    result, digest = cached(*arguments, **options)
    if _digest(result) == digest:
        return result
    logger.warning("a result in the cache of memory= is damaged; it is computed again")
    cached.call_and_shelve(*arguments, **options).clear()
    return cached(*arguments, **options)[0]


def _digest(result: Any) -> str:
    return joblib.hash(result, coerce_mmap=True)  # a joblib.Memory may map what it kept
