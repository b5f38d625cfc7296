"""Early fusion: an image's vector becomes one more token of the text encoder."""

from __future__ import annotations

import numpy as np
import torch

from .._features._blocks import block_scales


class ImageProjection(torch.nn.Module):
    """Linear map W_img from image vectors into the word-embedding space of an encoder.

    Each image is one token of the sequence (Section 1 of the method in the user guide; ViXML,
    AAAI 2026, Section 3). Vectors are centred and scaled to unit mean norm first, block by block,
    with statistics of the training images, and the map starts so that image tokens are as long
    as word embeddings: a backbone whose vectors are ten times longer needs no other learning rate.

    Parameters
    ----------
    vectors : ndarray of shape (n_images, image_dimension), float32
        The training images' vectors.
    word_embeddings : torch.Tensor of shape (vocabulary, dimension)
        The encoder's table, for the scale of a token.
    seed : int, default=0
        Of the map's start.
    widths : tuple of int, default=()
        Widths of the blocks of a vector; empty for one block.
    """

    def __init__(
        self,
        vectors: np.ndarray,
        word_embeddings: torch.Tensor,
        seed: int = 0,
        widths: tuple[int, ...] = (),
    ) -> None:
        super().__init__()
        image_dimension, dimension = vectors.shape[1], word_embeddings.shape[1]
        if not len(vectors):
            vectors = np.zeros((1, image_dimension), dtype=np.float32)
        mean = vectors.mean(axis=0)
        scale = block_scales(vectors - mean, widths)
        self.register_buffer("mean", torch.from_numpy(mean.astype(np.float32)))
        self.register_buffer("scale", torch.from_numpy(scale.astype(np.float32)))
        # Without the usual start, which would draw from the caller's random numbers.
        self.linear = torch.nn.utils.skip_init(torch.nn.Linear, image_dimension, dimension)
        token_norm = word_embeddings.detach().float().norm(dim=1).mean().item()
        # A unit vector times a matrix of deviation s has norm s * sqrt(dimension).
        generator = torch.Generator().manual_seed(seed)
        torch.nn.init.normal_(
            self.linear.weight, std=token_norm / dimension**0.5, generator=generator
        )
        torch.nn.init.zeros_(self.linear.bias)

    @classmethod
    def empty(cls, image_dimension: int, dimension: int) -> ImageProjection:
        """A projection of the given shape whose weights are to be loaded."""
        return cls(np.zeros((0, image_dimension), dtype=np.float32), torch.ones(1, dimension))

    def forward(self, vectors: torch.Tensor) -> torch.Tensor:
        """Image vectors (n, image_dimension) to tokens (n, dimension)."""
        return self.linear((vectors - self.mean) / self.scale)
