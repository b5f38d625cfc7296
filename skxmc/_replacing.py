"""Taking the place of a folder: whoever reads it finds the old model or the new one, whole.

A new model is written to a folder beside its place. If nothing is in that place, it is renamed. If
a model is there and nothing else, the two are exchanged, which Linux does in one step. In all other
cases (files of the user's beside those of the model, a place where a volume is mounted, a folder
whose parent may not be written to, a system that exchanges nothing) the new model is moved into the
folder under the name NEXT, and from that moment on it is the model of this folder: what is left is
to move its files to their places, the manifest last. If the process dies meanwhile, the next one
that loads or saves goes on where it stopped.
"""

from __future__ import annotations

import ctypes
import errno
import os
import re
import shutil
import socket
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

from ._closed_folder import ClosedFolder
from ._manifest import IGNORED, METADATA, OWN, read_manifest

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

# A complete model that is about to take the place of the one in the same folder.
NEXT = f"{OWN}next"

_HOST = re.sub(r"[^A-Za-z0-9]", "_", socket.gethostname())[:40]
_EXCHANGE = 2  # RENAME_EXCHANGE of Linux
_HERE = -100  # AT_FDCWD


@contextmanager
def replacing(folder: str | os.PathLike) -> Iterator[Path]:
    """A new folder to write to, which takes the place of `folder` if all went well.

    Files that are not part of a model stay in `folder` as they are. Files and folders are on the
    disk before the names change.

    Parameters
    ----------
    folder : path-like
        A folder that doesn't exist, is empty, or holds a saved model.

    Yields
    ------
    temporary : Path
        A folder beside it, or in it if that cannot be.

    Raises
    ------
    FileExistsError
        If `folder` is a file, holds files and no model, or has a file where one of the model is to
        be; the message names it.
    PermissionError
        If it may not be written to.
    """
    target = _target(folder)
    _check_target(target)
    _remove_leftovers(target)
    temporary = _make_temporary(target)
    with _locked(temporary):  # says that this process lives
        try:
            yield temporary
            _flush(temporary)
            _take_place(temporary, target)
        finally:
            _remove_temporary(temporary)  # nothing is left of it after a success


def check_save(folder: str | os.PathLike) -> None:
    """Raise what saving to a folder would raise, before there is anything to save.

    Parameters
    ----------
    folder : path-like

    Raises
    ------
    FileExistsError
        If `folder` is a file, or holds files and no model.
    PermissionError
        If it may not be written to.
    """
    target = _target(folder)
    _check_target(target)
    if target.exists():
        _make_temporary(target).rmdir()
        return
    parent = next(place for place in target.parents if place.exists())
    try:
        os.rmdir(tempfile.mkdtemp(dir=parent, prefix=OWN))
    except OSError as error:
        raise _no_permission(target, error) from error


def finish_interrupted(folder: Path) -> None:
    """Bring a save to its end that was interrupted while it moved files to their places.

    Parameters
    ----------
    folder : Path

    Raises
    ------
    PermissionError
        If the folder may not be written to.
    """
    if not is_interrupted(folder):
        return
    with _locked(folder) as same:  # another process may be at it, and done once the lock is free
        if same and is_interrupted(folder):
            try:
                _move_files(folder)
            except PermissionError as error:
                raise PermissionError(
                    f"a save to {str(folder)!r} was interrupted, and the folder may not be written "
                    "to; load the model once as a user who may, which brings the save to its end."
                ) from error


def is_interrupted(folder: Path) -> bool:
    """Whether a new model in a folder is not yet in its place."""
    # A link would lead elsewhere.
    return not (folder / NEXT).is_symlink() and (folder / NEXT / METADATA).is_file()


def share(saved: ClosedFolder) -> None:
    """Let no save begin to change a folder until it is closed, where the system has locks."""
    if fcntl is not None and saved.descriptor is not None:
        _lock(saved.descriptor, fcntl.LOCK_SH)


# -- checks -------------------------------------------------------------------------------------


def _target(folder: str | os.PathLike) -> Path:
    target = Path(os.path.realpath(Path(folder).expanduser()))  # a symbolic link stays one
    if target.exists() and not target.is_dir():
        raise FileExistsError(f"{str(folder)!r} is a file; pass the name of a folder.")
    return target


def _check_target(target: Path) -> None:
    """Refuse a folder that holds files and no model."""
    while target.exists():
        with _locked(target) as same:
            if same:
                _look(target)
                return


def _look(target: Path) -> tuple[set[str], list[str]]:
    """Names of the files of the model in a folder that is locked, and of all else at its top."""
    if is_interrupted(target):
        _move_files(target)
    found = sorted(name for name in os.listdir(target) if name not in IGNORED)
    own = [name for name in found if name.startswith(OWN)]
    if found == own:
        return set(), own
    listed = _listed(target)
    if listed is None:
        foreign = next(name for name in found if name not in own)
        raise FileExistsError(
            f"the folder {str(target)!r} is not empty and holds no model of skxmc (it has "
            f"{foreign!r}), so it is not replaced; pass another folder, or empty this one."
        )
    _check_folders(target, listed)
    tops = {METADATA, *(name.partition("/")[0] for name in listed)}
    return listed, [name for name in found if name not in tops]


def _listed(folder: Path) -> set[str] | None:
    """Names of the files of a model, but for the manifest; None where there is no model."""
    try:
        with ClosedFolder(folder) as saved:
            return set(read_manifest(saved, verify=False).files)
    except (OSError, ValueError):
        return None


def _check_folders(target: Path, listed: set[str]) -> None:
    """Refuse to touch a folder below, if it holds what is not the model's."""
    for directory in _directories(listed):
        place = target / directory
        if place.is_symlink():
            raise FileExistsError(
                f"{str(place)!r} is a link, and not the folder of the model that was saved in "
                f"{str(target)!r}; move it away, or save to another folder."
            )
        if not place.is_dir():
            continue
        for name in sorted(os.listdir(place)):
            full = f"{directory}/{name}"
            if name not in IGNORED and full not in listed and full not in _directories(listed):
                raise FileExistsError(
                    f"the folder {str(target)!r} holds {full!r}, which is not part of the model "
                    "that was saved there; move it away, or save to another folder."
                )


def _directories(names: set[str]) -> list[str]:
    """Names of the folders that files are in, those above first."""
    found = {str(parent) for name in names for parent in _parents(name)}
    return sorted(found, key=lambda name: (name.count("/"), name))


def _parents(name: str) -> list[str]:
    parts = name.split("/")[:-1]
    return ["/".join(parts[: end + 1]) for end in range(len(parts))]


# -- taking the place ---------------------------------------------------------------------------


def _take_place(temporary: Path, target: Path) -> None:
    while True:
        if not target.exists():
            try:
                os.rename(temporary, target)
            except OSError as error:
                if target.exists():  # another process was faster
                    continue
                raise error
            _flush_folder(target.parent)
            return
        with _locked(target) as same:
            if not same:  # it was replaced while we waited
                continue
            listed, foreign = _look(target)
            if foreign or not _exchange(temporary, target):
                _move_in(temporary, target, listed)
                return
            _flush_folder(target.parent)
            old = temporary.with_suffix(".old")
            os.rename(temporary, old)
            _remove_model(old, listed)
            _give_back(old, target)
            return


def _exchange(one: Path, two: Path) -> bool:
    """Exchange two folders in one step; False if that cannot be done here."""
    if not sys.platform.startswith("linux") or os.path.ismount(two):
        return False
    call = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if call is None:
        return False
    shutil.copymode(two, one)
    return call(_HERE, os.fsencode(one), _HERE, os.fsencode(two), _EXCHANGE) == 0


def _move_in(temporary: Path, target: Path, listed: set[str]) -> None:
    """Make a new model the next one of a folder, and move it to its place."""
    new = _listed(temporary)
    if new is None:
        raise FileNotFoundError(f"{str(temporary)!r} lost its {METADATA}; save again.")
    for name in sorted(new - listed):
        for place in (*_parents(name), name):
            clash = os.path.lexists(target / place) and place not in _directories(listed)
            if clash and (place == name or not (target / place).is_dir()):
                raise FileExistsError(
                    f"the folder {str(target)!r} holds {place!r}, which is not part of the model "
                    "that was saved there, and a file of the new model has that name; move it "
                    "away, or save to another folder."
                )
    _check_folders(target, new | listed)
    inside = target / NEXT
    _remove_empty(inside)
    if os.path.lexists(inside):
        raise FileExistsError(f"{str(inside)!r} is none of a save; move it away, and save again.")
    try:
        os.rename(temporary, inside)
    except OSError as error:
        if error.errno != errno.EXDEV:  # another volume, although the folders look alike
            raise
        copy = target / f"{OWN}{_tag()}.new"
        shutil.copytree(temporary, copy)
        _flush(copy)
        os.rename(copy, inside)
        shutil.rmtree(temporary)
    _flush_folder(target)
    _move_files(target)


def _move_files(target: Path) -> None:
    """Move the files of the next model to their places; may be done again after an interruption."""
    inside = target / NEXT
    new, old = _listed(inside), _listed(target) or set()
    if new is None:
        raise ValueError(
            f"a save to {str(target)!r} was interrupted, and {str(inside / METADATA)!r} is "
            "damaged; remove that folder, and save the model again."
        )
    for directory in _directories(new | old):
        for place in (target, inside):
            if (place / directory).is_symlink():
                raise ValueError(
                    f"{str(place / directory)!r} is a link; remove it, and save the model again."
                )
    for directory in _directories(new):
        (target / directory).mkdir(exist_ok=True)
    for name in sorted(new):
        if os.path.lexists(inside / name):
            os.replace(inside / name, target / name)
    for name in sorted(old - new):
        (target / name).unlink(missing_ok=True)
    for directory in reversed(_directories(old - new)):
        if directory not in _directories(new):
            _remove_empty(target / directory)
    for directory in ("", *_directories(new)):
        _flush_folder(target / directory)
    os.replace(inside / METADATA, target / METADATA)
    _flush_folder(target)
    _remove_empty(inside)


# -- removing -----------------------------------------------------------------------------------


def _remove_leftovers(target: Path) -> None:
    """Remove what saves of processes wrote that are dead now.

    Only those of this machine: of another one nobody can say whether it is alive.
    """
    beside = re.compile(re.escape(_stem(target)) + rf"{_HOST}-(\d+)-[0-9a-f]{{8}}\.(new|old)")
    inside = re.compile(re.escape(OWN) + rf"{_HOST}-(\d+)-[0-9a-f]{{8}}\.(new|old)")
    for folder, pattern in ((target.parent, beside), (target, inside)):
        try:
            names = os.listdir(folder)
        except OSError:  # not there, or not ours to look at
            continue
        for name in names:
            match = pattern.fullmatch(name)
            path = folder / name
            if match and path.is_dir() and not path.is_symlink() and _is_dead(int(match[1]), path):
                _remove_temporary(path)


def _is_dead(process: int, path: Path) -> bool:
    if fcntl is None:  # signal 0 would end a process on Windows
        return False
    try:
        os.kill(process, 0)
        return False
    except ProcessLookupError:
        pass
    except OSError:
        return False
    # It may live where numbers of processes are others, as in a container.
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    except OSError:
        return False
    finally:
        os.close(descriptor)


def _remove_temporary(path: Path) -> None:
    """Remove a folder of an unfinished save, or of a model that another one has replaced."""
    listed = _listed(path)
    if listed is not None:
        _remove_model(path, listed)
    elif path.suffix == ".old":  # somebody else may have written to it
        _remove_empty(path)
    else:
        shutil.rmtree(path, ignore_errors=True)


def _remove_model(folder: Path, listed: set[str]) -> None:
    """Remove the files of a model, and folders that are empty then."""
    for name in (*sorted(listed), METADATA):
        if not any((folder / parent).is_symlink() for parent in _parents(name)):
            (folder / name).unlink(missing_ok=True)
    for directory in reversed(_directories(listed)):
        _remove_empty(folder / directory)
    _remove_empty(folder)


def _remove_empty(folder: Path) -> None:
    """Remove a folder, if nothing is in it but empty folders and what programs leave there."""
    if folder.is_symlink():
        return
    for place, _, names in os.walk(folder, topdown=False):
        for name in IGNORED.intersection(names):
            (Path(place) / name).unlink(missing_ok=True)
        try:
            os.rmdir(place)
        except OSError:
            return


def _give_back(replaced: Path, target: Path) -> None:
    """Move files that somebody wrote at the last moment to where they were written."""
    if not replaced.exists():
        return
    for name in os.listdir(replaced):
        if not os.path.lexists(target / name):
            os.rename(replaced / name, target / name)
    _remove_empty(replaced)


# -- small things -------------------------------------------------------------------------------


def _make_temporary(target: Path) -> Path:
    tag = _tag()
    places = [target.with_name(f"{_stem(target)}{tag}.new")]
    if target.exists():
        places.append(target / f"{OWN}{tag}.new")
        if os.path.ismount(target):
            del places[0]
    for place in places:
        try:
            place.mkdir(parents=True)
            return place
        except OSError as error:
            failure = error
    raise _no_permission(target, failure) from failure


def _stem(target: Path) -> str:
    return f".{target.name[:40]}.skxmc."


def _tag() -> str:
    return f"{_HOST}-{os.getpid()}-{uuid4().hex[:8]}"


def _no_permission(target: Path, error: OSError) -> OSError:
    kind = PermissionError if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS) else OSError
    return kind(
        f"nothing can be written to {str(target)!r} or beside it ({error.strerror}); pass a folder "
        "that you may write to."
    )


@contextmanager
def _locked(folder: Path) -> Iterator[bool]:
    """Hold the lock of a folder; gives whether it is still the one of that name."""
    if fcntl is None:
        yield True
        return
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        _lock(descriptor, fcntl.LOCK_EX)
        try:
            same = os.path.samestat(os.stat(folder), os.fstat(descriptor))
        except FileNotFoundError:
            same = False
        yield same
    finally:
        os.close(descriptor)


def _lock(descriptor: int, kind: int) -> None:
    try:
        fcntl.flock(descriptor, kind)
    except OSError as error:
        # Some network drives lock no folders; names still change in one step there.
        if error.errno not in (errno.EBADF, errno.EINVAL, errno.ENOLCK, errno.ENOTSUP):
            raise


def _flush(folder: Path) -> None:
    """Bring the files and folders below a folder to the disk."""
    for place, _, names in os.walk(folder):
        for name in names:
            with open(os.path.join(place, name), "rb+") as stream:
                os.fsync(stream.fileno())
        _flush_folder(Path(place))


def _flush_folder(folder: Path) -> None:
    if fcntl is None:  # Windows opens no folders
        return
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except PermissionError:  # a parent that may not be read
        return
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(descriptor)
