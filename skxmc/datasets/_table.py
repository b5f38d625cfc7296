"""Reader of tables: CSV, TSV, JSON lines, Parquet and data frames."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import scipy.sparse as sp
from sklearn.utils import Bunch

from .._inputs._values import is_blank, is_missing, sequence_to_list
from .._runtime._optional import import_optional
from ._base import check_distinct, make_bunch, make_split, number_names, targets
from ._delimited import delimited_rows
from ._files import as_id, as_text, check_file, json_records, max_unpacked

_DELIMITERS = {".csv": ",", ".tsv": "\t", ".tab": "\t"}
_JSON = (".jsonl", ".ndjson")
_PARQUET = (".parquet", ".pq")
_SHOWN = 5  # missing pictures that a message names


def load_table(
    table: Any,
    *,
    text: str | Sequence[str],
    labels: str | None,
    label_sep: str | None = "|",
    text_sep: str = " ",
    images: str | None = None,
    id: str | None = None,
    test: Any = None,
    missing_images: Literal["raise", "warn", "ignore"] = "raise",
) -> Bunch:
    """Load a table with texts, delimited labels, pictures and ids.

    Parameters
    ----------
    table : path, DataFrame or mapping of columns
        A file in UTF-8 with the suffix ``.csv``, ``.tsv``, ``.jsonl`` (``.gz`` may follow) or
        ``.parquet`` (needs the extra ``parquet``), the first line of CSV and TSV being the names
        of the columns; or a DataFrame of pandas or polars, or a Table of pyarrow.
    text : str or sequence of str
        The column with the texts. Of several the texts are joined in this order, stripped and
        without the empty ones, with `text_sep` between them.
    labels : str or None
        The column with the labels: a text with `label_sep` between labels, or a list. Labels are
        stripped, and empty or repeated ones are dropped; nothing at all is a document without
        labels. None if the table has no such column, as where labels are to be predicted.
    label_sep : str or None, default="|"
        What separates labels; None if a text is a single label.
    text_sep : str, default=" "
        What separates the texts of several columns.
    images : str, optional
        The column with pictures: a path, a list of paths, or nothing. Paths in a file are
        relative to its folder. Columns of bytes are taken as they are.
    id : str, optional
        The column with the ids of the documents, which must be distinct.
    test : path, DataFrame or mapping of columns, optional
        Another table with the same columns: the test set.
    missing_images : {"raise", "warn", "ignore"}, default="raise"
        What to do about paths at which there is no file: with the other two, such pictures are
        left out.

    Returns
    -------
    data : Bunch
        As of :func:`load_xmc_folder`, without exclude pairs and groups. ``label_text`` and
        ``label_ids`` are the distinct labels of both tables, sorted. Pictures are paths.

    Raises
    ------
    FileNotFoundError
        If a file does not exist.
    ImportError
        If the table is in Parquet and pyarrow is not installed.
    TypeError
        If `table` is none of these.
    ValueError
        If a column does not exist, a row has another number of cells than there are columns, a
        cell holds something else, an id is missing or repeated, or pictures are missing. The
        message names the file and the row.

    Notes
    -----
    A picture's path may lead anywhere, and ``fit`` reads what it leads to: read no tables of
    strangers with `images` on a machine with files that they must not see.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> from skxmc.datasets import load_table
    >>> path = pathlib.Path(tempfile.mkdtemp(), "shop.csv")
    >>> _ = path.write_text('''sku,title,description,tags
    ... 001,Tea cup,White,kitchen|ceramic
    ... 002,Kettle,,kitchen||steel
    ... ''')
    >>> data = load_table(path, text=["title", "description"], labels="tags", id="sku")
    >>> data.text_train, data.uids_train
    (['Tea cup White', 'Kettle'], ['001', '002'])
    >>> data.label_text
    ['ceramic', 'kitchen', 'steel']
    >>> data.Y_train.toarray()
    array([[1., 1., 0.],
           [0., 1., 1.]], dtype=float32)
    """
    if missing_images not in ("raise", "warn", "ignore"):
        raise ValueError(f"missing_images is {missing_images!r}; pass 'raise', 'warn' or 'ignore'.")
    if label_sep == "":
        raise ValueError("label_sep is empty; pass None if a text is a single label.")
    texts = [text] if isinstance(text, str) else list(text)
    if not texts:
        raise ValueError("text names no column; pass one or more.")
    columns = [*texts, *(name for name in (labels, images, id) if name is not None)]
    parts = {}
    for name, source in (("train", table), ("test", test)):
        if source is not None:
            argument = "table" if name == "train" else "test"
            part = _read_table(source, columns, argument)
            parts[name] = Bunch(
                text=_join_texts(part, texts, text_sep),
                labels=_split_labels(part, labels, label_sep),
                images=None if images is None else _find_images(part, images, missing_images),
                uids=None if id is None else _read_ids(part, id),
            )
    _, names = number_names([row for part in parts.values() for row in part.labels])
    splits = {}
    for name, part in parts.items():
        Y = targets(number_names(part.labels, names)[0], len(names))
        splits[name] = make_split(
            text=part.text, images=part.images, uids=part.uids, Y=Y,
            exclude=sp.csr_array(Y.shape, dtype=bool),
        )  # fmt: skip
    is_path = isinstance(table, (str, os.PathLike))
    return make_bunch(
        splits["train"],
        splits.get("test"),
        label_text=names,
        label_ids=list(names),
        DESCR=Path(table).name if is_path else "",
    )


class _Part:
    """Columns of a table, and how a message calls it and its rows."""

    def __init__(self, columns: dict[str, list], source: str, rows: Sequence[int], word: str):
        self.columns = columns
        self.source = source
        self.rows = rows  # numbers of the rows as the user counts them
        self.word = word
        self.folder: Path | None = None

    def cells(self, name: str) -> Iterator[tuple[str, Any]]:
        """Places, for messages, and cells of a column; None for what is missing."""
        for row, cell in zip(self.rows, self.columns[name], strict=True):
            place = f"column {name!r} in {self.word} {row} of {self.source}"
            yield place, None if _is_missing(cell) else cell


def _is_missing(cell: Any) -> bool:
    return is_missing(cell) or is_blank(cell)


def _read_table(table: Any, columns: list[str], argument: str) -> _Part:
    if not isinstance(table, (str, os.PathLike)):
        return _read_frame(table, columns, argument)
    path = Path(table).expanduser()
    suffix = Path(path.stem).suffix.lower() if path.suffix == ".gz" else path.suffix.lower()
    if suffix in _DELIMITERS:
        part = _read_delimited(path, columns, _DELIMITERS[suffix])
    elif suffix in _JSON:
        part = _read_json(path, columns)
    elif suffix in _PARQUET:
        part = _read_parquet(path, columns)
    else:
        known = ", ".join((*_DELIMITERS, *_JSON, *_PARQUET))
        raise ValueError(
            f"{argument} is {str(table)!r}, whose suffix is none of {known}; rename the file, or "
            "read it with pandas and pass the DataFrame."
        )
    part.folder = path.parent
    return part


def _check_columns(columns: list[str], names: Sequence[str], source: str) -> None:
    for name in columns:
        count = list(names).count(name)
        if count != 1:
            problem = "no column" if count == 0 else "several columns"
            raise ValueError(f"{source} has {problem} {name!r}, its columns are {list(names)}.")


def _read_frame(table: Any, columns: list[str], argument: str) -> _Part:
    source = f"{argument} ({type(table).__name__})"
    if hasattr(table, "collect"):
        raise TypeError(f"{argument} is a {type(table).__name__}; collect it first.")
    if isinstance(table, dict):
        names = list(table)
    elif hasattr(table, "column_names"):  # pyarrow, whose columns are not names
        names = list(table.column_names)
    elif hasattr(table, "columns") and hasattr(table, "__getitem__"):
        names = list(table.columns)
    else:
        raise TypeError(f"{argument} is a {type(table).__name__}; pass a path or a DataFrame.")
    _check_columns(columns, names, source)
    content = {name: sequence_to_list(table[name]) for name in columns}
    lengths = {len(column) for column in content.values()}
    if len(lengths) > 1:
        raise ValueError(f"the columns of {source} have different lengths, {sorted(lengths)}.")
    return _Part(content, source, range(lengths.pop()), "row")


def _read_delimited(path: Path, columns: list[str], delimiter: str) -> _Part:
    rows = delimited_rows(path, delimiter)
    _, names = next(rows)
    _check_columns(columns, names, str(path))
    positions = {name: names.index(name) for name in columns}
    content: dict[str, list] = {name: [] for name in columns}
    lines = []
    for number, cells in rows:
        lines.append(number)
        for name, position in positions.items():
            content[name].append(cells[position])
    return _Part(content, str(path), lines, "line")


def _read_json(path: Path, columns: list[str]) -> _Part:
    content: dict[str, list] = {name: [] for name in columns}
    lines = []
    for number, record in json_records(path):
        lines.append(number)
        for name in columns:
            if name not in record:
                raise ValueError(
                    f"line {number} of {path} has no {name!r}, only {list(record)}; add it, null "
                    "for nothing."
                )
            content[name].append(record[name])
    return _Part(content, str(path), lines, "line")


def _read_parquet(path: Path, columns: list[str]) -> _Part:
    parquet = import_optional("pyarrow.parquet", "parquet")
    arrow = import_optional("pyarrow", "parquet")
    check_file(path)
    try:
        with parquet.ParquetFile(path) as file:
            _check_columns(columns, file.schema_arrow.names, str(path))
            groups = [file.metadata.row_group(number) for number in range(file.num_row_groups)]
            n_bytes = max(file.metadata.num_rows, sum(group.total_byte_size for group in groups))
            limit = max_unpacked(path.stat().st_size)
            if n_bytes > limit:
                raise ValueError(
                    f"{path} unpacks to more than {limit} bytes (it may be a decompression bomb); "
                    "if you trust it, read it with pandas and pass the DataFrame."
                )
            content = file.read(columns=list(dict.fromkeys(columns)))
    except (arrow.ArrowException, OSError) as error:
        raise ValueError(f"{path} is not a Parquet file ({error}); get it again.") from None
    part = _read_frame(content, columns, "table")
    part.source = str(path)
    return part


def _join_texts(part: _Part, names: list[str], separator: str) -> list[str]:
    joined = []
    for cells in zip(*(part.cells(name) for name in names), strict=True):
        texts = (as_text(_as_python(cell), place) for place, cell in cells)
        joined.append(separator.join(text for text in texts if text))
    return joined


def _as_python(cell: Any) -> Any:
    return cell.item() if isinstance(cell, np.generic) else cell


def _split_labels(part: _Part, name: str | None, separator: str | None) -> list[list[str]]:
    if name is None:
        return [[] for _ in part.rows]
    rows = []
    for place, cell in part.cells(name):
        if cell is None:
            found = []
        elif isinstance(cell, str):
            found = [cell] if separator is None else cell.split(separator)
        elif isinstance(cell, (list, tuple, set, frozenset, np.ndarray)):
            found = sequence_to_list(cell)
        else:
            found = [cell]
        texts = (as_id(label, f"a label of {place}") for label in found if not _is_missing(label))
        rows.append(list(dict.fromkeys(texts)))
    return rows


def _read_ids(part: _Part, name: str) -> list[str]:
    ids = [as_id(cell, place) for place, cell in part.cells(name)]
    check_distinct(ids, f"{part.word}s", part.rows, part.source)
    return ids


def _find_images(part: _Part, name: str, missing: str) -> list[Any]:
    """Pictures as `fit` takes them; paths that lead to no file are reported together."""
    images, lost = [], []
    for (place, cell), row in zip(part.cells(name), part.rows, strict=True):
        found: list[bytes | str] = []
        for entry in cell if isinstance(cell, (list, tuple, np.ndarray)) else [cell]:
            if _is_missing(entry):
                continue
            if isinstance(entry, bytes):
                found.append(entry)
                continue
            if not isinstance(entry, (str, os.PathLike)):
                raise ValueError(f"{place} is {entry!r}; pass a path, a list of paths or nothing.")
            path = Path(entry).expanduser()
            path = path if part.folder is None else part.folder / path
            if _is_file(path):
                found.append(str(path))
            else:
                lost.append(f"{os.fspath(entry)!r} in {part.word} {row}")
        is_list = isinstance(cell, (list, tuple, np.ndarray))
        images.append((found or None) if is_list else (found[0] if found else None))
    if lost and missing != "ignore":
        shown = ", ".join(lost[:_SHOWN]) + (", ..." if len(lost) > _SHOWN else "")
        message = f"{part.source} names {len(lost)} pictures that are no files: {shown}"
        if missing == "raise":
            raise ValueError(f"{message}; put them there, or set missing_images='warn'.")
        warnings.warn(f"{message}; they are left out.", UserWarning, stacklevel=3)
    return images


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):  # a name too long, or with a zero character
        return False
