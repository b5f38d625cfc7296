"""Positions that a search leaves out, or is confined to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from .._runtime import limits
from .._runtime._threads import product
from ._candidates import sort_candidates
from ._checks import check_positions

# So few vectors are compared faster than they are looked for among others.
_FEW = 2048

# Scores that are computed at a time, 64 MB.
_BLOCK = 2**24

# Positions of each query; queries with the same ones may share an array.
Lists = list[np.ndarray]


@dataclass(frozen=True)
class Filter:
    """What a search may find.

    Attributes
    ----------
    exclude : list of ndarray, or None
        For each query the positions that are left out, int64, ascending and distinct.
    only : list of ndarray, or None
        For each query the positions that may be found, in the same form.
    """

    exclude: Lists | None
    only: Lists | None

    def of_row(self, row: int, n: int) -> np.ndarray:
        """All positions below `n` that a query may find, ascending, int64."""
        allowed = np.arange(n) if self.only is None else self.only[row]
        if self.exclude is None:
            return allowed
        return np.setdiff1d(allowed, self.exclude[row], assume_unique=True)

    def n_allowed(self, n: int) -> np.ndarray:
        """How many of `n` vectors each query may find, (m,) int64."""
        if self.only is None:
            return n - np.array([len(one) for one in self.exclude], dtype=np.int64)
        if self.exclude is None:
            return np.array([len(one) for one in self.only], dtype=np.int64)
        return np.array([len(self.of_row(row, n)) for row in range(len(self.only))])

    def depths(self, k: int, n: int) -> np.ndarray:
        """How deep to search among `n` for k that are allowed, (m,) int64."""
        n_allowed = self.n_allowed(n)
        if self.only is None:
            return k + n - n_allowed
        # Enough if what is allowed lies anywhere among the rest.
        return (1.25 * k * n / np.maximum(n_allowed, 1) + 16).astype(np.int64)

    def groups(self, rows: np.ndarray) -> list[np.ndarray]:
        """Queries among `rows` with the same lists."""
        found: dict[tuple[int, ...], list[int]] = {}
        lists = [part for part in (self.exclude, self.only) if part is not None]
        for row in rows.tolist():
            found.setdefault(tuple(id(part[row]) for part in lists), []).append(row)
        return [np.array(group) for group in found.values()]

    def are(self, rows: np.ndarray, indices: np.ndarray) -> np.ndarray:
        """Whether indices (len(rows), depth), found for these queries, may be given, bool."""
        allowed = indices >= 0
        for place, row in enumerate(rows):
            if self.exclude is not None:
                allowed[place] &= ~np.isin(indices[place], self.exclude[row])
            if self.only is not None:
                allowed[place] &= np.isin(indices[place], self.only[row])
        return allowed


def read_filter(exclude: Any, only: Any, m: int, n: int) -> Filter | None:
    """The filter of a search of `m` queries among `n` vectors; None where there is none."""
    if exclude is None and only is None:
        return None
    return Filter(_read(exclude, "exclude", m, n), _read(only, "only", m, n))


def _read(given: Any, argument: str, m: int, n: int) -> Lists | None:
    if given is None:
        return None
    if not isinstance(given, Sequence | np.ndarray) or isinstance(given, str):
        raise TypeError(
            f"{argument} is of type {type(given).__name__}; pass an array of positions, or one for "
            "each query."
        )
    flat = given.ndim == 1 and given.dtype != object if isinstance(given, np.ndarray) else None
    if flat or (flat is None and all(np.ndim(one) == 0 for one in given)):
        return [np.unique(check_positions(given, argument, n))] * m
    if len(given) != m:
        raise ValueError(
            f"{argument} has {len(given)} lists of positions for {m} queries; pass one for each, "
            "or one array of positions for all."
        )
    return [_read_row(one, f"{argument}[{row}]", n) for row, one in enumerate(given)]


def _read_row(given: Any, argument: str, n: int) -> np.ndarray:
    positions = np.asarray(given)
    if positions.ndim == 1 and np.issubdtype(positions.dtype, np.integer):
        positions = positions[positions != -1]
    return np.unique(check_positions(positions, argument, n))


# -- for indexes that know no filters -------------------------------------------------------------


class Searchable(Protocol):
    """What of an index is needed here."""

    def __len__(self) -> int: ...

    def _search(self, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]: ...

    def _vectors_at(self, positions: np.ndarray) -> np.ndarray: ...


def search_in_turns(
    index: Searchable, queries: np.ndarray, k: int, chosen: Filter
) -> tuple[np.ndarray, np.ndarray]:
    """The k best that are allowed: a search for more, and all compared where that is too few."""
    n = len(index)
    n_allowed = chosen.n_allowed(n)
    rows = np.flatnonzero((n_allowed > _FEW) & (4 * chosen.depths(k, n) <= n))
    indices, scores, found = search_deeper(index, queries, k, chosen, rows)
    for group in chosen.groups(np.flatnonzero(~found)):
        part = compare(index, queries[group], chosen.of_row(group[0], n), k)
        indices[group, : part[0].shape[1]], scores[group, : part[1].shape[1]] = part
    return indices, scores


def search_deeper(
    index: Searchable, queries: np.ndarray, k: int, chosen: Filter, rows: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The k best that are allowed, of a search for more.

    Parameters
    ----------
    index : Searchable
    queries : ndarray of shape (m, d), float32
    k : int
    chosen : Filter
    rows : ndarray of shape (n_searched,), int64
        Which queries are searched; of the others nothing is found.

    Returns
    -------
    indices : ndarray of shape (m, k), int64
    scores : ndarray of shape (m, k), float32
    found : ndarray of shape (m,), bool
        Whether these are as many as there can be. Else what is allowed lies further behind, or an
        approximate search has missed it.
    """
    m, n = len(queries), len(index)
    indices = np.full((m, k), -1, dtype=np.int64)
    scores = np.full((m, k), -np.inf, dtype=np.float32)
    complete = np.zeros(m, dtype=bool)
    if len(rows):
        depth = min(n, int(chosen.depths(k, n)[rows].max()))
        found = index._search(queries[rows], depth)
        kept = np.where(chosen.are(rows, found[0]), found[0], -1)
        part = sort_candidates(kept, found[1], k)
        indices[rows, : part[0].shape[1]], scores[rows, : part[1].shape[1]] = part
        wanted = np.minimum(chosen.n_allowed(n)[rows], k)
        complete[rows] = (indices[rows] >= 0).sum(axis=1) >= wanted
    return indices, scores, complete


def compare(
    index: Searchable, queries: np.ndarray, positions: np.ndarray, k: int
) -> tuple[np.ndarray, np.ndarray]:
    """The k best of some vectors, compared one by one.

    Parameters
    ----------
    index : Searchable
    queries : ndarray of shape (m, d), float32
    positions : ndarray of shape (n_compared,), int64
    k : int

    Returns
    -------
    indices : ndarray of shape (m, at most k), int64
    scores : ndarray of shape (m, at most k), float32
    """
    best = np.empty((len(queries), 0), dtype=np.int64)
    scores = np.empty((len(queries), 0), dtype=np.float32)
    step = max(1, min(limits.ROWS, _BLOCK // max(1, len(queries))))
    for start in range(0, len(positions), step):
        part = positions[start : start + step]
        found = product(queries, np.ascontiguousarray(index._vectors_at(part).T))
        best = np.hstack([best, np.broadcast_to(part, found.shape)])
        best, scores = sort_candidates(best, np.hstack([scores, found]), k)
    return best, scores
