"""Why documents get labels, and which training documents are near."""

from __future__ import annotations

from numbers import Integral
from typing import Any

import numpy as np
from sklearn.utils.validation import check_is_fitted

from .._features._blocks import Features
from .._features._words import words_of_spans
from .._inputs._targets import labels_to_names
from .._inputs._texts import check_top_k, sequence_to_list
from .._ranking._explaining import document_finder, explain_pairs, nearest_documents
from ..evidence import Reasons
from ..inspection import Explanation, NearDocument

# Pairs explained at a time, of whole documents: a vector for each is made.
_PAIRS = 2048


class ExplainingMixin:
    """What a fitted estimator says of single predictions.

    It stands on what :class:`PredictionMixin` stands on, and `document_ids_`.
    """

    def explain(
        self,
        X: Any,
        labels: Any = None,
        *,
        images: Any = None,
        k: int = 5,
        n_nearest: int = 3,
        n_words: int = 5,
    ) -> list[list[Explanation]]:
        """Say why documents get labels.

        Parameters
        ----------
        X : sequence of str of length n_samples, or DataFrame
            As in :meth:`fit`.
        labels : sequence of labels, or one sequence a document, default=None
            Labels to explain, by their names in `classes_`: the same for all documents, or a list
            for each document. None takes the `k` best labels of each.
        images : sequence of length n_samples, or float array, default=None
            As in :meth:`fit`.
        k : int, default=5
            Number of best labels, where there are as many; unused if `labels` are given.
        n_nearest : int, default=3
            Most training documents that are named for a label. A document that is itself a
            training document comes first, with a cosine of 1.
        n_words : int, default=5
            Most words that are named for a label; only words that speak for it are.

        Returns
        -------
        explanations : list of list of Explanation
            For each document one record a label, in the order of `labels` or best first. See
            :class:`~skxmc.inspection.Explanation`.

        Raises
        ------
        ValueError
            If a label is not known, `labels` does not fit X, a number is out of range, or input is
            not as in :meth:`fit`.

        Examples
        --------
        >>> import numpy as np
        >>> from skxmc import ViXMLClassifier
        >>> clf = ViXMLClassifier("precomputed", random_state=0)
        >>> clf = clf.fit(np.eye(3), [["a"], ["b"], ["a", "c"]], document_ids=["x", "y", "z"])
        >>> [[why]] = clf.explain(np.eye(3)[[1]], ["b"])
        >>> why.label, sorted(why.evidence), why.documents[0].id
        ('b', ['label_vectors', 'neighbours', 'prototypes'], 'y')
        """
        check_is_fitted(self)
        n_nearest = _check_number(n_nearest, "n_nearest")
        n_words = _check_number(n_words, "n_words")
        if labels is None:
            k = min(check_top_k(k), len(self.classes_))
        X, images = self._check_new_documents(X, images)
        asked = None if labels is None else self._labels_of_rows(labels, len(X))
        if asked is not None and not asked.size:
            return [[] for _ in range(len(X))]
        features = self._featurize(X, images)
        found = []
        step = max(1, _PAIRS // (k if asked is None else asked.shape[1]))
        for start in range(0, len(features), step):
            rows = slice(start, start + step)
            part = features.take(rows)
            own = self.ranker_.predict(part, k)[0] if asked is None else asked[rows]
            found += self._explain_block(X[rows], part, own, n_nearest, n_words)
        return found

    def nearest(self, X: Any, n: int = 5, *, images: Any = None) -> tuple[np.ndarray, np.ndarray]:
        """Find the training documents that are most like given ones.

        They are those that the neighbours among the evidence go by.

        Parameters
        ----------
        X : sequence of str of length n_samples, or DataFrame
            As in :meth:`fit`.
        n : int, default=5
            Number of training documents. Where there are fewer, rows are padded as below.
        images : sequence of length n_samples, or float array, default=None
            As in :meth:`fit`.

        Returns
        -------
        documents : ndarray of shape (n_samples, n), int64, or object
            Rows of the X that :meth:`fit` was given, nearest first; -1 where there are fewer. Where
            `document_ids` were given, these ids instead, and None.
        cosines : ndarray of shape (n_samples, n), float32
            -inf where there is no document.

        Raises
        ------
        ValueError
            If the model has no neighbours among its evidence, `n` is below 1, or input is not as in
            :meth:`fit`.

        Examples
        --------
        >>> import numpy as np
        >>> from skxmc import ViXMLClassifier
        >>> clf = ViXMLClassifier("precomputed", random_state=0)
        >>> clf = clf.fit(np.eye(3), [["a"], ["b"], ["a", "c"]])
        >>> clf.nearest(np.eye(3)[[1]], n=1)
        (array([[1]]), array([[1.]], dtype=float32))
        """
        check_is_fitted(self)
        finder = document_finder(self.ranker_)
        if finder is None:
            raise ValueError(
                "nearest needs an index of training documents, and this model was fitted without "
                f"neighbours: its evidence is {list(self.evidence_)}; fit with "
                "evidence=['neighbours', ...]."
            )
        n = _check_number(n, "n", 1)
        rows, cosines = nearest_documents(self.ranker_, finder, self._features(X, images), n)
        if self.document_ids_ is not None:
            return labels_to_names(rows, self.document_ids_), cosines
        return rows, cosines

    def _labels_of_rows(self, labels: Any, n_samples: int) -> np.ndarray:
        """Column numbers of the labels of each document, (n_samples, m) int64, -1 at the end."""
        entries = [labels] if isinstance(labels, str) else sequence_to_list(labels)
        nested = [isinstance(entry, list | tuple | np.ndarray) for entry in entries]
        if not any(nested):
            return np.tile(self._find_labels(entries), (n_samples, 1))
        if not all(nested):
            raise TypeError(
                f"labels[{nested.index(False)}] is no list, but others are; pass one list for each "
                "document, or names for all of them."
            )
        if len(entries) != n_samples:
            raise ValueError(
                f"labels holds {len(entries)} lists for {n_samples} documents; pass one for each."
            )
        lengths = np.array([len(entry) for entry in entries])
        found = np.full((n_samples, lengths.max()), -1, dtype=np.int64)
        everything = [name for entry in entries for name in sequence_to_list(entry)]
        found[np.arange(lengths.max()) < lengths[:, None]] = self._find_labels(everything)
        return found

    def _explain_block(
        self, X, features: Features, labels: np.ndarray, n_nearest: int, n_words: int
    ) -> list[list[Explanation]]:
        """One record for each pair of some documents and their labels."""
        probabilities, shares, reasons = explain_pairs(self.ranker_, features, labels, n_nearest)
        names = labels_to_names(labels, self.classes_)
        found = []
        for row, text in enumerate(X):
            words = self._words(text, features, reasons, row, n_words)
            matches = self._matches(text, reasons, row, n_words)
            pictures = _picture_parts(features, reasons, row)
            found.append(
                [
                    Explanation(
                        label=names[row, place],
                        probability=float(probabilities[row, place]),
                        evidence={name: float(own[row, place]) for name, own in shares.items()},
                        documents=self._near_documents(reasons, row, place),
                        words=[] if words is None else words[place],
                        picture=None if pictures is None else pictures[place],
                        matches=[] if matches is None else matches[place],
                    )
                    for place in np.flatnonzero(labels[row] >= 0)
                ]
            )
        return found

    def _near_documents(self, reasons: Reasons, row: int, place: int) -> list[NearDocument]:
        if reasons.documents is None:
            return []
        rows, cosines = (part[row, place] for part in reasons.documents)
        rows, cosines = rows[rows >= 0], cosines[rows >= 0].tolist()
        ids = (
            [None] * len(rows) if self.document_ids_ is None else self.document_ids_[rows].tolist()
        )
        return [NearDocument(*one) for one in zip(rows.tolist(), ids, cosines, strict=True)]

    def _words(
        self, text: Any, features: Features, reasons: Reasons, row: int, n_words: int
    ) -> list[list[tuple[str, float]]] | None:
        """For each label of a document the words that speak for it, most of all first."""
        if reasons.words is None:
            return None
        words, origins = self.featurizer_.words.words_of(text)
        stored = slice(*features.words.indptr[row : row + 2])
        return _best_words(
            words, reasons.words[row] @ origins[:, features.words.indices[stored]].T, n_words
        )

    def _matches(
        self, text: Any, reasons: Reasons, row: int, n_words: int
    ) -> list[list[tuple[str, float]]] | None:
        """For each label of a document the words that are most like it."""
        if reasons.tokens is None:
            return None
        spans = self.featurizer_.tower.token_spans(text)
        if spans is None:
            return None
        words, origins = words_of_spans(text, spans)
        return _best_words(words, reasons.tokens[row] @ origins.T, n_words)


def _best_words(
    words: list[str], amounts: np.ndarray, n_words: int
) -> list[list[tuple[str, float]]]:
    """The words of greatest positive amounts, (n_labels, n_words of the text), for each label."""
    best = np.argsort(-amounts, axis=1, kind="stable")[:, :n_words]
    return [
        [(words[word], float(own[word])) for word in order if own[word] > 0]
        for own, order in zip(amounts, best, strict=True)
    ]


def _picture_parts(features: Features, reasons: Reasons, row: int) -> list[float] | None:
    """How much pictures speak for each label of a document; None if it has no pictures."""
    if reasons.pictures is None or not features.pictures[row].any():
        return None
    return reasons.pictures[row].tolist()


def _check_number(value: Any, argument: str, least: int = 0) -> int:
    """An int that is large enough, or an error that says which argument is wrong."""
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, Integral):
        raise TypeError(f"{argument} must be an int, got {value!r} of type {type(value).__name__}.")
    if value < least:
        raise ValueError(f"{argument} must be at least {least}, got {argument}={value}.")
    return int(value)
