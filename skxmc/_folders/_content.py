"""The folder of a saved model: one JSON file, safetensors and indexes, read as a whole.

``skxmc.json`` lists all other files with their sizes and hashes. What it says is checked before it
is believed, because a folder may come from anybody; and as a folder may be replaced while it is
read, each save has an id, which is in all files that skxmc writes itself.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any
from uuid import uuid4

import numpy as np

from ..indexes import Storable
from ._closed_folder import ClosedFolder, OpenedFile
from ._disk import share
from ._manifest import (
    FORMAT,
    METADATA,
    Manifest,
    check_closed,
    check_file,
    check_shards,
    damaged,
    describe,
    is_current,
    read_manifest,
)
from ._packing import DTYPES, pack, unpack
from ._replacing import finish_interrupted, is_interrupted
from ._strict_json import check_size, parse_json, seal

ARRAYS = "arrays.safetensors"

# As much as safetensors allows.
_MAX_HEADER = 100_000_000

# An index begins with the id of its save; what follows is aligned for any number.
_INDEX_HEADER = 64

# How often a folder is read that is replaced meanwhile; the last times no save may begin.
_ATTEMPTS = 6
_ATTEMPTS_WITHOUT_LOCK = 3

# How often one waits for saves of others, which may be one after the other without a pause.
_WAITS = 100

# Names in skxmc.json beside those of a content.
_RESERVED = frozenset({"format", "files", "save", "seal"})

# What reading a damaged array or making a part of a model of wrong numbers may raise.
_WRONG = (
    TypeError,
    AttributeError,
    IndexError,
    KeyError,
    ValueError,
    ArithmeticError,
    AssertionError,
    MemoryError,
    RecursionError,
)


def write_content(folder: Path, content: dict[str, Any]) -> None:
    """Write everything but the files that are in the folder already.

    Parameters
    ----------
    folder : Path
    content : dict
        Nested dicts, lists and tuples of numbers, strings, None, ndarrays, csr_arrays and
        indexes.

    Raises
    ------
    TypeError
        If there is anything else in it; the message says where.
    ValueError
        If it is nested too deep, or has too many entries.
    """
    from safetensors.numpy import save_file

    for name in content:
        if name in _RESERVED or name.startswith("$"):
            raise ValueError(f"a content has no entry {name!r}; use another name.")
    save = uuid4().hex
    packed = pack(content)
    save_file(packed.arrays, folder / ARRAYS, metadata={"save": save})
    for name, index in packed.indexes.items():
        with open(folder / name, "wb") as stream:
            stream.write(_index_header(save))
            index.to_bytes().tofile(stream)
    found = (path for path in folder.rglob("*") if path.is_file())
    files = sorted(path.relative_to(folder).as_posix() for path in found)
    tree = {"format": FORMAT, **packed.tree, "save": save, "files": describe(folder, files)}
    text = seal(tree)
    check_size(text)
    (folder / METADATA).write_bytes(text)
    mode = (folder / METADATA).stat().st_mode
    for name in files:  # safetensors makes files that only their owner may read
        (folder / name).chmod(mode)


def read_content(
    folder: Path, *, verify: bool | str = "auto", parts: tuple[str, ...] = ()
) -> dict[str, Any]:
    """Read what :func:`write_content` wrote; arrays and indexes are memory maps.

    Parameters
    ----------
    folder : Path
    verify : {"auto", True, False}, default="auto"
        Whether files must have the bytes that were saved. True compares the sha256 of each file,
        half a second a gigabyte. "auto" does so for files of up to 4 MiB, and for larger ones with
        half a megabyte of 64 blocks, evenly spread from the first to the last: that notices other
        files, cut ones and overwritten ones, and not each single byte. It takes a third of a
        millisecond for a large file. False compares sizes alone, for a folder that was changed on
        purpose. What would let a folder do harm is refused in any case.
    parts : tuple of str, default=()
        Names of folders below that other libraries read; they must hold listed files alone.

    Returns
    -------
    content : dict

    Raises
    ------
    FileNotFoundError
        If the folder or one of its files is missing.
    ValueError
        If a file is damaged, not listed or a link, or of a newer format.
    """
    for reading in readings(folder, verify=verify, parts=parts):
        with reading as content:
            found = content
    return found


def readings(
    folder: Path, *, verify: bool | str = "auto", parts: tuple[str, ...] = ()
) -> Iterator[Reading]:
    """Read a folder until it was not replaced meanwhile, most often once.

    ``for reading in readings(folder): with reading as content: model = ...`` makes a model of a
    content, and of files in `parts` that are read by name. If the folder is replaced meanwhile, the
    body of the loop runs again, and its errors are of no account.

    Parameters
    ----------
    folder, verify, parts
        As for :func:`read_content`.

    Yields
    ------
    reading : Reading
        A context, which gives a content. It raises errors as ValueErrors that name the folder.
    """
    if not (isinstance(verify, bool) or verify == "auto"):
        raise ValueError(f"verify must be 'auto', True or False, got {verify!r}; pass one of them.")
    for attempt in range(_ATTEMPTS):
        is_last = attempt == _ATTEMPTS - 1
        finish_interrupted(folder)
        with ExitStack() as stack:
            locks = attempt >= _ATTEMPTS_WITHOUT_LOCK
            saved = stack.enter_context((_open_shared if locks else ClosedFolder)(folder))
            manifest = None
            try:
                manifest = read_manifest(saved, verify=bool(verify))
                content = _read(saved, manifest, verify, parts, stack)
            except (OSError, ValueError):
                same = saved.is_current() if manifest is None else _is_whole(folder, manifest)
                if same:
                    raise
                if is_last:
                    raise _replaced(folder) from None
                continue
            reading = Reading(folder, manifest, content, is_last)
            yield reading
            if reading.is_done:
                return


class Reading:
    """One try to make a model of a folder.

    Parameters
    ----------
    folder : Path
    manifest : Manifest
    content : dict
    is_last : bool
        Whether there is no other try after it.
    """

    def __init__(
        self, folder: Path, manifest: Manifest, content: dict[str, Any], is_last: bool
    ) -> None:
        self._folder = folder
        self._manifest = manifest
        self._content = content
        self._is_last = is_last
        self.is_done = False

    def __enter__(self) -> dict[str, Any]:
        return self._content

    def __exit__(
        self, kind: type | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        # What is in the content was open all the time. Files below were read by name.
        by_name = error is not None or bool(self._manifest.directories)
        if by_name and not _is_whole(self._folder, self._manifest):
            if not self._is_last:
                return error is None or isinstance(error, Exception)
            raise _replaced(self._folder) from error
        if error is None:
            self.is_done = True
        elif isinstance(error, KeyError):
            raise ValueError(
                f"the model in {str(self._folder)!r} lacks an entry {error}; save it again."
            ) from error
        # Others than RuntimeError itself say something of the machine, as that memory is full.
        elif (isinstance(error, _WRONG) or type(error) is RuntimeError) and not (
            isinstance(error, ValueError) and str(self._folder) in str(error)
        ):
            raise ValueError(
                f"the model in {str(self._folder)!r} cannot be loaded ({type(error).__name__}: "
                f"{error}); if its files were changed, save it again."
            ) from error
        return False


def _open_shared(folder: Path) -> ClosedFolder:
    """A folder that no save begins to change until it is closed.

    Whoever waits for the lock of a folder may get that of one that has been replaced meanwhile.
    """
    for _ in range(_WAITS):
        saved = ClosedFolder(folder)
        share(saved.descriptor)
        if saved.is_current():
            break
        saved.close()
    else:
        raise _replaced(folder)
    return saved


def _replaced(folder: Path) -> ValueError:
    return ValueError(
        f"the model in {str(folder)!r} was replaced again and again while it was read; load it "
        "when nobody saves to that folder."
    )


def _is_whole(folder: Path, manifest: Manifest) -> bool:
    """Whether nobody has replaced, or begun to replace, what was read."""
    # In this order: a save that came to its end in between has changed the manifest.
    return not is_interrupted(folder) and is_current(folder, manifest)


def _read(
    saved: ClosedFolder,
    manifest: Manifest,
    verify: bool | str,
    parts: tuple[str, ...],
    stack: ExitStack,
) -> dict[str, Any]:
    check_closed(saved, manifest, parts)
    opened: dict[str, OpenedFile] = {}
    for name, record in manifest.files.items():
        file = saved.open(name)
        stack.callback(file.close)
        check_file(saved, file, record, verify)
        if name.endswith(".index.json"):
            check_shards(saved, file, manifest)
        if "/" in name:
            file.close()
        else:
            opened[name] = file

    def find(name: str) -> OpenedFile:
        if name not in opened:
            raise damaged(saved.folder, METADATA, f"it lists no file {name!r:.60}")
        return opened[name]

    arrays = _Arrays(saved.folder, find(ARRAYS), manifest.save)

    def index(name: str, n: int, dimension: int) -> Storable:
        return _map_index(saved.folder, find(name), manifest.save, (n, dimension))

    try:
        return unpack(manifest.tree, arrays.get, index)
    except ValueError as error:
        if str(saved.folder) in str(error):
            raise
        raise damaged(saved.folder, METADATA, error) from error


class _Arrays:
    """Maps of the arrays in a file of safetensors.

    Parameters
    ----------
    folder : Path
    file : OpenedFile
    save : str
    """

    def __init__(self, folder: Path, file: OpenedFile, save: str) -> None:
        self._folder, self._name = folder, file.name
        length = int.from_bytes(file.read(0, 8), "little")
        if file.size < 8 or length > min(file.size - 8, _MAX_HEADER):
            raise damaged(folder, file.name, "its header is longer than the file")
        try:
            header = parse_json(file.read(8, 8 + length))
            _check_save(header.pop("__metadata__")["save"], save)
            self._places = _places(header, 8 + length, file.size)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise damaged(folder, file.name, f"its header: {error}") from error
        self._map = file.map(writable=True)

    def get(self, name: str, kind: str, shape: list[int]) -> np.ndarray:
        """The array of a name, which must be as it was saved."""
        if name not in self._places:
            raise damaged(self._folder, self._name, f"it has no array {name!r:.60}")
        start, count, found = self._places[name]
        if found != (kind, shape):
            raise damaged(
                self._folder, self._name, f"its array {name!r} is {found} instead of {kind} {shape}"
            )
        array = np.frombuffer(self._map, dtype=DTYPES[kind], count=count, offset=start)
        return array.reshape(shape)


def _places(
    header: dict[str, Any], start: int, end: int
) -> dict[str, tuple[int, int, tuple[str, list[int]]]]:
    """Where arrays are: first byte, numbers, kind and shape. They must follow one another."""
    places, place = {}, start
    for name, entry in sorted(header.items(), key=lambda item: item[1]["data_offsets"]):
        kind, shape = entry["dtype"], entry["shape"]
        if kind not in DTYPES or not isinstance(shape, list) or len(shape) > 32:
            raise ValueError(f"{name!r:.60} is no array")
        if any(type(length) is not int or length < 0 for length in shape):
            raise ValueError(f"{name!r:.60} has no shape")
        count = math.prod(shape)
        size = count * DTYPES[kind].itemsize
        if entry["data_offsets"] != [place - start, place - start + size]:
            raise ValueError(f"{name!r:.60} is not where it should be")
        places[name] = (place, count, (kind, shape))
        place += size
    if place != end:
        raise ValueError(f"the arrays end at byte {place}, and the file at {end}")
    return places


def _map_index(folder: Path, file: OpenedFile, save: str, shape: tuple[int, int]) -> Storable:
    """The index in a file; it may be a map of it."""
    header = file.read(0, _INDEX_HEADER)
    expected = _index_header(save)
    try:
        if header[:12] == expected[:12]:
            _check_save(header[12:44].decode("ascii", "replace"), save)
        if header != expected:
            raise ValueError("it does not begin as an index does")
        index = Storable.from_bytes(np.frombuffer(file.map(), dtype=np.uint8)[_INDEX_HEADER:])
        if (len(index), index.dimension) != shape:
            raise ValueError(f"it has the shape {(len(index), index.dimension)}, not {shape}")
    except (*_WRONG, RuntimeError) as error:  # faiss raises the latter
        raise damaged(folder, file.name, error) from error
    return index


def _index_header(save: str) -> bytes:
    return f"skxmc index {save}".ljust(_INDEX_HEADER - 1).encode() + b"\n"


def _check_save(found: Any, expected: str) -> None:
    if found != expected:
        raise ValueError("it belongs to another save of the model")
