"""How a score is made: three kinds of evidence, their mixture, and re-ranking."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import scipy.sparse as sp

from . import _limits
from ._features import Features, unit_rows
from ._holdout import without_rows
from ._joint_space import JointSpace
from ._labels import narrow_indices
from .indexes import Index, join_candidates, make_index
from .metrics import label_propensities
from .retrieval._mixture import (
    TEMPERATURES,
    TUNED_TEMPERATURES,
    Candidates,
    Evidence,
    Mixture,
    best_candidates,
)
from .retrieval._neighbours import neighbour_labels
from .retrieval._reranker import MIN_DOCUMENTS, Reranker
from .training._hard_negatives import HardNegatives

# Documents scored at a time.
BLOCK = 2048

# Share of the features that a step of the label vectors leaves out. Embeddings of documents that
# the encoder was tuned on fit their labels too well to be relied on.
DROPOUT, DROPOUT_TUNED = 0.2, 0.4

# Labels are given above this probability where no held-out document could choose it.
DEFAULT_THRESHOLD = 0.1


@dataclass
class EvidenceOptions:
    """Which evidence there is and how it is found; the estimators' parameters say what it means.

    `tuned` says whether the encoder was tuned on the documents.
    """

    label_vectors: bool = True
    tuned: bool = True
    neighbours: bool = True
    neighbour_weight: float | None = None
    n_neighbours: int = 50
    shortlist: int = 100
    max_steps: int | None = None
    index: str = "auto"
    metric: str = "mean"
    propensity: tuple[float, float] = (0.55, 1.5)
    threshold: float | None = None
    device: str = "cpu"
    precision: str = "float32"
    dense_embedding: bool = True
    verbose: int = 0


class EvidenceEnsemble:
    """Prototypes, label vectors and neighbours, each of which may be absent.

    Every kind of evidence proposes labels with scores; a :class:`Mixture` turns the scores of
    each into probabilities and adds them up with weights chosen on held-out documents, from which
    a :class:`Reranker` learns to correct it.

    Parameters
    ----------
    options : EvidenceOptions

    Attributes
    ----------
    prototypes_ : Index or None
        Index over the label prototypes.
    space_ : JointSpace
        Joins embeddings, pictures and words for it, and for neighbours where no encoder was tuned.
    label_vectors_ : LabelVectors or None
    neighbours_ : Index or None
        Index over the training documents.
    Y_ : csr_array of shape (n_documents, n_labels)
        Labels of the training documents.
    counts_ : ndarray of shape (n_labels,), int64
        Training documents of each label.
    mixture_ : Mixture
    reranker_ : Reranker or None
        None where fewer than 200 documents are held out, or the neighbours' weight is given.
    threshold_ : float
        Probability above which a label is predicted.
    """

    def __init__(self, options: EvidenceOptions) -> None:
        self.options = options

    def fit(
        self,
        features: Features,
        Y: sp.csr_array,
        *,
        labels: Features | None,
        make_prototypes: Callable[[sp.csr_array], np.ndarray | None],
        exclude: sp.csr_array | None,
        held_out: np.ndarray,
        rng: np.random.RandomState,
    ) -> EvidenceEnsemble:
        """Learn without the held-out documents, then to mix and rank on these, then on all.

        Above `MAX_REBUILT` documents or labels nothing is learned twice: in the end the held-out
        documents become neighbours, and that is all.

        Parameters
        ----------
        features : Features
            Of all documents.
        Y : csr_array of shape (n_documents, n_labels)
        labels : Features or None
            Of the labels' own texts, which label vectors start from.
        make_prototypes : callable
            Gives the prototypes, (n_labels, dimension), for the labels of some documents: Y
            with the rows of other documents emptied. If it gives None, prototypes are left out.
        exclude : csr_array or None
            Pairs that are neither positive nor negative.
        held_out : ndarray of int64
            Documents that choose mixture and threshold; may be empty.
        rng : RandomState
        """
        self.n_labels_ = Y.shape[1]
        # The held-out documents among them, as later in prediction: else their labels would be
        # those that have lost one, which gives them away where all labels have as few.
        self._count_documents(Y)
        options = self.options
        propensities = label_propensities(Y, a=options.propensity[0], b=options.propensity[1])
        seed = int(rng.randint(2**31))
        self.space_ = JointSpace()
        if not options.tuned:
            few = max(self.n_labels_, len(features)) <= _limits.MAX_WORD_VECTORS
            n_words = features.sparse.shape[1] if few and features.sparse is not None else 0
            self.space_ = JointSpace(pictures=True, n_words=n_words, seed=seed)
        self.label_vectors_ = None
        if options.label_vectors:
            from .training._label_vectors import LabelVectors  # loads torch

            self.label_vectors_ = LabelVectors(
                max_steps=options.max_steps,
                dropout=DROPOUT_TUNED if options.tuned else DROPOUT,
                device=options.device,
                precision=options.precision,
                random_state=seed,
                storage="float16" if self.n_labels_ > _limits.MAX_WORD_VECTORS else "float32",
                verbose=options.verbose,
            )
        tried = TUNED_TEMPERATURES if options.tuned else TEMPERATURES
        self.mixture_ = Mixture(fixed=self._fixed_weights(), temperatures=tried)
        self.reranker_ = None
        self.threshold_ = DEFAULT_THRESHOLD
        earlier = None
        if len(held_out):
            self._build(features, without_rows(Y, held_out), make_prototypes, labels, exclude)
            excluded = None if exclude is None else exclude[held_out]
            self._choose(features.take(held_out), Y[held_out], excluded, propensities, seed)
            earlier = self.label_vectors_ and self.label_vectors_.weights_
        if options.threshold is not None:
            self.threshold_ = float(options.threshold)
        if len(held_out) and max(Y.shape) > _limits.MAX_REBUILT:
            self._add_documents(features, Y, held_out)
        else:
            self._build(features, Y, make_prototypes, labels, exclude)
            if earlier is not None:
                # Both saw nearly the same documents; their mean has less of the noise of training.
                self.label_vectors_.average(earlier)
        return self

    def _choose(
        self,
        features: Features,
        truth: sp.csr_array,
        exclude: sp.csr_array | None,
        propensities: np.ndarray,
        seed: int,
    ) -> None:
        """Choose mixture, re-ranking and threshold by held-out documents."""
        options = self.options
        evidence = self.evidence(features)
        self.mixture_.fit(
            evidence, truth, metric=options.metric, exclude=exclude, propensities=propensities
        )
        candidates = self.mixture_.candidates(evidence, exclude)
        # A weight of neighbours that was asked for is their weight in the sum that ranks.
        if truth.shape[0] >= MIN_DOCUMENTS and not options.neighbour_weight:
            self.reranker_ = Reranker(random_state=seed).fit(
                candidates, truth, self.counts_, self._compare_pictures(features)
            )
        found = self._rank(features, candidates, options.shortlist)
        self.threshold_ = best_threshold(*found, truth)

    def _count_documents(self, Y: sp.csr_array) -> None:
        """How many documents each label has."""
        self.counts_ = np.bincount(Y.indices, minlength=self.n_labels_)

    def _fixed_weights(self) -> dict[str, float]:
        weight = self.options.neighbour_weight
        return {} if weight is None else {"neighbours": float(weight)}

    def _build(
        self,
        features: Features,
        Y: sp.csr_array,
        make_prototypes: Callable[[sp.csr_array], np.ndarray | None],
        labels: Features | None,
        exclude: sp.csr_array | None,
    ) -> None:
        """The three kinds of evidence from the documents that have labels in Y."""
        options = self.options
        self.prototypes_ = self.neighbours_ = None
        prototypes = make_prototypes(Y)
        rows = np.flatnonzero(np.diff(Y.indptr))
        self.Y_ = Y[rows]
        if max(Y.shape) <= _limits.MAX_REBUILT:
            exclude = None if exclude is None else exclude[rows]
            features, Y, rows = features.take(rows), self.Y_, np.arange(len(rows))
        # Else a copy of most documents would be too large: those without labels stay among them.
        if prototypes is not None:
            vectors = self.space_.prototypes(prototypes, features, Y, labels)
            del prototypes
            self.prototypes_ = _index(options, len(vectors), vectors.__getitem__)
            del vectors
        if options.neighbours:
            self.neighbours_ = _index(
                options,
                len(rows),
                lambda part: self._neighbour_vectors(features.take(rows[part])),
            )
        if self.label_vectors_ is not None:
            linear = self._linear(features)
            negatives = None
            if self.prototypes_ is not None and self.n_labels_ > self.label_vectors_.max_labels:
                n_nearest = min(options.shortlist, self.n_labels_)
                negatives = HardNegatives(
                    lambda found: self.prototypes_.search(
                        self.space_.documents(features.take(found)), n_nearest
                    )[0],
                    len(features),
                )
            self.label_vectors_.fit(
                linear.blocks(),
                Y,
                sparse=linear.sparse,
                labels=None if labels is None else self._linear(labels),
                negatives=negatives,
                ignore=exclude,
            )

    def _add_documents(self, features: Features, Y: sp.csr_array, rows: np.ndarray) -> None:
        """Let some more documents be neighbours."""
        rows = rows[np.diff(Y.indptr)[rows] > 0]
        if self.neighbours_ is not None:
            self.neighbours_.add(self._neighbour_vectors(features.take(rows)))
        self.Y_ = narrow_indices(sp.vstack([self.Y_, Y[rows]], format="csr"))

    def _linear(self, features: Features) -> Features:
        """What label vectors see of the features."""
        if self.options.dense_embedding:
            return features
        nothing = np.zeros((len(features), 0), dtype=np.float32)
        return Features(nothing, features.images, features.sparse)

    # -- scores -------------------------------------------------------------------------------

    def evidence(self, features: Features, n_candidates: int | None = None) -> Evidence:
        """Candidates of each kind: label indices (n, m) int64 and scores (n, m) float32."""
        options = self.options
        n_candidates = min(max(options.shortlist, n_candidates or 0), self.n_labels_)
        found = {}
        joint = self.space_.documents(features)
        if self.prototypes_ is not None:
            found["prototypes"] = self.prototypes_.search(joint, n_candidates)
        if self.neighbours_ is not None:
            nearest = self.neighbours_.search(
                self._neighbour_vectors(features, joint),
                min(options.n_neighbours, len(self.neighbours_)),
            )
            found["neighbours"] = neighbour_labels(*nearest, self.Y_, n_candidates)
        if self.label_vectors_ is not None:
            shortlist = None
            if self.n_labels_ > _limits.MAX_DENSE_LABELS and found:
                shortlist = join_candidates([indices for indices, _ in found.values()])
            linear = self._linear(features)
            found["label_vectors"] = self.label_vectors_.decision(
                linear.blocks(), sparse=linear.sparse, k=n_candidates, candidates=shortlist
            )
        return found

    def _neighbour_vectors(self, features: Features, joint: np.ndarray | None = None) -> np.ndarray:
        """Rows of unit norm by which documents are compared with each other.

        `joint` are the documents in the space of prototypes, where they are known.
        """
        if self.options.tuned:
            return features.joined()
        return unit_rows(self.space_.documents(features) if joint is None else joint)

    def predict(
        self, features: Features, k: int, exclude: sp.csr_array | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """The k best labels, (n, k) int64, and their probabilities, (n, k) float32.

        Rows with fewer candidates are padded with label -1 and score -inf.
        """
        indices = np.full((len(features), k), -1, dtype=np.int64)
        scores = np.full((len(features), k), -np.inf, dtype=np.float32)
        for start in range(0, len(features), BLOCK):
            rows = slice(start, start + BLOCK)
            part = None if exclude is None else exclude[rows]
            block = features.take(rows)
            candidates = self.mixture_.candidates(self.evidence(block, k), part)
            indices[rows], scores[rows] = self._rank(block, candidates, k)
        return indices, scores

    def _rank(
        self, features: Features, candidates: Candidates, k: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """The k best candidates and their final scores."""
        scores = candidates.mixed
        if self.reranker_ is not None:
            pictures = self._compare_pictures(features)
            scores = self.reranker_.rescore(candidates, self.counts_, pictures)
        return best_candidates(candidates.labels, scores, k)

    def _compare_pictures(self, features: Features) -> Callable[[np.ndarray], np.ndarray] | None:
        """Gives for labels (n, m) how much their pictures are like those of n documents.

        None where pictures do not stand beside embeddings, but are in them.
        """
        block = self.space_.picture_columns(features)
        if self.prototypes_ is None or block is None:
            return None
        own = self.space_.documents(features)[:, block]

        def compare(labels: np.ndarray) -> np.ndarray:
            found = np.empty(labels.shape, dtype=np.float32)
            for first in range(0, len(labels), 256):
                rows = slice(first, first + 256)
                theirs = self.prototypes_.vectors(labels[rows].ravel())[:, block]
                theirs = theirs.reshape(*labels[rows].shape, -1)
                found[rows] = np.einsum("nmd,nd->nm", theirs, own[rows])
            return found

        return compare

    def add_labels(self, labels: Features) -> None:
        """Append labels that have no documents; every kind of evidence learns of them."""
        if self.prototypes_ is not None:
            self.prototypes_.add(self.space_.documents(labels))
        if self.label_vectors_ is not None:
            self.label_vectors_.add_labels(self._linear(labels))
        self.n_labels_ += len(labels)
        self.Y_.resize(self.Y_.shape[0], self.n_labels_)
        self._count_documents(self.Y_)

    # -- persistence --------------------------------------------------------------------------

    def move_to(self, device: str, precision: str) -> None:
        """Compute on another device, or in another precision."""
        self.options.device, self.options.precision = device, precision
        if self.label_vectors_ is not None:
            self.label_vectors_.device, self.label_vectors_.precision = device, precision

    def state_dict(self) -> dict[str, Any]:
        """All that :meth:`from_state` needs: numbers, strings, arrays, Y_ and the indexes."""
        return {
            "options": asdict(self.options),
            "n_labels": self.n_labels_,
            "threshold": self.threshold_,
            "mixture": self.mixture_.to_dict(),
            "reranker": self.reranker_ and self.reranker_.state_dict(),
            "prototypes": self.prototypes_,
            "space": self.space_.state_dict(),
            "label_vectors": self.label_vectors_ and self.label_vectors_.state_dict(),
            "neighbours": self.neighbours_,
            "Y": self.Y_,
        }

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> EvidenceEnsemble:
        """Rebuild from :meth:`state_dict`."""
        ensemble = cls(EvidenceOptions(**state["options"]))
        ensemble.n_labels_, ensemble.threshold_ = state["n_labels"], state["threshold"]
        ensemble.mixture_ = Mixture.from_dict(state["mixture"])
        ensemble.reranker_ = None
        if state["reranker"] is not None:
            ensemble.reranker_ = Reranker.from_state(state["reranker"])
        ensemble.prototypes_ = state["prototypes"]
        ensemble.neighbours_ = state["neighbours"]
        ensemble.space_ = JointSpace(**state["space"])
        ensemble.label_vectors_ = None
        if state["label_vectors"] is not None:
            from .training._label_vectors import LabelVectors  # loads torch

            ensemble.label_vectors_ = LabelVectors.from_state(state["label_vectors"])
        ensemble.Y_ = state["Y"]
        ensemble._count_documents(ensemble.Y_)
        return ensemble


def best_threshold(indices: np.ndarray, scores: np.ndarray, truth: sp.csr_array) -> float:
    """Score above which giving labels has the best micro-averaged F1.

    Parameters
    ----------
    indices, scores : ndarray of shape (n, m)
        Ranked candidates, -1 where there is none.
    truth : csr_array of shape (n, n_labels)
    """
    rows = np.repeat(np.arange(len(indices)), indices.shape[1])
    labels, flat = indices.ravel(), scores.ravel()
    found = labels >= 0
    rows, labels, flat = rows[found], labels[found], flat[found]
    if not len(flat):
        return DEFAULT_THRESHOLD
    right = np.asarray(truth[rows, labels]).ravel() > 0
    order = np.argsort(-flat, kind="stable")
    hits = np.cumsum(right[order])
    f1 = 2 * hits / (np.arange(1, len(order) + 1) + truth.nnz)
    best = flat[order[np.argmax(f1)]]
    return float(np.nextafter(best, np.float32(-1)))  # labels above it are given


def _index(options: EvidenceOptions, n: int, vectors_of: Callable[[slice], np.ndarray]) -> Index:
    """Index of n vectors, of which `vectors_of` gives some; in parts where there are many."""
    if n <= _limits.MAX_REBUILT:
        vectors = vectors_of(slice(0, n))
        return make_index(options.index, *vectors.shape).build(vectors)
    dimension = vectors_of(slice(0, 1)).shape[1]
    return make_index(options.index, n, dimension).build_in_parts(n, vectors_of)
