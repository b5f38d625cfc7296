"""The contract of a linear head's loss, and the targets it is computed from."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
import torch
from sklearn.base import BaseEstimator


@dataclass
class HeadTargets:
    """What some documents should score: tensors that a :class:`HeadLoss` takes.

    Attributes
    ----------
    labels : Tensor of int64 or None
        The labels that are scored; None for all. Columns below count within them.
    positives : tuple of Tensor
        Rows and columns of the positive pairs.
    weights : Tensor of float32
        Weight of each positive's loss.
    excluded : tuple of Tensor, or None
        Rows and columns of pairs that are neither positive nor negative.
    """

    labels: torch.Tensor | None
    positives: tuple[torch.Tensor, torch.Tensor]
    weights: torch.Tensor
    excluded: tuple[torch.Tensor, torch.Tensor] | None


class HeadLoss(BaseEstimator, ABC):
    """What the scores of a linear head minimise.

    Like an objective, a loss only stores its parameters, so that searches can vary them.

    Examples
    --------
    The squared distance of every score from its target:

    >>> import torch
    >>> from skxmc.objectives import HeadLoss, LinearHead
    >>> class SquaredError(HeadLoss):
    ...     def __call__(self, scores, bias, targets):
    ...         truth = torch.zeros_like(scores)
    ...         truth[targets.positives] = 1
    ...         return ((scores + bias - truth) ** 2).sum()
    >>> LinearHead(loss=SquaredError())
    LinearHead(loss=SquaredError())
    """

    _parameter_constraints: dict = {}

    @abstractmethod
    def __call__(
        self, scores: torch.Tensor, bias: torch.Tensor, targets: HeadTargets
    ) -> torch.Tensor:
        """Sum of the documents' losses.

        Parameters
        ----------
        scores : Tensor of shape (n_documents, n_labels)
            In the precision of training.
        bias : Tensor of shape ()
            One learned number for all labels, for losses that look at a score by itself.
        targets : HeadTargets
            Pairs that are positive, with their weights, and those that are excluded.

        Returns
        -------
        Tensor of shape ()
            The sum.
        """

    def positive_weights(self, Y: sp.csr_array) -> np.ndarray:
        """Weight of each positive pair's loss.

        Parameters
        ----------
        Y : csr_array of shape (n_documents, n_labels)
            Positive pairs of a batch.

        Returns
        -------
        ndarray of shape (n_positives,), float32
            In the order of the pairs in Y; 1 by default.
        """
        return np.ones(Y.nnz, dtype=np.float32)
