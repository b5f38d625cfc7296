"""Processes that are forked after a prediction."""

from __future__ import annotations

import os
import sys
from functools import cache


@cache
def survive_forks() -> None:
    """Let forked processes compute in one thread; called before the first computation.

    OpenMP's threads are not there in a forked process, and its first parallel loop would wait for
    them for ever. With one thread there is no such loop. A process that wants several has to be
    spawned instead.
    """
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=_use_one_thread)


def _use_one_thread() -> None:
    # Only what is there: an import in a forked process could wait for a lock.
    torch, faiss = sys.modules.get("torch"), sys.modules.get("faiss")
    if torch is not None and torch.get_num_threads() > 1:
        torch.set_num_threads(1)
    if faiss is not None and faiss.omp_get_max_threads() > 1:
        faiss.omp_set_num_threads(1)
