"""Pictures of callers: bytes that are checked before the model sees them."""

from __future__ import annotations

import base64
import binascii
import warnings
from io import BytesIO

from ._predict import RequestError

# Formats that browsers and cameras make. Pillow reads more, some of them by running a program.
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP")


def decode_base64(text: str, place: str) -> bytes:
    """The bytes of a picture; a path, an address or anything else is refused.

    Raises
    ------
    RequestError
        If it is not base64.
    """
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise RequestError(
            f"{place} is not base64; send the bytes of a picture in base64, no path and no address."
        ) from None


def check_picture(content: bytes, pixels: int, place: str) -> None:
    """Read the head of a picture, and nothing more.

    Raises
    ------
    RequestError
        If it is no picture, or has more than so many pixels.
    """
    from PIL import Image

    known = ", ".join(FORMATS)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of its size, which is checked below
            with Image.open(BytesIO(content), formats=FORMATS) as image:
                width, height = image.size
    except Exception:  # on a damaged file Pillow's plugins raise nearly anything
        raise RequestError(f"{place} is no picture; send the bytes of one ({known}).") from None
    if width * height > pixels:
        raise RequestError(
            f"{place} has {width} x {height} pixels, and at most {pixels} are taken; make it "
            "smaller.",
            413,
        )
