"""``skxmc info``: what is in the folder of a model."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

from ..serving import load_model


def run(options: argparse.Namespace) -> None:
    """Print what a model is."""
    found = describe(options.model, options.device)
    if options.json:
        sys.stdout.write(json.dumps(found, indent=1, ensure_ascii=False) + "\n")
        return
    width = max(map(len, found))
    for name, value in found.items():
        text = ", ".join(map(str, value)) if isinstance(value, list) else value
        sys.stdout.write(f"{name:<{width}}  {text}\n")


def describe(folder: str, device: str) -> dict[str, Any]:
    """What a model is, by names that a person reads."""
    model = load_model(folder, device=device)
    files = [path for path in Path(folder).expanduser().rglob("*") if path.is_file()]
    encoder = getattr(model.encoder, "name", model.encoder)
    pictures, threshold = model.image_encoder_, model.threshold_
    return {
        "estimator": type(model).__name__,
        "labels": len(model.classes_),
        "documents": model.ranker_.Y_.shape[0],
        "first labels": [str(name) for name in model.classes_[:5]],
        "encoder": str(encoder),
        "trained": model.train_encoder,
        "pictures": "none" if pictures is None else str(pictures.model),
        "evidence": list(model.evidence_),
        "threshold": "per label" if np.ndim(threshold) else round(float(threshold), 4),
        "megabytes": round(sum(path.stat().st_size for path in files) / 1e6, 1),
    }
