"""Charts of what was measured, as SVG: bars, and points with logarithmic axes."""

import math
from collections.abc import Callable, Sequence
from html import escape

INK, MUTED, LINE = "#24292f", "#57606a", "#d4dae0"
COLORS = ("#5aa2d6", "#eeb04a", "#54b795", "#b58ad1", "#8c959f")
STYLE = (
    f"text{{font:13px sans-serif;fill:{INK}}}.title{{font:bold 14px sans-serif}}"
    f".small{{font:12px sans-serif;fill:{MUTED}}}"
    ".end{text-anchor:end}.middle{text-anchor:middle}"
)
WIDTH, LEFT, RIGHT, ROW = 720, 210, 96, 26

Point = tuple[float, float]


def bars(title: str, values: Sequence[tuple[str, float]], unit: str) -> str:
    """A bar for each value, from 0, with the number at its end."""
    longest = max(value for _, value in values)
    parts = [_text(16, 28, title, "title")]
    for place, (name, value) in enumerate(values):
        y = 46 + ROW * place
        width = (WIDTH - LEFT - RIGHT) * value / longest
        color = COLORS[0 if name.startswith("skxmc") else -1]
        parts += [
            _text(LEFT - 10, y + 15, name, "end"),
            f'<rect x="{LEFT}" y="{y}" width="{width:.1f}" height="{ROW - 6}" rx="3" '
            f'fill="{color}"/>',
            _text(LEFT + width + 8, y + 15, f"{_short(value)} {unit}", "small"),
        ]
    return _page(title, 56 + ROW * len(values), parts)


def points(
    title: str,
    series: dict[str, Sequence[Point]],
    horizontal: str,
    vertical: str,
    *,
    log_vertical: bool = True,
    named: bool = False,
) -> str:
    """Points, joined by lines in each series; the horizontal axis is logarithmic.

    With `named` each series is one point with its name beside it. Else a legend has the names.
    """
    height, left, right, top, bottom = 346, 70, 190, 62, 298
    every = [point for own in series.values() for point in own]
    x_of, x_marks = _axis([x for x, _ in every], left, WIDTH - right, log=True)
    y_of, y_marks = _axis([y for _, y in every], bottom, top, log=log_vertical)
    parts = [_text(16, 28, title, "title")]
    for mark in y_marks:
        y = y_of(mark)
        parts.append(_line([(left, y), (WIDTH - right, y)], LINE, 1))
        parts.append(_text(left - 8, y + 4, _short(mark), "small end"))
    for mark in x_marks:
        parts.append(_text(x_of(mark), bottom + 20, _short(mark), "small middle"))
    parts.append(_text((left + WIDTH - right) / 2, height - 10, horizontal, "small middle"))
    parts.append(_text(16, top - 14, vertical, "small"))
    free = _Free()
    for number, (name, own) in enumerate(series.items()):
        color = COLORS[number % len(COLORS)]
        if named:
            color = COLORS[0 if name.startswith("skxmc") else -1]
        places = [(x_of(x), y_of(y)) for x, y in own]
        parts.append(_line(places, color, 2))
        parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4.5" fill="{color}"/>' for x, y in places]
        x, y = places[-1] if named else (WIDTH - right + 16, top + 10 + 22 * number)
        if not named:
            parts.append(f'<circle cx="{x}" cy="{y - 4}" r="4.5" fill="{color}"/>')
        parts.append(_text(x + 10, free.place(x, y + 4) if named else y, name, "small"))
    return _page(title, height, parts)


class _Free:
    """Finds room for names beside points: below others that would be written over."""

    def __init__(self) -> None:
        self.taken: list[Point] = []

    def place(self, x: float, y: float) -> float:
        """Where a name at x may stand, at y or below."""
        while any(abs(x - other) < 130 and abs(y - at) < 14 for other, at in self.taken):
            y += 15
        self.taken.append((x, y))
        return y


def _axis(
    values: Sequence[float], first: float, last: float, *, log: bool
) -> tuple[Callable[[float], float], list[float]]:
    """Where a value stands, and values that are marked."""
    low, high = min(values), max(values)
    if log:
        marks = [
            digit * 10.0**power
            for power in range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
            for digit in (1, 2, 5)
        ]
        scale: Callable[[float], float] = math.log
    else:
        step = 10.0 ** math.floor(math.log10(max(high - low, 1e-9)))
        step = step if (high - low) / step > 3 else step / 2
        marks = [step * n for n in range(math.floor(low / step), math.ceil(high / step) + 1)]
        scale = float
    below = [mark for mark in marks if mark <= low][-1:]
    above = [mark for mark in marks if mark >= high][:1]
    marks = [mark for mark in marks if below[0] <= mark <= above[0]]
    start, end = scale(marks[0]), scale(marks[-1])
    spread = (end - start) or 1.0
    shown = marks if len(marks) <= 8 else marks[:: -(-len(marks) // 8)]
    return lambda value: first + (last - first) * (scale(value) - start) / spread, shown


def _short(value: float) -> str:
    """A number in few characters."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def _text(x: float, y: float, words: str, kind: str = "") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" class="{kind}">{escape(words)}</text>'


def _line(places: Sequence[Point], color: str, width: float) -> str:
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
    return f'<polyline points="{path}" fill="none" stroke="{color}" stroke-width="{width}"/>'


def _page(title: str, height: int, parts: Sequence[str]) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" '
        f'height="{height}" role="img"><title>{escape(title)}</title><style>{STYLE}</style>'
        f'<rect width="{WIDTH}" height="{height}" rx="8" fill="white"/>{"".join(parts)}</svg>\n'
    )
