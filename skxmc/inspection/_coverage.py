"""How many documents can be answered at which precision."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..metrics import coverage_at_precision
from ..metrics._classification import answers_by_confidence
from ..metrics._inputs import read_ranking
from ._axes import MUTED, by_name, finish, next_colors, one_axes
from ._predictions import rank_labels


class PrecisionCoverageDisplay:
    """Precision of the answers against the share of documents that are answered.

    A document is answered with its k best labels if its best score reaches a threshold. Low
    thresholds answer every document, high ones only those that the model is sure of, and the
    precision rises towards the left, as far as the scores tell right from wrong.

    Parameters
    ----------
    curves : dict of name to (coverage, precision, thresholds)
        Three float64 arrays of one length for each model: share of documents answered, rising;
        precision at k of these documents; best score from which on documents are answered.
    k : int, default=1
        The number of labels in an answer.
    precision : float or None, default=None
        The wanted precision.
    answered : dict of name to (coverage, threshold), default=None
        The largest share of documents that can be answered with that precision, and the
        threshold that does it.

    Attributes
    ----------
    curves, k, precision, answered
        As passed. A display of a single model without a name has the key None.
    lines_ : dict of name to Line2D
        The curves.
    ax_ : matplotlib Axes
    figure_ : matplotlib Figure

    See Also
    --------
    skxmc.metrics.coverage_at_precision : The figure at the wanted precision.

    Examples
    --------
    >>> import numpy as np
    >>> from skxmc.inspection import PrecisionCoverageDisplay
    >>> indices, scores = np.array([[0], [1], [2]]), np.array([[0.9], [0.8], [0.3]])
    >>> display = PrecisionCoverageDisplay.from_predictions(
    ...     [[0], [1], [0]], (indices, scores), precision=0.9
    ... )
    >>> coverage, threshold = display.answered[None]
    >>> round(coverage, 3), threshold
    (0.667, 0.8)
    """

    def __init__(
        self,
        curves: dict[str | None, tuple[np.ndarray, np.ndarray, np.ndarray]],
        *,
        k: int = 1,
        precision: float | None = None,
        answered: dict[str | None, tuple[float, float]] | None = None,
    ) -> None:
        self.curves = curves
        self.k = k
        self.precision = precision
        self.answered = answered

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: Any,
        Y: Any,
        *,
        images: Any = None,
        exclude: Any = None,
        sample_weight: Any = None,
        k: int = 1,
        precision: float | None = None,
        ax: Any = None,
        **kwargs: Any,
    ) -> PrecisionCoverageDisplay:
        """Predict, and draw the curve.

        Parameters
        ----------
        estimator : estimator, or dict of name to estimator
            Fitted; or a pipeline or search around one.
        X : sequence of str of length n_samples, or DataFrame
            The documents.
        Y : sparse or dense indicator of shape (n_samples, n_labels), or sequence of lists
            Their labels, as in ``fit``. Names that fit has not seen are left out.
        images : sequence of length n_samples, or float array, default=None
            Their pictures, as in ``fit``.
        exclude : sparse matrix of shape (n_samples, n_labels), default=None
            Pairs that are neither predicted nor counted.
        sample_weight : array of shape (n_samples,), default=None
            Weights of the documents.
        k : int, default=1
            The number of labels in an answer.
        precision : float or None, default=None
            The wanted precision, in (0, 1]; None marks none.
        ax : matplotlib Axes, default=None
            None makes a new figure.
        **kwargs : dict
            Passed to ``Axes.plot``.

        Returns
        -------
        display : PrecisionCoverageDisplay
        """
        models = by_name(estimator, "estimator")
        truth, found, pairs = rank_labels(models, X, Y, k, images=images, exclude=exclude)
        return cls.from_predictions(
            truth,
            found,
            exclude=pairs,
            sample_weight=sample_weight,
            k=k,
            precision=precision,
            ax=ax,
            **kwargs,
        )

    @classmethod
    def from_predictions(
        cls,
        y_true: Any,
        y_pred: Any,
        *,
        classes: Any = None,
        exclude: Any = None,
        sample_weight: Any = None,
        k: int = 1,
        precision: float | None = None,
        ax: Any = None,
        **kwargs: Any,
    ) -> PrecisionCoverageDisplay:
        """Draw the curve of given predictions.

        Parameters
        ----------
        y_true : sparse or dense indicator of shape (n_samples, n_labels), DataFrame, or lists
            The truth: lists hold label indices, or with `classes` names; see
            :mod:`skxmc.metrics`.
        y_pred : tuple (indices, scores), sparse or dense scores, or dict of name to such
            Predictions with scores that can be compared between documents.
        classes : array of shape (n_labels,), default=None
            The names of the labels, ``classes_`` of the fitted model. With it, lists hold names.
        exclude : sparse or bool (n_samples, n_labels), int pairs (n_pairs, 2), or None
            Filter pairs.
        sample_weight : array of shape (n_samples,), default=None
            Weights of the documents.
        k : int, default=1
            The number of labels in an answer.
        precision : float or None, default=None
            The wanted precision, in (0, 1]; None marks none.
        ax : matplotlib Axes, default=None
            None makes a new figure.
        **kwargs : dict
            Passed to ``Axes.plot``.

        Returns
        -------
        display : PrecisionCoverageDisplay
        """
        curves: dict = {}
        answered: dict = {}
        for name, predictions in by_name(y_pred, "y_pred").items():
            shared = {
                "k": k,
                "classes": classes,
                "exclude": exclude,
                "sample_weight": sample_weight,
            }
            curves[name] = _curve(read_ranking(y_true, predictions, **shared))
            if precision is not None:
                answered[name] = coverage_at_precision(
                    y_true, predictions, precision=precision, **shared
                )
        display = cls(curves, k=k, precision=precision, answered=answered or None)
        return display.plot(ax, **kwargs)

    def plot(self, ax: Any = None, **kwargs: Any) -> PrecisionCoverageDisplay:
        """Draw the curves, and what can be answered with the wanted precision.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            None makes a new figure.
        **kwargs : dict
            Passed to ``Axes.plot``.

        Returns
        -------
        self : PrecisionCoverageDisplay
        """
        self.ax_ = ax = one_axes(ax, (5.2, 3.8))
        self.figure_ = ax.figure
        self.lines_ = {}
        colors = next_colors(ax, len(self.curves))
        for color, (name, (coverage, precision, _)) in zip(
            colors, self.curves.items(), strict=True
        ):
            style = {"color": color, "label": self._label(name), **kwargs}
            (line,) = ax.plot(coverage, precision, **style)
            self.lines_[name] = line
            share, _ = (self.answered or {}).get(name, (0.0, np.inf))
            if share > 0:
                reached = precision[np.argmin(np.abs(coverage - share))]
                ax.plot(share, reached, marker="o", color=line.get_color(), linestyle="")
        if self.precision is not None:
            ax.axhline(self.precision, color=MUTED, linewidth=0.8, linestyle="--", zorder=1)
        ax.set(
            xlim=(0, 1.01),
            xlabel="share of documents answered",
            ylabel=f"precision at {self.k} of the answers",
        )
        finish(ax, legend="lower left")
        return self

    def _label(self, name: str | None) -> str | None:
        """What the legend says: the name, and what the wanted precision allows."""
        if not self.answered:
            return name
        share, threshold = self.answered[name]
        if share > 0:
            fact = f"{share:.0%} answered at {self.precision:g} (score ≥ {threshold:.3g})"
        else:
            fact = f"{self.precision:g} is not reached"
        return fact if name is None else f"{name}: {fact}"


def _curve(ranking: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return coverage, precision and threshold wherever one may stop answering."""
    confidence, answered, right, ends = answers_by_confidence(ranking)
    ends &= answered > 0
    precision = ranking.pick(right[ends] / answered[ends, None])
    return answered[ends] / answered[-1:], precision, confidence[ends]
