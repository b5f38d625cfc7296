"""Numbers of rows in a database, one for each position of an index."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

# Numbers that a float of 64 bits holds exactly, as databases compare them in it.
LARGEST = 2**53


class Runs:
    """Distinct numbers in an order, as runs of consecutive ones.

    Parameters
    ----------
    starts : ndarray of shape (r,), int64
        First number of each run.
    lengths : ndarray of shape (r,), int64
        How many numbers it has, at least 1.
    """

    def __init__(self, starts: Any = (), lengths: Any = ()) -> None:
        self.starts = np.asarray(starts, dtype=np.int64)
        self.lengths = np.asarray(lengths, dtype=np.int64)
        self._first = np.cumsum(self.lengths) - self.lengths  # position of each run
        self._order = np.argsort(self.starts, kind="stable")

    @classmethod
    def of(cls, ids: np.ndarray) -> Runs:
        """Runs of numbers in this order."""
        if not len(ids):
            return cls()
        breaks = np.flatnonzero(np.diff(ids) != 1) + 1
        firsts = np.concatenate(([0], breaks))
        return cls(ids[firsts], np.diff(firsts, append=len(ids)))

    @classmethod
    def from_pairs(cls, pairs: Any) -> Runs:
        """Runs of pairs of start and length, or a ValueError where these are none."""
        try:
            found = np.array(pairs if len(pairs) else np.empty((0, 2)), dtype=np.int64)
        except (TypeError, ValueError, OverflowError) as error:
            raise ValueError("rows are no pairs of numbers") from error
        if found.ndim != 2 or found.shape[1] != 2:
            raise ValueError("rows are no pairs of numbers")
        if len(found) and (found.min() < 0 or found.max() > LARGEST or found[:, 1].min() < 1):
            raise ValueError("rows are out of range")
        runs = cls(*found.T)
        starts, ends = runs.ascending()
        if (starts[1:] < ends[:-1]).any():
            raise ValueError("rows come twice")
        return runs

    def __len__(self) -> int:
        return int(self.lengths.sum())

    def __iter__(self) -> Iterator[tuple[int, int]]:
        return zip(self.starts.tolist(), self.lengths.tolist(), strict=True)

    def ascending(self) -> tuple[np.ndarray, np.ndarray]:
        """Starts and ends, one after the last number, of the runs in ascending order."""
        starts = self.starts[self._order]
        return starts, starts + self.lengths[self._order]

    def extended(self, start: int, n: int) -> Runs:
        """The same with a run of `n` behind it."""
        return Runs(np.append(self.starts, start), np.append(self.lengths, n)) if n else self

    def ids(self) -> np.ndarray:
        """All numbers, int64."""
        return self.at(np.arange(len(self)))

    def at(self, positions: np.ndarray) -> np.ndarray:
        """The numbers at positions."""
        run = np.searchsorted(self._first, positions, side="right") - 1
        return self.starts[run] + positions - self._first[run]

    def without(self, positions: np.ndarray) -> Runs:
        """The same less what is at some positions, ascending and distinct."""
        if not len(positions):
            return self
        edges = np.unique(np.concatenate((self._first, positions, positions + 1, [len(self)])))
        starts, lengths = edges[:-1], np.diff(edges)
        kept = ~np.isin(starts, positions)
        return Runs(self.at(starts[kept]), lengths[kept])

    def positions(self, ids: np.ndarray) -> np.ndarray:
        """Positions of numbers, -1 of those that are not there."""
        if not len(self.starts):
            return np.full(np.shape(ids), -1, dtype=np.int64)
        starts, ends = self.ascending()
        place = np.maximum(np.searchsorted(starts, ids, side="right") - 1, 0)
        there = (ids >= starts[place]) & (ids < ends[place])
        return np.where(there, self._first[self._order[place]] + ids - starts[place], -1)
