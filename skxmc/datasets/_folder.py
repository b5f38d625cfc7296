"""Reader of data sets in the folder layout of JSON lines and a zip file of images."""

from __future__ import annotations

import os
import zipfile
import zlib
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
    make_split,
    targets,
)
from ._files import (
    MAX_UNPACKED_BYTES,
    MAX_UNPACKED_RATIO,
    as_folder,
    as_id,
    as_text,
    check_file,
    json_records,
)

_SUFFIX = ".jsonl.gz"
_Row = tuple[int, dict[str, Any]]  # number of its line, from 1, and the record
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
        label_parents : list of list of int, or None
            The broader labels of each label, by their columns in Y, where the source has them.
        uids_train, uids_test, label_ids : list of str or None
            Ids of documents and labels, where the source has them.
        X_train, X_test : csr_array of shape (n_samples, n_features), float32, or None
            Ready features of the documents, in place of texts or beside them.
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
        If a row refers to a label or an image that does not exist, if a file is damaged, or if it
        unpacks to more than 32 MiB and 100 times its size (a decompression bomb). The message
        names the file and the line.

    Examples
    --------
    >>> import gzip, json, pathlib, tempfile
    >>> from skxmc.datasets import load_xmc_folder
    >>> folder = pathlib.Path(tempfile.mkdtemp())
    >>> def write(name, *records):
    ...     with gzip.open(folder / f"{name}.jsonl.gz", "wt") as file:
    ...         print(*map(json.dumps, records), sep=chr(10), file=file)
    >>> write("labels", {"uid": "l1", "text": "pet"}, {"uid": "l2", "text": "dog"})
    >>> write("train", {"uid": "d1", "text": "a puppy", "labels": [0, 1]})
    >>> data = load_xmc_folder(folder)
    >>> data.text_train, data.label_text, data.Y_train.toarray().tolist()
    (['a puppy'], ['pet', 'dog'], [[1.0, 1.0]])
    """
    folder = as_folder(path)
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
        labels = _read_rows(folder / f"labels{_SUFFIX}")
        label_images = reader.read(labels, f"labels{_SUFFIX}")
        rows = {name: _read_rows(folder / f"{name}{_SUFFIX}") for name in names}
        splits = {
            name: _read_split(folder, name, rows[name], len(labels), reader) for name in names
        }
    readme = folder / "README.md"
    return make_bunch(
        splits.pop("train", None),
        splits.pop("test", None),
        groups_train=_groups(folder.name, rows.get("train")),
        label_text=_texts(labels, f"labels{_SUFFIX}"),
        label_ids=_ids(labels, f"labels{_SUFFIX}"),
        label_images=label_images,
        splits=splits,
        DESCR=_read_text(readme) if readme.is_file() else folder.name,
    )


class _ImageReader:
    """Reads images by name, each once; opens the zip file when the first one is wanted."""

    def __init__(self, path: Path):
        self.path = path
        self._archive: zipfile.ZipFile | None = None
        self._images: dict[str, bytes] = {}

    def __enter__(self) -> _ImageReader:
        return self

    def __exit__(self, *exception: object) -> None:
        if self._archive is not None:
            self._archive.close()

    def read(self, rows: list[_Row], source: str) -> Images | None:
        """Return the images of all rows, None if no row has any."""
        if not any(row.get("image") for _, row in rows):
            return None
        if self._archive is None:
            if not self.path.is_file():
                raise FileNotFoundError(
                    f"{source} names images but {self.path} does not exist; put it there."
                )
            check_file(self.path)
            try:
                self._archive = zipfile.ZipFile(self.path)
            except (zipfile.BadZipFile, NotImplementedError, EOFError, OSError) as error:
                raise ValueError(
                    f"{self.path} is not a zip file ({error}); get it again."
                ) from None
        images: Images = []
        for number, row in rows:
            names = row.get("image") or None
            place = f"line {number} of {source}"
            if isinstance(names, list):
                images.append([self._image(name, place) for name in names] or None)
            else:
                images.append(None if names is None else self._image(names, place))
        return images

    def _image(self, name: Any, place: str) -> bytes:
        if not isinstance(name, str):
            raise ValueError(
                f"{place} has the image {name!r}; name a file in {self.path.name}, or null."
            )
        if name not in self._images:
            assert self._archive is not None  # read has opened it
            try:
                member = self._archive.getinfo(name)
                if member.file_size > max(
                    MAX_UNPACKED_BYTES, MAX_UNPACKED_RATIO * member.compress_size
                ):
                    raise ValueError(f"it unpacks to {member.file_size} bytes")
                self._images[name] = self._archive.read(member)
            except KeyError:
                raise ValueError(
                    f"{place} names the image {name!r}, which is not in {self.path.name}; add it "
                    "or set the image to null."
                ) from None
            except (
                ValueError, zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, OSError,
                NotImplementedError,
            ) as error:  # fmt: skip
                raise ValueError(
                    f"{place} names the image {name!r}, which cannot be read from "
                    f"{self.path.name} ({error}); put it in again."
                ) from None
        return self._images[name]


def _read_text(path: Path) -> str:
    return path.read_text(encoding="utf-8-sig", errors="replace")


def _split_names(folder: Path) -> list[str]:
    names = [file.name.removesuffix(_SUFFIX) for file in sorted(folder.glob(f"*{_SUFFIX}"))]
    return [name for name in names if name not in _NOT_A_SPLIT and not name.startswith("filter_")]


def _read_rows(path: Path) -> list[_Row]:
    return list(json_records(path))


def _texts(rows: list[_Row], source: str) -> list[str]:
    return [
        as_text(_field(row, "text", place), f"the text in {place}")
        for row, place in ((row, f"line {number} of {source}") for number, row in rows)
    ]


def _ids(rows: list[_Row], source: str) -> list[str] | None:
    """The uids, if all rows have one."""
    if not rows or not all("uid" in row for _, row in rows):
        return None
    return [as_id(row["uid"], f"the uid in line {number} of {source}") for number, row in rows]


def _field(row: dict[str, Any], name: str, place: str) -> Any:
    if name not in row:
        raise ValueError(f"{place} has no {name!r}, only {list(row)}; add it.")
    return row[name]


def _read_split(
    folder: Path, name: str, rows: list[_Row], n_labels: int, reader: _ImageReader
) -> Bunch:
    source = f"{name}{_SUFFIX}"
    labels = [
        distinct_labels(_field(row, "labels", place), n_labels, place)
        for row, place in ((row, f"line {number} of {source}") for number, row in rows)
    ]
    filter_file = folder / f"{'filter' if name == 'test' else f'filter_{name}'}{_SUFFIX}"
    return make_split(
        text=_texts(rows, source),
        images=reader.read(rows, source),
        Y=targets(labels, n_labels),
        exclude=_read_filter(filter_file, len(rows), n_labels),
        uids=_ids(rows, source),
    )


def _read_filter(path: Path, n_rows: int, n_labels: int) -> Any:
    pairs = []
    for number, pair in _read_rows(path) if path.is_file() else ():
        place = f"line {number} of {path.name}"
        row, label = (_field(pair, name, place) for name in ("row", "label"))
        for index, size, what in ((row, n_rows, "rows"), (label, n_labels, "labels")):
            if isinstance(index, bool) or not isinstance(index, int) or not 0 <= index < size:
                raise ValueError(f"{place} is {pair}, but there are {size} {what}; correct it.")
        pairs.append((row, label))
    return check_exclude(pairs, n_rows, n_labels)


def _groups(name: str, rows: list[_Row] | None) -> Any:
    """Return group numbers where the rows or the known naming of a data set give them."""
    if rows and all("group" in row for _, row in rows):
        return group_ids(str(row["group"]) for _, row in rows)
    if rows and name == "icons":  # uid is "library:name"; the split keeps names together
        return group_ids(icon_group(str(row.get("uid", "")).partition(":")[2]) for _, row in rows)
    return None
