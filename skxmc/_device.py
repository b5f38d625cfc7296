"""Where to compute, and in which precision."""

from __future__ import annotations

import torch


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
        # AMX and AVX512-BF16 are what makes bf16 pay on a CPU.
        fast = has_fast_bfloat16_cpu()
    else:
        fast = False
    return torch.bfloat16 if fast else torch.float32


def has_fast_bfloat16_cpu() -> bool:
    """Whether this CPU has instructions for bf16 products."""
    capabilities = torch.cpu.get_capabilities()
    return bool(capabilities.get("amx_bf16") or capabilities.get("avx512_bf16"))
