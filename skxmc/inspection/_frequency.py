"""A metric by the frequency of labels."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..metrics._classification import (
    check_frequencies,
    frequency_bins,
    label_counts,
    macro_f1_of,
    macro_precision_of,
    micro_f1_of,
    pad_frequencies,
    recall_by_frequency,
)
from ..metrics._inputs import Ranking, read_ranking
from ._axes import MUTED, PALE, by_name, finish, next_colors, one_axes
from ._predictions import rank_labels, training_frequencies

_BINS = {"head-torso-tail": (0.1, 0.5), "deciles": tuple(np.arange(1, 10) / 10)}

# Metrics of the counts of some labels. Recall is what recall_by_frequency_at_k returns.
_OF_COUNTS: dict[str, Callable] = {
    "micro_f1": micro_f1_of,
    "macro_f1": macro_f1_of,
    "macro_precision": macro_precision_of,
}
_NAMES = {
    "recall": "recall",
    "micro_f1": "micro F1",
    "macro_f1": "macro F1",
    "macro_precision": "macro precision",
}


class FrequencyBinDisplay:
    """A metric for frequent and for rare labels.

    Labels are ordered by their number of training documents and cut into bins, as
    :func:`~skxmc.metrics.recall_by_frequency_at_k` does it: head, torso and tail, or deciles.
    Labels of equal frequency may fall on both sides of a cut, in the order of their columns.

    Parameters
    ----------
    values : dict of name to ndarray of shape (n_bins,)
        The metric of each model, most frequent bin first; NaN for a bin without anything to
        measure.
    ranges : ndarray of shape (n_bins, 2)
        Highest and lowest number of training documents of a label in each bin.
    names : sequence of str of length n_bins
        Names of the bins.
    metric : str, default="recall"
        Which metric it is.
    k : int, default=5
        The number of predictions that count.

    Attributes
    ----------
    values, ranges, names, metric, k
        As passed. A display of a single model without a name has the key None.
    bars_ : dict of name to BarContainer
    ax_ : matplotlib Axes
    figure_ : matplotlib Figure

    See Also
    --------
    skxmc.metrics.recall_by_frequency_at_k : The figures of the default.

    Examples
    --------
    >>> from skxmc.inspection import FrequencyBinDisplay
    >>> display = FrequencyBinDisplay.from_predictions(
    ...     [[0, 2], [0, 1]], [[0, 1], [0, 1]], frequencies=[9, 4, 1], bins=[0.34, 0.67], k=2
    ... )
    >>> display.values[None].tolist()
    [1.0, 1.0, 0.0]
    """

    def __init__(
        self,
        values: dict[str | None, np.ndarray],
        *,
        ranges: np.ndarray,
        names: Sequence[str],
        metric: str = "recall",
        k: int = 5,
    ) -> None:
        self.values = values
        self.ranges = ranges
        self.names = names
        self.metric = metric
        self.k = k

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
        frequencies: np.ndarray | None = None,
        bins: str | Sequence[float] = "head-torso-tail",
        metric: str = "recall",
        k: int = 5,
        ax: Any = None,
        **kwargs: Any,
    ) -> FrequencyBinDisplay:
        """Predict, and draw the metric of each bin.

        Parameters
        ----------
        estimator : estimator, or dict of name to estimator
            Fitted; or a pipeline or search around one. Several are drawn side by side.
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
        frequencies : array of shape (n_labels,), default=None
            The number of training documents of each label; None takes those that the (first)
            estimator was fitted on.
        bins : {"head-torso-tail", "deciles"} or sequence of float, default="head-torso-tail"
            Where to cut, as shares of the labels, rising, each in (0, 1).
        metric : {"recall", "micro_f1", "macro_f1", "macro_precision"}, default="recall"
            What is measured on the labels of each bin.
        k : int, default=5
            The number of predictions of a document that count.
        ax : matplotlib Axes, default=None
            None makes a new figure.
        **kwargs : dict
            Passed to ``Axes.bar``.

        Returns
        -------
        display : FrequencyBinDisplay
        """
        models = by_name(estimator, "estimator")
        if frequencies is None:
            frequencies = training_frequencies(next(iter(models.values())))
        truth, found, pairs = rank_labels(models, X, Y, k, images=images, exclude=exclude)
        return cls.from_predictions(
            truth,
            found,
            frequencies=frequencies,
            exclude=pairs,
            sample_weight=sample_weight,
            bins=bins,
            metric=metric,
            k=k,
            ax=ax,
            **kwargs,
        )

    @classmethod
    def from_predictions(
        cls,
        y_true: Any,
        y_pred: Any,
        *,
        frequencies: np.ndarray,
        classes: Any = None,
        exclude: Any = None,
        sample_weight: Any = None,
        bins: str | Sequence[float] = "head-torso-tail",
        metric: str = "recall",
        k: int = 5,
        ax: Any = None,
        **kwargs: Any,
    ) -> FrequencyBinDisplay:
        """Draw the metric of given predictions in each bin.

        Parameters
        ----------
        y_true : sparse or dense indicator of shape (n_samples, n_labels), DataFrame, or lists
            The truth: lists hold label indices, or with `classes` names; see
            :mod:`skxmc.metrics`.
        y_pred : int array (n_samples, m), (indices, scores), sparse or dense scores, or dict
            Predictions; see :mod:`skxmc.metrics`. A dict of name to predictions draws several
            side by side.
        frequencies : array of shape (n_labels,)
            The number of training documents of each label.
        classes : array of shape (n_labels,), default=None
            The names of the labels, ``classes_`` of the fitted model. With it, lists hold names.
        exclude : sparse or bool (n_samples, n_labels), int pairs (n_pairs, 2), or None
            Filter pairs.
        sample_weight : array of shape (n_samples,), default=None
            Weights of the documents.
        bins : {"head-torso-tail", "deciles"} or sequence of float, default="head-torso-tail"
            Where to cut, as shares of the labels, rising, each in (0, 1).
        metric : {"recall", "micro_f1", "macro_f1", "macro_precision"}, default="recall"
            What is measured on the labels of each bin.
        k : int, default=5
            The number of predictions of a document that count.
        ax : matplotlib Axes, default=None
            None makes a new figure.
        **kwargs : dict
            Passed to ``Axes.bar``.

        Returns
        -------
        display : FrequencyBinDisplay
        """
        if metric not in _NAMES:
            raise ValueError(f"metric is {metric!r}; pass one of {list(_NAMES)}.")
        if isinstance(bins, str) and bins not in _BINS:
            raise ValueError(
                f"bins is {bins!r}; pass one of {list(_BINS)}, or where to cut, such as [0.1, 0.5]."
            )
        cuts = _BINS[bins] if isinstance(bins, str) else bins
        frequencies = check_frequencies(frequencies)
        n_bins = len(cuts) + 1
        values = {}
        for name, predictions in by_name(y_pred, "y_pred").items():
            ranking = read_ranking(
                y_true,
                predictions,
                k,
                classes=classes,
                exclude=exclude,
                sample_weight=sample_weight,
                n_labels=len(frequencies),
            )
            padded = pad_frequencies(frequencies, ranking)
            bin_of = frequency_bins(padded, cuts)
            values[name] = _measure(ranking, metric, k, padded, cuts, bin_of)
        bin_of = frequency_bins(frequencies, cuts)
        display = cls(
            values,
            ranges=np.array([_range(frequencies[bin_of == number]) for number in range(n_bins)]),
            names=_names_of(n_bins),
            metric=metric,
            k=k,
        )
        return display.plot(ax, **kwargs)

    def plot(self, ax: Any = None, **kwargs: Any) -> FrequencyBinDisplay:
        """Draw one group of bars for each bin.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            None makes a new figure.
        **kwargs : dict
            Passed to ``Axes.bar``.

        Returns
        -------
        self : FrequencyBinDisplay
        """
        n_bins, n_models = len(self.names), len(self.values)
        self.ax_ = ax = one_axes(ax, (max(4.6, 0.75 * n_bins), 3.6))
        self.figure_ = ax.figure
        self.bars_ = {}
        width = 0.8 / n_models
        places = np.arange(n_bins)
        for number, (color, (name, values)) in enumerate(
            zip(next_colors(ax, n_models), self.values.items(), strict=True)
        ):
            style = {
                "color": color,
                "edgecolor": "white",
                "linewidth": 0.6,
                "label": name,
                **kwargs,
            }
            left = places + (number - (n_models - 1) / 2) * width
            self.bars_[name] = ax.bar(left, values, width, **style)
        for place in places[np.all([np.isnan(v) for v in self.values.values()], axis=0)]:
            ax.annotate(
                "none\ntrue",
                (place, 0),
                xytext=(0, 3),
                textcoords="offset points",
                ha="center",
                color=MUTED,
                fontsize="small",
            )
        ax.set_xticks(places, self._tick_labels())
        ax.set(xlabel="labels, by number of training documents", ylabel=self._title())
        ax.tick_params(axis="x", length=0)
        ax.grid(axis="y", color=PALE)
        finish(ax)
        return self

    def _title(self) -> str:
        return f"{_NAMES[self.metric]} at {self.k}"

    def _tick_labels(self) -> list[str]:
        """Return the name of each bin above its range of frequencies."""
        return [
            f"{name}\n{_compact(high)}" + ("" if high == low else f"–{_compact(low)}")
            for name, (high, low) in zip(self.names, self.ranges, strict=True)
        ]


def _measure(
    ranking: Ranking,
    metric: str,
    k: int,
    frequencies: np.ndarray,
    cuts: Sequence[float],
    bin_of: np.ndarray,
) -> np.ndarray:
    """Return the metric of each bin, (n_bins,)."""
    if metric == "recall":
        return recall_by_frequency(ranking, frequencies, cuts)
    counts = label_counts(ranking, k)
    return np.array(
        [
            _OF_COUNTS[metric](tuple(count[bin_of == number] for count in counts))
            for number in range(len(cuts) + 1)
        ]
    )


def _names_of(n_bins: int) -> list[str]:
    if n_bins == 3:
        return ["head", "torso", "tail"]
    return [str(number) for number in range(1, n_bins + 1)]


def _range(frequencies: np.ndarray) -> tuple[float, float]:
    """Return the highest and the lowest frequency; NaN for a bin without labels."""
    return (frequencies.max(), frequencies.min()) if len(frequencies) else (np.nan, np.nan)


def _compact(frequency: float) -> str:
    """Write 12,345 as 12k, so that ten of them fit side by side."""
    if np.isnan(frequency):
        return "no labels"
    for size, unit in ((1e6, "M"), (1e3, "k")):
        if frequency >= 10 * size:
            return f"{frequency / size:.0f}{unit}"
        if frequency >= size:
            return f"{frequency / size:.1f}{unit}"
    return f"{frequency:g}"
