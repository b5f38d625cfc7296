"""A wanted precision in place of a threshold."""

from __future__ import annotations

from sklearn.base import BaseEstimator


class Precision(BaseEstimator):
    """The lowest threshold at which predicted labels keep a wanted precision.

    Pass it as `threshold` of an estimator. :meth:`~skxmc.ViXMLClassifier.predict` gives as many
    labels as it can while the share of right ones stays above `target`; a document whose labels are
    all too uncertain gets none. The threshold is chosen on held-out documents, by a lower bound of
    the precision: with few of them it is stricter. If they cannot show the precision at any
    threshold, the fit warns and nothing is predicted.

    Parameters
    ----------
    target : float in (0, 1), default=0.9
        The wanted share of right labels among the predicted ones, over all documents together.
    confidence : float in [0.5, 1), default=0.9
        Confidence of the lower bound, one-sided; documents are independent, labels of a document
        are not. 0.5 takes the precision itself.

    Examples
    --------
    >>> from skxmc import ViXMLClassifier
    >>> from skxmc.model_selection import Precision
    >>> clf = ViXMLClassifier(threshold=Precision(0.95))
    >>> clf.get_params()["threshold__target"]
    0.95
    """

    def __init__(self, target: float = 0.9, confidence: float = 0.9) -> None:
        self.target = target
        self.confidence = confidence
