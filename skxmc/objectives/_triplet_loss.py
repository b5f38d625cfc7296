"""The triplet loss with a dynamic margin, and what draws its pairs."""

from __future__ import annotations

import torch
from sklearn.base import BaseEstimator

from .._runtime._device import to_device


def draw_positives(target: torch.Tensor, generator: torch.Generator | None = None) -> torch.Tensor:
    """Column of one positive of each row, drawn at random, (n_rows,) int64; 0 for rows without."""
    noise = to_device(torch.rand(target.shape, generator=generator), target.device)
    return noise.masked_fill_(~target, -1.0).argmax(dim=1)


def hardest_negatives(
    similarity: torch.Tensor, blocked: torch.Tensor, n: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """The `n` highest entries of each row that are not blocked; -inf where there are fewer."""
    n = min(n, similarity.shape[1])
    return similarity.masked_fill(blocked, -torch.inf).topk(n, dim=1)


class DynamicMarginTripletLoss(BaseEstimator):
    r"""Triplet loss on hard negatives with a margin that adapts to their distance.

    With :math:`p_i` the similarity of one positive of row i and :math:`n_{ik}` the hardest
    negatives' similarities,

    .. math::
        d_{ik} = \mathrm{clip}(|p_i - n_{ik}|, m_{min}, m_{max}), \qquad
        h_{ik} = \max(0, n_{ik} - p_i + d_{ik}), \qquad
        L = \frac{1}{N} \sum_i \sum_k w_{ik} h_{ik}

    where :math:`w_{ik}` is the softmax of :math:`n_{ik} / \tau` over the negatives with a
    positive loss. The margin carries no gradient, the weights do.

    Parameters
    ----------
    n_negatives : int, default=10
        Negatives in each row.
    margin : tuple of float, default=(0.1, 0.3)
        Lower and upper bound of the margin, in units of cosine.
    temperature : float or None, default=0.1
        Temperature of the weights; None gives all negatives the same weight.

    References
    ----------
    PRIME (NAACL 2025, arXiv 2410.20401), Section 3.3.

    Examples
    --------
    >>> import torch
    >>> from skxmc.objectives import DynamicMarginTripletLoss
    >>> similarity, target = torch.tensor([[0.5, 0.7]]), torch.tensor([[True, False]])
    >>> loss = DynamicMarginTripletLoss()(similarity, target, positives=torch.tensor([0]))
    >>> round(loss.item(), 4)
    0.4
    """

    def __init__(
        self,
        n_negatives: int = 10,
        margin: tuple[float, float] = (0.1, 0.3),
        temperature: float | None = 0.1,
    ) -> None:
        self.n_negatives = n_negatives
        self.margin = margin
        self.temperature = temperature

    def __call__(
        self,
        similarity: torch.Tensor,
        target: torch.Tensor,
        positives: torch.Tensor,
        exclude: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Mean loss of the rows.

        Parameters
        ----------
        similarity : Tensor of shape (n_rows, n_columns)
        target : Tensor of shape (n_rows, n_columns), bool
        positives : Tensor of shape (n_rows,), int64
            The positive of each row that is compared with the negatives.
        exclude : Tensor of shape (n_rows, n_columns), bool, or None
            Pairs that are neither positive nor negative.

        Returns
        -------
        Tensor of shape ()
        """
        blocked = target if exclude is None else target | exclude
        positive = similarity.gather(1, positives[:, None])
        negative, _ = hardest_negatives(similarity, blocked, self.n_negatives)
        exists = negative != -torch.inf  # NaN goes on: it must not become a loss of 0
        negative = torch.where(exists, negative, torch.zeros_like(negative))
        margin = (positive - negative).abs().clamp(*self.margin).detach()
        hinge = torch.maximum(negative - positive + margin, torch.zeros_like(negative))
        hinge = torch.where(exists, hinge, torch.zeros_like(hinge))
        if self.temperature is None:
            return hinge.mean()
        # A large negative number instead of -inf: rows without any loss stay finite.
        logits = (negative / self.temperature).masked_fill(hinge == 0, -50.0)
        return (logits.softmax(dim=1) * hinge).sum(dim=1).mean()
