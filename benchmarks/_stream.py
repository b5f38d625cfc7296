"""Documents of one library after the other: learned from as they come, or not, or fitted again."""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

from ._data import load
from ._report import make_estimator, table


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Prequential P@1 of a model that stays, one that learns, and one that is fitted again."""
    from skxmc import ViXMLClassifier
    from skxmc.model_selection import prequential_score

    data = load(options.data, options.folder)
    libraries = np.array([uid.partition(":")[0] for uid in data.uids_train])
    order = np.argsort(libraries, kind="stable")[:: options.every]
    names, Y = np.asarray(data.label_text, dtype=object), data.Y_train
    texts = [data.text_train[row] for row in order]
    tags = [names[Y.indices[Y.indptr[row] : Y.indptr[row + 1]]].tolist() for row in order]
    images = None
    if options.images and data.images_train is not None:
        images = [data.images_train[row] for row in order]
    params = {"train_encoder": "frozen", "random_state": 0, **dict(options.param)}

    def refit(model: Any, rows: slice, score: float) -> None:
        before, after = (end - options.first for end in (rows.start, rows.stop))
        if after // options.refit > before // options.refit:
            more = {} if images is None else {"images": images[: rows.stop]}
            model.fit(texts[: rows.stop], tags[: rows.stop], **more)

    ways: dict[str, Callable[..., Any] | None] = {
        "static": lambda model, rows, score: None,
        "partial_fit": None,
        f"refit each {options.refit:,}": refit,
    }
    result: dict[str, Any] = {
        "data": options.data,
        "documents": len(order),
        "first": options.first,
        "libraries": list(dict.fromkeys(libraries[order].tolist())),
        "ways": {},
    }
    for way, update in ways.items():
        started = time.process_time()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # refits that are due
            found = prequential_score(
                make_estimator(ViXMLClassifier, params), texts, tags, images=images,
                block_size=options.block, first=options.first, window=2000, update=update,
            )  # fmt: skip
        result["ways"][way] = {
            "score": found.score,
            "last": float(found.window_scores[-1]),
            "cpu_seconds": time.process_time() - started,
        }
    return result


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this part."""
    add = parser.add_argument
    add("--first", type=int, default=1000, help="documents that the stream's model is fitted on")
    add("--block", type=int, default=250, help="documents of a block of the stream")
    add("--refit", type=int, default=2000, help="documents after which a refit follows")
    add("--every", type=int, default=1, help="take each so-manyth document of the stream")


def markdown(result: dict[str, Any]) -> str:
    """Return what was measured, a row for each way."""
    head = (
        f"{result['data']}: {result['documents']:,} documents in order of their libraries "
        f"({', '.join(result['libraries'])}), fitted on the first {result['first']:,}. "
        "Prequential P@1, over all and over the last 2,000."
    )
    rows = [
        [way, f"{100 * own['score']:.1f}", f"{100 * own['last']:.1f}", f"{own['cpu_seconds']:.0f}"]
        for way, own in result["ways"].items()
    ]
    return head + "\n\n" + table(["model", "P@1", "of the last", "CPU seconds"], rows, left=1)
