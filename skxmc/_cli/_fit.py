"""``skxmc fit``: from documents to the folder of a model."""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path

import numpy as np

from ._config import make_estimator, read_config
from ._data import read_documents


def run(options: argparse.Namespace) -> None:
    """Fit a model and save it."""
    check_folder(options.output)
    config = read_config(options.config, options.settings)
    make_estimator(config)._validate_params()  # before large files are read
    documents = read_documents(options, "train")
    model = make_estimator(
        {"verbose": 0 if options.quiet else 1, **config}, label_text=documents.label_text
    )
    _say(f"fitting {len(documents.texts):,} documents with {len(documents.label_ids):,} labels")
    started = time.perf_counter()
    model.fit(documents.texts, documents.Y, images=documents.images, exclude=documents.exclude)
    # Labels go by their ids; the estimator has named them by their texts.
    model.classes_ = np.array(documents.label_ids, dtype=object)
    model.save(options.output)
    _say(f"fitted in {time.perf_counter() - started:.0f} s, saved in {options.output}")


def check_folder(folder: str) -> None:
    """See that a model can be saved, before hours of fitting.

    Raises
    ------
    FileExistsError
        If the folder is a file, or holds something else than a model.
    PermissionError
        If it may not be written.
    """
    target = Path(folder).expanduser()
    if target.exists() and not target.is_dir():
        raise FileExistsError(f"--output {folder!r} is a file; pass the name of a folder.")
    if target.is_dir() and any(target.iterdir()) and not (target / "skxmc.json").is_file():
        raise FileExistsError(
            f"--output {folder!r} is not empty and holds no model of skxmc; pass another folder."
        )
    parent = target.absolute().parent
    while not parent.exists():
        parent = parent.parent
    if not parent.is_dir() or not os.access(parent, os.W_OK | os.X_OK):
        raise PermissionError(f"--output {folder!r} may not be written; pass another folder.")


def _say(message: str) -> None:
    sys.stderr.write(f"{message}\n")
