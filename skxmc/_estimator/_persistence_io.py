"""The folder of a saved model: one JSON file, safetensors and indexes, replaced as a whole."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import scipy.sparse as sp

from ..indexes import Storable

# Raise it when a folder of the new kind cannot be read by the code before.
FORMAT = 1

METADATA = "skxmc.json"
ARRAYS = "arrays.safetensors"

# Files whose size is checked. JSON may be edited, and version control may change its line ends.
_BINARY = (".safetensors", ".index")


@contextmanager
def replacing(folder: str | os.PathLike) -> Iterator[Path]:
    """A new folder to write to, which takes the place of `folder` if all went well.

    Parameters
    ----------
    folder : path-like
        A folder that doesn't exist, is empty, or holds a saved model.

    Yields
    ------
    temporary : Path
        A folder beside it, so that taking its place is only a change of names.

    Raises
    ------
    FileExistsError
        If `folder` is a file, or holds something else than a saved model.
    """
    target = Path(os.path.realpath(Path(folder).expanduser()))  # a symbolic link stays one
    if target.exists() and not target.is_dir():
        raise FileExistsError(f"{str(folder)!r} is a file; pass the name of a folder.")
    if target.is_dir() and any(target.iterdir()) and not (target / METADATA).is_file():
        raise FileExistsError(
            f"the folder {str(folder)!r} is not empty and holds no model of skxmc, so it is not "
            "replaced; pass another folder, or empty this one."
        )
    suffix = uuid4().hex[:8]
    temporary = target.with_name(f".{target.name}.{suffix}.new")
    temporary.mkdir(parents=True)
    try:
        yield temporary
        for file in _files(temporary):
            with open(temporary / file, "rb+") as stream:
                os.fsync(stream.fileno())
        old = target.with_name(f".{target.name}.{suffix}.old")
        if target.exists():
            target.rename(old)
        try:
            temporary.rename(target)
        except BaseException:
            if old.exists():
                old.rename(target)
            raise
        shutil.rmtree(old, ignore_errors=True)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


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
    """
    from safetensors.numpy import save_file

    arrays: dict[str, np.ndarray] = {}
    tree = _pack(content, (), arrays, folder)
    save_file(arrays, folder / ARRAYS)
    sizes = {file: (folder / file).stat().st_size for file in _files(folder)}
    text = json.dumps({"format": FORMAT, **tree, "files": sizes}, indent=1)
    (folder / METADATA).write_text(text + "\n", encoding="utf-8")
    mode = (folder / METADATA).stat().st_mode
    for file in sizes:  # safetensors makes files that only their owner may read
        (folder / file).chmod(mode)


def read_content(folder: Path) -> dict[str, Any]:
    """Read what :func:`write_content` wrote; arrays and indexes are memory maps.

    Raises
    ------
    FileNotFoundError
        If the folder or one of its files is missing.
    ValueError
        If a file is damaged, or of a newer format.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"there is no folder {str(folder)!r}; pass one that save wrote.")
    path = folder / METADATA
    if not path.is_file():
        raise FileNotFoundError(
            f"{str(folder)!r} holds no {METADATA}, so it is no model of skxmc; pass a folder that "
            "save wrote."
        )
    try:
        tree = json.loads(path.read_text(encoding="utf-8"))
        version, files = int(tree["format"]), dict(tree["files"])
    except (ValueError, TypeError, KeyError) as error:
        raise _damaged(path, error) from error
    if version > FORMAT:
        raise ValueError(
            f"{str(folder)!r} was saved by skxmc {tree.get('versions', {}).get('skxmc')} in format "
            f"{version}, and this version reads formats up to {FORMAT}; upgrade skxmc."
        )
    for name, size in files.items():
        file = folder / name
        if not file.is_file():
            raise FileNotFoundError(f"the model in {str(folder)!r} lacks its file {name!r}.")
        if file.suffix in _BINARY and file.stat().st_size != size:
            raise _damaged(file, f"it has {file.stat().st_size} bytes instead of {size}")
    try:
        return _unpack(tree, _map_arrays(folder / ARRAYS), folder)
    except (KeyError, TypeError) as error:
        raise _damaged(path, error) from error


def _damaged(path: Path, reason: object) -> ValueError:
    return ValueError(f"{str(path)!r} is damaged ({reason}); save the model again.")


def _files(folder: Path) -> list[str]:
    found = (path for path in folder.rglob("*") if path.is_file())
    return sorted(path.relative_to(folder).as_posix() for path in found)


def _map_arrays(path: Path) -> dict[str, np.ndarray]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file  # that of numpy would read the whole file

    try:
        return {name: tensor.numpy() for name, tensor in load_file(path).items()}
    except SafetensorError as error:
        raise _damaged(path, error) from error


# What JSON has no form for is an object with one key, which begins with a dollar sign.


def _pack(value: Any, place: tuple[str, ...], arrays: dict[str, np.ndarray], folder: Path) -> Any:
    def pack(part: Any, *names: str) -> Any:
        return _pack(part, (*place, *names), arrays, folder)

    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, dict):
        return {name: pack(part, name) for name, part in value.items()}
    if isinstance(value, list | tuple):
        parts = [pack(part, str(number)) for number, part in enumerate(value)]
        return parts if isinstance(value, list) else {"$tuple": parts}
    if isinstance(value, np.ndarray) and value.dtype.kind in "OU":
        return {"$objects": pack(value.tolist())}
    if isinstance(value, np.ndarray):
        name = ".".join(place)
        arrays[name] = np.ascontiguousarray(value)
        return {"$array": name}
    if isinstance(value, sp.csr_array):
        parts = {name: getattr(value, name) for name in ("data", "indices", "indptr")}
        return {"$csr": pack({**parts, "shape": value.shape})}
    if isinstance(value, Storable):
        name = _index_file(place)
        value.to_bytes().tofile(folder / name)
        return {"$index": name}
    raise TypeError(f"{'.'.join(place)} is of type {type(value).__name__}, which cannot be saved.")


def _index_file(place: tuple[str, ...]) -> str:
    """Name of an index's file: where it is, and "index", which is not said twice."""
    *names, last = place
    if not names or last not in ("index", "index_"):
        names.append(last.removesuffix("_"))
    return f"{'.'.join(names)}.index"


def _unpack(value: Any, arrays: dict[str, np.ndarray], folder: Path) -> Any:
    if isinstance(value, list):
        return [_unpack(part, arrays, folder) for part in value]
    if not isinstance(value, dict):
        return value
    parts = {name: _unpack(part, arrays, folder) for name, part in value.items()}
    if len(parts) != 1:
        return parts
    ((kind, part),) = parts.items()
    if kind == "$tuple":
        return tuple(part)
    if kind == "$objects":
        array = np.empty(len(part), dtype=object)
        array[:] = part
        return array
    if kind == "$array":
        return arrays[part]
    if kind == "$csr":
        return sp.csr_array((part["data"], part["indices"], part["indptr"]), shape=part["shape"])
    if kind == "$index":
        return _map_index(folder / Path(part).name)
    return parts


def _map_index(path: Path) -> Storable:
    try:
        return Storable.from_bytes(np.memmap(path, dtype=np.uint8, mode="r"))
    except (ValueError, RuntimeError) as error:  # faiss raises the latter
        raise _damaged(path, error) from error
