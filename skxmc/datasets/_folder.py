"""Reader of data sets in the folder layout of JSON lines and a zip file of images."""

from __future__ import annotations

import gzip
import json
import os
import zipfile
from pathlib import Path
from typing import Any

from sklearn.utils import Bunch

from .._inputs._targets import check_exclude
from ._base import (
    Images,
    distinct_labels,
    group_ids,
    icon_group,
    make_bunch,
    targets,
)

_SUFFIX = ".jsonl.gz"
_NOT_A_SPLIT = ("labels", "label_extra", "filter")


def load_xmc_folder(path: str | os.PathLike, *, split: str | None = None) -> Bunch:
    """Load a data set from a folder.

    The folder holds ``labels.jsonl.gz`` with one object ``{"uid", "text", "image"}`` a label;
    ``<split>.jsonl.gz`` with one object ``{"uid", "text", "labels", "image"}`` a document, `labels`
    being indices of labels and `image` the name of a file in ``images.zip``, a list of names or
    null; ``filter.jsonl.gz`` (of the test set) and ``filter_<split>.jsonl.gz`` with filter pairs
    ``{"row", "label"}``; and ``README.md``.

    Parameters
    ----------
    path : path
        The folder.
    split : str, optional
        Read this split only: ``"train"``, ``"test"``, or another one that the folder has. By
        default all are read.

    Returns
    -------
    data : Bunch
        text_train, text_test : list of str
            The documents.
        images_train, images_test : list of bytes or None
            One entry for each document: the file's bytes, None, or a list of bytes for several
            images. None as a whole when the split has no images.
        Y_train, Y_test : csr_array of shape (n_samples, n_labels), float32
            The targets.
        exclude_train, exclude_test : csr_array of shape (n_samples, n_labels), bool
            Filter pairs, in which the label is the document itself: drop them from predictions
            and truth. Empty if the folder lists none.
        label_text : list of str
            The labels' texts.
        label_images : list of bytes or None
            The labels' images, like those of documents.
        groups_train : int array of shape (n_samples,) or None
            The group of each training document that the split between training and test set kept
            together (icons of one name); None where it is not known.
        splits : dict of str to Bunch
            Other splits, each with text, images, Y and exclude.
        DESCR : str
            Where the data come from and under which licences.

        Fields of the training or test set are None if it was not read or does not exist.

    Raises
    ------
    FileNotFoundError
        If the folder, ``labels.jsonl.gz``, the wanted split or ``images.zip`` does not exist.
    ValueError
        If a row refers to a label or an image that does not exist.
    """
    folder = Path(path).expanduser()
    if not folder.is_dir():
        raise FileNotFoundError(f"path is {str(path)!r}, which is not a folder; pass one that is.")
    if not (folder / f"labels{_SUFFIX}").is_file():
        raise FileNotFoundError(
            f"{folder} has no file labels{_SUFFIX}; pass the folder of one data set."
        )
    names = _split_names(folder)
    if split is not None:
        if split not in names:
            raise FileNotFoundError(
                f"{folder} has no file {split}{_SUFFIX}; split is one of {names}, or None for all."
            )
        names = [split]
    with _ImageReader(folder / "images.zip") as reader:
        labels = _read_lines(folder / f"labels{_SUFFIX}")
        label_images = reader.read(labels, f"labels{_SUFFIX}")
        rows = {name: _read_lines(folder / f"{name}{_SUFFIX}") for name in names}
        splits = {
            name: _read_split(folder, name, rows[name], len(labels), reader) for name in names
        }
    readme = folder / "README.md"
    return make_bunch(
        splits.pop("train", None),
        splits.pop("test", None),
        groups=_groups(folder.name, rows.get("train")),
        label_text=[label["text"] for label in labels],
        label_images=label_images,
        splits=splits,
        DESCR=readme.read_text(encoding="utf-8") if readme.is_file() else folder.name,
    )


class _ImageReader:
    """Reads images by name; opens the zip file when the first one is wanted."""

    def __init__(self, path: Path):
        self.path = path
        self._archive: zipfile.ZipFile | None = None

    def __enter__(self) -> _ImageReader:
        return self

    def __exit__(self, *exception: object) -> None:
        if self._archive is not None:
            self._archive.close()

    def read(self, rows: list[dict[str, Any]], source: str) -> Images | None:
        """Return the images of all rows, None if no row has any."""
        if not any(row.get("image") for row in rows):
            return None
        if self._archive is None:
            if not self.path.is_file():
                raise FileNotFoundError(
                    f"{source} names images but {self.path} does not exist; put it there."
                )
            self._archive = zipfile.ZipFile(self.path)
        images: Images = []
        for number, row in enumerate(rows):
            names = row.get("image") or None
            try:
                if isinstance(names, list):
                    images.append([self._archive.read(name) for name in names])
                else:
                    images.append(None if names is None else self._archive.read(names))
            except KeyError:
                raise ValueError(
                    f"row {number} of {source} names the image {names!r}, which is not in "
                    f"{self.path.name}; add it or set the image to null."
                ) from None
        return images


def _split_names(folder: Path) -> list[str]:
    names = [file.name.removesuffix(_SUFFIX) for file in sorted(folder.glob(f"*{_SUFFIX}"))]
    return [name for name in names if name not in _NOT_A_SPLIT and not name.startswith("filter_")]


def _read_lines(path: Path) -> list[dict[str, Any]]:
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def _read_split(
    folder: Path, name: str, rows: list[dict[str, Any]], n_labels: int, reader: _ImageReader
) -> Bunch:
    labels = [
        distinct_labels(row["labels"], n_labels, number, f"{name}{_SUFFIX}")
        for number, row in enumerate(rows)
    ]
    filter_file = folder / ("filter" if name == "test" else f"filter_{name}")
    filter_file = filter_file.with_name(filter_file.name + _SUFFIX)
    pairs = _read_lines(filter_file) if filter_file.is_file() else []
    return Bunch(
        text=[row["text"] for row in rows],
        images=reader.read(rows, f"{name}{_SUFFIX}"),
        Y=targets(labels, n_labels),
        exclude=check_exclude(
            [(pair["row"], pair["label"]) for pair in pairs], len(rows), n_labels
        ),
    )


def _groups(name: str, rows: list[dict[str, Any]] | None) -> Any:
    """Return group numbers where the rows or the known naming of a data set tell them."""
    if rows and all("group" in row for row in rows):
        return group_ids(row["group"] for row in rows)
    if rows and name == "icons":  # uid is "library:name"; the split keeps names together
        return group_ids(icon_group(row["uid"].partition(":")[2]) for row in rows)
    return None
