"""Reader of the public benchmarks: the Extreme Classification Repository and its relatives."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import scipy.sparse as sp
from sklearn.utils import Bunch

from ._base import distinct_labels, make_bunch, make_split, targets
from ._files import (
    as_folder,
    as_id,
    as_text,
    json_records,
    text_lines,
    without_last_blanks,
)
from ._image_store import read_stored_images
from ._image_vectors import read_image_vectors
from ._sparse_text import find_targets, read_filter, read_targets


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
    _Layout("{}.raw.txt", "lbl.raw.txt"),
    _Layout("X.{}.txt", "output-items.txt"),
)
# Names of the splits in files of pictures: vectors are called after the first, maps after another.
_PICTURES = {
    "train": ("trn", "train"),
    "test": ("tst", "test"),
    "label": ("lbl", "labels", "label"),
}
_TARGETS = ("{}_X_Y.txt", "{}_X_Y.npz", "Y.{}.npz")


def load_xmc_repository(
    path: str | os.PathLike,
    *,
    fields: Sequence[str] = ("title", "content"),
    max_images: int = 3,
) -> Bunch:
    """Load a public benchmark from the folder that its archive unpacks to.

    The names of the files decide how they are read. Archives of the Extreme Classification
    Repository [1]_ have JSON; ViXML [2]_, MUFIN, scripts for dual encoders and PECOS have lines of
    text beside matrices:

    ================  ===================================  =====================================
    layout            texts                                targets
    ================  ===================================  =====================================
    the repository    ``trn.json.gz``, ``tst.json.gz``,    in the texts, ``"target_ind"``
                      ``lbl.json.gz``, or without
                      ``.gz``
    dual encoders     ``raw/trn_X.txt``,                   ``trn_X_Y.txt`` (sparse text with a
                      ``raw/tst_X.txt``, ``raw/Y.txt``     header), ``trn_X_Y.npz`` or
                                                           ``Y.trn.npz`` (SciPy); so for ``tst``
    NGAME, MUFIN      ``raw_data/train.raw.txt``,          the same
                      ``raw_data/test.raw.txt``,
                      ``raw_data/label.raw.txt``
    ViXML             ``trn.raw.txt``, ``tst.raw.txt``,    the same
                      ``lbl.raw.txt``
    PECOS             ``X.trn.txt``, ``X.tst.txt``,        the same
                      ``output-items.txt``
    ================  ===================================  =====================================

    ``filter_labels_train.txt`` and ``filter_labels_test.txt``, pairs of row and label in which both
    are the same thing, are read if they are there. The test set may be missing. Where every line
    of the texts is ``uid->title``, as in MM-AmazonTitles-300K, it is taken apart.

    Pictures are read in two forms. ViXML's vectors, ``trn_embs_imgs_*.npy`` with
    ``train_imgs_*_map.npy``, ``tst`` with ``test`` and ``lbl`` with ``labels``, become
    :func:`image_vectors` on a memory map: 2.2 million documents with three pictures each take
    an index of 26 MB. The map is a pickle, of which only lists, dicts, numbers and strings are
    read. The pictures of MM-AmazonTitles-300K, ``images/img.bin`` with
    ``images/train.img.bin.npz``, become a sequence that reads a picture when it is asked for.

    Parameters
    ----------
    path : path
        The folder.
    fields : sequence of str, default=("title", "content")
        What of a JSON record makes up a text, in this order; empty and missing ones are left out.
        The benchmarks of titles, such as LF-AmazonTitles-131K, have no content.
    max_images : int, default=3
        How many pictures of a document or label are kept, the first ones.

    Returns
    -------
    data : Bunch
        As of :func:`load_xmc_folder`, without groups. ``uids_train``, ``uids_test`` and
        ``label_ids`` are there where the texts have ids. ``images_train``, ``images_test`` and
        ``label_images`` are in a form that ``fit`` takes as it is.

    Raises
    ------
    FileNotFoundError
        If the folder does not exist or has none of these layouts.
    ValueError
        If a file is not what its name says, or if numbers of rows or labels differ. The message
        names the file and the line or row.

    References
    ----------
    .. [1] K. Bhatia et al., "The extreme classification repository: Multi-label datasets and code",
       2016, http://manikvarma.org/downloads/XC/XMLRepository.html
    .. [2] D. Ortego et al., "ViXML", https://github.com/DiegoOrtego/vixml

    Examples
    --------
    >>> import json, pathlib, tempfile
    >>> from skxmc.datasets import load_xmc_repository
    >>> folder = pathlib.Path(tempfile.mkdtemp())
    >>> def write(name, *records):
    ...     with (folder / name).open("w") as file:
    ...         print(*map(json.dumps, records), sep=chr(10), file=file)
    >>> write("lbl.json", {"uid": "B1", "title": "Teapot"}, {"uid": "B2", "title": "Kettle"})
    >>> write("trn.json", {"uid": "B3", "title": "Cup", "content": "White", "target_ind": [0, 1]})
    >>> data = load_xmc_repository(folder)
    >>> data.text_train, data.label_text, data.Y_train.toarray().tolist()
    (['Cup White'], ['Teapot', 'Kettle'], [[1.0, 1.0]])
    >>> data.uids_train, data.label_ids
    (['B3'], ['B1', 'B2'])
    """
    folder = as_folder(path)
    if isinstance(fields, str):
        fields = (fields,)
    if max_images < 1:
        raise ValueError(f"max_images is {max_images}; pass at least 1.")
    texts, uids, Y = _read(folder, fields)
    images = {
        name: _read_images(folder, name, len(texts[name]), uids[name], max_images) for name in texts
    }
    splits = {
        name: make_split(
            text=texts[name],
            images=images[name],
            Y=Y[name],
            exclude=read_filter(folder / f"filter_labels_{name}.txt", Y[name].shape),
            uids=uids[name],
        )
        for name in Y
    }
    return make_bunch(
        splits["train"],
        splits.get("test"),
        label_text=texts["label"],
        label_ids=uids["label"],
        label_images=images["label"],
        DESCR=folder.name,
    )


# By split, "train", "test" where there is one, and "label": texts, ids where there are any, and the
# targets of documents.
_Content = tuple[dict[str, list[str]], dict[str, list[str] | None], dict[str, sp.csr_array]]


def read_uids(folder: Path) -> dict[str, list[str] | None]:
    """Ids by split ("train", "test" where there is one, "label"); None where texts have none.

    No file of pictures is opened.
    """
    return _read(folder, ("title", "content", "uid"))[1]


def _read(folder: Path, fields: Sequence[str]) -> _Content:
    layout = next((layout for layout in _LAYOUTS if (folder / layout.train).is_file()), None)
    if layout is None:
        names = ", ".join(layout.train for layout in _LAYOUTS)
        raise FileNotFoundError(
            f"{folder} has none of {names}; pass the folder of one benchmark, with its raw texts."
        )
    read = _read_records if layout.labels.startswith("lbl.json") else _read_lines
    return read(folder, layout, fields)


def _paths(folder: Path, layout: _Layout) -> dict[str, Path]:
    """The files of texts, by split; that of the test set may be missing."""
    train, test = (folder / layout.documents.format(split) for split in layout.splits)
    tests = {"test": test} if test.is_file() else {}
    return {"train": train, **tests, "label": folder / layout.labels}


def _read_records(folder: Path, layout: _Layout, fields: Sequence[str]) -> _Content:
    """Read JSON lines."""
    paths = _paths(folder, layout)
    texts, uids, Y = {}, {}, {}
    texts["label"], uids["label"], _ = _read_json(paths.pop("label"), fields, None)
    n_labels = len(texts["label"])
    for name, path in paths.items():
        texts[name], uids[name], rows = _read_json(path, fields, n_labels)
        Y[name] = targets(rows, n_labels)
    return texts, uids, Y


def _read_json(
    path: Path, fields: Sequence[str], n_labels: int | None
) -> tuple[list[str], list[str] | None, list[set[int]]]:
    """Texts, uids if all have one, and label numbers; those of labels have none."""
    texts, uids, rows = [], [], []
    for number, record in json_records(path, latin=True):
        place = f"line {number} of {path}"
        if not any(field in record for field in fields):
            raise ValueError(
                f"{place} has none of the fields {', '.join(fields)}, only {list(record)}; add "
                "one, or pass others as fields."
            )
        parts = [as_text(record.get(field), f"the field {field!r} of {place}") for field in fields]
        texts.append(" ".join(part for part in parts if part))
        if "uid" in record:
            uids.append(as_id(record["uid"], f"the uid in {place}"))
        if n_labels is not None:
            if "target_ind" not in record:
                raise ValueError(
                    f'{place} has no "target_ind"; add it, [] for a document without labels.'
                )
            rows.append(distinct_labels(record["target_ind"], n_labels, place))
    return texts, uids if len(uids) == len(texts) else None, rows


def _read_lines(folder: Path, layout: _Layout, fields: Sequence[str]) -> _Content:
    """Read lines of text beside matrices; `fields` is not used."""
    paths = _paths(folder, layout)
    lines = {name: [line.strip() for line in text_lines(path, latin=True)]
             for name, path in paths.items()}  # fmt: skip
    Y, sources = {}, {}
    for name, short in ("train", "trn"), ("test", "tst"):
        if name in paths:
            sources[name] = find_targets(folder, tuple(file.format(short) for file in _TARGETS))
            Y[name] = read_targets(sources[name])
            without_last_blanks(lines[name], Y[name].shape[0])
    without_last_blanks(lines["label"], Y["train"].shape[1])
    for name, matrix in Y.items():
        if matrix.shape != (len(lines[name]), len(lines["label"])):
            raise ValueError(
                f"{sources[name]} is for {matrix.shape[0]} documents and {matrix.shape[1]} labels, "
                f"but {paths[name]} has {len(lines[name])} lines and {paths['label']} has "
                f"{len(lines['label'])}; the files must be of one data set."
            )
    return *_take_uids_off(lines), Y


def _take_uids_off(
    lines: dict[str, list[str]],
) -> tuple[dict[str, list[str]], dict[str, list[str] | None]]:
    """Take ``uid->title`` apart if every line of every file is of this form."""
    parts = {name: [line.partition("->") for line in rows] for name, rows in lines.items()}
    if all(
        uid and arrow and not any(map(str.isspace, uid))
        for rows in parts.values()
        for uid, arrow, _ in rows
    ):
        texts = {name: [text.strip() for *_, text in rows] for name, rows in parts.items()}
        return texts, {name: [uid for uid, *_ in rows] for name, rows in parts.items()}
    return lines, dict.fromkeys(lines)


def _read_images(
    folder: Path, name: str, n_items: int, uids: list[str] | None, max_images: int
) -> Any:
    images = read_image_vectors(folder, _PICTURES[name], n_items, uids, max_images)
    return images or read_stored_images(folder, name, n_items, max_images)
