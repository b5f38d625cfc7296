"""``skxmc fit``: from documents to the folder of a model."""

from __future__ import annotations

import argparse
import sys
import time

import numpy as np

from .._folders._replacing import check_save
from ..distributed import processes, rank
from ._config import make_estimator, read_config
from ._data import read_documents


def run(options: argparse.Namespace) -> None:
    """Fit a model and save it."""
    check_save(options.output)
    config = read_config(options.config, options.settings)
    make_estimator(config)._validate_params()  # before large files are read
    documents = read_documents(options, "train")
    if not documents.texts or not documents.Y.nnz:
        raise ValueError(f"{options.data} has no documents with labels; pass other data.")
    model = make_estimator(
        {"verbose": 0 if options.quiet else 1, **config}, label_text=documents.label_text
    )
    _say(f"fitting {len(documents.texts):,} documents with {len(documents.label_ids):,} labels")
    started = time.perf_counter()
    with processes():  # one fit, if a launcher has started the command several times
        model.fit(
            documents.texts,
            documents.Y,
            images=documents.images,
            exclude=documents.exclude,
            document_ids=documents.ids,
        )
        if rank() > 0:
            return
        # Labels go by their ids; the estimator has named them by their texts.
        model.classes_ = np.array(documents.label_ids, dtype=object)
        model.save(options.output)
    _say(f"fitted in {time.perf_counter() - started:.0f} s, saved in {options.output}")


def _say(message: str) -> None:
    sys.stderr.write(f"{message}\n")
