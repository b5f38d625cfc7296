"""Draws the figures of the page "Displays": ``python docs/draw_displays.py`` (some minutes).

Runs the page's own code on the icons and writes ``_static/display_*.png``.
"""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")

import numpy as np

from skxmc import ViXMLClassifier
from skxmc.datasets import load_fontawesome
from skxmc.inspection import (
    CalibrationDisplay,
    ExplanationDisplay,
    FrequencyBinDisplay,
    PrecisionCoverageDisplay,
    PredictionGalleryDisplay,
    TrainingHistoryDisplay,
)
from skxmc.model_selection import Validation

STATIC = Path(__file__).resolve().parent / "_static"


def save(display, name: str, width: float | None = None) -> None:
    """Write the figure of a display; `width` is in inches."""
    figure = display.figure_
    if width is not None:
        figure.set_size_inches(width, figure.get_size_inches()[1])
    figure.savefig(STATIC / f"display_{name}.png", dpi=90, bbox_inches="tight")


def main() -> None:
    icons = load_fontawesome()
    test = {"images": icons.images_test, "exclude": icons.exclude_test}
    parameters = {"label_text": icons.label_text, "random_state": 0}
    clf = ViXMLClassifier(train_encoder="frozen", **parameters)
    clf.fit(icons.text_train, icons.Y_train, images=icons.images_train)
    without = ViXMLClassifier(train_encoder="frozen", **parameters)
    without.fit(icons.text_train, icons.Y_train)
    rankings = {
        "text": without.predict_topk(icons.text_test, k=50, exclude=icons.exclude_test),
        "text + pictures": clf.predict_topk(icons.text_test, k=50, **test),
    }
    frequencies = np.bincount(icons.Y_train.indices, minlength=icons.Y_train.shape[1])
    known = {"exclude": icons.exclude_test}
    Y = icons.Y_test
    frequent = FrequencyBinDisplay.from_predictions(Y, rankings, frequencies=frequencies, **known)
    save(frequent, "frequency")
    save(PrecisionCoverageDisplay.from_predictions(Y, rankings, precision=0.8, **known), "coverage")
    save(CalibrationDisplay.from_predictions(Y, rankings["text"], **known), "calibration")
    gallery = PredictionGalleryDisplay.from_estimator(
        clf, icons.text_test, Y, **test, n_documents=6, random_state=0
    )
    save(gallery, "gallery")
    row = 253
    explanation = ExplanationDisplay.from_estimator(
        clf,
        icons.text_test[row : row + 1],
        images=icons.images_test[row : row + 1],
        k=3,
        document_names=icons.text_train,
    )
    save(explanation, "explanation")
    validation = Validation(fraction=0.2, patience=3)
    tuned = ViXMLClassifier(epochs=6, validation=validation, **parameters)
    tuned.fit(icons.text_train, icons.Y_train)
    save(TrainingHistoryDisplay.from_estimator(tuned), "training")


if __name__ == "__main__":
    main()
