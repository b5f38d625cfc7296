"""What both estimators share: the skeleton of fit."""

from __future__ import annotations

from abc import ABCMeta, abstractmethod
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import scipy.sparse as sp
from sklearn.base import BaseEstimator, _fit_context
from sklearn.utils import ClassifierTags, TransformerTags, check_random_state
from sklearn.utils.validation import check_memory, validate_data

from . import _limits
from ._ensemble import EvidenceEnsemble, EvidenceOptions
from ._features import Features, Featurizer, ImageWhitener, unit_rows
from ._holdout import hold_out, without_rows
from ._images import ImageFeatures, ImageItems, collect_images
from ._labels import check_exclude, encode_targets, without_pairs
from ._parameters import PRECOMPUTED, resolve_batch_size
from ._persistence import PersistenceMixin, skxmc_version
from ._prediction import PredictionMixin, with_pictures
from ._validation import check_texts, sequence_to_list
from .training._centroids import untuned_prototypes

if TYPE_CHECKING:
    from ._backbones._sources import ModelSource

# Value of `prototypes` for a linear head in their place.
LINEAR = "linear"

# Parameters that do not change what tuning the encoder gives: those of what comes after it, and
# those that stand for something which is looked at instead.
_NOT_OF_TUNING = {
    *("encoder", "image_encoder", "label_text", "label_images", "text_column", "image_column"),
    *("text_features", "refine_labels", "retrieval_augmentation", "n_neighbors", "index"),
    *("threshold", "device", "backend", "memory", "random_state", "trust_remote_code", "verbose"),
}


class _TuningInputs(NamedTuple):
    """What an encoder is tuned with, as :meth:`BaseXMCClassifier.fit` has checked it."""

    X: list[str]
    images: ImageFeatures | None
    Y: sp.csr_array
    exclude: sp.csr_array | None
    label_text: list[str] | None
    label_images: ImageFeatures | None


class BaseXMCClassifier(PersistenceMixin, PredictionMixin, BaseEstimator, metaclass=ABCMeta):
    """Skeleton of an extreme multi-label classifier over a Siamese tower.

    A subclass stores its parameters and says which tower it builds: :meth:`_load_tower` makes
    the pretrained tower, :meth:`_adapt_tower` and :meth:`_finish_tower` prepare it for training
    and for use.
    """

    # What kind of model `encoder` names, for `find_model`.
    _encoder_kind: str
    # About how many batches make an epoch with batch_size="auto".
    _n_batches: int

    @abstractmethod
    def _load_tower(self, source: ModelSource) -> Any:
        """The pretrained tower, on the CPU."""

    @abstractmethod
    def _adapt_tower(self, tower: Any, rng: np.random.RandomState) -> None:
        """Choose what of the tower is trained."""

    @abstractmethod
    def _finish_tower(self, tower: Any) -> None:
        """Undo what only training needs."""

    # -- fit ----------------------------------------------------------------------------------

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y, images=None, exclude=None):
        """Learn to rank labels.

        Parameters
        ----------
        X : sequence of str of length n_samples, or DataFrame
            The documents' texts, or a pandas or polars DataFrame with a text column and, if
            there are pictures, an image column. With ``encoder="precomputed"`` a float array of
            shape (n_samples, n_features), whose rows are scaled to unit length.
        y : sparse or dense indicator of shape (n_samples, n_labels), or sequence of lists
            Which labels each document has; lists hold label names.
        images : sequence of length n_samples, or float array, default=None
            Pictures of each document: None, a PIL image, a uint8 array of shape (H, W, 3), a
            path, bytes, or a list of those; or ready embeddings of shape (n_samples, d) or
            (n_samples, n_images, d) for all documents.
        exclude : sparse matrix of shape (n_samples, n_labels), default=None
            Pairs that are neither positive nor negative, such as a document that is itself a
            label.

        Returns
        -------
        self : object
            The fitted estimator.
        """
        # Everything is checked, and every picture decoded, before anything is trained.
        rng = check_random_state(self.random_state)
        X, images = self._check_documents(X, images, reset=True)
        Y, classes = encode_targets(y, len(X), label_text=self.label_text)
        exclude = check_exclude(exclude, len(X), Y.shape[1])
        if exclude is not None:
            Y = without_pairs(Y, exclude)
        if Y.nnz == 0:
            raise ValueError("y has no positive label at all; give the documents their labels.")
        label_text = self._check_label_text(classes)
        self._check_some_evidence(label_text)
        label_images = with_pictures(
            collect_images(
                self.label_images, len(classes), max_images=self.max_images, argument="label_images"
            )
        )
        images = with_pictures(images)
        self.classes_ = classes
        self.history_: list[dict] = []
        device, precision = self._resolve_device()
        self.featurizer_ = Featurizer(
            tower=None,
            image_encoder=self._make_image_encoder(device, precision, images, label_images),
            whitener=None,
            sparse=self._fit_sparse(X, n_labels=Y.shape[1]),
            precision=precision,
        )
        images = self._fit_images(images, label_images)
        label_images = self.featurizer_.encode_images(label_images)

        if self.encoder == PRECOMPUTED:
            embeddings, labels = X, None
            make_prototypes = self._untuned_prototypes(X, None)
            held_out = hold_out(X, Y, self._held_out_share(), rng)
        else:
            source = self._find_encoder()
            digest = source.digest()
            self.featurizer_.tower = self._load_tower(source).to(device)
            if self.backend != "torch":  # what stands in its way is said before training
                self.featurizer_.serving_tower(self.backend)
            self._calibrate_tower(X)
            embeddings = self._encode_frozen(digest, X)
            held_out = hold_out(embeddings, Y, self._held_out_share(), rng)
            if self.train_encoder == "frozen":
                labels = None if label_text is None else self._encode_frozen(digest, label_text)
                make_prototypes = self._untuned_prototypes(embeddings, labels)
            else:
                inputs = _TuningInputs(X, images, Y, exclude, label_text, label_images)
                embeddings, labels, make_prototypes = self._train_tower(
                    inputs, digest, embeddings, held_out, rng
                )
        self.ensemble_ = EvidenceEnsemble(self._evidence_options(device, precision)).fit(
            self.featurizer_.complete(embeddings, X, images),
            Y,
            labels=self._label_features(labels, label_text, label_images),
            make_prototypes=make_prototypes,
            exclude=exclude,
            held_out=held_out,
            rng=rng,
        )
        self.threshold_ = self.ensemble_.threshold_
        return self

    def _find_encoder(self) -> ModelSource:
        """Where the encoder's files are."""
        from ._backbones._sources import find_model

        return find_model(
            self.encoder, kind=self._encoder_kind, trust_remote_code=self.trust_remote_code
        )

    def _calibrate_tower(self, X: list[str]) -> None:
        """Let the pretrained tower see the training texts before anything is encoded."""

    def _check_documents(self, X, images, *, reset: bool):
        """Texts, or ready embeddings; and pictures, decoded later, or their ready vectors."""
        if self.encoder == PRECOMPUTED:
            # All evidence compares by cosine, and is tuned to vectors of unit length.
            X = unit_rows(validate_data(self, X, reset=reset, dtype=np.float32))
        else:
            X, images = check_texts(
                X, text_column=self.text_column, image_column=self.image_column, images=images
            )
        return X, collect_images(images, len(X), max_images=self.max_images)

    def _check_label_text(self, classes: np.ndarray) -> list[str] | None:
        """The labels' texts: those given, or their names if these are words."""
        if self.encoder == PRECOMPUTED:
            return None
        if self.label_text is not None:
            texts = [str(text) for text in sequence_to_list(self.label_text)]
        elif all(isinstance(name, str) for name in classes):
            texts = list(classes)
        elif self.train_encoder == "frozen" or self.prototypes == LINEAR:
            return None
        else:
            raise ValueError(
                f"train_encoder={self.train_encoder!r} needs the labels' texts, and y has only "
                "column numbers; pass label_text, one text a column, or lists of label names as "
                "y, or set prototypes='linear' or train_encoder='frozen'."
            )
        return texts

    def _check_some_evidence(self, label_text: list[str] | None) -> None:
        """Parameters, each fine alone, may together leave nothing to rank labels by."""
        by_prototypes = self.prototypes or label_text is not None
        if not (by_prototypes or self.refine_labels or self.retrieval_augmentation != 0):
            raise ValueError(
                "prototypes=False, refine_labels=False and retrieval_augmentation=0 leave nothing "
                "to rank labels by; switch one of them on."
            )

    def _resolve_device(self):
        from ._device import precision_name, resolve_device

        device = resolve_device(self.device)
        return device, precision_name(self.precision, device)

    def _make_image_encoder(self, device, precision, *collections):
        if not any(isinstance(collection, ImageItems) for collection in collections):
            return None
        import torch

        from ._pictures._image_encoder import ImageEncoder

        return ImageEncoder(
            self.image_encoder,
            device=device,
            precision=getattr(torch, precision),
            memory=self.memory,
            trust_remote_code=self.trust_remote_code,
            verbose=self.verbose,
        )

    def _fit_images(self, images, label_images) -> ImageFeatures | None:
        """Encode the documents' pictures and learn to whiten; None if there is no picture."""
        images = self.featurizer_.encode_images(images)
        if images is None:
            if label_images is not None:
                raise ValueError(
                    "label_images is given, but no document has a picture; pass images to fit."
                )
            return None
        self.featurizer_.whitener = ImageWhitener().fit(images)
        return images

    def _fit_sparse(self, X, n_labels: int):
        if not self._compares_words():
            return None
        if self.text_features == "both" and n_labels > _limits.MAX_WORD_VECTORS:
            return None
        from .encoders._sparse import SparseTextFeatures

        try:
            return SparseTextFeatures().fit(X)
        except ValueError:
            if self.text_features == "tfidf":
                raise
            return None  # texts without words: the embedding alone has to do

    def _compares_words(self) -> bool:
        """Whether words are asked for, and any evidence has a use for them.

        Beside the embeddings of a tuned encoder only label vectors have.
        """
        if self.encoder == PRECOMPUTED or self.text_features == "embedding":
            return False
        return self.refine_labels or not self._is_tuned()

    def _encode_frozen(self, digest: str, texts: list[str]) -> np.ndarray:
        """Embeddings of the pretrained encoder, cached where there is a memory."""
        cached = check_memory(self.memory).cache(_encode_texts, ignore=["featurizer"])
        key = (digest, self.featurizer_.tower.settings(), self.featurizer_.precision)
        embeddings = np.empty((len(texts), self.featurizer_.tower.dimension), dtype=np.float32)
        for start in range(0, len(texts), _limits.ROWS):  # a crash loses one block at most
            block = texts[start : start + _limits.ROWS]
            embeddings[start : start + len(block)] = cached(key, block, featurizer=self.featurizer_)
        return embeddings

    def _train_tower(
        self, inputs: _TuningInputs, digest: str, bank: np.ndarray, held_out: np.ndarray, rng
    ) -> tuple[np.ndarray, np.ndarray, Any]:
        """Tune the tower; embeddings of documents and labels, and how prototypes are made."""
        from .training._early_stopping import PrototypeValidation

        tower = self.featurizer_.tower
        X, images, Y, exclude, label_text, label_images = inputs
        checkpoint = self._find_checkpoint(inputs, digest, held_out, rng)
        if images is not None:
            tower.add_images(images.vectors, seed=int(rng.randint(2**31)))
        self._adapt_tower(tower, rng)
        documents = tower.items(X, images)
        labels = None if label_text is None else tower.items(label_text, label_images)
        validate = None
        if self.early_stopping and len(held_out):
            validate = PrototypeValidation(
                documents, Y, held_out, self.validation_metric, self.propensity
            )
        trainer = self._make_trainer(
            tower,
            documents,
            labels,
            without_rows(Y, held_out),
            self._training_options(len(documents)),
            rng,
            ignore=exclude,
            bank=bank,
            validate=validate,
            checkpoint=checkpoint,
        )
        self.history_ = trainer.history  # filled as training goes on
        trainer.fit()
        self._finish_tower(tower)
        vectors, lengths = trainer.encode_labels()
        start = trainer.prototypes() if vectors is None else vectors
        # Tokens, targets and gradients of training are not kept for this.
        return trainer.bank, start, trainer.prototype_maker(vectors, lengths)

    def _find_checkpoint(self, inputs: _TuningInputs, digest: str, held_out: np.ndarray, rng):
        """Where `memory` keeps the tuning; None if it is not kept, as it is unlike any other."""
        if self.random_state is None:
            return None
        from .training._checkpoint import Checkpoint

        params = self.get_params(deep=False)
        params = {name: params[name] for name in sorted(params.keys() - _NOT_OF_TUNING)}
        settings = (self.featurizer_.tower.settings(), self.featurizer_.precision)
        start = (digest, settings, rng.get_state(legacy=False))
        code = (skxmc_version(), type(self).__name__)
        return Checkpoint.of(self.memory, code, params, start, inputs, held_out)

    def _held_out_share(self) -> float:
        if self.validation_fraction != "auto":
            return self.validation_fraction
        return 0.05 if self._is_tuned() else 0.1

    def _is_tuned(self) -> bool:
        return self.encoder != PRECOMPUTED and self.train_encoder != "frozen"

    def _make_trainer(self, *args, **kwargs):
        if self.prototypes == LINEAR:
            from .training._linear_trainer import LinearHeadTrainer

            return LinearHeadTrainer(*args, **kwargs)
        from .training._trainer import TowerTrainer

        return TowerTrainer(*args, **kwargs)

    def _training_options(self, n_documents: int):
        import torch

        from .training._batches import HardNegativeSchedule
        from .training._options import TrainingOptions

        # None: the trainer makes one for as many epochs as it gets to.
        schedule = None if self.hard_negatives else HardNegativeSchedule(start=None, update=1)
        return TrainingOptions(
            epochs=self.epochs,
            max_steps=self.max_steps,
            batch_size=resolve_batch_size(self.batch_size, n_documents, self._n_batches),
            learning_rate=self.learning_rate,
            head_learning_rate=self.head_learning_rate,
            weight_decay=self.weight_decay,
            warmup_steps=self.warmup_steps,
            prototypes=bool(self.prototypes),
            head_loss=self.head_loss,
            head_weight=self.head_weight,
            n_negatives=self.n_negatives,
            margin=tuple(self.margin),
            regularization=self.regularization,
            propensity=tuple(self.propensity),
            schedule=schedule,
            max_graph_bytes=self.max_graph_memory,
            precision=getattr(torch, self.featurizer_.precision),
            patience=self.n_iter_no_change if self.early_stopping else None,
            verbose=self.verbose,
        )

    def _untuned_prototypes(self, embeddings, labels):
        """How prototypes are made without training: with centroids, or of the texts alone."""
        if self.prototypes:
            return lambda Y: untuned_prototypes(embeddings, labels, Y)
        return lambda Y: labels

    def _label_features(self, labels, label_text, label_images) -> Features | None:
        """Features that label vectors start from: of the labels' texts, or those of a head."""
        if labels is None:
            return None
        if label_text is None:
            return Features(labels)
        return self.featurizer_.complete(labels, label_text, label_images)

    def _evidence_options(self, device, precision) -> EvidenceOptions:
        share = self.retrieval_augmentation
        return EvidenceOptions(
            label_vectors=self.refine_labels,
            tuned=self._is_tuned(),
            neighbours=share != 0,
            neighbour_weight=None if share == "auto" else float(share),
            n_neighbours=self.n_neighbors,
            max_steps=self.max_steps,
            index=self.index,
            metric=self.validation_metric,
            propensity=tuple(self.propensity),
            threshold=None if self.threshold == "auto" else float(self.threshold),
            # Where there are no texts, there are no words to take the embedding's place.
            dense_embedding=self.text_features != "tfidf" or self.encoder == PRECOMPUTED,
            device=str(device),
            precision=precision,
            verbose=self.verbose,
        )

    @property
    def tower_(self):
        """The text encoder; None with ``encoder="precomputed"``."""
        return self.featurizer_.tower

    @property
    def image_encoder_(self):
        """The picture encoder; None if there were no pictures to encode."""
        return self.featurizer_.image_encoder

    @property
    def _n_features_out(self) -> int:
        """Columns that :meth:`transform` returns."""
        tower, whitener = self.featurizer_.tower, self.featurizer_.whitener
        if self._is_tuned():
            return tower.dimension
        width = self.n_features_in_ if tower is None else tower.dimension
        return width if whitener is None else width + whitener.components_.shape[1]

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "ensemble_")

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.estimator_type = "classifier"
        tags.target_tags.required = True
        tags.target_tags.multi_output = True
        tags.target_tags.single_output = False
        tags.classifier_tags = ClassifierTags(multi_class=False, multi_label=True)
        tags.transformer_tags = TransformerTags(preserves_dtype=["float32"])
        tags.input_tags.sparse = False
        tags.input_tags.string = self.encoder != PRECOMPUTED
        tags.input_tags.two_d_array = self.encoder == PRECOMPUTED
        return tags


def _encode_texts(key, texts, featurizer):
    """Embeddings of texts; `key` names encoder and settings where the result is cached."""
    return featurizer.encode(texts)
