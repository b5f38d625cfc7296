"""Ready vectors of pictures: one row a picture, and an index of the pictures of each item."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .._inputs._images import ImageFeatures
from ._files import check_file, read_array_header
from ._pickles import load_object_array

_BLOCK = 2**22  # numbers that are checked at a time


def image_vectors(vectors: Any, index: Any, *, max_images: int = 3) -> ImageFeatures:
    """Join ready vectors of pictures with an index of the pictures that each item has.

    What it returns is passed to ``fit`` and the predicting methods as `images`, or as
    `label_images`. Pictures that several items share are stored once, and items without a
    picture take no space; `vectors` may be a memory map, which is not copied.

    Parameters
    ----------
    vectors : float array of shape (n_pictures, dimension)
        One vector a picture. float32 is taken as it is; other floats are converted in memory.
    index : int array of shape (n_items, n_columns), or sequence of sequences of int
        Rows of `vectors` for each item; negative numbers are left out.
    max_images : int, default=3
        How many pictures of an item are kept, the first ones.

    Returns
    -------
    images : ImageFeatures
        With attributes `vectors` and `index`, int32 of shape (n_items, max_images) at most and -1
        where there is no picture. ``images.take(rows)`` are the pictures of some of the items.

    Raises
    ------
    TypeError
        If `vectors` is not of floats.
    ValueError
        If shapes are wrong, an index is not a row of `vectors`, or a vector is not finite.

    Examples
    --------
    >>> import numpy as np
    >>> from skxmc.datasets import image_vectors
    >>> images = image_vectors(np.eye(3, dtype=np.float32), [[0, 2], [], [2]])
    >>> images.index
    array([[ 0,  2],
           [-1, -1],
           [ 2, -1]], dtype=int32)
    """
    if not isinstance(vectors, np.memmap):
        vectors = np.asarray(vectors)
    if vectors.dtype.kind != "f":
        raise TypeError(f"vectors is an array of dtype {vectors.dtype}; pass floats.")
    if vectors.ndim != 2 or vectors.shape[1] == 0:
        raise ValueError(
            f"vectors has shape {vectors.shape}; pass one row a picture, (n_pictures, dimension)."
        )
    if max_images < 1:
        raise ValueError(f"max_images is {max_images}; pass at least 1.")
    rows = _narrow_index(index, len(vectors), max_images)
    vectors = vectors.astype(np.float32, copy=False)
    _check_finite(vectors)
    return ImageFeatures(vectors, rows)


def _narrow_index(index: Any, n_vectors: int, max_images: int) -> np.ndarray:
    """The first `max_images` pictures of each item, those that are there in front."""
    rows: list[list[int]] = []
    for number, entry in enumerate(index):
        kept = []
        for picture in [entry] if isinstance(entry, (int, np.integer)) else entry:
            is_whole = isinstance(picture, (int, np.integer)) and not isinstance(picture, bool)
            if not is_whole or picture >= n_vectors:
                raise ValueError(
                    f"index[{number}] names the picture {picture!r}, and there are {n_vectors} "
                    "vectors; pass row numbers of vectors."
                )
            if picture >= 0:
                kept.append(int(picture))
            if len(kept) == max_images:
                break
        rows.append(kept)
    width = max([1, *map(len, rows)])
    narrow = np.full((len(rows), width), -1, dtype=np.int32)
    for number, kept in enumerate(rows):
        narrow[number, : len(kept)] = kept
    return narrow


def _check_finite(vectors: np.ndarray) -> None:
    step = max(1, _BLOCK // vectors.shape[1])
    for start in range(0, len(vectors), step):
        block = vectors[start : start + step]
        with np.errstate(over="ignore", invalid="ignore"):
            if np.isfinite(block.sum()):  # NaN and infinity stay in a sum, and it reads once
                continue
        finite = np.isfinite(block).all(axis=1)
        if not finite.all():
            row = start + int(np.argmin(finite))
            raise ValueError(
                f"row {row} of vectors holds NaN or infinity (or a value too large for float32); "
                "correct the vector, or leave the picture out of the index."
            )


def map_vectors(path: Path) -> np.ndarray:
    """Open an array of vectors as a read-only memory map."""
    check_file(path)
    try:
        with path.open("rb") as file:
            shape, _, dtype = read_array_header(file)
            n_bytes = int(np.prod(shape, dtype=object)) * dtype.itemsize
            if dtype.hasobject or file.tell() + n_bytes > path.stat().st_size:
                raise ValueError(f"{shape} {dtype} are more than the file holds")
        if n_bytes == 0:  # an empty file cannot be mapped
            return np.zeros(shape, dtype)
        return np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        raise ValueError(
            f"{path} is not an array as numpy.save writes it ({error}); save it again."
        ) from None


def read_image_vectors(
    folder: Path, split: tuple[str, ...], n_items: int, uids: Sequence[str] | None, max_images: int
) -> ImageFeatures | None:
    """Read ``<split>_embs_imgs_*.npy`` and ``<split>_*map.npy``; None if there is neither.

    `split` holds the names of the split: the vectors are named after ``trn``, and the map after
    ``train``.
    """
    vectors = _only_file(folder, split, "_embs_imgs_*.npy")
    index = _only_file(folder, split, "_imgs_*map.npy")
    for found, other, missing in (
        (vectors, index, "map *_imgs_*map.npy"),
        (index, vectors, "vectors *_embs_imgs_*.npy"),
    ):
        if found is not None and other is None:
            raise FileNotFoundError(
                f"{folder} has {found.name} but not its {missing}; put both there, or this one "
                "elsewhere."
            )
    if vectors is None or index is None:
        return None
    entries = load_object_array(index)
    if isinstance(entries, dict):
        entries = _entries_of_rows(entries, n_items, uids, index)
    if len(entries) != n_items:
        raise ValueError(
            f"{index} is for {len(entries)} items, but there are {n_items}; the files must be of "
            "one data set."
        )
    entries = [[] if entry is None else entry for entry in entries]
    if not all(isinstance(entry, (int, list)) for entry in entries):
        row = next(row for row, e in enumerate(entries) if not isinstance(e, (int, list)))
        raise ValueError(
            f"entry {row} of {index} is {entries[row]!r}; it must be a list of rows of "
            f"{vectors.name}, or -1."
        )
    try:
        return image_vectors(map_vectors(vectors), entries, max_images=max_images)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{vectors} with {index.name}: {error}") from None


def _only_file(folder: Path, split: tuple[str, ...], end: str) -> Path | None:
    found = sorted({path for name in split for path in folder.glob(f"{name}{end}")})
    if end.startswith("_imgs"):
        found = [path for path in found if "_embs_imgs_" not in path.name]
    else:
        found = [path for path in found if not path.name.endswith("map.npy")]
    if len(found) > 1:
        names = ", ".join(path.name for path in found)
        raise ValueError(f"{folder} has several files of one kind, {names}; keep one of them.")
    return found[0] if found else None


def _entries_of_rows(
    entries: dict, n_items: int, uids: Sequence[str] | None, path: Path
) -> list[Any]:
    """Entries in the order of the items, of a dict by row number or by uid."""
    if all(isinstance(key, int) for key in entries):
        keys: Sequence[Any] = range(n_items)
    elif uids is not None:
        keys = uids
    else:
        raise ValueError(f"{path} is a dict by uid, but the texts have none; pass their uids.")
    unknown = set(entries).difference(keys)
    if unknown:
        raise ValueError(f"{path} names the item {next(iter(unknown))!r}, which has no text.")
    return [entries.get(key, []) for key in keys]
