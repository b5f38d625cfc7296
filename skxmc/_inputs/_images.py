"""Pictures of documents and labels: what a user may pass, and what towers work on."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

import numpy as np

from ._decoding import (
    IMAGE_FORMS,
    ImageError,
    ImageWarning,
    decode_image,
    decoding,
    load_pixels,
    orientation,
    read_bounded,
    read_file,
)
from ._texts import is_missing, sequence_to_list
from ._values import is_blank

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = [
    "ImageFeatures",
    "ImageItems",
    "collect_images",
    "decode_image",
    "handle_problems",
    "with_pictures",
]

# What to do about pictures that are missing or cannot be decoded.
MISSING = ("raise", "warn", "ignore")

_SHOWN = 5  # pictures that a message names


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

    def without(self, positions: Sequence[int]) -> ImageItems:
        """The items without some of the distinct pictures; the others move up."""
        kept = np.ones(self.n_distinct, dtype=bool)
        kept[list(positions)] = False
        moved = np.append(np.where(kept, np.cumsum(kept) - 1, -1), -1)  # -1 stays -1
        rows = [moved[row][moved[row] >= 0].tolist() for row in self.index]
        parts = (self.sources, self.hashes, self.names)
        sources, hashes, names = (
            tuple(part for part, keep in zip(whole, kept, strict=True) if keep) for whole in parts
        )
        return ImageItems(sources, hashes, _padded(rows), names)

    def decode(self, position: int) -> Image:
        """Picture number `position`, decoded to a PIL image of mode RGB.

        Raises
        ------
        ValueError
            If it cannot be decoded; the message names the argument and the row.
        """
        return decode_image(self.sources[position], name=self.names[position])


def collect_images(
    images: Any,
    n_items: int,
    *,
    max_images: int = 3,
    argument: str = "images",
    missing: str = "raise",
) -> ImageItems | ImageFeatures | None:
    """Bring all forms in which a user may pass pictures into one.

    Parameters
    ----------
    images : sequence of length n_items, float ndarray, ImageFeatures or None
        An entry is None (or NaN), a PIL image, a uint8 array of shape (H, W), (H, W, 3) or
        (H, W, 4), a path, bytes, an open binary file, a dict with "bytes" or "path" as Hugging Face
        has them, or a list of those. A blank path is no picture, and ``~`` is the home folder. A
        float array of shape (n_items, dimension)
        or (n_items, n_columns, dimension) holds ready embeddings; a row of NaN is a missing
        picture. ImageFeatures, as of ``skxmc.datasets.image_vectors``, hold them with an index.
    n_items : int
        Number of documents or labels the pictures belong to.
    max_images : int, default=3
        How many pictures an item may have.
    argument : str, default="images"
        What the user calls `images`; for messages.
    missing : {"raise", "warn", "ignore"}, default="raise"
        What to do about files that are missing or cannot be read, and pictures that cannot be
        decoded: the latter two leave them out.

    Returns
    -------
    collected : ImageItems, ImageFeatures or None
        ImageFeatures for ready embeddings, None for None.

    Raises
    ------
    TypeError
        If `images` or an entry is of a type that is no picture.
    ValueError
        If `missing` is none of these, the length is wrong, a file is missing, an item has more
        than `max_images` pictures, or an embedding is not finite.
    """
    if missing not in MISSING:
        raise ValueError(f"missing is {missing!r}; pass 'raise', 'warn' or 'ignore'.")
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
    return _collect(entries, max_images, argument, missing)


def with_pictures(
    images: ImageItems | ImageFeatures | None,
) -> ImageItems | ImageFeatures | None:
    """The pictures; None if every item is without one."""
    return images if images is not None and (images.index >= 0).any() else None


def handle_problems(problems: Sequence[ImageError], missing: str) -> None:
    """Raise, warn of or ignore pictures that are missing or cannot be decoded.

    Raises
    ------
    ImageError
        With `missing` "raise": how many there are, and the first five.
    """
    if not problems or missing == "ignore":
        return
    messages = [str(problem) for problem in problems]
    text = messages[0]
    if len(problems) > 1:
        shown = "".join(f"\n* {message}" for message in messages[:_SHOWN])
        rest = "\n* ..." if len(problems) > _SHOWN else ""
        text = f"{len(problems)} pictures cannot be used:{shown}{rest}"
    if missing == "raise":
        advice = "set image_encoder=ImageEncoder(missing='warn') to leave such pictures out."
        link = " Or " if len(problems) == 1 else "\nOr "
        raise ImageError(f"{text}{link}{advice}", messages)
    warnings.warn(ImageWarning(f"pictures are left out: {text}", messages), stacklevel=5)


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
            f"{argument}{place} holds NaN or infinity (or a value too large for float32); correct "
            "the embedding, or fill it with NaN throughout if the picture is missing."
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


def _collect(entries: list, max_images: int, argument: str, missing: str) -> ImageItems:
    """Hash all pictures and keep each distinct one once."""
    position_of: dict[str, int] = {}
    hash_of_path: dict[str, str] = {}  # the same file is often named by many rows
    sources, names, rows, problems = [], [], [], []
    for row, entry in enumerate(entries):
        name = f"{argument}[{row}]"
        group = _as_group(entry)
        if group is None:
            pictures = [(name, _unwrap(entry, name))]
        else:
            pictures = [
                (f"{name}[{column}]", _unwrap(picture, f"{name}[{column}]"))
                for column, picture in enumerate(group)
            ]
        pictures = [(place, picture) for place, picture in pictures if picture is not None]
        if len(pictures) > max_images:
            raise _too_many(name, len(pictures), max_images)
        rows.append([])
        for place, picture in pictures:
            try:
                source, digest = _identify(picture, place, hash_of_path)
            except ImageError as problem:
                problems.append(problem)
                continue
            position = position_of.setdefault(digest, len(sources))
            if position == len(sources):
                sources.append(source)
                names.append(place)
            rows[-1].append(position)
    handle_problems(problems, missing)
    return ImageItems(tuple(sources), tuple(position_of), _padded(rows), tuple(names))


def _padded(rows: list[list[int]]) -> np.ndarray:
    """Rows of unequal length as one int32 array, filled up with -1."""
    width = max([len(row) for row in rows], default=0)
    index = np.full((len(rows), max(width, 1)), -1, dtype=np.int32)
    for row, positions in enumerate(rows):
        index[row, : len(positions)] = positions
    return index


def _unwrap(picture: Any, name: str) -> Any:
    """What holds a picture, such as a row of Hugging Face or an open file, without its cover.

    None if there is no picture.
    """
    if isinstance(picture, Mapping):
        if not picture or not set(picture) <= {"bytes", "path"}:
            raise TypeError(
                f"{name} is a dict with the keys {list(picture)[:5]}; pass {IMAGE_FORMS}."
            )
        content = picture.get("bytes")
        picture = picture.get("path") if is_missing(content) else content
    if is_missing(picture) or is_blank(picture):
        return None
    if hasattr(picture, "read") and not hasattr(picture, "__fspath__"):
        return _read_open_file(picture, name)
    return picture


def _read_open_file(file: Any, name: str) -> bytes:
    """All bytes from where an open file stands, which it is put back to for the next reader."""
    seekable = hasattr(file, "seekable") and file.seekable()
    position = file.tell() if seekable else None
    try:
        content = read_bounded(file)
    except ValueError as error:
        raise ImageError(f"{name} is an open file, and {error}; pass a picture.") from error
    if seekable:
        file.seek(position)
    if not isinstance(content, bytes):
        raise TypeError(
            f"{name} is a {type(file).__name__} that reads {type(content).__name__} and not bytes; "
            "open the file with mode 'rb', or pass its bytes."
        )
    return content


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
        path = os.path.expanduser(str(os.fspath(picture)))  # numpy's str too
        if path not in hash_of_path:
            hash_of_path[path] = _hash(b"file", read_file(path, name))
        return path, hash_of_path[path]
    if isinstance(picture, (bytes, bytearray, memoryview)):
        content = bytes(picture)
        return content, _hash(b"file", content)
    if isinstance(picture, Image):
        with decoding(name):
            load_pixels(picture)
        palette = picture.getpalette(None) if picture.mode in ("P", "PA") else None
        transparency = picture.info.get("transparency")
        described = (picture.mode, picture.size, palette, transparency, orientation(picture))
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
    raise TypeError(f"{name} is of type {type(picture).__name__}; pass {IMAGE_FORMS}.")


def _hash(*parts: bytes) -> str:
    digest = blake2b(digest_size=16)
    for part in parts:
        digest.update(len(part).to_bytes(8, "little"))
        digest.update(part)
    return digest.hexdigest()
