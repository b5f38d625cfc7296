"""Reader of svmlight files with several labels, as napkinXC, Omikuji and fastXML use them."""

from __future__ import annotations

import os
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Literal

import numpy as np
import scipy.sparse as sp
from sklearn.utils import Bunch

from .._inputs._targets import as_indicator, narrow_indices
from ._base import make_bunch, make_split
from ._files import text_lines, without_last_blanks

_MAX_INDEX = 2**31 - 2  # a mistyped index must not make a matrix of any width


def load_svmlight_xmc(
    train: str | os.PathLike,
    test: str | os.PathLike | None = None,
    *,
    label_text: str | os.PathLike | Sequence[str] | None = None,
    zero_based: bool | Literal["auto"] = "auto",
) -> Bunch:
    """Load svmlight files with several labels a document.

    A line is ``label,label feature:value feature:value``; a document without labels begins with a
    blank. The first line may be the header of the Extreme Classification Repository, numbers of
    documents, features and labels. A ``#`` begins a comment. Files packed by gzip are read, too.

    Parameters
    ----------
    train : path
        The training set.
    test : path, optional
        The test set.
    label_text : path or sequence of str, optional
        The labels' texts, in a file one a line.
    zero_based : bool or "auto", default="auto"
        Whether the first label and the first feature are 0 or 1. ``"auto"`` decides for labels
        and for features alone: 0 where a 0 is found in one of the files. Otherwise a header
        decides, which the largest index must fit, and 0 is taken if both do. Without a header it
        is 1, as in scikit-learn.

    Returns
    -------
    data : Bunch
        As of :func:`load_xmc_folder`, without texts, images, groups and ids. ``X_train`` and
        ``X_test`` are csr_array of shape (n_samples, n_features), float32.

    Raises
    ------
    FileNotFoundError
        If a file does not exist.
    ValueError
        If a line is not of this form, an index lies outside of what the header states, or the
        number of documents is another one. The message names the file and the line.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> from skxmc.datasets import load_svmlight_xmc
    >>> path = pathlib.Path(tempfile.mkdtemp(), "train.txt")
    >>> _ = path.write_text('''2 4 3
    ... 0,2 0:0.5 3:1
    ... 1 1:2
    ... ''')
    >>> data = load_svmlight_xmc(path)
    >>> data.X_train.toarray()
    array([[0.5, 0. , 0. , 1. ],
           [0. , 2. , 0. , 0. ]], dtype=float32)
    >>> data.Y_train.toarray()
    array([[1., 0., 1.],
           [0., 1., 0.]], dtype=float32)
    """
    if zero_based not in (True, False, "auto"):
        raise ValueError(f"zero_based is {zero_based!r}; pass True, False or 'auto'.")
    parts = {"train": _read(Path(train).expanduser())}
    if test is not None:
        parts["test"] = _read(Path(test).expanduser())
    texts = _read_label_text(label_text)
    base = _base(parts, "features", zero_based)
    label_base = _base(parts, "labels", zero_based)
    n_features = _width(parts, "features", base)
    n_labels = _width(parts, "labels", label_base)
    if texts is not None and len(texts) != n_labels:
        stated = any(part.header is not None for part in parts.values())
        if stated or len(texts) < n_labels:
            raise ValueError(
                f"label_text has {len(texts)} texts, but there are {n_labels} labels in {train}; "
                "pass one text for each label."
            )
        n_labels = len(texts)  # the last labels have no document
    splits = {
        name: make_split(
            X=part.features(base, n_features),
            Y=part.targets(label_base, n_labels),
            exclude=sp.csr_array((len(part), n_labels), dtype=bool),
        )
        for name, part in parts.items()
    }
    return make_bunch(splits["train"], splits.get("test"), label_text=texts, DESCR=Path(train).name)


@dataclass
class _Part:
    """A file as it was read: indices as they stand there."""

    path: Path
    header: tuple[int, int, int] | None
    label_ends: array
    feature_ends: array
    indices: dict[str, array]  # of "labels" and "features"
    values: array

    def __len__(self) -> int:
        return len(self.label_ends) - 1

    def add_empty(self, count: int) -> None:
        """Add documents without labels and features."""
        for ends in (self.label_ends, self.feature_ends):
            ends.extend([ends[-1]] * count)

    def features(self, base: int, n_columns: int) -> sp.csr_array:
        columns = np.asarray(self.indices["features"]) - base
        X = sp.csr_array(
            (np.asarray(self.values), columns, np.asarray(self.feature_ends)),
            shape=(len(self), n_columns),
        )
        X.sum_duplicates()
        return narrow_indices(X)

    def targets(self, base: int, n_columns: int) -> sp.csr_array:
        columns = np.asarray(self.indices["labels"]) - base
        ones = np.ones(len(columns), dtype=bool)  # bool: a repeated label counts once
        Y = sp.csr_array((ones, columns, np.asarray(self.label_ends)), shape=(len(self), n_columns))
        Y.sum_duplicates()
        return as_indicator(Y)


def _read(path: Path) -> _Part:
    lines = enumerate(text_lines(path), start=1)
    first = next(lines, (1, ""))
    part = _Part(
        path, _read_header(first[1]), array("q", [0]), array("q", [0]),
        {"labels": array("q"), "features": array("q")}, array("f"),
    )  # fmt: skip
    blank = 0  # lines that are documents without anything, or behind the last document
    for number, line in lines if part.header else chain([first], lines):
        if not line.strip():
            blank += 1
            continue
        part.add_empty(blank)
        blank = 0
        try:
            _read_line(line.partition("#")[0], part)
        except (ValueError, OverflowError) as error:
            raise ValueError(
                f"line {number} of {path} is not label,label feature:value ... ({error}); correct "
                "it."
            ) from None
    if part.header is not None:
        n_documents = part.header[0]
        part.add_empty(min(blank, n_documents - len(part)))
        if len(part) != n_documents:
            raise ValueError(
                f"{path} has {len(part)} documents, and {n_documents} by its first line; it may be "
                "cut off."
            )
    return part


def _read_header(line: str) -> tuple[int, int, int] | None:
    words = line.split()
    if len(words) != 3 or not all(word.isascii() and word.isdigit() for word in words):
        return None
    n_documents, n_features, n_labels = map(int, words)
    return n_documents, n_features, n_labels


def _read_line(line: str, part: _Part) -> None:
    words = line.split()
    labels = part.indices["labels"]
    if words and not line[0].isspace() and ":" not in words[0]:
        for label in words.pop(0).split(","):
            if label:
                labels.append(_index(label))
    for word in words:
        index, colon, value = word.partition(":")
        number = float(value) if colon else 1.0
        if not np.isfinite(number):
            raise ValueError(f"the value {value} is not finite")
        part.indices["features"].append(_index(index))
        part.values.append(number)
    part.label_ends.append(len(labels))
    part.feature_ends.append(len(part.values))


def _index(word: str) -> int:
    index = int(word)
    if not 0 <= index <= _MAX_INDEX:
        raise ValueError(f"the index {word} lies outside of 0 to {_MAX_INDEX}")
    return index


_HEADER_PLACE = {"features": 1, "labels": 2}


def _base(parts: dict[str, _Part], kind: str, zero_based: bool | str) -> int:
    """The number of the first column."""
    if zero_based != "auto":
        return 0 if zero_based else 1
    indices = [np.asarray(part.indices[kind]) for part in parts.values()]
    if any((column == 0).any() for column in indices):
        return 0
    sizes = [part.header[_HEADER_PLACE[kind]] for part in parts.values() if part.header]
    if not sizes:
        return 1
    return int(max(column.max(initial=0) for column in indices) >= max(sizes))


def _width(parts: dict[str, _Part], kind: str, base: int) -> int:
    """The number of columns: what the headers state, or as many as are found."""
    place = _HEADER_PLACE[kind]
    stated = {part.header[place] for part in parts.values() if part.header}
    if len(stated) > 1:
        raise ValueError(
            f"{' and '.join(str(part.path) for part in parts.values())} state different numbers of "
            f"{kind}, {sorted(stated)}, in their first lines; they must be of one data set."
        )
    found = 0
    for part in parts.values():
        indices = np.asarray(part.indices[kind])
        low, high = indices.min(initial=base), indices.max(initial=base - 1)
        if low < base or (stated and high - base >= min(stated)):
            wrong = low if low < base else high
            ends = part.label_ends if kind == "labels" else part.feature_ends
            row = int(np.searchsorted(ends, np.flatnonzero(indices == wrong)[0], side="right")) - 1
            raise ValueError(
                f"document {row} of {part.path} has the index {wrong} of {kind}, outside of "
                f"{base} to {min(stated) - 1 + base if stated else 'the last'}; correct it, or "
                "set zero_based."
            )
        found = max(found, int(high) - base + 1)
    return min(stated) if stated else found


def _read_label_text(label_text: str | os.PathLike | Sequence[str] | None) -> list[str] | None:
    if label_text is None:
        return None
    if isinstance(label_text, (str, os.PathLike)):
        lines = text_lines(Path(label_text).expanduser(), latin=True)
        return without_last_blanks([line.strip() for line in lines])
    return list(label_text)
