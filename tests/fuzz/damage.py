"""Bytes that get lost, and JSON that somebody edited."""

from __future__ import annotations

import copy
import json
import random
import shutil
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from small_models import SmallModel

from skxmc._folders._manifest import METADATA
from skxmc._folders._strict_json import seal

# The kinds of models that are damaged.
MODELS = ("vectors", "frozen", "tuned", "pictures", "decoder", "plugins")

HOW = ("bit", "byte", "zero", "swap", "cut", "append")


def damage(data: bytes, rng: random.Random) -> bytes:
    """One of the ways in which bytes get lost."""
    changed = bytearray(data)
    place, how = rng.randrange(len(changed)), rng.choice(HOW)
    if how == "bit":
        changed[place] ^= 1 << rng.randrange(8)
    elif how == "byte":
        changed[place] = rng.randrange(256)
    elif how == "zero":
        changed[place : place + 16] = bytes(len(changed[place : place + 16]))
    elif how == "swap":
        half, size = len(changed) // 2, min(256, len(changed) // 2)
        changed[:size], changed[half : half + size] = changed[half : half + size], changed[:size]
    elif how == "cut":
        del changed[place:]
    else:
        changed.append(place % 256)
    return bytes(changed)


VALUES = [
    None, True, -1, 0, 2**63, 1.5, 1e308, "", "x", "../../etc", [], {}, [1], {"a": 1},
    {"$tuple": []}, {"$float": "nan"}, {"$evil": 1},
]  # fmt: skip


def edited(tree: Any, rng: random.Random) -> Any:
    """A copy of JSON with one value changed or dropped."""
    tree = copy.deepcopy(tree)
    path = rng.choice(list(_places(tree)))
    parent = tree
    for name in path[:-1]:
        parent = parent[name]
    if rng.random() < 0.1:
        del parent[path[-1]]
    else:
        parent[path[-1]] = copy.deepcopy(rng.choice(VALUES))
    return tree


def _places(tree: Any, path: tuple = ()):
    items = tree.items() if isinstance(tree, dict) else enumerate(tree)
    for name, value in items:
        yield (*path, name)
        if isinstance(value, dict | list):
            yield from _places(value, (*path, name))


class Victim:
    """A copy of a saved model that is damaged and repaired again.

    Parameters
    ----------
    small : SmallModel
    folder : Path
        Where the copy is made; nothing is there yet.
    """

    def __init__(self, small: SmallModel, folder: Path) -> None:
        self.small, self.folder = small, Path(shutil.copytree(small.folder, folder))
        self.files = sorted(path for path in self.folder.rglob("*") if path.is_file())
        self._manifest = self.folder / METADATA
        self._tree = json.loads(self._manifest.read_text(encoding="utf-8"))

    def damage(self, number: int, rng: random.Random) -> str:
        """Damage one file: "refused", naming folder and file, or "same" predictions."""
        path = self.files[number % len(self.files)]
        whole = path.read_bytes()
        path.write_bytes(damage(whole, rng))
        try:
            return self._outcome(path.name)
        finally:
            path.write_bytes(whole)

    def edit(self, rng: random.Random, *, sealed: bool) -> str:
        """Edit the manifest, as an accident or as one who knows the format would.

        A sealed one is another model, which may be "taken" whatever it predicts.
        """
        whole = self._manifest.read_bytes()
        tree = edited({k: v for k, v in self._tree.items() if k != "seal" or not sealed}, rng)
        plain = (json.dumps(tree, indent=1) + "\n").encode()
        self._manifest.write_bytes(seal(tree) if sealed else plain)
        try:
            return self._outcome("", compare=not sealed)
        finally:
            self._manifest.write_bytes(whole)

    def _outcome(self, name: str, compare: bool = True) -> str:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                found = self.small.predict(self.folder)
        except (ValueError, FileNotFoundError) as error:
            message = str(error)
            if compare and not (str(self.folder) in message and name in message):
                raise AssertionError(f"the message names neither folder nor {name!r}") from error
            return "refused"
        except Exception:
            if compare:
                raise
            return "refused late"  # another model, found out when it predicts
        if not compare:
            return "taken"
        for one, two in zip(self.small.expected, found, strict=True):
            np.testing.assert_array_equal(one, two)
        return "same"
