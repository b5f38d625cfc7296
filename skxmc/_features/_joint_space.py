"""Where documents and labels are compared: embeddings, and pictures and words beside."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.sparse as sp

from ._blocks import Features, row_norms, unit_rows
from ._centroids import label_centroids
from ._whitening import PICTURE_SCALE
from ._words import SparseProjection

# Dimension and length of a text's words; the embedding has length 1. With a frozen encoder, words
# bring prototypes of packages alone from 25.1 to 27.8 % P@1, and the mixture from 50.5 to 51.2 %;
# they bring neighbours of icons from 47.6 to 48.9 % PSP@5, and the mixture from 76.0 to 76.6 % P@1.
# Twice the dimension is no better: prototypes 28.1 %, and after re-ranking 52.6 % either way.
WORDS_DIMENSION = 512
WORDS_SCALE = 0.7


class JointSpace:
    """Joins embeddings, pictures and words to vectors whose inner products rank labels.

    A prototype's picture and words are those of the label itself together with the centroid of
    its documents'. An embedding says what a text is about; words find the name in it. Neighbours
    are looked for among documents' vectors, at unit length. Tuned prototypes do better alone: what
    training has taught them, pictures and words drown.

    Parameters
    ----------
    pictures : bool, default=False
        Whether pictures stand beside embeddings.
    n_words : int, default=0
        Width of the sparse features, if words stand beside embeddings, else 0.
    seed : int, default=0
        Of the words' random projection.
    words_dimension : int, default=512
        What the words are projected to.
    """

    def __init__(
        self,
        *,
        pictures: bool = False,
        n_words: int = 0,
        seed: int = 0,
        words_dimension: int = WORDS_DIMENSION,
    ) -> None:
        self.pictures, self.n_words, self.seed = pictures, n_words, seed
        self.words_dimension = words_dimension
        self._projection = SparseProjection(n_words, words_dimension, seed) if n_words else None

    def documents(self, features: Features) -> np.ndarray:
        """Vectors of documents, or of labels without documents, (n, d) float32."""
        return _join(features.text, self._sides(features))

    def prototypes(
        self,
        vectors: np.ndarray,
        features: Features,
        Y: sp.csr_array,
        labels: Features | None,
    ) -> np.ndarray:
        """Vectors of labels, (n_labels, d) float32.

        Parameters
        ----------
        vectors : ndarray of shape (n_labels, dimension), float32
            Prototypes in the space of embeddings.
        features : Features
            Of the documents.
        Y : csr_array of shape (n_documents, n_labels)
        labels : Features or None
            Of the labels' own texts and pictures, of which any but the embedding may be missing.
        """
        sides = []
        own = [None, None] if labels is None else self._sides(labels)
        for side, mine in zip(self._sides(features), own, strict=True):
            if side is not None:
                scale, side = side
                centroids = label_centroids(side, Y)
                sides.append((scale, centroids if mine is None else centroids + mine[1]))
        return _join(vectors, sides)

    def blocks(self, features: Features) -> dict[str, tuple[float, np.ndarray]]:
        """Embeddings, pictures and words as they are joined: the length of each, and its rows.

        Blocks that are missing are left out; the others stand in this order in a joint vector.
        """
        sides = dict(zip(("pictures", "words"), self._sides(features), strict=True))
        there = {name: side for name, side in sides.items() if side is not None}
        return {"text": (1.0, features.text), **there}

    def scales(self) -> dict[str, float]:
        """Lengths of the blocks that :meth:`blocks` may give."""
        return {"text": 1.0, "pictures": PICTURE_SCALE, "words": WORDS_SCALE}

    def picture_columns(self, features: Features) -> slice | None:
        """Which columns of :meth:`documents` are the pictures; None if none are."""
        if not self.pictures or features.pictures is None:
            return None
        start = features.text.shape[1]
        return slice(start, start + features.pictures.shape[1])

    def word_parts(self, features: Features, vectors: np.ndarray) -> list[np.ndarray] | None:
        """What each word of a document adds to inner products; None if words don't stand here.

        Parameters
        ----------
        features : Features
            Of n documents.
        vectors : ndarray of shape (n, m, d), float32
            What they are compared with, such as prototypes.

        Returns
        -------
        parts : list of ndarray of shape (m, n_stored), float32, or None
            For each document those of the stored entries of its row of words.
        """
        pictures, words = self._sides(features)
        if words is None:
            return None
        scales = [1.0, *(scale for scale, _ in filter(None, (pictures, words)))]
        lengths = row_norms(self._projection.transform(features.words))
        factors = WORDS_SCALE / np.sqrt(np.sum(np.square(scales))) / np.maximum(lengths, 1e-12)
        own = vectors[:, :, -self.words_dimension :] * factors[:, :, None].astype(np.float32)
        return self._projection.parts(features.words, own)

    def state_dict(self) -> dict[str, Any]:
        """The parameters."""
        names = ("pictures", "n_words", "seed", "words_dimension")
        return {name: getattr(self, name) for name in names}

    def _sides(self, features: Features) -> list[tuple[float, np.ndarray] | None]:
        """Length and rows of pictures and of words; None where there are none."""
        pictures = words = None
        if self.pictures and features.pictures is not None:
            pictures = PICTURE_SCALE, features.pictures
        if features.words is not None and self._projection is not None:
            words = WORDS_SCALE, unit_rows(self._projection.transform(features.words))
        return [pictures, words]


def _join(embeddings: np.ndarray, sides: list[tuple[float, np.ndarray] | None]) -> np.ndarray:
    """Blocks side by side, each with rows of its length (or of zeros); at most 1 altogether."""
    there = [side for side in sides if side is not None]
    if not there:
        return np.asarray(embeddings, dtype=np.float32)
    length = np.float32(np.sqrt(1 + sum(scale**2 for scale, _ in there)))
    blocks = [embeddings, *(np.float32(scale) * unit_rows(block) for scale, block in there)]
    return np.hstack(blocks, dtype=np.float32) / length
