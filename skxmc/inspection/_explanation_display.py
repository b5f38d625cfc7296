"""One document: the evidence behind each of its labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from sklearn.utils import _safe_indexing
from sklearn.utils.validation import check_is_fitted

from .._inputs._texts import sequence_to_list
from ..metrics._scorers import find_ranker
from ._axes import COLORS, INK, MUTED, one_axes
from ._documents import take, texts_of
from ._explanation import Explanation, NearDocument

# Lines of a label (name, bar, documents, words) and the gap below them; lines of the title.
_LINES, _TITLE = 4.6, 2.6
# Inches.
_WIDTH, _LINE = 6.4, 0.19
# Shares below are too short to write on.
_SHORT = 0.08


class ExplanationDisplay:
    """Evidence, near documents and words that support the labels of a document.

    Each label has a bar of the shares of all kinds of evidence in what the mixture gives it, with
    its probability at the right. Below stand the nearest training documents that have the label,
    and the words of the document that support it, where the model knows them.

    Parameters
    ----------
    explanations : list of Explanation
        Of the labels of one document, as ``explain`` returns them.
    label_names : mapping of label to str, default=None
        Names of the labels; None keeps their own names.
    document_names : sequence of str of length n_training_documents, default=None
        How training documents are called, by their rows in ``fit``; None takes their ids or rows.
    title : str, default=None
        Such as the text of the document.

    Attributes
    ----------
    explanations, label_names, document_names, title
        As passed.
    ax_ : matplotlib Axes
    figure_ : matplotlib Figure

    Examples
    --------
    >>> import numpy as np
    >>> from skxmc import ViXMLClassifier
    >>> from skxmc.inspection import ExplanationDisplay
    >>> clf = ViXMLClassifier("precomputed", random_state=0)
    >>> clf = clf.fit(np.eye(3), [["a"], ["b"], ["a", "c"]])
    >>> display = ExplanationDisplay.from_estimator(clf, np.eye(3), row=1, k=2)
    >>> display.explanations[0].label
    'b'
    """

    def __init__(
        self,
        explanations: list[Explanation],
        *,
        label_names: Mapping[Any, str] | None = None,
        document_names: Sequence[str] | None = None,
        title: str | None = None,
    ) -> None:
        self.explanations = explanations
        self.label_names = label_names
        self.document_names = document_names
        self.title = title

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: Any,
        row: int = 0,
        *,
        images: Any = None,
        labels: Sequence[Any] | None = None,
        k: int = 5,
        n_nearest: int = 3,
        n_words: int = 5,
        label_names: Sequence[str] | None = None,
        document_names: Sequence[str] | None = None,
        ax: Any = None,
        **kwargs: Any,
    ) -> ExplanationDisplay:
        """Explain labels of a document, and draw it.

        Parameters
        ----------
        estimator : estimator
            Fitted; or a pipeline or search around one.
        X : sequence of str of length n_samples, or DataFrame
            The documents; only the one that is drawn goes through the estimator.
        row : int, default=0
            Which of the documents.
        images : sequence of length n_samples, or float array, default=None
            Their pictures, as in ``fit``.
        labels : sequence of labels, default=None
            Labels to explain, by their names in ``classes_``; None takes the `k` best.
        k : int, default=5
            The number of best labels.
        n_nearest, n_words : int, default=3 and 5
            As in ``explain``.
        label_names : sequence of str of length n_labels, default=None
            Names of the labels; None takes ``classes_``.
        document_names : sequence of str of length n_training_documents, default=None
            How training documents are called, by their rows in ``fit``, such as their texts; None
            takes their ids or rows.
        ax : matplotlib Axes, default=None
            As in :meth:`plot`.
        **kwargs : dict
            Passed to ``Axes.barh``.

        Returns
        -------
        display : ExplanationDisplay
        """
        n_samples = X.shape[0] if hasattr(X, "shape") else len(X)
        if not 0 <= row < n_samples:
            raise ValueError(f"row must lie between 0 and {n_samples - 1}, got {row}.")
        steps, ranker = find_ranker(estimator)
        check_is_fitted(ranker)
        names = None if label_names is None else _by_label(ranker.classes_, label_names)
        rows = np.array([row])
        images = take(images, rows, n_samples, "images")
        X = _safe_indexing(X, rows)
        [title], _ = texts_of(ranker, X, images, rows)
        for step in steps:
            X = step.transform(X)
        given = {} if images is None else {"images": images}
        [explanations] = ranker.explain(
            X, labels, k=k, n_nearest=n_nearest, n_words=n_words, **given
        )
        display = cls(explanations, label_names=names, document_names=document_names, title=title)
        return display.plot(ax, **kwargs)

    def plot(self, ax: Any = None, **kwargs: Any) -> ExplanationDisplay:
        """Draw a bar for each label.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            None makes a new figure.
        **kwargs : dict
            Passed to ``Axes.barh``.

        Returns
        -------
        self : ExplanationDisplay

        Raises
        ------
        ValueError
            If there is no label to draw.
        """
        if not self.explanations:
            raise ValueError("explanations is empty; pass at least one label of a document.")
        from ._fitted_text import FittedText

        top = 0.0 if self.title is None else _TITLE
        height = _LINES * len(self.explanations) + top
        self.ax_ = ax = one_axes(ax, (_WIDTH, _LINE * height + 0.8))
        self.figure_ = ax.figure
        ax.set(xlim=(0, 1), ylim=(height, 0), yticks=[], xlabel="share of the evidence")
        ax.set_xticks(np.linspace(0, 1, 6), [f"{20 * tick} %" for tick in range(6)])
        ax.spines[["top", "right", "left"]].set_visible(False)
        if self.title is not None:
            title = self.title.strip() or "(no text)"
            style = {"va": "top", "color": INK, "weight": "bold", "linespacing": 1.1}
            FittedText(ax, 0, 0.1, title, share=1, n_lines=2, **style)
        for place, explanation in enumerate(self.explanations):
            self._draw_label(explanation, top + _LINES * place, kwargs)
        n_kinds = len(self.explanations[0].evidence)
        style = {"frameon": False, "fontsize": "small", "borderaxespad": 0.1}
        ax.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=n_kinds, **style)
        return self

    def _draw_label(self, explanation: Explanation, y: float, kwargs: dict[str, Any]) -> None:
        """Draw one label, from y downwards: a line of text is one unit high."""
        from ._fitted_text import FittedText

        ax, names = self.ax_, self.label_names
        name = explanation.label if names is None else names[explanation.label]
        style = {"va": "center", "color": INK, "size": 9, "share": 1}
        FittedText(ax, 0, y + 0.5, str(name), reserve=90, weight="bold", **style)
        number = f"probability {explanation.probability:.2f}"
        ax.text(1, y + 0.5, number, ha="right", va="center", color=INK, size=9)
        self._draw_shares(explanation.evidence, y + 1.45, kwargs)
        for line, text in enumerate(self._notes(explanation)):
            FittedText(ax, 0, y + 2.5 + line, text, **style | {"color": MUTED, "size": 8})

    def _draw_shares(self, evidence: dict[str, float], y: float, kwargs: dict[str, Any]) -> None:
        left = 0.0
        for place, (name, share) in enumerate(evidence.items()):
            known = self.ax_.get_legend_handles_labels()[1]
            label = name.replace("_", " ")
            style = {"color": COLORS[place % len(COLORS)], "height": 0.8} | kwargs
            label = label if label not in known else None
            self.ax_.barh(y, share, left=left, label=label, **style)
            if share >= _SHORT:
                text = {"ha": "center", "va": "center", "color": "white", "size": 7.5}
                self.ax_.text(left + share / 2, y, f"{100 * share:.0f} %", **text)
            left += share

    def _notes(self, explanation: Explanation) -> list[str]:
        """What stands below the bar of a label."""
        notes = []
        if explanation.documents:
            near = [f"{self._called(one)} ({one.cosine:.2f})" for one in explanation.documents]
            notes.append(f"near: {', '.join(near)}")
        said = [f"{word} +{amount:.1f}" for word, amount in explanation.words if amount >= 0.05]
        parts = [f"words: {', '.join(said)}"] if said else []
        like = [f"{word} +{amount:.1f}" for word, amount in explanation.matches if amount >= 0.05]
        parts += [f"like it: {', '.join(like)}"] if like else []
        if explanation.picture is not None:
            parts.append(f"picture: {explanation.picture:+.1f}")
        if parts:
            notes.append(" · ".join(parts))
        return notes

    def _called(self, near: NearDocument) -> str:
        if self.document_names is not None:
            return str(self.document_names[near.row])
        return f"row {near.row}" if near.id is None else str(near.id)


def _by_label(classes: np.ndarray, label_names: Sequence[str]) -> dict[Any, str]:
    """How each label is called."""
    called = sequence_to_list(label_names)
    if len(called) != len(classes):
        raise ValueError(
            f"label_names has {len(called)} entries but there must be {len(classes)}; pass one for "
            "each label."
        )
    return dict(zip(classes.tolist(), called, strict=True))
