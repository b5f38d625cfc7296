"""Single pictures: files read, pixels decoded to RGB."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from io import BytesIO
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = [
    "IMAGE_FORMS",
    "ImageError",
    "ImageWarning",
    "decode_image",
    "decoding",
    "load_pixels",
    "orientation",
    "pad_white",
    "read_bounded",
    "read_file",
]

IMAGE_FORMS = (
    "a path, bytes, an open file, a PIL image, a uint8 array of shape (H, W, 3), a dict with bytes "
    "or path, or None"
)


# Bytes of the largest file: what has as many pixels as PIL takes is smaller in all formats.
MAX_BYTES = 2**29

# Longest side of a picture that is padded, in pixels: the square of a strip would be huge.
_PADDED = 1024

# A named pipe without a writer would wait for ever, were it not for O_NONBLOCK.
_FLAGS = os.O_RDONLY
for _name in ("O_CLOEXEC", "O_NONBLOCK", "O_BINARY"):
    _FLAGS |= getattr(os, _name, 0)


class ImageError(ValueError):
    """Pictures that are missing or cannot be decoded; the message names them.

    Attributes
    ----------
    problems : list of str
        A message for each of them, which begins with the argument and the row.
    """

    def __init__(self, message: str, problems: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.problems = list(problems) or [message]


class ImageWarning(UserWarning):
    """Pictures that were left out.

    Attributes
    ----------
    problems : list of str
        A message for each of them, which begins with the argument and the row.
    """

    def __init__(self, message: str, problems: Sequence[str]) -> None:
        super().__init__(message)
        self.problems = list(problems)


def read_file(path: str, name: str) -> bytes:
    """All bytes of a regular file that is not too large.

    Raises
    ------
    ImageError
        If there is none; the message names the picture and the path.
    """
    try:
        if os.path.isdir(path):  # Windows would say that it may not be read
            raise IsADirectoryError
        with os.fdopen(os.open(path, _FLAGS), "rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            if not stat.S_ISREG(mode):
                raise OSError("it is a pipe, a device or a socket, and no file")
            return read_bounded(file)
    except FileNotFoundError:
        problem = "no such file exists"
    except IsADirectoryError:
        problem = "it is a folder"
    except (OSError, ValueError) as error:  # ValueError: a zero character in the path
        problem = f"it cannot be read ({error})"
    hint = "; download it first" if "://" in path else ""
    raise ImageError(f"{name} is a path but {problem}: {path!r}{hint}; pass {IMAGE_FORMS}.")


def read_bounded(file: Any) -> bytes:
    """What an open file holds.

    Raises
    ------
    ValueError
        If that is more than any picture has.
    """
    content = file.read(MAX_BYTES + 1)
    if len(content) > MAX_BYTES:
        raise ValueError(f"it has more than {MAX_BYTES} bytes")
    return content


def decode_image(source: Any, *, name: str = "image") -> Image:
    """Decode a picture to RGB, upright and without transparency.

    EXIF rotation is applied, transparency is composited on white, of an animation the first
    frame is taken, and grey values of 16 bits are scaled to 8 (PIL would clip them).

    Parameters
    ----------
    source : str, path-like, bytes, PIL image or uint8 ndarray
    name : str, default="image"
        What the user calls this picture; for messages.

    Returns
    -------
    image : PIL.Image.Image of mode RGB
        A new image; `source` is not changed.

    Raises
    ------
    ValueError
        If `source` is no picture, is damaged or truncated, or has more pixels than
        ``PIL.Image.MAX_IMAGE_PIXELS`` (a decompression bomb).
    """
    from PIL import Image

    if isinstance(source, (str, os.PathLike)):
        source = read_file(os.fspath(source), name)
    with decoding(name):
        if isinstance(source, bytes):
            reader = _StrictReader(source)
            image = Image.open(reader)
            load_pixels(image, reader)
        elif isinstance(source, np.ndarray):
            image = Image.fromarray(source)
        else:
            image = source
            load_pixels(image)
        return _flatten(_upright(image))


@contextmanager
def decoding(name: str) -> Iterator[None]:
    """Turn whatever PIL raises into a ValueError that names the picture."""
    try:
        yield
    except Exception as error:  # on a damaged file PIL's plugins raise nearly anything
        reason = str(error) or type(error).__name__
        if "cannot identify image file" in reason:  # and then the name of our reader
            reason = "it has no format that PIL reads"
        raise ImageError(
            f"{name} cannot be decoded: {reason}; replace the file or pass None for this picture."
        ) from error


class _StrictReader(BytesIO):
    """A file that refuses to be read past its end once `strict` is set.

    Some libraries set ``PIL.ImageFile.LOAD_TRUNCATED_IMAGES``, after which PIL fills up what is
    missing with grey and says nothing.
    """

    strict = False

    def read(self, size: int | None = -1) -> bytes:
        data = super().read(size)
        if self.strict and not data and size != 0:
            raise OSError("image file is truncated")
        return data


def load_pixels(image: Image, reader: _StrictReader | None = None) -> None:
    """Decode the pixels of an opened image, unless that is dangerous."""
    from PIL import Image, ImageFile

    limit = Image.MAX_IMAGE_PIXELS
    width, height = image.size
    if limit is not None and width * height > limit:
        raise ValueError(
            f"{width} x {height} pixels are more than PIL.Image.MAX_IMAGE_PIXELS = {limit} allows "
            "(it may be a decompression bomb)"
        )
    if width * height == 0:
        raise ValueError(f"it has no pixels ({width} x {height})")
    if reader is not None:
        if image.format == "EPS":
            raise ValueError("EPS is a program that PIL would run, not a picture")
        # JPEG 2000 is left to PIL: its decoder reads past the end of sound files too.
        reader.strict = ImageFile.LOAD_TRUNCATED_IMAGES and image.format != "JPEG2000"
    image.load()


def orientation(image: Image) -> int:
    """EXIF orientation of a loaded image, 1 to 8; 1 is upright."""
    try:
        return int(image.getexif().get(0x0112, 1))
    except Exception:  # damaged EXIF data, on which PIL raises nearly anything
        return 1  # the pixels are sound all the same


def _upright(image: Image) -> Image:
    from PIL.Image import Transpose

    method = {
        2: Transpose.FLIP_LEFT_RIGHT,
        3: Transpose.ROTATE_180,
        4: Transpose.FLIP_TOP_BOTTOM,
        5: Transpose.TRANSPOSE,
        6: Transpose.ROTATE_270,
        7: Transpose.TRANSVERSE,
        8: Transpose.ROTATE_90,
    }.get(orientation(image))
    return image if method is None else image.transpose(method)


def _flatten(image: Image) -> Image:
    """A new RGB image: depth reduced to 8 bits, transparency composited on white."""
    from PIL import Image

    if image.mode.startswith("I") or image.mode == "F":
        image = _reduce_depth(image)
    if not image.has_transparency_data:
        return image.convert("RGB")
    if image.mode == "La":
        image = image.convert("LA")  # PIL converts it to nothing else
    image = image.convert("RGBA")
    page = Image.new("RGB", image.size, "white")
    page.paste(image, mask=image.getchannel("A"))
    return page


def _reduce_depth(image: Image) -> Image:
    """Grey values of 16 or 32 bits, or float, to 8 bits; mode L, or LA if one is transparent."""
    from PIL import Image

    values = np.asarray(image)
    if not np.isfinite(values).all():
        raise ValueError("it holds NaN or infinite pixels")
    white = 65535
    if not image.mode.startswith("I;16"):
        # What is white is not written in such files: the smallest usual value that fits.
        usual = (1, 255, 65535) if image.mode == "F" else (255, 65535)
        top = values.max()
        white = next((value for value in usual if value >= top), top)
    grey = (np.clip(values / white, 0, 1) * 255 + 0.5).astype(np.uint8)
    transparent = image.info.get("transparency")
    if transparent is None:
        return Image.fromarray(grey)
    alpha = np.where(values == transparent, 0, 255).astype(np.uint8)
    return Image.merge("LA", [Image.fromarray(grey), Image.fromarray(alpha)])


def pad_white(image: Image) -> Image:
    """Put an RGB image in the middle of a white square; a large one is made smaller first."""
    from PIL import Image
    from PIL.ImageOps import contain

    if image.width == image.height:
        return image
    if max(image.size) > _PADDED:
        image = contain(image, (_PADDED, _PADDED), Image.Resampling.BICUBIC)
    side = max(image.size)
    square = Image.new("RGB", (side, side), "white")
    square.paste(image, ((side - image.width) // 2, (side - image.height) // 2))
    return square
