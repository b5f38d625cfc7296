"""Files of a folder that anybody may have written: nothing outside of it is ever opened."""

from __future__ import annotations

import mmap
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import file_digest, sha256
from pathlib import Path

# Relative to the opened folder, a name means the same file even if the folder is renamed.
_BY_DESCRIPTOR = {os.open, os.stat} <= os.supports_dir_fd and os.listdir in os.supports_fd

# A named pipe without a writer would wait for ever, were it not for O_NONBLOCK.
_FLAGS = os.O_RDONLY
for _name in ("O_CLOEXEC", "O_NOFOLLOW", "O_NONBLOCK", "O_BINARY"):
    _FLAGS |= getattr(os, _name, 0)

# A sample of a file: so many blocks of so many bytes, evenly spread from its first byte to its
# last.
SAMPLE_BLOCKS = 64
SAMPLE_BYTES = 2**13


class ClosedFolder:
    """A folder of which regular files can be opened, once each.

    Parameters
    ----------
    folder : Path

    Raises
    ------
    FileNotFoundError
        If there is no such folder.
    """

    def __init__(self, folder: Path) -> None:
        if not folder.is_dir():
            raise FileNotFoundError(
                f"there is no folder {str(folder)!r}; pass one that save wrote."
            )
        self.folder = folder
        self._root = os.open(folder, os.O_RDONLY | os.O_DIRECTORY) if _BY_DESCRIPTOR else None

    def __enter__(self) -> ClosedFolder:
        return self

    def __exit__(self, *_) -> None:
        self.close()

    def close(self) -> None:
        """Close the folder, which gives its lock back."""
        if self._root is not None:
            os.close(self._root)
            self._root = None

    @property
    def descriptor(self) -> int | None:
        """Of the folder itself; None where the system has none for folders."""
        return self._root

    def is_current(self) -> bool:
        """Whether the folder of that name is still this one; True where that cannot be known."""
        if self._root is None:
            return True
        try:
            return os.path.samestat(os.stat(self.folder), os.fstat(self._root))
        except FileNotFoundError:
            return False

    def open(self, name: str) -> OpenedFile:
        """Open a file.

        Parameters
        ----------
        name : str
            Relative, with slashes, and checked by :func:`._manifest.check_name`.

        Returns
        -------
        file : OpenedFile

        Raises
        ------
        FileNotFoundError
            If there is no such file.
        ValueError
            If it, or a folder on the way, is a link or something else than a file or folder.
        """
        *parents, last = name.split("/")
        with self._directory(parents, name) as place:
            before = self._look(place, last, name)
            if not stat.S_ISREG(before.st_mode):
                raise self._refused(name, _kind(before.st_mode))
            try:
                descriptor = os.open(self._path(place, last), _FLAGS, dir_fd=self._dir_fd(place))
            except PermissionError as error:
                raise PermissionError(
                    f"the file {name!r} of the model in {str(self.folder)!r} may not be read; "
                    "change its permissions."
                ) from error
            except FileNotFoundError as error:
                raise self._missing(name) from error
        after = os.fstat(descriptor)
        if (before.st_dev, before.st_ino) != (after.st_dev, after.st_ino):
            os.close(descriptor)
            raise self._refused(name, "another file than a moment ago")
        return OpenedFile(name, descriptor, after)

    def names(self, directory: str) -> list[str]:
        """Names of what is in a folder below this one; none if there is no such folder."""
        try:
            with self._directory(directory.split("/"), directory) as place:
                return sorted(os.listdir(place))
        except FileNotFoundError:
            return []

    @contextmanager
    def _directory(self, parents: list[str], name: str) -> Iterator[int | Path]:
        """A folder below, as a descriptor where there are such."""
        place: int | Path = self.folder if self._root is None else os.dup(self._root)
        try:
            for part in parents:
                found = self._look(place, part, name)
                if not stat.S_ISDIR(found.st_mode):
                    raise self._refused(name, f"below {part!r}, which is {_kind(found.st_mode)}")
                if isinstance(place, Path):
                    place = place / part
                    continue
                below = os.open(part, _FLAGS | os.O_DIRECTORY, dir_fd=place)
                os.close(place)
                place = below
            yield place
        finally:
            if not isinstance(place, Path):
                os.close(place)

    def _look(self, place: int | Path, part: str, name: str) -> os.stat_result:
        try:
            path = self._path(place, part)
            return os.stat(path, dir_fd=self._dir_fd(place), follow_symlinks=False)
        except FileNotFoundError as error:
            raise self._missing(name) from error

    @staticmethod
    def _path(place: int | Path, part: str) -> str:
        return os.path.join(place, part) if isinstance(place, Path) else part

    @staticmethod
    def _dir_fd(place: int | Path) -> int | None:
        return None if isinstance(place, Path) else place

    def _missing(self, name: str) -> FileNotFoundError:
        return FileNotFoundError(
            f"the model in {str(self.folder)!r} lacks its file {name!r}; copy or save all of it "
            "again."
        )

    def _refused(self, name: str, reason: str) -> ValueError:
        return ValueError(
            f"the file {name!r} of the model in {str(self.folder)!r} is {reason}, which is not "
            "read; copy the model to a folder of plain files (cp -rL does that)."
        )


class OpenedFile:
    """A file that is open for reading; its name is not used again.

    Parameters
    ----------
    name : str
    descriptor : int
        Closed by :meth:`close`.
    status : os.stat_result
    """

    def __init__(self, name: str, descriptor: int, status: os.stat_result) -> None:
        self.name = name
        self.size = status.st_size
        # Of this very file, and another one if it is written again.
        self.identity = (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)
        # Without a buffer: a sample would read more than it needs.
        self._stream = os.fdopen(descriptor, "rb", buffering=0)

    def __enter__(self) -> OpenedFile:
        return self

    def __exit__(self, *_) -> None:
        self.close()

    def close(self) -> None:
        """Close the file; its maps stay."""
        self._stream.close()

    def read(self, start: int, stop: int) -> bytes:
        """Bytes from `start` to `stop`, or to the end of the file."""
        self._stream.seek(start)
        return self._stream.read(stop - start)

    def digest(self) -> str:
        """Hash of all bytes, sha256 in hexadecimal."""
        self._stream.seek(0)
        return file_digest(self._stream, "sha256").hexdigest()

    def sample(self) -> str:
        """Hash of half a megabyte or less, evenly spread over the file."""
        total = sha256(str(self.size).encode())
        room = max(0, self.size - SAMPLE_BYTES)
        for number in range(SAMPLE_BLOCKS):
            start = number * room // (SAMPLE_BLOCKS - 1)
            total.update(self.read(start, start + SAMPLE_BYTES))
        return total.hexdigest()

    def map(self, *, writable: bool = False) -> mmap.mmap:
        """Map the file into memory; what is written stays in memory."""
        access = mmap.ACCESS_COPY if writable else mmap.ACCESS_READ
        return mmap.mmap(self._stream.fileno(), self.size, access=access)


def open_path(path: Path) -> OpenedFile:
    """Open a file of our own, that is being saved."""
    descriptor = os.open(path, _FLAGS)
    return OpenedFile(path.name, descriptor, os.fstat(descriptor))


def _kind(mode: int) -> str:
    for test, name in (
        (stat.S_ISLNK, "a link"),
        (stat.S_ISDIR, "a folder"),
        (stat.S_ISREG, "a file"),
        (stat.S_ISFIFO, "a named pipe"),
        (stat.S_ISSOCK, "a socket"),
    ):
        if test(mode):
            return name
    return "a device"
