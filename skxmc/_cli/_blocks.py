"""Predictions of many documents, with a bar of progress."""

from __future__ import annotations

from typing import Any

import numpy as np
from tqdm import tqdm

from ._data import Documents

# Documents of a call: enough to fill batches, few enough for a bar that moves.
BLOCK = 2048


def predict_blocks(
    model: Any, documents: Documents, k: int, exclude: Any, *, quiet: bool
) -> tuple[np.ndarray, np.ndarray]:
    """The k best labels of each document as numbers, and their scores."""
    n = len(documents.texts)
    labels, scores = np.empty((n, k), dtype=np.int64), np.empty((n, k), dtype=np.float32)
    with tqdm(total=n, desc="predicting", unit="document", disable=quiet) as bar:
        for start in range(0, n, BLOCK):
            rows = slice(start, min(start + BLOCK, n))
            labels[rows], scores[rows] = model.predict_topk(
                documents.texts[rows],
                k,
                images=None if documents.images is None else documents.images[rows],
                exclude=None if exclude is None else exclude[rows],
            )
            bar.update(rows.stop - start)
    return labels, scores
