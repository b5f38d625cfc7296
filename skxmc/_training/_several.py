"""What a trainer does otherwise where several processes train one tower."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from .._runtime import group
from .._runtime._device import random_state, set_random_state
from .._towers._items import Items, sequence_lengths
from .._towers._tower import Tower


def encode_shares(tower: Tower, items: Items, out: np.ndarray | None, **options: Any) -> np.ndarray:
    """Embeddings of all items, (n_items, dimension) float32; each process encodes some of them.

    Parameters
    ----------
    tower : Tower
    items : Items
    out : ndarray of shape (n_items, dimension), float32, or None
        Where to write them; None makes a new array.
    **options : object
        As of :meth:`Tower.encode`.
    """
    if group.size() == 1:
        return tower.encode(items, out=out, **options)
    if out is None:
        out = np.empty((len(items), tower.dimension), dtype=np.float32)
    parts = group.shares(sequence_lengths(items, np.arange(len(items))))
    return group.compute_shares(parts, lambda rows: tower.encode(items.take(rows), **options), out)


@torch.no_grad()
def start_alike(
    trained: dict[str, torch.nn.Parameter],
    modules: dict[str, torch.nn.Module],
    rng: np.random.RandomState,
    generator: torch.Generator,
) -> None:
    """Let all processes start from the weights and random numbers of the first one.

    They have computed the same, but machines may round differently.

    Parameters
    ----------
    trained : dict of str to Parameter
        All that is trained.
    modules : dict of str to Module
        Those of the objective, with buffers.
    rng, generator
        What batches and objectives draw from.
    """
    if group.size() == 1:
        return
    buffers = [buffer for module in modules.values() for buffer in module.buffers()]
    for tensor in (*trained.values(), *buffers):
        group.broadcast_tensor(tensor)
    device = next(iter(trained.values())).device
    states = (rng.get_state(legacy=False), generator.get_state(), random_state(device))
    state, generator_state, device_state = group.same(states)
    rng.set_state(state)
    generator.set_state(generator_state)
    set_random_state(device_state, device)
