"""From a table of documents to a table of their labels."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .._folders._manifest import METADATA
from .._inputs._texts import check_top_k, join_texts, text_columns
from .._runtime._optional import import_optional
from ..serving import load_model

if TYPE_CHECKING:
    import pyarrow

# Models of this process by folder, state of the folder, and device: an engine may give one process
# many predictors, and the folder may hold a newer model by then.
_loaded: dict[tuple, Any] = {}

ON_ERROR = ("raise", "column")


class TablePredictor:
    """Maps a table of documents to a table of their labels.

    A callable for engines that share out work: it is pickled without the model, which each process
    loads when it gets its first table. Input and output are tables of pyarrow, which Ray, Spark,
    Dask and DuckDB read and write.

    Parameters
    ----------
    folder : path-like
        What ``save`` wrote, at a place that every worker can read.
    k : int, default=10
        Labels of a document.
    text : str or sequence of str, default="text"
        Column with the texts, or several, which are joined by ". "; lists of numbers for a model of
        ready embeddings.
    image : str or None, default=None
        Column with the pictures: paths, bytes, structs with ``bytes`` and ``path``, or lists of
        these.
    id : str or None, default="id"
        Column that stands beside the labels in the result; None leaves it out.
    return_labels : bool, default=True
        Whether labels are ids, as in ``classes_``; else they are column numbers.
    on_error : {"raise", "column"}, default="raise"
        What happens to documents that cannot be read. "column" goes on: their labels are null, and
        a column ``error`` says why.
    device : str, default="auto"
        Where to compute.
    threads : int or None, default=None
        Threads of a process; None leaves what is set. Engines with a worker for each core want 1.

    Examples
    --------
    >>> import tempfile
    >>> import pyarrow as pa
    >>> from skxmc import ViXMLClassifier
    >>> from skxmc.bulk import TablePredictor
    >>> texts = ["red apple", "green apple", "red car", "fast car", "green tree"]
    >>> tags = [["fruit", "red"], ["fruit"], ["vehicle", "red"], ["vehicle"], ["plant"]]
    >>> folder = tempfile.mkdtemp()
    >>> clf = ViXMLClassifier(train_encoder="frozen", random_state=0).fit(texts, tags)
    >>> clf.save(folder)
    >>> predict = TablePredictor(folder, k=2)
    >>> found = predict(pa.table({"id": [7, 8], "text": ["a red car", "an apple"]}))
    >>> found.column_names
    ['id', 'labels', 'scores']
    >>> [len(labels) for labels in found["labels"].to_pylist()]
    [2, 2]
    """

    def __init__(
        self,
        folder: str | os.PathLike,
        *,
        k: int = 10,
        text: str | Sequence[str] = "text",
        image: str | None = None,
        id: str | None = "id",
        return_labels: bool = True,
        on_error: str = "raise",
        device: str = "auto",
        threads: int | None = None,
    ) -> None:
        if on_error not in ON_ERROR:
            raise ValueError(f"on_error must be one of {ON_ERROR}, got {on_error!r}.")
        self.folder = os.fspath(folder)
        self.k = check_top_k(k)
        self.text = text_columns(text)
        self.image = image
        self.id = id
        self.return_labels = return_labels
        self.on_error = on_error
        self.device = device
        self.threads = threads

    def __call__(self, table: pyarrow.Table) -> pyarrow.Table:
        """Labels of the documents of a table.

        Parameters
        ----------
        table : pyarrow.Table
            Documents.

        Returns
        -------
        found : pyarrow.Table
            A row for each document, in their order: ``id``, ``labels`` (lists of strings or int64,
            best first), ``scores`` (lists of float32, probabilities), and ``error`` (string, null
            where there was none) with ``on_error="column"``.

        Raises
        ------
        KeyError
            If a column does not exist.
        TypeError, ValueError
            If a document cannot be read, with ``on_error="raise"``.
        """
        pa = import_optional("pyarrow", "parquet")
        missing = {*self.columns} - set(table.column_names)
        if missing:
            raise KeyError(
                f"the table has no column {min(missing)!r} (its columns are "
                f"{table.column_names}); name the columns by text=, image= and id=."
            )
        labels, scores, errors = self._predict(self._documents(table), self._pictures(table))
        columns = {} if self.id is None else {self.id: table[self.id]}
        kind = pa.int64() if self.gives_numbers else pa.string()
        columns["labels"] = pa.array(labels, pa.list_(kind))
        columns["scores"] = pa.array(scores, pa.list_(pa.float32()))
        if self.on_error == "column":
            columns["error"] = pa.array(errors, pa.string())
        return pa.table(columns)

    def iterate(self, batches: Iterator[pyarrow.RecordBatch]) -> Iterator[pyarrow.RecordBatch]:
        """Labels of one batch after the other, as Spark's ``mapInArrow`` calls it.

        Parameters
        ----------
        batches : iterator of pyarrow.RecordBatch
            Documents.

        Yields
        ------
        found : pyarrow.RecordBatch
            Their labels, as a call gives them.
        """
        pa = import_optional("pyarrow", "parquet")
        for batch in batches:
            yield from self(pa.Table.from_batches([batch])).to_batches()

    @property
    def columns(self) -> list[str]:
        """The columns that a table must have."""
        return [*self.text, *(name for name in (self.image, self.id) if name is not None)]

    @property
    def gives_numbers(self) -> bool:
        """Whether labels in the result are numbers, and not strings."""
        if not self.return_labels:
            return True
        # As they are in the file: to see their type, nobody has to make strings of all.
        return vars(self.model)["classes_"].dtype.kind in "iu"

    @property
    def model(self) -> Any:
        """The fitted estimator, loaded once a process."""
        folder = Path(self.folder).expanduser()
        try:
            state = (folder / METADATA).stat()
        except OSError:
            return load_model(folder, device=self.device)  # says what is wrong
        key = (str(folder.resolve()), state.st_mtime_ns, state.st_ino, self.device)
        if key not in _loaded:
            if self.threads is not None:
                _use_threads(self.threads)
            _loaded.clear()  # a worker serves one model, and an older one would stay in memory
            _loaded[key] = load_model(folder, device=self.device)
        return _loaded[key]

    def _documents(self, table: pyarrow.Table) -> list:
        columns = [table[name].to_pylist() for name in self.text]
        if len(columns) == 1:
            return columns[0]
        rows = zip(*columns, strict=True)
        return [None if None in row else join_texts(row) for row in rows]

    def _pictures(self, table: pyarrow.Table) -> list | None:
        return None if self.image is None else table[self.image].to_pylist()

    def _predict(self, X: list, images: list | None) -> tuple[list, list, list]:
        """Labels, scores and errors of documents; halves of them where one cannot be read."""
        try:
            queries: list | np.ndarray
            if self.model.encoder == "precomputed" and X:
                queries = np.array(X, dtype=np.float32)
            else:
                queries = X
            labels, scores = self.model.predict_topk(
                queries, self.k, images=images, return_labels=self.return_labels
            )
        except (TypeError, ValueError) as error:
            if self.on_error == "raise":
                raise
            if len(X) == 1:
                return [None], [None], [str(error)]
            half = len(X) // 2
            parts = [
                self._predict(X[rows], None if images is None else images[rows])
                for rows in (slice(half), slice(half, None))
            ]
            return tuple(first + second for first, second in zip(*parts, strict=True))
        there = np.isfinite(scores)
        return (
            [own[kept].tolist() for own, kept in zip(labels, there, strict=True)],
            [own[kept].tolist() for own, kept in zip(scores, there, strict=True)],
            [None] * len(X),
        )


def _use_threads(n: int) -> None:
    """Bound the threads of this process."""
    import faiss
    import torch

    torch.set_num_threads(n)
    faiss.omp_set_num_threads(n)
