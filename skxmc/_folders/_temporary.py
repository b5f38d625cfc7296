"""Folders that models are written to before they take their place, and what is left of them."""

from __future__ import annotations

import errno
import os
import re
import shutil
import socket
from pathlib import Path
from uuid import uuid4

from ._closed_folder import ClosedFolder
from ._disk import is_locked
from ._manifest import IGNORED, METADATA, OWN, read_manifest

_HOST = re.sub(r"[^A-Za-z0-9]", "_", socket.gethostname())[:40]


def make_temporary(target: Path) -> Path:
    tag = unique_tag()
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
    raise no_permission(target, failure) from failure


def _stem(target: Path) -> str:
    return f".{target.name[:40]}.skxmc."


def unique_tag() -> str:
    return f"{_HOST}-{os.getpid()}-{uuid4().hex[:8]}"


def no_permission(target: Path, error: OSError) -> OSError:
    kind = PermissionError if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS) else OSError
    return kind(
        f"nothing can be written to {str(target)!r} or beside it ({error.strerror}); pass a folder "
        "that you may write to."
    )


def remove_leftovers(target: Path) -> None:
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
                remove_temporary(path)


def _is_dead(process: int, path: Path) -> bool:
    if os.name != "posix":  # signal 0 would end a process on Windows
        return False
    try:
        os.kill(process, 0)
        return False
    except ProcessLookupError:
        # It may live where numbers of processes are others, as in a container.
        return not is_locked(path)
    except OSError:
        return False


def remove_temporary(path: Path) -> None:
    """Remove a folder of an unfinished save, or of a model that another one has replaced."""
    listed = listed_files(path)
    if listed is not None:
        remove_model(path, listed)
    elif path.suffix == ".old":  # somebody else may have written to it
        remove_empty(path)
    else:
        shutil.rmtree(path, ignore_errors=True)


def remove_model(folder: Path, listed: set[str]) -> None:
    """Remove the files of a model, and folders that are empty then."""
    for name in (*sorted(listed), METADATA):
        if not any((folder / parent).is_symlink() for parent in parents(name)):
            (folder / name).unlink(missing_ok=True)
    for directory in reversed(directories(listed)):
        remove_empty(folder / directory)
    remove_empty(folder)


def remove_empty(folder: Path) -> None:
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


def give_back(replaced: Path, target: Path) -> None:
    """Move files that somebody wrote at the last moment to where they were written."""
    if not replaced.exists():
        return
    for name in os.listdir(replaced):
        if not os.path.lexists(target / name):
            os.rename(replaced / name, target / name)
    remove_empty(replaced)


def listed_files(folder: Path) -> set[str] | None:
    """Names of the files of a model, but for the manifest; None where there is no model."""
    try:
        with ClosedFolder(folder) as saved:
            return set(read_manifest(saved, verify=False).files)
    except (OSError, ValueError):
        return None


def directories(names: set[str]) -> list[str]:
    """Names of the folders that files are in, those above first."""
    found = {str(parent) for name in names for parent in parents(name)}
    return sorted(found, key=lambda name: (name.count("/"), name))


def parents(name: str) -> list[str]:
    parts = name.split("/")[:-1]
    return ["/".join(parts[: end + 1]) for end in range(len(parts))]
