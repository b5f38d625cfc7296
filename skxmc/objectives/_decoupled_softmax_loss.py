"""Decoupled softmax: the positives of a document don't compete with each other."""

from __future__ import annotations

from collections.abc import Callable
from numbers import Real

import numpy as np
import scipy.sparse as sp
import torch
from sklearn.utils._param_validation import Interval

from .._training._label_batches import document_weights
from ._head_loss import HeadLoss, HeadTargets

# Score of a pair that must not compete: its share of any softmax is zero, in bf16 as well.
_OUT = -1e4


class DecoupledSoftmaxLoss(HeadLoss):
    r"""Softmax of each positive against the negatives, without the other positives.

    With P the positives of a document, N its negatives and z the scores, the loss of a document is

    .. math:: |P|^{-\gamma} \sum_{p \in P} -\log \frac{e^{z_p}}{e^{z_p} + \sum_{n \in N} e^{z_n}}

    Parameters
    ----------
    exponent : float, default=0.5
        The exponent :math:`\gamma`. With 0 documents with many labels count most, which serves the
        lower ranks; 1 serves the first rank; 0.5 gives up next to nothing of either.

    Examples
    --------
    >>> from skxmc.objectives import DecoupledSoftmaxLoss, LinearHead
    >>> LinearHead(loss=DecoupledSoftmaxLoss(exponent=1.0)).get_params()["loss__exponent"]
    1.0
    """

    _parameter_constraints: dict = {"exponent": [Interval(Real, 0, None, closed="left")]}

    def __init__(self, exponent: float = 0.5) -> None:
        self.exponent = exponent

    def __call__(
        self, scores: torch.Tensor, bias: torch.Tensor, targets: HeadTargets
    ) -> torch.Tensor:
        """Sum of the documents' losses; a bias of all labels would change nothing."""
        return _DecoupledSoftmax.apply(scores, targets.positives, targets.weights, targets.excluded)

    def positive_weights(self, Y: sp.csr_array) -> np.ndarray:
        r""":math:`|P|^{-\gamma}` for each positive of a document."""
        return document_weights(Y, self.exponent)


class _DecoupledSoftmax(torch.autograd.Function):
    """Sum of the weighted losses of all positives; the gradient is written out by hand."""

    @staticmethod
    def forward(ctx, scores, positives, weights, excluded):
        losses, gradient, factors = decoupled_softmax(scores.clone(), positives, weights, excluded)
        ctx.save_for_backward(gradient, factors)
        return (losses * weights).sum()

    @staticmethod
    def backward(ctx, upstream):
        gradient, factors = ctx.saved_tensors
        return gradient * (factors * upstream)[:, None].to(gradient.dtype), None, None, None


def decoupled_softmax(
    scores: torch.Tensor,
    positives: tuple[torch.Tensor, torch.Tensor],
    weights: torch.Tensor,
    excluded: tuple[torch.Tensor, torch.Tensor] | None = None,
    reduce: Callable[[torch.Tensor, str], torch.Tensor] | None = None,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Decoupled softmax loss and its gradient with respect to the scores.

    The formula is in :class:`DecoupledSoftmaxLoss`. Written out by hand: the gradient is one
    softmax, in the precision of the scores, where automatic differentiation would keep several
    copies.

    Parameters
    ----------
    scores : Tensor of shape (n, n_labels)
        Overwritten.
    positives : tuple of Tensor of shape (n_positives,), int64
        Rows and columns of the positive pairs.
    weights : Tensor of shape (n_positives,), float32
        Weight of each positive's loss.
    excluded : tuple of Tensor, or None
        Rows and columns of pairs that are no negatives.
    reduce : callable or None
        Where several processes have some of the labels each, and the pairs of these:
        ``reduce(tensor, "max")`` and ``reduce(tensor, "sum")`` give maximum and sum over the
        processes. A document's softmax needs three numbers of all labels. None: all are here.

    Returns
    -------
    losses : Tensor of shape (n_positives,), float32
        Loss of each positive, without its weight.
    gradient : Tensor of shape (n, n_labels), dtype of scores
        Gradient of the sum of the weighted losses, each row divided by its factor.
    factors : Tensor of shape (n,), float32
        Sum of the absolute gradients at a row's positives.
    """
    rows, columns = positives
    of_positives = scores[rows, columns].float()
    scores[rows, columns] = _OUT
    if excluded is not None:
        scores[excluded] = _OUT
    gradient, negatives = _softmax(scores, reduce)
    difference = negatives[rows] - of_positives
    losses = torch.nn.functional.softplus(difference)
    pull = torch.sigmoid(difference) * weights
    factors = torch.zeros(len(scores), device=scores.device).index_add_(0, rows, pull)
    if reduce is not None:
        factors = reduce(factors, "sum")
    factors.clamp_(min=1e-12)
    if excluded is not None:
        gradient[excluded] = 0
    gradient[rows, columns] = (-pull / factors[rows]).to(gradient.dtype)
    return losses, gradient, factors


def _softmax(
    scores: torch.Tensor, reduce: Callable[[torch.Tensor, str], torch.Tensor] | None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Softmax of each row, (n, n_labels), and the logarithm of its sum of exponentials, (n,)."""
    if reduce is None:
        highest = scores.amax(dim=1)
        softmax = torch.softmax(scores, dim=1)
        # From the softmax that is needed anyway.
        return softmax, highest.float() - softmax.amax(dim=1).float().log()
    highest = torch.full((len(scores),), _OUT, device=scores.device)
    if scores.shape[1]:  # a batch may have no label of this process
        highest = torch.maximum(highest, scores.amax(dim=1).float())
    highest = reduce(highest, "max")
    softmax = (scores - highest.to(scores.dtype)[:, None]).exp_()
    sums = reduce(softmax.sum(dim=1, dtype=torch.float32), "sum")
    return softmax.div_(sums.to(scores.dtype)[:, None]), highest + sums.log()
