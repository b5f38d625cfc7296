"""The quick-start set: tag the icons of Font Awesome from their names and pictures."""

from __future__ import annotations

import io
import json
import os
import random
import re
import zipfile
from collections import Counter
from importlib import metadata
from numbers import Integral
from pathlib import Path

import numpy as np
from PIL import Image
from sklearn.utils import Bunch

from .._runtime._optional import import_optional
from ._base import (
    get_data_home,
    group_ids,
    icon_group,
    make_bunch,
    make_split,
    same_text_pairs,
    targets,
)
from ._files import replaced

_SIZE = 64  # pixels
_TEST_SHARE = 0.2
_MIN_TRAIN_ROWS = 2
# Goes up when what is cached changes its form or contents.
_FORMAT = 1

_DESCR = """\
Font Awesome icons
==================

Tag icons from their names and pictures. A document is the name of an icon as words in lower case
and its drawing, black on white, {size} x {size} pixels. Its labels are the search terms that the
authors of the icons listed for it, in lower case with "-", "_" and "/" as spaces. Labels are the
terms of at least two training icons; icons without any such term are left out.

Icons whose names differ only in style words (outline, solid, ...) form a group. Groups are
shuffled and go to the test set until it holds 20 % of the icons. Filter pairs are the terms that
equal the name of the icon.

:Training icons: {n_train}
:Test icons: {n_test}
:Labels: {n_labels}
:Source: Font Awesome Free {version}, https://fontawesome.com, by Fonticons, Inc., from the Python
    package fontawesomefree; rendered with the Python package resvg-py
:Licence: icons CC BY 4.0 (attribution required), fonts SIL OFL 1.1, code MIT, see
    https://fontawesome.com/license/free. Brand icons are trademarks of their owners.
"""


def load_fontawesome(
    *,
    data_home: str | os.PathLike | None = None,
    return_images: bool = True,
    random_state: int = 0,
) -> Bunch:
    """Load the icons of Font Awesome with their names, pictures and search terms.

    The set is built from the installed packages fontawesomefree and resvg-py and cached; nothing
    is downloaded. 1,157 training and 283 test documents with 1,176 labels in version 6.6.0.

    Parameters
    ----------
    data_home : path, optional
        The folder of the cache, see :func:`get_data_home`.
    return_images : bool
        Whether to render and return pictures.
    random_state : int, default=0
        Which groups of icons are the test set. Other splits show how much a figure depends on
        the 283 test icons. Numbers of documents and labels differ a little.

    Returns
    -------
    data : Bunch
        text_train, text_test : list of str
            Names of the icons as words.
        images_train, images_test : list of bytes, or None if not `return_images`
            PNG files of 64 x 64 pixels, RGB.
        Y_train, Y_test : csr_array of shape (n_samples, n_labels), float32
            The targets.
        exclude_train, exclude_test : csr_array of shape (n_samples, n_labels), bool
            Filter pairs: the label that equals the icon's name.
        label_text : list of str
            The search terms.
        label_images : None
            Labels have no pictures.
        uids_train, uids_test : list of str
            Names of the icons in Font Awesome.
        groups_train : int array of shape (n_samples,)
            Icons of one group are variants of one icon.
        splits : dict
            Empty: there are no other splits.
        DESCR : str
            Description, source and licence.

        The other fields of :func:`load_xmc_folder` are None.

    Raises
    ------
    TypeError
        If `random_state` is not an integer.
    ImportError
        If the set is not cached and a package that it is built from is not installed.

    Examples
    --------
    >>> from skxmc.datasets import load_fontawesome
    >>> data = load_fontawesome(return_images=False)
    >>> data.text_train[0], len(data.text_train), len(data.label_text)
    ('4', 1157, 1176)
    """
    if not isinstance(random_state, Integral):
        raise TypeError(f"random_state must be an integer, got {random_state!r}")
    cache = get_data_home(data_home) / "fontawesome.npz"
    icons = _read_cache(cache, return_images)
    if icons is None:
        icons = _build_icons(return_images)
        if return_images:
            _write_cache(cache, icons)
    return _split_icons(icons, int(random_state))


def _build_icons(return_images: bool) -> Bunch:
    """Read names and search terms from the installed package, and render the drawings."""
    package = import_optional("fontawesomefree", "demo")
    folder = Path(package.__path__[0]) / "static" / "fontawesomefree"
    described = json.loads((folder / "metadata" / "icons.json").read_text(encoding="utf-8"))
    icons = Bunch(version=_installed_version(), names=[], texts=[], terms=[], images=None)
    drawings = []
    for name, icon in sorted(described.items()):
        terms = sorted({_as_words(term) for term in icon["search"]["terms"]} - {""})
        if not terms or not icon["free"]:
            continue
        icons.names.append(name)
        icons.texts.append(_as_words(icon["label"]))
        icons.terms.append(terms)
        drawings.append(folder / "svgs" / icon["free"][0] / f"{name}.svg")
    if return_images:
        icons.images = [render_icon(drawing.read_text(encoding="utf-8")) for drawing in drawings]
    return icons


def _as_words(name: str) -> str:
    return " ".join(re.sub(r"[-_/]", " ", name.lower()).split())


def render_icon(svg: str) -> bytes:
    """Draw an SVG in black on a white square, its aspect kept, as PNG file."""
    resvg = import_optional("resvg_py", "demo")
    box = re.search(r'viewBox="\S+ \S+ (\S+) (\S+)"', svg)
    if box is None:
        raise ValueError("the SVG has no viewBox, which states its width and height; add one.")
    width, height = map(float, box.groups())
    longer_side = {"width": _SIZE} if width >= height else {"height": _SIZE}
    png = resvg.svg_to_bytes(
        svg_string=svg, background="white", skip_system_fonts=True, **longer_side
    )
    with Image.open(io.BytesIO(png)) as drawing:
        square = Image.new("RGB", (_SIZE, _SIZE), "white")
        corner = ((_SIZE - drawing.width) // 2, (_SIZE - drawing.height) // 2)
        square.paste(drawing.convert("RGB"), corner)
    buffer = io.BytesIO()
    square.save(buffer, format="PNG")
    return buffer.getvalue()


def _split_icons(icons: Bunch, seed: int) -> Bunch:
    """Split icons by groups, keep the labels of the training set, number everything."""
    groups = [icon_group(name) for name in icons.names]
    in_test = choose_test_groups(groups, seed)
    train = [row for row, group in enumerate(groups) if group not in in_test]
    test = [row for row, group in enumerate(groups) if group in in_test]
    frequency = Counter(term for row in train for term in icons.terms[row])
    label_text = sorted(term for term, count in frequency.items() if count >= _MIN_TRAIN_ROWS)
    index_of = {term: index for index, term in enumerate(label_text)}

    def take(rows: list[int]) -> tuple[Bunch, list[int]]:
        rows = [row for row in rows if any(term in index_of for term in icons.terms[row])]
        text = [icons.texts[row] for row in rows]
        labels = [[index_of[term] for term in icons.terms[row] if term in index_of] for row in rows]
        part = make_split(
            text=text,
            uids=[icons.names[row] for row in rows],
            images=None if icons.images is None else [icons.images[row] for row in rows],
            Y=targets(labels, len(label_text)),
            exclude=same_text_pairs(text, label_text),
        )
        return part, rows

    (train_part, train), (test_part, test) = take(train), take(test)
    return make_bunch(
        train_part,
        test_part,
        groups_train=group_ids(groups[row] for row in train),
        label_text=label_text,
        DESCR=_DESCR.format(
            size=_SIZE,
            n_train=len(train),
            n_test=len(test),
            n_labels=len(label_text),
            version=icons.version,
        ),
    )


def choose_test_groups(groups: list[str], seed: int) -> set[str]:
    """Choose the groups of the test set: in random order until it holds its share of the rows."""
    size = Counter(groups)
    order = sorted(size)
    random.Random(seed).shuffle(order)
    chosen: set[str] = set()
    n_rows = 0
    for group in order:
        if n_rows >= _TEST_SHARE * len(groups):
            break
        chosen.add(group)
        n_rows += size[group]
    return chosen


def _installed_version() -> str | None:
    try:
        return metadata.version("fontawesomefree")
    except metadata.PackageNotFoundError:
        return None


def _read_cache(path: Path, return_images: bool) -> Bunch | None:
    """Return the cached icons, None if there are none or they are of another version."""
    if not path.is_file():
        return None
    try:
        with np.load(path, allow_pickle=False) as cache:
            icons = Bunch(**json.loads(cache["icons"].tobytes()), images=None)
            content = cache["images"].tobytes() if return_images else b""
            ends = cache["image_ends"].tolist()
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None  # damaged: it is built again
    if icons.pop("format", None) != _FORMAT or _installed_version() not in (None, icons.version):
        return None
    if return_images:
        starts = [0, *ends[:-1]]
        icons.images = [content[start:end] for start, end in zip(starts, ends, strict=True)]
    return icons


def _write_cache(path: Path, icons: Bunch) -> None:
    described = {key: value for key, value in icons.items() if key != "images"}
    content = json.dumps({**described, "format": _FORMAT}).encode()
    path.parent.mkdir(parents=True, exist_ok=True)
    with replaced(path, "wb") as file:
        np.savez(
            file,
            icons=np.frombuffer(content, dtype=np.uint8),
            images=np.frombuffer(b"".join(icons.images), dtype=np.uint8),
            image_ends=np.cumsum([len(image) for image in icons.images]),
        )
