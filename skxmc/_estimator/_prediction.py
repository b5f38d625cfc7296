"""The family of predictions, and what a fitted model learns of new labels."""

from __future__ import annotations

import warnings
from itertools import pairwise
from typing import Any, Self

import numpy as np
import scipy.sparse as sp
from sklearn.base import ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils.validation import check_is_fitted

from .._features._blocks import Features
from .._inputs._images import ImageFeatures, ImageItems, with_pictures
from .._inputs._packed_names import LazyNames, PackedNames
from .._inputs._targets import encode_targets, encode_truth, labels_to_names
from .._inputs._texts import check_top_k, sequence_to_list
from .._ranking._allowed import Allowed
from ..encoders import Precomputed
from ..evidence import Evidence
from ._allowed_labels import check_allowed, columns_of, excluded_pairs
from ._parameters import BACKENDS, resolve_image_encoder
from ._results import candidates_frame, pad_candidates, read_new_labels

# Largest dense result of decision_function, in bytes.
MAX_DENSE_BYTES = 4e9


class PredictionMixin(ClassNamePrefixFeaturesOutMixin, TransformerMixin):
    """What the estimators do once they are fitted.

    An estimator has `classes_`, `ranker_`, `featurizer_` and `threshold_` then, and says how
    documents are checked (``_check_documents``) and in which mode (`_mode`) it works.
    """

    # What runs the text encoder; a parameter where there is a choice.
    backend = "torch"

    classes_ = LazyNames()

    @property
    def _label_ids(self) -> np.ndarray | PackedNames:
        """As `classes_`; of a loaded model they stay in its file until they are asked for."""
        return vars(self)["classes_"]

    @property
    def evidence_(self) -> dict[str, Evidence]:
        """The fitted kinds of evidence by name."""
        return self.ranker_.evidence_

    @property
    def tower_(self) -> Any:
        """The text encoder; None with ``encoder="precomputed"``."""
        return self.featurizer_.tower

    @property
    def image_encoder_(self) -> Any:
        """The picture encoder; None if there were no pictures to encode."""
        return self.featurizer_.image_encoder

    @property
    def _n_features_out(self) -> int:
        """Columns that :meth:`transform` returns."""
        tower, whitener = self.featurizer_.tower, self.featurizer_.whitener
        width = self.n_features_in_ if tower is None else tower.dimension
        if self._mode.tuned or whitener is None:
            return width
        return width + whitener.components_.shape[1]

    def predict_topk(
        self,
        X: Any,
        k: int = 5,
        *,
        images: Any = None,
        exclude: Any = None,
        only: Any = None,
        exclude_labels: Any = None,
        return_labels: bool = False,
        as_frame: bool = False,
    ) -> tuple[np.ndarray, np.ndarray] | Any:
        """The k best labels of each document, best first.

        Parameters
        ----------
        X : sequence of str of length n_samples, or DataFrame
            As in :meth:`fit`.
        k : int, default=5
            Number of labels; where there are fewer, rows are padded as below. Which labels are
            first, and their probabilities, do not depend on it.
        images : sequence of length n_samples, or float array, default=None
            As in :meth:`fit`.
        exclude : sparse matrix of shape (n_samples, n_labels), or sequence of labels, default=None
            Labels that are never returned: pairs of documents and labels, or the names of labels
            (or a bool mask of shape (n_labels,)) for all documents.
        only : sparse matrix of shape (n_samples, n_labels), or sequence of labels, default=None
            Labels that may be returned, in the same forms. The best of these are found, however few
            they are.
        exclude_labels : sequence of labels, default=None
            Labels that are never returned, whatever `exclude` says of each document: names, or a
            bool mask of shape (n_labels,).
        return_labels : bool, default=False
            Whether to return ids of labels, as in `classes_`, in place of column numbers.
        as_frame : bool, default=False
            Whether to return a pandas DataFrame with a row for each candidate and the columns
            ``document`` (row of X), ``rank`` (from 1), ``label`` (id), ``text`` and ``score``.

        Returns
        -------
        labels : ndarray of shape (n_samples, k), int64, or object with `return_labels`
            Column numbers (or ids); -1 (or None) where a document has fewer candidates. With
            `as_frame` the table alone is returned.
        probabilities : ndarray of shape (n_samples, k), float32
            Probability that a label is right; -inf where there is no candidate. Those of a document
            do not compete for a sum of 1.

        Raises
        ------
        ValueError
            If k is below 1, or input is not as in :meth:`fit`.
        """
        check_is_fitted(self)
        k = check_top_k(k)
        features = self._features(X, images)
        allowed = check_allowed(exclude, only, exclude_labels, len(features), self._label_ids)
        found = self.ranker_.predict(features, min(k, len(self._label_ids)), allowed)
        indices, scores = pad_candidates(*found, k)
        if as_frame:
            return candidates_frame(indices, scores, self._label_ids, self.label_texts_)
        return (labels_to_names(indices, self._label_ids) if return_labels else indices), scores

    def predict(
        self,
        X: Any,
        images: Any = None,
        exclude: Any = None,
        only: Any = None,
        max_labels: int | None = 1000,
        *,
        exclude_labels: Any = None,
    ) -> sp.csr_array:
        """Labels whose probability is above the threshold.

        Parameters
        ----------
        X, images, exclude, only, exclude_labels
            As in :meth:`predict_topk`.
        max_labels : int, default=1000
            Most labels of a document; a warning says when it cuts.

        Returns
        -------
        Y : csr_array of shape (n_samples, n_labels), float32
            Indicator of the predicted labels. A document may have none.
        """
        check_is_fitted(self)
        features = self._features(X, images)
        allowed = check_allowed(exclude, only, exclude_labels, len(features), self._label_ids)
        indices, scores = self._above_threshold(features, allowed, max_labels)
        rows, columns = np.nonzero(scores > self._threshold_of(indices))
        shape = (len(indices), len(self._label_ids))
        ones = np.ones(len(rows), dtype=np.float32)
        Y = sp.csr_array((ones, (rows, indices[rows, columns])), shape=shape)
        Y.sort_indices()
        return Y

    def predict_proba(
        self,
        X: Any,
        images: Any = None,
        exclude: Any = None,
        only: Any = None,
        *,
        exclude_labels: Any = None,
        labels: Any = None,
    ) -> sp.csr_array | np.ndarray:
        """Probability that a label is right, for each document.

        Each label has a probability of its own: those of a document don't sum to 1.

        Parameters
        ----------
        X, images, exclude, only, exclude_labels
            As in :meth:`predict_topk`.
        labels : sequence of label names, default=None
            Labels whose probabilities are wanted.

        Returns
        -------
        probabilities : csr_array of shape (n_samples, n_labels), float32, or ndarray
            Those of the labels that the evidence proposes; what is not stored is lower than these.
            With `labels` a dense array of shape (n_samples, len(labels)), in their order.
        """
        check_is_fitted(self)
        features = self._features(X, images)
        allowed = check_allowed(exclude, only, exclude_labels, len(features), self._label_ids)
        if labels is not None:
            return self.ranker_.score(features, self._find_labels(labels), allowed)
        indices, scores = self.ranker_.predict(features, self._n_candidates(), allowed)
        rows, columns = np.nonzero(indices >= 0)
        shape = (len(indices), len(self._label_ids))
        pairs = (rows, indices[rows, columns])
        probabilities = sp.csr_array((scores[rows, columns], pairs), shape=shape)
        probabilities.sort_indices()
        return probabilities

    def decision_function(
        self,
        X: Any,
        images: Any = None,
        exclude: Any = None,
        only: Any = None,
        *,
        exclude_labels: Any = None,
    ) -> np.ndarray:
        """Dense scores; a label is predicted where its score is above 0.

        Parameters
        ----------
        X, images, exclude, only, exclude_labels
            As in :meth:`predict_topk`.

        Returns
        -------
        scores : ndarray of shape (n_samples, n_labels), float32
            Probability less the threshold; labels that no evidence proposes have probability 0.

        Raises
        ------
        ValueError
            If the result would take more than 4 GB; use :meth:`predict_topk` then.
        """
        check_is_fitted(self)
        X, images = self._check_new_documents(X, images)
        n_labels = len(self._label_ids)
        if 4.0 * len(X) * n_labels > MAX_DENSE_BYTES:
            raise ValueError(
                f"decision_function would return {len(X)} x {n_labels} scores, "
                f"{4e-9 * len(X) * n_labels:.1f} GB; use predict_topk, or pass fewer documents."
            )
        allowed = check_allowed(exclude, only, exclude_labels, len(X), self._label_ids)
        features = self._featurize(X, images)
        indices, scores = self._above_threshold(features, allowed, n_labels)
        dense = np.zeros((len(indices), n_labels), dtype=np.float32)
        rows, columns = np.nonzero(indices >= 0)
        dense[rows, indices[rows, columns]] = scores[rows, columns]
        return dense - np.float32(self.threshold_)

    def transform(self, X: Any, images: Any = None) -> np.ndarray:
        """Embeddings of documents.

        Parameters
        ----------
        X, images
            As in :meth:`predict_topk`.

        Returns
        -------
        embeddings : ndarray of shape (n_samples, dimension), float32
            Of unit norm. A tuned encoder has the pictures in it; beside a frozen one the
            scaled picture vectors stand as further columns.
        """
        check_is_fitted(self)
        features = self._features(X, images)
        if self._mode.tuned:
            return features.text
        return features.joined()

    def fit_transform(
        self, X: Any, y: Any, images: Any = None, exclude: Any = None, document_ids: Any = None
    ) -> np.ndarray:
        """Fit, then the embeddings of the same documents.

        Parameters
        ----------
        X, y, images, exclude, document_ids
            As in :meth:`fit`.

        Returns
        -------
        embeddings : ndarray of shape (n_samples, dimension), float32
            As from :meth:`transform`.
        """
        self.fit(X, y, images=images, exclude=exclude, document_ids=document_ids)
        return self.transform(X, images=images)

    def score(
        self,
        X: Any,
        y: Any,
        sample_weight: Any = None,
        images: Any = None,
        exclude: Any = None,
    ) -> float:
        """Precision at 1.

        Parameters
        ----------
        X, images, exclude
            As in :meth:`predict_topk`.
        y : as in :meth:`fit`
            The documents' labels. Names that were not seen in fit count as never found.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the documents.

        Returns
        -------
        precision : float
            Share of the documents whose best label is right; documents without a label are
            left out.
        """
        from ..metrics import precision_at_k

        found = self.predict_topk(X, k=1, images=images, exclude=exclude)
        n_samples = len(found[0])
        Y = encode_truth(y, n_samples, self.classes_)
        exclude = excluded_pairs(exclude, n_samples, self._label_ids)
        if exclude is not None:
            exclude.resize(Y.shape)
        return precision_at_k(Y, found, k=1, exclude=exclude, sample_weight=sample_weight)

    def add_labels(
        self,
        labels: Any,
        *,
        label_text: Any = None,
        label_images: Any = None,
        label_embeddings: Any = None,
    ) -> Self:
        """Make new labels known without training: their prototypes are their embeddings.

        Parameters
        ----------
        labels : sequence of str or int, mapping of id to texts, or table
            Ids of the new labels, appended to `classes_`, of whose type they are; or all that is
            known of them, in the forms that the parameter `label_text` takes.
        label_text : sequence of str or of lists of str, or mapping of id to these, default=None
            Their texts; None takes the ids.
        label_images : sequence of length n_new, or mapping of id to pictures, default=None
            Their pictures.
        label_embeddings : array of shape (n_new, d), or mapping of id to vector, default=None
            Their embeddings, in place of texts, with ``encoder="precomputed"``.

        Returns
        -------
        self : object

        Raises
        ------
        TypeError
            If an id is not of the type of those in `classes_`.
        ValueError
            If an id is known already, or there are embeddings and an encoder, or neither.
        """
        check_is_fitted(self)
        if (self.featurizer_.tower is None) == (label_embeddings is None):
            raise ValueError(
                "add_labels needs an encoder, and this model has encoder='precomputed'; pass "
                "label_embeddings."
                if label_embeddings is None
                else "label_embeddings is given, but the model has an encoder; pass label_text."
            )
        new = read_new_labels(labels, label_text, self.classes_)
        if not len(new.ids):
            return self
        new = new.with_images(label_images)
        collected = self._check_image_kind(
            self._collect_images(new.images, len(new.ids), "label_images"), "label_images"
        )
        images = self._encode_images(collected)
        if label_embeddings is not None:
            vectors = Precomputed(label_embeddings).embeddings_of(new.ids, self.n_features_in_)
            features = self.featurizer_.complete_labels(vectors, new.texts, images)
        else:
            features = self.featurizer_.label_features(new.texts, images, tuned=self._mode.tuned)
        self.ranker_.add_labels(features)
        self.threshold_ = self.ranker_.threshold_
        self.classes_ = np.concatenate([self.classes_, new.ids])
        if self.label_texts_ is not None:
            self.label_texts_ = [*self.label_texts_, *new.texts]
        if self.label_parents_ is not None:
            self.label_parents_ = [*self.label_parents_, *([] for _ in new.ids)]
        return self

    def inverse_transform(self, Y: Any) -> list[tuple[Any, ...]]:
        """Ids of the labels that an indicator marks.

        Parameters
        ----------
        Y : sparse or dense indicator of shape (n_samples, n_labels)
            Such as :meth:`predict` returns.

        Returns
        -------
        names : list of tuple
            One tuple of ids a row, in the order of the columns.
        """
        check_is_fitted(self)
        n_samples = Y.shape[0] if hasattr(Y, "shape") else len(Y)
        Y, _ = encode_targets(Y, n_samples, classes=self.classes_)
        names = self._label_ids[Y.indices]
        return [tuple(names[start:stop]) for start, stop in pairwise(Y.indptr)]

    def _features(self, X, images) -> Features:
        return self._featurize(*self._check_new_documents(X, images))

    def _featurize(self, X, images) -> Features:
        if self.backend not in BACKENDS:  # set after fit, which would have said so
            raise ValueError(f"backend must be one of {BACKENDS}, got {self.backend!r}")
        return self.featurizer_.features(X, self._encode_images(images), self.backend)

    def _encode_images(self, images: ImageItems | ImageFeatures | None) -> ImageFeatures | None:
        missing = resolve_image_encoder(self.image_encoder).missing
        return self.featurizer_.encode_images(images, missing)

    def _check_new_documents(self, X, images):
        """Documents as in fit, with the kind of pictures that fit had."""
        X, images = self._check_documents(X, images, reset=False)
        if images is None and self.featurizer_.whitener is not None and len(X):
            warnings.warn(
                "the model was fitted with pictures and gets none now; pass images= (None for "
                "a document without) for results as good as in fit",
                UserWarning,
                stacklevel=4,
            )
        return X, self._check_image_kind(images)

    def _check_image_kind(
        self, images: ImageItems | ImageFeatures | None, argument: str = "images"
    ) -> ImageItems | ImageFeatures | None:
        """Pictures of the kind that fit had; None if there is none at all."""
        images = with_pictures(images)
        if images is None:
            return None
        whitener = self.featurizer_.whitener
        if whitener is None:
            raise ValueError(
                f"{argument} is given, but the model was fitted without pictures; leave it out, or "
                "fit with images."
            )
        if isinstance(images, ImageItems):
            if self.featurizer_.image_encoder is None:
                raise ValueError(
                    f"{argument} holds pictures, but the model was fitted with ready image "
                    "embeddings; pass embeddings of the same encoder."
                )
        elif images.dimension != len(whitener.mean_):
            raise ValueError(
                f"{argument} has vectors of length {images.dimension}, and the model was fitted "
                f"with vectors of length {len(whitener.mean_)}; use the same image encoder."
            )
        return images

    def _above_threshold(self, features: Features, allowed: Allowed, most: int):
        """Ranked labels of documents, (n, m), at least all whose probability is high enough."""
        k, most = self._n_candidates(), min(most, len(self._label_ids))
        indices, scores = self.ranker_.predict(features, min(k, most), allowed)
        while self._goes_on(indices, scores):
            if k >= most:
                if most < len(self._label_ids):
                    warnings.warn(
                        f"some documents have more than max_labels={most} labels above the "
                        "threshold; the best of them are given. Pass a larger max_labels.",
                        UserWarning,
                        stacklevel=3,
                    )
                break
            k = min(4 * k, most)
            indices, scores = self.ranker_.predict(features, k, allowed)
        return indices, scores

    def _goes_on(self, indices: np.ndarray, scores: np.ndarray) -> bool:
        """Whether the last label of a document is above the threshold."""
        return bool((scores[:, -1] > self._threshold_of(indices[:, -1:])[:, 0]).any())

    def _threshold_of(self, indices: np.ndarray) -> np.ndarray:
        """The threshold of each label, of the shape of `indices`."""
        return np.broadcast_to(self.threshold_, (len(self._label_ids),))[indices]

    def _find_labels(self, labels) -> np.ndarray:
        """Column numbers of labels by name."""
        names = [labels] if isinstance(labels, str) else sequence_to_list(labels)
        columns = columns_of(names, self._label_ids)
        unknown = [name for name, column in zip(names, columns, strict=True) if column < 0]
        if unknown:
            raise ValueError(
                f"labels holds {len(unknown)} names that are not those of labels, such as "
                f"{unknown[0]!r}; pass names of classes_."
            )
        return columns

    def _n_candidates(self) -> int:
        """Labels of a document that can have a probability."""
        return min(self.ranker_.setting.shortlist, len(self._label_ids))
