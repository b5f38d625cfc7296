"""Keeps prototypes at least as good as the texts they start from."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from sklearn.base import BaseEstimator

from ._triplet_loss import hardest_negatives


class PrototypeRegularizer(BaseEstimator):
    r"""Keeps prototypes at least as good as the label texts they start from.

    .. math::
        R = \tfrac12 \left( \mathrm{mean}^+ [s^{text}_{+} - s^{proto}_{+} + m]_+ +
        \mathrm{mean}^+ [s^{proto}_{-} - s^{text}_{-} + m]_+ \right)

    over one positive and the hardest negatives (by prototype) of each row; mean+ averages over
    the entries above zero.

    Parameters
    ----------
    n_negatives : int, default=10
        Negatives in each row.
    margin : float, default=0.1
        Margin by which prototypes should be better, in units of cosine.

    References
    ----------
    PRIME (NAACL 2025, arXiv 2410.20401), Section 3.3.

    Examples
    --------
    >>> import torch
    >>> from skxmc.objectives import PrototypeRegularizer
    >>> text, prototype = torch.tensor([[0.6, 0.2]]), torch.tensor([[0.55, 0.4]])
    >>> target, positives = torch.tensor([[True, False]]), torch.tensor([0])
    >>> round(PrototypeRegularizer()(text, prototype, target, positives).item(), 4)
    0.225
    """

    def __init__(self, n_negatives: int = 10, margin: float = 0.1) -> None:
        self.n_negatives = n_negatives
        self.margin = margin

    def __call__(
        self,
        similarity_text: torch.Tensor,
        similarity_prototype: torch.Tensor,
        target: torch.Tensor,
        positives: torch.Tensor,
        exclude: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """The regulariser; arguments as in :class:`DynamicMarginTripletLoss`."""
        blocked = target if exclude is None else target | exclude
        columns = positives[:, None]
        worse = similarity_text.gather(1, columns) - similarity_prototype.gather(1, columns)
        negative, hardest = hardest_negatives(similarity_prototype, blocked, self.n_negatives)
        closer = similarity_prototype.gather(1, hardest) - similarity_text.gather(1, hardest)
        # Chosen by a mask: their number would have to be read from the device.
        closer = torch.where(negative != -torch.inf, closer + self.margin, 0)
        return (_mean_of_positive(worse + self.margin) + _mean_of_positive(closer)) / 2


def _mean_of_positive(values: torch.Tensor) -> torch.Tensor:
    """Mean of the entries above zero, 0 if there are none."""
    values = F.relu(values)
    return values.sum() / (values > 0).sum().clamp(min=1)
