"""Downloaded pictures and their vectors in blocks, each of which is there as a whole or not at all.

A run that is killed has lost the block it was at. The next one goes on with it, and makes the same
files: what a block holds depends on the addresses alone.
"""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .._inputs._decoding import ImageError, decode_image, pad_white
from ._downloads import Downloader, DownloadError
from ._files import replaced
from ._image_vectors import map_vectors

if TYPE_CHECKING:
    from PIL.Image import Image

BLOCK = 512  # pictures: what a kill may lose, and what is decoded at a time
_VERSION = 1
_STATES = "states.json"
_EPOCH = (1980, 1, 1, 0, 0, 0)  # the time of all members, so that equal blocks are equal files
_OK = ""


@dataclass(frozen=True)
class State:
    """What became of an address: an empty reason means that the picture is there."""

    reason: str
    temporary: bool = False

    @property
    def ok(self) -> bool:
        """Whether there is a picture."""
        return self.reason == _OK


class PictureBlocks:
    """The pictures of a list of addresses, in a folder.

    Parameters
    ----------
    folder : Path
        Where the blocks are; it is made if it does not exist.
    addresses : sequence of str
        Distinct addresses.
    side : int
        Pictures are kept as squares of at most so many pixels a side, with white margins.

    Raises
    ------
    ValueError
        If the folder holds pictures of other addresses or of another size.
    """

    def __init__(self, folder: Path, addresses: Sequence[str], side: int) -> None:
        self.folder = folder
        self.addresses = list(addresses)
        self.side = side
        self._check_plan()

    def _check_plan(self) -> None:
        digest = hashlib.sha256("\n".join(self.addresses).encode()).hexdigest()
        plan = {"version": _VERSION, "addresses": digest, "side": self.side, "block": BLOCK}
        path = self.folder / "plan.json"
        self.folder.mkdir(parents=True, exist_ok=True)
        for leftover in self.folder.glob("**/.*.tmp"):  # of a run that was killed
            leftover.unlink(missing_ok=True)
        if not path.exists():
            with replaced(path) as file:
                json.dump(plan, file)
        elif json.loads(path.read_text(encoding="utf-8")) != plan:
            raise ValueError(
                f"{self.folder} holds pictures of other addresses or of another size; name another "
                "folder as work, or delete this one."
            )

    def __len__(self) -> int:
        return -(-len(self.addresses) // BLOCK)

    def _part(self, block: int) -> list[str]:
        return self.addresses[block * BLOCK : (block + 1) * BLOCK]

    def _path(self, block: int) -> Path:
        return self.folder / f"{block:05d}.zip"

    def download(
        self, downloader: Downloader, *, retry_failed: bool = False, done: Callable[[int], Any]
    ) -> None:
        """Download what is not there yet.

        With `retry_failed`, addresses whose error may have passed are tried again. `done` is
        called with the number of addresses after each block.
        """
        with ThreadPoolExecutor(downloader.limits.connections) as threads:
            try:
                for block in range(len(self)):
                    self._download_block(block, downloader, threads, retry_failed)
                    done(len(self._part(block)))
            except BaseException:
                downloader.stop()  # or the threads would be waited for
                threads.shutdown(cancel_futures=True)
                raise

    def _download_block(
        self, block: int, downloader: Downloader, threads: ThreadPoolExecutor, retry_failed: bool
    ) -> None:
        part = self._part(block)
        states: list[State | None] = [None] * len(part)
        contents: list[bytes] = [b""] * len(part)
        if self._path(block).exists():
            states = list(self._states(block))
            if not retry_failed or not any(state.temporary for state in states if state):
                return
            states = [None if state is not None and state.temporary else state for state in states]
            for number, content in zip(_present(states), self._contents(block), strict=True):
                contents[number] = content
        open_ones = [number for number, state in enumerate(states) if state is None]
        jobs = threads.map(lambda number: _picture(downloader, part[number], self.side), open_ones)
        for number, (state, content) in zip(open_ones, jobs, strict=True):
            states[number], contents[number] = state, content
        self._write(block, [state for state in states if state is not None], contents)

    def _write(self, block: int, states: Sequence[State], contents: Sequence[bytes]) -> None:
        with replaced(self._path(block), "wb") as file, zipfile.ZipFile(file, "w") as archive:
            for number in _present(states):
                archive.writestr(zipfile.ZipInfo(f"{number:03d}.jpg", _EPOCH), contents[number])
            described = json.dumps([[state.reason, state.temporary] for state in states])
            archive.writestr(zipfile.ZipInfo(_STATES, _EPOCH), described)

    def _states(self, block: int) -> list[State]:
        with zipfile.ZipFile(self._path(block)) as archive:
            return [State(*state) for state in json.loads(archive.read(_STATES))]

    def _contents(self, block: int) -> list[bytes]:
        """The pictures of a block that are there, as JPEG."""
        with zipfile.ZipFile(self._path(block)) as archive:
            return [archive.read(name) for name in archive.namelist() if name != _STATES]

    def states(self) -> list[State]:
        """What became of each address."""
        return [state for block in range(len(self)) for state in self._states(block)]

    def encode(
        self, name: str, encoder: Callable[[list[Image]], Any], *, done: Callable[[int], Any]
    ) -> None:
        """Make vectors of all pictures, block by block.

        Blocks that have vectors of this name are left as they are. `done` is called with the
        number of addresses after each block.
        """
        (self.folder / name).mkdir(exist_ok=True)
        for block in range(len(self)):
            n_pictures = len(_present(self._states(block)))
            path = self._vectors_path(name, block)
            # After a retry a block has more pictures than vectors.
            if n_pictures and not (path.exists() and len(map_vectors(path)) == n_pictures):
                images = [decode_image(content) for content in self._contents(block)]
                vectors = _check_vectors(encoder(images), n_pictures)
                with replaced(path, "wb") as file:
                    np.save(file, vectors, allow_pickle=False)
            done(len(self._part(block)))

    def vectors(self, name: str) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """For each block that has pictures, the numbers of their addresses and their vectors."""
        for block in range(len(self)):
            present = np.array(_present(self._states(block)), dtype=np.int64)
            if len(present):
                yield block * BLOCK + present, map_vectors(self._vectors_path(name, block))

    def _vectors_path(self, name: str, block: int) -> Path:
        return self.folder / name / f"{block:05d}.npy"


def count_failures(
    states: Sequence[State], addresses: Sequence[str], n_examples: int = 3
) -> dict[str, dict[str, Any]]:
    """How often each reason stands in `states`, with the first addresses; the commonest first."""
    counts = Counter(state.reason for state in states if not state.ok)
    failures: dict[str, dict[str, Any]] = {
        reason: {"count": count, "examples": []}
        for reason, count in sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    }
    for state, address in zip(states, addresses, strict=True):
        if not state.ok and len(failures[state.reason]["examples"]) < n_examples:
            failures[state.reason]["examples"].append(address)
    return failures


def _present(states: Sequence[State | None]) -> list[int]:
    return [number for number, state in enumerate(states) if state is not None and state.ok]


def _picture(downloader: Downloader, address: str, side: int) -> tuple[State, bytes]:
    """What became of an address, and the picture as JPEG."""
    try:
        return State(_OK), make_thumbnail(downloader.fetch(address), side)
    except DownloadError as error:
        return State(error.reason, error.temporary), b""
    except ImageError:
        return State("not a picture"), b""


def make_thumbnail(content: bytes, side: int) -> bytes:
    """A picture as a square with white margins, at most `side` pixels wide, in JPEG.

    Raises
    ------
    ImageError
        If it cannot be decoded, or has more pixels than PIL takes.
    """
    from PIL.Image import Resampling

    square = pad_white(decode_image(content))
    square.thumbnail((side, side), Resampling.LANCZOS)
    file = io.BytesIO()
    square.save(file, "JPEG", quality=95, subsampling=0)
    return file.getvalue()


def _check_vectors(vectors: Any, n_pictures: int) -> np.ndarray:
    vectors = np.asarray(vectors, dtype=np.float32)
    if vectors.ndim != 2 or len(vectors) != n_pictures or not np.isfinite(vectors).all():
        raise ValueError(
            f"encoder returned an array of shape {vectors.shape} for {n_pictures} pictures; it "
            f"must return finite numbers of shape ({n_pictures}, dimension)."
        )
    return vectors
