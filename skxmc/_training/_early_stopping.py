"""How good the prototypes are while they are trained."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp

from .._towers._items import Items
from ..indexes import Exact
from ..metrics import label_propensities, ndcg_at_k, precision_at_k, psprecision_at_k
from ..metrics._predictions import Indices
from ..model_selection import Validation


class PrototypeValidation:
    """Ranks the labels of held-out documents by prototype alone, after an epoch.

    Parameters
    ----------
    documents : Items
        All documents.
    Y : csr_array of shape (n_documents, n_labels)
        Their labels.
    held_out : ndarray of int64
        Documents that training does not see.
    metric : str
        What the validation score is: "mean" of P@1, P@5, nDCG@5 and PSP@5, or one of the figures.
    propensity : tuple of float
        Constants (A, B) of the label propensities.
    """

    def __init__(
        self,
        documents: Items,
        Y: sp.csr_array,
        held_out: np.ndarray,
        metric: str,
        propensity: tuple[float, float],
    ) -> None:
        self.documents = documents.take(held_out)
        self.truth = Y[held_out]
        self.metric = metric
        self.propensities = label_propensities(Y, a=propensity[0], b=propensity[1])

    def __call__(self, trainer) -> dict[str, float]:
        """Figures of a :class:`TowerTrainer` as it is, with ``"validation_score"`` among them."""
        queries = trainer.encode(self.documents)
        prototypes = trainer.prototypes(*trainer.encode_labels())
        k = min(5, len(prototypes))
        found = Indices(Exact().build(prototypes).search(queries, k)[0])
        figures = {
            "precision_at_1": precision_at_k(self.truth, found, k=1),
            "precision_at_5": precision_at_k(self.truth, found, k=k),
            "ndcg_at_5": ndcg_at_k(self.truth, found, k=k),
            "psprecision_at_5": psprecision_at_k(
                self.truth, found, k=k, propensities=self.propensities
            ),
        }
        if self.metric == "mean":
            score = float(np.mean([figures[name] for name in Validation.MEAN_OF]))
        else:
            score = figures[self.metric]
        return {**figures, "validation_score": score}
