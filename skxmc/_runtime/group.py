"""Processes of ``torch.distributed`` that fit one model together, and what they send each other.

Each process has all documents and draws the same random numbers, so batches and targets need no
message. What a function here sends, it sends in all processes at once: each has to call it, in the
same order. With one process nothing is sent, and PyTorch is not loaded.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from . import limits

if TYPE_CHECKING:
    import torch

# Whether the others wait for this process to give them work.
_waiting = False


@dataclass(frozen=True)
class _Failed:
    """Sent to those who wait for a process that has failed."""

    problem: str


@dataclass(frozen=True)
class _Job:
    """Sent to those who wait: what they are to call."""

    function: Callable[..., None]
    arguments: tuple


def is_started() -> bool:
    """Whether this process is one of a group."""
    if "torch.distributed" not in sys.modules:
        return False
    import torch.distributed as dist

    return dist.is_available() and dist.is_initialized()


def rank() -> int:
    """Number of this process, from 0."""
    return sys.modules["torch.distributed"].get_rank() if is_started() else 0


def size() -> int:
    """Number of processes that work together."""
    return sys.modules["torch.distributed"].get_world_size() if is_started() else 1


def require_group() -> None:
    """Refuse to work alone where a launcher has started several processes.

    Raises
    ------
    RuntimeError
        If there is no group yet.
    """
    wanted = os.environ.get("WORLD_SIZE", "1")
    if not is_started() and wanted.isdigit() and int(wanted) > 1:
        raise RuntimeError(
            f"WORLD_SIZE={wanted} says that several processes were started, but they are no group, "
            "so that each would fit a model of its own; call fit inside "
            "`with skxmc.distributed.processes():`, or unset WORLD_SIZE."
        )


# -- who does what --------------------------------------------------------------------------------


def shares(lengths: np.ndarray) -> list[np.ndarray]:
    """Which items each process takes, ascending, so that all have about as many tokens.

    The longest are dealt first, back and forth.
    """
    n = size()
    if n == 1:
        return [np.arange(len(lengths))]
    turn = np.arange(len(lengths)) % (2 * n)
    owner = np.empty(len(lengths), dtype=np.int64)
    owner[np.argsort(-lengths, kind="stable")] = np.minimum(turn, 2 * n - 1 - turn)
    return [np.flatnonzero(owner == number) for number in range(n)]


def ranges(n: int) -> list[slice]:
    """Which of n rows each process takes: as many, one after the other."""
    ends = np.linspace(0, n, size() + 1).astype(np.int64).tolist()
    return [slice(*pair) for pair in pairwise(ends)]


def compute_shares(
    parts: Sequence[Any],
    compute: Callable[[Any], np.ndarray],
    out: np.ndarray,
) -> np.ndarray:
    """Rows of an array, each part of which another process computes.

    Parameters
    ----------
    parts : sequence of ndarray or of slice
        Rows of each process.
    compute : callable
        Gives the rows of one part.
    out : ndarray of shape (n, ...)
        Where all rows are written.

    Returns
    -------
    out : ndarray of shape (n, ...)
    """
    own = np.ascontiguousarray(compute(parts[rank()]), dtype=out.dtype)
    for number, part in enumerate(parts):
        count = part.stop - part.start if isinstance(part, slice) else len(part)
        block = own
        if number != rank():
            block = np.empty((count, *out.shape[1:]), dtype=out.dtype)
        out[part] = broadcast(block, number)
    return out


# -- messages of numbers --------------------------------------------------------------------------


def broadcast(array: np.ndarray, source: int = 0) -> np.ndarray:
    """Fill an array, in place, with the numbers that one process has."""
    for block in _blocks(array):
        broadcast_tensor(block, source)
    return array


def broadcast_tensor(tensor: torch.Tensor, source: int = 0) -> torch.Tensor:
    """Fill a tensor, in place, with the numbers that one process has."""
    import torch.distributed as dist

    _in_place(tensor, lambda sent: dist.broadcast(sent, source))
    return tensor


def send(array: np.ndarray, target: int) -> None:
    """Send an array to a process that calls :func:`receive`."""
    import torch.distributed as dist

    for block in _blocks(array):
        dist.send(block.to(_route(block.device)), target)


def receive(array: np.ndarray, source: int) -> np.ndarray:
    """Fill an array, in place, with what a process sends."""
    import torch.distributed as dist

    for block in _blocks(array):
        _in_place(block, lambda sent: dist.recv(sent, source))
    return array


def gather_rows(own: torch.Tensor, counts: Sequence[int]) -> torch.Tensor:
    """Rows of all processes, those of the first come first; without a graph."""
    import torch
    import torch.distributed as dist

    padded = own.new_zeros((max(counts), *own.shape[1:]), device=_route(own.device))
    padded[: len(own)] = own
    gathered = [torch.empty_like(padded) for _ in counts]
    dist.all_gather(gathered, padded)
    parts = [part[:count] for part, count in zip(gathered, counts, strict=True)]
    return torch.cat(parts).to(own.device)


def reduce(tensor: torch.Tensor, operation: str = "sum") -> torch.Tensor:
    """Sum ("sum") or maximum ("max") of a tensor over all processes, in place."""
    import torch.distributed as dist

    operations = {"sum": dist.ReduceOp.SUM, "max": dist.ReduceOp.MAX}
    _in_place(tensor, lambda sent: dist.all_reduce(sent, operations[operation]))
    return tensor


def _blocks(array: np.ndarray) -> Iterator[torch.Tensor]:
    """Views of some rows at a time."""
    import torch

    for start in range(0, len(array), limits.ROWS):
        yield torch.from_numpy(array[start : start + limits.ROWS])


def _in_place(tensor: torch.Tensor, call: Callable[[torch.Tensor], Any]) -> None:
    sent = tensor.detach().to(_route(tensor.device)).contiguous()
    call(sent)
    if sent.data_ptr() != tensor.data_ptr():
        tensor.copy_(sent)


def _route(device: torch.device) -> torch.device:
    """Where a tensor of a device has to be for the backend of the group."""
    import torch
    import torch.distributed as dist

    pairs = dist.get_backend_config().split(",")
    backends = dict(pair.split(":") for pair in pairs if ":" in pair)
    # Gloo copies what is on a GPU to the CPU, and only for some messages.
    if device.type == "cpu" or backends.get(device.type, "gloo") == "gloo":
        if "cpu" in backends:
            return torch.device("cpu")
        return torch.device(next(iter(backends)))  # the current one
    return device


# -- messages of objects --------------------------------------------------------------------------


def same(value: Any) -> Any:
    """What the first process passes, in all of them; it is pickled.

    Raises
    ------
    RuntimeError
        If the first process has failed meanwhile.
    """
    if size() == 1:
        return value
    import torch.distributed as dist

    message = [value]
    dist.broadcast_object_list(message, src=0)
    if isinstance(message[0], _Failed):
        if rank() == 0:
            return None
        raise RuntimeError(f"the first process stopped: {message[0].problem}")
    return message[0]


def all_equal(value: Any) -> bool:
    """Whether all processes pass equal objects."""
    if size() == 1:
        return True
    import torch.distributed as dist

    found = [None] * size()
    dist.all_gather_object(found, value)
    return all(other == value for other in found)


def first(function: Callable[[], Any], rng: np.random.RandomState | None = None) -> Any:
    """What a function gives in the first process, which alone calls it; it is pickled.

    Meanwhile the others wait. The function may give them work by :func:`helped`, and it has the
    threads of all processes on its machine.

    Parameters
    ----------
    function : callable
    rng : RandomState or None
        What the function draws from; afterwards it is in the same state everywhere.

    Raises
    ------
    RuntimeError
        In the other processes, if the function fails.
    """
    if size() == 1:
        return function()
    if rank() > 0:
        value, state = _serve()
    else:
        value = _call(function)
        state = None if rng is None else rng.get_state(legacy=False)
        same((value, state))
    if rng is not None:
        rng.set_state(state)
    return value


def _call(function: Callable[[], Any]) -> Any:
    global _waiting
    _waiting = True
    try:
        with _threads(int(os.environ.get("LOCAL_WORLD_SIZE", "1"))):
            return function()
    except Exception as error:
        if _waiting:
            same(_Failed(f"{type(error).__name__}: {error}"))
        raise
    finally:
        _waiting = False


def _serve() -> Any:
    """Do what the first process asks for, until it has its result."""
    while isinstance(message := same(None), _Job):
        message.function(*message.arguments)
    return message


def are_waiting() -> bool:
    """Whether the other processes can be given work by :func:`helped`."""
    return _waiting


@contextmanager
def in_step() -> Iterator[None]:
    """A block that sends more than one message: where it fails, the others can be told nothing.

    They wait for its next message, and end when this process does.
    """
    global _waiting
    try:
        yield
    except BaseException:
        _waiting = False
        raise


@contextmanager
def helped(function: Callable[..., None], *arguments: Any) -> Iterator[None]:
    """A block in which the other processes call a function; both sides send and receive.

    Parameters
    ----------
    function : callable
        It is pickled by its name.
    *arguments : object
        What the others pass to it.
    """
    same(_Job(function, arguments))
    with _threads(1 / int(os.environ.get("LOCAL_WORLD_SIZE", "1"))):
        yield


@contextmanager
def _threads(factor: float) -> Iterator[None]:
    """So many times the threads inside: launchers give each process a share of a machine's."""
    import torch

    from ._optional import import_optional

    faiss = import_optional("faiss")
    before = torch.get_num_threads(), faiss.omp_get_max_threads()
    try:
        for set_threads, number in _setters(torch, faiss, before):
            set_threads(max(1, min(round(number * factor), os.cpu_count() or 1)))
        yield
    finally:
        for set_threads, number in _setters(torch, faiss, before):
            set_threads(number)


def _setters(torch: Any, faiss: Any, numbers: tuple[int, int]) -> list[tuple[Callable, int]]:
    return [(torch.set_num_threads, numbers[0]), (faiss.omp_set_num_threads, numbers[1])]
