"""The contract of backbones: input embeddings of ragged sequences to hidden states."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch


class Backbone(torch.nn.Module, ABC):
    """A transformer as towers call it, whatever computes it.

    Attributes
    ----------
    model : torch.nn.Module
        The weights, under the names that transformers gives them. Adapters are put on it, and
        saved files hold its state.
    packed : bool
        Whether sequences go through in one row without padding, each seeing itself alone.
        Otherwise they go through by equal lengths.
    position_offset : int
        Added to positions in a packed row (RoBERTa counts from the padding index plus one).
    """

    model: torch.nn.Module
    packed: bool = True
    position_offset: int = 0

    @property
    @abstractmethod
    def config(self) -> Any:
        """The model's configuration, with the names of transformers."""

    @property
    @abstractmethod
    def dtype(self) -> torch.dtype:
        """Of the weights."""

    @property
    def width(self) -> int:
        """Length of a hidden state."""
        # Some OPT models work in another width than they read and write.
        return getattr(self.config, "word_embed_proj_dim", None) or self.config.hidden_size

    @property
    def attention(self) -> str | None:
        """Which of transformers' attentions computes; None where packed attention does."""
        return None

    @abstractmethod
    def get_input_embeddings(self) -> torch.nn.Module:
        """The table of words."""

    @abstractmethod
    def run(
        self,
        embeddings: torch.Tensor,
        positions: torch.Tensor,
        runs: list[tuple[int, int]],
        shared: int = 0,
    ) -> torch.Tensor:
        """Last hidden states of ragged sequences, one row a token.

        Parameters
        ----------
        embeddings : torch.Tensor of shape (n_tokens, width)
            Token embeddings before position and type embeddings.
        positions : torch.Tensor of shape (n_tokens,), int64
            Position of each token in its own sequence, from 0.
        runs : list of (count, length)
            Consecutive runs of `count` sequences with `length` tokens each.
        shared : int, default=0
            Tokens at the head of the row, before the runs, that begin every sequence.

        Returns
        -------
        hidden : torch.Tensor of shape (n_tokens, width)
        """

    @contextmanager
    def cast_once(self, dtype: torch.dtype) -> Iterator[None]:
        """Within, all rows may be multiplied by the same cast of the weights, which has a graph."""
        yield

    @abstractmethod
    def for_serving(self, dtype: torch.dtype) -> Backbone:
        """One that is never trained, with weights cast for good; itself if nothing is to do."""

    @abstractmethod
    def lean(self) -> Backbone | None:
        """The same model on the same parameters in code of our own; None if there is no such."""

    @abstractmethod
    def save(self, folder: Path) -> None:
        """Write configuration and weights in the format of transformers."""
