"""Scores of documents by label vectors: of the best labels, or of given ones."""

from __future__ import annotations

import numpy as np
import torch

from .._runtime._device import as_tensor, has_fast_int8_cpu, resolve_device
from ..indexes import sort_candidates
from ..indexes._integers import quantize

# Most numbers of a block of scores, or of gathered label vectors (float32: 128 MB), and of a block
# of scores by integers, which stays in the cache of a CPU (16 MB).
_BLOCK, _INTEGER_BLOCK = 2**25, 2**22

# Fewest numbers that integers find faster, and labels for each one that is asked for: below, it is
# exact scoring that takes the time.
_MANY, _LABELS_FOR_EACH = 2**22, 32

# Labels that are scored exactly beyond those that are asked for: as many, or a share of them. On
# 30,000 labels the best 100 by float32 are all among the best 128 by integers.
_MORE, _MORE_SHARE = 28, 0.25


class LabelScores:
    """Inner products of documents with label vectors.

    Where a CPU is fast at it, the best labels of all are sought by integers of 8 bits, and those
    that are found are scored in float32. A label may be missed only where it is nearly as good as
    a fourth more than were asked for. The integers are made when they are needed first; a single
    document that comes first does not wait for them.

    Parameters
    ----------
    vectors : ndarray of shape (n_labels, d), float32, float16 or int8
    scales : ndarray of shape (n_labels,), float32, or None
        What integers are multiplied by.
    device : str
    """

    def __init__(self, vectors: np.ndarray, scales: np.ndarray | None, device: str) -> None:
        self.vectors, self.scales = vectors, scales
        self.device = resolve_device(device)
        self._integers: tuple[torch.Tensor, torch.Tensor] | None = None
        self._asked = scales is not None

    def best(self, x: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """The k best labels of documents x (n, d) float32, best first: labels and scores."""
        integers = self._find_integers(len(x), k)
        size = _BLOCK if integers is None else _INTEGER_BLOCK
        step = max(1, min(2048, size // len(self.vectors)))
        labels = np.empty((len(x), k), dtype=np.int64)
        scores = np.empty((len(x), k), dtype=np.float32)
        for start in range(0, len(x), step):
            rows = slice(start, start + step)
            if integers is None:
                found = self._best_of_all(x[rows], k)
            else:
                found = self.given(x[rows], _nearest(x[rows], *integers, k))
            labels[rows], scores[rows] = sort_candidates(*found, k)
        return labels, scores

    def given(self, x: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Scores of given labels (n, m) int64, -1 where there are fewer; the labels beside."""
        scores = np.empty(labels.shape, dtype=np.float32)
        if self.device.type == "cpu":
            # One document after the other: the vectors of its labels stay in the cache.
            for row, own in enumerate(labels):
                np.vecdot(self.rows(np.maximum(own, 0)), x[row], out=scores[row])
            return labels, scores
        step = max(1, min(2048, _BLOCK // max(1, labels.shape[1] * x.shape[1])))
        weights = as_tensor(self.vectors, self.device)
        for start in range(0, len(x), step):
            rows = slice(start, start + step)
            asked = torch.from_numpy(np.maximum(labels[rows], 0)).to(self.device)
            vectors = weights[asked].float()
            if self.scales is not None:
                vectors *= as_tensor(self.scales, self.device)[asked][..., None]
            own = torch.from_numpy(x[rows]).to(self.device)
            scores[rows] = torch.bmm(vectors, own[:, :, None])[:, :, 0].cpu().numpy()
        return labels, scores

    def rows(self, labels: np.ndarray | slice) -> np.ndarray:
        """Vectors of some labels, (..., d) float32."""
        vectors = self.vectors[labels].astype(np.float32, copy=False)
        if self.scales is not None:
            vectors *= self.scales[labels][..., None]
        return vectors

    def _best_of_all(self, x: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        weights = as_tensor(self.vectors, self.device)
        scores = torch.from_numpy(x).to(self.device) @ weights.to(torch.float32).T
        if self.scales is not None:
            scores *= as_tensor(self.scales, self.device)
        scores, labels = scores.topk(k, dim=1)
        return labels.cpu().numpy(), scores.cpu().numpy()

    def _find_integers(self, n: int, k: int) -> tuple[torch.Tensor, torch.Tensor] | None:
        """Integers and their scales, where they are the faster way."""
        n_labels, width = self.vectors.shape
        few = n_labels < _LABELS_FOR_EACH * k or self.vectors.size < _MANY
        if few or self.device.type != "cpu" or not 1 < width <= 2**17 or not has_fast_int8_cpu():
            return None
        again, self._asked = self._asked or n > 1, True
        if self._integers is None and again:
            if self.scales is None:
                integers, scales, _ = quantize(self.vectors)
            else:
                integers, scales = self.vectors, self.scales
            self._integers = as_tensor(integers), as_tensor(scales)
        return self._integers


def _nearest(x: np.ndarray, integers: torch.Tensor, scales: torch.Tensor, k: int) -> np.ndarray:
    """The best labels by integers, in no order, and somewhat more than k."""
    own = torch.from_numpy(quantize(x)[0])
    scores = torch._int_mm(own, integers.T) * scales
    n_found = min(k + max(_MORE, int(_MORE_SHARE * k)), len(integers))
    return scores.topk(n_found, dim=1, sorted=False).indices.numpy()
