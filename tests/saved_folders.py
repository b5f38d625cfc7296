"""Saved folders that somebody changed, with a manifest that fits again."""

import json
import struct
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse as sp

from skxmc._folders._content import ARRAYS, read_content, write_content
from skxmc._folders._manifest import METADATA, describe
from skxmc._folders._replacing import replacing
from skxmc._folders._strict_json import seal
from skxmc.indexes import Exact


def content():
    """One of each form."""
    return {
        "numbers": [1, 2.5, None, True, float("inf")],
        "tuple": (1, "a"),
        "names": np.array(["a", "b"], dtype=object),
        "array": np.arange(12, dtype=np.float32).reshape(3, 4),
        "matrix": sp.csr_array(np.eye(4, 5, dtype=np.float32)),
        "index": Exact().build(np.eye(3, 4, dtype=np.float32)),
        "odd": {"$tuple": [1]},
    }


def save_content(folder: Path) -> Path:
    """Save :func:`content`, with a file of another library below."""
    with replacing(folder) as place:
        (place / "tower").mkdir()
        (place / "tower" / "config.json").write_text("{}", encoding="utf-8")
        write_content(place, content())
    return folder


def refused(folder, match=None, **options):
    """The error of loading, which names the folder."""
    with pytest.raises((ValueError, FileNotFoundError), match=match) as caught:
        read_content(folder, parts=("tower",), **options)
    assert str(folder) in str(caught.value)
    return caught.value


def rewrite(folder: Path, edit=None, *, files: bool = False) -> None:
    """Edit the JSON of a saved model as one who knows the format would.

    Parameters
    ----------
    folder : Path
    edit : callable, optional
        Takes what is in ``skxmc.json``, and changes it in place.
    files : bool, default=False
        Whether to write the sizes and hashes of the listed files as they are now.
    """
    path = Path(folder) / METADATA
    tree = json.loads(path.read_text(encoding="utf-8"))
    if files:
        tree["files"] = describe(Path(folder), sorted(tree["files"]))
    if edit is not None:
        edit(tree)
    tree.pop("seal", None)
    path.write_bytes(seal(tree))


def change_array(folder, name, values):
    """Write other numbers of the same size over an array, and a manifest that fits."""
    path = folder / ARRAYS
    data = bytearray(path.read_bytes())
    (length,) = struct.unpack("<Q", data[:8])
    first, last = json.loads(data[8 : 8 + length])[name]["data_offsets"]
    values = np.ascontiguousarray(values).tobytes()
    assert len(values) == last - first
    data[8 + length + first : 8 + length + last] = values
    path.write_bytes(data)
    rewrite(folder, files=True)
