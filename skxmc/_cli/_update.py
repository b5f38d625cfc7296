"""``skxmc update``: documents that come to a saved model, and documents that go."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from .._folders._replacing import check_save
from ..serving import load_model
from ._data import Documents, read_documents


def run(options: argparse.Namespace) -> None:
    """Remove, learn, and save."""
    if options.data is None and options.remove is None:
        raise ValueError("there is nothing to do; pass DATA with new documents, or --remove FILE.")
    output = options.output or options.model
    if options.output is not None:
        check_save(output)
    gone = [] if options.remove is None else _read_ids(options.remove)
    documents = None if options.data is None else read_documents(options, "train")
    model = load_model(options.model, device=options.device)
    model.set_params(verbose=0 if options.quiet else 1)
    if documents is not None:
        _check_ids(model, documents)
    started = time.perf_counter()
    if gone:
        model.remove_documents(_of_its_type(gone, model))
        _say(f"removed {len(gone):,} documents")
    if documents is not None:
        _learn(model, documents, options.max_documents)
        _say(f"learned {len(documents.texts):,} documents")
    model.save(output)
    labels, seconds = len(model.classes_), time.perf_counter() - started
    _say(f"{labels:,} labels, {seconds:.0f} s, saved in {output}")


def _learn(model: Any, documents: Documents, max_documents: int | None) -> None:
    texts = dict(zip(documents.label_ids, documents.label_text, strict=True))
    known = set(model.classes_.tolist())
    new = {name: text for name, text in texts.items() if name not in known and text}
    exclude = documents.exclude
    if exclude is not None and documents.label_ids != model.classes_.tolist():
        raise ValueError("DATA excludes pairs, and its labels are other than those of the model.")
    model.partial_fit(
        documents.texts,
        documents.label_names(),
        images=documents.images,
        exclude=exclude,
        label_text=new or None,
        document_ids=None if model.document_ids_ is None else documents.ids,
        max_documents=max_documents,
    )


def _check_ids(model: Any, documents: Documents) -> None:
    if model.document_ids_ is not None and documents.ids is None:
        raise ValueError("the model knows its documents by ids, and DATA has none; pass --id.")


def _read_ids(path: str) -> list[str]:
    """Ids of documents, one a line."""
    text = Path(path).expanduser().read_text("utf-8-sig")
    return [line.strip() for line in text.splitlines() if line.strip()]


def _of_its_type(ids: list[str], model: Any) -> list:
    """The ids as the model has them: numbers where it was given none, or numbers."""
    known = model.document_ids_
    if known is not None and known.dtype == object:
        return ids
    try:
        return np.array(ids, dtype=np.int64).tolist()
    except ValueError:
        wrong = next(one for one in ids if not one.lstrip("-").isdigit())
        raise ValueError(
            f"--remove names {wrong!r}, but the model knows its documents by numbers."
        ) from None


def _say(message: str) -> None:
    sys.stderr.write(f"{message}\n")
