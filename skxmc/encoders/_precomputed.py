"""What a user says of ready embeddings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator

from .._features._blocks import unit_rows
from .._inputs._names import plain_name
from .._inputs._tables import as_mapping
from .._inputs._values import listed


class Precomputed(BaseEstimator):
    """Ready embeddings of documents as X, and of labels beside them.

    ``encoder="precomputed"`` is the same without embeddings of labels.

    Parameters
    ----------
    label_embeddings : mapping of id to vector, or array of shape (n_labels, d), default=None
        Embeddings of the labels' own texts, by the encoder that those of the documents are from. A
        mapping may leave labels out. An array has a row for each label in the order of
        `classes_`: that of the columns of `y` or of `label_text`, else sorted.

    Examples
    --------
    A label without documents is found by its embedding:

    >>> import numpy as np
    >>> from skxmc import ViXMLClassifier
    >>> from skxmc.encoders import Precomputed
    >>> encoder = Precomputed({"a": [1.0, 0, 0], "b": [0, 1.0, 0], "c": [0, 0, 1.0]})
    >>> clf = ViXMLClassifier(encoder, label_text=["a", "b", "c"], random_state=0)
    >>> clf = clf.fit(np.eye(3)[:2], [["a"], ["b"]])
    >>> clf.predict_topk(np.eye(3)[2:], k=1, return_labels=True)[0]
    array([['c']], dtype=object)
    """

    def __init__(self, label_embeddings: Any = None) -> None:
        self.label_embeddings = label_embeddings

    def embeddings_of(self, ids: np.ndarray, dimension: int) -> np.ndarray | None:
        """Embeddings of labels, in their order.

        Parameters
        ----------
        ids : ndarray of shape (n_labels,)
            The labels.
        dimension : int
            Length of the documents' embeddings.

        Returns
        -------
        embeddings : ndarray of shape (n_labels, dimension), float32, unit norm, or None
            Zeros for labels that a mapping leaves out; None if there are none at all.

        Raises
        ------
        ValueError
            If they do not fit labels or documents, or hold NaN or infinity.
        """
        given = self.label_embeddings
        if given is None:
            return None
        if isinstance(given, Mapping) or as_mapping(given) is not None:
            given = _by_ids(given, ids, dimension)
        vectors = np.asarray(given, dtype=np.float32)
        if vectors.shape != (len(ids), dimension):
            raise ValueError(
                f"label_embeddings has shape {vectors.shape}, and there are {len(ids)} labels and "
                f"embeddings of length {dimension}; pass an array of shape ({len(ids)}, "
                f"{dimension}), or a mapping of id to vector."
            )
        wrong = np.flatnonzero(~np.isfinite(vectors).all(axis=1))
        if len(wrong):
            raise ValueError(
                f"label_embeddings has NaN or infinity in the row of {ids[wrong[0]]!r}"
                f"{listed(wrong.tolist())}; leave the label out of a mapping, or pass zeros."
            )
        return unit_rows(vectors)


def _by_ids(given: Any, ids: np.ndarray, dimension: int) -> np.ndarray:
    """Rows of a mapping in the order of the labels."""
    keys, values = as_mapping(given)
    place = {name: position for position, name in enumerate(ids.tolist())}
    vectors = np.zeros((len(ids), dimension), dtype=np.float32)
    for key, value in zip(keys, values, strict=True):
        name = plain_name(key)
        if name not in place:
            raise ValueError(
                f"label_embeddings has the key {key!r}, which is no label; its keys are ids such "
                f"as {ids[0]!r}. A label without documents has to be in label_text."
            )
        value = np.asarray(value, dtype=np.float32)
        if value.shape != (dimension,):
            raise ValueError(
                f"label_embeddings[{key!r}] has shape {value.shape}, and embeddings of documents "
                f"are of length {dimension}."
            )
        vectors[place[name]] = value
    return vectors
