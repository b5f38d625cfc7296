"""``skxmc evaluate``: metrics of a saved model on labelled documents."""

from __future__ import annotations

import argparse
import json
import sys
from typing import Any

from ..metrics import label_propensities, xmc_report
from ..serving import load_model
from ._blocks import predict_blocks
from ._data import read_documents


def run(options: argparse.Namespace) -> None:
    """Print the metrics."""
    documents = read_documents(options, "test")
    model = load_model(options.model, device=options.device)
    exclude = None
    if documents.exclude is not None and documents.label_ids == model.classes_.tolist():
        exclude = documents.exclude
    k = min(max(options.k), len(model.classes_))
    ranking = predict_blocks(model, documents, k, exclude, quiet=options.quiet)
    truth = documents.label_names()
    report = xmc_report(
        truth,
        ranking,
        k=options.k,
        classes=model.classes_,
        propensities=label_propensities(model.ranker_.Y_),
        exclude=exclude,
    )
    if options.json:
        sys.stdout.write(json.dumps(report, indent=1) + "\n")
    else:
        sys.stdout.write(_as_table(report, options.k))
    unknown = {name for row in truth for name in row} - set(model.classes_)
    if unknown:
        sys.stderr.write(
            f"{len(unknown):,} labels of the documents are unknown to the model and count as "
            "missed\n"
        )


def _as_table(report: dict[str, Any], ks: list[int]) -> str:
    names = list(dict.fromkeys(key.rpartition("_at_")[0] for key in report))
    width = max(map(len, names))
    lines = [" " * width + "".join(f"{f'@{k}':>8}" for k in ks)]
    for name in names:
        cells = "".join(f"{report[f'{name}_at_{k}']:8.4f}" for k in ks)
        lines.append(f"{name:<{width}}{cells}")
    return "\n".join(lines) + "\n"
