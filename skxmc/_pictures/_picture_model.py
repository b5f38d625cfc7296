"""The contract of models that make vectors of pictures, and what is done to strips."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from PIL.Image import Image


class PictureModel(ABC):
    """A frozen model in two steps, of which the first needs no accelerator.

    Attributes
    ----------
    thread_safe : bool
        Whether several threads may be in :meth:`forward` at a time.
    """

    thread_safe: bool = True

    @abstractmethod
    def prepare(self, images: list[Image]) -> Any:
        """The model's input from RGB images."""

    @abstractmethod
    def forward(self, prepared: Any) -> list[Any]:
        """Blocks of the vectors, one a layer, each of shape (n_images, width of the layer)."""


def limit_aspect(image: Image, limit: int = 32) -> Image:
    """Cut off the ends of a strip: a model that scales the short side would need gigabytes."""
    width, height = image.size
    most = limit * min(width, height)
    if max(width, height) <= most:
        return image
    left, top = max(width - most, 0) // 2, max(height - most, 0) // 2
    return image.crop((left, top, left + min(width, most), top + min(height, most)))
