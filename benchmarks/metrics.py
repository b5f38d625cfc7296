"""Time and memory of ``xmc_report`` at full size, beside the obvious loop over documents.

Predictions and truth are random; all metrics at 1, 3 and 5 are computed in one pass, and precision
and propensity-scored precision by a loop over some of the documents, whose time is scaled up.
"""

import argparse
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import scipy.sparse as sp

from skxmc.metrics import label_propensities, xmc_report

from ._report import apart, command, interleaved, peak_gb, ratio, repeats, show, spread, table


def draw(n: int, n_labels: int, n_predicted: int, n_true: int) -> tuple[np.ndarray, sp.csr_array]:
    """Distinct predictions of each document, int32 (n, n_predicted), and its true labels.

    A document's labels step through all labels by a stride of its own, so none is repeated.
    """
    rng = np.random.default_rng(0)
    first = rng.integers(n_labels, size=n)[:, None]
    stride = rng.integers(1, n_labels // (n_predicted + n_true), size=n)[:, None]
    predicted = (first + stride * np.arange(n_predicted, dtype=np.int64)) % n_labels
    # Some of the true labels are among the predictions, the others behind them.
    place = np.sort(rng.integers(2 * n_predicted, size=(n, n_true)), axis=1)
    place += np.arange(n_true)
    true = np.sort((first + stride * place % n_labels) % n_labels, axis=1)
    fresh = np.ones_like(true, dtype=bool)
    fresh[:, 1:] = true[:, 1:] != true[:, :-1]
    offsets = np.concatenate([[0], np.cumsum(fresh.sum(axis=1))])
    ones = np.ones(offsets[-1], dtype=np.float32)
    Y = sp.csr_array((ones, true[fresh].astype(np.int32), offsets), shape=(n, n_labels))
    return predicted.astype(np.int32), Y


def obvious_loop(predicted: np.ndarray, Y: sp.csr_array, propensities: np.ndarray) -> list[float]:
    """P and PSP at 1, 3, 5, one document after the other."""
    hits, gains, best = np.zeros(3), np.zeros(3), np.zeros(3)
    for row, labels in enumerate(predicted):
        true = set(Y.indices[Y.indptr[row] : Y.indptr[row + 1]].tolist())
        weights = sorted((1 / propensities[label] for label in true), reverse=True)
        for i, k in enumerate((1, 3, 5)):
            found = [label for label in labels[:k].tolist() if label in true]
            hits[i] += len(found) / k
            gains[i] += sum(1 / propensities[label] for label in found)
            best[i] += sum(weights[:k])
    return [*(hits / len(predicted)), *(gains / best)]


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Both ways, in turns."""
    predicted, Y = draw(options.documents, options.labels, options.predictions, options.true)
    propensities = label_propensities(Y)
    given = {"k": (1, 3, 5), "propensities": propensities}
    report = xmc_report(Y, predicted, **given)
    peak = peak_gb()
    few = slice(0, min(options.loop, options.documents))
    some = predicted[few], Y[few]
    seconds = interleaved(
        {
            "report": lambda: xmc_report(Y, predicted, **given),
            "loop": lambda: obvious_loop(*some, propensities),
        },
        options.repeats,
    )
    loop = [value * options.documents / len(some[0]) for value in seconds["loop"]]
    check = xmc_report(some[1], some[0], **given)
    names = [f"{kind}_at_{k}" for kind in ("precision", "psprecision") for k in (1, 3, 5)]
    looped = obvious_loop(*some, propensities)
    np.testing.assert_allclose([check[name] for name in names], looped, rtol=1e-5)
    return {
        "documents": options.documents,
        "labels": options.labels,
        "predictions": options.predictions,
        "figures": len(report),
        "report_seconds": spread(seconds["report"]),
        "loop_seconds": spread(loop),
        "ratio": ratio(loop, seconds["report"]),
        "peak_gb": peak,
    }


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this benchmark."""
    add = parser.add_argument
    add("--documents", type=int, default=500_000)
    add("--labels", type=int, default=1_000_000)
    add("--predictions", type=int, default=100, help="labels predicted for each document")
    add("--true", type=int, default=5, help="true labels of each document, at most")
    add("--loop", type=int, default=20_000, help="documents of the loop")
    add("--repeats", type=repeats, default=3)


def run(options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Measure in a process of its own."""
    yield apart(measure, options)


def markdown(results: list[dict[str, Any]]) -> str:
    """Return a table for each problem."""
    parts = []
    for result in results:
        rows = [
            [
                "xmc_report, all metrics",
                show(result["report_seconds"]),
                "",
                f"{result['peak_gb']:.2f}",
            ],
            [
                "loop, P and PSP alone (scaled up)",
                show(result["loop_seconds"]),
                show(result["ratio"]),
                "-",
            ],
        ]
        parts.append(
            f"{result['documents']:,} documents, {result['labels']:,} labels, "
            f"{result['predictions']} predictions each; {result['figures']} figures\n\n"
            + table(["way", "seconds", "times as long", "peak GB"], rows, left=1)
        )
    return "\n\n".join(parts)


def main(arguments: list[str] | None = None) -> None:
    """Measure and print."""
    command(sys.modules[__name__], arguments)


if __name__ == "__main__":
    main()
