"""Embeddings of texts, tokenisation included, against sentence-transformers' own ``encode``.

Every data set is encoded by both in turns, in a process of its own; the cosine between the two
embeddings of a text says that nothing is lost. ``words`` are texts of ten words drawn from those
of the first data set.
"""

import argparse
import sys
from collections.abc import Callable, Iterator
from itertools import product
from typing import Any

import numpy as np

from skxmc._estimator._parameters import BACKENDS

from ._data import add_data, load, texts_of_words
from ._report import (
    apart,
    command,
    interleaved,
    of_backend,
    peak_gb,
    ratio,
    repeats,
    show,
    spread,
    table,
)

WORDS = "words"


def texts_of(name: str, options: argparse.Namespace) -> list[str]:
    """A sample of a data set's documents, or texts of ten of their words."""
    rng = np.random.default_rng(0)
    if name == WORDS:
        first = next(name for name in [*options.data, "fontawesome"] if name != WORDS)
        return texts_of_words(load(first, options.folder).text_train, options.texts)
    texts = load(name, options.folder).text_train
    rows = rng.permutation(len(texts))[: options.texts]
    return [texts[row] for row in rows]


def measure(name: str, options: argparse.Namespace) -> list[dict[str, Any]]:
    """All encoders on one data set, in turns."""
    import torch
    from sentence_transformers import SentenceTransformer

    from skxmc._backbones._sources import find_model
    from skxmc._runtime._device import precision_name
    from skxmc._towers._text import load_text_tower

    texts = texts_of(name, options)
    folder = str(find_model(options.encoder).path)
    tower = load_text_tower(folder, max_length=options.max_length).eval()
    contestants: dict[str, Callable[[], np.ndarray]] = {}
    for word in options.plain:
        model = SentenceTransformer(folder, device="cpu", model_kwargs={"dtype": word})
        model.max_seq_length = tower.max_length
        contestants[f"sentence-transformers, {word}"] = lambda model=model: model.encode(
            texts, show_progress_bar=False
        )
    for word, backend in product(options.precision, options.backend):
        word = precision_name(word, torch.device("cpu"))
        dtype = getattr(torch, word)
        serving = tower.for_serving(dtype, backend)
        way = of_backend(f"skxmc, {word}", backend)
        contestants[way] = lambda serving=serving, dtype=dtype: serving.encode(
            serving.items(texts), precision=dtype
        )
    seconds = interleaved(contestants, options.repeats)
    reference, *_ = contestants
    expected = _unit(contestants[reference]())
    tokens = float(tower.tokenize(texts).lengths.mean())
    results = []
    for contestant, encode in contestants.items():
        cosines = np.vecdot(_unit(encode()), expected)
        results.append(
            {
                "data": name,
                "texts": len(texts),
                "distinct": len(set(texts)),
                "tokens": tokens,
                "way": contestant,
                "documents_per_second": spread(len(texts) / lap for lap in seconds[contestant]),
                "ratio": ratio(seconds[reference], seconds[contestant]),
                "min_cosine": float(cosines.min()),
                "mean_cosine": float(cosines.mean()),
            }
        )
    return [{**result, "peak_gb": peak_gb()} for result in results]


def _unit(embeddings: np.ndarray) -> np.ndarray:
    embeddings = np.asarray(embeddings, dtype=np.float64)
    return embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this benchmark."""
    add_data(parser, "icons", several=True)
    parser.set_defaults(data=["icons", "debian", WORDS])
    add = parser.add_argument
    add("--encoder", default="sentence-transformers/all-MiniLM-L6-v2", help="name or folder")
    add("--texts", type=int, default=2000, help="documents of each data set, at most")
    add("--max-length", type=int, default=None, help="longest text in tokens")
    add("--precision", nargs="+", default=["auto"], help="precisions of skxmc")
    add("--backend", nargs="+", default=["torch"], choices=BACKENDS, help="what runs skxmc")
    add("--plain", nargs="+", default=["float32"],
        help="precisions of sentence-transformers, of which float32 is the default; the first is "
        "what the others are compared with")  # fmt: skip
    add("--repeats", type=repeats, default=3)


def run(options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Measure one data set after the other."""
    for name in options.data:
        yield from apart(measure, name, options)


def markdown(results: list[dict[str, Any]]) -> str:
    """Return the table of all data sets."""
    header = ["data", "way", "texts", "distinct", "tokens", "documents/s", "times as fast"]
    header += ["least cosine", "mean cosine", "peak GB"]
    rows = [
        [
            result["data"],
            result["way"],
            f"{result['texts']:,}",
            f"{result['distinct']:,}",
            f"{result['tokens']:.1f}",
            show(result["documents_per_second"], 0),
            show(result["ratio"]),
            f"{result['min_cosine']:.5f}",
            f"{result['mean_cosine']:.5f}",
            f"{result['peak_gb']:.2f}",
        ]
        for result in results
    ]
    return table([*header], rows)


def main(arguments: list[str] | None = None) -> None:
    """Measure and print."""
    command(sys.modules[__name__], arguments)


if __name__ == "__main__":
    main()
