"""Gradients of batches whose graphs together do not fit in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import torch

from .._runtime import group
from .._runtime._device import random_state, set_random_state
from .._towers._items import Pack
from .._towers._tower import Tower
from ._step_share import StepShare


class GradientCache:
    """Forward and backward passes of a tower over the packs of a batch, in bounded memory.

    Embeddings come without a graph, the loss gives its gradient on them, and then each pack passes
    once more with a graph that takes its share of that gradient. The first packs keep their graphs,
    as many as memory allows, and need no second pass. Gradients are the same.

    Parameters
    ----------
    tower : Tower
    precision : torch.dtype
        Of matrix products.
    max_graph_bytes : float
        Memory for graphs.

    Attributes
    ----------
    graph_tokens : int
        Tokens whose graphs fit.
    chunk_tokens : int
        Tokens that a pack is to have at most, so that the graph of one can be made again.

    References
    ----------
    Gao et al., "Scaling Deep Contrastive Learning Batch Size under Memory Limited Setup",
    RepL4NLP 2021.
    """

    def __init__(self, tower: Tower, precision: torch.dtype, max_graph_bytes: float) -> None:
        self.tower, self.precision = tower, precision
        per_token = tower.activation_bytes_per_token(precision)
        self.graph_tokens = max(256, int(max_graph_bytes / per_token))
        self.chunk_tokens = max(256, self.graph_tokens // 4)

    def backward(
        self,
        packs: list[Pack],
        loss_of: Callable[[torch.Tensor], torch.Tensor],
        share: StepShare | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Add the gradients of a loss to the parameters.

        Parameters
        ----------
        packs : list of Pack
        loss_of : callable
            Gives the loss from the embeddings of all packs, (n_items, dimension).
        share : StepShare or None
            The part of the step that this process has; None: all of it. Embeddings of all
            processes come together, and each computes the whole loss: it needs no gradient but that
            on its own embeddings.

        Returns
        -------
        loss : Tensor of shape ()
        embeddings : Tensor of shape (n_items, dimension)
            Both without a graph.
        """
        counts = None if share is None else share.counts
        n_kept = self._count_kept(packs)
        states, embeddings = [], []
        # One, so that casts are made once.
        with self._own_random_numbers(share), self.tower.mixed_precision(self.precision):
            for number, pack in enumerate(packs):
                if number >= n_kept:
                    states.append(random_state(self.tower.device))
                with torch.set_grad_enabled(number < n_kept):
                    embeddings.append(self.tower(pack))
        joined = self._join([part.detach() for part in embeddings], counts).requires_grad_()
        loss = loss_of(joined)
        loss.backward()
        gradient = joined.grad
        if counts is not None:
            gradient = gradient.split(counts)[group.rank()]
        gradients = gradient.split([pack.n_items for pack in packs])
        torch.autograd.backward(embeddings[:n_kept], gradients[:n_kept])
        del embeddings
        after = random_state(self.tower.device)
        for pack, state, gradient in zip(packs[n_kept:], states, gradients[n_kept:], strict=True):
            # Dropout of adapters: the same masks once more.
            set_random_state(state, self.tower.device)
            with self.tower.mixed_precision(self.precision):
                again = self.tower(pack)
            again.backward(gradient)
        set_random_state(after, self.tower.device)
        return loss.detach(), joined.detach()

    def _join(self, parts: list[torch.Tensor], counts: list[int] | None) -> torch.Tensor:
        """Embeddings of all packs, and of all processes."""
        if counts is None:
            return torch.cat(parts)
        nothing = torch.empty((0, self.tower.dimension), device=self.tower.device)
        return group.gather_rows(torch.cat([nothing, *parts]), counts)

    @contextmanager
    def _own_random_numbers(self, share: StepShare | None) -> Iterator[None]:
        """Dropout differs between processes inside; behind it all draw the same again."""
        if share is None or share.counts is None:
            yield
            return
        device = self.tower.device
        before = random_state(device)
        (torch.cuda if device.type == "cuda" else torch).manual_seed(share.seed)
        yield
        set_random_state(before, device)

    def _count_kept(self, packs: list[Pack]) -> int:
        """How many of the first packs keep their graphs: all, or what leaves room for one more."""
        ends = np.cumsum([pack.n_tokens for pack in packs])
        if not len(ends) or ends[-1] <= self.graph_tokens:
            return len(packs)
        return int(np.searchsorted(ends, self.graph_tokens - self.chunk_tokens, side="right"))
