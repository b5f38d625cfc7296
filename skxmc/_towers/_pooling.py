"""Poolings: the hidden states of a sequence become one vector."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch


class Pooling(torch.nn.Module, ABC):
    """One vector for each sequence, in float32.

    Parameters
    ----------
    name : str
        Under which :data:`POOLINGS` has the class.
    width : int
        Length of a hidden state.
    """

    def __init__(self, name: str, width: int) -> None:
        super().__init__()
        self.name = name

    @abstractmethod
    def forward(
        self,
        hidden: torch.Tensor,
        head: torch.Tensor | None = None,
        starts: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Pool equally long sequences.

        Parameters
        ----------
        hidden : torch.Tensor of shape (count, length, width)
            Hidden states.
        head : torch.Tensor of shape (n_shared, width) or None
            Those of the tokens that begin every sequence, where they are run once for all.
        starts : torch.Tensor of shape (count,), int64, or None
            Where the text of each sequence starts. Only encoders give it.

        Returns
        -------
        pooled : torch.Tensor of shape (count, width), float32
        """


class MeanPooling(Pooling):
    """The mean over all positions, images and prompts included."""

    def forward(self, hidden, head=None, starts=None):
        """Pool equally long sequences."""
        total, length = hidden.sum(dim=1, dtype=torch.float32), hidden.shape[1]
        if head is not None:
            total = total + head.sum(dim=0, dtype=torch.float32)
            length += len(head)
        return total / length


class RootMeanPooling(Pooling):
    """The sum over all positions, divided by the root of their number."""

    def forward(self, hidden, head=None, starts=None):
        """Pool equally long sequences."""
        return hidden.float().sum(dim=1) / hidden.shape[1] ** 0.5


class MaxPooling(Pooling):
    """The largest entry over all positions, dimension by dimension."""

    def forward(self, hidden, head=None, starts=None):
        """Pool equally long sequences."""
        return hidden.float().amax(dim=1)


class FirstPooling(Pooling):
    """The first token of the text, behind the images."""

    def forward(self, hidden, head=None, starts=None):
        """Pool equally long sequences."""
        return hidden[torch.arange(len(hidden), device=hidden.device), starts].float()


class LastPooling(Pooling):
    """The last token, which is the end token where sequences have one."""

    def forward(self, hidden, head=None, starts=None):
        """Pool equally long sequences."""
        return hidden[:, -1].float()


class WeightedMeanPooling(Pooling):
    """The mean weighted by the place in the sequence: 1, 2, 3, ... (SGPT)."""

    def forward(self, hidden, head=None, starts=None):
        """Pool equally long sequences."""
        weights = torch.arange(1, hidden.shape[1] + 1, device=hidden.device, dtype=torch.float32)
        return weights @ hidden.float() / weights.sum()


class AttentionPooling(Pooling):
    """The mean weighted by softmax(h . q / sqrt(width)), with a learned query q.

    It starts as the mean.
    """

    def __init__(self, name: str, width: int) -> None:
        super().__init__(name, width)
        self.query = torch.nn.Parameter(torch.zeros(width))

    def forward(self, hidden, head=None, starts=None):
        """Pool equally long sequences."""
        hidden = hidden.float()
        with torch.autocast(hidden.device.type, enabled=False):  # weights of a mean, in fp32
            query = self.query / hidden.shape[-1] ** 0.5
            scores = hidden @ query
            if head is None:
                return (scores.softmax(dim=1)[:, None] @ hidden).squeeze(1)
            head = head.float()
            scores = torch.cat([(head @ query).expand(len(hidden), -1), scores], dim=1)
            weights = scores.softmax(dim=1)
            pooled = (weights[:, None, len(head) :] @ hidden).squeeze(1)
            return pooled + weights[:, : len(head)] @ head


#: Those of encoders have the names of sentence-transformers.
POOLINGS: dict[str, type[Pooling]] = {
    "mean": MeanPooling,
    "mean_sqrt_len_tokens": RootMeanPooling,
    "max": MaxPooling,
    "cls": FirstPooling,
    "lasttoken": LastPooling,
    "weightedmean": WeightedMeanPooling,
    "last": LastPooling,
    "eos": LastPooling,
    "attention": AttentionPooling,
}


#: Those that a text encoder may have.
ENCODER_POOLINGS = ("mean", "cls", "max", "lasttoken", "mean_sqrt_len_tokens", "weightedmean")


def make_pooling(name: str, width: int, known: Sequence[str] = tuple(POOLINGS)) -> Pooling:
    """The pooling of this name.

    Parameters
    ----------
    name : str
    width : int
        Length of a hidden state.
    known : sequence of str
        Names that may be asked for.

    Returns
    -------
    pooling : Pooling

    Raises
    ------
    ValueError
        If the name is none of those.
    """
    if name not in known:
        raise ValueError(f"pooling must be one of {tuple(known)}, got {name!r}")
    return POOLINGS[name](name, width)
