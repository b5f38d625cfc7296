"""How long the stages of a fit take, in the log."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager

logger = logging.getLogger("skxmc")


@contextmanager
def stage(name: str, *arguments: object) -> Iterator[None]:
    """Log at the level INFO how many seconds a block took.

    Parameters
    ----------
    name : str
        What it does; ``%s`` and ``%d`` in it stand for the arguments.
    *arguments : object
    """
    started = time.perf_counter()
    yield
    logger.info(f"{name}: %.1f s", *arguments, time.perf_counter() - started)
