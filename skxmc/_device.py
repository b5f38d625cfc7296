"""Where to compute, and in which precision."""

from __future__ import annotations

import os
import warnings

import numpy as np
import torch

# On a CPU oneDNN compiles a kernel for each shape of a product and keeps the last 1,024. Batches
# of ragged texts have ever new shapes, so that kept kernels fill gigabytes and serve no one. It
# reads this when the first product is computed.
os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "64")


def resolve_device(device: str) -> torch.device:
    """The device of a name; "auto" is the first accelerator, else the CPU."""
    if device == "auto":
        if torch.accelerator.is_available():
            return torch.accelerator.current_accelerator()
        return torch.device("cpu")
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


def as_tensor(array: np.ndarray, device: torch.device | str = "cpu") -> torch.Tensor:
    """The array itself as a tensor, on the CPU without a copy; to be read only."""
    with warnings.catch_warnings():
        # Torch warns that it cannot write to a memory-mapped array.
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        return torch.from_numpy(array).to(device)


def has_fast_bfloat16_cpu() -> bool:
    """Whether this CPU has instructions for bf16 products."""
    # Private functions of torch: taken as "no" where a version lacks them.
    checks = ("_is_amx_tile_supported", "_is_avx512_bf16_supported")
    return any(getattr(torch.cpu, check, bool)() for check in checks)
