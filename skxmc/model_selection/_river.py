"""An estimator of skxmc with the conventions of river.

Only `as_river` imports this module, after it has seen that river is installed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from copy import deepcopy
from typing import Any

import numpy as np
from river.base import MultiLabelClassifier


class Labels(dict):
    """Labels and whether they are right; all those that are not in it are not."""

    def __missing__(self, label: Any) -> bool:
        return False


class RiverClassifier(MultiLabelClassifier):
    """Learns from one document at a time, in blocks; made by :func:`as_river`.

    Parameters
    ----------
    estimator : object
        Has ``partial_fit``; it is copied.
    text, image : str or None
        Keys of a document's text and pictures.
    block_size : int
        Documents that are learned from at a time.
    k : int
        Labels that a prediction holds.
    """

    def __init__(
        self, estimator: Any, text: str, image: str | None, block_size: int, k: int
    ) -> None:
        self.estimator, self.text, self.image = estimator, text, image
        self.block_size, self.k = block_size, k
        self.model_ = deepcopy(estimator)
        self._waiting: list[tuple[Any, Any, list]] = []

    def learn_one(self, x: Mapping[Any, Any], y: Mapping[Any, bool] | Iterable) -> None:
        """Take in one document, and learn once a block is full.

        Parameters
        ----------
        x : mapping
            The document by the keys `text` and `image`.
        y : mapping of label to bool, or iterable of labels
            Labels that it has.
        """
        names = [name for name, right in y.items() if right] if isinstance(y, Mapping) else list(y)
        self._waiting.append((x[self.text], self._picture(x), names))
        if len(self._waiting) >= self.block_size:
            texts, pictures, labels = zip(*self._waiting, strict=True)
            more = {} if self.image is None else {"images": list(pictures)}
            self.model_.partial_fit(list(texts), list(labels), **more)
            self._waiting = []

    def predict_proba_one(self, x: Mapping[Any, Any], **kwargs: Any) -> dict:
        """Probabilities of the best labels; nothing before the first block.

        Parameters
        ----------
        x : mapping
            The document.
        **kwargs : dict
            Not used.

        Returns
        -------
        probabilities : dict of label to {True: float, False: float}
        """
        if not self.model_.__sklearn_is_fitted__():
            return {}
        labels, scores, _ = self._best(x)
        return {
            self._name(label): {True: float(score), False: 1 - float(score)}
            for label, score in zip(labels, scores, strict=True)
        }

    def predict_one(self, x: Mapping[Any, Any], **kwargs: Any) -> dict:
        """Whether the best labels are right; nothing before the first block.

        Parameters
        ----------
        x : mapping
            The document.
        **kwargs : dict
            Not used.

        Returns
        -------
        labels : dict of label to bool
            The k best; all others are False as well.
        """
        if not self.model_.__sklearn_is_fitted__():
            return {}
        labels, scores, thresholds = self._best(x)
        return Labels(
            (self._name(label), bool(score > threshold))
            for label, score, threshold in zip(labels, scores, thresholds, strict=True)
        )

    def _best(self, x: Mapping[Any, Any]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The best labels as columns, their probabilities and thresholds."""
        more = {} if self.image is None else {"images": [self._picture(x)]}
        labels, scores = self.model_.predict_topk([x[self.text]], self.k, **more)
        there = labels[0] >= 0
        labels, scores = labels[0][there], scores[0][there]
        thresholds = np.broadcast_to(self.model_.threshold_, len(self.model_.classes_))
        return labels, scores, thresholds[labels]

    def _name(self, label: int) -> Any:
        return self.model_.classes_[label : label + 1].tolist()[0]

    def _picture(self, x: Mapping[Any, Any]) -> Any:
        return None if self.image is None else x.get(self.image)
