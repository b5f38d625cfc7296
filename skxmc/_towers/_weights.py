"""Weights of modules as arrays: for pickles, and for folders."""

from __future__ import annotations

import copy
from itertools import chain
from typing import Any

import numpy as np
import torch


def detach_weights(module: torch.nn.Module, shared: tuple = ()) -> dict[str, Any]:
    """State of a module for a pickle: weights are byte arrays on the CPU, beside the rest.

    Torch's own pickles of tensors on a GPU cannot be read without one, and joblib cannot store
    tensors as it does arrays. The module itself stays where it is; arrays share its memory on
    the CPU.

    Parameters
    ----------
    module : torch.nn.Module
    shared : tuple
        Parts of the module that hold no tensors and need not be copied.

    Returns
    -------
    state : dict
        For :func:`attach_weights`.
    """
    loose = (vars(part).values() for part in module.modules())  # some caches are no buffers
    tensors = {
        id(tensor): tensor
        for tensor in chain(module.parameters(), module.buffers(), *loose)
        if isinstance(tensor, torch.Tensor)
    }
    memo = {id(part): part for part in shared}
    weights = []
    for key, tensor in tensors.items():
        empty = torch.empty(0, dtype=tensor.dtype)
        if isinstance(tensor, torch.nn.Parameter):
            empty = torch.nn.Parameter(empty, requires_grad=tensor.requires_grad)
        memo[key] = empty
        flat = tensor.detach().cpu().contiguous().reshape(-1)
        weights.append((empty, tuple(tensor.shape), flat.view(torch.uint8).numpy()))
    # A copy of all but the tensors, with an empty one in the place of each.
    rest = {name: value for name, value in vars(module).items() if name != "_weights"}
    return {**copy.deepcopy(rest, memo), "_weights": weights}


def attach_weights(module: torch.nn.Module, state: dict[str, Any]) -> None:
    """Give an empty module the state from :func:`detach_weights`, on the CPU."""
    weights = state.pop("_weights")
    vars(module).update(state)
    for empty, shape, array in weights:
        # Copied: an array that joblib maps is read-only, and torch wants aligned memory.
        tensor = torch.empty(shape, dtype=empty.dtype)
        tensor.view(-1).view(torch.uint8).numpy()[...] = array
        empty.data = tensor


def arrays_of(module: torch.nn.Module | None) -> dict[str, np.ndarray] | None:
    """All parameters and buffers of a module, by their names; None for no module."""
    if module is None:
        return None
    return {name: tensor.cpu().numpy() for name, tensor in module.state_dict().items()}


def fill(module: torch.nn.Module, arrays: dict[str, np.ndarray]) -> None:
    """Give a module the arrays from :func:`arrays_of`."""
    module.load_state_dict({name: torch.from_numpy(array) for name, array in arrays.items()})
