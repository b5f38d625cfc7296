"""Draws the rooms of the package, from its own imports: ``python docs/draw_house.py``.

Writes ``_static/house.svg``. A room stands above all rooms that it imports from.
"""

from __future__ import annotations

import ast
from html import escape
from pathlib import Path

DOCS = Path(__file__).resolve().parent
PACKAGE = DOCS.parent / "skxmc"

# Programs that stand in a room by their name alone; like __main__ they start the command line.
ENTRY_POINTS = ("datasets/images.py",)

BOX, GAP, MARGIN = (250, 62), (18, 26), 24
PUBLIC, PRIVATE, LINE = "#dcebf7", "#f4f4f4", "#7a8ca0"


def rooms() -> dict[str, str]:
    """Name of each room, and the first sentence of its docstring."""
    found = {}
    for path in sorted(PACKAGE.iterdir()):
        file = path / "__init__.py" if path.is_dir() else path
        if file.is_file() and file.suffix == ".py" and path.name not in ("__init__.py",):
            text = ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or ""
            found[path.stem] = text.partition("\n")[0].partition(": ")[-1 if ":" in text else 0]
    return found


def imports(room: str) -> set[str]:
    """Rooms that a room imports from, at the top of its modules or in functions."""
    path = PACKAGE / room
    files = path.rglob("*.py") if path.is_dir() else [path.with_suffix(".py")]
    found = set()
    for file in files:
        if file.relative_to(PACKAGE).as_posix() in ENTRY_POINTS:
            continue
        depth = len(file.relative_to(PACKAGE).parts)
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.level == depth:
                names = [node.module] if node.module else [alias.name for alias in node.names]
                found.update(name.partition(".")[0] for name in names)
    return found - {room}


def floors(graph: dict[str, set[str]]) -> dict[str, int]:
    """How many rooms stand below each, one on the other."""
    known: dict[str, int] = {}

    def floor(room: str) -> int:
        if room not in known:
            known[room] = 1 + max((floor(other) for other in graph[room]), default=-1)
        return known[room]

    for room in graph:
        floor(room)
    return known


def wrap(text: str, width: int = 40) -> list[str]:
    """Two lines at most."""
    lines = [""]
    for word in text.rstrip(".").split():
        if len(lines[-1]) + len(word) >= width:
            lines.append("")
        lines[-1] = f"{lines[-1]} {word}".strip()
    return lines[:2]


def draw() -> str:
    """The drawing as SVG."""
    known = rooms()
    level = floors({room: imports(room) & known.keys() for room in known})
    rows = [[r for r in known if level[r] == n] for n in range(max(level.values()), -1, -1)]
    width = max(len(row) for row in rows) * (BOX[0] + GAP[0]) - GAP[0] + 2 * MARGIN
    height = len(rows) * (BOX[1] + GAP[1]) - GAP[1] + 2 * MARGIN + 30
    parts = []
    for number, row in enumerate(rows):
        y = MARGIN + number * (BOX[1] + GAP[1])
        x = (width - len(row) * (BOX[0] + GAP[0]) + GAP[0]) / 2
        for room in row:
            fill = PRIVATE if room.startswith("_") else PUBLIC
            parts.append(
                f'<rect x="{x}" y="{y}" width="{BOX[0]}" height="{BOX[1]}" rx="7" '
                f'fill="{fill}" stroke="{LINE}"/>'
                f'<text x="{x + 12}" y="{y + 20}" class="name">{escape(room)}</text>'
            )
            for line, text in enumerate(wrap(known[room])):
                parts.append(f'<text x="{x + 12}" y="{y + 37 + 15 * line}">{escape(text)}</text>')
            x += BOX[0] + GAP[0]
    note = "Blue rooms are public. A room imports from rooms below it and never from above."
    parts.append(f'<text x="{MARGIN}" y="{height - 16}">{note}</text>')
    style = "text{font:12px sans-serif;fill:#333}.name{font:bold 14px monospace}"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
        f'width="{width}" height="{height}"><title>Rooms of skxmc</title><style>{style}</style>'
        f'<rect width="{width}" height="{height}" fill="white"/>{"".join(parts)}</svg>\n'
    )


if __name__ == "__main__":
    (DOCS / "_static" / "house.svg").write_text(draw(), encoding="utf-8")
