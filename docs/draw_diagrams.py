"""Draws the diagrams of the documentation: ``python docs/draw_diagrams.py``.

Writes one SVG file into ``_static`` for each function in `DIAGRAMS`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from html import escape
from pathlib import Path

STATIC = Path(__file__).resolve().parent / "_static"
INK, MUTED, LINE, PAPER = "#24292f", "#57606a", "#8c959f", "#f6f8fa"
BLUE, ORANGE, GREEN, GREY = "#5aa2d6", "#eeb04a", "#54b795", "#d4dae0"
PALE = {BLUE: "#e3f0fa", ORANGE: "#fcf1dc", GREEN: "#e0f3ec", GREY: PAPER}
STYLE = (
    f"text{{font:14px sans-serif;fill:{INK}}}.head{{font:bold 14px sans-serif}}"
    f".small{{font:12.5px sans-serif;fill:{MUTED}}}.code{{font:13px monospace}}"
    ".middle{text-anchor:middle}.end{text-anchor:end}"
)
ARROWHEAD = (
    '<defs><marker id="head" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" '
    f'orient="auto"><path d="M0 0L8 4L0 8z" fill="{LINE}"/></marker></defs>'
)


def page(title: str, width: int, height: int, parts: Sequence[str]) -> str:
    """A whole file."""
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" '
        f'height="{height}" role="img"><title>{escape(title)}</title><style>{STYLE}</style>'
        f'{ARROWHEAD}<rect width="{width}" height="{height}" rx="8" fill="white"/>'
        f"{''.join(parts)}</svg>\n"
    )


def text(x: float, y: float, words: str, kind: str = "") -> str:
    """One line; `kind` has the classes of `STYLE`."""
    return f'<text x="{x:g}" y="{y:g}" class="{kind}">{escape(words)}</text>'


def bar(x: float, y: float, width: float, height: float, color: str, radius: float = 3) -> str:
    """A filled rectangle."""
    return (
        f'<rect x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" rx="{radius:g}" '
        f'fill="{color}"/>'
    )


def box(x: float, y: float, width: float, height: float, lines: str, color: str = GREY) -> str:
    """A frame whose first line is a heading; lines end in a newline."""
    head, *rest = lines.split("\n")
    start = y + height / 2 + 5 - 9.5 * len(rest)
    middle = x + width / 2
    parts = [
        f'<rect x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" rx="8" '
        f'fill="{PALE[color]}" stroke="{color}" stroke-width="1.5"/>',
        text(middle, start, head, "head middle"),
        *(text(middle, start + 19 * n, line, "small middle") for n, line in enumerate(rest, 1)),
    ]
    return "".join(parts)


def arrow(*points: tuple[float, float]) -> str:
    """A line through the points, with a head at the end."""
    path = " ".join(f"{x:g},{y:g}" for x, y in points)
    return (
        f'<polyline points="{path}" fill="none" stroke="{LINE}" stroke-width="1.6" '
        'marker-end="url(#head)"/>'
    )


def method() -> str:
    """From a document to its labels."""
    parts = [
        box(16, 40, 170, 84, "Document\n“red sports car”\nand its pictures"),
        box(16, 200, 170, 84, "Labels\n“vehicle”, “red”, “fruit”\nand a million others"),
        box(
            236,
            104,
            150,
            116,
            "Text encoder\none vector for\neach text; a picture\nis one more token",
        ),
        arrow((186, 82), (211, 82), (211, 140), (234, 140)),
        arrow((186, 242), (211, 242), (211, 184), (234, 184)),
        box(
            440,
            16,
            236,
            84,
            "Prototypes\nHow near is the document\nto the text of the label?",
            BLUE,
        ),
        box(
            440,
            120,
            236,
            84,
            "Label vectors\nWhat does the label's own\nlinear classifier say?",
            ORANGE,
        ),
        box(
            440,
            224,
            236,
            84,
            "Neighbours\nWhich labels have the nearest\ntraining documents?",
            GREEN,
        ),
        *(arrow((386, 162), (413, 162), (413, y), (438, y)) for y in (58, 266)),
        arrow((386, 162), (438, 162)),
        box(
            730,
            104,
            150,
            116,
            "One score\nweights learned on\nheld-out documents,\nbest 30 re-ranked",
        ),
        *(arrow((676, y), (703, y), (703, 162), (728, 162)) for y in (58, 266)),
        arrow((676, 162), (728, 162)),
        arrow((805, 220), (805, 338)),
        text(816, 284, "calibration", "small"),
    ]
    for place, (name, share) in enumerate((("vehicle", 0.97), ("red", 0.88), ("fruit", 0.04))):
        y = 344 + 26 * place
        color = GREEN if share > 0.5 else GREY
        parts += [
            text(576, y + 14, name, "end"),
            bar(586, y, 220 * share, 18, color),
            text(594 + 220 * share, y + 14, f"{share:.2f}", "small"),
        ]
    parts += [
        f'<line x1="696" y1="338" x2="696" y2="420" stroke="{INK}" stroke-dasharray="4 3"/>',
        text(696, 436, "threshold", "small middle"),
        text(16, 362, "Probabilities rank the labels.", ""),
        text(16, 383, "Labels above the threshold are predicted.", ""),
    ]
    return page("From a document to its labels", 896, 448, parts)


def score() -> str:
    """How the probability of a label comes about."""
    kinds = (("prototypes", BLUE), ("label vectors", ORANGE), ("neighbours", GREEN))
    rows = (
        ("fruit", (0.15, 0.30, 0.25), 0.95),
        ("red", (0.03, 0.06, 0.05), 0.24),
        ("vehicle", (0.01, 0.01, 0.02), 0.03),
    )
    parts = [
        text(16, 28, "“a red banana”", "head"),
        text(110, 62, "1. Each kind of evidence gives the label a share.", "small"),
        text(560, 62, "2. The sum becomes a probability.", "small"),
    ]
    for place, (name, shares, probability) in enumerate(rows):
        y, x = 80 + 44 * place, 110.0
        parts.append(text(100, y + 19, name, "end"))
        for share, (_, color) in zip(shares, kinds, strict=True):
            parts.append(bar(x, y, 480 * share, 28, color, 0))
            x += 480 * share
        parts += [
            text(x + 8, y + 19, f"{sum(shares):.2f}", "small"),
            arrow((510, y + 14), (552, y + 14)),
            bar(560, y, 200 * probability, 28, GREEN if probability > 0.5 else GREY),
            text(568 + 200 * probability, y + 19, f"{probability:.2f}", "small"),
        ]
    for place, (name, color) in enumerate(kinds):
        x = 110 + 140 * place
        parts += [bar(x, 222, 14, 14, color), text(x + 20, 234, name, "small")]
    parts += [
        f'<line x1="650" y1="72" x2="650" y2="206" stroke="{INK}" stroke-dasharray="4 3"/>',
        text(650, 234, "threshold", "small middle"),
    ]
    return page("How the probability of a label comes about", 800, 252, parts)


def label() -> str:
    """An id, its texts and what the encoder makes of them."""
    parts = [
        box(16, 62, 150, 62, "Id\ns1"),
        text(91, 146, "targets, classes_,", "small middle"),
        text(91, 164, "and predictions", "small middle"),
        box(216, 16, 200, 46, "“sheep”", BLUE),
        box(216, 70, 200, 46, "“ewe”", BLUE),
        box(216, 124, 200, 46, "“farm animal with wool”", BLUE),
        *(arrow((166, 93), (191, 93), (191, y), (214, y)) for y in (39, 147)),
        arrow((166, 93), (214, 93)),
        box(466, 62, 130, 62, "Encoder"),
        *(arrow((416, y), (441, y), (441, 93), (464, 93)) for y in (39, 147)),
        arrow((416, 93), (464, 93)),
        box(646, 62, 150, 62, "Prototype\none vector"),
        arrow((596, 93), (644, 93)),
        text(316, 196, "texts: name, synonyms, description", "small middle"),
        text(721, 146, "found by documents", "small middle"),
        text(721, 164, "that mean the same", "small middle"),
    ]
    return page("A label has an id and texts", 812, 212, parts)


def data() -> str:
    """A row of a table and where its cells go."""
    cells = (
        ("sku", "001", 92),
        ("title", "Tea cup", 96),
        ("description", "White, with a handle", 184),
    )
    cells += (("image", "cup.jpg", 120), ("tags", "kitchen|ceramic", 190))
    parts, x = [], 24.0
    goes = ("uids_train", "text_train", "", "images_train", "Y_train, label_text")
    for (name, value, width), target in zip(cells, goes, strict=True):
        color = {"uids_train": GREY, "images_train": ORANGE, goes[-1]: GREEN}.get(target, BLUE)
        parts += [
            f'<rect x="{x:g}" y="24" width="{width}" height="64" fill="{PALE[color]}" '
            f'stroke="{color}"/>',
            text(x + width / 2, 46, name, "head middle"),
            text(x + width / 2, 72, value, "small middle"),
        ]
        middle = x + width / 2 + (46 if target == "text_train" else 0)
        if target:
            parts += [arrow((middle, 88), (middle, 128)), text(middle, 148, target, "code middle")]
        x += width
    parts.append(
        text(
            24,
            184,
            "load_table makes one Bunch of arrays and lists from the columns that you name.",
            "small",
        )
    )
    return page("Columns of a table and the fields they become", 732, 200, parts)


def tokens() -> str:
    """What a language model reads of a document."""
    words = ("This", "product", "text", "red", "sports", "car", "and", "its", "image")
    parts, x = [], 16.0
    for word in (*words, "picture", "picture", "<end>"):
        width = 26 + 7.2 * len(word)
        color = ORANGE if word == "picture" else BLUE if word in words[3:6] else GREY
        parts += [bar(x, 22, width, 34, PALE[color] if color != GREY else "#eaeef2", 5)]
        parts.append(text(x + width / 2, 44, word, "middle"))
        x += width + 6
    parts += [
        text(16, 88, "grey: the prompt, computed once for a batch;  blue: the text;", "small"),
        text(
            16,
            107,
            "orange: pictures, one token each, made by a frozen vision model and a learned map",
            "small",
        ),
    ]
    return page("The tokens of a document", int(x + 10), 124, parts)


def folds() -> str:
    """Folds that keep rare labels, beside random ones."""
    parts = []
    layouts = (
        (
            "random folds",
            ("rrgr", "bbbg", "rrgr"),
            "While the second fold is tested, no document with the blue label is learned.",
        ),
        (
            "LabelStratifiedKFold",
            ("rrgb", "rgrb", "rrbg"),
            "Each fold has its share of every label.",
        ),
    )
    colors = {"r": ORANGE, "g": GREEN, "b": BLUE}
    for row, (name, groups, remark) in enumerate(layouts):
        y = 18 + 92 * row
        parts.append(text(16, y + 22, name, "head"))
        for group, letters in enumerate(groups):
            x = 210 + 164 * group
            parts.append(
                f'<rect x="{x}" y="{y}" width="148" height="36" rx="6" fill="{PAPER}" '
                f'stroke="{LINE}"/>'
            )
            parts += [
                bar(x + 8 + 34 * n, y + 6, 28, 24, colors[letter])
                for n, letter in enumerate(letters)
            ]
        parts.append(text(210, y + 58, remark, "small"))
    return page("Folds that keep rare labels", 704, 184, parts)


def thresholds() -> str:
    """The same probabilities cut by two thresholds."""
    values = (("kitchen", 0.93), ("ceramic", 0.71), ("garden", 0.34), ("steel", 0.08))
    parts = []
    for place, (name, value) in enumerate(values):
        y = 44 + 34 * place
        parts += [
            text(96, y + 17, name, "end"),
            bar(106, y, 420 * value, 24, BLUE),
            text(114 + 420 * value, y + 17, f"{value:.2f}", "small"),
        ]
    for cut, words in ((0.3, "“auto”: 3 labels"), (0.8, "Precision(0.9): 1 label")):
        x = 106 + 420 * cut
        parts += [
            f'<line x1="{x:g}" y1="32" x2="{x:g}" y2="176" stroke="{INK}" stroke-dasharray="4 3"/>',
            text(x, 24, words, "small middle"),
        ]
    parts.append(text(106, 200, "A threshold decides which labels predict returns.", "small"))
    return page("The same probabilities cut by two thresholds", 620, 216, parts)


def saved() -> str:
    """A saved model and what can read it."""
    parts = [
        box(16, 56, 150, 62, "fit\nclf.save(folder)"),
        box(
            246,
            19,
            200,
            136,
            "Folder\nskxmc.json: sha256 of all\nsafetensors, JSON,\nfaiss, no pickle",
            BLUE,
        ),
        arrow((166, 87), (244, 87)),
        box(526, 10, 214, 46, "ViXMLClassifier.load"),
        box(526, 64, 214, 46, "skxmc predict"),
        box(526, 118, 214, 46, "skxmc serve"),
        *(arrow((446, 87), (486, 87), (486, y), (524, y)) for y in (33, 141)),
        arrow((446, 87), (524, 87)),
    ]
    return page("A saved model and what can read it", 756, 176, parts)


def epochs() -> str:
    """P@1 against the time of fit: the table of the page on tuning as a curve."""
    points = ((74, 0.771, "frozen"), (101, 0.782, "1"), (122, 0.791, "2"), (167, 0.8, "4"))
    points += ((300, 0.804, "12 epochs"),)
    places = [(70 + 1.6 * seconds, 210 - 4000 * (p - 0.76)) for seconds, p, _ in points]
    parts = []
    for level in (0.76, 0.77, 0.78, 0.79, 0.80):
        y = 210 - 4000 * (level - 0.76)
        parts += [
            f'<line x1="70" y1="{y:g}" x2="570" y2="{y:g}" stroke="{GREY}"/>',
            text(62, y + 4, f"{level:.2f}", "small end"),
        ]
    parts += [
        text(70 + 1.6 * t, 230, f"{t} s", "small middle") for t in (0, 60, 120, 180, 240, 300)
    ]
    path = " ".join(f"{x:g},{y:g}" for x, y in places)
    parts.append(f'<polyline points="{path}" fill="none" stroke="{BLUE}" stroke-width="2.5"/>')
    for (x, y), (_, _, name) in zip(places, points, strict=True):
        parts += [
            f'<circle cx="{x:g}" cy="{y:g}" r="5" fill="{BLUE}"/>',
            text(x + 2, y - 12, name, "small middle" if x > 500 else "small end"),
        ]
    parts += [text(16, 24, "P@1", "head"), text(570, 250, "time of fit", "small end")]
    return page("P@1 against the time of fit", 600, 264, parts)


def scales() -> str:
    """What changes with the number of labels."""
    steps = (
        ("65,536", "hard and random negatives", "in place of all labels"),
        ("131,072", "label vectors score candidates", "only, without words, in float16"),
        ("500,000", "graph search in int8;", "everything is learned once"),
    )
    parts = [arrow((16, 60), (850, 60)), text(850, 46, "labels", "small end")]
    for place, (number, *lines) in enumerate(steps):
        x = 130 + 250 * place
        parts += [
            f'<circle cx="{x}" cy="60" r="6" fill="{ORANGE}"/>',
            text(x, 40, number, "head middle"),
            *(text(x, 90 + 19 * n, line, "small middle") for n, line in enumerate(lines)),
        ]
    return page("What changes with the number of labels", 866, 128, parts)


def methods() -> str:
    """P@1 of methods on one data set, as in the table of the page on performance."""
    rows = (
        ("sentence-transformers, 1 epoch", 0.362, "698 s", GREY),
        ("TF-IDF, 20 neighbours", 0.600, "0.1 s", GREY),
        ("TF-IDF, label tree, napkinXC", 0.666, "5 s", GREY),
        ("TF-IDF, one-vs-rest, scikit-learn", 0.671, "81 s", GREY),
        ("TF-IDF, Parabel, omikuji", 0.672, "4 s", GREY),
        ("skxmc, frozen", 0.718, "95 s", BLUE),
        ("skxmc, tuned", 0.751, "561 s", BLUE),
    )
    parts = [text(252, 26, "P@1", "head"), text(690, 26, "time of fit", "head end")]
    for place, (name, value, seconds, color) in enumerate(rows):
        y = 38 + 30 * place
        parts += [
            text(242, y + 16, name, "end"),
            bar(252, y, 420 * value, 22, color),
            text(260 + 420 * value, y + 16, f"{value:.3f}", "small"),
            text(690, y + 16, seconds, "small end"),
        ]
    return page("P@1 and time of several methods", 706, 258, parts)


DIAGRAMS = {
    function.__name__: function
    for function in (
        data,
        epochs,
        folds,
        label,
        method,
        methods,
        saved,
        scales,
        score,
        thresholds,
        tokens,
    )
}


def write(diagrams: dict[str, Callable[[], str]]) -> None:
    """Write a file for each diagram."""
    for name, draw in diagrams.items():
        (STATIC / f"{name}.svg").write_text(draw(), encoding="utf-8")


if __name__ == "__main__":
    write(DIAGRAMS)
