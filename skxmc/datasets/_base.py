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


def distinct_labels(labels: Any, n_labels: int, place: str) -> set[int]:
    """Return the label numbers of a record of a file: a list, one number, or null for none."""
    if labels is None:
        return set()
    if not isinstance(labels, list):
        labels = [labels]
    for label in labels:
        if isinstance(label, bool) or not isinstance(label, int) or not 0 <= label < n_labels:
            raise ValueError(
                f"{place} has the label {label!r} but there are {n_labels} labels, numbered from "
                "0; correct the row or add the label."
            )
    return set(labels)


def number_names(
    rows: Sequence[Iterable[str]], names: Sequence[str] | None = None
) -> tuple[list[list[int]], list[str]]:
    """Turn rows of label names into rows of numbers, and return the names in their order.

    `names` are those that must be known; by default the sorted names of the rows.
    """
    if names is None:
        names = sorted({name for row in rows for name in row})
    number_of = {name: number for number, name in enumerate(names)}
    return [sorted({number_of[name] for name in row}) for row in rows], list(names)


def check_distinct(ids: Sequence[str], what: str, places: Sequence[int], source: Any) -> None:
    """Raise if an id stands twice; `places` are the lines or rows of the ids in `source`."""
    first: dict[str, int] = {}
    for name, place in zip(ids, places, strict=True):
        if first.setdefault(name, place) != place:
            raise ValueError(
                f"{what} {first[name]} and {place} of {source} have the same id {name!r}; ids must "
                "be distinct: drop or rename one of them."
            )


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


class DataSet(Bunch):
    """What the loaders return: a Bunch of scikit-learn that says in a line what it holds."""

    def __repr__(self) -> str:
        parts = []
        for split, documents in (("train", "training"), ("test", "test")):
            Y = self.get(f"Y_{split}")
            if Y is not None:
                parts.append(f"{Y.shape[0]:,} {documents} documents")
                n_labels = Y.shape[1]
        if parts:
            parts.append(f"{n_labels:,} labels")
        keys = [key for key, value in self.items() if value is not None and key != "DESCR"]
        return f"<{', '.join(parts) or 'nothing'}; keys: {', '.join(keys)}>"


_SPLIT_FIELDS = ("text", "X", "images", "Y", "exclude", "uids")


def make_split(**fields: Any) -> Bunch:
    """Return a split with all its fields, None where one is not given."""
    return Bunch(**dict.fromkeys(_SPLIT_FIELDS) | fields)


def make_bunch(
    train: Bunch | None,
    test: Bunch | None,
    *,
    label_text: Sequence | None,
    DESCR: str,
    **fields: Any,
) -> DataSet:
    """Join two splits, as of :func:`make_split`, to what the loaders return.

    `fields` are any of groups_train, label_ids, label_images, label_parents and splits.
    """
    bunch = Bunch()
    for name, split in (("train", train), ("test", test)):
        for field in _SPLIT_FIELDS:
            bunch[f"{field}_{name}"] = None if split is None else split[field]
    missing = dict.fromkeys(("groups_train", "label_ids", "label_images", "label_parents"))
    given = {**missing, "splits": {}, **fields}
    return DataSet(**bunch, label_text=label_text, DESCR=DESCR, **given)
