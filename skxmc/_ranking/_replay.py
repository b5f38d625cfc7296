"""A sample of the documents that were learned from, kept to be learned from again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import scipy.sparse as sp

from .._features._blocks import Features


class Replay:
    """A uniform sample of all documents so far, with their features.

    Which documents are in it depends on their numbers and the seed alone, not on how many came at
    a time.

    Parameters
    ----------
    rows : ndarray of shape (n,), int64
        Which rows of the training labels they are, ascending.
    numbers : ndarray of shape (n,), int64
        How many documents came before each; unlike rows they stay when others are removed.
    blocks : dict of str to array
        Blocks of their features; dense ones as float16.
    exclude : csr_array of shape (n, n_labels), or None
        Their pairs that are neither positive nor negative.
    capacity : int
        Most documents that are kept.
    seed : int
    """

    def __init__(
        self,
        rows: np.ndarray,
        numbers: np.ndarray,
        blocks: dict[str, np.ndarray | sp.csr_array],
        exclude: sp.csr_array | None,
        capacity: int,
        seed: int,
    ) -> None:
        self.rows, self.numbers, self.blocks, self.exclude = rows, numbers, blocks, exclude
        self.capacity, self.seed = capacity, seed

    @classmethod
    def of(
        cls,
        numbers: np.ndarray,
        take: Callable[[np.ndarray], tuple[Features, sp.csr_array | None]],
        capacity: int,
        seed: int,
    ) -> Replay:
        """A sample of documents, of which `take` gives features and excluded pairs by row."""
        rows = _chosen(numbers, capacity, seed)
        features, exclude = take(rows)
        return cls(rows, numbers[rows], _short(features), exclude, capacity, seed)

    def add(
        self,
        features: Features,
        exclude: sp.csr_array | None,
        first: int,
        numbers: np.ndarray,
        n_labels: int,
    ) -> Replay:
        """The sample with these documents among all; their rows start at `first`."""
        rows = np.concatenate([self.rows, np.arange(first, first + len(features))])
        every = np.concatenate([self.numbers, numbers])
        both = Features.stack([Features(**self.blocks), Features(**_short(features))])
        pairs = stack_excluded([(len(self.rows), self.exclude), (len(features), exclude)], n_labels)
        whole = Replay(rows, every, both.blocks, pairs, self.capacity, self.seed)
        return whole._take(_chosen(every, self.capacity, self.seed))

    def keep_documents(self, kept: np.ndarray) -> Replay:
        """The sample without documents that go; rows are renumbered as in `kept`, ascending."""
        there = np.flatnonzero(np.isin(self.rows, kept))
        smaller = self._take(there)
        smaller.rows = np.searchsorted(kept, smaller.rows)
        return smaller

    def _take(self, chosen: np.ndarray) -> Replay:
        """Some of the documents of the sample."""
        return Replay(
            self.rows[chosen],
            self.numbers[chosen],
            {name: block[chosen] for name, block in self.blocks.items()},
            None if self.exclude is None else self.exclude[chosen],
            self.capacity,
            self.seed,
        )

    def draw(
        self, n: int, n_labels: int, rng: np.random.RandomState
    ) -> tuple[np.ndarray, Features, sp.csr_array | None]:
        """Rows, features and excluded pairs of at most n documents of the sample."""
        n = min(n, len(self.rows))
        chosen = np.sort(rng.choice(len(self.rows), size=n, replace=False))
        blocks = {name: block[chosen] for name, block in self.blocks.items()}
        features = Features(**{name: block.astype(np.float32) for name, block in blocks.items()})
        pairs = stack_excluded([(len(self.rows), self.exclude)], n_labels)
        return self.rows[chosen], features, None if pairs is None else pairs[chosen]

    def keep_labels(self, kept: np.ndarray, n_labels: int) -> Replay:
        """The sample without the excluded pairs of other labels."""
        pairs = stack_excluded([(len(self.rows), self.exclude)], n_labels)
        pairs = None if pairs is None else sp.csr_array(pairs[:, kept])
        return Replay(self.rows, self.numbers, self.blocks, pairs, self.capacity, self.seed)

    def state_dict(self) -> dict[str, Any]:
        """The parameters."""
        return {
            "rows": self.rows,
            "numbers": self.numbers,
            "blocks": self.blocks,
            "exclude": self.exclude,
            "capacity": self.capacity,
            "seed": self.seed,
        }


def stack_excluded(
    parts: list[tuple[int, sp.csr_array | None]], n_labels: int
) -> sp.csr_array | None:
    """Excluded pairs of several parts, each with its number of documents; None if there are none.

    Labels that came later have none.
    """
    if all(pairs is None for _, pairs in parts):
        return None
    whole = []
    for n, pairs in parts:
        pairs = sp.csr_array((n, n_labels), dtype=bool) if pairs is None else pairs.copy()
        pairs.resize(n, n_labels)
        whole.append(pairs)
    return sp.csr_array(sp.vstack(whole, format="csr"))


def _short(features: Features) -> dict[str, np.ndarray | sp.csr_array]:
    return {
        name: block if sp.issparse(block) else block.astype(np.float16)
        for name, block in features.blocks.items()
    }


def _chosen(numbers: np.ndarray, capacity: int, seed: int) -> np.ndarray:
    """Positions of the documents that are kept, ascending: those of the lowest priorities."""
    if len(numbers) <= capacity:
        return np.arange(len(numbers))
    return np.sort(np.argpartition(_priorities(numbers, seed), capacity)[:capacity])


def _priorities(numbers: np.ndarray, seed: int) -> np.ndarray:
    """Pseudo-random numbers of documents (the finalizer of splitmix64), uint64."""
    with np.errstate(over="ignore"):
        mixed = (numbers.astype(np.uint64) + np.uint64(1 + seed)) * np.uint64(0x9E3779B97F4A7C15)
        mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))
