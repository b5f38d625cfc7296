"""Writers of predictions and truth in the formats that others read."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from io import TextIOBase
from pathlib import Path
from typing import Any, Literal

import numpy as np
import scipy.sparse as sp

from .._inputs._targets import as_indicator, as_rows, narrow_indices
from .._inputs._texts import is_missing, sequence_to_list
from ._base import check_distinct
from ._files import as_id, replaced

_FORMAT_OF = {
    ".npz": "npz", ".trec": "trec", ".run": "trec", ".tsv": "tsv", ".csv": "csv",
    ".jsonl": "jsonl", "": "annif",
}  # fmt: skip
_MAX_NAME = 200  # bytes; file systems take 255, of which endings take some
_TAG = "skxmc"  # name of the run, the last word of each line of a TREC run


def save_predictions(
    path: str | os.PathLike,
    labels: Any,
    scores: Any,
    *,
    ids: Sequence[str] | None = None,
    classes: Sequence | None = None,
    label_text: Sequence | None = None,
    format: Literal["npz", "trec", "tsv", "csv", "jsonl", "annif"] | None = None,
) -> None:
    """Write ranked labels and their scores, as ``predict_topk`` returns them.

    ========  ======================  ============================================================
    format    suffix                  content
    ========  ======================  ============================================================
    npz       ``.npz``                the score matrix, csr_matrix of shape (n_samples, n_labels)
                                      and float32, as SciPy and public code for extreme
                                      classification read it; without ids
    trec      ``.trec``, ``.run``     lines ``document Q0 label rank score skxmc`` for trec_eval
                                      and others, ranks from 1
    tsv       ``.tsv``                columns document, rank, label, score, and text if
    csv       ``.csv``                `label_text` is given
    jsonl     ``.jsonl``              ``{"id": ..., "labels": [...], "scores": [...]}`` a document
    annif     none: a folder          suggestions as ``annif index`` writes them: for each
                                      document a file ``<id>.annif`` with lines
                                      ``<label>``, text and score, tabs between
    ========  ======================  ============================================================

    Parameters
    ----------
    path : path
        The file, which is replaced in one step; or the folder, in which files of the same names
        are replaced.
    labels : array of shape (n_samples, k)
        Label numbers, -1 where there is none, or label names, None where there is none.
    scores : array of shape (n_samples, k)
        The scores of `labels`.
    ids : sequence of str or int of length n_samples, optional
        Ids of the documents, which must be distinct; by default their numbers from 0.
    classes : sequence of length n_labels, optional
        Names or ids of the labels, such as ``classes_`` of a model or the URIs of a vocabulary.
        They stand for label numbers, and say which column of ``.npz`` a name is. ``.npz`` needs
        them.
    label_text : sequence of length n_labels, optional
        The labels' texts, for ``.tsv``, ``.csv`` and Annif; the first one where a label has
        several. With label names it needs `classes`.
    format : str, optional
        By default the suffix of `path` decides.

    Raises
    ------
    TypeError
        If `labels` holds neither numbers nor names.
    ValueError
        If shapes differ, a score is NaN, a label is unknown or repeated in a row, or an id cannot
        stand in the format. Nothing is written then.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> from skxmc.datasets import save_predictions
    >>> path = pathlib.Path(tempfile.mkdtemp(), "predictions.trec")
    >>> save_predictions(path, [[1, 0], [0, -1]], [[0.9, 0.2], [0.4, 0.0]], ids=["d1", "d2"],
    ...                  classes=["wool", "sheep"])
    >>> print(path.read_text())
    d1 Q0 sheep 1 0.9 skxmc
    d1 Q0 wool 2 0.2 skxmc
    d2 Q0 wool 1 0.4 skxmc
    <BLANKLINE>
    """
    path = Path(path).expanduser()
    name = _FORMAT_OF.get(path.suffix.lower()) if format is None else format
    if name is None:
        known = ", ".join(filter(None, _FORMAT_OF))
        raise ValueError(
            f"path is {str(path)!r}, whose suffix is none of {known} nor empty; set format."
        )
    if name not in _WRITERS:
        raise ValueError(f"format is {format!r}; pass one of {', '.join(_WRITERS)}.")
    _WRITERS[name](path, _collect(labels, scores, ids, classes, label_text))


def save_qrels(
    path: str | os.PathLike,
    Y: Any,
    *,
    ids: Sequence[str] | None = None,
    classes: Sequence | None = None,
) -> None:
    """Write the true labels as the relevance judgements ("qrels") of TREC.

    A line is ``document 0 label 1``; documents without labels have none.

    Parameters
    ----------
    path : path
        The file, which is replaced in one step.
    Y : indicator of shape (n_samples, n_labels), or sequence of sequences of label names
        The true labels.
    ids : sequence of str or int of length n_samples, optional
        Ids of the documents, which must be distinct; by default their numbers from 0.
    classes : sequence of length n_labels, optional
        Names or ids of the labels; by default their numbers.

    Raises
    ------
    ValueError
        If lengths differ, or an id is empty or holds a blank.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> from skxmc.datasets import save_qrels
    >>> path = pathlib.Path(tempfile.mkdtemp(), "truth.qrels")
    >>> save_qrels(path, [["sheep", "wool"], ["wool"]], ids=["d1", "d2"])
    >>> print(path.read_text())
    d1 0 sheep 1
    d1 0 wool 1
    d2 0 wool 1
    <BLANKLINE>
    """
    indicator = as_indicator(Y, "Y")
    if indicator is None:
        rows = [
            list(dict.fromkeys(as_id(name, f"a label of Y[{row}]") for name in names))
            for row, names in enumerate(as_rows(Y, "Y"))
        ]
    else:
        names = _class_ids(classes, indicator.shape[1])
        by_row = np.split(indicator.indices, indicator.indptr[1:-1])
        rows = [[names[label] for label in labels] for labels in by_row]
    documents = _document_ids(ids, len(rows))
    _check_words(documents, "ids")
    _check_words({label for labels in rows for label in labels}, "labels")
    with replaced(Path(path).expanduser()) as file:
        for document, labels in zip(documents, rows, strict=True):
            file.writelines(f"{document} 0 {label} 1\n" for label in labels)


@dataclass
class _Predictions:
    """Checked predictions: for each document the labels that are there, best first."""

    documents: list[str]
    numbers: list[list[int]] | None  # of labels, where they are known
    names: list[list[str]]
    scores: list[list[float]]
    n_labels: int | None
    texts: dict[str, str] | None  # by name

    def lines(self) -> Iterator[tuple[str, int, str, float]]:
        """Document, rank from 1, label and score."""
        for document, names, scores in zip(self.documents, self.names, self.scores, strict=True):
            for rank, (name, score) in enumerate(zip(names, scores, strict=True), start=1):
                yield document, rank, name, score


def _collect(labels: Any, scores: Any, ids: Any, classes: Any, label_text: Any) -> _Predictions:
    labels, scores = _as_table(labels, "labels"), _as_table(scores, "scores")
    if labels.shape != scores.shape:
        raise ValueError(
            f"labels has shape {labels.shape} and scores has shape {scores.shape}; pass both as "
            "predict_topk returns them."
        )
    scores = scores.astype(np.float32)
    by_number = labels.dtype.kind in "iu"
    there = labels >= 0 if by_number else ~np.array(
        [[is_missing(name) for name in row] for row in labels], dtype=bool
    ).reshape(labels.shape)  # fmt: skip
    bad = np.argwhere(there & ~np.isfinite(scores))
    if len(bad):
        row, column = bad[0]
        raise ValueError(
            f"scores[{row}, {column}] is {scores[row, column]}; pass finite scores, and no label "
            "(-1 or None) where there is none."
        )
    n_labels = None if classes is None else len(classes)
    numbers: list[list[int]] | None
    class_ids: list[str] | None
    if by_number:
        high = int(labels.max(initial=-1))
        if n_labels is not None and high >= n_labels:
            raise ValueError(f"labels holds {high}, but there are {n_labels} classes.")
        class_ids = ids_of = _class_ids(classes, high + 1 if n_labels is None else n_labels)
        numbers = [row[kept].tolist() for row, kept in zip(labels, there, strict=True)]
        names = [[ids_of[number] for number in row] for row in numbers]
    else:
        names = [
            [as_id(name, f"a label in row {number}") for name in row[kept]]
            for number, (row, kept) in enumerate(zip(labels, there, strict=True))
        ]
        class_ids = None if n_labels is None else _class_ids(classes, n_labels)
        numbers = None if class_ids is None else _look_up(names, class_ids)
    for number, row in enumerate(names):
        if len(set(row)) != len(row):
            raise ValueError(f"row {number} of labels names one label twice; pass each once.")
    return _Predictions(
        _document_ids(ids, len(labels)),
        numbers,
        names,
        [row[kept].tolist() for row, kept in zip(scores, there, strict=True)],
        n_labels,
        None if label_text is None else _text_of(label_text, class_ids),
    )


def _as_table(values: Any, argument: str) -> np.ndarray:
    try:
        table = np.asarray(values)
    except ValueError:  # rows of several lengths
        table = np.empty(0)
    if table.ndim != 2:
        raise ValueError(f"{argument} must be of shape (n_samples, k), as predict_topk returns it.")
    if argument == "scores" and table.dtype.kind not in "iuf":
        raise TypeError(f"scores has dtype {table.dtype}; pass numbers.")
    if argument == "labels" and table.dtype.kind not in "iuOU" and table.size:
        raise TypeError(
            f"labels has dtype {table.dtype}; pass label numbers (int), or names (str)."
        )
    return table if table.size or argument == "scores" else table.astype(np.int64)


def _class_ids(classes: Any, n_labels: int) -> list[str]:
    return _distinct_ids(classes, n_labels, "classes", "labels")


def _document_ids(ids: Any, n_samples: int) -> list[str]:
    return _distinct_ids(ids, n_samples, "ids", "documents")


def _distinct_ids(ids: Any, count: int, argument: str, what: str) -> list[str]:
    """The ids as str; numbers from 0 if there are none."""
    if ids is None:
        return [str(number) for number in range(count)]
    entries = sequence_to_list(ids)
    if len(entries) != count:
        raise ValueError(f"{argument} has {len(entries)} entries, but there are {count} {what}.")
    entries = [as_id(entry, f"{argument}[{number}]") for number, entry in enumerate(entries)]
    check_distinct(entries, "entries", range(count), argument)
    return entries


def _look_up(names: list[list[str]], class_ids: list[str]) -> list[list[int]]:
    number_of = {name: number for number, name in enumerate(class_ids)}
    for row, found in enumerate(names):
        for name in found:
            if name not in number_of:
                raise ValueError(
                    f"row {row} of labels has {name!r}, which is not in classes; add it there."
                )
    return [[number_of[name] for name in row] for row in names]


def _text_of(label_text: Any, class_ids: list[str] | None) -> dict[str, str]:
    texts = [entry if isinstance(entry, str) else next(iter(entry), "") for entry in label_text]
    if class_ids is None:
        raise ValueError("label_text is given with label names; pass classes, too.")
    if len(texts) < len(class_ids):
        raise ValueError(f"label_text has {len(texts)} texts, for {len(class_ids)} labels.")
    return dict(zip(class_ids, texts, strict=False))


def _check_words(names: Iterable[str], argument: str) -> None:
    for name in names:
        if any(map(str.isspace, name)):
            raise ValueError(
                f"{argument} has {name!r}; TREC separates by blanks: pass names without them."
            )


def _write_npz(path: Path, found: _Predictions) -> None:
    if found.numbers is None or found.n_labels is None:
        raise ValueError("a score matrix needs the number of labels and their order; pass classes.")
    ends = np.cumsum([0, *map(len, found.numbers)])
    columns = np.array([number for row in found.numbers for number in row], dtype=np.int64)
    values = np.array([score for row in found.scores for score in row], dtype=np.float32)
    matrix = sp.csr_array((values, columns, ends), shape=(len(ends) - 1, found.n_labels))
    matrix = narrow_indices(matrix)
    matrix.sort_indices()
    with replaced(path, "wb") as file:
        # A matrix, not an array: older SciPy, which public code pins, reads nothing else.
        sp.save_npz(file, sp.csr_matrix(matrix))


def _write_trec(path: Path, found: _Predictions) -> None:
    _check_words(found.documents, "ids")
    _check_words({name for row in found.names for name in row}, "labels")
    with replaced(path) as file:
        for document, rank, name, score in found.lines():
            file.write(f"{document} Q0 {name} {rank} {_digits(score)} {_TAG}\n")


def _digits(score: float) -> str:
    """The shortest number that reads back as the same float32."""
    return str(np.float32(score))


def _write_table(delimiter: str) -> Callable[[Path, _Predictions], None]:
    def write(path: Path, found: _Predictions) -> None:
        with replaced(path) as file:
            writer = csv.writer(file, delimiter=delimiter, lineterminator="\n")
            texts = found.texts
            writer.writerow(["document", "rank", "label", "score", *(["text"] if texts else [])])
            for document, rank, name, score in found.lines():
                more = [] if texts is None else [texts[name]]
                writer.writerow([document, rank, name, _digits(score), *more])

    return write


def _write_jsonl(path: Path, found: _Predictions) -> None:
    with replaced(path) as file:
        for document, names, scores in zip(found.documents, found.names, found.scores, strict=True):
            numbers = [float(_digits(score)) for score in scores]
            record = {"id": document, "labels": names, "scores": numbers}
            file.write(json.dumps(record, ensure_ascii=False) + "\n")


def _write_annif(path: Path, found: _Predictions) -> None:
    for document in found.documents:
        wrong = any(letter in "/\\" or not letter.isprintable() for letter in document)
        if wrong or document.startswith(".") or len(document.encode()) > _MAX_NAME:
            raise ValueError(f"ids has {document!r}, which is no name of a file; pass other ids.")
    _check_words({name for row in found.names for name in row}, "labels")
    path.mkdir(parents=True, exist_ok=True)
    for document, names, scores in zip(found.documents, found.names, found.scores, strict=True):
        with replaced(path / f"{document}.annif") as file:
            _write_suggestions(file, names, scores, found.texts or {})


def _write_suggestions(
    file: TextIOBase, names: list[str], scores: list[float], texts: dict[str, str]
) -> None:
    for name, score in zip(names, scores, strict=True):
        text = " ".join(texts.get(name, name).split())  # no tab or line break
        file.write(f"<{name}>\t{text}\t{score:.4f}\n")


_WRITERS: dict[str, Callable[[Path, _Predictions], None]] = {
    "npz": _write_npz,
    "trec": _write_trec,
    "tsv": _write_table("\t"),
    "csv": _write_table(","),
    "jsonl": _write_jsonl,
    "annif": _write_annif,
}
