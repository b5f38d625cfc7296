"""Which files a saved model has, with their sizes and hashes; no other file is read."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from ._closed_folder import ClosedFolder, OpenedFile, open_path
from ._strict_json import MAX_BYTES, is_sealed, parse_json

METADATA = "skxmc.json"

# Raise it when a folder of the new kind cannot be read by the code before.
FORMAT = 1

# Greater files are hashed whole with verify=True only, and by a sample else.
WHOLE = 2**22

# Shards of the largest models are some hundreds.
MAX_FILES = 1000

# Names that programs leave in folders that people look at; no library reads them.
IGNORED = frozenset({".DS_Store", "Thumbs.db", "desktop.ini", "lost+found"})

# Names of what an unfinished save wrote begin with this.
OWN = ".skxmc."

# Formats that are pickles, or can hold them.
_PICKLES = (".bin", ".ckpt", ".joblib", ".npy", ".npz", ".pickle", ".pkl", ".pt", ".pth", ".h5")

# Files whose size is checked without verification too. Version control may change line ends of
# JSON.
_BINARY = (".safetensors", ".index")

_HASH = re.compile(r"[0-9a-f]{64}")
_SAVE = re.compile(r"[0-9a-f]{32}")


class Record(NamedTuple):
    """What the manifest says of a file."""

    size: int
    sha256: str
    #: Hash of a sample, of files of more than WHOLE bytes.
    sample: str | None


@dataclass(frozen=True)
class Manifest:
    """What ``skxmc.json`` says.

    Parameters
    ----------
    tree : dict
        All of it but the rest.
    save : str
        Another one for each save, 32 digits.
    files : dict of str to Record
        By name, relative to the folder, with slashes.
    identity : tuple
        Of the file.
    """

    tree: dict[str, Any]
    save: str
    files: dict[str, Record]
    identity: tuple[int, ...]

    @property
    def directories(self) -> set[str]:
        """Names of all folders that hold listed files."""
        return {name[:place] for name in self.files for place, c in enumerate(name) if c == "/"}


def damaged(folder: Path, name: str, reason: object) -> ValueError:
    """The error for a file that does not hold what it should."""
    return ValueError(
        f"the file {name!r} of the model in {str(folder)!r} is damaged ({reason}); save the model "
        "again, or copy it again from where it is whole."
    )


def describe(folder: Path, names: list[str]) -> dict[str, dict[str, Any]]:
    """Sizes and hashes of files for a manifest."""
    found = {}
    for name in names:
        with open_path(folder / name) as file:
            found[name] = {"size": file.size, "sha256": file.digest()}
            if file.size > WHOLE:
                found[name]["sample"] = file.sample()
    return found


def check_name(name: str) -> None:
    """Refuse names that are no relative path to a file below a folder, on any system.

    Raises
    ------
    ValueError
        If it leaves the folder, could mean different things, or is that of a pickle.
    """
    parts = name.split("/")
    if (
        len(name) > 500
        or any(part in ("", ".", "..") or part != part.rstrip(". ") for part in parts)
        or any(c in '\\:*?"<>|\x7f' or c < " " for c in name)
        or parts[0].startswith(OWN)
        or name == METADATA
    ):
        raise ValueError(f"{name[:100]!r} is no name of a file of a model")
    if name.lower().endswith(_PICKLES):
        raise ValueError(f"{name!r} may be a pickle, which runs code")


def read_manifest(saved: ClosedFolder, *, verify: bool = True) -> Manifest:
    """Read ``skxmc.json``.

    Parameters
    ----------
    saved : ClosedFolder
    verify : bool, default=True
        Whether it must be as it was written.

    Returns
    -------
    manifest : Manifest

    Raises
    ------
    FileNotFoundError
        If there is none.
    ValueError
        If it is damaged, or of a newer format.
    """
    folder = saved.folder
    try:
        file = saved.open(METADATA)
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f"{str(folder)!r} holds no {METADATA}, so it is no model of skxmc; pass a folder that "
            "save wrote."
        ) from error
    with file:
        if file.size > MAX_BYTES:
            raise damaged(folder, METADATA, f"it has more than {MAX_BYTES} bytes")
        data = file.read(0, MAX_BYTES)
    try:
        tree = parse_json(data)
        version, files = tree["format"], dict(tree["files"])
        if type(version) is not int:
            raise ValueError(f"its format is {str(version)[:50]!r}")
    except (ValueError, TypeError, KeyError) as error:
        raise damaged(folder, METADATA, _reason(error)) from error
    if version > FORMAT:
        versions = tree.get("versions")
        before = versions.get("skxmc") if isinstance(versions, dict) else None
        raise ValueError(
            f"{str(folder)!r} was saved by skxmc {str(before)[:50]} in format {version}, and this "
            f"version reads formats up to {FORMAT}; upgrade skxmc."
        )
    if verify and not is_sealed(data):
        raise damaged(
            folder,
            METADATA,
            "it is not as it was written; if you changed it yourself, load with verify=False",
        )
    try:
        records = {name: _record(name, entry) for name, entry in files.items()}
        if len(records) > MAX_FILES:
            raise ValueError(f"it lists more than {MAX_FILES} files")
        save = tree.pop("save")
        if not (isinstance(save, str) and _SAVE.fullmatch(save)):
            raise ValueError("its entry 'save' is none")
    except (ValueError, TypeError, KeyError) as error:
        raise damaged(folder, METADATA, _reason(error)) from error
    for name in ("files", "seal"):
        tree.pop(name, None)
    return Manifest(tree, save, records, file.identity)


def check_file(saved: ClosedFolder, file: OpenedFile, record: Record, verify: bool | str) -> None:
    """Compare an opened file with what the manifest says of it.

    Parameters
    ----------
    saved : ClosedFolder
    file : OpenedFile
    record : Record
    verify : {"auto", True, False}
        "auto" takes the hash of a sample for large files. False compares sizes alone.

    Raises
    ------
    ValueError
        If it is another file than was saved.
    """
    if (verify or file.name.endswith(_BINARY)) and file.size != record.size:
        raise damaged(saved.folder, file.name, f"it has {file.size} bytes instead of {record.size}")
    if not verify:
        return
    if verify == "auto" and record.sample is not None:
        same = file.sample() == record.sample
    else:
        same = file.digest() == record.sha256
    if not same:
        raise damaged(
            saved.folder,
            file.name,
            "its bytes are not those that were saved; if you changed it yourself, load with "
            "verify=False",
        )


def check_closed(saved: ClosedFolder, manifest: Manifest, parts: tuple[str, ...]) -> None:
    """Refuse files that are not listed, where other libraries read what they find.

    Parameters
    ----------
    saved : ClosedFolder
    manifest : Manifest
    parts : tuple of str
        Folders that other libraries read, whether or not the manifest lists files in them.

    Raises
    ------
    ValueError
        If there is another file than those that are listed.
    """
    known = manifest.directories
    for directory in sorted({*known, *parts}):
        for name in saved.names(directory):
            full = f"{directory}/{name}"
            if name not in IGNORED and full not in manifest.files and full not in known:
                raise ValueError(
                    f"the folder {str(saved.folder)!r} holds {full!r}, which is not part of the "
                    "model that was saved there; remove that file, or move it out of "
                    f"{directory!r}."
                )


def check_shards(saved: ClosedFolder, file: OpenedFile, manifest: Manifest) -> None:
    """Refuse a list of shards that names another file than those beside it.

    Raises
    ------
    ValueError
        If it does, or is no such list.
    """
    directory = file.name.rpartition("/")[0]
    try:
        shards = set(parse_json(file.read(0, file.size))["weight_map"].values())
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise damaged(saved.folder, file.name, _reason(error)) from error
    for shard in shards:
        if f"{directory}/{shard}".removeprefix("/") not in manifest.files:
            raise damaged(
                saved.folder, file.name, f"it names {shard!r:.100}, which is no file of the model"
            )


def is_current(folder: Path, manifest: Manifest) -> bool:
    """Whether the manifest that was read is still the one at its place."""
    try:
        found = os.stat(folder / METADATA, follow_symlinks=False)
    except OSError:
        return False
    return manifest.identity == (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns)


def _record(name: str, entry: Any) -> Record:
    check_name(name)
    record = Record(entry["size"], entry["sha256"], entry.get("sample"))
    hashes = [record.sha256, *([] if record.sample is None else [record.sample])]
    if (
        type(record.size) is not int
        or record.size < 0
        or not all(isinstance(one, str) and _HASH.fullmatch(one) for one in hashes)
    ):
        raise ValueError(f"its entry for {name!r} has no size or hash")
    return record


def _reason(error: Exception) -> str:
    if isinstance(error, KeyError):
        return f"it lacks an entry {error}"
    return str(error)
