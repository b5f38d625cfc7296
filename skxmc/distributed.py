"""Several processes of ``torch.distributed``, one fit: each does its share of the work.

A launcher such as ``torchrun`` starts the same script several times. Inside :func:`processes` the
``fit`` of an estimator is one fit by all of them: each passes all documents, encodes its share, and
has the fitted model in the end.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

from ._runtime import group

__all__ = ["processes", "rank", "size"]

# What PyTorch reads of a launcher.
_VARIABLES = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")


@contextmanager
def processes(backend: str = "auto", timeout: float = 86_400.0) -> Iterator[None]:
    """Let the processes that a launcher has started work together.

    Inside the block they are a group of ``torch.distributed``, as environment variables describe
    it, and each has the GPU that ``LOCAL_RANK`` names. At its end the group is dissolved. A group
    that is there already, as Ray Train, Spark's TorchDistributor and Lightning Fabric make one, is
    used and left as it is. With one process nothing happens.

    Parameters
    ----------
    backend : str, default="auto"
        As of ``torch.distributed.init_process_group``. "auto" is gloo, and beside it NCCL for what
        is on a GPU.
    timeout : float, default=86400.0
        Seconds that a process waits for the others. While the first one builds indexes, they wait;
        a process that dies is noticed by the launcher.

    Yields
    ------
    nothing : None
        The block runs in all processes.

    Raises
    ------
    RuntimeError
        If the environment does not describe the group, or there are fewer GPUs than processes.
    ValueError
        If `timeout` is not positive.

    Examples
    --------
    >>> import skxmc
    >>> with skxmc.distributed.processes():  # in a script that torchrun starts
    ...     skxmc.distributed.size()
    1
    """
    if not timeout > 0:
        raise ValueError(f"timeout must be a number of seconds above 0, got {timeout!r}.")
    wanted = os.environ.get("WORLD_SIZE", "1")
    if group.is_started() or wanted == "1":
        yield
        return
    missing = [name for name in _VARIABLES if name not in os.environ]
    if missing:
        raise RuntimeError(
            f"WORLD_SIZE={wanted}, but {' and '.join(missing)} are not set; start the script with "
            "a launcher such as `torchrun --nproc-per-node 2 script.py`."
        )
    import torch

    # It comes with the first optimizer otherwise, and then keeps the group of that moment, in
    # defaults of functions. A group that outlives the interpreter may abort the process.
    import torch._dynamo
    import torch.distributed as dist

    on_gpus = torch.cuda.is_available()
    if on_gpus:
        _take_gpu(int(os.environ.get("LOCAL_RANK", "0")))
    if backend == "auto":
        backend = "cpu:gloo,cuda:nccl" if on_gpus and dist.is_nccl_available() else "gloo"
    dist.init_process_group(backend, timeout=timedelta(seconds=timeout))
    try:
        yield
    finally:  # without it, a process may abort when it has ended, and the launcher starts it again
        dist.destroy_process_group()


def rank() -> int:
    """Give the number of this process among those that work together.

    Returns
    -------
    rank : int
        0 for the first one, and where there is no other. It saves the model.

    Examples
    --------
    >>> import skxmc
    >>> skxmc.distributed.rank()
    0
    """
    return group.rank()


def size() -> int:
    """Give the number of processes that work together.

    Returns
    -------
    size : int
        1 where there is no group.

    Examples
    --------
    >>> import skxmc
    >>> skxmc.distributed.size()
    1
    """
    return group.size()


def _take_gpu(number: int) -> None:
    import torch

    n_gpus = torch.cuda.device_count()
    if 1 < n_gpus <= number:
        raise RuntimeError(
            f"LOCAL_RANK={number}, but there are {n_gpus} GPUs; start one process for each GPU, or "
            "hide them by CUDA_VISIBLE_DEVICES= to compute on CPUs."
        )
    # Some launchers show each process its own GPU alone.
    torch.cuda.set_device(number if n_gpus > 1 else 0)
