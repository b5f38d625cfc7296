"""Objects that somebody may pass as documents, targets and pictures."""

from __future__ import annotations

import random
import warnings
from collections.abc import Callable
from io import BytesIO
from typing import Any

import numpy as np
import pandas as pd
import scipy.sparse as sp
from PIL import Image

from fuzz.damage import damage
from skxmc._inputs._images import collect_images, decode_image
from skxmc._inputs._targets import encode_targets
from skxmc._inputs._texts import check_texts

# What wrong input may raise.
CLEAR = (ValueError, TypeError)

_LETTERS = ["a", "B", " ", "\n", "\0", "\ud800", "\u202e", "\U0001f34e", "\u0301", "\x1b", "0", "|"]


def _text(rng: random.Random) -> str:
    return "".join(rng.choice(_LETTERS) for _ in range(rng.randrange(12)))


def _scalar(rng: random.Random) -> Any:
    return rng.choice([
        _text(rng), None, float("nan"), float("inf"), -1, 0, 1, 2**70, True, 1.5, b"x", "",
        np.str_("a"), np.float32(1), pd.NA, pd.NaT, 1j, object(), print, (), [], {}, {"a"},
        np.datetime64("NaT"), _text,
    ])  # fmt: skip


def anything(rng: random.Random, depth: int = 3) -> Any:
    """A scalar, or a container of whatever."""
    how = rng.randrange(9 if depth else 1)
    parts = [anything(rng, depth - 1) for _ in range(rng.randrange(5))] if how else []
    if how < 3:
        return _scalar(rng)
    if how == 3:
        return tuple(parts)
    if how == 4:
        return {_text(rng): part for part in parts}
    if how == 5:
        shape = [rng.randrange(4) for _ in range(rng.randrange(4))]
        kind = rng.choice(["f4", "f8", "i8", "u1", "?", "O", "U2", "S2", "c8", "M8[s]"])
        return np.zeros(shape, dtype=kind)
    if how == 6:
        table = np.array([[rng.choice([0, 1, 2, -1, np.nan]) for _ in range(3)] for _ in parts])
        make = rng.choice([sp.csr_array, sp.coo_array, sp.csc_matrix, pd.DataFrame, np.asarray])
        return make(table.reshape(len(parts), 3))
    if how == 7:
        try:
            return pd.Series(parts, dtype=rng.choice([object, "string", None]))
        except Exception:  # what pandas makes no column of
            return parts
    return parts


def _refuses(call: Callable[[], Any]) -> str:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            call()
    except CLEAR:
        return "refused"
    return "taken"


def _length(value: Any, rng: random.Random) -> int:
    try:
        return len(value)
    except TypeError:
        return value.shape[0] if sp.issparse(value) else rng.randrange(5)


def documents(rng: random.Random) -> str:
    """Whatever as documents, beside whatever as pictures."""
    X, images = anything(rng), rng.choice([None, anything(rng)])
    return _refuses(lambda: check_texts(X, images=images))


def targets(rng: random.Random) -> str:
    """Whatever as targets."""
    Y = anything(rng)
    n_samples = _length(Y, rng)
    return _refuses(lambda: encode_targets(Y, n_samples))


def pictures(rng: random.Random) -> str:
    """Whatever as pictures."""
    images = anything(rng)
    n_items = _length(images, rng)
    return _refuses(lambda: collect_images(images, n_items))


_PIXELS = Image.fromarray(np.random.RandomState(0).randint(255, size=(9, 7, 3)).astype(np.uint8))


def picture_bytes(rng: random.Random) -> str:
    """A file of a picture that is damaged once or several times."""
    stream = BytesIO()
    _PIXELS.save(stream, rng.choice(["PNG", "JPEG", "GIF", "WEBP", "BMP", "TIFF", "PPM", "TGA"]))
    content = stream.getvalue()
    for _ in range(rng.randrange(1, 4)):
        content = damage(content or b"\0", rng)
    return _refuses(lambda: decode_image(content))


ARGUMENTS = {
    "documents": documents,
    "targets": targets,
    "pictures": pictures,
    "picture bytes": picture_bytes,
}
