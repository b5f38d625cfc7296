"""Where to compute, and in which precision."""

from __future__ import annotations

import os
import warnings
from functools import cache

import numpy as np
import torch

from ._forks import survive_forks

# On a CPU oneDNN compiles a kernel for each shape of a product and keeps the last 1,024. Batches
# of ragged texts have ever new shapes, so that kept kernels fill gigabytes and serve no one. It
# reads this when the first product is computed.
os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "64")


def resolve_device(device: str | torch.device) -> torch.device:
    """The device of a name; "auto" is the first accelerator, else the CPU."""
    if not isinstance(device, str | torch.device):
        raise TypeError(
            f"device is {device!r} of type {type(device).__name__}; pass one name, such as "
            "'cuda:1'."
        )
    survive_forks()  # fit and load come here before they compute
    if device == "auto":
        found = (
            torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
        )
        return torch.device("cpu") if found is None else found
    try:
        resolved = torch.device(device)
        torch.empty(0, device=resolved)
    except (RuntimeError, AssertionError) as error:
        raise ValueError(f"device={device!r} cannot be used here ({error}); pass 'auto'") from error
    return resolved


def resolve_precision(precision: str, device: torch.device) -> torch.dtype:
    """The dtype of matrix products; "auto" is bf16 where the device multiplies it fast."""
    if precision == "float32":
        return torch.float32
    if precision == "bfloat16":
        return torch.bfloat16
    if device.type == "cuda":
        fast = torch.cuda.is_bf16_supported(including_emulation=False)
    elif device.type == "cpu":
        fast = has_fast_bfloat16_cpu()
    else:
        fast = False
    return torch.bfloat16 if fast else torch.float32


def precision_name(precision: str, device: torch.device) -> str:
    """The dtype of :func:`resolve_precision` as a word that can be saved: "float32", "bfloat16"."""
    return str(resolve_precision(precision, device)).removeprefix("torch.")


def random_state(device: torch.device) -> torch.Tensor:
    """State of the random numbers that are drawn on a device."""
    return torch.cuda.get_rng_state(device) if device.type == "cuda" else torch.get_rng_state()


def set_random_state(state: torch.Tensor, device: torch.device) -> None:
    """Draw them from there again."""
    if device.type == "cuda":
        torch.cuda.set_rng_state(state, device)
    else:
        torch.set_rng_state(state)


def as_tensor(array: np.ndarray, device: torch.device | str = "cpu") -> torch.Tensor:
    """The array itself as a tensor, on the CPU without a copy; to be read only."""
    with warnings.catch_warnings():
        # Torch warns that it cannot write to a memory-mapped array.
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        return torch.from_numpy(array).to(device)


def to_device(values: np.ndarray | torch.Tensor, device: torch.device) -> torch.Tensor:
    """A tensor on a device. An accelerator copies while the host goes on to what comes next.

    A copy from ordinary memory waits until the device has done all that it was given before.
    """
    tensor = torch.from_numpy(values) if isinstance(values, np.ndarray) else values
    if device.type == "cuda" and tensor.device.type == "cpu":
        tensor = tensor.pin_memory()
    return tensor.to(device, non_blocking=True)


@cache
def has_fast_bfloat16_cpu() -> bool:
    """Whether this CPU multiplies bf16 faster than float32.

    With AMX it does, several times. An instruction of AVX-512 for bf16 does the work of two for
    float32, but Intel's cores start half as many of them: on Emerald Rapids, where the virtual
    machine hid AMX, bf16 products had 0.6 of the speed of float32. AMD's cores start as many.
    """
    # Functions that some versions of torch lack: taken as "no" then.
    if getattr(torch.cpu, "_is_amx_tile_supported", bool)():
        return True
    known: dict = getattr(torch.cpu, "get_capabilities", dict)()
    return known.get("avx512_bf16", False) and "AMD" in known.get("cpu_name", "")


def has_fast_int8_cpu() -> bool:
    """Whether this CPU has an instruction (AVX-512 VNNI) for products of 8-bit integers."""
    has_instruction = getattr(torch.cpu, "_is_vnni_supported", bool)()
    return has_instruction and torch.backends.mkldnn.is_available()
