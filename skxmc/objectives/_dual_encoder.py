"""Documents and labels by one encoder, compared by a margin loss."""

from __future__ import annotations

from numbers import Integral, Real

import torch
import torch.nn.functional as F
from sklearn.utils._param_validation import Interval, StrOptions

from .._training._problem import TuningProblem
from ._objective import LabelBatch, Objective
from ._threshold_consistent_loss import ThresholdConsistentLoss
from ._triplet_loss import DynamicMarginTripletLoss, draw_positives


class DualEncoder(Objective):
    """Pulls documents towards the texts of their labels, by a triplet loss with a dynamic margin.

    Labels are represented by their texts alone.

    Parameters
    ----------
    margin : tuple of float, default=(0.1, 0.3)
        Bounds of the dynamic margin, in units of cosine.
    n_negatives : int, default=10
        Hardest negatives of each document in the loss.
    threshold_consistency : float or ThresholdConsistentLoss, default=0.0
        Weight of a loss that makes cosines of different documents comparable, so that one
        threshold fits all; 0 leaves it out. Set it to 0.1 where answers above a threshold are
        accepted unseen. An object has margins of its own.
    positives : {"drawn", "random"}, default="drawn"
        Which label of a document stands for it where it has several in a batch: the one that the
        sampler drew for it, rare ones more often, or one at random, drawn again in each term of
        the loss, as in the published code.

    Attributes
    ----------
    margin_loss_ : DynamicMarginTripletLoss
        With these parameters.
    consistency_loss_ : ThresholdConsistentLoss or None
        None where it has no weight.

    References
    ----------
    PRIME (NAACL 2025, arXiv 2410.20401), Section 3.3; "NGAME" (WSDM 2023).

    Examples
    --------
    >>> from skxmc.objectives import DualEncoder
    >>> DualEncoder(n_negatives=20).get_params()
    {'margin': (0.1, 0.3), 'n_negatives': 20, 'positives': 'drawn', 'threshold_consistency': 0.0}
    """

    _parameter_constraints: dict = {
        "margin": ["array-like"],
        "n_negatives": [Interval(Integral, 1, None, closed="left")],
        "threshold_consistency": [Interval(Real, 0, None, closed="left"), ThresholdConsistentLoss],
        "positives": [StrOptions({"drawn", "random"})],
    }

    def __init__(
        self,
        margin: tuple[float, float] = (0.1, 0.3),
        n_negatives: int = 10,
        threshold_consistency: float | ThresholdConsistentLoss = 0.0,
        positives: str = "drawn",
    ) -> None:
        self.margin = margin
        self.n_negatives = n_negatives
        self.threshold_consistency = threshold_consistency
        self.positives = positives

    def build(self, problem: TuningProblem) -> None:
        """Check the parameters and make the loss."""
        super().build(problem)
        self.margin_loss_ = DynamicMarginTripletLoss(self.n_negatives, tuple(self.margin))
        loss = self._consistency()
        self.consistency_loss_ = loss if loss.weight > 0 else None

    def compute_loss(self, embeddings: torch.Tensor, batch: LabelBatch) -> torch.Tensor:
        """Margin loss of the documents against the texts of the batch's labels."""
        _, _, similarity = self._compare(embeddings, batch)
        loss = self.margin_loss_(similarity, batch.target, self._columns(batch), batch.exclude)
        return self._add_consistency(loss, similarity, batch)

    def _columns(self, batch: LabelBatch) -> torch.Tensor:
        """Column of the label that stands for each document, (n_documents,) int64."""
        if self.positives == "drawn":
            return batch.columns
        return draw_positives(batch.target, self.problem_.generator)

    def _add_consistency(
        self, loss: torch.Tensor, similarity: torch.Tensor, batch: LabelBatch
    ) -> torch.Tensor:
        """The loss with that of one threshold for all, where this has a weight."""
        if self.consistency_loss_ is None:
            return loss
        consistency = self.consistency_loss_(similarity, batch.target, batch.exclude)
        return loss + self.consistency_loss_.weight * consistency

    def _consistency(self) -> ThresholdConsistentLoss:
        if isinstance(self.threshold_consistency, Real):
            return ThresholdConsistentLoss(weight=self.threshold_consistency)
        return self.threshold_consistency

    def _compare(
        self, embeddings: torch.Tensor, batch: LabelBatch
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Documents of unit norm, labels' texts before normalisation, and their cosines."""
        queries = F.normalize(embeddings[batch.documents], dim=1)
        labels = embeddings[batch.labels]
        return queries, labels, queries @ F.normalize(labels, dim=1).T

    def _validate_params(self) -> None:
        super()._validate_params()
        self._consistency()._validate_params()
        margin = self.margin
        real = len(margin) == 2 and all(isinstance(bound, Real) for bound in margin)
        if not real or not 0 <= margin[0] <= margin[1]:
            raise ValueError(
                f"margin of {type(self).__name__} must be two numbers, 0 or more, the lower one "
                f"first, got {margin!r}."
            )
