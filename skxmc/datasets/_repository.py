"""Reader of the public benchmarks: the Extreme Classification Repository and its relatives."""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp
from sklearn.utils import Bunch

from .._inputs._targets import as_indicator, check_exclude
from ._base import distinct_labels, make_bunch, targets


@dataclass(frozen=True)
class _Layout:
    """Names of the files with the texts; {} stands for one of `splits`."""

    documents: str
    labels: str
    splits: tuple[str, str] = ("trn", "tst")

    @property
    def train(self) -> str:
        return self.documents.format(self.splits[0])


# Texts with their targets come first; the others have lines of texts beside a matrix.
_LAYOUTS = (
    _Layout("{}.json.gz", "lbl.json.gz"),
    _Layout("{}.json", "lbl.json"),
    _Layout("raw/{}_X.txt", "raw/Y.txt"),
    _Layout("raw_data/{}.raw.txt", "raw_data/label.raw.txt", ("train", "test")),
    _Layout("X.{}.txt", "output-items.txt"),
)
_TARGETS = ("{}_X_Y.txt", "{}_X_Y.npz", "Y.{}.npz")


def load_xmc_repository(
    path: str | os.PathLike, *, fields: Sequence[str] = ("title", "content")
) -> Bunch:
    """Load a public benchmark from the folder that its archive unpacks to.

    The files are told by their names. Archives of the Extreme Classification Repository [1]_ have
    JSON, scripts for dual encoders and PECOS lines of text beside matrices:

    ================  ===================================  =====================================
    layout            texts                                targets
    ================  ===================================  =====================================
    the repository    ``trn.json.gz``, ``tst.json.gz``,    in the texts, ``"target_ind"``
                      ``lbl.json.gz``, or without
                      ``.gz``
    dual encoders     ``raw/trn_X.txt``,                   ``trn_X_Y.txt`` (sparse text with a
                      ``raw/tst_X.txt``, ``raw/Y.txt``     header), ``trn_X_Y.npz`` or
                                                           ``Y.trn.npz`` (SciPy); so for ``tst``
    dual encoders     ``raw_data/train.raw.txt``,          the same
                      ``raw_data/test.raw.txt``,
                      ``raw_data/label.raw.txt``
    PECOS             ``X.trn.txt``, ``X.tst.txt``,        the same
                      ``output-items.txt``
    ================  ===================================  =====================================

    ``filter_labels_train.txt`` and ``filter_labels_test.txt``, pairs of row and label in which both
    are the same thing, are read if they are there. The test set may be missing.

    Parameters
    ----------
    path : path
        The folder.
    fields : sequence of str, default=("title", "content")
        What of a JSON record makes up a text, in this order; empty and missing ones are left out.
        The benchmarks of titles, such as LF-AmazonTitles-131K, have no content.

    Returns
    -------
    data : Bunch
        As of :func:`load_xmc_folder`, without images and groups.

    Raises
    ------
    FileNotFoundError
        If the folder does not exist or has none of these layouts.
    ValueError
        If a file is not what its name says, or if numbers of rows or labels differ.

    References
    ----------
    .. [1] K. Bhatia et al., "The extreme classification repository: Multi-label datasets and code",
       2016, http://manikvarma.org/downloads/XC/XMLRepository.html

    Examples
    --------
    >>> import json, pathlib, tempfile
    >>> from skxmc.datasets import load_xmc_repository
    >>> folder = pathlib.Path(tempfile.mkdtemp())
    >>> def write(name, *records):
    ...     with (folder / name).open("w") as file:
    ...         print(*map(json.dumps, records), sep=chr(10), file=file)
    >>> write("lbl.json", {"title": "Teapot"}, {"title": "Kettle"})
    >>> write("trn.json", {"title": "Tea cup", "content": "White", "target_ind": [0, 1]})
    >>> data = load_xmc_repository(folder)
    >>> data.text_train, data.label_text, data.Y_train.toarray().tolist()
    (['Tea cup White'], ['Teapot', 'Kettle'], [[1.0, 1.0]])
    """
    folder = Path(path).expanduser()
    if not folder.is_dir():
        raise FileNotFoundError(f"path is {str(path)!r}, which is not a folder; pass one that is.")
    if isinstance(fields, str):
        fields = (fields,)
    layout = next((layout for layout in _LAYOUTS if (folder / layout.train).is_file()), None)
    if layout is None:
        names = ", ".join(layout.train for layout in _LAYOUTS)
        raise FileNotFoundError(
            f"{folder} has none of {names}; pass the folder of one benchmark, with its raw texts."
        )
    of_json = layout.labels.startswith("lbl.json")
    if of_json:
        labels = [_text_of(record, fields) for _, record in _records(folder / layout.labels)]
    else:
        labels = list(_lines(folder / layout.labels))
    splits: list[Bunch | None] = []
    for name, short, own in zip(("train", "test"), ("trn", "tst"), layout.splits, strict=True):
        path = folder / layout.documents.format(own)
        if not path.is_file():
            splits.append(None)
            continue
        if of_json:
            texts, Y = _read_records(path, fields, len(labels))
        else:
            texts = list(_lines(path))
            source, Y = _read_targets(folder, short)
            if Y.shape != (len(texts), len(labels)):
                raise ValueError(
                    f"{source} is for {Y.shape[0]} documents and {Y.shape[1]} labels, but {path} "
                    f"has {len(texts)} lines and {folder / layout.labels} has {len(labels)}; the "
                    "files must be of one data set."
                )
        exclude = _read_filter(folder / f"filter_labels_{name}.txt", Y.shape)
        splits.append(Bunch(text=texts, images=None, Y=Y, exclude=exclude))
    return make_bunch(*splits, label_text=labels, label_images=None, splits={}, DESCR=folder.name)


def _read_records(
    path: Path, fields: Sequence[str], n_labels: int
) -> tuple[list[str], sp.csr_array]:
    texts, rows = [], []
    for number, record in _records(path):
        texts.append(_text_of(record, fields))
        rows.append(distinct_labels(record.get("target_ind") or (), n_labels, number, path))
    return texts, targets(rows, n_labels)


def _lines(path: Path) -> Iterator[str]:
    """Lines of a text file; most are UTF-8, and some of the benchmarks Latin-1."""
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist; put it beside the other files.")
    with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
        for line in file:
            try:
                text = line.decode("utf-8")
            except UnicodeDecodeError:
                text = line.decode("latin-1")
            yield text.rstrip("\r\n").strip(" ")


def _records(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Numbers and records of a file of JSON lines."""
    for number, line in enumerate(_lines(path)):
        try:
            record = json.loads(line)
        except json.JSONDecodeError as error:
            raise ValueError(f"row {number} of {path} is not JSON ({error}); mend it.") from None
        if not isinstance(record, dict):
            raise ValueError(f"row {number} of {path} is not a record; it needs title and so on.")
        yield number, record


def _text_of(record: dict[str, Any], fields: Sequence[str]) -> str:
    parts = (str(record.get(field) or "").strip() for field in fields)
    return " ".join(part for part in parts if part)


def _read_targets(folder: Path, split: str) -> tuple[Path, sp.csr_array]:
    for name in _TARGETS:
        path = folder / name.format(split)
        if path.is_file():
            break
    else:
        names = ", ".join(name.format(split) for name in _TARGETS)
        raise FileNotFoundError(f"{folder} has none of {names}; put the targets there.")
    Y = sp.load_npz(path) if path.suffix == ".npz" else _read_sparse(path)
    return path, as_indicator(Y.astype(bool))


def _read_sparse(path: Path) -> sp.csr_array:
    """Sparse text: a header ``rows columns``, and a line ``column:value column:value`` a row."""
    # scikit-learn's reader of this format leaves out the lines of rows that have no pair.
    lines = _lines(path)
    try:
        n_rows, n_columns = map(int, next(lines, "").split())
    except ValueError:
        raise ValueError(f"{path} needs numbers of rows and columns in its first line.") from None
    columns, values, ends = [], [], [0]
    for number, line in enumerate(lines):
        try:
            for pair in line.split():
                column, value = pair.split(":")
                columns.append(int(column))
                values.append(float(value))
        except ValueError:
            raise ValueError(
                f"row {number} of {path} is not made of pairs column:value; correct it."
            ) from None
        if any(not 0 <= column < n_columns for column in columns[ends[-1] :]):
            raise ValueError(
                f"row {number} of {path} has a column outside of the {n_columns} that the first "
                "line says; correct one of them."
            )
        ends.append(len(columns))
    if len(ends) != n_rows + 1:
        raise ValueError(
            f"{path} has {len(ends) - 1} rows, and {n_rows} by its first line; it may be cut off."
        )
    columns, values = np.array(columns, dtype=np.int64), np.array(values, dtype=np.float32)
    return sp.csr_array((values, columns, np.array(ends)), shape=(n_rows, n_columns))


def _read_filter(path: Path, shape: tuple[int, int]) -> sp.csr_array:
    pairs = []
    for number, line in enumerate(_lines(path) if path.is_file() else ()):
        try:
            pairs += [tuple(map(int, line.split()))] if line else []
        except ValueError:
            raise ValueError(f"row {number} of {path} is not a pair of numbers.") from None
    try:
        return check_exclude(pairs, *shape)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
