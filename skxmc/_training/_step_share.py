"""Which items of a step a process encodes, and where the embeddings of all stand."""

from __future__ import annotations

import zlib

import numpy as np

from .._runtime import group
from .._towers._items import Items, make_packs, sequence_lengths


class StepShare:
    """The packs of one step that this process encodes: all of them where it is alone.

    Parameters
    ----------
    items : Items
    selected : ndarray of shape (n,), int64
        The distinct items of the step, the same in all processes.
    chunk_tokens : int
        Most tokens of a pack.
    rows, drawn : ndarray of int64
        Documents of the step, and the label drawn for each.

    Attributes
    ----------
    packs : list of Pack
    counts : list of int or None
        Items of each process, whose embeddings stand one behind the other; None if it is alone.
    seed : int
        Another one in each step and each process, for random numbers that need not be equal.
    places : ndarray of shape (n,), int64
        Row of each item among these embeddings.
    """

    def __init__(
        self,
        items: Items,
        selected: np.ndarray,
        chunk_tokens: int,
        rows: np.ndarray,
        drawn: np.ndarray,
    ) -> None:
        if group.size() == 1:
            packs, order = make_packs(items, selected, chunk_tokens)
            self.counts = None
        else:
            parts = group.shares(sequence_lengths(items, selected))
            # Packs are made when they are asked for, and their order costs next to nothing.
            made = [make_packs(items, selected[part], chunk_tokens) for part in parts]
            packs = made[group.rank()][0]
            order = np.concatenate(
                [part[order] for part, (_, order) in zip(parts, made, strict=True)]
            )
            self.counts = [len(part) for part in parts]
        self.packs = list(packs)
        self.seed = zlib.crc32(np.concatenate([rows, drawn])) + group.rank()
        self.places = np.empty(len(order), dtype=np.int64)
        self.places[order] = np.arange(len(order))
