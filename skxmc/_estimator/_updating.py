"""Fitted models whose documents and labels come and go, and whose labels change their names."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from numbers import Integral
from typing import Any, Self

import numpy as np
import scipy.sparse as sp
from sklearn.utils.validation import check_is_fitted

from .._features._blocks import Features
from .._inputs._document_ids import check_document_ids
from .._inputs._label_set import Labels, read_labels
from .._inputs._targets import check_exclude, encode_targets, unseen_names, without_pairs
from .._inputs._texts import sequence_to_list
from .._ranking._ranker import Ranker
from .._ranking._updating import (
    Arriving,
    precision_before,
    with_documents,
    with_labels,
)
from ._allowed_labels import columns_of
from ._forgetting import ForgettingMixin, count_of
from ._parameters import check_threshold

# A refit is due once so many documents were added, as a share of those that were fitted on.
REFIT_SHARE = 1.0

# It is due as well where so large a share of the precision at 1 is lost on new documents, before
# they are learned from. Fewer documents than these say too little.
LOST_SHARE, MIN_LOOKED_AT = 0.25, 100


class UpdatingMixin(ForgettingMixin):
    """What changes a fitted estimator without another fit.

    Everything is made beside what is there, which is replaced in one step at the end: an error or
    an interrupt leaves the model as it was.
    """

    def partial_fit(
        self,
        X: Any,
        y: Any,
        *,
        images: Any = None,
        exclude: Any = None,
        label_text: Any = None,
        document_ids: Any = None,
        max_documents: int | None = None,
        classes: Any = None,
    ) -> Self:
        """Learn from more documents in seconds; on an unfitted estimator, :meth:`fit`.

        Encoder, whitening of pictures, words, mixture and re-ranker stay as they are. The documents
        become neighbours; counts of labels follow; prototypes of an untuned encoder
        move to the new means of their documents; label vectors are trained for a moment on the
        new documents and a sample of old ones. From 500 documents on, a fifth of them is held out
        to choose probabilities and threshold again, and is learned from afterwards. Names in `y`
        that are new become labels.
        Documents without a label say that every label is wrong, as far as the fit has had such
        documents. The accuracy of a refit is higher; a warning says when one is due.

        Parameters
        ----------
        X : sequence of str of length n_samples, or DataFrame
            New documents, as in :meth:`fit`.
        y : sparse or dense indicator of shape (n_samples, n_labels), or sequence of lists
            Their labels. The columns of an indicator are those of `classes_`; lists hold names,
            known or new ones of the same type.
        images : sequence of length n_samples, or float array, default=None
            Their pictures, as in :meth:`fit`.
        exclude : sparse matrix of shape (n_samples, n_labels), default=None
            Pairs that are neither positive nor negative, over the labels that are known before.
        label_text : mapping of label name to str or list of str, or table, default=None
            Texts of new labels, in the forms of the parameter `label_text` that have ids; those of
            other labels in it are not read. A new label that is not in it is described by its name,
            or by its documents alone if that is a number.
        document_ids : sequence of str or int of length n_samples, default=None
            Ids of the documents, where :meth:`fit` was given some.
        max_documents : int, default=None
            Documents that the model keeps: of more, the oldest are removed after learning, as by
            :meth:`remove_documents`.
        classes : object
            Not used: labels come from `y`. Here because scikit-learn's tools pass it.

        Returns
        -------
        self : object

        Raises
        ------
        TypeError
            If `label_text` has no ids, or a name in `y` is of another type than those known.
        ValueError
            If input is not as in :meth:`fit`, `label_text` is given for an unfitted estimator, or
            `document_ids` are given where :meth:`fit` had none, or the other way round; if
            `max_documents` is below 1, or a kind of evidence cannot remove documents.

        Warns
        -----
        UserWarning
            If a refit is due: more documents were added than the model was fitted on, or on the new
            ones its precision at 1, before it learns from them, is lower by a quarter than on those
            that the fit held out.
        """
        _check_max_documents(max_documents)
        texts = _texts_by_id(label_text)
        if not self.__sklearn_is_fitted__():
            if label_text is not None:
                raise ValueError(
                    "label_text names new labels of a fitted model, and this one is not fitted; "
                    "set the parameter label_text of the estimator instead."
                )
            self.fit(X, y, images=images, exclude=exclude, document_ids=document_ids)
            labels = {"label_texts_": self.label_texts_}
            found = self._without_oldest(self.ranker_, self.document_ids_, max_documents, labels)
            self._take_over(found[0], {}, found[1])
            return self
        X, images = self._check_new_documents(X, images)
        ids = self._check_new_ids(document_ids, len(X))
        Y, names, pairs, usable = self._check_new_targets(y, exclude, len(X))
        features = self._featurize(X, images)
        labels = self._describe_labels(names, texts, features)
        if pairs is not None:
            pairs = pairs[usable]
        before = self.ranker_
        first = before.n_seen_ if ids is None else len(self.document_ids_)
        arriving = Arriving(
            features.take(usable), Y[usable], pairs, first + usable, before.n_seen_ + usable
        )
        precision = precision_before(before, arriving)
        threshold = check_threshold(self.threshold)
        ranker = with_documents(before, arriving, labels, threshold, self.verbose)
        ranker.n_seen_ += len(X)
        new = Labels(
            np.asarray(names, dtype=self.classes_.dtype),
            [texts.get(name, [str(name)]) for name in names],
        )
        labels_after = self._with_new_labels(new)
        ranker, ids = self._without_oldest(ranker, ids, max_documents, labels_after)
        self._take_over(ranker, labels_after, ids)
        self._warn_if_refit_is_due(*precision)
        return self

    @property
    def n_documents_added_(self) -> int:
        """Documents that :meth:`partial_fit` has learned from since the last fit."""
        return self.ranker_.n_added_

    def remove_labels(self, names: Any) -> Self:
        """Forget labels: they are never proposed again, and their columns go.

        The labels behind them move up. Documents stay, also those that lose all their labels:
        every label counts as wrong for them.

        Parameters
        ----------
        names : label name, or sequence of label names
            Names in `classes_`.

        Returns
        -------
        self : object

        Raises
        ------
        ValueError
            If a name is unknown, no label would be left, or a kind of evidence from elsewhere
            does not say how to remove labels.
        """
        check_is_fitted(self)
        names = [names] if isinstance(names, str) else sequence_to_list(names)
        kept = np.setdiff1d(np.arange(len(self.classes_)), self._numbers_of(names, "names"))
        if not len(kept):
            raise ValueError("names holds all labels of the model; leave one, or fit again.")
        if len(kept) < len(self.classes_):
            self._take_over(with_labels(self.ranker_, kept), self._with_kept_labels(kept))
        return self

    def rename_labels(self, names: Any) -> Self:
        """Give labels other names; predictions stay the same.

        Parameters
        ----------
        names : mapping of label name to label name
            New names by those in `classes_`, of the same type. Two labels may exchange theirs.

        Returns
        -------
        self : object

        Raises
        ------
        TypeError
            If `names` is no mapping, or a new name is of another type than those in `classes_`.
        ValueError
            If a name is unknown, or two labels would have the same.
        """
        check_is_fitted(self)
        if not isinstance(names, Mapping):
            raise TypeError(
                f"names is of type {type(names).__name__}; pass a mapping, such as "
                "{'old name': 'new name'}."
            )
        numbers = self._numbers_of(list(names), "names")
        renamed = self.classes_.tolist()
        is_text = isinstance(renamed[0], str)
        for number, name in zip(numbers.tolist(), names.values(), strict=True):
            wanted = isinstance(name, str) if is_text else isinstance(name, Integral)
            if not wanted or isinstance(name, bool):
                raise TypeError(
                    f"names gives {renamed[number]!r} the name {name!r} of type "
                    f"{type(name).__name__}, but labels have names of type "
                    f"{'str' if is_text else 'int'}; pass such a name."
                )
            renamed[number] = str(name) if is_text else int(name)
        if len(set(renamed)) < len(set(self.classes_.tolist())):
            seen: set = set()
            twice = [name for name in renamed if name in seen or seen.add(name)]
            raise ValueError(
                f"names would give {count_of(twice)} to two labels; names have to be distinct."
            )
        classes = np.empty(len(renamed), dtype=self.classes_.dtype)
        classes[:] = renamed
        self.classes_ = classes
        return self

    # -- what is checked ----------------------------------------------------------------------

    def _check_new_targets(
        self, y: Any, exclude: Any, n: int
    ) -> tuple[sp.csr_array, list, sp.csr_array | None, np.ndarray]:
        """Targets over known and new labels, names of the new ones, pairs, and usable rows."""
        encode_targets(y, n, classes=self.classes_, unseen="ignore")
        names = unseen_names(y, self.classes_, "y")
        classes = np.concatenate([self.classes_, np.asarray(names, dtype=self.classes_.dtype)])
        Y, _ = encode_targets(y, n, classes=classes)
        pairs = check_exclude(exclude, n, len(self.classes_))
        empty = np.diff(Y.indptr) == 0
        if pairs is not None:
            pairs.resize(Y.shape)
            Y = without_pairs(Y, pairs)
        usable = np.flatnonzero(empty | (np.diff(Y.indptr) > 0))
        return Y, names, pairs, usable

    def _check_new_ids(self, document_ids: Any, n: int) -> np.ndarray | None:
        """Ids of all documents, those of the new ones last; None for a model without ids."""
        ids = check_document_ids(document_ids, n)
        known = self.document_ids_
        if (ids is None) != (known is None):
            raise ValueError(
                "document_ids is missing, but fit was given some; pass ids of the new documents."
                if ids is None
                else "document_ids is given, but fit was given none; leave it out, or fit again."
            )
        if ids is None:
            return None
        if ids.dtype != known.dtype:
            kind = "str" if known.dtype == object else "int"
            raise TypeError(f"document_ids holds other than {kind}, as fit was given; pass {kind}.")
        return np.concatenate([known, ids])

    def _describe_labels(self, names: list, texts: Mapping, features: Features) -> Features | None:
        """Features of new labels; zeros where there is nothing to describe them by."""
        if not names:
            return None
        described = features.zeros(len(names))
        if self.featurizer_.tower is None:
            return described
        has_text = np.array([isinstance(name, str) or name in texts for name in names])
        if has_text.any():
            given = [
                texts.get(name, [str(name)])
                for name in names
                if isinstance(name, str) or name in texts
            ]
            found = self.featurizer_.label_features(given, None, tuned=self._mode.tuned)
            order = np.concatenate([np.flatnonzero(has_text), np.flatnonzero(~has_text)])
            rest = found.zeros(len(names) - len(given))
            described = Features.stack([found, rest]).take(np.argsort(order))
        return described

    def _numbers_of(self, names: list, argument: str) -> np.ndarray:
        """Columns of labels by name."""
        columns = columns_of(names, self.classes_)
        unknown = [name for name, column in zip(names, columns, strict=True) if column < 0]
        if unknown:
            raise ValueError(
                f"{argument} holds {count_of(unknown)}, which the model does not know; pass names "
                "of classes_."
            )
        return columns

    # -- in one step --------------------------------------------------------------------------

    def _with_new_labels(self, new: Labels) -> dict[str, Any]:
        """Attributes of the labels, the new ones behind those that are known."""
        texts, parents = self.label_texts_, self.label_parents_
        return {
            "classes_": np.concatenate([self.classes_, new.ids]),
            "label_texts_": None if texts is None else [*texts, *new.texts],
            "label_parents_": None if parents is None else [*parents, *([] for _ in new.ids)],
        }

    def _with_kept_labels(self, kept: np.ndarray) -> dict[str, Any]:
        """Attributes of the labels that stay; parents that go are no parents any more."""
        texts, parents = self.label_texts_, self.label_parents_
        number_of = dict(zip(kept.tolist(), range(len(kept)), strict=True))
        if parents is not None:
            parents = [
                [number_of[parent] for parent in parents[label] if parent in number_of]
                for label in kept
            ]
        return {
            "classes_": self.classes_[kept],
            "label_texts_": None if texts is None else [texts[label] for label in kept],
            "label_parents_": parents,
        }

    def _take_over(
        self, ranker: Ranker, labels: dict[str, Any], document_ids: np.ndarray | None = None
    ) -> None:
        more = {} if document_ids is None else {"document_ids_": document_ids}
        # One call: no interrupt comes between the parts.
        vars(self).update(ranker_=ranker, threshold_=ranker.threshold_, **labels, **more)

    def _warn_if_refit_is_due(self, precision: float, n_looked_at: int) -> None:
        added, fitted = self.n_documents_added_, self.ranker_.n_fitted_
        usual = self.ranker_.held_out_precision_
        if added > REFIT_SHARE * fitted:
            warnings.warn(
                f"{added:,} documents were added to a model that was fitted on {fitted:,}; a refit "
                "on all of them is due: encoder, words and the mixture of evidence are those of "
                "the first documents.",
                UserWarning,
                stacklevel=3,
            )
        elif usual is not None and n_looked_at >= MIN_LOOKED_AT:
            error = np.sqrt(precision * (1 - precision) / n_looked_at)
            if precision + 2 * error < (1 - LOST_SHARE) * usual:
                warnings.warn(
                    f"the new documents are of another kind: before they were learned from, the "
                    f"best label was right for {precision:.0%} of {n_looked_at:,} of them, and for "
                    f"{usual:.0%} of those that the fit held out; a refit on all documents is due.",
                    UserWarning,
                    stacklevel=3,
                )


def _texts_by_id(label_text: Any) -> dict[Any, list[str]]:
    """Texts of labels by their ids."""
    if label_text is None:
        return {}
    labels = read_labels(label_text)
    if labels.ids is None:
        raise TypeError(
            f"label_text is of type {type(label_text).__name__}; pass a mapping of the new labels' "
            "names to their texts."
        )
    return dict(zip(labels.ids.tolist(), labels.texts, strict=True))


def _check_max_documents(number: Any) -> None:
    if number is None:
        return
    if isinstance(number, bool) or not isinstance(number, Integral) or number < 1:
        raise ValueError(
            f"max_documents must be a number of documents of at least 1, or None, got {number!r}."
        )
