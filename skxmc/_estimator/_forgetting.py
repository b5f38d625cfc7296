"""Fitted models that forget documents."""

from __future__ import annotations

from collections.abc import Mapping
from numbers import Integral
from typing import Any, Self

import numpy as np
from sklearn.utils.validation import check_is_fitted

from .._features._blocks import Features
from .._inputs._texts import sequence_to_list
from .._ranking._ranker import Ranker
from .._ranking._updating import without_documents

# Names that an error lists.
_LISTED = 5


class ForgettingMixin:
    """What :class:`UpdatingMixin` stands on: documents that go."""

    def remove_documents(self, ids: Any) -> Self:
        """Forget documents.

        They are neighbours no more. Counts of labels, prototypes of an untuned encoder, and the
        sample that later updates learn from follow. Label vectors stay as they are, and so do
        mixture, re-ranker, probabilities and threshold: only a refit forgets all that was learned
        from a document. A label that loses its last document stays, and stands for its text as a
        label does that :meth:`add_labels` has added.

        Parameters
        ----------
        ids : id of a document, or sequence of ids
            As `document_ids` gave them; all documents with an id go. Where :meth:`fit` was given
            none they are numbers: rows of the X of :meth:`fit`, counted on through the calls of
            :meth:`partial_fit`. Documents that stay keep their numbers.

        Returns
        -------
        self : object

        Raises
        ------
        ValueError
            If the model has no such document, no document would be left, or a kind of evidence
            from elsewhere does not say how to remove documents.

        Examples
        --------
        >>> import numpy as np
        >>> from skxmc import ViXMLClassifier
        >>> clf = ViXMLClassifier("precomputed", random_state=0)
        >>> clf = clf.fit(np.eye(3), [["a"], ["b"], ["a", "c"]], document_ids=["x", "y", "z"])
        >>> clf.remove_documents("z").document_ids_
        array(['x', 'y'], dtype=object)
        """
        check_is_fitted(self)
        ids = [ids] if isinstance(ids, str | Integral) else sequence_to_list(ids)
        if not ids:
            return self
        gone, dropped = self._documents_of(ids)
        if len(gone) == len(self.ranker_.rows_):
            raise ValueError("ids holds all documents of the model; leave one, or fit again.")
        labels = {"label_texts_": self.label_texts_}
        found = self._without(self.ranker_, self.document_ids_, gone, dropped, labels)
        self._take_over(found[0], {}, found[1])
        return self

    def _documents_of(self, ids: list) -> tuple[np.ndarray, np.ndarray]:
        """Rows of the training labels, and positions in `document_ids_`."""
        rows, known = self.ranker_.rows_, self.document_ids_
        everything = (rows if known is None else known).tolist()
        wanted, there = set(ids), set(everything)
        unknown = [one for one in dict.fromkeys(ids) if one not in there]
        if unknown:
            what = "numbers of its documents" if known is None else "ids of document_ids_"
            raise ValueError(
                f"ids holds {count_of(unknown, 'document')}, which the model does not have; pass "
                f"{what}."
            )
        goes = np.array([one in wanted for one in everything])
        if known is None:
            return np.flatnonzero(goes), np.empty(0, dtype=np.int64)
        return np.flatnonzero(goes[rows]), np.flatnonzero(goes)

    def _without_oldest(
        self,
        ranker: Ranker,
        document_ids: np.ndarray | None,
        max_documents: int | None,
        labels: Mapping[str, Any],
    ) -> tuple[Ranker, np.ndarray | None]:
        """A ranker with so many documents at most, and the ids of these."""
        rows = ranker.rows_
        if max_documents is None or len(rows) <= max_documents:
            return ranker, document_ids
        by_age = np.argsort(rows, kind="stable")
        n_gone = len(rows) - max_documents
        before = np.arange(rows[by_age[n_gone]])
        return self._without(ranker, document_ids, np.sort(by_age[:n_gone]), before, labels)

    def _without(
        self,
        ranker: Ranker,
        document_ids: np.ndarray | None,
        gone: np.ndarray,
        dropped: np.ndarray,
        labels: Mapping[str, Any],
    ) -> tuple[Ranker, np.ndarray | None]:
        """A ranker without some documents, and the ids of those that stay.

        Parameters
        ----------
        ranker : Ranker
        document_ids : ndarray or None
        gone : ndarray of int64
            Rows of the training labels.
        dropped : ndarray of int64
            Positions in `document_ids`, also of documents that nothing was learned from.
        labels : mapping
            Has the texts of the labels as `label_texts_`.
        """
        texts = labels["label_texts_"]

        def describe(numbers: np.ndarray) -> Features | None:
            if texts is None or self.featurizer_.tower is None:
                return None
            own = [texts[number] for number in numbers]
            return self.featurizer_.label_features(own, None, tuned=self._mode.tuned)

        smaller = without_documents(ranker, gone, describe)
        if document_ids is None:
            return smaller, None
        left = np.delete(np.arange(len(document_ids)), dropped)
        smaller.rows_ = np.searchsorted(left, smaller.rows_)
        return smaller, document_ids[left]


def count_of(names: list, what: str = "name") -> str:
    """How many names there are, and the first of them."""
    first = ", ".join(repr(name) for name in names[:_LISTED])
    more = ", ..." if len(names) > _LISTED else ""
    return f"{len(names)} {what}{'s' if len(names) > 1 else ''} ({first}{more})"
