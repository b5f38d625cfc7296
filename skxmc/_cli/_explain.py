"""``skxmc explain``: why documents get labels."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from ..inspection import Explanation
from ..serving import load_model
from ._data import read_documents

# Documents explained at a time, so that the first ones show soon.
_BLOCK = 64

# Letters of a document that are shown.
_SHOWN = 70


def run(options: argparse.Namespace) -> None:
    """Print reasons, document by document."""
    documents = read_documents(options, "test")
    model = load_model(options.model, device=options.device)
    for start in range(0, len(documents.texts), _BLOCK):
        rows = slice(start, start + _BLOCK)
        texts, images = documents.texts[rows], documents.images
        found = model.explain(
            texts,
            images=None if images is None else images[rows],
            k=options.k,
            n_nearest=options.nearest,
            n_words=options.words,
        )
        for row, (text, reasons) in enumerate(zip(texts, found, strict=True), start):
            name = row if documents.ids is None else documents.ids[row]
            sys.stdout.write(
                _as_json(name, reasons) if options.json else _as_text(name, text, reasons)
            )


def _as_json(name: Any, reasons: Sequence[Explanation]) -> str:
    found = {"id": name, "labels": [asdict(reason) for reason in reasons]}
    return json.dumps(found, ensure_ascii=False) + "\n"


def _as_text(name: Any, text: str, reasons: Sequence[Explanation]) -> str:
    line = " ".join(text.split())
    lines = [f"{name}  {line[:_SHOWN]}{'...' if len(line) > _SHOWN else ''}"]
    for reason in reasons:
        lines.append(f"  {reason.label}  {reason.probability:.3f}")
        parts = [f"{kind} {share:.3f}" for kind, share in reason.evidence.items()]
        lines.append(f"    evidence   {', '.join(parts)}")
        if reason.documents:
            near = [
                f"{near.row if near.id is None else near.id} ({near.cosine:.2f})"
                for near in reason.documents
            ]
            lines.append(f"    documents  {', '.join(near)}")
        if reason.words:
            words = [f"{word} {amount:+.2f}" for word, amount in reason.words]
            lines.append(f"    words      {', '.join(words)}")
        if reason.picture is not None:
            lines.append(f"    picture    {reason.picture:+.2f}")
    return "\n".join(lines) + "\n\n"
