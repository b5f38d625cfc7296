"""Picture vectors of the same spread in all directions."""

from __future__ import annotations

from typing import Any

import numpy as np

from .._inputs._images import ImageFeatures
from .._runtime._threads import product
from ._blocks import block_scales, unit_rows

# Length of a document's picture block; its text embedding has length 1.
PICTURE_SCALE = 1.0

# Training pictures that it takes to know the spread along one more direction.
PICTURES_PER_COMPONENT = 8


class ImageWhitener:
    """Brings picture vectors to the same spread in all directions, and to unit length.

    Networks trained on photographs spread other pictures along a few directions only (a large
    mean, and the strokes of a drawing), which drown all differences. Whitening by the principal
    components of the training pictures evens them out. Vectors of several layers are first
    centred and scaled block by block: else the layer with the largest numbers hides the others.

    Parameters
    ----------
    n_components : int, default=512
        Principal components kept, at most one for eight pictures: fewer pictures say nothing
        reliable of the spread, and whitening would blow noise up.

    Attributes
    ----------
    mean_ : ndarray of shape (image_dimension,), float32
    components_ : ndarray of shape (image_dimension, n_kept), float32
        Directions, divided by the spread along them and by the scales of the blocks.
    """

    def __init__(self, n_components: int = 512) -> None:
        self.n_components = n_components

    def fit(self, images: ImageFeatures) -> ImageWhitener:
        """Learn from the distinct pictures."""
        vectors = images.vectors.astype(np.float64)
        mean = vectors.mean(axis=0)
        scale = block_scales(vectors - mean, images.widths)
        centred = (vectors - mean) / scale
        variances, directions = np.linalg.eigh(centred.T @ centred / len(centred))
        n_kept = max(
            1, min(self.n_components, vectors.shape[1], len(vectors) // PICTURES_PER_COMPONENT)
        )
        variances, directions = variances[::-1][:n_kept], directions[:, ::-1][:, :n_kept]
        # A little of the mean variance keeps directions without any from being blown up.
        spread = np.sqrt(np.maximum(variances, 0) + 1e-3 * variances.mean() + 1e-12)
        self.mean_ = mean.astype(np.float32)
        self.components_ = (directions / spread / scale[:, np.newaxis]).astype(np.float32)
        return self

    def transform(self, images: ImageFeatures) -> ImageFeatures:
        """The same pictures with whitened vectors of unit length."""
        return ImageFeatures(
            unit_rows(product(images.vectors - self.mean_, self.components_)), images.index
        )

    def state_dict(self) -> dict[str, Any]:
        """All that :meth:`from_state` needs, as numbers and arrays."""
        return {
            "n_components": self.n_components,
            "mean": self.mean_,
            "components": self.components_,
        }

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> ImageWhitener:
        """Rebuild from :meth:`state_dict`."""
        whitener = cls(state["n_components"])
        whitener.mean_, whitener.components_ = state["mean"], state["components"]
        return whitener
