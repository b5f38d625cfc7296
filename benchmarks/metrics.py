"""Time and memory of ``xmc_report`` at full size, beside the obvious loop over documents.

``python -m benchmarks.metrics`` draws random predictions and truth, computes all metrics at 1, 3
and 5 in one pass, and precision and propensity-scored precision by a loop over some of the
documents, whose time is scaled up.
"""

import argparse
import resource
import sys
import time

import numpy as np
import scipy.sparse as sp

from skxmc.metrics import label_propensities, xmc_report

from .quality import environment, environment_text, table


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


def main(arguments: list[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.metrics",
        description=__doc__.partition("\n")[0],
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    add = parser.add_argument
    add("--documents", type=int, default=500_000)
    add("--labels", type=int, default=1_000_000)
    add("--predictions", type=int, default=100, help="labels predicted for each document")
    add("--true", type=int, default=5, help="true labels of each document, at most")
    add("--loop", type=int, default=20_000, help="documents of the loop")
    options = parser.parse_args(arguments)
    predicted, Y = draw(options.documents, options.labels, options.predictions, options.true)
    propensities = label_propensities(Y)
    started = time.perf_counter()
    report = xmc_report(Y, predicted, k=(1, 3, 5), propensities=propensities)
    seconds = time.perf_counter() - started
    unit = 1 if sys.platform == "darwin" else 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e9
    few = slice(0, min(options.loop, options.documents))
    started = time.perf_counter()
    looped = obvious_loop(predicted[few], Y[few], propensities)
    loop = (time.perf_counter() - started) * options.documents / len(predicted[few])
    check = xmc_report(Y[few], predicted[few], k=(1, 3, 5), propensities=propensities)
    names = [f"{kind}_at_{k}" for kind in ("precision", "psprecision") for k in (1, 3, 5)]
    np.testing.assert_allclose([check[name] for name in names], looped, rtol=1e-5)
    print(
        f"{options.documents:,} documents, {options.labels:,} labels, {options.predictions} "
        f"predictions each; {len(report)} figures\n"
    )
    rows = [
        ["xmc_report, all metrics", f"{seconds:.1f}", f"{peak:.2f}"],
        ["loop, P and PSP alone", f"{loop:.1f} (scaled up)", "-"],
    ]
    print(table(["way", "seconds", "peak GB"], rows))
    print(f"\n{environment_text(environment())}")


if __name__ == "__main__":
    main()
