"""Are probabilities what they say?"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..metrics._calibration import calibration_curve, expected_error, read_pairs
from ..metrics._classification import check_frequencies, frequency_bins
from ._axes import MUTED, PALE, finish, next_colors, one_axes
from ._predictions import rank_labels, training_frequencies

# Where labels are cut by their frequency, as shares of the labels; and the names of the parts.
_CUTS = (0.1, 0.5)
_PARTS = ("frequent labels", "labels between", "rare labels")


class CalibrationDisplay:
    """Share of right labels by their probability, a reliability diagram.

    A model whose probabilities are right lies on the diagonal: of labels with a probability of 0.3,
    three in ten are right.

    Parameters
    ----------
    curves : dict of name to (mean_probability, share_right, share_of_pairs)
        Of each curve three arrays of shape (n_bins,). A single curve without a name has the key
        None.

    Attributes
    ----------
    curves : dict
        As passed.
    errors : dict of name to float
        Expected calibration error of each curve; see :func:`~skxmc.metrics.calibration_error`.
    lines_ : dict of name to matplotlib Line2D
    ax_ : matplotlib Axes
    figure_ : matplotlib Figure

    See Also
    --------
    skxmc.metrics.calibration_error : The distance from the diagonal as a number.

    Examples
    --------
    >>> import numpy as np
    >>> from skxmc.inspection import CalibrationDisplay
    >>> found = np.array([[0, 1], [2, 0]]), np.array([[0.9, 0.2], [0.8, 0.1]])
    >>> display = CalibrationDisplay.from_predictions([[0], [2]], found, n_bins=2)
    >>> round(display.errors[None], 2)
    0.15
    """

    def __init__(self, curves: dict[str | None, tuple]) -> None:
        self.curves = curves
        self.errors = {name: expected_error(*curve) for name, curve in curves.items()}

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
        by: str = "score",
        frequencies: np.ndarray | None = None,
        k: int = 10,
        n_bins: int = 15,
        ax: Any = None,
        **kwargs: Any,
    ) -> CalibrationDisplay:
        """Predict, and draw the share of right labels by their probability.

        Parameters
        ----------
        estimator : estimator
            Fitted; or a pipeline or search around one.
        X : sequence of str of length n_samples, or DataFrame
            Documents that the estimator has not seen.
        Y : sparse or dense indicator of shape (n_samples, n_labels), or sequence of lists
            Their labels, as in ``fit``.
        images : sequence of length n_samples, or float array, default=None
            Their pictures, as in ``fit``.
        exclude : sparse matrix of shape (n_samples, n_labels), default=None
            Pairs that are neither predicted nor counted.
        sample_weight : array of shape (n_samples,), default=None
            Weights of the documents.
        by : {"score", "frequency"}, default="score"
            One curve of all pairs; or three, of frequent labels, rare ones, and those between.
        frequencies : array of shape (n_labels,), default=None
            The number of training documents of each label, for ``by="frequency"``; None takes those
            that the estimator was fitted on.
        k : int, default=10
            The number of predictions of a document that count.
        n_bins : int, default=15
            Bins of equal number in a curve.
        ax : matplotlib Axes, default=None
            None makes a new figure.
        **kwargs : dict
            Passed to ``Axes.plot``.

        Returns
        -------
        display : CalibrationDisplay
        """
        truth, found, pairs = rank_labels(
            {None: estimator}, X, Y, k, images=images, exclude=exclude
        )
        if by == "frequency" and frequencies is None:
            frequencies = training_frequencies(estimator)
        return cls.from_predictions(
            truth,
            found[None],
            exclude=pairs,
            sample_weight=sample_weight,
            by=by,
            frequencies=frequencies,
            n_bins=n_bins,
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
        by: str = "score",
        frequencies: np.ndarray | None = None,
        n_bins: int = 15,
        ax: Any = None,
        **kwargs: Any,
    ) -> CalibrationDisplay:
        """Draw the share of right labels of given predictions by their probability.

        Parameters
        ----------
        y_true : sparse or dense indicator of shape (n_samples, n_labels), DataFrame, or lists
            The truth; see :mod:`skxmc.metrics`.
        y_pred : (indices, probabilities), sparse or dense probabilities
            Predictions; see :mod:`skxmc.metrics`.
        classes : array of shape (n_labels,), default=None
            The names of the labels, ``classes_`` of the fitted model. With it, lists hold names.
        exclude : sparse or bool (n_samples, n_labels), int pairs (n_pairs, 2), or None
            Filter pairs.
        sample_weight, by, n_bins, ax, **kwargs
            As in :meth:`from_estimator`.
        frequencies : array of shape (n_labels,), default=None
            The number of training documents of each label, for ``by="frequency"``.

        Returns
        -------
        display : CalibrationDisplay
        """
        if by not in ("score", "frequency"):
            raise ValueError(f"by is {by!r}; pass 'score' or 'frequency'.")
        if by == "frequency":
            if frequencies is None:
                raise ValueError("by='frequency' needs frequencies; pass documents of each label.")
            frequencies = check_frequencies(frequencies)
        probabilities, right, weight, labels = read_pairs(
            y_true,
            y_pred,
            classes=classes,
            exclude=exclude,
            sample_weight=sample_weight,
            n_labels=None if frequencies is None else len(frequencies),
        )
        parts: dict[str | None, Any] = {None: slice(None)}
        if by == "frequency" and frequencies is not None:
            bin_of = frequency_bins(frequencies, _CUTS)[labels]
            parts = {name: bin_of == number for number, name in enumerate(_PARTS)}
        curves = {
            name: calibration_curve(probabilities[part], right[part], weight[part], n_bins)
            for name, part in parts.items()
        }
        return cls(curves).plot(ax, **kwargs)

    def plot(self, ax: Any = None, **kwargs: Any) -> CalibrationDisplay:
        """Draw the curves beside the diagonal.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            None makes a new figure.
        **kwargs : dict
            Passed to ``Axes.plot``.

        Returns
        -------
        self : CalibrationDisplay
        """
        self.ax_ = ax = one_axes(ax, (4.4, 4.2))
        self.figure_ = ax.figure
        self.lines_ = {}
        ax.plot([0, 1], [0, 1], color=MUTED, linewidth=0.8, linestyle="--", zorder=1)
        colors = next_colors(ax, len(self.curves))
        for color, (name, (mean, right, _)) in zip(colors, self.curves.items(), strict=True):
            label = f"error {self.errors[name]:.3f}"
            style = {
                "color": color,
                "marker": "o",
                "markersize": 4,
                "label": label if name is None else f"{name}, {label}",
                **kwargs,
            }
            self.lines_[name] = ax.plot(mean, right, **style)[0]
        ax.grid(color=PALE)
        finish(ax, legend=None)
        whole = (-0.02, 1.02)
        ax.set(xlabel="probability", ylabel="share of labels that are right", aspect="equal")
        ax.set(xlim=whole, ylim=whole)
        ax.legend(loc="upper left", frameon=False, fontsize="small")
        return self
