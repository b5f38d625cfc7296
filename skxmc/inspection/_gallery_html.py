"""Cards of documents as HTML."""

from __future__ import annotations

import io
from base64 import b64encode
from collections.abc import Sequence
from html import escape
from typing import Any

import numpy as np

# Pixels of the longer side of a picture.
_SIZE = 128

_STYLE = """
.skxmc-cards { display: flex; flex-wrap: wrap; gap: 12px; font: 14px/1.4 sans-serif; }
.skxmc-card { width: 260px; padding: 8px; border: 1px solid #8888; border-radius: 6px; }
.skxmc-card img { max-width: 128px; max-height: 128px; background: #fff; }
.skxmc-card p { margin: 0 0 4px; overflow-wrap: anywhere; }
.skxmc-card ol { margin: 4px 0; padding-left: 24px; }
.skxmc-card .right { font-weight: bold; }
"""


def cards_html(
    labels: np.ndarray,
    hits: np.ndarray,
    scores: np.ndarray | None,
    missed: Sequence[np.ndarray],
    label_names: Sequence[str],
    texts: Sequence[str],
    pictures: Sequence[Any] | None,
) -> str:
    """One card for each document; arguments as of :class:`PredictionGalleryDisplay`."""
    cards = []
    for row, text in enumerate(texts):
        parts = [f"<p>{escape(text)}</p>"]
        picture = None if pictures is None else pictures[row]
        if picture is not None:
            parts.append(f'<img alt="" src="{_data_address(picture)}">')
        items = []
        for place, label in enumerate(labels[row]):
            if label < 0:
                continue
            score = "" if scores is None else f" {scores[row][place]:.2f}"
            mark, kind = ("✓", "right") if hits[row][place] else ("✕", "wrong")
            items.append(f'<li class="{kind}">{mark} {escape(label_names[label])}{score}</li>')
        parts.append(f"<ol>{''.join(items)}</ol>")
        if len(missed[row]):
            names = ", ".join(label_names[label] for label in missed[row])
            parts.append(f"<p>missed: {escape(names)}</p>")
        cards.append(f'<div class="skxmc-card">{"".join(parts)}</div>')
    return f'<style>{_STYLE}</style><div class="skxmc-cards">{"".join(cards)}</div>'


def _data_address(picture: Any) -> str:
    """A small copy of a picture as an address that holds it."""
    small, file = picture.convert("RGBA"), io.BytesIO()
    small.thumbnail((_SIZE, _SIZE))
    small.save(file, "PNG")
    return f"data:image/png;base64,{b64encode(file.getvalue()).decode()}"
