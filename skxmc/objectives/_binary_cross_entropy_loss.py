"""Binary cross-entropy: each pair of a document and a label by itself."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from ._head_loss import HeadLoss, HeadTargets


class BinaryCrossEntropyLoss(HeadLoss):
    r"""Cross-entropy of each pair's probability, summed over a document's labels.

    With scores z, bias b and :math:`\sigma` the logistic function, the loss of a document is

    .. math:: -\sum_{p \in P} \log \sigma(z_p + b) - \sum_{n \in N} \log \sigma(-z_n - b)

    It makes scores probabilities; decoupled softmax ranks better where labels are many.

    Examples
    --------
    >>> from skxmc.objectives import BinaryCrossEntropyLoss, Prime
    >>> Prime(head_loss=BinaryCrossEntropyLoss())
    Prime(head_loss=BinaryCrossEntropyLoss())
    """

    def __call__(
        self, scores: torch.Tensor, bias: torch.Tensor, targets: HeadTargets
    ) -> torch.Tensor:
        """Sum over all pairs."""
        logits = scores.float() + bias
        truth = torch.zeros_like(logits)
        truth[targets.positives] = 1
        losses = F.binary_cross_entropy_with_logits(logits, truth, reduction="none")
        if targets.excluded is not None:
            kept = torch.ones_like(losses)
            kept[targets.excluded] = 0
            losses = losses * kept
        return losses.sum()
