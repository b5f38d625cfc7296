"""Threshold-consistent margin: one threshold then means the same for all labels."""

from __future__ import annotations

from numbers import Real

import torch
from sklearn.base import BaseEstimator
from sklearn.utils._param_validation import Interval, validate_parameter_constraints


class ThresholdConsistentLoss(BaseEstimator):
    r"""Pushes cosines of right pairs above one bound, and those of wrong pairs below another.

    With s the cosines, P the right pairs of a batch and N its wrong ones,

    .. math::
        L = \mathrm{mean}_{P,\, s \le m_+} (m_+ - s) + \mathrm{mean}_{N,\, s \ge m_-} (s - m_-)

    A mean without pairs is 0. A triplet loss compares labels of one document; these bounds are the
    same for all documents, so that scores of different documents can be compared with one
    threshold. It is added to the loss of an objective:
    ``Prime(threshold_consistency=ThresholdConsistentLoss())``.

    Parameters
    ----------
    positive_margin : float, default=0.9
        The bound :math:`m_+`.
    negative_margin : float, default=0.5
        The bound :math:`m_-`.
    weight : float, default=0.1
        What an objective multiplies the loss by. With 0.3 rare labels lose.

    References
    ----------
    Zhang et al., "Threshold-Consistent Margin Loss for Open-World Deep Metric Learning", ICLR 2024
    (arXiv 2307.04047).

    Examples
    --------
    >>> import torch
    >>> from skxmc.objectives import ThresholdConsistentLoss
    >>> similarity, target = torch.tensor([[0.7, 0.6]]), torch.tensor([[True, False]])
    >>> round(ThresholdConsistentLoss()(similarity, target).item(), 4)
    0.3
    """

    _parameter_constraints: dict = {
        "positive_margin": [Interval(Real, -1, 1, closed="both")],
        "negative_margin": [Interval(Real, -1, 1, closed="both")],
        "weight": [Interval(Real, 0, None, closed="left")],
    }

    def __init__(
        self, positive_margin: float = 0.9, negative_margin: float = 0.5, weight: float = 0.1
    ) -> None:
        self.positive_margin = positive_margin
        self.negative_margin = negative_margin
        self.weight = weight

    def __call__(
        self, similarity: torch.Tensor, target: torch.Tensor, exclude: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Sum of both means, without the weight.

        Parameters
        ----------
        similarity : Tensor of shape (n_rows, n_columns)
            Cosines.
        target : Tensor of shape (n_rows, n_columns), bool
            Which pairs are right.
        exclude : Tensor of shape (n_rows, n_columns), bool, or None
            Pairs that are neither right nor wrong.

        Returns
        -------
        Tensor of shape ()
        """
        wrong = ~target if exclude is None else ~(target | exclude)
        low = target & (similarity <= self.positive_margin)
        high = wrong & (similarity >= self.negative_margin)
        return _mean_where(self.positive_margin - similarity, low) + _mean_where(
            similarity - self.negative_margin, high
        )

    def _validate_params(self) -> None:
        validate_parameter_constraints(
            self._parameter_constraints, self.get_params(deep=False), type(self).__name__
        )


def _mean_where(values: torch.Tensor, chosen: torch.Tensor) -> torch.Tensor:
    """Mean of the chosen values; 0 if there are none."""
    return torch.where(chosen, values, 0).sum() / chosen.sum().clamp(min=1)
