"""Label vectors: a linear one-vs-all model over embedding, pictures and words."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import scipy.sparse as sp

from .._features._blocks import Features
from .._inputs._targets import narrow_indices
from .._runtime import limits
from ..indexes import join_candidates
from ._corpus import Candidates, Corpus, Documents, Removal, Setting, Size, Update
from ._evidence import Evidence
from ._hard_negatives import HardNegatives
from ._reasons import Reasons

if TYPE_CHECKING:
    from ._linear_model import LinearModel

# Share of the features that a step leaves out. Embeddings of documents that the encoder was tuned
# on fit their labels too well to be relied on.
DROPOUT, DROPOUT_TUNED = 0.2, 0.4

# Passes over the documents: where every label is a negative, and where some are drawn. On icons 5
# passes over drawn ones give all evidence together a P@1, P@5 and PSP@5 of 0.719, 0.468 and 0.513,
# 8 passes over all labels 0.718, 0.469 and 0.515, in 2.4 times the processor time.
EPOCHS, EPOCHS_DRAWN = 8, 5

# Least number of steps that batches are made smaller for, where every label is a negative and where
# some are drawn, and the sizes they may have.
_STEPS, _STEPS_DRAWN, _BATCH_SIZES = 160, 100, (16, 512)

# Nearest prototypes of a document that its batch learns from, where more labels than these leave
# few to be drawn. On packages (27,650 labels) 4 give P@1, P@5 and PSP@5 of 0.533, 0.263 and 0.384,
# none 0.515, 0.263 and 0.388. All labels give 0.529, 0.266 and 0.386, in many times the time.
HARD_NEGATIVES, FEW_LABELS = 4, 16_384

# Labels that a document has, where no one has counted them.
_LABELS_A_DOCUMENT = 8

# Passes over documents that come after the fit, their least number of steps, and how far a label's
# vector goes with them: the share of its documents that are new, to this power. On icons (P@1 of
# new and old libraries, 31.5 and 87.9 % before) power 0.5 gives 64.9 and 85.7, 1 gives 62.5 and
# 86.7, 1.5 gives 60.8 and 87.0, 2 gives 58.6 and 87.1; half the steps cost 0.2 to 0.5 of either.
UPDATE_EPOCHS, UPDATE_STEPS, UPDATE_EXPONENT = 2, 80, 1.5


class LabelVectors(Evidence):
    r"""A linear one-vs-all model over a document's embedding, picture and words.

    The score of label l for a document with features x is :math:`z_l = s\, x \cdot w_l`. With P the
    labels of a document and N all others, the loss of a document is the decoupled softmax

    .. math:: |P|^{-\gamma} \sum_{p \in P} -\log \frac{e^{z_p}}{e^{z_p} + \sum_{n \in N} e^{z_n}}

    in which the labels of a document do not compete with each other. If there are documents without
    labels, "none of them" is one more label, whose score is subtracted from the others. The vector
    of a label starts from the features of the label's text and decays towards a share of them, so
    that a label with few documents stays near its text. A random projection reduces words to few
    numbers, so time and memory do not depend on the vocabulary.

    Parameters
    ----------
    epochs : "auto" or int, default="auto"
        Passes over the documents; "auto" is 8, or 5 with more than `max_labels` labels.
    learning_rate : float, default=0.02
        Peak learning rate of Adam: it rises over the first 5 % of the steps, then falls linearly
        to 0.
    decay : float, default=1.0
        Strength of the pull towards the anchor: each step covers the share `decay` times learning
        rate of the distance.
    anchor : float, default=0.5
        The vectors decay towards this share of their start. 1 keeps rare labels near their text
        (best PSP), 0 is plain weight decay (best P@1); half has most of both.
    scale : float, default=10.0
        The factor s above, an inverse temperature.
    document_exponent : float, default=0.5
        The exponent :math:`\gamma` above. 0 serves the lower ranks, 1 the first rank; 0.5 gives up
        next to nothing of either.
    dropout : "auto" or float in [0, 1), default="auto"
        Share of the features that a step leaves out; "auto" is 0.2, or 0.4 above a tuned encoder.
    batch_size : "auto" or int, default="auto"
        Documents in a step; "auto" is 512, or fewer where there would be less than 160 steps, or
        than 100 with more than `max_labels` labels.
    words_dimension : int, default=1024
        Number of columns that words are projected to.
    words_scale : float, default=0.5
        Length of the projected words; embeddings have length 1.
    max_labels : int, default=4096
        Up to this number of labels every label is a negative of every document. Beyond, the
        labels of a batch are its positives, the nearest prototypes of its documents, and random
        ones that stand for all others.
    random_negatives : int, default=2048
        Number of random labels of a batch where there are more than `max_labels`.
    correction : float, default=0.75
        The score of a label that is drawn at a rate r counts as :math:`z - c \log r` with this c.
        With 1 the sum over N is right on average; with less rare labels gain.
    hard_negatives : "auto" or int, default="auto"
        Number of nearest prototypes of each document that its batch learns from where there are
        more than `max_labels` labels; "auto" is 0, or 4 above 16,384 labels, of which few are
        drawn.
    bits : 8 or None, default=None
        With 8, the vectors are integers of 8 bits with a scale each, in memory and on disk: a
        quarter of the size. None keeps what they are learned in, float32, or float16 above 131,072
        labels.
    replay : int, default=8192
        Documents that the model keeps a uniform sample of, for ``partial_fit``: some megabytes,
        and enough not to forget. 0 keeps none.
    weight : "auto" or float in [0, 1], default="auto"
        Share in the mixture; "auto" chooses it on held-out documents.

    Attributes
    ----------
    model_ : LinearModel
        The vectors, as ``model_.vectors()`` of shape (n_labels, d).
    none_ : ndarray of shape (1, d), or None
        That of "none of them"; None where every document has a label.
    counts_ : ndarray of shape (n_labels,), float64
        Documents of each label that the fit has seen, as far as they are still there.

    References
    ----------
    "Dual-Encoders for Extreme Multi-Label Classification" (ICLR 2024, arXiv 2310.10636),
    Section 4: decoupled softmax. "On Using Very Large Target Vocabulary for Neural Machine
    Translation" (ACL 2015), Section 3: softmax over drawn labels.

    Examples
    --------
    >>> from skxmc import ViXMLClassifier
    >>> from skxmc.evidence import LabelVectors
    >>> clf = ViXMLClassifier(train_encoder="frozen", evidence=[LabelVectors(epochs=2)])
    >>> clf = clf.fit(["red apple", "fast car"], [["fruit"], ["vehicle"]])
    >>> clf.evidence_["label_vectors"].model_.vectors().shape[0]
    2
    """

    name = "label_vectors"
    default_weight = 0.6
    # Logits, which are too sure of themselves; those above a tuned encoder are surer still.
    temperatures = (1.0, 1.5, 2.5)
    tuned_temperatures = (2.5,)
    default_temperature = 1.5
    follows = True  # hard negatives and the shortlist come from the other kinds

    def __init__(
        self,
        epochs: int | str = "auto",
        learning_rate: float = 0.02,
        decay: float = 1.0,
        anchor: float = 0.5,
        scale: float = 10.0,
        document_exponent: float = 0.5,
        dropout: float | str = "auto",
        batch_size: int | str = "auto",
        words_dimension: int = 1024,
        words_scale: float = 0.5,
        max_labels: int = limits.MAX_FULL_SOFTMAX,
        random_negatives: int = 2048,
        correction: float = 0.75,
        hard_negatives: int | str = "auto",
        bits: int | None = None,
        replay: int = 8192,
        weight: float | str = "auto",
    ) -> None:
        self.epochs = epochs
        self.learning_rate = learning_rate
        self.decay = decay
        self.anchor = anchor
        self.scale = scale
        self.document_exponent = document_exponent
        self.dropout = dropout
        self.batch_size = batch_size
        self.words_dimension = words_dimension
        self.words_scale = words_scale
        self.max_labels = max_labels
        self.random_negatives = random_negatives
        self.correction = correction
        self.hard_negatives = hard_negatives
        self.bits = bits
        self.replay = replay
        self.weight = weight

    # -- learning -----------------------------------------------------------------------------

    def fit(self, corpus: Corpus) -> bool:
        """Train the vectors."""
        self.text_ = corpus.setting.text
        features = self._seen(corpus.documents.features)
        labels = None if corpus.labels is None else self._seen(corpus.labels)
        Y, exclude = corpus.Y, corpus.exclude
        empty = corpus.rows[np.diff(Y.indptr)[corpus.rows] == 0]
        if len(empty):  # one more label, "none of them", is theirs
            Y, exclude, labels = _with_none(Y, exclude, labels, empty)
        self.model_ = self._make_model(corpus.setting, Y.shape[1], len(corpus.rows))
        self.model_.fit(
            features.dense(),
            Y,
            sparse=features.words,
            labels=labels,
            negatives=self._hard_negatives(corpus, corpus.documents),
            exclude=exclude,
        )
        self.none_ = None
        if len(empty):
            self._split_none(self.model_)
        self.counts_ = np.bincount(corpus.Y.indices, minlength=corpus.n_labels).astype(np.float64)
        return True

    def _split_none(self, model: LinearModel) -> None:
        """Take the last vector out of a model: that of "none of them"."""
        vectors = model.vectors()
        self.none_ = vectors[-1:].copy()
        model.keep(vectors[:-1].copy())

    def _make_model(self, setting: Setting, n_labels: int, n_documents: int) -> LinearModel:
        from ._linear_model import LinearModel  # loads torch

        dropout = self.dropout
        if dropout == "auto":
            dropout = DROPOUT_TUNED if setting.tuned else DROPOUT
        epochs = self._passes(n_labels)
        return LinearModel(
            epochs=epochs,
            max_steps=setting.max_steps,
            learning_rate=self.learning_rate,
            decay=self.decay,
            anchor=self.anchor,
            scale=self.scale,
            document_exponent=self.document_exponent,
            dropout=dropout,
            batch_size=self._documents_a_step(n_documents, n_labels, epochs, setting.max_steps),
            sparse_dimension=self.words_dimension,
            sparse_scale=self.words_scale,
            max_labels=self.max_labels,
            random_negatives=self.random_negatives,
            correction=self.correction,
            storage="float16" if n_labels > limits.MAX_WORD_VECTORS else "float32",
            bits=self.bits,
            device=setting.device,
            precision=setting.precision,
            random_state=setting.seed,
            verbose=setting.verbose,
        )

    def _passes(self, n_labels: int) -> int:
        if self.epochs != "auto":
            return self.epochs
        return EPOCHS if n_labels <= self.max_labels else EPOCHS_DRAWN

    def _documents_a_step(
        self, n_documents: int, n_labels: int, epochs: int, max_steps: int | None = None
    ) -> int:
        """Few documents take smaller batches: in too few steps nothing is learned."""
        if self.batch_size != "auto":
            return self.batch_size
        steps = _STEPS if n_labels <= self.max_labels else _STEPS_DRAWN
        steps = steps if max_steps is None else min(steps, max_steps)
        return int(np.clip(n_documents * epochs // steps, *_BATCH_SIZES))

    def _hard_negatives(
        self, corpus: Corpus | Update, documents: Documents
    ) -> HardNegatives | None:
        """The nearest prototypes of documents, where not every label is a negative."""
        prototypes = corpus.kinds.get("prototypes")
        n_nearest = self._hard_negatives_of(corpus.n_labels)
        if prototypes is None or not n_nearest:
            return None
        return HardNegatives(
            lambda rows: prototypes.propose(documents.take(rows), n_nearest)[0], len(documents)
        )

    def _hard_negatives_of(self, n_labels: int) -> int:
        """How many hard negatives a document has."""
        if n_labels <= self.max_labels:
            return 0
        if self.hard_negatives != "auto":
            return min(self.hard_negatives, n_labels)
        return HARD_NEGATIVES if n_labels > FEW_LABELS else 0

    def _seen(self, features: Features) -> Features:
        """What the vectors see of the features."""
        if self.text_:
            return features
        nothing = np.zeros((len(features), 0), dtype=np.float32)
        return Features(nothing, features.pictures, features.words)

    def sees_words(self, tuned: bool) -> bool:
        """Words are features of a linear model beside any encoder."""
        return True

    def snapshot(self) -> tuple[np.ndarray, np.ndarray | None]:
        """The vectors, and that of "none of them"."""
        return self.model_.vectors(), self.none_

    def join(self, earlier: list[tuple[np.ndarray, np.ndarray | None]]) -> None:
        """Take the mean of all: it has less of the noise of training."""
        self.model_.average([weights for weights, _ in earlier])
        if self.none_ is not None:
            others = [none for _, none in earlier if none is not None]
            self.none_ = sum(others, self.none_) / (1 + len(others))

    def _moving(self, update: Update) -> np.ndarray:
        """How far the vector of each label goes towards the new one, (n_labels,) within 0 and 1.

        With c the share of a label's documents that came after the fit, 1 - c ** exponent of its
        vector is left of the fit, whether they came at once or little by little.
        """
        added = np.bincount(update.new.Y.indices, minlength=update.n_labels)
        before, after = (
            1 - (1 - np.minimum(1, self.counts_ / np.maximum(1, n))) ** UPDATE_EXPONENT
            for n in (update.counts, update.counts + added)
        )
        moving = 1 - after / np.where(before > 0, before, 1)
        return np.where(added > 0, moving, 0)

    def add_labels(self, labels: Documents) -> None:
        """The vector of a label without documents is where it would start from."""
        self.model_.add_labels(self._seen(labels.features))
        self.counts_ = np.append(self.counts_, np.zeros(len(labels)))

    def remove_documents(self, removal: Removal) -> None:
        """Vectors stay, but those of labels without a document start at their texts again.

        Those of the fit are as likely to go as any others, so what is new keeps its share.
        """
        gone = np.bincount(removal.Y.indices, minlength=len(self.counts_))
        self.counts_ = self.counts_ * (1 - gone / np.maximum(1, removal.counts))
        if removal.labels is not None:
            self.model_.reset_labels(removal.emptied, self._seen(removal.labels.features))

    def remove_labels(self, kept: np.ndarray) -> None:
        """The vectors of the others go."""
        self.model_.keep(self.model_.vectors(kept))
        self.counts_ = self.counts_[kept]

    def update(self, update: Update) -> None:
        """A short pass over the new documents and old ones, from the vectors as they are.

        Vectors decay towards where they start this time. A label's goes the further, the larger
        the share among its documents of those that came after the fit, in this call or before: many
        calls lead about as far as one. A label without new ones stays. Documents without a label
        teach something only where the model knows "none of them" from its fit.
        """
        features, Y, exclude = self._with_old(update)
        seen = self._seen(features)
        weights, moving = self.model_.vectors(), self._moving(update)
        if self.none_ is not None:
            empty = np.flatnonzero(np.diff(Y.indptr) == 0)
            Y, exclude, _ = _with_none(Y, exclude, None, empty)
            weights = np.concatenate([weights, self.none_.astype(weights.dtype)])
            moving = np.append(moving, np.mean(np.diff(update.new.Y.indptr) == 0))
        space, training_labels = update.new.documents.space, update.new.documents.training_labels
        model = self._make_model(update.setting, update.n_labels, len(features))
        model.epochs = UPDATE_EPOCHS
        model.batch_size = self._documents_a_step(
            len(features), update.n_labels, UPDATE_EPOCHS, UPDATE_STEPS
        )
        model.fit_from(
            self.model_,
            weights,
            seen.dense(),
            Y,
            sparse=seen.words,
            negatives=self._hard_negatives(update, Documents(features, space, training_labels)),
            exclude=exclude,
        )
        moves = (model.vectors() - weights) * moving[:, np.newaxis].astype(weights.dtype)
        model.keep(weights + moves)
        if self.none_ is not None:
            self._split_none(model)
        self.model_ = model

    @staticmethod
    def _with_old(update: Update) -> tuple[Features, sp.csr_array, sp.csr_array | None]:
        """Features, labels and excluded pairs of new documents and then of old ones."""
        both = update.new, update.old
        features = Features.stack([part.documents.features for part in both])
        Y = narrow_indices(sp.csr_array(sp.vstack([part.Y for part in both], format="csr")))
        if all(part.exclude is None for part in both):
            return features, Y, None
        pairs = [
            sp.csr_array(part.Y.shape, dtype=bool) if part.exclude is None else part.exclude
            for part in both
        ]
        return features, Y, sp.csr_array(sp.vstack(pairs, format="csr"))

    # -- proposing ----------------------------------------------------------------------------

    def propose(self, documents: Documents, k: int) -> Candidates:
        """The labels of highest score; with very many labels, of those that others propose."""
        shortlist = None
        if len(self.model_.weights_) > limits.MAX_DENSE_LABELS and documents.proposed:
            shortlist = join_candidates([labels for labels, _ in documents.proposed.values()])
        return self._decide(documents, k, shortlist)

    def score(self, documents: Documents, labels: np.ndarray) -> np.ndarray:
        """Scores of given labels."""
        found, scores = self._decide(documents, None, labels)
        # Best first: back into the order that was asked for.
        result = np.empty_like(scores)
        own, asked = (np.argsort(part, axis=1, kind="stable") for part in (found, labels))
        np.put_along_axis(result, asked, np.take_along_axis(scores, own, axis=1), axis=1)
        return result

    def _decide(
        self, documents: Documents, k: int | None, candidates: np.ndarray | None
    ) -> Candidates:
        features = self._seen(documents.features)
        blocks, words = features.dense(), features.words
        labels, scores = self.model_.decision(blocks, sparse=words, k=k, candidates=candidates)
        if self.none_ is not None:
            scores = scores - self.model_.scores(self.none_, blocks, sparse=words)
        return labels, scores

    def explain(self, documents: Documents, labels: np.ndarray, n_documents: int) -> Reasons:
        """What words and pictures add to the scores."""
        features = self._seen(documents.features)
        vectors = self.model_.vectors(np.maximum(labels, 0)).astype(np.float32)
        if self.none_ is not None:
            vectors -= self.none_
        dense, words = self.model_.parts(vectors, features.dense(), sparse=features.words)
        names = [name for name, block in features.blocks.items() if not sp.issparse(block)]
        return Reasons(words=words, pictures=dict(zip(names, dense, strict=True)).get("pictures"))

    # -- computing and saving -----------------------------------------------------------------

    def move_to(self, device: str, precision: str) -> None:
        """Compute on another device, or in another precision."""
        self.model_.device, self.model_.precision = device, precision

    def state_dict(self) -> dict[str, Any]:
        """The vectors, and what of the features they see."""
        return {
            "text": self.text_,
            "none": self.none_,
            "counts": self.counts_,
            "model": self.model_.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take what :meth:`state_dict` gave."""
        from ._linear_model import LinearModel  # loads torch

        self.text_, self.none_, self.counts_ = state["text"], state["none"], state["counts"]
        self.model_ = LinearModel.from_state(state["model"])

    def memory(self, size: Size) -> tuple[float, float]:
        """Bytes of weights, moments, gradient, anchor and snapshots, and of a batch's scores."""
        many = size.n_labels > limits.MAX_WORD_VECTORS
        words = self.words_dimension if size.words else 0
        numbers = size.n_labels * (size.dense + words)
        documents = self._documents_a_step(
            size.n_documents, size.n_labels, self._passes(size.n_labels)
        )
        batch = documents * self._labels_a_step(size.n_labels, documents)
        projected = min(4.0 * size.n_documents * words, limits.MAX_PROJECTED)
        kept = size.folds * (2.0 if many else 4.0) * numbers
        return (6.0 if many else 16.0) * numbers + kept + 8.0 * batch + projected, 0.0

    def _labels_a_step(self, n_labels: int, n_documents: int) -> int:
        """About how many labels a batch learns from, at most."""
        if n_labels <= self.max_labels:
            return n_labels
        own = n_documents * (_LABELS_A_DOCUMENT + self._hard_negatives_of(n_labels))
        return min(n_labels, own + self.random_negatives)


def _with_none(
    Y: sp.csr_array, exclude: sp.csr_array | None, labels: Features | None, empty: np.ndarray
) -> tuple[sp.csr_array, sp.csr_array | None, Features | None]:
    """Targets, excluded pairs and features of labels, with a last label for empty documents."""
    column = np.zeros((Y.shape[0], 1), dtype=Y.dtype)
    column[empty] = 1
    Y = narrow_indices(sp.csr_array(sp.hstack([Y, sp.csr_array(column)], format="csr")))
    if exclude is not None:
        exclude = sp.csr_array(exclude.copy())
        exclude.resize(Y.shape)
    if labels is not None:
        labels = Features.stack([labels, labels.zeros(1)])
    return Y, exclude, labels
