"""Saved models that somebody changed, with a manifest that fits again."""

import json
from pathlib import Path

from skxmc._folders._manifest import METADATA, describe
from skxmc._folders._strict_json import seal


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
