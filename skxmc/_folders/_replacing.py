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
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ._disk import flush, flush_folder, locked
from ._manifest import IGNORED, METADATA, OWN
from ._temporary import (
    directories,
    give_back,
    listed_files,
    make_temporary,
    no_permission,
    parents,
    remove_empty,
    remove_leftovers,
    remove_model,
    remove_temporary,
    unique_tag,
)

# A complete model that is about to take the place of the one in the same folder.
NEXT = f"{OWN}next"

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
    remove_leftovers(target)
    temporary = make_temporary(target)
    with locked(temporary):  # says that this process lives
        try:
            yield temporary
            flush(temporary)
            _take_place(temporary, target)
        finally:
            remove_temporary(temporary)  # nothing is left of it after a success


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
        make_temporary(target).rmdir()
        return
    parent = next(place for place in target.parents if place.exists())
    try:
        os.rmdir(tempfile.mkdtemp(dir=parent, prefix=OWN))
    except OSError as error:
        raise no_permission(target, error) from error


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
    with locked(folder) as same:  # another process may be at it, and done once the lock is free
        if same and is_interrupted(folder):
            try:
                _move_files(folder)
            except OSError as error:
                if error.errno not in (errno.EACCES, errno.EPERM, errno.EROFS):
                    raise
                raise PermissionError(
                    f"a save to {str(folder)!r} was interrupted, and the folder may not be written "
                    "to; load the model once as a user who may, which brings the save to its end."
                ) from error


def is_interrupted(folder: Path) -> bool:
    """Whether a new model in a folder is not yet in its place."""
    # A link would lead elsewhere.
    return not (folder / NEXT).is_symlink() and (folder / NEXT / METADATA).is_file()


# -- checks -------------------------------------------------------------------------------------


def _target(folder: str | os.PathLike) -> Path:
    target = Path(os.path.realpath(Path(folder).expanduser()))  # a symbolic link stays one
    if target.exists() and not target.is_dir():
        raise FileExistsError(f"{str(folder)!r} is a file; pass the name of a folder.")
    return target


def _check_target(target: Path) -> None:
    """Refuse a folder that holds files and no model."""
    while target.exists():
        with locked(target) as same:
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
    listed = listed_files(target)
    if listed is None:
        foreign = next(name for name in found if name not in own)
        raise FileExistsError(
            f"the folder {str(target)!r} is not empty and holds no model of skxmc (it has "
            f"{foreign!r}), so it is not replaced; pass another folder, or empty this one."
        )
    _check_folders(target, listed)
    tops = {METADATA, *(name.partition("/")[0] for name in listed)}
    return listed, [name for name in found if name not in tops]


def _check_folders(target: Path, listed: set[str]) -> None:
    """Refuse to touch a folder below, if it holds what is not the model's."""
    for directory in directories(listed):
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
            if name not in IGNORED and full not in listed and full not in directories(listed):
                raise FileExistsError(
                    f"the folder {str(target)!r} holds {full!r}, which is not part of the model "
                    "that was saved there; move it away, or save to another folder."
                )


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
            flush_folder(target.parent)
            return
        with locked(target) as same:
            if not same:  # it was replaced while we waited
                continue
            listed, foreign = _look(target)
            if foreign or not _exchange(temporary, target):
                _move_in(temporary, target, listed)
                return
            flush_folder(target.parent)
            old = temporary.with_suffix(".old")
            os.rename(temporary, old)
            remove_model(old, listed)
            give_back(old, target)
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
    new = listed_files(temporary)
    if new is None:
        raise FileNotFoundError(f"{str(temporary)!r} lost its {METADATA}; save again.")
    for name in sorted(new - listed):
        for place in (*parents(name), name):
            clash = os.path.lexists(target / place) and place not in directories(listed)
            if clash and (place == name or not (target / place).is_dir()):
                raise FileExistsError(
                    f"the folder {str(target)!r} holds {place!r}, which is not part of the model "
                    "that was saved there, and a file of the new model has that name; move it "
                    "away, or save to another folder."
                )
    _check_folders(target, new | listed)
    inside = target / NEXT
    remove_empty(inside)
    if os.path.lexists(inside):
        raise FileExistsError(f"{str(inside)!r} is none of a save; move it away, and save again.")
    try:
        os.rename(temporary, inside)
    except OSError as error:
        if error.errno != errno.EXDEV:  # another volume, although the folders look alike
            raise
        copy = target / f"{OWN}{unique_tag()}.new"
        shutil.copytree(temporary, copy)
        flush(copy)
        os.rename(copy, inside)
        shutil.rmtree(temporary)
    flush_folder(target)
    _move_files(target)


def _move_files(target: Path) -> None:
    """Move the files of the next model to their places; may be done again after an interruption."""
    inside = target / NEXT
    new, old = listed_files(inside), listed_files(target) or set()
    if new is None:
        raise ValueError(
            f"a save to {str(target)!r} was interrupted, and {str(inside / METADATA)!r} is "
            "damaged; remove that folder, and save the model again."
        )
    for directory in directories(new | old):
        for place in (target, inside):
            if (place / directory).is_symlink():
                raise ValueError(
                    f"{str(place / directory)!r} is a link; remove it, and save the model again."
                )
    for directory in directories(new):
        (target / directory).mkdir(exist_ok=True)
    for name in sorted(new):
        if os.path.lexists(inside / name):
            os.replace(inside / name, target / name)
    for name in sorted(old - new):
        (target / name).unlink(missing_ok=True)
    for directory in reversed(directories(old - new)):
        if directory not in directories(new):
            remove_empty(target / directory)
    for directory in ("", *directories(new)):
        flush_folder(target / directory)
    os.replace(inside / METADATA, target / METADATA)
    flush_folder(target)
    remove_empty(inside)
