"""What the displays share: colours, axes, names of models and of metrics."""

from __future__ import annotations

import re
from collections.abc import Mapping
from itertools import islice
from math import ceil
from typing import Any

import numpy as np

from .._runtime._optional import import_optional

# Okabe and Ito's colours without the yellow, which is too light for a line on white: people with
# any kind of colour vision tell them apart. https://jfly.uni-koeln.de/color/
COLORS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#D55E00", "#56B4E9", "#000000")
INK, MUTED, PALE = "#1f2328", "#6e7781", "#eaeef2"

# Rough size of a character and height of a line in a legend, in inches.
_CHARACTER, _LINE = 0.068, 0.19

# The extra of skxmc that brings matplotlib.
EXTRA = "demo"

_SHORT = {
    "precision": "P",
    "ndcg": "nDCG",
    "recall": "R",
    "rp": "RP",
    "hit": "hit rate",
    "mrr": "MRR",
    "map": "MAP",
    "psprecision": "PSP",
    "psndcg": "PSnDCG",
    "psrecall": "PSR",
}


def pyplot() -> Any:
    """Return ``matplotlib.pyplot``, or say how to get it."""
    return import_optional("matplotlib.pyplot", EXTRA)


def one_axes(ax: Any, figsize: tuple[float, float]) -> Any:
    """Return `ax`, or the axes of a new figure of a size in inches."""
    if ax is None:
        _, ax = pyplot().subplots(figsize=figsize, layout="constrained")
    return ax


def grid_of_axes(ax: Any, shape: tuple[int, int], panel: tuple[float, float], **spacing) -> Any:
    """Make an array of axes: in a new figure, in the place of one axes, or those that are given.

    Parameters
    ----------
    ax : None, Axes, or array of Axes with as many entries as there are panels
    shape : (int, int)
        Rows and columns.
    panel : (float, float)
        Width and height of a panel of a new figure, in inches.
    **spacing : float
        ``wspace`` and ``hspace`` between panels, as shares of a panel.

    Returns
    -------
    axes : ndarray of Axes, of that shape
    """
    plt = pyplot()
    n_rows, n_columns = shape
    if ax is None:
        figsize = (panel[0] * n_columns, panel[1] * n_rows)
        figure = plt.figure(figsize=figsize, layout="constrained")
        grid = figure.add_gridspec(n_rows, n_columns, **spacing)
    elif isinstance(ax, plt.Axes):
        if shape == (1, 1):
            return np.array([[ax]], dtype=object)
        if ax.get_subplotspec() is None:
            raise ValueError(
                f"ax cannot be divided into {n_rows} x {n_columns} panels; pass an axes made by "
                "plt.subplots, or one axes for each panel."
            )
        ax.set_axis_off()
        grid = ax.get_subplotspec().subgridspec(n_rows, n_columns, **spacing)
        figure = ax.figure
    else:
        axes = np.asarray(ax, dtype=object)
        if axes.size != n_rows * n_columns:
            raise ValueError(
                f"ax holds {axes.size} axes but there are {n_rows} x {n_columns} panels; pass one "
                "axes for each panel, a single one, or None."
            )
        return axes.reshape(shape)
    made = [figure.add_subplot(grid[row, column]) for row, column in np.ndindex(*shape)]
    return np.array(made, dtype=object).reshape(shape)


def by_name(value: Any, argument: str) -> dict[str | None, Any]:
    """Return a dict with names of str or None, and a single value under the name None."""
    if not isinstance(value, Mapping):
        return {None: value}
    if not value:
        raise ValueError(f"{argument} is an empty dict; pass at least one entry, or one value.")
    return {name if name is None else str(name): entry for name, entry in value.items()}


def next_colors(ax: Any, number: int) -> list[str]:
    """Return colours for `number` models, after those that have a place in the legend of `ax`."""
    taken = len(ax.get_legend_handles_labels()[1])
    return [COLORS[place % len(COLORS)] for place in range(taken, taken + number)]


def finish(ax: Any, *, legend: str | None = "upper right") -> None:
    """Take away the frame, and show a legend, if anything has a name, in room made for it.

    Parameters
    ----------
    ax : matplotlib Axes
    legend : {"upper right", "lower left", None}
        Where the legend stands; nothing is drawn behind it. None shows none.
    """
    ax.spines[["top", "right"]].set_visible(False)
    ax.set_axisbelow(True)
    ax.autoscale(axis="y")
    names = ax.get_legend_handles_labels()[1]
    if legend is None or not names:
        return
    width, height = ax.get_window_extent().transformed(ax.figure.dpi_scale_trans.inverted()).size
    width_of_one = _CHARACTER * (max(map(len, names)) + 6)
    n_columns = int(np.clip(width / width_of_one, 1, len(names)))
    room = min(0.6, _LINE * (ceil(len(names) / n_columns) + 0.7) / height)
    low, high = ax.get_ylim()
    more = (high - low) * room / (1 - room)
    ax.set_ylim((low, high + more) if legend.startswith("upper") else (low - more, high))
    style = {"frameon": False, "fontsize": "small", "borderaxespad": 0.1, "columnspacing": 1.2}
    ax.legend(loc=legend, ncols=n_columns, **style)


def short_name(metric: str) -> str:
    """Write ``"psprecision_at_5"`` as ``"PSP@5"``, and other names with spaces."""
    match = re.fullmatch(r"(\w+)_at_(\d+)", metric)
    if match is None:
        return metric.replace("_", " ")
    return f"{_SHORT.get(match[1], match[1].replace('_', ' '))}@{match[2]}"


def styles(number: int) -> list[str]:
    """Return line styles, most readable first, over again after the fourth."""
    known = ("-", "--", ":", "-.")
    return list(islice(known * (number // len(known) + 1), number))
