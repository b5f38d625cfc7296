"""Labels that may be right for some documents, and what the evidence says of each."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp

from ..indexes import sort_candidates

Proposals = dict[str, tuple[np.ndarray, np.ndarray]]


@dataclass
class Candidates:
    """Labels that may be right for some documents, and what the evidence says of each.

    Attributes
    ----------
    labels : ndarray of shape (n, m), int64
        Ascending in a row, -1 at its end where there are fewer.
    scores, shares : dict of str to ndarray of shape (n, m), float32
        Of each kind of evidence the scores, -inf where it does not propose the label, and the
        probabilities made of them.
    mixed : ndarray of shape (n, m), float32
        The mixture of the shares.
    """

    labels: np.ndarray
    scores: dict[str, np.ndarray]
    shares: dict[str, np.ndarray]
    mixed: np.ndarray

    def find(self, labels: np.ndarray) -> np.ndarray:
        """Columns of given labels, (n, m_given) int64; -1 of those that are no candidates."""
        width = 1 + max(int(self.labels.max(initial=0)), int(labels.max(initial=0)))
        rows = np.arange(len(labels))[:, None]
        keys = np.where(self.labels >= 0, rows * width + self.labels, -1).ravel()
        order = np.argsort(keys, kind="stable")
        asked = np.where(labels >= 0, rows * width + labels, -2)
        place = np.minimum(np.searchsorted(keys[order], asked), len(keys) - 1)
        found = order[place] % self.labels.shape[1]
        return np.where(keys[order][place] == asked, found, -1)


def best_candidates(
    labels: np.ndarray, scores: np.ndarray, k: int
) -> tuple[np.ndarray, np.ndarray]:
    """The k best candidates, best first, padded with -1 and -inf to (n, k)."""
    found, best = sort_candidates(labels, scores, k)
    return pad(found, -1, k), pad(best, -np.inf, k)


def align(
    proposals: Proposals, exclude: sp.csr_array | None
) -> tuple[np.ndarray, list[np.ndarray]]:
    """All candidates of a row side by side, labels ascending; scores of each kind for them.

    Returns labels, int64 (n, m) padded with -1, and for each kind an array of that shape, -inf
    where the kind does not propose the label.
    """
    if not proposals:
        raise ValueError("there are no proposals; pass those of at least one kind of evidence.")
    n_labels = 1 + max(int(indices.max(initial=0)) for indices, _ in proposals.values())
    if exclude is not None:
        n_labels = max(n_labels, exclude.shape[1])
    n = len(next(iter(proposals.values()))[0])
    first = np.arange(n, dtype=np.int64)[:, None] * n_labels
    proposed = []
    for indices, scores in proposals.values():
        there = (indices >= 0) & np.isfinite(scores)
        proposed.append(((first + indices)[there], scores[there]))
    pairs = np.sort(np.concatenate([keys for keys, _ in proposed]))
    pairs = pairs[np.concatenate(([True], pairs[1:] != pairs[:-1]))[: len(pairs)]]
    if exclude is not None and exclude.nnz:
        rows = np.repeat(np.arange(n, dtype=np.int64), np.diff(exclude.indptr))
        pairs = pairs[~np.isin(pairs, rows * n_labels + exclude.indices)]
    rows, columns = pairs // n_labels, pairs % n_labels
    starts = np.searchsorted(rows, np.arange(n + 1))
    place = np.arange(len(pairs)) - starts[rows]
    width = max(1, int(np.diff(starts).max(initial=0)))
    labels = np.full((n, width), -1, dtype=np.int64)
    labels[rows, place] = columns
    aligned = []
    for keys, values in proposed:
        position = np.searchsorted(pairs, keys)
        kept = position < len(pairs)
        kept[kept] = pairs[position[kept]] == keys[kept]
        position = position[kept]
        scores = np.full((n, width), -np.inf, dtype=np.float32)
        scores[rows[position], place[position]] = values[kept]
        aligned.append(scores)
    return labels, aligned


def softmax_all(scores: list[np.ndarray], temperatures) -> list[np.ndarray]:
    return [_softmax(s, t) for s, t in zip(scores, temperatures, strict=True)]


def _softmax(scores: np.ndarray, temperature: float) -> np.ndarray:
    """Softmax of rows; rows and entries of -inf become 0."""
    best = scores.max(axis=1, keepdims=True)
    best[~np.isfinite(best)] = 0
    shares = np.exp((scores - best) / np.float32(temperature))
    shares /= np.maximum(shares.sum(axis=1, keepdims=True), np.float32(1e-30))
    return shares


def weighted_sum(weights, shares: list[np.ndarray]) -> np.ndarray:
    mixed = np.zeros_like(shares[0])
    for weight, share in zip(weights, shares, strict=True):
        if weight > 0:
            mixed += np.float32(weight) * share
    return mixed


def tail_shares(scores: np.ndarray, first: np.ndarray, temperature: float) -> np.ndarray:
    """Shares of labels in a softmax over the first ones, (n, m); 0 where a score is -inf."""
    best = first.max(axis=1, keepdims=True, initial=-np.inf)
    best[~np.isfinite(best)] = 0
    total = np.exp((first - best) / np.float32(temperature)).sum(axis=1, keepdims=True)
    shares = np.exp((scores - best) / np.float32(temperature))
    return shares / np.maximum(total, np.float32(1e-30))


def behind(
    labels: np.ndarray, scores: np.ndarray, more: np.ndarray, more_scores: np.ndarray, k: int
) -> tuple[np.ndarray, np.ndarray]:
    """Labels with others behind them, whose scores are bounded by the last of the first ones.

    Parameters
    ----------
    labels, scores : ndarray of shape (n, m)
        Best first, -1 and -inf at the end of a row where there are fewer.
    more, more_scores : ndarray of shape (n, m_more)
        The same.
    k : int
        Most labels of a row.
    """
    last = np.where(labels >= 0, scores, np.inf).min(axis=1, keepdims=True)
    more_scores = np.minimum(more_scores, last)
    labels = np.concatenate([labels, more], axis=1)
    scores = np.concatenate([scores, more_scores], axis=1).astype(np.float32)
    order = np.argsort(labels < 0, axis=1, kind="stable")[:, :k]
    return np.take_along_axis(labels, order, axis=1), np.take_along_axis(scores, order, axis=1)


def pad(values: np.ndarray, filling: float, k: int) -> np.ndarray:
    """Rows that are filled up to k columns."""
    rest = k - values.shape[1]
    return values if not rest else np.pad(values, ((0, 0), (0, rest)), constant_values=filling)
