"""Draws the gallery of the README: ``python docs/draw_gallery.py`` (a minute or two).

Fits a model on the training icons and writes ``_static/icons.png``: every 24th of 283 test icons,
in the order of the data set, with its three best tags. Nobody chooses which icons are shown. The
tag "uer" is left out: it is a misspelling in the data that stands on every tenth icon.
"""

from __future__ import annotations

import io
from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.patches import FancyBboxPatch
from PIL import Image

from skxmc import ViXMLClassifier
from skxmc.datasets import load_fontawesome

TARGET = Path(__file__).resolve().parent / "_static" / "icons.png"
EVERY, N_TAGS, N_COLUMNS = 24, 3, 4
LEFT_OUT = ["uer"]
INK, MUTED, CARD = "#1f2328", "#6e7781", "#f6f8fa"
RIGHT, RIGHT_BAR, OTHER_BAR = "#116329", "#a9dfb4", "#e1e5ea"


def predict():
    """Names and probabilities of the best tags of all test icons, and which are right."""
    icons = load_fontawesome()
    clf = ViXMLClassifier(label_text=icons.label_text, random_state=0)
    clf.fit(icons.text_train, icons.Y_train, images=icons.images_train, exclude=icons.exclude_train)
    labels, probabilities = clf.predict_topk(
        icons.text_test,
        k=N_TAGS,
        images=icons.images_test,
        exclude=icons.exclude_test,
        exclude_labels=LEFT_OUT,
    )
    right = np.take_along_axis(icons.Y_test.toarray() > 0, labels, axis=1)
    return icons, clf.classes_[labels], probabilities, right


def draw_card(ax, name, picture, tags, probabilities, right):
    """Draw an icon beside its tags; a bar is as long as the probability."""
    ax.set(xlim=(0, 10), ylim=(6.3, 0))
    ax.axis("off")
    ax.add_patch(
        FancyBboxPatch(
            (0.1, 0.1), 9.8, 6.0, boxstyle="round,pad=0,rounding_size=0.35", fc=CARD, ec="none"
        )
    )
    ax.text(0.5, 0.95, name, weight="bold", color=INK, size=11, va="center")
    ax.imshow(picture, extent=(0.5, 3.2, 5.1, 2.4), interpolation="lanczos", zorder=2)
    for place, (tag, probability, hit) in enumerate(zip(tags, probabilities, right, strict=True)):
        y = 2.5 + 1.25 * place
        ax.barh(y, 4.8 * probability, 1.0, left=3.7, color=RIGHT_BAR if hit else OTHER_BAR)
        style = {"color": RIGHT, "weight": "bold"} if hit else {"color": INK}
        ax.text(3.85, y, ("✓ " if hit else "") + tag, size=10, va="center", **style)
        ax.text(
            9.6, y, f"{100 * probability:.0f} %", size=7.5, va="center", ha="right", color=MUTED
        )
    ax.set(xlim=(0, 10), ylim=(6.3, 0), aspect="auto")


def main():
    icons, tags, probabilities, right = predict()
    rows = range(0, len(icons.text_test), EVERY)
    n_rows = -(-len(rows) // N_COLUMNS)
    figure, axes = plt.subplots(n_rows, N_COLUMNS, figsize=(12, 1.86 * n_rows + 0.45))
    for ax, row in zip(axes.flat, rows, strict=True):
        picture = Image.open(io.BytesIO(icons.images_test[row])).convert("L")
        ink = np.full((*picture.size[::-1], 4), [31, 35, 40, 255], dtype=np.uint8)
        ink[..., 3] = 255 - np.asarray(picture)  # black on white becomes ink on the card
        draw_card(ax, icons.text_test[row], ink, tags[row], probabilities[row], right[row])
    figure.subplots_adjust(
        left=0.004, right=0.996, top=0.935, bottom=0.004, wspace=0.02, hspace=0.04
    )
    legend = (
        (0.008, "✓ among the tags that the icon's authors gave it", RIGHT, "bold"),
        (0.375, "grey: proposed, and not among them", INK, "normal"),
        (0.635, "bar and %: probability that the tag is right", MUTED, "normal"),
    )
    for x, text, color, weight in legend:
        figure.text(x, 0.955, text, color=color, weight=weight, size=10)
    figure.savefig(TARGET, dpi=110)
    share = right[list(rows)].mean()
    print(
        f"{TARGET}: {share:.2f} of the tags shown are right, {right.mean():.2f} on all test icons"
    )


if __name__ == "__main__":
    main()
