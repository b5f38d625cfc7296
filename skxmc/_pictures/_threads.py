"""Work in threads whose results come in the order of what they are made of."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import torch
from threadpoolctl import threadpool_limits


def ordered_map(job: Callable[[Any], Any], parts: Iterable[Any], n_threads: int) -> Iterator[Any]:
    """``map(job, parts)`` in threads, at most a few results ahead of their use."""
    with ThreadPoolExecutor(n_threads, initializer=_use_one_thread) as pool:
        waiting: deque = deque()
        try:
            for part in parts:
                waiting.append(pool.submit(job, part))
                if len(waiting) > 2 * n_threads:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:  # after an error or an interrupt
                future.cancel()


def _use_one_thread() -> None:
    """Let torch compute in this very thread: the pool has one for each core already."""
    torch.get_num_threads()  # torch sets up a new thread at first use, which would undo the limit
    threadpool_limits(1, user_api="openmp")
