"""Draws pictures of the user guide: ``python docs/draw_guide.py``.

Writes one SVG file into ``_static`` for each function in `DIAGRAMS`, with the parts of
``draw_diagrams.py``.
"""

from __future__ import annotations

from draw_diagrams import (
    BLUE,
    GREEN,
    GREY,
    INK,
    LINE,
    ORANGE,
    PALE,
    PAPER,
    arrow,
    bar,
    box,
    page,
    text,
    write,
)


def cell(x: float, y: float, width: float, words: str, color: str, height: float = 32) -> str:
    """A small box with one line."""
    return (
        f'<rect x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" rx="6" '
        f'fill="{PALE[color]}" stroke="{color}"/>'
        f"{text(x + width / 2, y + height / 2 + 5, words, 'middle')}"
    )


def frame(x: float, y: float, width: float, height: float) -> str:
    """A frame around parts."""
    return (
        f'<rect x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" rx="10" fill="{PAPER}" '
        f'stroke="{LINE}" stroke-dasharray="5 4"/>'
    )


def updating() -> str:
    """Which parts of a model new documents change, and when it changes over."""
    parts = [
        box(16, 92, 150, 84, "New documents\nwith their labels,\nnew ones too"),
        arrow((166, 134), (214, 134)),
        frame(216, 16, 432, 236),
        text(432, 40, "a copy of the model", "head middle"),
        text(320, 66, "learns", "small middle"),
        text(540, 66, "stays as it is", "small middle"),
    ]
    learns = ("neighbours", "label vectors", "counts of labels", "prototypes, if frozen")
    stays = ("encoder", "words, whitening", "mixture", "re-ranker")
    for place, (left, right) in enumerate(zip(learns, stays, strict=True)):
        y = 78 + 42 * place
        parts += [cell(232, y, 190, left, GREEN), cell(444, y, 190, right, GREY)]
    parts += [
        arrow((648, 134), (696, 134)),
        box(698, 92, 150, 84, "Your model\nchanges over\nat the end", BLUE),
        text(773, 202, "An error before that", "small middle"),
        text(773, 220, "leaves it as it was.", "small middle"),
    ]
    return page("Which parts of a model new documents change", 864, 268, parts)


def commands() -> str:
    """What each command reads and writes."""
    parts = [
        box(16, 70, 130, 62, "shop.csv\ndocuments, labels"),
        arrow((146, 101), (330, 101)),
        text(236, 92, "skxmc fit", "code middle"),
        box(332, 60, 160, 82, "shop-model\na folder", BLUE),
        box(16, 176, 130, 62, "new.csv\nsold-out.txt"),
        arrow((146, 207), (412, 207), (412, 144)),
        text(266, 198, "skxmc update", "code middle"),
    ]
    answers = (
        ("skxmc predict", "tags.csv"),
        ("skxmc evaluate", "metrics"),
        ("skxmc explain", "reasons"),
        ("skxmc serve", "answers over HTTP"),
        ("skxmc info", "what is in the folder"),
    )
    for place, (command, result) in enumerate(answers):
        y = 18 + 46 * place
        parts += [
            arrow((492, 101), (522, 101), (522, y + 16), (540, y + 16)),
            text(548, y + 21, command, "code"),
            arrow((672, y + 16), (698, y + 16)),
            cell(700, y, 170, result, GREY),
        ]
    return page("What each command reads and writes", 886, 256, parts)


def service() -> str:
    """Requests, batches and the change to a newer model."""
    parts = [
        text(16, 28, "what came in while the model computed", "small"),
        frame(16, 40, 280, 76),
        text(30, 140, "Up to 256 documents wait;", "small"),
        text(30, 158, "of more, callers get status 429.", "small"),
    ]
    for place, n in enumerate((1, 3, 1, 2)):
        parts.append(cell(30 + 64 * place, 62, 56, f"{n} doc." if n == 1 else f"{n} docs", GREY))
    parts += [
        arrow((296, 86), (352, 86)),
        cell(354, 60, 120, "7 documents", ORANGE, 52),
        text(414, 136, "is the next batch,", "small middle"),
        text(414, 154, "64 at most", "small middle"),
        arrow((474, 86), (530, 86)),
        box(532, 46, 150, 80, "Model\nin one thread", BLUE),
        arrow((682, 86), (738, 86)),
        cell(740, 60, 110, "4 answers", GREEN, 52),
        box(332, 204, 150, 62, "shop-model\na newer save"),
        arrow((482, 235), (530, 235)),
        box(532, 204, 150, 62, "Newer model\nloads and warms up", BLUE),
        arrow((607, 204), (607, 128)),
        text(620, 160, "changes over between", "small"),
        text(620, 178, "two batches", "small"),
    ]
    return page("How the service makes batches and takes a newer model", 866, 282, parts)


def workers() -> str:
    """A table in parts, and processes that each have the model."""
    parts = [
        text(86, 28, "documents", "head middle"),
        text(690, 28, "labels", "head middle"),
        box(290, 16, 200, 52, "Folder of the model", BLUE),
    ]
    for place in range(3):
        y = 108 + 62 * place
        parts += [
            cell(16, y, 140, f"part {place + 1} of the table", GREY, 40),
            arrow((156, y + 20), (288, y + 20)),
            box(290, y - 4, 200, 48, f"process {place + 1}", ORANGE),
            arrow((490, y + 20), (618, y + 20)),
            cell(620, y, 140, "id, labels, scores", GREEN, 40),
        ]
    parts += [
        arrow((390, 68), (390, 102)),
        text(402, 90, "each loads it once, with its first part", "small"),
        text(16, 306, "The callable that is sent to them holds the path and no model.", "small"),
    ]
    return page("A table in parts, and processes that each load the model", 776, 322, parts)


def trust() -> str:
    """What is checked, and what runs as it is."""
    strangers = (
        "folder of save",
        "documents, targets",
        "pictures, their addresses",
        "files of data sets",
        "requests over HTTP",
    )
    yours = ("memory=", "pickles, joblib.load", "trust_remote_code=True", "plug-ins you install")
    parts = [
        text(116, 28, "from anybody", "head middle"),
        text(694, 28, "from you alone", "head middle"),
        box(
            302,
            76,
            206,
            130,
            "skxmc\nruns no code of theirs;\nwhat is wrong is an\nerror that says where",
            BLUE,
        ),
    ]
    for place, name in enumerate(strangers):
        y = 42 + 42 * place
        parts += [
            cell(16, y, 200, name, GREY),
            arrow((216, y + 16), (250, y + 16), (250, 141), (300, 141)),
        ]
    parts.append(bar(266, 84, 6, 114, ORANGE))
    parts.append(text(256, 74, "checked", "small"))
    for place, name in enumerate(yours):
        y = 56 + 46 * place
        parts += [
            cell(594, y, 200, name, ORANGE),
            arrow((594, y + 16), (552, y + 16), (552, 141), (510, 141)),
        ]
    parts.append(text(552, 254, "not checked: it may run code", "small middle"))
    return page("What is checked, and what runs as it is", 810, 270, parts)


def checks() -> str:
    """When errors come: before any model is loaded."""
    steps = (
        ("Parameters", "names, ranges", ORANGE),
        ("Documents", "texts, pictures", ORANGE),
        ("Targets", "labels, shapes", ORANGE),
        ("Encoder", "loaded, maybe tuned", GREY),
        ("Evidence", "learned, mixed", GREY),
    )
    parts = []
    for place, (name, what, color) in enumerate(steps):
        x = 16 + 158 * place
        parts.append(box(x, 48, 134, 62, f"{name}\n{what}", color))
        if place:
            parts.append(arrow((x - 24, 79), (x - 2, 79)))
    parts += [
        text(16, 30, "clf.fit(texts, tags)", "code"),
        f'<line x1="478" y1="24" x2="478" y2="142" stroke="{INK}" stroke-dasharray="4 3"/>',
        text(468, 134, "errors of this page come here", "small end"),
        text(488, 134, "takes most of the time", "small"),
    ]
    return page("Input is checked before any model is loaded", 798, 156, parts)


def padding() -> str:
    """A batch with padding, and the same texts end to end."""
    texts = (("red car", 3), ("tea pot, white, with a lid", 8), ("spade", 2), ("city bike", 4))
    colors = (BLUE, ORANGE, GREEN, "#b48ad6")
    longest = max(n for _, n in texts)
    parts = [
        text(16, 28, "padded to the longest text", "head"),
        text(420, 28, "end to end", "head"),
    ]
    x = 420.0
    for row, ((_, n), color) in enumerate(zip(texts, colors, strict=True)):
        y = 44 + 30 * row
        for place in range(longest):
            parts.append(bar(16 + 38 * place, y, 34, 24, color if place < n else "#eaeef2"))
        for _ in range(n):
            parts.append(bar(x, 89, 18, 24, color))
            x += 21
    used, padded = sum(n for _, n in texts), longest * len(texts)
    parts += [
        text(16, 188, f"{padded} positions are computed, {padded - used} of them empty", "small"),
        text(420, 188, f"{used} positions are computed", "small"),
    ]
    return page("A batch with padding, and the same texts end to end", 800, 204, parts)


def positions() -> str:
    """Where the tokens of an item stand, in ViXML's script and here."""
    rows = (
        ("script", "one picture", ("picture", "empty", "empty", "red", "car")),
        ("skxmc", "one picture", ("picture", "red", "car")),
        ("script", "no picture", ("empty", "empty", "empty", "red", "car")),
        ("skxmc", "no picture", ("red", "car")),
    )
    parts = [text(262 + 92 * n, 26, str(n), "small middle") for n in range(5)]
    parts.append(text(202, 26, "position", "small end"))
    for row, (who, what, tokens) in enumerate(rows):
        y = 38 + 42 * row + (12 if row > 1 else 0)
        parts += [text(16, y + 21, what, "small"), text(202, y + 21, who, "end")]
        for n, token in enumerate(tokens):
            color = {"picture": ORANGE, "empty": GREY}.get(token, BLUE)
            parts.append(cell(220 + 92 * n, y, 84, token, color))
    return page("Where tokens stand, in the script of ViXML and in skxmc", 690, 226, parts)


def shared_step() -> str:
    """How several processes make one step of tuning."""
    parts = [
        box(16, 104, 150, 84, "One batch\nthe same texts\nin each process"),
        arrow((166, 130), (190, 130), (190, 66), (214, 66)),
        arrow((166, 162), (190, 162), (190, 226), (214, 226)),
    ]
    for y, name in ((32, "process 1"), (192, "process 2")):
        parts += [
            cell(216, y, 150, f"{name} encodes half", ORANGE, 68),
            cell(430, y, 150, "the whole loss", BLUE, 68),
            cell(644, y, 150, "its half backwards", ORANGE, 68),
            arrow((366, y + 34), (428, y + 34)),
            arrow((580, y + 34), (642, y + 34)),
        ]
    parts += [
        arrow((366, 76), (392, 76), (392, 216), (428, 216)),
        arrow((366, 216), (404, 216), (404, 76), (428, 76)),
        text(412, 152, "embeddings", "small"),
        arrow((794, 66), (818, 66), (818, 130), (842, 130)),
        arrow((794, 226), (818, 226), (818, 162), (842, 162)),
        box(844, 104, 150, 84, "One step\nthe sum of gradients\nin each process", GREEN),
    ]
    return page("How several processes make one step of tuning", 1010, 292, parts)


def database() -> str:
    """What of a model is in its folder, and what in a database."""
    parts = [
        box(
            16,
            60,
            190,
            120,
            "Folder of the model\nencoder, label vectors,\nname of the table,\nits own rows of it",
            BLUE,
        ),
        arrow((206, 120), (300, 120)),
        text(253, 110, "name, rows", "small middle"),
        frame(302, 16, 250, 214),
        text(427, 40, "table in the database", "head middle"),
    ]
    for place, (number, kind, color) in enumerate(
        (
            ("1", "vector", GREEN),
            ("2", "vector", GREEN),
            ("3", "left out, kept for others", GREY),
            ("4", "vector", GREEN),
        )
    ):
        y = 54 + 42 * place
        parts += [cell(318, y, 44, number, color), cell(368, y, 168, kind, color)]
    parts += [
        box(646, 60, 190, 120, "Environment\naddress and password,\nin no folder", ORANGE),
        arrow((646, 120), (554, 120)),
        text(600, 110, "connects", "small middle"),
    ]
    return page("What of a model is in its folder, and what in a database", 852, 246, parts)


def capacity() -> str:
    """What the folder of a model with ten million labels is made of."""
    sizes = (
        ("neighbours, 20 million documents", 13.1, ORANGE),
        ("label vectors", 7.7, GREEN),
        ("prototypes", 6.6, BLUE),
        ("labels of the training documents", 3.5, GREY),
        ("names of labels", 0.3, GREY),
    )
    parts = [text(16, 28, "ten million labels: a folder of 31 GB", "head")]
    for place, (name, size, color) in enumerate(sizes):
        y = 44 + 34 * place
        parts += [
            text(250, y + 18, name, "end"),
            bar(262, y, 34 * size, 26, color),
            text(270 + 34 * size, y + 18, f"{size} GB", "small"),
        ]
    return page("What the folder of a model with ten million labels is made of", 800, 224, parts)


DIAGRAMS = {
    function.__name__: function
    for function in (
        capacity,
        checks,
        commands,
        database,
        padding,
        positions,
        service,
        shared_step,
        trust,
        updating,
        workers,
    )
}

if __name__ == "__main__":
    write(DIAGRAMS)
