"""What both estimators share: the skeleton of fit."""

from __future__ import annotations

from abc import ABCMeta, abstractmethod
from copy import copy, deepcopy
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from sklearn.base import BaseEstimator, _fit_context
from sklearn.utils import ClassifierTags, TransformerTags
from sklearn.utils.validation import validate_data

from .._features._blocks import Features, unit_rows
from .._inputs._document_ids import check_document_ids
from .._inputs._images import ImageFeatures, ImageItems, collect_images, with_pictures
from .._inputs._label_set import Labels, read_labels
from .._inputs._targets import check_exclude, encode_targets, without_pairs
from .._inputs._texts import check_texts
from .._ranking._holdout import FEW_DOCUMENTS, fold_documents, hold_out
from .._ranking._ranker import Ranker, RankingOptions, TrainingSet
from .._runtime import group, limits
from .._runtime._stages import stage
from ..evidence import Evidence, Setting, resolve_evidence
from ..model_selection import Validation
from ._callbacks import CallbackSupportMixin, FitTasks, with_callbacks
from ._explaining import ExplainingMixin
from ._featurizer import Featurizer, digest_of
from ._hub import HubMixin
from ._nested import NestedParametersMixin
from ._parameters import (
    Mode,
    Recipe,
    check_chunks,
    check_folds,
    check_threshold,
    check_tokens,
    has_label_embeddings,
    label_embeddings_of,
    resolve_encoder,
    resolve_folds,
    resolve_image_encoder,
    resolve_validation,
)
from ._persistence import PersistenceMixin
from ._plan import plan_tuning
from ._prediction import PredictionMixin
from ._several import (
    agree_on_random_state,
    build_for_all,
    check_same_data,
    check_shared_folder,
)
from ._tuning import Representation, TrainingData, represent_tuned, represent_untuned
from ._updating import UpdatingMixin

if TYPE_CHECKING:
    from ..objectives import Objective


class BaseXMCClassifier(
    PersistenceMixin,
    HubMixin,
    PredictionMixin,
    ExplainingMixin,
    UpdatingMixin,
    NestedParametersMixin,
    CallbackSupportMixin,
    BaseEstimator,
    metaclass=ABCMeta,
):
    """Skeleton of an extreme multi-label classifier.

    A subclass stores its parameters and says in `_recipe` what it takes where they say "auto".
    """

    @property
    @abstractmethod
    def _recipe(self) -> Recipe:
        """What the estimator takes where a parameter says "auto"."""

    # -- fit ----------------------------------------------------------------------------------

    @_fit_context(prefer_skip_nested_validation=True)
    @with_callbacks
    def fit(
        self, X: Any, y: Any, images: Any = None, exclude: Any = None, document_ids: Any = None
    ) -> Self:
        """Learn to rank labels.

        Parameters
        ----------
        X : sequence of str of length n_samples, or table
            The documents' texts, or a table (DataFrame of pandas or polars, Table of pyarrow, dict
            of columns) with one or more text columns and, if there are pictures, an image column.
            With ``encoder="precomputed"`` a float array of shape (n_samples, n_features), whose
            rows are scaled to unit length.
        y : sparse or dense indicator of shape (n_samples, n_labels), table, or sequence of lists
            Which labels each document has; lists hold ids of labels. The columns of a table that
            is an indicator are named by the ids; a table of str holds ids, several in a row.
        images : sequence of length n_samples, or float array, default=None
            Pictures of each document: None, a PIL image, a uint8 array of shape (H, W, 3), a path,
            bytes, an open file, a dict with "bytes" or "path", or a list of those; or ready
            embeddings of shape (n_samples, d) or (n_samples, n_images, d) for all documents.
        exclude : sparse matrix of shape (n_samples, n_labels), default=None
            Pairs that are neither positive nor negative, such as a document that is itself a
            label.
        document_ids : sequence of str or int of length n_samples, default=None
            Ids of the documents, by which :meth:`nearest` and :meth:`explain` name them. They may
            repeat, and are kept as `document_ids_`.

        Returns
        -------
        self : object
            The fitted estimator.
        """
        # Everything is checked, and every picture decoded, before anything is trained.
        rng = agree_on_random_state(self.random_state)
        kinds, objective = self._check_plugins()
        data = self._check_training_data(X, y, images, exclude, kinds, objective)
        check_same_data(data)
        shared_folder = check_shared_folder(self.memory)
        metadata = {"images": images, "exclude": exclude}
        ids = check_document_ids(document_ids, len(data.X))
        validation = resolve_validation(self.validation)
        tuned = self._mode.tuned
        check_folds(validation.folds, tuned, data.Y.shape)
        check_threshold(self.threshold)
        tasks = FitTasks(self, X, y, metadata, self.epochs if tuned else 0)

        featurizer, digest = self._make_featurizer(data)
        self._represent_sides(featurizer, data, kinds)
        with stage("encoding of %d documents", len(data.X)):
            embeddings = featurizer.encode_untuned(
                data.X, digest, self.memory, verbose=self._verbosity
            )
        folds = group.first(lambda: self._hold_out(embeddings, data, validation, rng), rng)

        history: list[dict] = []

        def finish(represented: Representation, rng: np.random.RandomState) -> dict[str, Any]:
            setting, options = self._ranking_setting(featurizer), self._ranking_options(validation)

            def build() -> Ranker:
                training_set = self._training_set(data, featurizer, represented, folds)
                return Ranker(kinds, setting, options).fit(training_set, rng)

            ranker = build_for_all(build, kinds, setting, shared_folder)
            return {
                "ranker_": ranker,
                "threshold_": ranker.threshold_,
                "featurizer_": copy(featurizer),  # whose tower for serving is of these weights
                "classes_": data.labels.ids,
                "label_texts_": data.labels.texts,
                "label_parents_": data.labels.parents,
                "document_ids_": ids,
                "history_": history,
            }

        if tuned:
            held_out = folds[0] if folds else np.empty(0, dtype=np.int64)
            tuning = plan_tuning(self, featurizer, objective, validation, digest, len(data.X))
            with stage("tuning"):
                represented = represent_tuned(
                    data,
                    featurizer,
                    tuning,
                    embeddings,
                    held_out,
                    rng,
                    history,
                    tasks,
                    lambda represented: finish(represented, deepcopy(rng)),
                )
        else:
            labels = data.label_text
            if self._mode.ready:
                labels = data.label_embeddings
            elif labels is not None:
                labels = featurizer.encode_labels(labels, digest, self.memory)
            represented = represent_untuned(embeddings, labels)

        # All at once: a fit that fails leaves the estimator as it was.
        vars(self).update(finish(represented, rng))
        tasks.end()
        return self

    @property
    def _verbosity(self) -> int:
        """Of this process: the first of several has a progress bar."""
        return self.verbose if group.rank() == 0 else 0

    @property
    def _mode(self) -> Mode:
        return Mode.of(self.encoder, self.train_encoder)

    # -- what is checked ----------------------------------------------------------------------

    def _check_plugins(self) -> tuple[list[Evidence], Objective | None]:
        """Unfitted kinds of evidence, and the objective if the encoder is tuned."""
        encoder = resolve_encoder(self.encoder, self._recipe.encoder)
        check_chunks(encoder, self._mode)
        if self.adapter is not None and self.train_encoder != "lora":
            raise ValueError(
                f"adapter is given, but train_encoder={self.train_encoder!r} trains no adapters; "
                "set train_encoder='lora', or leave adapter out."
            )
        kinds = resolve_evidence(self.evidence)
        for kind in kinds:
            if kind.name in self.get_params(deep=False):
                raise ValueError(
                    f"evidence holds a kind with the name {kind.name!r}, which is a parameter of "
                    f"{type(self).__name__}; give its class another `name`."
                )
        check_tokens(kinds, self._mode, self._recipe.encoder, type(self).__name__)
        if not self._mode.tuned:
            return kinds, None
        from ..objectives import resolve_objective

        return kinds, resolve_objective("prime" if self.objective is None else self.objective)

    def _check_training_data(
        self, X, y, images, exclude, kinds: list[Evidence], objective: Objective | None
    ) -> TrainingData:
        X, images = self._check_documents(X, images, reset=True)
        labels = read_labels(self.label_text)
        Y, ids = encode_targets(y, len(X), label_text=labels)
        exclude = check_exclude(exclude, len(X), Y.shape[1])
        empty = np.diff(Y.indptr) == 0
        if exclude is not None:
            Y = without_pairs(Y, exclude)
        if Y.nnz == 0:
            raise ValueError("y has no positive label at all; give the documents their labels.")
        labels = labels.with_ids(ids).with_images(self.label_images)
        label_images = self._collect_images(labels.images, len(ids), "label_images")
        label_text = self._check_label_text(labels, kinds, objective)
        return TrainingData(
            X,
            with_pictures(images),
            Y,
            empty | (np.diff(Y.indptr) > 0),
            labels,
            exclude,
            label_text,
            with_pictures(label_images),
            label_embeddings_of(self.encoder, labels.ids, X),
        )

    @property
    def _max_images(self) -> int:
        return resolve_image_encoder(self.image_encoder).max_images

    def _check_documents(self, X, images, *, reset: bool):
        """Texts, or ready embeddings; and pictures, decoded later, or their ready vectors."""
        if self._mode.ready:
            # All evidence compares by cosine, and is tuned to vectors of unit length.
            if not reset and not isinstance(X, np.ndarray) and hasattr(X, "__len__") and not len(X):
                X = np.zeros((0, self.n_features_in_), dtype=np.float32)
            X = validate_data(self, X, reset=reset, dtype=np.float32, ensure_min_samples=int(reset))
            X = unit_rows(X)
        else:
            X, images = check_texts(
                X,
                text_column=self.text_column,
                image_column=self.image_column,
                images=images,
                allow_empty=not reset,
            )
        return X, self._collect_images(images, len(X), "images")

    def _collect_images(
        self, images, n_items: int, argument: str
    ) -> ImageItems | ImageFeatures | None:
        """Pictures in one form; what of them is missing is handled as the image encoder says."""
        encoder = resolve_image_encoder(self.image_encoder)
        return collect_images(
            images,
            n_items,
            max_images=encoder.max_images,
            argument=argument,
            missing=encoder.missing,
        )

    def _check_label_text(
        self, labels: Labels, kinds: list[Evidence], objective: Objective | None
    ) -> list[list[str]] | None:
        """The labels' texts, if there is an encoder to read them."""
        texts = None if self._mode.ready else labels.texts
        if texts is None and objective is not None and objective.needs_label_texts:
            raise ValueError(
                f"train_encoder={self.train_encoder!r} needs the labels' texts, and y has only "
                "column numbers; pass label_text, one text a column, or lists of label names as "
                "y, or set objective=LinearHead() or train_encoder='frozen'."
            )
        known = texts is not None or has_label_embeddings(self.encoder)
        if not known and objective is None and all(k.needs_label_texts() for k in kinds):
            raise ValueError(
                "evidence leaves nothing to rank labels by, as they have no texts; pass "
                "label_text, or more kinds of evidence."
            )
        return texts

    # -- what is made of the documents --------------------------------------------------------

    def _make_featurizer(self, data: TrainingData) -> tuple[Featurizer, str | None]:
        """With the pretrained tower, calibrated; and the hash of its files or weights.

        None where nothing says what an encoder computes.
        """
        from .._runtime._device import precision_name, resolve_device

        device = resolve_device(self.device)
        precision = precision_name(self.precision, device)
        image_encoder = self._make_image_encoder(device, precision, data.images, data.label_images)
        featurizer = Featurizer(None, image_encoder, precision)
        encoder = resolve_encoder(self.encoder, self._recipe.encoder)
        if encoder is None:
            return featurizer, ""
        import torch

        source = encoder.find()
        # A frozen base is only ever multiplied with: it stays as short as the products are.
        dtype = torch.float32 if self.train_encoder == "full" else getattr(torch, precision)
        tower = encoder.load(source, max_images=self._max_images, weights_dtype=dtype)
        if self._mode.tuned and not tower.trainable:
            raise ValueError(
                f"train_encoder={self.train_encoder!r} tunes a transformer, and the encoder is a "
                "table of vectors or a function; set train_encoder='frozen'."
            )
        featurizer.tower = tower.to(device)
        if getattr(self, "backend", "torch") != "torch":  # obstacles show before training
            featurizer.serving_tower(self.backend)
        encoder.calibrate(featurizer.tower, data.X, getattr(torch, precision))
        if source is not None:
            return featurizer, source.digest()
        return featurizer, digest_of(featurizer.tower)

    def _hold_out(
        self, embeddings: np.ndarray, data: TrainingData, validation: Validation, rng
    ) -> list[np.ndarray]:
        """Documents that choose how to rank, in parts that each are left out once.

        A tuned encoder has seen all but one part. Few documents are all left out in turn, so that
        there are enough to choose with, unless evidence is too large to be learned again.
        """
        usable, share = data.usable, validation.fraction
        n = np.count_nonzero(usable)
        folds = resolve_folds(validation, self._mode, n, data.Y.shape)
        if share == "auto" and folds > 1 and n < FEW_DOCUMENTS:
            return fold_documents(embeddings, usable, rng, folds)
        if share == "auto":
            share = min(self._mode.held_out_share(n), 1 / folds)
        return hold_out(embeddings, usable, share, rng, folds)

    def _make_image_encoder(self, device, precision: str, *collections):
        if not any(isinstance(collection, ImageItems) for collection in collections):
            return None
        import torch

        from .._pictures._image_encoder import ImageEncoder

        options = resolve_image_encoder(self.image_encoder)
        return ImageEncoder(
            options.model,
            device=device,
            precision=getattr(torch, precision),
            batch_size=options.batch_size,
            memory=self.memory,
            trust_remote_code=options.trust_remote_code,
            layers=options.layers,
            padding=options.padding,
            verbose=self._verbosity,
        )

    def _represent_sides(
        self, featurizer: Featurizer, data: TrainingData, kinds: list[Evidence]
    ) -> None:
        """Words and pictures, which stand beside the embeddings; pictures become vectors."""
        if self._sees_words(kinds, data.Y.shape[1]):
            featurizer.fit_words(data.X, required=self.text_features == "tfidf")
        missing = resolve_image_encoder(self.image_encoder).missing
        pictures = featurizer.fit_images(data.images, data.label_images, missing)
        data.images, data.label_images = pictures

    def _sees_words(self, kinds: list[Evidence], n_labels: int) -> bool:
        """Whether words are asked for, and any evidence has a use for them."""
        if self._mode.ready or self.text_features == "embedding":
            return False
        if self.text_features == "both" and n_labels > limits.MAX_WORD_VECTORS:
            return False
        return any(kind.sees_words(self._mode.tuned) for kind in kinds)

    # -- ranking ------------------------------------------------------------------------------

    def _training_set(
        self,
        data: TrainingData,
        featurizer: Featurizer,
        represented: Representation,
        folds: list[np.ndarray],
    ) -> TrainingSet:
        labels = None
        if represented.labels is not None and data.label_text is None:
            labels = Features(represented.labels)  # the vectors of a head
        elif represented.labels is not None:
            labels = featurizer.complete_labels(
                represented.labels, data.label_text, data.label_images
            )
        return TrainingSet(
            features=featurizer.complete(represented.documents, data.X, data.images),
            Y=data.Y,
            rows=np.flatnonzero(data.usable),
            labels=labels,
            make_prototypes=represented.make_prototypes,
            exclude=data.exclude,
            folds=folds,
        )

    def _ranking_setting(self, featurizer: Featurizer) -> Setting:
        from .._runtime._device import resolve_device

        return Setting(
            tuned=self._mode.tuned,
            # Where there are no texts, there are no words to take the embedding's place.
            text=self.text_features != "tfidf" or self._mode.ready,
            index=self.index,
            max_steps=self.max_steps,
            device=str(resolve_device(self.device)),
            precision=featurizer.precision,
            verbose=self._verbosity,
        )

    def _ranking_options(self, validation: Validation) -> RankingOptions:
        return RankingOptions(
            metric=validation.metric,
            propensity=tuple(validation.propensity),
            threshold=check_threshold(self.threshold),
        )

    # -- what scikit-learn asks for -------------------------------------------------------------

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "ranker_")

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.estimator_type = "classifier"
        tags.target_tags.required = True
        tags.target_tags.multi_output = True
        tags.target_tags.single_output = False
        tags.classifier_tags = ClassifierTags(multi_class=False, multi_label=True)
        tags.transformer_tags = TransformerTags(preserves_dtype=["float32"])
        tags.input_tags.sparse = False
        tags.input_tags.string = not self._mode.ready
        tags.input_tags.two_d_array = self._mode.ready
        return tags
