"""``skxmc predict``: the labels of documents as a file."""

from __future__ import annotations

import argparse

from ..serving import load_model
from ._blocks import predict_blocks
from ._data import check_output_file, read_documents, write_predictions


def run(options: argparse.Namespace) -> None:
    """Predict and write."""
    check_output_file(options.output)
    documents = read_documents(options, "test")
    model = load_model(options.model, device=options.device)
    k = min(options.k, len(model.classes_))
    labels, scores = predict_blocks(model, documents, k, None, quiet=options.quiet)
    if options.threshold is not None:
        labels[scores < options.threshold] = -1
    write_predictions(options.output, labels, scores, documents.ids, model)
