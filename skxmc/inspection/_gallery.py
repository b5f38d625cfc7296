"""Single documents with their predicted labels."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil
from typing import Any

import numpy as np
from sklearn.utils import _safe_indexing
from sklearn.utils.validation import check_is_fitted

from .._inputs._targets import check_exclude, encode_targets
from .._inputs._texts import sequence_to_list
from ..metrics._inputs import read_ranking
from ..metrics._scorers import find_ranker
from ._axes import COLORS, INK, MUTED, PALE, grid_of_axes
from ._documents import (
    are_embeddings,
    choose_rows,
    first_pictures,
    take,
    texts_of,
)
from ._gallery_html import cards_html
from ._predictions import predict_topk

_RIGHT, _WRONG = "✓", "✕"
_RIGHT_BAR, _WRONG_BAR = "#b8d8ee", "#dfe3e8"  # pale enough to write on
# Where the bars begin beside a picture, and where there are no pictures at all.
_BESIDE_PICTURE = 0.36


class PredictionGalleryDisplay:
    """Documents with pictures, texts and predicted labels.

    Each document is a card: its text, its first picture, its best labels with a bar as long as
    the score. A tick and a blue bar mark a label that is true; what is true but not among the
    best is listed below.

    Parameters
    ----------
    labels : int array of shape (n_documents, k)
        Predicted labels, best first, -1 where there are fewer.
    hits : bool array of shape (n_documents, k)
        Which of them are true.
    scores : float array of shape (n_documents, k), or None
        Their scores; None draws no bars.
    missed : list of int arrays of length n_documents
        True labels that are not among the predicted ones.
    label_names : sequence of str of length n_labels
        Names of the labels.
    texts : sequence of str of length n_documents
        The documents' texts.
    pictures : sequence of PIL image or None, of length n_documents, default=None
        The documents' pictures. None if there are none at all.

    Attributes
    ----------
    labels, hits, scores, missed, label_names, texts, pictures
        As passed.
    rows : int array of shape (n_documents,) or None
        Which of the documents that were passed are drawn.
    ax_ : matplotlib Axes
        The first of `axes_`.
    axes_ : ndarray of matplotlib Axes, of shape (n_rows, n_columns)
        The cards; those beyond the last document are empty.
    figure_ : matplotlib Figure

    Examples
    --------
    >>> from skxmc.inspection import PredictionGalleryDisplay
    >>> display = PredictionGalleryDisplay.from_predictions(
    ...     [[0], [1, 2]], [[0, 1], [2, 0]], texts=["red car", "green apple"],
    ...     label_names=["vehicle", "fruit", "green"], k=2,
    ... )
    >>> display.hits.tolist()
    [[True, False], [True, False]]
    """

    def __init__(
        self,
        labels: np.ndarray,
        hits: np.ndarray,
        *,
        scores: np.ndarray | None,
        missed: Sequence[np.ndarray],
        label_names: Sequence[str],
        texts: Sequence[str],
        pictures: Sequence[Any] | None = None,
    ) -> None:
        self.labels = labels
        self.hits = hits
        self.scores = scores
        self.missed = missed
        self.label_names = label_names
        self.texts = texts
        self.pictures = pictures
        self.rows = None

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: Any,
        Y: Any,
        *,
        images: Any = None,
        exclude: Any = None,
        label_names: Sequence[str] | None = None,
        k: int = 5,
        n_documents: int = 12,
        rows: Sequence[int] | None = None,
        random_state: Any = None,
        n_columns: int = 3,
        ax: Any = None,
    ) -> PredictionGalleryDisplay:
        """Predict for some documents, and draw them.

        Parameters
        ----------
        estimator : estimator
            Fitted; or a pipeline or search around one.
        X : sequence of str of length n_samples, or DataFrame
            The documents; only those that are drawn go through the estimator.
        Y : sparse or dense indicator of shape (n_samples, n_labels), or sequence of lists
            Their labels, as in ``fit``. Names that fit has not seen are left out.
        images : sequence of length n_samples, or float array, default=None
            Their pictures, as in ``fit``. Ready embeddings are not drawn.
        exclude : sparse matrix of shape (n_samples, n_labels), default=None
            Pairs that are neither predicted nor counted.
        label_names : sequence of str of length n_labels, default=None
            Names of the labels; None takes ``classes_``.
        k : int, default=5
            The number of labels of each document.
        n_documents : int, default=12
            How many documents are drawn, at random.
        rows : sequence of int, default=None
            Which documents are drawn, in this order, in place of random ones.
        random_state : int, RandomState instance or None, default=None
            Pass an int to draw the same documents every time.
        n_columns : int, default=3
            Cards side by side.
        ax : matplotlib Axes or array of them, default=None
            As in :meth:`plot`.

        Returns
        -------
        display : PredictionGalleryDisplay
        """
        n_samples = X.shape[0] if hasattr(X, "shape") else len(X)
        rows = choose_rows(n_samples, n_documents, rows, random_state)
        images = take(images, rows, n_samples, "images")
        X = _safe_indexing(X, rows)
        _, ranker = find_ranker(estimator)
        check_is_fitted(ranker)
        classes = ranker.classes_
        truth, _ = encode_targets(
            take(Y, rows, n_samples, "Y"), len(rows), classes=classes, unseen="ignore"
        )
        exclude = check_exclude(exclude, n_samples, len(classes))
        exclude = None if exclude is None else exclude[rows]
        _, found = predict_topk(estimator, X, k, images=images, exclude=exclude)
        texts, images = texts_of(ranker, X, images, rows)
        display = cls.from_predictions(
            truth,
            found,
            texts=texts,
            images=None if are_embeddings(images) else images,
            exclude=exclude,
            label_names=classes if label_names is None else label_names,
            k=k,
            rows=range(len(rows)),
            n_columns=n_columns,
            ax=ax,
        )
        display.rows = rows
        return display

    @classmethod
    def from_predictions(
        cls,
        y_true: Any,
        y_pred: Any,
        *,
        texts: Sequence[str],
        images: Any = None,
        classes: Any = None,
        exclude: Any = None,
        label_names: Sequence[str] | None = None,
        k: int = 5,
        n_documents: int = 12,
        rows: Sequence[int] | None = None,
        random_state: Any = None,
        n_columns: int = 3,
        ax: Any = None,
    ) -> PredictionGalleryDisplay:
        """Draw given predictions for some documents.

        Parameters
        ----------
        y_true : sparse or dense indicator of shape (n_samples, n_labels), DataFrame, or lists
            The truth: lists hold label indices, or with `classes` names; see
            :mod:`skxmc.metrics`.
        y_pred : int array (n_samples, m), tuple (indices, scores), or sparse or dense scores
            Predictions; see :mod:`skxmc.metrics`.
        texts : sequence of str of length n_samples
            The documents' texts.
        images : sequence of length n_samples, default=None
            Their pictures, in any form that ``fit`` takes. Ready embeddings cannot be drawn.
        classes : array of shape (n_labels,), default=None
            The names of the labels, ``classes_`` of the fitted model. With it, lists hold names.
        exclude : sparse or bool (n_samples, n_labels), int pairs (n_pairs, 2), or None
            Filter pairs.
        label_names : sequence of str of length n_labels, default=None
            Names of the labels; None takes `classes`, or numbers them.
        k : int, default=5
            The number of labels of each document.
        n_documents : int, default=12
            How many documents are drawn, at random.
        rows : sequence of int, default=None
            Which documents are drawn, in this order, in place of random ones.
        random_state : int, RandomState instance or None, default=None
            Pass an int to draw the same documents every time.
        n_columns : int, default=3
            Cards side by side.
        ax : matplotlib Axes or array of them, default=None
            As in :meth:`plot`.

        Returns
        -------
        display : PredictionGalleryDisplay
        """
        ranking = read_ranking(y_true, y_pred, k, classes=classes, exclude=exclude)
        n_samples, n_labels = ranking.truth.shape
        names = range(n_labels) if ranking.names is None else ranking.names.tolist()
        if label_names is None:
            label_names = names
        elif ranking.names is not None:  # the names behind are those that classes does not hold
            label_names = [*label_names, *names[len(classes) :]]
        label_names = [str(name) for name in sequence_to_list(label_names)]
        texts = sequence_to_list(texts)
        for argument, values, wanted in (
            ("label_names", label_names, n_labels),
            ("texts", texts, n_samples),
        ):
            if len(values) != wanted:
                raise ValueError(
                    f"{argument} has {len(values)} entries but there must be {wanted}; pass one "
                    f"for each {'label' if argument == 'label_names' else 'document'}."
                )
        rows = choose_rows(n_samples, n_documents, rows, random_state)
        labels, hits = ranking.labels[rows], ranking.hits[rows]
        display = cls(
            labels,
            hits,
            scores=None if ranking.scores is None else ranking.scores[rows],
            missed=[
                np.setdiff1d(ranking.truth[[row]].indices, found)
                for row, found in zip(rows, labels, strict=True)
            ],
            label_names=label_names,
            texts=[str(texts[row]) for row in rows],
            pictures=first_pictures(images, rows, n_samples),
        )
        display.rows = rows
        return display.plot(ax, n_columns=n_columns)

    def plot(self, ax: Any = None, *, n_columns: int = 3) -> PredictionGalleryDisplay:
        """Draw one card for each document.

        Parameters
        ----------
        ax : matplotlib Axes or array of them, default=None
            A single axes is divided into cards; an array has one for each card. None makes a
            new figure.
        n_columns : int, default=3
            Cards side by side.

        Returns
        -------
        self : PredictionGalleryDisplay
        """
        n_documents, k = self.labels.shape
        n_columns = min(n_columns, n_documents)
        shape = (ceil(n_documents / n_columns), n_columns)
        height = 0.175 * (k + 3.6)
        self.axes_ = grid_of_axes(ax, shape, (3.3, height), wspace=0.05, hspace=0.02)
        self.ax_ = self.axes_[0, 0]
        self.figure_ = self.ax_.figure
        for card in self.axes_.flat:
            card.set_axis_off()
        for document, card in zip(range(n_documents), self.axes_.flat, strict=False):
            self._draw_card(card, document)
        return self

    def to_html(self) -> str:
        """Return the same cards as HTML, for notebooks, reports and mails.

        Returns
        -------
        html : str
            A fragment of a page that holds its pictures, and refers to nothing outside.

        Examples
        --------
        >>> from skxmc.inspection import PredictionGalleryDisplay
        >>> display = PredictionGalleryDisplay.from_predictions(
        ...     [[0]], [[2, 1]], texts=["red car"], label_names=["car", "<b>", "red"], k=2
        ... )
        >>> "&lt;b&gt;" in display.to_html()
        True
        """
        return cards_html(
            self.labels,
            self.hits,
            self.scores,
            self.missed,
            self.label_names,
            self.texts,
            self.pictures,
        )

    def _draw_card(self, card: Any, document: int) -> None:
        """Draw a document; one unit of y is one line of text."""
        from ._fitted_text import FittedText

        k = self.labels.shape[1]
        card.set(xlim=(0, 1), ylim=(k + 3.3, 0))
        title = self.texts[document].strip() or "(no text)"
        style = {"va": "center", "color": INK, "size": 9, "weight": "bold", "linespacing": 1.1}
        FittedText(card, 0, 0.95, title, share=1, n_lines=2, **style)
        start = 0.0
        if self.pictures is not None:
            start = _BESIDE_PICTURE
            self._draw_picture(card, self.pictures[document], 2.0, 2.0 + k)
        for rank in range(k):
            if self.labels[document, rank] >= 0:
                self._draw_label(card, document, rank, start, 2.5 + rank)
        missed = [self.label_names[label] for label in self.missed[document]]
        if missed:
            style = {"va": "center", "color": MUTED, "size": 7.5}
            text = f"missed: {', '.join(missed)}"
            FittedText(card, start, 2.55 + k, text, share=1 - start, **style)

    def _draw_picture(self, card: Any, picture: Any, top: float, bottom: float) -> None:
        bounds = (0, top, _BESIDE_PICTURE - 0.03, bottom - top)
        room = card.inset_axes(bounds, transform=card.transData)
        room.set(xticks=[], yticks=[])
        room.spines[:].set_visible(False)
        if picture is not None:
            room.set_facecolor("none")
            room.imshow(np.asarray(picture), interpolation="antialiased")
        else:
            room.set_facecolor(PALE)
            style = {"ha": "center", "va": "center", "color": MUTED, "size": 7.5}
            room.text(0.5, 0.5, "no picture", transform=room.transAxes, **style)

    def _draw_label(self, card: Any, document: int, rank: int, start: float, y: float) -> None:
        """Draw one prediction: bar, mark, name, and score at the right end."""
        from ._fitted_text import FittedText

        right = bool(self.hits[document, rank])
        reserve = 0.0
        if self.scores is not None:
            score = self.scores[document, rank]
            lowest, highest = self._bounds()
            length = (score - lowest) / (highest - lowest) * (1 - start)
            card.barh(y, length, 0.84, left=start, color=_RIGHT_BAR if right else _WRONG_BAR)
            number = f"{score:.2f}"
            card.text(1, y, number, ha="right", va="center", color=INK, size=7.5)
            reserve = 5.0 * len(number) + 3
        weight = "bold" if right else "normal"
        style = {"va": "center", "share": 1 - start}
        mark = {"color": COLORS[0] if right else MUTED, "weight": "bold", "size": 8}
        FittedText(card, start, y, _RIGHT if right else _WRONG, indent=2, **style, **mark)
        name = self.label_names[self.labels[document, rank]]
        style |= {"color": INK, "weight": weight, "size": 8.5}
        FittedText(card, start, y, name, indent=14, reserve=reserve, **style)

    def _bounds(self) -> tuple[float, float]:
        """Scores of an empty bar and of a full one, the same for all cards."""
        scores = self.scores[self.labels >= 0]
        lowest = min(0.0, scores.min(initial=0.0))
        return lowest, max(scores.max(initial=0.0), lowest + 1e-12)
