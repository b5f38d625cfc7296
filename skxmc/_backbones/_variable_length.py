"""Attention over all sequences of a packed row in one kernel, where a GPU has one.

Without it each run of equally long sequences takes a few kernels of its own in each layer, and a
fast GPU waits for the host to start them. The kernel is torch's; the first time that a shape comes,
it is compared with the runs on a few sequences, and left alone if it fails or finds something else.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import lru_cache
from itertools import chain, repeat

import torch

logger = logging.getLogger(__name__)

Runs = list[tuple[int, int]]
Attend = Callable[..., torch.Tensor]

# Of heads that the kernel takes: their width is at most, and a multiple of.
_WIDEST, _STEP = 256, 8

# Sequences that it is tried on, and the largest difference in units of the largest number: both
# ways round to the 8 bits of bfloat16 at different places.
_TRIED: Runs = [(2, 1), (2, 5), (1, 19)]
_TOLERANCE = 2.0**-5


def can_attend(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    causal: bool,
    window: int | None,
    by_runs: Attend,
) -> bool:
    """Whether :func:`attend` does what attention by runs does, for tensors such as these.

    Parameters
    ----------
    query, key, value : Tensor of shape (n_tokens, n_heads, width)
    causal : bool
    window : int or None
    by_runs : callable
        Takes the arguments of :func:`attend`: what it must agree with.
    """
    if not query.is_cuda or value.dtype not in (torch.float16, torch.bfloat16):
        return False
    width = query.shape[2]
    if width > _WIDEST or width % _STEP or value.shape[2] != width:
        return False
    heads = query.shape[1], key.shape[1]
    return _agrees(query.device, value.dtype, heads, width, causal, window, by_runs)


def attend(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    runs: Runs,
    scale: float | None,
    causal: bool,
    window: int | None,
) -> torch.Tensor:
    """Attention within each sequence, (n_tokens, n_heads, width) like `query`.

    Parameters
    ----------
    query, key, value : Tensor of shape (n_tokens, n_heads, width)
        On a GPU. Under autocast rotary embeddings leave queries and keys in float32.
    runs : list of (count, length)
    scale : float or None
    causal : bool
    window : int or None
        How many tokens, its own included, a token of a causal layer sees.
    """
    from torch.nn.attention.varlen import varlen_attn

    ends = _ends(tuple(runs), query.device)
    longest = max(length for _, length in runs)
    before, after = -1 if window is None else window - 1, 0 if causal else -1
    return varlen_attn(
        query.to(value.dtype),
        key.to(value.dtype),
        value,
        ends,
        ends,
        longest,
        longest,
        scale=scale,
        window_size=(before, after),
        enable_gqa=query.shape[1] != key.shape[1],
    )


@lru_cache(maxsize=16)
def _ends(runs: tuple[tuple[int, int], ...], device: torch.device) -> torch.Tensor:
    """Where sequences begin, and the end of the last one, int32: the same for all layers."""
    lengths = chain.from_iterable(repeat(length, count) for count, length in runs)
    with torch.inference_mode(False):  # training may come after encoding
        return torch.tensor([0, *lengths], device=device).cumsum(0).int()


@lru_cache(maxsize=64)
def _agrees(
    device: torch.device,
    dtype: torch.dtype,
    heads: tuple[int, int],
    width: int,
    causal: bool,
    window: int | None,
    by_runs: Attend,
) -> bool:
    """Whether output and gradients are those of attention by runs."""
    n_tokens = sum(count * length for count, length in _TRIED)
    generator = torch.Generator().manual_seed(0)
    with torch.inference_mode(False), torch.enable_grad():
        drawn = [
            torch.randn(n_tokens, n, width, generator=generator).to(device, dtype).requires_grad_()
            for n in (heads[0], heads[1], heads[1])
        ]
        found = []
        try:
            for way in (attend, by_runs):
                output = way(*drawn, _TRIED, None, causal, window)
                gradients = torch.autograd.grad(output.float().square().sum(), drawn)
                found.append([output, *gradients])
        except (ImportError, RuntimeError, TypeError, ValueError) as error:
            logger.info("attention in one kernel cannot be used: %s", error)
            return False
    for ours, theirs in zip(*found, strict=True):
        difference = (ours.float() - theirs.float()).abs().max()
        if not difference <= _TOLERANCE * theirs.float().abs().max():
            logger.warning(
                "attention in one kernel differs by %g on %s; going on by runs", difference, device
            )
            return False
    return True
