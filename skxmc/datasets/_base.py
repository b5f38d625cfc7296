"""What the loaders share: the folder for data, the Bunch, groups of icons, targets."""

from __future__ import annotations

import os
import re
from collections.abc import Hashable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp
from sklearn.utils import Bunch

from .._inputs._targets import check_exclude, narrow_indices

Images = list[bytes | list[bytes] | None]

_STYLE_WORDS = frozenset(
    ("fill", "filled", "glyph", "line", "outline", "outlined", "regular", "sharp", "solid")
)


def get_data_home(data_home: str | os.PathLike | None = None) -> Path:
    """Return the folder in which data sets are cached; loaders make it when they need it.

    Parameters
    ----------
    data_home : path, optional
        The folder; by default the environment variable ``SKXMC_DATA``, else ``~/skxmc_data``.

    Returns
    -------
    data_home : Path
    """
    if data_home is None:
        data_home = os.environ.get("SKXMC_DATA") or Path("~", "skxmc_data")
    return Path(data_home).expanduser()


def icon_group(name: str) -> str:
    """Return the name of an icon in lower case without trailing style words.

    Variants of one icon ("arrow-outline", "Arrow_filled") belong to one group: a split that tears
    them apart tests on pictures that it has trained on.
    """
    words = [word for word in re.split(r"[-_/\s]+", name.lower()) if word]
    while len(words) > 1 and words[-1] in _STYLE_WORDS:
        words.pop()
    return " ".join(words)


def group_ids(groups: Iterable[Hashable]) -> np.ndarray:
    """Number groups in the order of their first appearance, int64 (n_samples,)."""
    numbers: dict[Hashable, int] = {}
    return np.array([numbers.setdefault(group, len(numbers)) for group in groups], dtype=np.int64)


def distinct_labels(labels: Iterable[Any], n_labels: int, row: int, source: Any) -> set[int]:
    """Return the labels of a row of a file without repetition, or say which one does not exist."""
    for label in labels:
        if not isinstance(label, int) or not 0 <= label < n_labels:
            raise ValueError(
                f"row {row} of {source} has the label {label!r} but there are {n_labels} labels; "
                "correct the row or add the label."
            )
    return set(labels)


def targets(labels: Sequence[Iterable[int]], n_labels: int) -> sp.csr_array:
    """Turn lists of distinct label indices into CSR, float32."""
    rows = [sorted(row) for row in labels]
    ends = np.cumsum([0, *map(len, rows)])
    indices = np.array([label for row in rows for label in row], dtype=np.int64)
    data = np.ones(len(indices), dtype=np.float32)
    return narrow_indices(sp.csr_array((data, indices, ends), shape=(len(rows), n_labels)))


def same_text_pairs(texts: Sequence[str], label_text: Sequence[str]) -> sp.csr_array:
    """Return filter pairs: the label whose text equals the document's text, bool CSR."""
    label_of = {text: label for label, text in enumerate(label_text)}
    pairs = [(row, label_of[text]) for row, text in enumerate(texts) if text in label_of]
    return check_exclude(pairs, len(texts), len(label_text))


def make_bunch(
    train: Bunch | None, test: Bunch | None, *, groups: np.ndarray | None = None, **fields: Any
) -> Bunch:
    """Join two splits, each with text, images, Y and exclude, to what the loaders return."""
    bunch = Bunch()
    for name, split in (("train", train), ("test", test)):
        for field in ("text", "images", "Y", "exclude"):
            bunch[f"{field}_{name}"] = None if split is None else split[field]
    return Bunch(**bunch, groups_train=groups, **fields)
