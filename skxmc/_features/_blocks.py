"""Aligned blocks of numbers that describe documents or labels."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.sparse as sp

from .._runtime import limits
from ._tokens import Tokens

Block = np.ndarray | sp.csr_array


class Features:
    """Aligned blocks of numbers that describe documents or labels; any block may be missing.

    Parameters
    ----------
    text : ndarray of shape (n, dimension), float32, unit norm
        Embeddings of the texts; of a tuned encoder, the pictures are in them.
    pictures : ndarray of shape (n, image_dimension), float32, or None
        One scaled picture vector an item; zeros for items without pictures.
    words : csr_array of shape (n, n_words), float32, or None
        TF-IDF of words and character n-grams.
    tokens : Tokens or None
        The texts themselves, for those that ask for the vectors of their tokens. No block: it is
        neither stacked nor saved.

    Attributes
    ----------
    blocks : dict of str to array
        The blocks that are there, by name.
    """

    def __init__(
        self,
        text: np.ndarray,
        pictures: np.ndarray | None = None,
        words: sp.csr_array | None = None,
        tokens: Tokens | None = None,
    ) -> None:
        self.tokens = tokens
        blocks = {"text": text, "pictures": pictures, "words": words}
        self.blocks: dict[str, Block] = {n: b for n, b in blocks.items() if b is not None}

    @property
    def text(self) -> np.ndarray:
        """Embeddings of the texts."""
        return self.blocks["text"]

    @property
    def pictures(self) -> np.ndarray | None:
        """Vectors of the pictures."""
        return self.blocks.get("pictures")

    @property
    def words(self) -> sp.csr_array | None:
        """Sparse features of the texts."""
        return self.blocks.get("words")

    def __len__(self) -> int:
        return self.text.shape[0]

    def take(self, rows: Any) -> Features:
        """The rows (indices, slice) of every block."""
        tokens = None if self.tokens is None else self.tokens[rows]
        return Features(**{name: block[rows] for name, block in self.blocks.items()}, tokens=tokens)

    @classmethod
    def stack(cls, parts: list[Features]) -> Features:
        """The items of all parts, which have the same blocks."""
        blocks = {name: [part.blocks[name] for part in parts] for name in parts[0].blocks}
        return cls(
            **{
                name: sp.csr_array(sp.vstack(block, format="csr"))
                if sp.issparse(block[0])
                else np.concatenate(block)
                for name, block in blocks.items()
            }
        )

    def zeros(self, n: int) -> Features:
        """As many items of zeros, with the blocks that these have."""
        return Features(
            **{
                name: sp.csr_array((n, block.shape[1]), dtype=np.float32)
                if sp.issparse(block)
                else np.zeros((n, block.shape[1]), dtype=np.float32)
                for name, block in self.blocks.items()
            }
        )

    def dense(self) -> list[np.ndarray]:
        """The dense blocks."""
        return [block for block in self.blocks.values() if isinstance(block, np.ndarray)]

    def joined(self) -> np.ndarray:
        """The dense blocks side by side, rows scaled to unit norm, (n, d) float32."""
        return self.text if self.pictures is None else unit_rows(np.hstack(self.dense()))


def unit_rows(vectors: np.ndarray, *, overwrite: bool = False) -> np.ndarray:
    """Rows scaled to unit norm, in place with `overwrite`; rows of zeros stay."""
    lengths = np.maximum(row_norms(vectors), 1e-12)
    return np.divide(vectors, lengths, out=vectors if overwrite else None)


def mean_rows(rows: Block, owner: np.ndarray) -> Block:
    """The mean of the rows of each owner, scaled to unit norm.

    Parameters
    ----------
    rows : ndarray or csr_array of shape (n, d), float32
    owner : ndarray of shape (n,), int64
        Sorted numbers from 0 upwards, each of which owns a row.

    Returns
    -------
    means : ndarray or csr_array of shape (n_owners, d), float32
        `rows` itself where each owner has one.
    """
    n_owners = int(owner[-1]) + 1 if len(owner) else 0
    if n_owners == len(owner):
        return rows
    counts = np.bincount(owner)
    shares = (1 / counts[owner]).astype(np.float32)
    average = sp.csr_array((shares, np.arange(len(owner)), np.r_[0, np.cumsum(counts)]))
    means = average @ rows
    if isinstance(means, np.ndarray):
        means = unit_rows(means)
        means[counts == 1] = rows[counts[owner] == 1]  # these are of unit norm, to the bit
        return means
    norms = np.sqrt(np.asarray(means.multiply(means).sum(axis=1)))
    means.data /= np.repeat(np.maximum(norms, np.float32(1e-12)), np.diff(means.indptr))
    return means


def row_norms(vectors: np.ndarray) -> np.ndarray:
    """Norms of rows, (n, 1), without the squares of all numbers at once."""
    starts = range(0, max(1, len(vectors)), limits.ROWS)
    parts = (vectors[start : start + limits.ROWS] for start in starts)
    return np.concatenate([np.linalg.norm(part, axis=1, keepdims=True) for part in parts])


def block_scales(centred: np.ndarray, widths: tuple[int, ...] = ()) -> np.ndarray:
    """What to divide centred vectors by, so that their blocks are of the same mean length.

    The blocks together are of mean length 1, or a little less.

    Parameters
    ----------
    centred : ndarray of shape (n, dimension)
        Vectors without their mean.
    widths : tuple of int, default=()
        Widths of the blocks; empty for one block.

    Returns
    -------
    scales : ndarray of shape (dimension,)
        1 for a block that is the same everywhere.
    """
    widths = widths or (centred.shape[1],)
    parts = np.split(centred, np.cumsum(widths)[:-1], axis=1)
    lengths = np.array([np.linalg.norm(part, axis=1).mean() for part in parts])
    return np.repeat(np.where(lengths > 0, lengths, 1) * len(widths) ** 0.5, widths)
