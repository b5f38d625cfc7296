"""Vectors of a picture from several layers of a network, each a block of its own."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch

# Of a network whose blocks all have the same shape, so many of the last ones are taken.
N_LAST = 4

# What stands before the patches in a sequence, by the names that models give the weights.
_PREFIXES = (
    "cls_token",
    "class_token",
    "class_embedding",
    "distillation_token",
    "dist_token",
    "reg_token",
    "register_tokens",
)


def count_prefix_tokens(network: torch.nn.Module) -> int:
    """Class and register tokens that stand before the patches in a sequence."""
    return sum(
        parameter.numel() // parameter.shape[-1]
        for name, parameter in network.named_parameters()
        if name.rpartition(".")[2] in _PREFIXES
    )


def stages(states: Sequence[torch.Tensor]) -> list[torch.Tensor]:
    """The output of each stage of a network, from what all its blocks put out.

    A stage ends where the shape changes. A network whose blocks all have one shape has no stages;
    of that the last blocks are taken.
    """
    ends = [one for one, following in pairwise(states) if one.shape != following.shape]
    if not ends:
        return list(states[-N_LAST:])
    return [*ends, states[-1]]


def averages(
    state: torch.Tensor, n_prefix: int = 0, mask: torch.Tensor | None = None
) -> list[torch.Tensor]:
    """What a layer says of a picture, as vectors of shape (n_images, width).

    Parameters
    ----------
    state : Tensor
        A map of shape (n_images, width, height, width of the map), or a sequence of shape
        (n_images, n_tokens, width).
    n_prefix : int, default=0
        Tokens before the patches of a sequence; the first is the class token.
    mask : Tensor of shape (n_images, n_patches), or None
        Which patches are there.

    Returns
    -------
    vectors : list of Tensor
        The class token, if there is one, and the mean over space or patches.
    """
    if state.ndim == 4:
        return [state.mean(dim=(2, 3))]
    patches = state[:, n_prefix:]
    if mask is None or mask.shape != patches.shape[:2]:
        mean = patches.mean(dim=1)
    else:
        weights = mask.to(patches.dtype)[:, :, None]
        mean = (patches * weights).sum(dim=1) / weights.sum(dim=1)
    return [state[:, 0], mean] if n_prefix else [mean]
