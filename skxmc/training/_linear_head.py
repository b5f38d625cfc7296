"""A linear head over the labels, trained on the embeddings of a tower together with it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
import torch
import torch.nn.functional as F

from .. import _limits
from ._centroids import untuned_prototypes
from ._one_vs_all import (
    batch_labels,
    decoupled_softmax,
    document_weights,
    label_positions,
)

# Random labels of a batch where there are too many to take all.
RANDOM_NEGATIVES = 4096

# A document's losses weigh as 1 / sqrt(number of its labels), as with label vectors.
DOCUMENT_EXPONENT = 0.5


@dataclass
class HeadTargets:
    """What some documents should score: tensors that :meth:`LinearHead.loss` takes.

    Attributes
    ----------
    labels : Tensor of int64 or None
        The labels that are scored; None for all. Columns below count within them.
    positives : tuple of Tensor
        Rows and columns of the positive pairs.
    weights : Tensor of float32
        Weight of each positive's loss.
    ignored : tuple of Tensor, or None
        Rows and columns of pairs that are no negatives.
    """

    labels: torch.Tensor | None
    positives: tuple[torch.Tensor, torch.Tensor]
    weights: torch.Tensor
    ignored: tuple[torch.Tensor, torch.Tensor] | None

    @classmethod
    def of(
        cls,
        Y: sp.csr_array,
        ignore: sp.csr_array | None,
        rng: np.random.RandomState,
        device: torch.device,
    ) -> HeadTargets:
        """Targets of the documents with labels Y, (n, n_labels); `ignore` may have fewer rows."""
        labels = None
        if Y.shape[1] > _limits.MAX_ALL_NEGATIVES:
            labels = batch_labels(Y, None, RANDOM_NEGATIVES, rng)
        return cls(
            None if labels is None else torch.from_numpy(labels).to(device),
            label_positions(Y, labels, device),
            torch.from_numpy(document_weights(Y, DOCUMENT_EXPONENT)).to(device),
            None if ignore is None else label_positions(sp.csr_array(ignore), labels, device),
        )


class LinearHead(torch.nn.Module):
    r"""One vector for each label; scores are :math:`s\, q \cdot w_l` with q of unit norm.

    Parameters
    ----------
    vectors : ndarray of shape (n_labels, dimension), float32
        Where the label vectors start.
    loss : {"decoupled_softmax", "binary_cross_entropy"}
        With decoupled softmax the positives of a document don't compete with each other; the
        formula is in :class:`LabelVectors`. Binary cross-entropy is the sum over a document's
        labels.
    bias : float, default=0.0
        Where the bias of binary cross-entropy starts.
    scale : float, default=10.0
        The factor s, an inverse temperature.
    """

    def __init__(
        self,
        vectors: np.ndarray,
        *,
        loss: str = "decoupled_softmax",
        bias: float = 0.0,
        scale: float = 10.0,
    ) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.from_numpy(vectors.copy()))
        # One for all labels: it makes probabilities rare and leaves the ranking as it is.
        self.bias = torch.nn.Parameter(torch.tensor(float(bias)))
        self.loss_name = loss
        self.scale = scale

    @classmethod
    def for_training(
        cls, bank: np.ndarray, texts: np.ndarray | None, Y: sp.csr_array, loss: str
    ) -> LinearHead:
        """A head that starts from the labels' texts and documents.

        Parameters
        ----------
        bank : ndarray of shape (n_documents, dimension), float32, unit norm
        texts : ndarray of shape (n_labels, dimension), float32, or None
            Embeddings of the labels' texts.
        Y : csr_array of shape (n_documents, n_labels)
        loss : str
        """
        start = untuned_prototypes(bank, texts, Y)
        head = cls(start, loss=loss)
        # Probabilities start at the share of positive pairs, whatever the cosines are.
        share = min(Y.nnz / (Y.shape[0] * Y.shape[1]), 0.5)
        mean_score = head.scale * float(bank.mean(axis=0) @ start.mean(axis=0))
        head.bias.data.fill_(np.log(share / (1 - share)) - mean_score)
        return head

    def forward(
        self,
        queries: torch.Tensor,
        labels: torch.Tensor | None = None,
        precision: torch.dtype = torch.float32,
    ) -> torch.Tensor:
        """Scores of some labels (None for all), (n, n_labels), in the given precision."""
        weight = self.weight if labels is None else self.weight[labels]
        return (queries * self.scale).to(precision) @ weight.to(precision).T

    def loss(
        self,
        queries: torch.Tensor,
        targets: HeadTargets,
        precision: torch.dtype = torch.float32,
    ) -> torch.Tensor:
        """Mean loss of documents with embeddings `queries`, (n, dimension), of unit norm."""
        scores = self(queries, targets.labels, precision)
        if self.loss_name == "binary_cross_entropy":
            total = _binary_cross_entropy(scores.float() + self.bias, targets)
        else:
            total = _DecoupledSoftmax.apply(
                scores, targets.positives, targets.weights, targets.ignored
            )
        return total / len(queries)


class _DecoupledSoftmax(torch.autograd.Function):
    """Sum of the weighted losses of all positives; the gradient is written out by hand."""

    @staticmethod
    def forward(ctx, scores, positives, weights, ignored):
        losses, gradient, factors = decoupled_softmax(scores.clone(), positives, weights, ignored)
        ctx.save_for_backward(gradient, factors)
        return (losses * weights).sum()

    @staticmethod
    def backward(ctx, upstream):
        gradient, factors = ctx.saved_tensors
        return gradient * (factors * upstream)[:, None].to(gradient.dtype), None, None, None


def _binary_cross_entropy(scores: torch.Tensor, targets: HeadTargets) -> torch.Tensor:
    """Sum over all pairs."""
    truth = torch.zeros_like(scores)
    truth[targets.positives] = 1
    losses = F.binary_cross_entropy_with_logits(scores, truth, reduction="none")
    if targets.ignored is not None:
        kept = torch.ones_like(losses)
        kept[targets.ignored] = 0
        losses = losses * kept
    return losses.sum()
