"""The k best labels of each document, selected from predictions of any form."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import scipy.sparse as sp

from ._predictions import Indices, Predictions

# Candidates are narrowed down in blocks of this many scores, so that the temporary arrays of one
# block stay within some ten megabytes whatever the size of the data set.
_BLOCK_ENTRIES = 1 << 20


def predicted_pairs(
    y_pred: Predictions, exclude: sp.csr_array | None
) -> tuple[np.ndarray, np.ndarray]:
    """Return rows and labels of all predictions: scores but 0 and -inf, indices but -1."""
    if isinstance(y_pred, Indices):
        check_no_repeats(y_pred.labels)
        rows, ranks = np.nonzero(y_pred.labels >= 0)
        labels = y_pred.labels[rows, ranks].astype(np.int64)
    elif sp.issparse(y_pred):
        rows, labels = y_pred.nonzero()
    else:
        rows, labels = np.nonzero((y_pred != 0) & (y_pred != -np.inf))
    if exclude is not None:
        keep = ~find_pairs(exclude, rows, labels)
        rows, labels = rows[keep], labels[keep]
    return rows, labels


def top_labels(
    y_pred: Predictions, k: int, shape: tuple[int, int], exclude: sp.csr_array | None
) -> tuple[np.ndarray, np.ndarray | None]:
    """Select the `k` best labels of each row.

    Higher scores come first, then lower label indices. Index arrays keep their order. Filter
    pairs, padding (-1) and scores of -inf are passed over.

    Parameters
    ----------
    y_pred : predictions as returned by `check_predictions`
    k : int
    shape : (int, int)
        n_samples and n_labels.
    exclude : csr_array of that shape, bool, or None

    Returns
    -------
    labels : ndarray of shape (n_samples, k), int64
        -1 where there are fewer than k predictions.
    scores : ndarray of shape (n_samples, k), float64, or None
        -inf where there are fewer than k predictions. None for index arrays.
    """
    if isinstance(y_pred, Indices) and y_pred.scores is None:
        labels = _first_labels(y_pred.labels, k, exclude)
        scores = None
    else:
        labels = np.full((shape[0], k), -1, dtype=np.int64)
        scores = np.full((shape[0], k), -np.inf)
        for rows, block_labels, block_scores in _candidate_blocks(y_pred):
            if exclude is not None:
                block_scores[_excluded(exclude, rows, block_labels)] = -np.inf
            best = _select_best(block_labels, block_scores, k)
            labels[rows, : best[0].shape[1]], scores[rows, : best[1].shape[1]] = best
        labels[scores == -np.inf] = -1
    check_no_repeats(labels)
    return labels, scores


def find_pairs(matrix: sp.csr_array, rows: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Tell for each pair of a row and a label whether `matrix` holds it; never true for -1."""
    if matrix.nnz == 0 or labels.size == 0:
        return np.zeros(labels.shape, dtype=bool)
    rows = np.broadcast_to(rows, labels.shape).ravel()
    found = np.asarray(matrix[rows, np.maximum(labels, 0).ravel()]).reshape(labels.shape)
    return (found != 0) & (labels >= 0)


def check_no_repeats(labels: np.ndarray) -> None:
    """Raise if a row holds the same label twice."""
    ordered = np.sort(labels, axis=1)
    repeated = (ordered[:, 1:] == ordered[:, :-1]) & (ordered[:, 1:] >= 0)
    if repeated.any():
        row, rank = np.argwhere(repeated)[0]
        raise ValueError(
            f"y_pred[{row}] predicts the label {ordered[row, rank]} more than once; each label may "
            "be predicted once. If y_pred is a dense indicator or holds scores, pass it as bool, "
            "float or sparse: integer arrays are label indices."
        )


def _first_labels(labels: np.ndarray, k: int, exclude: sp.csr_array | None) -> np.ndarray:
    """Return the first k labels of each row that are neither padding nor excluded."""
    best = np.full((len(labels), k), -1, dtype=np.int64)
    best[:, : labels.shape[1]] = labels[:, :k]
    to_pack = np.any(labels[:, :k] < 0, axis=1)
    if exclude is not None:
        to_pack = to_pack | (np.diff(exclude.indptr) > 0)
    for rows in _row_blocks(np.flatnonzero(to_pack), labels.shape[1]):
        keep = labels[rows] >= 0
        if exclude is not None:
            keep &= ~_excluded(exclude, rows, labels[rows])
        rank = np.cumsum(keep, axis=1) - 1
        keep &= rank < k
        at_row, at_column = np.nonzero(keep)
        best[rows] = -1
        best[rows[at_row], rank[at_row, at_column]] = labels[rows[at_row], at_column]
    return best


def _candidate_blocks(
    y_pred: Predictions,
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Yield rows, candidate labels (b, m) and scores (b, m), -1 and -inf where there is none."""
    if sp.issparse(y_pred):
        yield from _sparse_blocks(y_pred)
        return
    indices: np.ndarray | None = None
    scores: Any = y_pred
    if isinstance(y_pred, Indices):
        indices, scores = y_pred.labels, y_pred.scores
    for rows in _row_blocks(np.arange(len(scores)), scores.shape[1]):
        block_scores = scores[rows].astype(np.result_type(scores.dtype, np.float32))
        if indices is None:
            block_labels = np.broadcast_to(np.arange(scores.shape[1]), block_scores.shape)
        else:
            block_labels = indices[rows].astype(np.int64, copy=False)
            block_scores[block_labels < 0] = -np.inf
        yield rows, block_labels, block_scores


def _sparse_blocks(
    y_pred: sp.sparray | sp.spmatrix,
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    csr = sp.csr_array(y_pred)
    if csr.nnz == 0:
        return
    lengths = np.diff(csr.indptr)
    # Rows of like length share a block: little padding even if a few rows are very long.
    for rows in _row_blocks(np.argsort(-lengths, kind="stable"), lengths):
        offset = np.arange(lengths[rows].max())
        stored = offset < lengths[rows][:, None]
        position = np.where(stored, csr.indptr[rows][:, None] + offset, 0)
        scores = csr.data[position].astype(np.result_type(csr.dtype, np.float32), copy=False)
        labels = csr.indices[position].astype(np.int64)
        labels[~stored] = -1
        scores[~stored] = -np.inf
        yield rows, labels, scores


def _row_blocks(rows: np.ndarray, widths: int | np.ndarray) -> Iterator[np.ndarray]:
    """Cut `rows` into blocks of bounded size; an array of widths has to fall along `rows`."""
    start = 0
    while start < len(rows):
        width = int(widths[rows[start]] if isinstance(widths, np.ndarray) else widths)
        stop = start + max(1, _BLOCK_ENTRIES // max(1, width))
        yield rows[start:stop]
        start = stop


def _excluded(exclude: sp.csr_array, rows: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Tell which candidates are filter pairs."""
    found = np.zeros(labels.shape, dtype=bool)
    concerned = np.flatnonzero(np.diff(exclude.indptr)[rows])
    if len(concerned):
        found[concerned] = find_pairs(exclude, rows[concerned][:, None], labels[concerned])
    return found


def _select_best(labels: np.ndarray, scores: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the k best candidates of each row in order: higher score, then lower label."""
    in_order = (scores[:, :-1] > scores[:, 1:]) | (
        (scores[:, :-1] == scores[:, 1:])
        & ((labels[:, :-1] < labels[:, 1:]) | np.isneginf(scores[:, 1:]))
    )
    if in_order.all():  # what predict_topk returns
        return labels[:, :k], scores[:, :k]
    width = scores.shape[1]
    if k < width:
        worst = np.partition(scores, width - k, axis=1)[:, width - k, None]
        chosen = scores >= worst
        # Where several candidates tie for the last place, the lowest labels get in.
        tied = np.flatnonzero(chosen.sum(axis=1) > k)
        if len(tied):
            by_label = np.argsort(labels[tied], axis=1, kind="stable")
            sorted_scores = np.take_along_axis(scores[tied], by_label, axis=1)
            above = sorted_scores > worst[tied]
            equal = sorted_scores == worst[tied]
            room = k - above.sum(axis=1, keepdims=True)
            let_in = above | (equal & (np.cumsum(equal, axis=1) <= room))
            chosen_tied = np.empty_like(let_in)
            np.put_along_axis(chosen_tied, by_label, let_in, axis=1)
            chosen[tied] = chosen_tied
        labels, scores = labels[chosen].reshape(-1, k), scores[chosen].reshape(-1, k)
    order = np.lexsort((labels, -scores), axis=1)
    return np.take_along_axis(labels, order, axis=1), np.take_along_axis(scores, order, axis=1)
