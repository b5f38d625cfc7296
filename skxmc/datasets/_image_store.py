"""Pictures of MM-AmazonTitles-300K: lines of base64 in one file, and the offsets of the lines."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import scipy.sparse as sp

from ._files import check_file, load_csr

_MAX_LINE = 2**26  # bytes of a picture in base64


class StoredImages(Sequence):
    """Pictures that are read when they are asked for.

    A sequence with a list of bytes, or None, for each item; ``fit`` takes it as it is.

    Parameters
    ----------
    path : Path
        A file with one line ``uid<TAB>base64`` a picture.
    offsets : csr_array of shape (n_items, n_columns), int64
        Where the lines of an item's pictures begin, plus 1.
    max_images : int
        How many pictures of an item are read, the first ones.
    """

    def __init__(self, path: Path, offsets: sp.csr_array, max_images: int) -> None:
        self.path = path
        self.offsets = offsets
        self.max_images = max_images

    def __len__(self) -> int:
        return self.offsets.shape[0]

    def __getitem__(self, item: int | slice) -> list:
        rows = np.arange(len(self))[item]
        with self.path.open("rb") as file:
            if isinstance(rows, np.ndarray):
                return [self._read(file, row) for row in rows]
            return self._read(file, rows)

    def __iter__(self):
        with self.path.open("rb") as file:
            for row in range(len(self)):
                yield self._read(file, row)

    def _read(self, file, row: int) -> list[bytes] | None:
        starts = self.offsets.indptr[row : row + 2]
        places = self.offsets.data[starts[0] : starts[1]][: self.max_images] - 1
        return [self._picture(file, row, int(place)) for place in places] or None

    def _picture(self, file, row: int, place: int) -> bytes:
        file.seek(place)
        line = file.readline(_MAX_LINE)
        try:
            return base64.b64decode(line.rpartition(b"\t")[2].strip(), validate=True)
        except binascii.Error as error:
            raise ValueError(
                f"{self.path} has no picture in base64 at byte {place}, which row {row} names "
                f"({error}); the file may be cut off: get it again."
            ) from None


def read_stored_images(folder: Path, name: str, n_items: int, max_images: int):
    """Pictures of a split of ``images/img.bin``; None if there are none."""
    index = folder / "images" / f"{name}.img.bin.npz"
    if not index.is_file():
        return None
    path = check_file(folder / "images" / "img.bin")
    offsets = load_csr(index, dtype=np.int64)
    offsets.eliminate_zeros()
    if offsets.shape[0] != n_items:
        raise ValueError(
            f"{index} is for {offsets.shape[0]} items, but there are {n_items}; the files must be "
            "of one data set."
        )
    if offsets.nnz and not 1 <= offsets.data.min() <= offsets.data.max() <= path.stat().st_size:
        raise ValueError(f"{index} names places outside of {path}; one of them is cut off.")
    return StoredImages(path, offsets, max_images)
