"""Whether answers can be acted on: probabilities, thresholds, and documents without labels.

Three parts, of frozen fits on texts: ``sets`` cuts the labels to the commonest ones, so that most
documents have none, beside one-vs-rest logistic regression on the same embeddings; ``calibration``
compares probabilities with the share of labels that are right, for all training documents and for
300; ``precision`` asks for a precision and looks what comes.
"""

import argparse
import sys
import time
from collections.abc import Iterator
from typing import Any

import numpy as np

from ._data import add_data, load
from ._report import command, table

# Commonest labels that are kept in the part "sets"; inverse regularisations of the regression.
CUTS, INVERSE_REGULARISATIONS = (10, 50, 200), (1.0, 10.0, 100.0)
FEW_DOCUMENTS = 300
TARGET = 0.9


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this benchmark."""
    add_data(parser, "fontawesome", several=True)
    add = parser.add_argument
    add("--part", nargs="+", default=list(PARTS), choices=list(PARTS))
    add("--encoder", default=None, help="of texts; the default one if not given")
    add("--seed", type=int, default=0, help="random_state")
    add("--memory", default=None, help="folder that keeps embeddings between runs")


def run(options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Measure each part on each data set."""
    for name in options.data:
        data = load(name, options.folder)
        for part in options.part:
            for result in PARTS[part](data, options):
                yield {"data": name, "part": part, **result}


def _fit(data: Any, options: argparse.Namespace, rows: Any = slice(None), **params: Any) -> Any:
    from skxmc import ViXMLClassifier

    if options.encoder is not None:
        params["encoder"] = options.encoder
    texts, Y = data.text_train, data.Y_train
    model = ViXMLClassifier(
        label_text=data.label_text,
        train_encoder="frozen",
        random_state=options.seed,
        memory=options.memory,
        **params,
    )
    exclude = None if data.exclude_train is None else data.exclude_train[rows]
    return model.fit(np.asarray(texts, dtype=object)[rows].tolist(), Y[rows], exclude=exclude)


def _sets(data: Any, options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    from sklearn.linear_model import LogisticRegression

    from skxmc.metrics import micro_f1

    order = np.argsort(-np.bincount(data.Y_train.indices, minlength=data.Y_train.shape[1]))
    for n_labels in CUTS:
        kept = np.sort(order[:n_labels])
        cut = type(data)(**data)
        cut.Y_train, cut.Y_test = data.Y_train[:, kept], data.Y_test[:, kept]
        cut.label_text = [data.label_text[label] for label in kept]
        cut.exclude_train = cut.exclude_test = None
        started = time.process_time()
        model = _fit(cut, options)
        seconds = time.process_time() - started
        found = model.predict(cut.text_test)
        empty = np.diff(cut.Y_test.indptr) == 0
        X_train, X_test = model.transform(cut.text_train), model.transform(cut.text_test)
        Y_train = cut.Y_train.toarray() > 0
        linear = {}
        for C in INVERSE_REGULARISATIONS:
            columns = [
                LogisticRegression(C=C, max_iter=300).fit(X_train, column).predict(X_test)
                for column in Y_train.T
            ]
            linear[C] = float(micro_f1(cut.Y_test, np.stack(columns, axis=1)))
        yield {
            "n_labels": n_labels,
            "cpu_seconds": seconds,
            "empty_train": model.ranker_.n_empty_ / len(cut.text_train),
            "micro_f1": float(micro_f1(cut.Y_test, found)),
            "tagged_empty": float((np.diff(found.indptr)[empty] > 0).mean()),
            "linear": linear,
        }


def _calibration(data: Any, options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    from skxmc.metrics import calibration_error

    n = data.Y_train.shape[0]
    few = np.sort(np.random.RandomState(options.seed).permutation(n)[:FEW_DOCUMENTS])
    for rows in (np.arange(n), few):
        model = _fit(data, options, rows)
        proposed = model.predict_proba(data.text_test, exclude=data.exclude_test)
        first = model.predict_topk(data.text_test, k=10, exclude=data.exclude_test)
        yield {
            "n_documents": len(rows),
            "proposed_a_document": proposed.nnz / proposed.shape[0],
            "error": calibration_error(data.Y_test, proposed, exclude=data.exclude_test),
            "error_of_10": calibration_error(data.Y_test, first, exclude=data.exclude_test),
        }


def _precision(data: Any, options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    from skxmc.metrics import set_report
    from skxmc.model_selection import Precision

    for threshold in ("auto", "per-label", Precision(TARGET)):
        model = _fit(data, options, threshold=threshold)
        found = model.predict(data.text_test, exclude=data.exclude_test)
        report = set_report(data.Y_test, found, exclude=data.exclude_test)
        yield {
            "threshold": str(threshold),
            "value": float(np.mean(model.threshold_)),
            "precision": report["micro_precision"],
            "recall": report["micro_recall"],
            "micro_f1": report["micro_f1"],
            "without_label": report["n_empty_predictions"] / report["n_documents"],
        }


PARTS = {"sets": _sets, "calibration": _calibration, "precision": _precision}


def markdown(results: list[dict[str, Any]]) -> str:
    """Return one table for each part."""
    makers = {"sets": _sets_row, "calibration": _calibration_row, "precision": _precision_row}
    headers = {
        "sets": [
            "data", "labels", "documents without", "micro-F1", "logistic regression, best C",
            "empty test documents tagged", "fit CPU s",
        ],
        "calibration": ["data", "documents", "pairs a document", "error", "error of the first 10"],
        "precision": [
            "data", "threshold", "mean value", "precision", "recall", "micro-F1", "no label",
        ],
    }  # fmt: skip
    parts = []
    for part, header in headers.items():
        rows = [makers[part](result) for result in results if result["part"] == part]
        if rows:
            parts.append(table(header, rows))
    return "\n\n".join(parts)


def _sets_row(result: dict[str, Any]) -> list[str]:
    return [
        result["data"],
        str(result["n_labels"]),
        f"{result['empty_train']:.0%}",
        f"{result['micro_f1']:.3f}",
        f"{max(result['linear'].values()):.3f}",
        f"{result['tagged_empty']:.1%}",
        f"{result['cpu_seconds']:.0f}",
    ]


def _calibration_row(result: dict[str, Any]) -> list[str]:
    return [
        result["data"],
        f"{result['n_documents']:,}",
        f"{result['proposed_a_document']:.0f}",
        f"{result['error']:.4f}",
        f"{result['error_of_10']:.4f}",
    ]


def _precision_row(result: dict[str, Any]) -> list[str]:
    return [
        result["data"],
        result["threshold"],
        *(f"{result[name]:.3f}" for name in ("value", "precision", "recall", "micro_f1")),
        f"{result['without_label']:.0%}",
    ]


def main(arguments: list[str] | None = None) -> None:
    """Measure from the command line."""
    command(sys.modules[__name__], arguments)


if __name__ == "__main__":
    main()
