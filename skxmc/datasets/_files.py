"""Files: what others wrote is read with bounds, and what we write takes its place as a whole."""

from __future__ import annotations

import gzip
import json
import os
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tokenize import TokenError
from typing import IO, Any, BinaryIO

import numpy as np
import scipy.sparse as sp

from .._inputs._targets import narrow_indices

# Texts and matrices shrink to a third or a tenth, and a file of zeros to a thousandth. What
# unpacks to more than both bounds is taken for a decompression bomb.
MAX_UNPACKED_RATIO = 100
MAX_UNPACKED_BYTES = 2**25

_GZIP_MAGIC = b"\x1f\x8b"
_LFS_START = b"version https://git-lfs.github.com/spec/"
_BOM = b"\xef\xbb\xbf"
_UTF16 = (b"\xff\xfe", b"\xfe\xff")


def as_folder(path: str | os.PathLike) -> Path:
    """Return the folder, or raise FileNotFoundError."""
    folder = Path(path).expanduser()
    if not folder.is_dir():
        raise FileNotFoundError(f"path is {str(path)!r}, which is not a folder; pass one that is.")
    return folder


def check_file(path: Path) -> Path:
    """Raise if `path` is no regular file, or only the pointer that git-lfs leaves for one."""
    if not path.is_file():
        if path.exists():
            raise FileNotFoundError(f"{path} is not a regular file; put the data there.")
        raise FileNotFoundError(f"{path} does not exist; put it there, or correct the path.")
    with path.open("rb") as file:
        if file.read(len(_LFS_START)) == _LFS_START:
            raise ValueError(f"{path} is a pointer of git-lfs, not the data; run git lfs pull.")
    return path


def max_unpacked(packed: int) -> int:
    """How many bytes `packed` bytes may unpack to."""
    return max(MAX_UNPACKED_BYTES, MAX_UNPACKED_RATIO * packed)


def byte_lines(path: Path) -> Iterator[bytes]:
    r"""Lines of a file, packed by gzip or not, without a BOM and without ``\r\n`` at their ends.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is a git-lfs pointer, in UTF-16, cut off, damaged, or a decompression bomb.
    """
    check_file(path)
    with path.open("rb") as file:
        # The first bytes decide: names with .gz stay when a browser has unpacked the file.
        packed = file.read(2) == _GZIP_MAGIC
        file.seek(0)
        if packed:
            with gzip.open(file) as unpacked:
                yield from _strip_lines(_unpacked_lines(unpacked, path), path)
        else:
            yield from _strip_lines(file, path)


def _strip_lines(lines: Iterator[bytes] | BinaryIO, path: Path) -> Iterator[bytes]:
    for number, line in enumerate(lines):
        if number == 0:
            if line.startswith(_UTF16):
                raise ValueError(f"{path} is in UTF-16; save it in UTF-8.")
            line = line.removeprefix(_BOM)
        yield line.rstrip(b"\r\n")


def _unpacked_lines(file: gzip.GzipFile, path: Path) -> Iterator[bytes]:
    limit = max_unpacked(path.stat().st_size)
    number = n_bytes = 0
    while True:
        try:
            line = file.readline(limit - n_bytes + 1)
        except (EOFError, OSError, zlib.error) as error:
            raise ValueError(
                f"{path} is cut off or damaged after line {number} ({error}); get it again."
            ) from None
        if not line:
            return
        number += 1
        n_bytes += len(line)
        if n_bytes > limit:
            raise ValueError(
                f"{path} unpacks to more than {limit} bytes, {MAX_UNPACKED_RATIO} times its size "
                "(it may be a decompression bomb); if you trust it, unpack it and pass that file."
            )
        yield line


def text_lines(path: Path, *, latin: bool = False) -> Iterator[str]:
    """Lines of a text file in UTF-8.

    With `latin`, lines that are not UTF-8 are read as Latin-1, which some benchmarks are in.
    """
    for number, line in enumerate(byte_lines(path), start=1):
        try:
            yield line.decode("utf-8")
        except UnicodeDecodeError as error:
            if not latin:
                raise ValueError(
                    f"line {number} of {path} is not UTF-8 ({error.reason}); save it in UTF-8."
                ) from None
            yield line.decode("latin-1")


def without_last_blanks(lines: list[str], n_rows: int | None = None) -> list[str]:
    """Drop blank lines at the end, but none of the first `n_rows` lines."""
    while lines and not lines[-1].strip() and (n_rows is None or len(lines) > n_rows):
        lines.pop()
    return lines


def json_records(path: Path, *, latin: bool = False) -> Iterator[tuple[int, dict[str, Any]]]:
    """Line numbers, from 1, and records of a file of JSON lines; blank lines are left out."""
    for number, line in enumerate(text_lines(path, latin=latin), start=1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except (ValueError, RecursionError) as error:
            # ValueError covers integers of more digits than Python converts.
            raise ValueError(
                f"line {number} of {path} is not JSON ({error}); correct it."
            ) from None
        if not isinstance(record, dict):
            raise ValueError(
                f"line {number} of {path} is not a JSON object but {_short(record)}; write "
                '{"name": value, ...}.'
            )
        yield number, record


def _short(value: Any) -> str:
    shown = repr(value)
    return shown if len(shown) <= 60 else f"{shown[:57]}..."


def as_text(value: Any, place: str) -> str:
    """A text of a record, stripped; empty for null. Numbers are written out."""
    if value is None:
        return ""
    if isinstance(value, str):
        return value.strip()
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ValueError(f"{place} is {_short(value)}; write a text or null.")
    return str(value)


def as_id(value: Any, place: str) -> str:
    """An id of a record as str; whole numbers of any size are written out."""
    if isinstance(value, str) and value.strip():
        return value.strip()
    if isinstance(value, (int, np.integer)) and not isinstance(value, bool):
        return str(value)
    hint = " (a float does not hold long ids exactly)" if isinstance(value, float) else ""
    raise ValueError(f"{place} is {_short(value)}{hint}; pass the id as str.")


def load_csr(path: Path, dtype: type = np.float32) -> sp.csr_array:
    """Read a sparse matrix that :func:`scipy.sparse.save_npz` wrote, and check all its indices.

    Raises
    ------
    ValueError
        If it is no such file, if its indices do not fit its shape, or if it unpacks to far more
        than its size.
    """
    check_file(path)
    try:
        _check_members(path)
        matrix = sp.load_npz(path)
        if matrix.dtype.kind not in "biuf":
            raise ValueError(f"its values are of dtype {matrix.dtype}")
        if matrix.format in ("csr", "csc"):
            matrix.check_format(full_check=True)
        matrix = sp.csr_array(matrix).astype(dtype)
        matrix.check_format(full_check=True)
    except (
        ValueError, KeyError, TypeError, AttributeError, IndexError, RuntimeError, OSError,
        EOFError, MemoryError, zipfile.BadZipFile, zlib.error,
    ) as error:  # fmt: skip
        raise ValueError(
            f"{path} is not a sparse matrix as scipy.sparse.save_npz writes it ({error}); get it "
            "again."
        ) from None
    matrix.sum_duplicates()
    return narrow_indices(matrix)


def _check_members(path: Path) -> None:
    """Compare the sizes that an archive of arrays states with each other, before any is made."""
    limit = max_unpacked(path.stat().st_size)
    with zipfile.ZipFile(path) as archive:
        if sum(member.file_size for member in archive.infolist()) > limit:
            raise ValueError(f"it unpacks to more than {limit} bytes")
        for member in archive.infolist():
            with archive.open(member) as file:
                shape, _, dtype = read_array_header(file)
                n_bytes = int(np.prod(shape, dtype=object)) * dtype.itemsize
                if dtype.hasobject or n_bytes + file.tell() != member.file_size:
                    raise ValueError(f"the array {member.filename} does not hold what it states")


def read_array_header(file: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype]:
    """Shape, order and dtype of a file in NumPy's format; the position is then that of its data."""
    version = np.lib.format.read_magic(file)
    try:
        if version == (1, 0):
            return np.lib.format.read_array_header_1_0(file)
        if version == (2, 0):
            return np.lib.format.read_array_header_2_0(file)
    except (SyntaxError, TokenError, TypeError, RecursionError, MemoryError) as error:
        raise ValueError(f"the header of the array is damaged: {error}") from None
    raise ValueError(f"version {version} of NumPy's format is unknown")


@contextmanager
def replaced(path: Path, mode: str = "w") -> Iterator[Any]:
    """Open a file beside `path`, which takes its place when all is written."""
    beside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    options: dict[str, Any] = {} if "b" in mode else {"encoding": "utf-8", "newline": ""}
    try:
        with beside.open(mode, **options) as file:
            yield file
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)
