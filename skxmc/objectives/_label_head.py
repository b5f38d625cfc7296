"""The vectors of a linear head over the labels, trained together with a tower."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp
import torch

from .._features._centroids import untuned_prototypes
from .._runtime import limits
from .._runtime._device import to_device
from .._training._label_batches import batch_labels, label_positions
from .._training._problem import TuningProblem
from ._binary_cross_entropy_loss import BinaryCrossEntropyLoss
from ._decoupled_softmax_loss import DecoupledSoftmaxLoss
from ._head_loss import HeadLoss, HeadTargets

# Name -> loss of a head.
HEAD_LOSSES: dict[str, type[HeadLoss]] = {
    "binary_cross_entropy": BinaryCrossEntropyLoss,
    "decoupled_softmax": DecoupledSoftmaxLoss,
}

# Random labels of a batch where there are too many to take all.
RANDOM_NEGATIVES = 4096


def resolve_head_loss(spec: str | HeadLoss) -> HeadLoss:
    """The loss of a name, or the one that was passed."""
    return HEAD_LOSSES[spec]() if isinstance(spec, str) else spec


class LabelHead(torch.nn.Module):
    r"""One vector for each label; scores are :math:`s\, q \cdot w_l` with q of unit norm.

    Parameters
    ----------
    vectors : ndarray of shape (n_labels, dimension), float32
        Where the label vectors start.
    criterion : HeadLoss
        What the scores minimise.
    bias : float, default=0.0
        Where the bias of binary cross-entropy starts.
    scale : float, default=10.0
        The factor s, an inverse temperature.
    """

    def __init__(
        self,
        vectors: np.ndarray,
        criterion: HeadLoss,
        *,
        bias: float = 0.0,
        scale: float = 10.0,
    ) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.from_numpy(vectors.copy()))
        # One for all labels: it makes probabilities rare and leaves the ranking as it is.
        self.bias = torch.nn.Parameter(torch.tensor(float(bias)))
        self.criterion = criterion
        self.scale = scale

    @classmethod
    def for_training(
        cls, bank: np.ndarray, texts: np.ndarray | None, Y: sp.csr_array, criterion: HeadLoss
    ) -> LabelHead:
        """A head that starts from the labels' texts and documents.

        Parameters
        ----------
        bank : ndarray of shape (n_documents, dimension), float32, unit norm
        texts : ndarray of shape (n_labels, dimension), float32, or None
            Embeddings of the labels' texts.
        Y : csr_array of shape (n_documents, n_labels)
        criterion : HeadLoss
        """
        start = untuned_prototypes(bank, texts, Y)
        head = cls(start, criterion)
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

    def targets(
        self, problem: TuningProblem, rows: np.ndarray, texts: np.ndarray | None = None
    ) -> HeadTargets:
        """What some documents should score, and behind them the texts of some labels.

        Parameters
        ----------
        problem : TuningProblem
        rows : ndarray of int64
            Documents of the batch.
        texts : ndarray of int64 or None
            Labels whose texts are documents of the batch, each with this label alone.
        """
        Y, device = problem.Y[rows], problem.device
        if texts is not None:
            ones, order = np.ones(len(texts), dtype=Y.dtype), np.arange(len(texts))
            own = sp.csr_array((ones, (order, texts)), shape=(len(texts), Y.shape[1]))
            Y = sp.vstack([Y, own], format="csr")
        labels = None
        if Y.shape[1] > limits.MAX_ALL_NEGATIVES:
            labels, _ = batch_labels(Y, None, RANDOM_NEGATIVES, problem.rng)
        excluded = None
        if problem.exclude is not None:
            excluded = label_positions(sp.csr_array(problem.exclude[rows]), labels, device)
        return HeadTargets(
            labels=None if labels is None else to_device(labels, device),
            positives=label_positions(Y, labels, device),
            weights=to_device(self.criterion.positive_weights(Y), device),
            excluded=excluded,
        )

    def loss(
        self,
        queries: torch.Tensor,
        targets: HeadTargets,
        precision: torch.dtype = torch.float32,
    ) -> torch.Tensor:
        """Mean loss of documents with embeddings `queries`, (n, dimension), of unit norm."""
        scores = self(queries, targets.labels, precision)
        return self.criterion(scores, self.bias, targets) / len(queries)
