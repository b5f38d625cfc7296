"""``skxmc images``: from addresses of pictures to vectors beside a benchmark's texts."""

from __future__ import annotations

import argparse
import hashlib
import re
import sys
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from .._inputs._images import collect_images
from .._pictures._image_encoder import ImageEncoder
from .._runtime._device import resolve_device
from ..datasets import DownloadLimits, fetch_image_vectors
from ._config import make_limits

if TYPE_CHECKING:
    from PIL.Image import Image
    from sklearn.utils import Bunch


def run(options: argparse.Namespace) -> None:
    """Download, encode and write; print what share of the items has pictures."""
    limits = make_limits(DownloadLimits, options.limits)
    if options.allow_private:
        limits = replace(limits, allow_private=True)
    encoder = ImageEncoder(
        options.encoder, device=resolve_device(options.device), layers=options.layers
    )
    report = fetch_image_vectors(
        options.data,
        options.metadata,
        lambda images: _encode(encoder, images),
        name=_name(encoder),
        output=options.output,
        work=options.work,
        max_images=options.max_images,
        size=options.size,
        side=options.side,
        id_column=options.id_column,
        address_column=options.address_column,
        limits=limits,
        retry_failed=options.retry_failed,
        verbose=0 if options.quiet else 1,
    )
    sys.stdout.write(_table(report))


def _encode(encoder: ImageEncoder, images: list[Image]) -> np.ndarray:
    """One vector for each picture; equal pictures are encoded once."""
    items = collect_images(images, len(images), max_images=1)
    features = encoder.encode(items)
    assert features is not None  # which it is for no items alone
    return features.vectors[features.index[:, 0]]


def _name(encoder: ImageEncoder) -> str:
    """What the encoder is called in the names of files: a word, and a digest of all settings."""
    word = re.split(r"[/\\]", str(encoder.model).rstrip("/\\"))[-1]
    word = re.sub(r"[^A-Za-z0-9.]+", "-", word).strip("-.") or "model"
    return f"{word}-{hashlib.sha256(encoder.fingerprint.encode()).hexdigest()[:8]}"


def _table(report: Bunch) -> str:
    lines = [f"{'':<10}{'items':>12}{'listed':>12}{'pictures':>12}{'coverage':>12}"]
    for split, numbers in report.coverage.items():
        share = numbers["with_pictures"] / max(numbers["items"], 1)
        lines.append(
            f"{split:<10}{numbers['items']:>12,}{numbers['listed']:>12,}"
            f"{numbers['with_pictures']:>12,}{share:>12.1%}"
        )
    if report.failures:
        lines.append("addresses without a picture:")
    for reason, failure in report.failures.items():
        lines.append(f"  {reason:<24}{failure['count']:>8,}  such as {failure['examples'][0]}")
    lines += [f"wrote {path}" for path in report.files]
    return "\n".join(lines) + "\n"
