"""Saved models of each format of folders, kept for ever, and the script that made those of today.

``python tests/saved_formats.py FOLDER`` writes them to a folder; do that once for a new format, and
never again: what is kept must be what users have. Before the first release they are made again when
the format changes.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
from small_models import LABELS, TEXTS, VECTORS
from tiny_models import save_encoder

from skxmc import ViXMLClassifier
from skxmc.evidence import LabelVectors, Neighbours, Prototypes
from skxmc.indexes import HNSW, IVF

PLACE = Path(__file__).resolve().parent / "formats"
EXPECTED = "expected.json"


def inputs(kind: str):
    """What the model of a kind was fitted on, and predicts."""
    return TEXTS if kind == "texts" else VECTORS


def write(place: Path) -> None:
    """Fit and save one model of each kind, with what they predict."""
    evidence = [Prototypes(), Neighbours(n_neighbors=5), LabelVectors(epochs=2)]
    common = {"evidence": evidence, "random_state": 0, "device": "cpu", "precision": "float32"}
    encoder = save_encoder(place / "encoder")
    models = {
        "exact": ViXMLClassifier("precomputed", **common),
        "hnsw": ViXMLClassifier("precomputed", index=HNSW(m=4), **common),
        "ivf": ViXMLClassifier("precomputed", index=IVF(nlist=4), **common),
        "texts": ViXMLClassifier(encoder, epochs=1, **{**common, "evidence": [Prototypes()]}),
    }
    for kind, model in models.items():
        model.fit(inputs(kind), LABELS)
        if kind == "texts":
            model.set_params(encoder="tiny/encoder")  # no path of this machine
        model.save(place / kind)
        labels, scores = model.predict_topk(inputs(kind), k=3)
        expected = {"labels": np.asarray(labels).tolist(), "scores": scores.tolist()}
        (place / f"{kind}.{EXPECTED}").write_text(json.dumps(expected), encoding="utf-8")


if __name__ == "__main__":
    write(Path(sys.argv[1]))
