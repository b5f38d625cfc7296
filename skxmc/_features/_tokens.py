"""Vectors of the single tokens of texts, made where they are asked for and never kept."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

# Texts whose tokens are in memory at a time: 256 of 64 tokens and width 384 take 25 MB.
_TEXTS = 256


@dataclass
class TokenVectors:
    """Tokens of some texts; those of text i are ``vectors[offsets[i]:offsets[i + 1]]``.

    Parameters
    ----------
    vectors : ndarray of shape (n_tokens, dimension), float32, unit norm
        What the encoder makes of each token in its text. Tokens that stand for no part of the
        text are left out.
    offsets : ndarray of shape (n_texts + 1,), int64
        Where each text starts.
    """

    vectors: np.ndarray
    offsets: np.ndarray

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def of(self, row: int) -> np.ndarray:
        """The vectors of one text, (n_own, dimension)."""
        return self.vectors[self.offsets[row] : self.offsets[row + 1]]


class Tokens:
    """Texts whose tokens an encoder can be asked for.

    It stands beside the blocks of :class:`Features`. Only texts are kept: a vector for each token
    of all documents would take twenty times the memory of their embeddings.

    Parameters
    ----------
    texts : sequence of str
        All texts.
    encode : callable
        Gives the :class:`TokenVectors` of a list of texts.
    rows : ndarray of shape (n,), int64, or None
        Which of the texts these are; None takes all.
    """

    def __init__(
        self,
        texts: Sequence[str],
        encode: Callable[[list[str]], TokenVectors],
        rows: np.ndarray | None = None,
    ) -> None:
        self.texts, self._encode = texts, encode
        self.rows = np.arange(len(texts)) if rows is None else rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, rows: Any) -> Tokens:
        return Tokens(self.texts, self._encode, self.rows[rows])

    def blocks(self) -> Iterator[tuple[slice, TokenVectors]]:
        """The tokens of a few texts after the other, with the rows that they belong to."""
        for start in range(0, len(self), _TEXTS):
            rows = slice(start, start + _TEXTS)
            yield rows, self._encode([self.texts[row] for row in self.rows[rows]])
