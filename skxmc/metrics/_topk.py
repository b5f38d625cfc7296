"""The k best labels of each document, selected from predictions of any form."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import scipy.sparse as sp

from .._inputs._targets import as_rows

# Candidates are narrowed down in blocks of this many scores, so that the temporary arrays of one
# block stay within some ten megabytes whatever the size of the data set.
_BLOCK_ENTRIES = 1 << 20

# A sparse matrix or float or bool array of scores (n_samples, n_labels), an int array of label
# indices (n_samples, k) padded with -1, or such indices with scores of the same shape.
Predictions = sp.sparray | sp.spmatrix | np.ndarray | tuple[np.ndarray, np.ndarray]


def as_predictions(y_pred: Any) -> Predictions:
    """Bring predictions into one of the forms that `top_labels` knows, without copying arrays."""
    if sp.issparse(y_pred):
        return y_pred
    if isinstance(y_pred, tuple) and len(y_pred) == 2 and getattr(y_pred[0], "ndim", 0) == 2:
        indices, scores = np.asarray(y_pred[0]), np.asarray(y_pred[1])
        if scores.shape != indices.shape:
            raise ValueError(
                f"y_pred has indices of shape {indices.shape} but scores of shape {scores.shape}; "
                "pass one score for each index."
            )
        return indices, scores
    if isinstance(y_pred, (list, tuple)):
        rows = as_rows(y_pred, "y_pred")
        padded = np.full((len(rows), max(map(len, rows), default=0)), -1, dtype=np.int64)
        for number, row in enumerate(rows):
            labels = np.asarray(row, dtype=None if row else np.int64)
            if labels.dtype.kind not in "iu" or labels.ndim != 1:
                raise TypeError(
                    f"y_pred[{number}] does not hold label indices only; pass ints, or scores as "
                    "an array or a sparse matrix."
                )
            padded[number, : len(row)] = labels
        return padded
    array = np.asarray(y_pred)
    if array.ndim != 2 or array.dtype.kind not in "iubf":
        raise TypeError(
            f"y_pred is an array of shape {array.shape} and dtype {array.dtype}; pass label "
            "indices (n_samples, k), a tuple (indices, scores), or dense or sparse scores "
            "(n_samples, n_labels)."
        )
    return array


def is_index_array(y_pred: Predictions) -> bool:
    """Tell indices apart from scores: integers are indices, bool and float are scores."""
    return isinstance(y_pred, np.ndarray) and y_pred.dtype.kind in "iu"


def predicted_pairs(
    y_pred: Predictions, shape: tuple[int, int], exclude: sp.csr_array | None
) -> tuple[np.ndarray, np.ndarray]:
    """Return rows and labels of all predictions: non-zero scores, or indices other than -1."""
    if isinstance(y_pred, tuple):
        y_pred = y_pred[0]
    if is_index_array(y_pred):
        check_no_repeats(check_indices(y_pred, shape))
        rows, ranks = np.nonzero(y_pred >= 0)
        labels = y_pred[rows, ranks].astype(np.int64)
    else:
        _check_shape(y_pred.shape, shape)
        rows, labels = y_pred.nonzero()
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
    y_pred : predictions as returned by `as_predictions`
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
    if is_index_array(y_pred):
        labels = _first_labels(check_indices(y_pred, shape), k, exclude)
        scores = None
    else:
        labels = np.full((shape[0], k), -1, dtype=np.int64)
        scores = np.full((shape[0], k), -np.inf)
        for rows, block_labels, block_scores in _candidate_blocks(y_pred, shape):
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


def check_indices(labels: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Check that an array of label indices has the right type, number of rows and range."""
    if labels.dtype.kind not in "iu":
        raise ValueError(
            f"y_pred holds label indices of shape {labels.shape} and dtype {labels.dtype}; pass "
            "ints of shape (n_samples, k), padded with -1."
        )
    _check_rows(labels.shape[0], shape[0])
    if labels.size and not (labels.min() >= -1 and labels.max() < shape[1]):
        wrong = (labels < -1) | (labels >= shape[1])
        row, rank = np.argwhere(wrong)[0]
        raise ValueError(
            f"y_pred[{row}, {rank}] is the label {labels[row, rank]}, but label indices lie "
            f"between 0 and {shape[1] - 1}, and -1 stands for no prediction."
        )
    return labels


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


def _check_rows(n_rows: int, n_samples: int) -> None:
    if n_rows != n_samples:
        raise ValueError(
            f"y_pred has {n_rows} rows but y_true has {n_samples}; pass predictions for the same "
            "documents."
        )


def _first_labels(labels: np.ndarray, k: int, exclude: sp.csr_array | None) -> np.ndarray:
    """Return the first k labels of each row that are neither padding nor excluded."""
    best = np.full((len(labels), k), -1, dtype=np.int64)
    best[:, : labels.shape[1]] = labels[:, :k]
    to_pack = (labels[:, :k] < 0).any(axis=1)
    if exclude is not None:
        to_pack |= np.diff(exclude.indptr) > 0
    to_pack = np.flatnonzero(to_pack)
    for rows in _row_blocks(to_pack, labels.shape[1]):
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
    y_pred: Predictions, shape: tuple[int, int]
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Yield rows, candidate labels (b, m) and scores (b, m), -1 and -inf where there is none."""
    if sp.issparse(y_pred):
        yield from _sparse_blocks(y_pred, shape)
        return
    if isinstance(y_pred, tuple):
        indices, scores = check_indices(y_pred[0], shape), y_pred[1]
    else:
        indices, scores = None, y_pred
        _check_shape(scores.shape, shape)
    for rows in _row_blocks(np.arange(shape[0]), scores.shape[1]):
        block_scores = scores[rows].astype(np.result_type(scores.dtype, np.float32))
        if np.isnan(block_scores).any():
            row = rows[np.isnan(block_scores).any(axis=1)][0]
            raise ValueError(f"y_pred holds a NaN score in row {row}; mark no prediction by -inf.")
        if indices is None:
            block_labels = np.broadcast_to(np.arange(shape[1]), block_scores.shape)
        else:
            block_labels = indices[rows].astype(np.int64, copy=False)
            block_scores[block_labels < 0] = -np.inf
        yield rows, block_labels, block_scores


def _sparse_blocks(
    y_pred: sp.sparray | sp.spmatrix, shape: tuple[int, int]
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    _check_shape(y_pred.shape, shape)
    csr = sp.csr_array(y_pred)
    if np.isnan(csr.data).any():
        position = np.flatnonzero(np.isnan(csr.data))[0]
        row = np.searchsorted(csr.indptr, position, side="right") - 1
        raise ValueError(f"y_pred holds a NaN score in row {row}; leave out what is not predicted.")
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


def _check_shape(found: tuple[int, ...], expected: tuple[int, int]) -> None:
    _check_rows(found[0], expected[0])
    if found[1] != expected[1]:
        raise ValueError(
            f"y_pred has {found[1]} columns but there are {expected[1]} labels; pass one score for "
            "each label, or label indices as an integer array."
        )


def _row_blocks(rows: np.ndarray, widths: int | np.ndarray) -> Iterator[np.ndarray]:
    """Cut `rows` into blocks of bounded size; an array of widths has to fall along `rows`."""
    start = 0
    while start < len(rows):
        width = widths if np.isscalar(widths) else widths[rows[start]]
        stop = start + max(1, _BLOCK_ENTRIES // max(1, int(width)))
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
