"""A linear classification head, trained together with the tower: labels need no text."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
import torch
import torch.nn.functional as F

from ._centroids import untuned_prototypes
from ._one_vs_all import (
    batch_labels,
    decoupled_softmax,
    document_weights,
    label_positions,
)
from ._trainer import TowerTrainer

# Up to so many labels every label is a negative of every document of a batch.
MAX_LABELS = 65_536

# Random labels of a batch where there are more.
RANDOM_NEGATIVES = 4096

# A document's losses weigh as 1 / sqrt(number of its labels), as with label vectors.
DOCUMENT_EXPONENT = 0.5


class LinearHead(torch.nn.Module):
    r"""One vector for each label; scores are :math:`s\, q \cdot w_l` with q of unit norm.

    Parameters
    ----------
    vectors : ndarray of shape (n_labels, dimension), float32
        Where the label vectors start.
    bias : float, default=0.0
        Where the bias of binary cross-entropy starts.
    scale : float, default=10.0
        The factor s, an inverse temperature.
    """

    def __init__(self, vectors: np.ndarray, *, bias: float = 0.0, scale: float = 10.0) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.from_numpy(vectors.copy()))
        # One for all labels: it makes probabilities rare and leaves the ranking as it is.
        self.bias = torch.nn.Parameter(torch.tensor(float(bias)))
        self.scale = scale

    def forward(
        self,
        queries: torch.Tensor,
        labels: torch.Tensor | None = None,
        precision: torch.dtype = torch.float32,
    ) -> torch.Tensor:
        """Scores of some labels (None for all), (n, n_labels), in the given precision."""
        weight = self.weight if labels is None else self.weight[labels]
        return (queries * self.scale).to(precision) @ weight.to(precision).T


class LinearHeadTrainer(TowerTrainer):
    """Trains a tower below a linear head: one-vs-all on the documents' embeddings.

    Everything but the loss is as in :class:`TowerTrainer`. Labels may lack texts. Those that have
    some start from their embeddings, and the text of a label that was drawn for a document of a
    batch is one more document there, with this label: rare labels gain from it (PSP@5 of a tuned
    MiniLM on the quick-start icons 0.610 without, 0.623 with, means of three seeds).

    Parameters
    ----------
    loss : {"decoupled_softmax", "binary_cross_entropy"}
        With decoupled softmax the positives of a document don't compete with each other; the
        formula is in :class:`LabelVectors`. Binary cross-entropy is the sum over a document's
        labels.
    """

    def __init__(self, *args, loss: str = "decoupled_softmax", **kwargs) -> None:
        super().__init__(*args, **kwargs)
        self.loss_name = loss

    def prototypes(self, labels=None, lengths=None, Y: sp.csr_array | None = None) -> np.ndarray:
        """The head's vectors, (n_labels, dimension) float32, of mean length 1."""
        weight = self.network.weight.detach().cpu().numpy()
        mean = np.linalg.norm(weight, axis=1).mean()
        return weight / np.float32(max(mean, 1e-12))

    def encode_labels(self) -> tuple[np.ndarray | None, np.ndarray | None]:
        """Embeddings and lengths of the labels' texts, if they have texts."""
        return (None, None) if self.label_items is None else super().encode_labels()

    def _build_network(self) -> None:
        texts = None if self.label_items is None else self._encode(self.label_items)
        start = untuned_prototypes(self.bank, texts, self.Y)
        head = LinearHead(start)
        # Probabilities start at the share of positive pairs, whatever the cosines are.
        share = min(self.Y.nnz / (self.Y.shape[0] * self.Y.shape[1]), 0.5)
        mean_score = head.scale * float(self.bank.mean(axis=0) @ start.mean(axis=0))
        head.bias.data.fill_(np.log(share / (1 - share)) - mean_score)
        self.network = head.to(self.device)

    def _follow_bank(self) -> None:
        """A head has no centroids."""

    def _make_batch(self, rows: np.ndarray, drawn: np.ndarray) -> tuple[np.ndarray, _LinearBatch]:
        Y, labels, ids = self.Y[rows], None, rows
        if self.label_items is not None:
            texts = np.unique(drawn)
            ones, order = np.ones(len(texts), dtype=Y.dtype), np.arange(len(texts))
            own = sp.csr_array((ones, (order, texts)), shape=(len(texts), Y.shape[1]))
            Y = sp.vstack([Y, own], format="csr")
            ids = np.concatenate([rows, len(self.documents) + texts])
        if Y.shape[1] > MAX_LABELS:
            labels = batch_labels(Y, None, RANDOM_NEGATIVES, self.rng)
        ignored = None
        if self.ignore is not None:
            ignored = label_positions(sp.csr_array(self.ignore[rows]), labels, self.device)
        weights = torch.from_numpy(document_weights(Y, DOCUMENT_EXPONENT)).to(self.device)
        positives = label_positions(Y, labels, self.device)
        labels = None if labels is None else torch.from_numpy(labels).to(self.device)
        return ids, _LinearBatch(labels, positives, ignored, weights)

    def _loss(self, embeddings: torch.Tensor, batch: _LinearBatch) -> torch.Tensor:
        rows = torch.cat([batch.documents, batch.labels])
        queries = F.normalize(embeddings[rows], dim=1)
        scores = self.network(queries, batch.label_ids, self.options.precision)
        if self.loss_name == "binary_cross_entropy":
            return _binary_cross_entropy(scores.float() + self.network.bias, batch)
        losses = _DecoupledSoftmax.apply(scores, batch.positives, batch.weights, batch.ignored)
        return losses / len(queries)


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


def _binary_cross_entropy(scores: torch.Tensor, batch: _LinearBatch) -> torch.Tensor:
    """Mean over documents of the sum over their labels."""
    target = torch.zeros_like(scores)
    target[batch.positives] = 1
    losses = F.binary_cross_entropy_with_logits(scores, target, reduction="none")
    if batch.ignored is not None:
        kept = torch.ones_like(losses)
        kept[batch.ignored] = 0
        losses = losses * kept
    return losses.sum() / len(scores)


@dataclass
class _LinearBatch:
    """Tensors of one step; `documents` and `labels` say which embeddings are whose."""

    label_ids: torch.Tensor | None
    positives: tuple[torch.Tensor, torch.Tensor]
    ignored: tuple[torch.Tensor, torch.Tensor] | None
    weights: torch.Tensor
    documents: torch.Tensor | None = None
    labels: torch.Tensor | None = None
