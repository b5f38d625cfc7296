"""A text that never leaves the room it is given. Imported where something is drawn, only."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .._runtime._optional import import_optional
from ._axes import EXTRA

Text: Any = import_optional("matplotlib.text", EXTRA).Text
offset_copy = import_optional("matplotlib.transforms", EXTRA).offset_copy

# No line of a figure is longer, and what is longer need not be measured.
_LONGEST = 400


class FittedText(Text):
    """A text in an axes, broken into lines and cut with an ellipsis so that it fits.

    Fitting is done when it is drawn: only then layout engines have settled how large the axes is.

    Parameters
    ----------
    axes : matplotlib Axes
        Its parent; the text is added to it.
    x, y : float
        Where it starts, in data coordinates.
    text : str
        Drawn as it is: dollar signs mean no formula.
    share : float
        The width that it may take, as a share of the axes' width.
    indent, reserve : float, default=0
        What of that width stays empty to its left and to its right, in points.
    n_lines : int, default=1
        The largest number of lines.
    **kwargs : dict
        Passed to ``Text``.
    """

    def __init__(
        self,
        axes: Any,
        x: float,
        y: float,
        text: str,
        *,
        share: float,
        indent: float = 0.0,
        reserve: float = 0.0,
        n_lines: int = 1,
        **kwargs: Any,
    ) -> None:
        place = offset_copy(axes.transData, axes.figure, x=indent, units="points")
        super().__init__(x, y, text, transform=place, parse_math=False, **kwargs)
        self.full_text, self.share, self.n_lines = text, share, n_lines
        self.empty = indent + reserve
        self.set_in_layout(False)  # it adapts to the layout, not the other way round
        axes.add_artist(self)

    def draw(self, renderer: Any) -> None:
        """Fit the text to the axes as large as it is now, and draw it."""
        width = self.axes.get_window_extent(renderer).width
        room = self.share * width - renderer.points_to_pixels(self.empty)

        def fits(part: str) -> bool:
            font = self.get_fontproperties()
            return renderer.get_text_width_height_descent(part, font, False)[0] <= room

        fitted = fit_lines(self.full_text, self.n_lines, fits)
        if fitted != self.get_text():
            self.set_text(fitted)
        super().draw(renderer)


def fit_lines(text: str, n_lines: int, fits: Callable[[str], bool]) -> str:
    """Break a text between words into at most `n_lines` lines, and cut what is left over.

    Parameters
    ----------
    text : str
    n_lines : int
    fits : callable
        Tells whether a str fits into one line.

    Returns
    -------
    lines : str
        Joined by line feeds; with an ellipsis at the end where something was cut.
    """
    # Somewhat more than can fit: a document may have ten thousand words.
    words = text[: n_lines * _LONGEST + 1].split()
    lines: list[str] = []
    while words and len(lines) < n_lines - 1:
        taken = 0
        while taken < len(words) and fits(" ".join(words[: taken + 1])):
            taken += 1
        if taken == 0:  # a word longer than the line ends the text here
            break
        lines.append(" ".join(words[:taken]))
        words = words[taken:]
    if words:
        lines.append(_cut(" ".join(words), fits))
    return "\n".join(lines)


def _cut(text: str, fits: Callable[[str], bool]) -> str:
    """The longest beginning that fits with an ellipsis, or all of the text."""
    if fits(text):
        return text
    low, high = 0, len(text)
    while low < high - 1:
        middle = (low + high) // 2
        if fits(text[:middle].rstrip() + "…"):
            low = middle
        else:
            high = middle
    return text[:low].rstrip() + "…"
