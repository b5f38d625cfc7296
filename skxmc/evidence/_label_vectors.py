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

# Least number of steps that batches are made smaller for, and the sizes they may have.
_STEPS, _BATCH_SIZES = 160, (16, 512)

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
    epochs : int, default=8
        Passes over the documents.
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
        Documents in a step; "auto" is 512, or fewer where there would be less than 160 steps.
    words_dimension : int, default=1024
        Number of columns that words are projected to.
    words_scale : float, default=0.5
        Length of the projected words; embeddings have length 1.
    max_labels : int, default=65_536
        Up to this number of labels every label is a negative of every document. Beyond, the
        labels of a batch are its positives, the nearest prototypes of its documents, and random
        ones.
    random_negatives : int, default=4096
        Number of random labels of a batch where there are more than `max_labels`.
    replay : int, default=8192
        Documents that the model keeps a uniform sample of, for ``partial_fit``: some megabytes,
        and enough not to forget. 0 keeps none.
    weight : "auto" or float in [0, 1], default="auto"
        Share in the mixture; "auto" chooses it on held-out documents.

    Attributes
    ----------
    model_ : LinearModel
        The vectors, as ``model_.weights_`` of shape (n_labels, d).
    none_ : ndarray of shape (1, d), or None
        That of "none of them"; None where every document has a label.

    References
    ----------
    "Dual-Encoders for Extreme Multi-Label Classification" (ICLR 2024, arXiv 2310.10636),
    Section 4: decoupled softmax.

    Examples
    --------
    >>> from skxmc import ViXMLClassifier
    >>> from skxmc.evidence import LabelVectors
    >>> clf = ViXMLClassifier(train_encoder="frozen", evidence=[LabelVectors(epochs=2)])
    >>> clf = clf.fit(["red apple", "fast car"], [["fruit"], ["vehicle"]])
    >>> clf.evidence_["label_vectors"].model_.weights_.shape[0]
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
        epochs: int = 8,
        learning_rate: float = 0.02,
        decay: float = 1.0,
        anchor: float = 0.5,
        scale: float = 10.0,
        document_exponent: float = 0.5,
        dropout: float | str = "auto",
        batch_size: int | str = "auto",
        words_dimension: int = 1024,
        words_scale: float = 0.5,
        max_labels: int = limits.MAX_ALL_NEGATIVES,
        random_negatives: int = 4096,
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
            self.none_ = self.model_.weights_[-1:].copy()
            self.model_.weights_ = self.model_.weights_[:-1].copy()
        return True

    def _make_model(self, setting: Setting, n_labels: int, n_documents: int) -> LinearModel:
        from ._linear_model import LinearModel  # loads torch

        dropout = self.dropout
        if dropout == "auto":
            dropout = DROPOUT_TUNED if setting.tuned else DROPOUT
        return LinearModel(
            epochs=self.epochs,
            max_steps=setting.max_steps,
            learning_rate=self.learning_rate,
            decay=self.decay,
            anchor=self.anchor,
            scale=self.scale,
            document_exponent=self.document_exponent,
            dropout=dropout,
            batch_size=self._documents_a_step(n_documents, self.epochs, setting.max_steps),
            sparse_dimension=self.words_dimension,
            sparse_scale=self.words_scale,
            max_labels=self.max_labels,
            random_negatives=self.random_negatives,
            storage="float16" if n_labels > limits.MAX_WORD_VECTORS else "float32",
            device=setting.device,
            precision=setting.precision,
            random_state=setting.seed,
            verbose=setting.verbose,
        )

    def _documents_a_step(self, n_documents: int, epochs: int, max_steps: int | None = None) -> int:
        """Few documents take smaller batches: in too few steps nothing is learned."""
        steps = _STEPS if max_steps is None else min(_STEPS, max_steps)
        if self.batch_size != "auto":
            return self.batch_size
        return int(np.clip(n_documents * epochs // steps, *_BATCH_SIZES))

    def _hard_negatives(
        self, corpus: Corpus | Update, documents: Documents
    ) -> HardNegatives | None:
        """The nearest prototypes of documents, where not every label is a negative."""
        prototypes = corpus.kinds.get("prototypes")
        if prototypes is None or corpus.n_labels <= self.max_labels:
            return None
        n_nearest = min(corpus.setting.shortlist, corpus.n_labels)
        return HardNegatives(
            lambda rows: prototypes.propose(documents.take(rows), n_nearest)[0], len(documents)
        )

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
        return self.model_.weights_, self.none_

    def join(self, earlier: list[tuple[np.ndarray, np.ndarray | None]]) -> None:
        """Take the mean of all: it has less of the noise of training."""
        self.model_.average([weights for weights, _ in earlier])
        if self.none_ is not None:
            others = [none for _, none in earlier if none is not None]
            self.none_ = sum(others, self.none_) / (1 + len(others))

    def add_labels(self, labels: Documents) -> None:
        """The vector of a label without documents is where it would start from."""
        self.model_.add_labels(self._seen(labels.features))

    def remove_documents(self, removal: Removal) -> None:
        """Vectors stay, but those of labels without a document start at their texts again."""
        if removal.labels is not None:
            self.model_.reset_labels(removal.emptied, self._seen(removal.labels.features))

    def remove_labels(self, kept: np.ndarray) -> None:
        """The vectors of the others go."""
        self.model_.weights_ = self.model_.weights_[kept]

    def update(self, update: Update) -> None:
        """A short pass over the new documents and old ones, from the vectors as they are.

        Vectors decay towards where they start this time. A label's goes the further, the larger
        the share of new documents among its own: one without new ones stays. Documents without a
        label teach something only where the model knows "none of them" from its fit.
        """
        features, Y, exclude = self._with_old(update)
        seen = self._seen(features)
        weights, moving = self.model_.weights_, _shares_of_new(update) ** UPDATE_EXPONENT
        if self.none_ is not None:
            empty = np.flatnonzero(np.diff(Y.indptr) == 0)
            Y, exclude, _ = _with_none(Y, exclude, None, empty)
            weights = np.concatenate([weights, self.none_.astype(weights.dtype)])
            moving = np.append(moving, np.mean(np.diff(update.new.Y.indptr) == 0))
        space, training_labels = update.new.documents.space, update.new.documents.training_labels
        model = self._make_model(update.setting, update.n_labels, len(features))
        model.epochs = UPDATE_EPOCHS
        model.batch_size = self._documents_a_step(len(features), UPDATE_EPOCHS, UPDATE_STEPS)
        model.fit_from(
            self.model_,
            weights,
            seen.dense(),
            Y,
            sparse=seen.words,
            negatives=self._hard_negatives(update, Documents(features, space, training_labels)),
            exclude=exclude,
        )
        moves = (model.weights_ - weights) * moving[:, np.newaxis].astype(weights.dtype)
        model.weights_ = weights + moves
        if self.none_ is not None:
            self.none_ = model.weights_[-1:].copy()
            model.weights_ = model.weights_[:-1].copy()
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
        vectors = self.model_.weights_[np.maximum(labels, 0)].astype(np.float32)
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
        return {"text": self.text_, "none": self.none_, "model": self.model_.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take what :meth:`state_dict` gave."""
        from ._linear_model import LinearModel  # loads torch

        self.text_, self.none_ = state["text"], state["none"]
        self.model_ = LinearModel.from_state(state["model"])

    def memory(self, size: Size) -> tuple[float, float]:
        """Bytes of weights, moments, gradient and anchor, and of the scores of a batch."""
        many = size.n_labels > limits.MAX_WORD_VECTORS
        numbers = size.n_labels * (size.dense + (self.words_dimension if size.words else 0))
        batch = self._documents_a_step(size.n_documents, self.epochs) * min(
            size.n_labels, self.max_labels
        )
        return (6.0 if many else 16.0) * numbers + 8.0 * batch, 0.0


def _shares_of_new(update: Update) -> np.ndarray:
    """Which share of each label's documents is new, (n_labels,) float64; 0 without any."""
    added = np.bincount(update.new.Y.indices, minlength=update.n_labels)
    return added / np.maximum(1, added + update.counts)


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
