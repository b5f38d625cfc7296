"""Figures of training by epoch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from sklearn.utils.validation import check_is_fitted

from ..metrics._scorers import find_ranker
from ._axes import (
    by_name,
    finish,
    grid_of_axes,
    next_colors,
    short_name,
    styles,
)

# What the trainer itself writes down; the rest of an entry are figures on held-out documents.
_OF_TRAINING = ("epoch", "loss", "learning_rate", "seconds", "documents_per_second")
_SCORE = "validation_score"
_LABELS = {"loss": "training loss", "seconds": "seconds an epoch", _SCORE: "validation score"}


class TrainingHistoryDisplay:
    """Loss, learning rate and validation figures by epoch.

    Parameters
    ----------
    histories : list of dict, or dict of name to such a list
        What ``history_`` of a fitted estimator holds: one entry an epoch. A dict holds several
        runs.

    Attributes
    ----------
    histories : dict of name to list of dict
        The single run of a display without names stands under None.
    lines_ : dict of (name, figure) to Line2D
        What was drawn.
    ax_ : matplotlib Axes
        The first of `axes_`.
    axes_ : ndarray of matplotlib Axes
        One for each quantity.
    figure_ : matplotlib Figure

    See Also
    --------
    skxmc.ViXMLClassifier : Writes ``history_`` while its encoder is tuned.

    Examples
    --------
    >>> from skxmc.inspection import TrainingHistoryDisplay
    >>> history = [{"epoch": 1, "loss": 0.9}, {"epoch": 2, "loss": 0.4}]
    >>> display = TrainingHistoryDisplay(history).plot()
    >>> display.lines_[None, "loss"].get_ydata().tolist()
    [0.9, 0.4]
    """

    def __init__(self, histories: Any) -> None:
        self.histories = by_name(histories, "histories")
        for name, history in self.histories.items():
            if not history:
                run = "the run" if name is None else f"the run {name!r}"
                raise ValueError(
                    f"{run} has no epochs: its encoder was not tuned. Only models with "
                    "train_encoder='full' or 'lora' have a history."
                )

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        *,
        quantities: Sequence[str] | None = None,
        ax: Any = None,
        **kwargs: Any,
    ) -> TrainingHistoryDisplay:
        """Draw the history of a fitted estimator.

        Parameters
        ----------
        estimator : estimator, or dict of name to estimator
            Fitted, with a tuned encoder; or a pipeline or search around one.
        quantities : sequence of str, default=None
            As in :meth:`plot`.
        ax : matplotlib Axes or array of them, default=None
            As in :meth:`plot`.
        **kwargs : dict
            As in :meth:`plot`.

        Returns
        -------
        display : TrainingHistoryDisplay
        """
        histories = {}
        for name, model in by_name(estimator, "estimator").items():
            _, ranker = find_ranker(model)
            check_is_fitted(ranker)
            if not hasattr(ranker, "history_"):
                raise TypeError(
                    f"{type(ranker).__name__} has no history_; pass an estimator of skxmc."
                )
            histories[name] = ranker.history_
        return cls(histories).plot(ax, quantities=quantities, **kwargs)

    def plot(
        self, ax: Any = None, *, quantities: Sequence[str] | None = None, **kwargs: Any
    ) -> TrainingHistoryDisplay:
        """Draw one panel for each quantity.

        Parameters
        ----------
        ax : matplotlib Axes or array of them, default=None
            A single axes is divided where there are several quantities; an array has one for
            each, such as `axes_` of another display. None makes a new figure.
        quantities : sequence of str, default=None
            Keys of the history's entries, such as ``"loss"`` or ``"ndcg_at_5"``, or
            ``"validation"`` for the figures on held-out documents: all of them for a single run,
            the score that early stopping uses for several. None takes ``"loss"``,
            ``"learning_rate"`` and, where there are any, ``"validation"``. The epoch with the best
            score, whose weights were kept, has a ring.
        **kwargs : dict
            Passed to ``Axes.plot``.

        Returns
        -------
        self : TrainingHistoryDisplay
        """
        panels = self._panels(quantities)
        axes = grid_of_axes(ax, (1, len(panels)), (3.6, 3.0))
        self.axes_ = axes[0]
        self.ax_ = self.axes_[0]
        self.figure_ = self.ax_.figure
        self.lines_ = {}
        for panel, (title, figures) in zip(self.axes_, panels, strict=True):
            self._draw(panel, figures, kwargs)
            panel.set(xlabel="epoch", ylabel=title)
            panel.xaxis.get_major_locator().set_params(integer=True)
            panel.ticklabel_format(axis="y", scilimits=(-2, 4))
            # Names of runs are the same in all panels: one legend says them.
            named = len(figures) > 1 or panel is self.ax_
            finish(panel, legend="upper right" if named else None)
        return self

    def _panels(self, quantities: Sequence[str] | None) -> list[tuple[str, list[str]]]:
        """Title and figures of each panel."""
        known = list(
            dict.fromkeys(
                key for history in self.histories.values() for entry in history for key in entry
            )
        )
        measured = [key for key in known if key not in _OF_TRAINING]
        if quantities is None:
            quantities = [key for key in ("loss", "learning_rate") if key in known]
            quantities += ["validation"] if measured else []
        elif isinstance(quantities, str):
            quantities = [quantities]
        panels = []
        for quantity in quantities:
            if quantity == "validation" and measured:
                several = len(self.histories) > 1 and _SCORE in measured
                figures = [_SCORE] if several else measured
                title = _LABELS[_SCORE] if several else "on held-out documents"
                panels.append((title, figures))
            elif quantity in known and quantity != "epoch":
                panels.append((_LABELS.get(quantity, short_name(quantity)), [quantity]))
            else:
                raise ValueError(
                    f"quantities names {quantity!r}, which no entry of the history holds; choose "
                    f"from {[key for key in known if key != 'epoch']}"
                    f"{' and validation' if measured else ''}."
                )
        if not panels:
            raise ValueError("quantities is empty; name at least one, or pass None.")
        return panels

    def _draw(self, panel: Any, figures: list[str], kwargs: dict) -> None:
        """Draw lines: the colour is the run, or the figure if there is but one run."""
        single = len(self.histories) == 1
        colors = next_colors(panel, len(figures) if single else len(self.histories))
        dashes = styles(len(figures))
        for run, (name, history) in enumerate(self.histories.items()):
            for number, figure in enumerate(figures):
                points = [(entry["epoch"], entry[figure]) for entry in history if figure in entry]
                epochs, values = np.array(points, dtype=float).reshape(-1, 2).T
                parts = [] if name is None else [name]
                parts += (
                    [short_name(figure).removeprefix("validation ")] if len(figures) > 1 else []
                )
                style = {
                    "color": colors[number if single else run],
                    "linestyle": dashes[number],
                    "marker": "o" if len(epochs) <= 30 else "",
                    "markersize": 3.5,
                    "label": ", ".join(parts) or None,
                    **kwargs,
                }
                (line,) = panel.plot(epochs, values, **style)
                self.lines_[name, figure] = line
                if figure == _SCORE and len(values):
                    best = int(np.argmax(values))
                    panel.plot(
                        epochs[best],
                        values[best],
                        marker="o",
                        markersize=10,
                        markerfacecolor="none",
                        color=line.get_color(),
                        linestyle="",
                    )
