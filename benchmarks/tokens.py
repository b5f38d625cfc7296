"""Encoders trained through the score of single tokens, against those trained by cosine.

Both are tuned on the same batches by a plain loop. Each of them, and the encoder as it was, then
scores the test documents by cosine, by tokens and by the mean of both, with vectors of the labels'
texts and with prototypes. ``--data esco --joined`` has sentences that mention several labels; all
splits of a folder are tests. No pictures are used.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator
from itertools import product
from typing import Any

import numpy as np
import scipy.sparse as sp
from sklearn.utils import Bunch

from ._data import add_data, join_training_documents, load
from ._report import apart, command, peak_gb, table

DEPTH = 10
METRICS = ("P@1", "P@5", "RP@5", "MRR@10", "PSP@5")
# What the encoder as it was is called, among the ways to train.
UNTUNED = "untuned"
WAYS = ("cosine", "tokens")
# Filter pairs have this score.
_OUT = np.float32(-np.inf)

# Of each test: for each scoring (vectors of labels, score) the figures, a row for each document.
Figures = dict[str, dict[tuple[str, str], np.ndarray]]


# --- figures ---


def document_figures(
    truth: sp.csr_array, best: np.ndarray, exclude: sp.csr_array | None, propensities: np.ndarray
) -> np.ndarray:
    """METRICS of each document that has a label, (n, 5); their means are those of the data set."""
    from skxmc.metrics._inputs import read_ranking
    from skxmc.metrics._propensity import propensity_gains

    ranking = read_ranking(truth, best, DEPTH, exclude=exclude)
    kept = ranking.weight > 0
    hits = np.cumsum(ranking.hits, axis=1)
    gains, reachable = propensity_gains(ranking, propensities)
    reachable = reachable[kept, :5].sum() / np.count_nonzero(kept)
    columns = (
        hits[:, 0],
        hits[:, 4] / 5,
        hits[:, 4] / ranking.n_reachable[:, 4],
        (ranking.hits / ranking.depth).max(axis=1),
        gains[:, :5].sum(axis=1) / reachable,
    )
    return np.column_stack(columns)[kept]


def tests_of(data: Bunch) -> dict[str, Bunch]:
    """The test documents of a data set, by the name of their file."""
    fields = ("text", "Y", "exclude")
    found = {} if data.Y_test is None else {"test": {f: data[f"{f}_test"] for f in fields}}
    splits = data.get("splits", {})
    return {**found, **{name: {f: split[f] for f in fields} for name, split in splits.items()}}


def evaluate(tower: Any, data: Bunch, precision: Any, tau: float) -> Figures:
    """All scorings of one encoder on all tests."""
    import torch

    from skxmc._features._centroids import untuned_prototypes
    from skxmc.metrics import label_propensities

    from ._token_training import score_blocks

    tower.eval()
    propensities = label_propensities(data.Y_train)
    texts = tower.encode(tower.items(data.label_text, of_labels=True), precision=precision)
    documents = tower.encode(tower.items(data.text_train), precision=precision)
    vectors = {
        "texts": texts,
        "prototypes": untuned_prototypes(documents, texts, data.Y_train),
    }
    figures: Figures = {}
    for name, test in tests_of(data).items():
        items = tower.items(test["text"])
        found = figures[name] = {}
        for kind, labels in vectors.items():
            best: dict[str, list[np.ndarray]] = {}
            for rows, scores in score_blocks(tower, items, torch.from_numpy(labels), tau):
                for score, block in scores.items():
                    own = best_labels(block, test["exclude"], rows)
                    best.setdefault(score, []).append(own)
            for score, blocks in best.items():
                found[kind, score] = document_figures(
                    test["Y"], np.concatenate(blocks), test["exclude"], propensities
                )
    return figures


def best_labels(scores: np.ndarray, exclude: sp.csr_array | None, rows: slice) -> np.ndarray:
    """The labels of greatest score, (n, DEPTH) int64, filter pairs left out."""
    if exclude is not None:
        scores = np.where(exclude[rows].toarray() != 0, _OUT, scores)
    k = min(DEPTH, scores.shape[1])
    best = np.argpartition(-scores, k - 1, axis=1)[:, :k]
    order = np.argsort(-np.take_along_axis(scores, best, axis=1), axis=1, kind="stable")
    return np.take_along_axis(best, order, axis=1)


# --- one data set ---


def measure(name: str, options: argparse.Namespace) -> dict[str, Any]:
    """Train in both ways with all seeds, and score the tests."""
    import torch

    from skxmc._runtime._device import resolve_precision

    from ._token_training import PlainTraining, load_tower, train

    data = load(name, options.folder)
    precision = resolve_precision(options.precision, torch.device("cpu"))

    def tower() -> Any:
        return load_tower(options.encoder, options.max_length)

    figures = {(UNTUNED, 0): evaluate(tower(), data, precision, options.tau)}
    runs = []
    for seed, way in product(options.seeds, WAYS):
        tuned = tower()
        texts, Y, exclude = _training_documents(data, options, seed)
        training = PlainTraining(
            way, options.epochs, options.batch, options.learning_rate, seed, options.tau,
            options.temperature, precision,
        )  # fmt: skip
        started = time.process_time()
        losses = train(tuned, texts, data.label_text, Y, exclude, training)
        seconds = time.process_time() - started
        runs.append({"way": way, "seed": seed, "losses": losses, "cpu_seconds": seconds})
        figures[way, seed] = evaluate(tuned, data, precision, options.tau)
    return {
        "data": name,
        "documents": len(texts),
        "runs": runs,
        "peak_gb": peak_gb(),
        "figures": summarize(figures),
        "gains": gains_of(figures, options.seeds),
    }


def _training_documents(
    data: Bunch, options: argparse.Namespace, seed: int
) -> tuple[list[str], sp.csr_array, sp.csr_array | None]:
    """Texts, positives without filter pairs, and filter pairs, of a sample."""
    from skxmc._inputs._targets import without_pairs

    data = join_training_documents(data, seed) if options.joined else data
    rows = np.arange(len(data.text_train))
    if options.documents is not None:
        rows = np.random.default_rng(seed).permutation(rows)[: options.documents]
    Y, exclude = data.Y_train[rows], data.exclude_train
    if exclude is not None:
        exclude = exclude[rows]
        Y = without_pairs(Y, exclude)
    return [data.text_train[row] for row in rows], Y, exclude


def summarize(figures: dict[tuple[str, int], Figures]) -> list[dict[str, Any]]:
    """Means over documents, for each encoder, test and scoring."""
    return [
        {
            "way": way, "seed": seed, "test": test, "vectors": vectors, "score": score,
            **dict(zip(METRICS, values.mean(axis=0).tolist(), strict=True)),
        }
        for (way, seed), tests in figures.items()
        for test, scorings in tests.items()
        for (vectors, score), values in scorings.items()
    ]  # fmt: skip


def gains_of(figures: dict[tuple[str, int], Figures], seeds: list[int]) -> dict[str, Any]:
    """What training through tokens gains over training by cosine, by metric.

    Figures of a document are means over the seeds, and documents of all tests count alike.

    Returns
    -------
    gains : dict
        ``best``: each way is scored by what is best for it, chosen on the same documents.
        ``same``: both are scored alike; by scoring, and then by metric.
    """
    by_cosine, by_tokens = (_mean_over_seeds(figures, way, seeds) for way in WAYS)
    best, same = {}, {", ".join(scoring): {} for scoring in by_cosine}
    for column, metric in enumerate(METRICS):
        before, after = (
            {scoring: values[:, column] for scoring, values in means.items()}
            for means in (by_cosine, by_tokens)
        )
        first, second = (max(own, key=lambda s, own=own: own[s].mean()) for own in (before, after))
        names = {"cosine": ", ".join(first), "tokens": ", ".join(second)}
        best[metric] = {**names, **paired(before[first], after[second])}
        for scoring in before:
            same[", ".join(scoring)][metric] = paired(before[scoring], after[scoring])
    return {"best": best, "same": same}


def _mean_over_seeds(
    figures: dict[tuple[str, int], Figures], way: str, seeds: list[int]
) -> dict[tuple[str, str], np.ndarray]:
    """Figures of the documents of all tests, by scoring."""
    runs = [figures[way, seed] for seed in seeds]
    scorings = next(iter(runs[0].values()))
    return {scoring: np.mean([_joined(tests, scoring) for tests in runs], axis=0)
            for scoring in scorings}  # fmt: skip


def _joined(tests: Figures, scoring: tuple[str, str]) -> np.ndarray:
    return np.concatenate([scorings[scoring] for scorings in tests.values()])


def paired(before: np.ndarray, after: np.ndarray) -> dict[str, float]:
    """Mean of differences over documents, and its standard error."""
    differences = after - before
    error = differences.std(ddof=1) / np.sqrt(len(differences))
    return {"before": before.mean(), "gain": differences.mean(), "error": error}


# --- the command ---


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this benchmark."""
    add_data(parser, "fontawesome", several=True)
    add = parser.add_argument
    add("--encoder", default="sentence-transformers/all-MiniLM-L6-v2", help="name or folder")
    add("--joined", action="store_true",
        help="training documents are texts of labels: join pairs of them as well")  # fmt: skip
    add("--documents", type=int, default=None, help="train on a sample of so many documents")
    add("--seeds", nargs="+", type=int, default=[0])
    add("--epochs", type=int, default=1)
    add("--batch", type=int, default=128, help="documents of a step")
    add("--learning-rate", type=float, default=2e-5)
    add("--max-length", type=int, default=64, help="tokens that longer texts are cut to")
    add("--tau", type=float, default=0.3, help="temperature of the attention over tokens")
    add("--temperature", type=float, default=0.05, help="of the loss's softmax over labels")
    add("--precision", default="auto", choices=["auto", "float32", "bfloat16"])


def run(options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Measure each data set in a process of its own."""
    for name in options.data:
        yield apart(measure, name, options)


def markdown(results: list[dict[str, Any]]) -> str:
    """Return figures of all encoders and scorings, and gains, times 100."""
    parts = []
    for result in results:
        seconds = [f"{run['way']} {run['cpu_seconds']:.0f}" for run in result["runs"]]
        parts += [
            f"{result['data']}: trained on {result['documents']:,} documents; CPU seconds of "
            f"training: {', '.join(seconds)}. Means over the seeds, times 100.",
            _figures_table(result["figures"]),
            "Gain of training through tokens, documents of all tests together, times 100, with the "
            "standard error of paired differences. Each way with the scoring that is best for it:",
            _best_table(result["gains"]["best"]),
            "Both scored alike:",
            _same_table(result["gains"]["same"]),
        ]
    return "\n\n".join(parts)


def _figures_table(figures: list[dict[str, Any]]) -> str:
    keys = ("test", "way", "vectors", "score")
    groups: dict[tuple, list[dict[str, Any]]] = {}
    for row in sorted(figures, key=lambda row: row["test"]):
        groups.setdefault(tuple(row[key] for key in keys), []).append(row)
    rows = [
        [*group, *(f"{100 * np.mean([row[metric] for row in own]):.1f}" for metric in METRICS)]
        for group, own in groups.items()
    ]
    return table(["test", "trained by", "label vectors", "score", *METRICS], rows, left=4)


def _best_table(best: dict[str, dict[str, Any]]) -> str:
    rows = [
        [metric, found["cosine"], found["tokens"], f"{100 * found['before']:.1f}", _gain(found)]
        for metric, found in best.items()
    ]
    header = ["figure", "after cosine scored by", "after tokens scored by", "cosine", "gain"]
    return table(header, rows, left=3)


def _same_table(same: dict[str, dict[str, Any]]) -> str:
    rows = [
        [scoring, *(_gain(by_metric[metric]) for metric in METRICS)]
        for scoring, by_metric in same.items()
    ]
    return table(["scored by", *METRICS], rows, left=1)


def _gain(found: dict[str, Any]) -> str:
    return f"{100 * found['gain']:+.1f} ({100 * found['error']:.1f})"


def main(arguments: list[str] | None = None) -> None:
    """Measure and print."""
    command(sys.modules[__name__], arguments)


if __name__ == "__main__":
    main()
