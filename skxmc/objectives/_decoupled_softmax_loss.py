"""Decoupled softmax: the positives of a document don't compete with each other."""

from __future__ import annotations

from numbers import Real

import numpy as np
import scipy.sparse as sp
import torch
from sklearn.utils._param_validation import Interval

from .._training._label_batches import document_weights
from ..training._one_vs_all import decoupled_softmax
from ._head_loss import HeadLoss, HeadTargets


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
