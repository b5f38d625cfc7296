"""Documents of the command line: the one place that knows the readers and writers."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp
from sklearn.utils import Bunch

from ..datasets import (
    load_annif,
    load_table,
    load_xmc_folder,
    load_xmc_repository,
    save_predictions,
)

# Of save_predictions. A folder of files for Annif is left out: it has no suffix to know it by.
SUFFIXES = (".csv", ".tsv", ".jsonl", ".npz", ".trec", ".run")


@dataclass(frozen=True, eq=False)
class Documents:
    """What a reader found.

    Attributes
    ----------
    texts : list of str
    images : sequence or None
    Y : csr_array of shape (n_documents, n_labels)
    exclude : csr_array of the same shape, or None
    ids : list of str or None
        Of the documents.
    label_ids : list of str
        Distinct names of the labels.
    label_text : list of str
        What they say.
    """

    texts: list[str]
    images: Any
    Y: sp.csr_array
    exclude: sp.csr_array | None
    ids: list[str] | None
    label_ids: list[str]
    label_text: list[str]

    def label_names(self) -> list[list[str]]:
        """The labels of each document by name."""
        rows = np.split(self.Y.indices, self.Y.indptr[1:-1])
        return [[self.label_ids[label] for label in row] for row in rows]


def read_documents(options: argparse.Namespace, split: str) -> Documents:
    """Read the documents that the options of the command line name.

    Parameters
    ----------
    options : Namespace
        As of ``_arguments``.
    split : {"train", "test"}
        Which part is wanted of data that has both.

    Raises
    ------
    ValueError
        If the data has no texts or no such part, or a file is damaged.
    FileNotFoundError
        If there is no such file.
    """
    kind = options.format or _kind_of(options)
    if kind == "annif" and options.vocabulary is None:
        raise ValueError("a corpus of Annif needs its subjects; pass --vocabulary FILE.")
    data = _READERS[kind](options)
    if options.split is not None:
        split = options.split
    elif data.text_test is None:
        split = "train"
    texts = data[f"text_{split}"]
    if texts is None:
        raise ValueError(f"{options.data} has no texts in its {split} part; pass other data.")
    exclude = data[f"exclude_{split}"]
    names, label_text = _labels_of(data)
    return Documents(
        texts,
        data[f"images_{split}"],
        data[f"Y_{split}"],
        exclude if exclude is not None and exclude.nnz else None,
        data[f"uids_{split}"],
        names,
        label_text,
    )


def _kind_of(options: argparse.Namespace) -> str:
    if options.vocabulary is not None:
        return "annif"
    path = Path(options.data).expanduser()
    if not path.is_dir():
        return "table"
    return "folder" if (path / "labels.jsonl.gz").is_file() else "repository"


def _read_table(options: argparse.Namespace) -> Bunch:
    labels = getattr(options, "labels", None)
    return load_table(
        options.data,
        text=options.text,
        labels=labels,
        label_sep=options.label_sep if labels else None,
        images=options.images,
        id=options.id,
        missing_images=options.missing_images,
    )


_READERS = {
    "table": _read_table,
    "annif": lambda options: load_annif(
        options.data, options.vocabulary, language=options.language
    ),
    "repository": lambda options: load_xmc_repository(options.data),
    "folder": lambda options: load_xmc_folder(options.data),
}


def _labels_of(data: Bunch) -> tuple[list[str], list[str]]:
    """Distinct names of the labels, and their texts: all of them where a label has several."""
    n_labels = data.Y_train.shape[1]
    if data.label_text is None:
        raise ValueError("the labels of the data have no texts; pass data that has them.")
    texts = [text if isinstance(text, str) else ", ".join(text) for text in data.label_text]
    ids = data.label_ids
    if ids is None:  # two labels may have the same text
        ids = texts if len(set(texts)) == n_labels else [str(number) for number in range(n_labels)]
    return list(ids), texts


def check_output_file(path: str) -> None:
    """See that predictions can be written, before they are made.

    Raises
    ------
    ValueError
        If the suffix is none of those that are written.
    FileNotFoundError
        If the folder does not exist.
    """
    file = Path(path).expanduser()
    if file.suffix.lower() not in SUFFIXES:
        raise ValueError(f"--output is {path!r}, whose suffix is none of {', '.join(SUFFIXES)}.")
    if not file.parent.is_dir():
        raise FileNotFoundError(f"--output is {path!r}, but there is no folder for it; make it.")


def write_predictions(
    path: str, labels: np.ndarray, scores: np.ndarray, ids: Sequence[str] | None, model: Any
) -> None:
    """Write label numbers and scores in the format that the suffix says."""
    names = model.classes_.tolist()
    texts = model.label_text
    if texts is not None and (len(texts) != len(names) or list(texts) == names):
        texts = None
    save_predictions(path, labels, scores, ids=ids, classes=names, label_text=texts)
