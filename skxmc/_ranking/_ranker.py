"""How a score is made: evidence collected, mixed and re-ranked."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import scipy.sparse as sp
from sklearn.base import clone

from .._features._blocks import Features
from .._features._joint_space import JointSpace
from .._inputs._targets import narrow_indices
from .._runtime import limits
from ..evidence import Corpus, Documents, Evidence, Setting
from ..metrics import label_propensities
from ._holdout import without_rows
from ._mixture import Candidates, MixedKind, Mixture, Proposals, best_candidates
from ._reranker import MIN_DOCUMENTS, Pictures, Reranker
from ._threshold import DEFAULT_THRESHOLD, best_threshold

# Documents scored at a time.
BLOCK = 2048


@dataclass
class RankingOptions:
    """What held-out documents choose by; the estimators' parameters say what it means."""

    metric: str = "mean"
    propensity: tuple[float, float] = (0.55, 1.5)
    threshold: float | None = None


@dataclass
class TrainingSet:
    """What a ranker learns from.

    Attributes
    ----------
    features : Features
        Of all documents.
    Y : csr_array of shape (n_documents, n_labels)
    labels : Features or None
        Of the labels' own texts and pictures.
    make_prototypes : callable
        ``make_prototypes(Y, centroids)`` gives the prototypes, (n_labels, dimension), for the
        labels of some documents: Y with the rows of other documents emptied. None if labels have
        nothing to be represented by.
    exclude : csr_array or None
        Pairs that are neither positive nor negative.
    held_out : ndarray of int64
        Documents that choose mixture and threshold; may be empty.
    """

    features: Features
    Y: sp.csr_array
    labels: Features | None
    make_prototypes: Callable[[sp.csr_array, bool], np.ndarray | None]
    exclude: sp.csr_array | None
    held_out: np.ndarray


class Ranker:
    """Ranks labels by any number of kinds of evidence.

    Every kind proposes labels with scores; a :class:`Mixture` turns the scores of each into
    probabilities and adds them up with weights chosen on held-out documents, from which a
    :class:`Reranker` learns to correct it.

    Parameters
    ----------
    kinds : list of Evidence
        Those first that do not look at the others.
    setting : Setting
    options : RankingOptions

    Attributes
    ----------
    evidence_ : dict of str to Evidence
        The kinds that found something to learn from, fitted.
    space_ : JointSpace
        Joins embeddings, pictures and words.
    Y_ : csr_array of shape (n_documents, n_labels)
        Labels of the training documents that have some.
    counts_ : ndarray of shape (n_labels,), int64
        Training documents of each label.
    mixture_ : Mixture
    reranker_ : Reranker or None
        None where fewer than 200 documents are held out, or a weight is given.
    threshold_ : float
        Probability above which a label is predicted.
    """

    def __init__(self, kinds: list[Evidence], setting: Setting, options: RankingOptions) -> None:
        self.kinds = kinds
        self.setting = setting
        self.options = options

    # -- learning -----------------------------------------------------------------------------

    def fit(self, data: TrainingSet, rng: np.random.RandomState) -> Ranker:
        """Learn without the held-out documents, then to mix and rank on these, then on all.

        Above `MAX_REBUILT` documents or labels nothing is learned twice: in the end the held-out
        documents are added to the evidence that can take them in, and that is all.
        """
        Y, held_out = data.Y, data.held_out
        self.n_labels_ = Y.shape[1]
        # The held-out documents among them, as later in prediction: else their labels would be
        # those that have lost one, which gives them away where all labels have as few.
        self._count_documents(Y)
        seed = int(rng.randint(2**31))
        self.setting = replace(self.setting, seed=seed)
        self.space_ = self._make_space(data.features)
        self.mixture_ = Mixture([self._mixed(kind) for kind in self.kinds])
        self.reranker_ = None
        self.threshold_ = DEFAULT_THRESHOLD
        earlier: dict[str, Any] = {}
        if len(held_out):
            self._collect(data, without_rows(Y, held_out))
            self._choose(data)
            earlier = {name: kind.snapshot() for name, kind in self.evidence_.items()}
        if self.options.threshold is not None:
            self.threshold_ = float(self.options.threshold)
        if len(held_out) and max(Y.shape) > limits.MAX_REBUILT:
            self._add_documents(data.features, Y, held_out)
            return self
        self._collect(data, Y)
        for name, kind in self.evidence_.items():
            if earlier.get(name) is not None:
                kind.join(earlier[name])
        return self

    def _make_space(self, features: Features) -> JointSpace:
        if self.setting.tuned:
            return JointSpace()
        few = max(self.n_labels_, len(features)) <= limits.MAX_WORD_VECTORS
        n_words = features.words.shape[1] if few and features.words is not None else 0
        return JointSpace(pictures=True, n_words=n_words, seed=self.setting.seed)

    def _mixed(self, kind: Evidence) -> MixedKind:
        return MixedKind(
            kind.name,
            kind.default_weight,
            kind.default_temperature,
            kind.tuned_temperatures if self.setting.tuned else kind.temperatures,
            None if kind.weight == "auto" else float(kind.weight),
        )

    def _collect(self, data: TrainingSet, Y: sp.csr_array) -> None:
        """Fit all evidence on the documents that have labels in Y."""
        make_prototypes, features, exclude = data.make_prototypes, data.features, data.exclude
        whole = Y
        rows = np.flatnonzero(np.diff(Y.indptr))
        self.Y_ = Y[rows]
        if max(Y.shape) <= limits.MAX_REBUILT:
            exclude = None if exclude is None else exclude[rows]
            features, Y, rows = features.take(rows), self.Y_, np.arange(len(rows))
        # Else a copy of most documents would be too large: those without labels stay among them.
        self.evidence_ = {}
        corpus = Corpus(
            documents=self.documents(features),
            Y=Y,
            labelled=rows,
            labels=data.labels,
            exclude=exclude,
            make_prototypes=lambda centroids: make_prototypes(whole, centroids),
            setting=self.setting,
            kinds=self.evidence_,
        )
        for kind in self.kinds:
            learned = clone(kind)
            if learned.fit(corpus):
                self.evidence_[kind.name] = learned
        if not self.evidence_:
            raise ValueError(
                "no kind of evidence found anything to learn from; pass label_text, or other "
                "evidence."
            )

    def _choose(self, data: TrainingSet) -> None:
        """Choose mixture, re-ranking and threshold by held-out documents."""
        held_out, options = data.held_out, self.options
        documents, truth = self.documents(data.features.take(held_out)), data.Y[held_out]
        exclude = None if data.exclude is None else data.exclude[held_out]
        a, b = options.propensity
        propensities = label_propensities(data.Y, a=a, b=b)
        proposals = self.propose(documents)
        self.mixture_.fit(
            proposals, truth, metric=options.metric, exclude=exclude, propensities=propensities
        )
        candidates = self.mixture_.candidates(proposals, exclude)
        # A weight that was asked for is the weight in the sum that ranks.
        given = any(kind.weight is not None for kind in self.mixture_.kinds.values())
        if truth.shape[0] >= MIN_DOCUMENTS and not given:
            self.reranker_ = Reranker(random_state=self.setting.seed).fit(
                candidates, truth, self.counts_, self._picture_comparison(documents)
            )
        found = self._rank(documents, candidates, self.setting.shortlist)
        self.threshold_ = best_threshold(*found, truth)

    def _count_documents(self, Y: sp.csr_array) -> None:
        """How many documents each label has."""
        self.counts_ = np.bincount(Y.indices, minlength=self.n_labels_)

    def _add_documents(self, features: Features, Y: sp.csr_array, rows: np.ndarray) -> None:
        """Let evidence take in some more documents, as far as it can without training."""
        rows = rows[np.diff(Y.indptr)[rows] > 0]
        documents = self.documents(features.take(rows))
        for kind in self.evidence_.values():
            kind.add_documents(documents)
        self.Y_ = narrow_indices(sp.vstack([self.Y_, Y[rows]], format="csr"))

    # -- scores -------------------------------------------------------------------------------

    def documents(self, features: Features) -> Documents:
        """Documents as :meth:`propose` and all evidence take them."""
        return Documents(features, self.space_, self.Y_)

    def propose(self, documents: Documents, n_candidates: int | None = None) -> Proposals:
        """Candidates of each kind: label indices (n, m) int64 and scores (n, m) float32."""
        n_candidates = min(max(self.setting.shortlist, n_candidates or 0), self.n_labels_)
        documents.proposed = {}
        for name, kind in self.evidence_.items():
            documents.proposed[name] = kind.propose(documents, n_candidates)
        return documents.proposed

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
            documents = self.documents(features.take(rows))
            candidates = self.mixture_.candidates(self.propose(documents, k), part)
            indices[rows], scores[rows] = self._rank(documents, candidates, k)
        return indices, scores

    def _rank(
        self, documents: Documents, candidates: Candidates, k: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """The k best candidates and their final scores."""
        scores = candidates.mixed
        if self.reranker_ is not None:
            pictures = self._picture_comparison(documents)
            scores = self.reranker_.rescore(candidates, self.counts_, pictures)
        return best_candidates(candidates.labels, scores, k)

    def _picture_comparison(self, documents: Documents) -> Pictures | None:
        """That of the first kind that has one."""
        found = (kind.picture_comparison(documents) for kind in self.evidence_.values())
        return next((compare for compare in found if compare is not None), None)

    def add_labels(self, labels: Features) -> None:
        """Append labels that have no documents; every kind of evidence learns of them."""
        documents = self.documents(labels)
        for kind in self.evidence_.values():
            kind.add_labels(documents)
        self.n_labels_ += len(labels)
        self.Y_.resize(self.Y_.shape[0], self.n_labels_)
        self._count_documents(self.Y_)

    # -- persistence --------------------------------------------------------------------------

    def move_to(self, device: str, precision: str) -> None:
        """Compute on another device, or in another precision."""
        self.setting.device, self.setting.precision = device, precision
        for kind in self.evidence_.values():
            kind.move_to(device, precision)

    def state_dict(self) -> dict[str, Any]:
        """All that :meth:`from_state` needs but the kinds themselves.

        Numbers, strings, arrays, Y_ and indexes.
        """
        return {
            # Every index knows by itself what it is.
            "setting": asdict(replace(self.setting, index=None)),
            "options": asdict(self.options),
            "n_labels": self.n_labels_,
            "threshold": self.threshold_,
            "mixture": self.mixture_.state_dict(),
            "reranker": self.reranker_ and self.reranker_.state_dict(),
            "space": self.space_.state_dict(),
            "evidence": {name: kind.state_dict() for name, kind in self.evidence_.items()},
            "Y": self.Y_,
        }

    @classmethod
    def from_state(cls, state: dict[str, Any], kinds: list[Evidence]) -> Ranker:
        """Rebuild from :meth:`state_dict` and the kinds with their parameters."""
        ranker = cls(kinds, Setting(**state["setting"]), RankingOptions(**state["options"]))
        ranker.n_labels_, ranker.threshold_ = state["n_labels"], state["threshold"]
        ranker.mixture_ = Mixture.from_state(state["mixture"])
        ranker.reranker_ = None
        if state["reranker"] is not None:
            ranker.reranker_ = Reranker.from_state(state["reranker"])
        ranker.space_ = JointSpace(**state["space"])
        ranker.evidence_ = {}
        for kind in kinds:
            if kind.name in state["evidence"]:
                kind.load_state_dict(state["evidence"][kind.name])
                ranker.evidence_[kind.name] = kind
        ranker.Y_ = state["Y"]
        ranker._count_documents(ranker.Y_)
        return ranker
