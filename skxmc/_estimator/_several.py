"""A fit that several processes share: what they agree on, and how all get the model."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.base import clone
from sklearn.utils import check_random_state

from .._folders._content import readings, write_content
from .._ranking._ranker import Ranker
from .._runtime import group
from ..evidence import Evidence
from ._tuning import TrainingData


def agree_on_random_state(random_state: Any) -> np.random.RandomState:
    """The random numbers of a fit, the same in all processes.

    Raises
    ------
    RuntimeError
        If a launcher has started several processes that are no group.
    """
    group.require_group()
    if group.size() == 1:
        return check_random_state(random_state)
    if random_state is None:
        return np.random.RandomState(group.same(np.random.randint(2**31)))
    rng = check_random_state(random_state)
    rng.set_state(group.same(rng.get_state(legacy=False)))
    return rng


def check_same_data(data: TrainingData) -> None:
    """Raise ValueError in all processes if they were not given the same documents and labels."""
    if group.size() > 1 and not group.all_equal(_digest(data)):
        raise ValueError(
            "the processes were given different documents, labels or pairs of them; pass all of "
            "them, in the same order, in each process: fit shares out the work by itself."
        )


def check_shared_folder(memory: Any) -> str | None:
    """Where the first process may leave files for the others; None without a `memory`.

    Raises
    ------
    RuntimeError
        In all processes, if one of them does not see what the first one has written.
    """
    if group.size() == 1:
        return None
    place = getattr(memory, "location", memory)
    folder = group.first(lambda: _make_folder(place))
    is_seen = group.all_equal(Path(folder).is_dir())  # the first one sees it
    if group.rank() == 0:
        shutil.rmtree(folder, ignore_errors=True)
    if not is_seen:
        raise RuntimeError(
            f"not all processes see the folder {folder!r}, by which they get the fitted model from "
            "the first one; set memory= to a folder that all machines share, or TMPDIR."
        )
    return place


def build_for_all(
    build: Callable[[], Ranker], kinds: list[Evidence], setting: Any, place: str | None
) -> Ranker:
    """A ranker that the first process builds; the others map what it has saved.

    Parameters
    ----------
    build : callable
        Gives the fitted ranker.
    kinds : list of Evidence
        Unfitted, as the ranker takes them.
    setting : Setting
        Of this process.
    place : str or None
        Folder that all processes see.
    """
    if group.size() == 1:
        return build()
    built: list[Ranker] = []

    def build_and_write() -> str:
        built.append(build())
        folder = _make_folder(place)
        write_content(Path(folder), {"ranker": built[0].state_dict()})
        return folder

    folder = group.first(build_and_write)
    try:
        ranker = built[0] if built else _read(Path(folder), kinds, setting)
        group.all_equal(None)  # waits until all have read
    finally:
        if built:  # what is mapped stays until the last process lets go of it
            shutil.rmtree(folder, ignore_errors=True)
    return ranker


def _read(folder: Path, kinds: list[Evidence], setting: Any) -> Ranker:
    for reading in readings(folder):
        with reading as content:
            ranker = Ranker.from_state(content["ranker"], [clone(kind) for kind in kinds])
    ranker.move_to(setting.device, setting.precision)
    return ranker


def _make_folder(place: str | None) -> str:
    if place is not None:
        Path(place).mkdir(parents=True, exist_ok=True)
    return tempfile.mkdtemp(prefix="skxmc-", dir=place)


def _digest(data: TrainingData) -> str:
    """A hash of all that is learned from but for pictures, of which it has the number."""
    found = hashlib.sha256()
    if isinstance(data.X, np.ndarray):
        found.update(np.ascontiguousarray(data.X))
    else:
        for text in data.X:
            found.update(text.encode("utf-8", "surrogatepass") + b"\0")
    for matrix in (data.Y, data.exclude):
        if matrix is not None:
            found.update(np.ascontiguousarray(matrix.indptr))
            found.update(np.ascontiguousarray(matrix.indices))
    for texts in data.label_text or []:
        found.update("\1".join(texts).encode("utf-8", "surrogatepass") + b"\0")
    for images in (data.images, data.label_images):
        if images is not None:
            found.update(np.ascontiguousarray(images.index))
    return found.hexdigest()
