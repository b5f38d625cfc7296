"""Pictures of documents and labels: what a user may pass, and what towers work on."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Set
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import blake2b
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ._texts import is_missing, sequence_to_list

if TYPE_CHECKING:
    from PIL.Image import Image

_FORMS = "a path, bytes, a PIL image, a uint8 array of shape (H, W, 3) or None"


@dataclass(frozen=True, eq=False)
class ImageFeatures:
    """One vector for each distinct picture, and which pictures each item has.

    Attributes
    ----------
    vectors : ndarray of shape (n_distinct, dimension), float32
    index : ndarray of shape (n_items, max_images), int32
        Rows of `vectors`, -1 where there is no picture. The missing ones stand last in a row.
    widths : tuple of int
        Widths of the blocks that a vector is made of, one a layer of the network. Empty for
        vectors of one block.
    """

    vectors: np.ndarray
    index: np.ndarray
    widths: tuple[int, ...] = ()

    def __len__(self) -> int:
        return len(self.index)

    @property
    def dimension(self) -> int:
        """Length of a vector."""
        return self.vectors.shape[1]

    def take(self, rows: Any) -> ImageFeatures:
        """The items `rows` (indices, a slice or a mask); the vectors are shared, not copied."""
        return ImageFeatures(self.vectors, self.index[rows], self.widths)

    def mean(self) -> np.ndarray:
        """Mean of each item's vectors.

        Returns
        -------
        mean : ndarray of shape (n_items, dimension), float32
            Zeros for an item without a picture.
        """
        total = np.zeros((len(self), self.dimension), dtype=np.float32)
        for column in self.index.T:
            filled = column >= 0
            total[filled] += self.vectors[column[filled]]
        counts = (self.index >= 0).sum(axis=1, dtype=np.float32)
        total /= np.maximum(counts, 1)[:, np.newaxis]
        return total


@dataclass(frozen=True, eq=False)
class ImageItems:
    """The distinct pictures of some items, not yet decoded.

    Attributes
    ----------
    sources : tuple
        The distinct pictures in order of first appearance, in the form the user gave them: path,
        bytes, PIL image or uint8 array.
    hashes : tuple of str
        Content hash of each: of a file's bytes, or of pixels, size and mode.
    index : ndarray of shape (n_items, n_columns), int32
        Positions in `sources`, -1 where there is no picture. The missing ones stand last in a
        row. There are as many columns as the item with most pictures has, but at least one.
    names : tuple of str
        Where each distinct picture appears first, such as ``"images[17]"``; for messages.
    """

    sources: tuple
    hashes: tuple[str, ...]
    index: np.ndarray
    names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.index)

    @property
    def n_distinct(self) -> int:
        """Number of distinct pictures."""
        return len(self.sources)

    def decode(self, position: int) -> Image:
        """Picture number `position`, decoded to a PIL image of mode RGB.

        Raises
        ------
        ValueError
            If it cannot be decoded; the message names the argument and the row.
        """
        return decode_image(self.sources[position], name=self.names[position])


def collect_images(
    images: Any, n_items: int, *, max_images: int = 3, argument: str = "images"
) -> ImageItems | ImageFeatures | None:
    """Bring all forms in which a user may pass pictures into one.

    Parameters
    ----------
    images : sequence of length n_items, float ndarray, ImageFeatures or None
        An entry is None (or NaN), a PIL image, a uint8 array of shape (H, W), (H, W, 3) or
        (H, W, 4), a path, bytes, or a list of those. A float array of shape (n_items, dimension)
        or (n_items, n_columns, dimension) holds ready embeddings; a row of NaN is a missing
        picture. ImageFeatures, as of ``skxmc.datasets.image_vectors``, hold them with an index.
    n_items : int
        Number of documents or labels the pictures belong to.
    max_images : int, default=3
        How many pictures an item may have.
    argument : str, default="images"
        What the user calls `images`; for messages.

    Returns
    -------
    collected : ImageItems, ImageFeatures or None
        ImageFeatures for ready embeddings, None for None.

    Raises
    ------
    TypeError
        If `images` or an entry is of a type that is no picture.
    ValueError
        If the length is wrong, a file is missing, an item has more than `max_images` pictures, or
        an embedding is not finite.
    """
    if images is None:
        return None
    if isinstance(images, (str, bytes, os.PathLike, Mapping, Set)) or not hasattr(
        images, "__len__"
    ):
        raise TypeError(
            f"{argument} must be a sequence with one entry for each row, got "
            f"{type(images).__name__}; pass a list (None for a row without a picture)."
        )
    if hasattr(images, "columns"):
        raise TypeError(f"{argument} is a DataFrame; pass the one column that holds the pictures.")
    if len(images) != n_items:
        raise ValueError(
            f"{argument} has length {len(images)} but there are {n_items} rows; pass one entry "
            "for each row, None for a row without a picture."
        )
    if isinstance(images, ImageFeatures):
        counts = (images.index >= 0).sum(axis=1)
        if (counts > max_images).any():
            row = int(np.argmax(counts > max_images))
            raise _too_many(f"{argument}[{row}]", counts[row], max_images)
        return images
    is_series = hasattr(images, "to_list") or hasattr(images, "to_pylist")
    if not is_series and not isinstance(images, (list, tuple)) and hasattr(images, "__array__"):
        images = np.asarray(images)
    if isinstance(images, np.ndarray) and images.ndim > 1 and images.dtype.kind != "O":
        if images.dtype.kind == "f":
            return _ready_features(images, max_images, argument)
        if images.dtype.kind != "U" and (images.dtype != np.uint8 or images.ndim == 2):
            raise TypeError(
                f"{argument} is an array of shape {images.shape} and dtype {images.dtype}; ready "
                "embeddings must be float, pictures uint8 of shape (n, H, W) or (n, H, W, 3)."
            )
    if isinstance(images, np.ndarray) and images.dtype.kind == "S":
        raise TypeError(  # and a picture may well end with a zero byte
            f"{argument} has dtype {images.dtype}, which drops zero bytes at the end of an entry; "
            "pass a list of bytes or an array with dtype=object."
        )
    entries = sequence_to_list(images) if is_series else list(images)
    return _collect(entries, max_images, argument)


def _ready_features(embeddings: np.ndarray, max_images: int, argument: str) -> ImageFeatures:
    """Embeddings (n, d) or (n, n_columns, d), rows of NaN being missing, as ImageFeatures."""
    if embeddings.ndim not in (2, 3) or embeddings.shape[-1] == 0:
        raise ValueError(
            f"{argument} is a float array of shape {embeddings.shape}; ready embeddings have shape "
            "(n, dimension) or (n, n_images, dimension). Pictures must be uint8."
        )
    blocks = embeddings if embeddings.ndim == 3 else embeddings[:, np.newaxis]
    with np.errstate(over="ignore"):  # what is too large for float32 is reported below
        vectors = blocks.reshape(-1, blocks.shape[2]).astype(np.float32)
    present = ~np.isnan(vectors).all(axis=1)
    bad = np.flatnonzero(present & ~np.isfinite(vectors).all(axis=1))
    if len(bad):
        row, column = divmod(int(bad[0]), blocks.shape[1])
        place = f"[{row}]" if embeddings.ndim == 2 else f"[{row}, {column}]"
        raise ValueError(
            f"{argument}{place} holds NaN or infinity (or a value too large for float32); mend the "
            "embedding, or fill it with NaN throughout if the picture is missing."
        )
    present = present.reshape(blocks.shape[:2])
    counts = present.sum(axis=1)
    if (counts > max_images).any():
        row = int(np.argmax(counts > max_images))
        raise _too_many(f"{argument}[{row}]", counts[row], max_images)
    width = max(counts.max(initial=0), 1)
    index = np.full((len(blocks), width), -1, dtype=np.int32)
    # In row-major order of the present ones, which is the order of the kept vectors.
    index[np.arange(width) < counts[:, np.newaxis]] = np.arange(counts.sum())
    return ImageFeatures(vectors[present.ravel()], index)


def _too_many(name: str, count: int, max_images: int) -> ValueError:
    return ValueError(
        f"{name} holds {count} pictures but max_images is {max_images}; raise max_images or drop "
        "pictures."
    )


def _collect(entries: list, max_images: int, argument: str) -> ImageItems:
    """Hash all pictures and keep each distinct one once."""
    position_of: dict[str, int] = {}
    hash_of_path: dict[str, str] = {}  # the same file is often named by many rows
    sources, names, rows = [], [], []
    for row, entry in enumerate(entries):
        name = f"{argument}[{row}]"
        group = _as_group(entry)
        if group is None:
            pictures = [(name, entry)]
        else:
            pictures = [(f"{name}[{column}]", picture) for column, picture in enumerate(group)]
        pictures = [(place, picture) for place, picture in pictures if not is_missing(picture)]
        if len(pictures) > max_images:
            raise _too_many(name, len(pictures), max_images)
        rows.append([])
        for place, picture in pictures:
            source, digest = _identify(picture, place, hash_of_path)
            position = position_of.setdefault(digest, len(sources))
            if position == len(sources):
                sources.append(source)
                names.append(place)
            rows[-1].append(position)
    width = max([len(row) for row in rows], default=0)
    index = np.full((len(rows), max(width, 1)), -1, dtype=np.int32)
    for row, positions in enumerate(rows):
        index[row, : len(positions)] = positions
    return ImageItems(tuple(sources), tuple(position_of), index, tuple(names))


def _as_group(entry: Any) -> list | None:
    """The pictures of one item, if it is a list of them; None if it is a single one."""
    if isinstance(entry, np.ndarray):
        return list(entry) if entry.dtype.kind in "OU" or entry.ndim == 4 else None
    if hasattr(entry, "to_list"):
        return entry.to_list()
    return list(entry) if isinstance(entry, (list, tuple)) else None


def _identify(picture: Any, name: str, hash_of_path: dict[str, str]) -> tuple[Any, str]:
    """The picture as it is to be kept, and its content hash."""
    from PIL.Image import Image

    if isinstance(picture, (str, os.PathLike)):
        path = str(os.fspath(picture))  # numpy's str too
        if path not in hash_of_path:
            hash_of_path[path] = _hash(b"file", _read_file(path, name))
        return path, hash_of_path[path]
    if isinstance(picture, (bytes, bytearray, memoryview)):
        content = bytes(picture)
        return content, _hash(b"file", content)
    if isinstance(picture, Image):
        with _decoding(name):
            _load(picture)
        palette = picture.getpalette(None) if picture.mode in ("P", "PA") else None
        transparency = picture.info.get("transparency")
        described = (picture.mode, picture.size, palette, transparency, _orientation(picture))
        return picture, _hash(b"pixels", repr(described).encode(), picture.tobytes())
    if hasattr(picture, "__array__"):
        array = np.asarray(picture)
        channels = array.shape[2] if array.ndim == 3 else 1
        if array.dtype != np.uint8 or array.ndim not in (2, 3) or channels not in (1, 3, 4):
            raise TypeError(
                f"{name} is an array of shape {array.shape} and dtype {array.dtype}; a picture "
                "must be uint8 of shape (H, W), (H, W, 3) or (H, W, 4). For ready embeddings pass "
                "one float array for all rows."
            )
        if array.size == 0:
            raise ValueError(f"{name} is an array of shape {array.shape}; pass None instead.")
        array = array[:, :, 0] if array.ndim == 3 and channels == 1 else array
        mode = {1: "L", 3: "RGB", 4: "RGBA"}[channels]
        described = (mode, array.shape[1::-1], None, None, 1)  # as a PIL image of these pixels
        return array, _hash(b"pixels", repr(described).encode(), array.tobytes())
    raise TypeError(f"{name} is of type {type(picture).__name__}; pass {_FORMS}.")


def _hash(*parts: bytes) -> str:
    digest = blake2b(digest_size=16)
    for part in parts:
        digest.update(len(part).to_bytes(8, "little"))
        digest.update(part)
    return digest.hexdigest()


def _read_file(path: str, name: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except FileNotFoundError:
        problem = "no such file exists"
    except IsADirectoryError:
        problem = "it is a folder"
    except (OSError, ValueError) as error:  # ValueError: a zero character in the path
        problem = f"it cannot be read ({error})"
    hint = "; download it first" if "://" in path else ""
    raise ValueError(f"{name} is a path but {problem}: {path!r}{hint}; pass {_FORMS}.")


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
        source = _read_file(os.fspath(source), name)
    with _decoding(name):
        if isinstance(source, bytes):
            reader = _StrictReader(source)
            image = Image.open(reader)
            _load(image, reader)
        elif isinstance(source, np.ndarray):
            image = Image.fromarray(source)
        else:
            image = source
            _load(image)
        return _flatten(_upright(image))


@contextmanager
def _decoding(name: str) -> Iterator[None]:
    """Turn whatever PIL raises into a ValueError that names the picture."""
    try:
        yield
    except Exception as error:  # on a damaged file PIL's plugins raise nearly anything
        raise ValueError(
            f"{name} cannot be decoded: {error or type(error).__name__}; mend the file or pass "
            "None for this picture."
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


def _load(image: Image, reader: _StrictReader | None = None) -> None:
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


def _orientation(image: Image) -> int:
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
    }.get(_orientation(image))
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
