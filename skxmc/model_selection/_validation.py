"""How the documents are used that training does not see."""

from __future__ import annotations

from sklearn.base import BaseEstimator


class Validation(BaseEstimator):
    """Which documents are held out, and what is chosen by them.

    Held-out documents choose the mixture of evidence, re-ranking and the threshold; with a
    `patience` they also stop the encoder's tuning. Pass it as `validation` of an estimator.

    Parameters
    ----------
    fraction : "auto" or float in (0, 1), default="auto"
        Share of the documents that is held out, at most 5,000 of them. They are trained on as well
        wherever that costs little: label vectors and neighbours see all documents in the end
        (above 500,000 documents or labels, neighbours alone), the encoder does not see the
        held-out ones. "auto" is 0.05 where the encoder is tuned, up to 0.2 of few documents. Where
        it is not tuned it is 0.1, and 0.2 below 2,000 documents.
    folds : "auto" or int, default="auto"
        Parts of this share that are held out in turn. The evidence is learned once more without
        each of them, and label vectors are in the end the mean of all. So more parts rank better
        and take longer. "auto" is 5 below 2,000 documents, and with more as many, up to 5, as hold
        4,000 documents. It is 1 where the encoder is tuned, which has seen all documents but one
        part, where `fraction` is given, and above 500,000 documents or 131,072 labels.
    metric : str, default="mean"
        What is maximised: "precision_at_1", "precision_at_5", "ndcg_at_5", "psprecision_at_5", or
        "mean" of P@1, P@5, nDCG@5 and PSP@5.
    patience : int or None, default=None
        Epochs of tuning without a better `metric` of the prototypes after which tuning stops; the
        best epoch's weights are kept. None tunes all epochs.
    propensity : tuple of float, default=(0.55, 1.5)
        Constants (A, B) of the label propensities, by which rare labels count in "psprecision_at_5"
        and are drawn in tuning; (0.6, 2.6) is usual for Amazon, (0.5, 0.4) for Wikipedia data sets.

    Examples
    --------
    >>> from skxmc import ViXMLClassifier
    >>> from skxmc.model_selection import Validation
    >>> clf = ViXMLClassifier(validation=Validation(fraction=0.2, patience=3))
    >>> clf.get_params()["validation__patience"]
    3
    """

    # The metrics whose mean is "mean": first rank, more ranks, their order, rare labels.
    MEAN_OF = ("precision_at_1", "precision_at_5", "ndcg_at_5", "psprecision_at_5")

    def __init__(
        self,
        fraction: float | str = "auto",
        folds: int | str = "auto",
        metric: str = "mean",
        patience: int | None = None,
        propensity: tuple[float, float] = (0.55, 1.5),
    ) -> None:
        self.fraction = fraction
        self.folds = folds
        self.metric = metric
        self.patience = patience
        self.propensity = propensity
