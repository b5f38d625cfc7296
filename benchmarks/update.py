"""Documents that come after the fit: a model before and after partial_fit, and a refit.

``--data icons`` is six icon libraries with habits of their own. A frozen ViXMLClassifier is fitted
on the documents of the libraries in ``--old``, and the documents of the others are added. The uid
of a document begins with its library, as in ``mdi:home``. Labels come by name: those that only new
documents have are unknown before. ``--part stream`` lets them come in blocks, one library after the
other.
"""

from __future__ import annotations

import argparse
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse as sp

from skxmc.metrics import precision_at_k

from . import _stream
from ._data import add_data, load
from ._report import apart, command, make_estimator, parameter, table


@dataclass
class _Rows:
    """Some documents: texts, pictures or None, names of labels; truth and filtered pairs."""

    texts: list[str]
    images: list[Any] | None
    names: list[list[str]]
    truth: sp.csr_array
    exclude: sp.csr_array | None

    @classmethod
    def of(cls, data: Any, split: str, rows: np.ndarray, images: bool) -> _Rows:
        """Those of a split."""
        names, Y = np.asarray(data.label_text, dtype=object), data[f"Y_{split}"]
        exclude = data[f"exclude_{split}"]
        return cls(
            [data[f"text_{split}"][row] for row in rows],
            [data[f"images_{split}"][row] for row in rows] if images else None,
            [names[Y.indices[Y.indptr[row] : Y.indptr[row + 1]]].tolist() for row in rows],
            Y[rows],
            None if exclude is None else exclude[rows],
        )

    def take(self, rows: np.ndarray) -> _Rows:
        """Some of them."""
        images = None if self.images is None else [self.images[row] for row in rows]
        exclude = None if self.exclude is None else self.exclude[rows]
        texts, names = ([part[row] for row in rows] for part in (self.texts, self.names))
        return _Rows(texts, images, names, self.truth[rows], exclude)

    def precision(self, model: Any, columns: dict[str, int]) -> float:
        """P@1 of a model; pairs that the data set filters are left out."""
        column = np.array([columns[name] for name in model.classes_])
        known = None if self.exclude is None else self.exclude[:, column]
        best, _ = model.predict_topk(self.texts, k=1, images=self.images, exclude=known)
        found = np.where(best < 0, -1, column[best])
        return precision_at_k(self.truth, found, k=1, exclude=self.exclude)


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Fit on the old documents, add the others, and fit on all of them."""
    from skxmc import ViXMLClassifier

    data = load(options.data, options.folder)
    images = options.images and data.images_train is not None
    parts = {}
    for split in ("train", "test"):
        libraries = np.array([uid.partition(":")[0] for uid in data[f"uids_{split}"]])
        is_old = np.isin(libraries, options.old)
        for name, rows in ("old", is_old), ("new", ~is_old), ("both", is_old | True):
            parts[name, split] = _Rows.of(data, split, np.flatnonzero(rows), images)
    columns = {name: column for column, name in enumerate(data.label_text)}
    old, new, both = (parts[name, "train"] for name in ("old", "new", "both"))
    result: dict[str, Any] = {
        "data": options.data,
        "documents": {name: len(part.texts) for name, part in (("old", old), ("new", new))},
        "ways": {},
    }

    def note(way: str, model: Any, seconds: float, encoding: float) -> None:
        result["ways"][way] = {
            "new": parts["new", "test"].precision(model, columns),
            "old": parts["old", "test"].precision(model, columns),
            "labels": len(model.classes_),
            "cpu_seconds": seconds,
            "encoding_cpu_seconds": encoding,
        }

    params = {"train_encoder": "frozen", "random_state": 0, **dict(options.param)}
    model = make_estimator(ViXMLClassifier, params)
    seconds = _cpu_seconds(model.fit, old.texts, old.names, images=old.images)
    note("fitted on old", model, seconds, _encoding(model, old))
    seconds = 0.0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # a refit may be due: it follows
        for rows in np.array_split(np.arange(len(new.texts)), options.calls):
            some = new.take(rows)
            seconds += _cpu_seconds(model.partial_fit, some.texts, some.names, images=some.images)
    note("partial_fit", model, seconds, _encoding(model, new))
    model = make_estimator(ViXMLClassifier, params)
    seconds = _cpu_seconds(model.fit, both.texts, both.names, images=both.images)
    note("refit on all", model, seconds, _encoding(model, both))
    return result


def _cpu_seconds(function: Callable, *arguments: Any, **named: Any) -> float:
    """Seconds of this process in a call: others on the machine do not count."""
    started = time.process_time()
    function(*arguments, **named)
    return time.process_time() - started


def _encoding(model: Any, rows: _Rows) -> float:
    """What of the seconds the encoders took: they encode once more."""
    return _cpu_seconds(model.transform, rows.texts, images=rows.images)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this benchmark."""
    add_data(parser, "icons")
    add = parser.add_argument
    add("--part", choices=["libraries", "stream"], default="libraries", help="what is measured")
    add("--old", nargs="+", default=["mdi", "tabler"], metavar="LIBRARY",
        help="whose documents are fitted on; those of all others are added")  # fmt: skip
    add("--calls", type=int, default=1, help="calls of partial_fit that the new documents make")
    add("--images", action=argparse.BooleanOptionalAction, default=True, help="use pictures")
    add("--param", action="append", type=parameter, default=[], metavar="NAME=VALUE",
        help="parameter of the estimator, such as label_vectors__anchor=1; repeatable")  # fmt: skip
    _stream.add_arguments(parser)


def run(options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Measure, in a process of its own."""
    part = {"libraries": measure, "stream": _stream.measure}[options.part]
    yield {"part": options.part, **apart(part, options)}


def markdown(results: list[dict[str, Any]]) -> str:
    """Return what was measured, a row for each way."""
    parts = []
    for result in results:
        if result["part"] == "stream":
            parts.append(_stream.markdown(result))
            continue
        documents = result["documents"]
        parts.append(
            f"{result['data']}: fitted on {documents['old']:,} documents, {documents['new']:,} "
            "added. CPU seconds, and what of these the encoders take."
        )
        rows = [
            [
                way,
                f"{100 * found['new']:.1f}",
                f"{100 * found['old']:.1f}",
                f"{found['labels']:,}",
                f"{found['cpu_seconds']:.1f}",
                f"{found['encoding_cpu_seconds']:.1f}",
            ]
            for way, found in result["ways"].items()
        ]
        header = ["model", "P@1 on new", "P@1 on old", "labels", "seconds", "of these encoding"]
        parts.append(table(header, rows, left=1))
    return "\n\n".join(parts)


def main(arguments: list[str] | None = None) -> None:
    """Measure and print."""
    command(sys.modules[__name__], arguments)


if __name__ == "__main__":
    main()
