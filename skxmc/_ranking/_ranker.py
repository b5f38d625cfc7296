"""How a score is made: evidence collected, mixed and re-ranked."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from numbers import Real
from typing import Any

import numpy as np
import scipy.sparse as sp
from sklearn.base import clone

from .._features._blocks import Features
from .._features._joint_space import JointSpace
from .._inputs._targets import narrow_indices
from .._runtime import limits
from .._runtime._stages import stage
from ..evidence import Corpus, Documents, Evidence, Setting
from ..metrics import label_propensities
from ..model_selection import Precision
from ._allowed import Allowed
from ._calibrating import Judged, calibrate, judge
from ._calibration import Calibrator, describe_documents
from ._candidates import Candidates, Proposals, behind, best_candidates, pad
from ._holdout import without_rows
from ._mixture import MixedKind, Mixture
from ._proposals import Seen, join_seen, propose_allowed
from ._replay import Replay
from ._reranker import MIN_DOCUMENTS, N_CANDIDATES, Pictures, Reranker
from ._threshold import DEFAULT_THRESHOLD, refuse_precision

# Documents scored at a time.
BLOCK = 2048

# Most labels that a kind of evidence proposes by itself, however many documents have.
_LONGEST_SHORTLIST = 1000


@dataclass
class RankingOptions:
    """What held-out documents choose by; the estimators' parameters say what it means.

    Attributes
    ----------
    metric : str
    propensity : tuple of float
    threshold : "auto", "per-label", float or Precision
    """

    metric: str = "mean"
    propensity: tuple[float, float] = (0.55, 1.5)
    threshold: Any = "auto"


@dataclass
class TrainingSet:
    """What a ranker learns from.

    Attributes
    ----------
    features : Features
        Of all documents.
    Y : csr_array of shape (n_documents, n_labels)
    rows : ndarray of int64
        Documents to learn from. Those of them without a label say that every label is wrong.
    labels : Features or None
        Of the labels' own texts and pictures.
    make_prototypes : callable
        ``make_prototypes(Y, centroids)`` gives the prototypes, (n_labels, dimension), for the
        labels of some documents: Y with the rows of other documents emptied. None if labels have
        nothing to be represented by.
    exclude : csr_array or None
        Pairs that are neither positive nor negative.
    folds : list of ndarray of int64
        Documents that choose mixture, probabilities and threshold, each part by evidence that has
        not seen it; may be empty.
    """

    features: Features
    Y: sp.csr_array
    rows: np.ndarray
    labels: Features | None
    make_prototypes: Callable[[sp.csr_array, bool], np.ndarray | None]
    exclude: sp.csr_array | None
    folds: list[np.ndarray]


class Ranker:
    """Ranks labels by any number of kinds of evidence.

    Every kind proposes labels with scores; a :class:`Mixture` turns the scores of each into
    shares and adds them up with weights chosen on held-out documents. From these a
    :class:`Reranker` learns to correct the mixture, and a :class:`Calibrator` the probability that
    a label is right.

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
        Labels of the training documents, some of which may have none.
    rows_ : ndarray of shape (n_documents,), int64
        Which of the documents that fit was given these are.
    counts_ : ndarray of shape (n_labels,), int64
        Training documents of each label.
    mixture_ : Mixture
    reranker_ : Reranker or None
        None where fewer than 200 documents are held out, or a weight is given.
    calibrator_ : Calibrator
    judged_ : Judged or None
        What it and the threshold were learned from; None without held-out documents.
    threshold_ : float, or ndarray of shape (n_labels,), float32
        Probability above which a label is predicted.
    n_empty_ : int
        Documents without a label among those that were learned from.
    n_fitted_, n_added_, n_seen_ : int
        Documents that the fit learned from, those that came later, and all that were ever given.
    held_out_precision_ : float or None
        Share of the held-out documents with labels whose best one is right; None without any.
    replay_ : Replay
        A sample of all documents.
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
        Y, rows = data.Y, data.rows
        self.n_labels_ = Y.shape[1]
        # The held-out documents among them, as later in prediction: else their labels would be
        # those that have lost one, which gives them away where all labels have as few.
        self.count_documents(Y[rows])
        self.n_empty_ = int(np.count_nonzero(np.diff(Y.indptr)[rows] == 0))
        self.setting = replace(
            self.setting, seed=int(rng.randint(2**31)), shortlist=self._choose_shortlist(Y[rows])
        )
        self.space_ = self._make_space(data.features)
        self.mixture_ = Mixture([self._mixed(kind) for kind in self.kinds])
        self.reranker_ = None
        self.calibrator_ = Calibrator(self.counts_.sum() / max(1, len(rows)))
        self.threshold_ = DEFAULT_THRESHOLD
        self.n_fitted_, self.n_seen_, self.n_added_ = len(rows), len(data.features), 0
        self.held_out_precision_ = self.judged_ = None
        earlier: list[dict[str, Any]] = []
        seen = []
        for fold in data.folds:
            self._collect(data, np.setdiff1d(rows, fold))
            seen.append(self._look(data, fold))
            earlier.append({name: kind.snapshot() for name, kind in self.evidence_.items()})
        if seen:
            self._choose(data, join_seen(seen))
        elif isinstance(self.options.threshold, Precision):
            self.threshold_ = refuse_precision(self.options.threshold.target)
        if isinstance(self.options.threshold, Real):
            self.threshold_ = float(self.options.threshold)
        if seen and max(Y.shape) > limits.MAX_REBUILT:
            self._add_documents(data, data.folds[0])
            self._keep_sample(data, np.concatenate([np.setdiff1d(rows, fold), fold]))
            return self
        self._collect(data, rows)
        self._keep_sample(data, rows)
        for name, kind in self.evidence_.items():
            others = [one[name] for one in earlier if one.get(name) is not None]
            if others:
                kind.join(others)
        return self

    def _choose_shortlist(self, Y: sp.csr_array) -> int:
        """Labels that each kind proposes: twice as many as nearly all documents have, at least."""
        most = int(2 * np.percentile(np.diff(Y.indptr), 95))
        return max(self.setting.shortlist, min(most, _LONGEST_SHORTLIST))

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

    def _collect(self, data: TrainingSet, rows: np.ndarray) -> None:
        """Fit all evidence on some of the documents."""
        make_prototypes, features, exclude = data.make_prototypes, data.features, data.exclude
        others = np.setdiff1d(np.arange(len(features)), rows)
        Y = whole = without_rows(data.Y, others)
        self.Y_, self.rows_ = Y[rows], rows
        if max(Y.shape) <= limits.MAX_REBUILT:
            exclude = None if exclude is None else exclude[rows]
            features, Y, rows = features.take(rows), self.Y_, np.arange(len(rows))
        # Else a copy of most documents would be too large: the others stay among them.
        self.evidence_ = {}
        corpus = Corpus(
            documents=self.documents(features),
            Y=Y,
            rows=rows,
            labels=data.labels,
            exclude=exclude,
            make_prototypes=lambda centroids: make_prototypes(whole, centroids),
            setting=self.setting,
            kinds=self.evidence_,
        )
        for kind in self.kinds:
            learned = clone(kind)
            with stage("learning of %s", kind.name):
                useful = learned.fit(corpus)
            if useful:
                self.evidence_[kind.name] = learned
        if not self.evidence_:
            raise ValueError(
                "no kind of evidence found anything to learn from; pass label_text, or other "
                "evidence."
            )

    def _look(self, data: TrainingSet, rows: np.ndarray) -> Seen:
        exclude = None if data.exclude is None else data.exclude[rows]
        return self.look(data.features.take(rows), data.Y[rows], exclude)

    def look(self, features: Features, Y: sp.csr_array, exclude: sp.csr_array | None) -> Seen:
        """What the evidence says of documents that it has not seen."""
        documents = self.documents(features)
        proposals = self.propose(documents, allowed=Allowed(self.n_labels_, exclude))
        return Seen(proposals, Y, exclude, self._picture_comparison(documents))

    def _choose(self, data: TrainingSet, seen: Seen) -> None:
        """Choose mixture, re-ranking, probabilities and threshold by held-out documents."""
        options, truth = self.options, seen.truth
        a, b = options.propensity
        self.mixture_.fit(
            seen.proposals,
            truth,
            metric=options.metric,
            exclude=seen.exclude,
            propensities=label_propensities(data.Y[data.rows], a=a, b=b),
        )
        candidates = self.mixture_.candidates(seen.proposals)
        # A weight that was asked for is the weight in the sum that ranks.
        given = any(kind.weight is not None for kind in self.mixture_.kinds.values())
        if truth.shape[0] >= MIN_DOCUMENTS and not given:
            n_labels = int(2 * np.percentile(np.diff(truth.indptr), 95))
            self.reranker_ = Reranker(self.setting.seed, max(N_CANDIDATES, n_labels)).fit(
                candidates, truth, self.counts_, seen.compare
            )
        judged = judge(self, candidates, seen)
        self.held_out_precision_ = judged.precision()
        calibrate(self, judged, options.threshold)

    def count_documents(self, Y: sp.csr_array) -> None:
        """How many documents each label has."""
        self.counts_ = np.bincount(Y.indices, minlength=self.n_labels_)

    def _add_documents(self, data: TrainingSet, rows: np.ndarray) -> None:
        """Let evidence take in some more documents, as far as it can without training."""
        documents = self.documents(data.features.take(rows))
        for kind in self.evidence_.values():
            kind.add_documents(documents)
        self.Y_ = narrow_indices(sp.vstack([self.Y_, data.Y[rows]], format="csr"))
        self.rows_ = np.concatenate([self.rows_, rows])

    def _keep_sample(self, data: TrainingSet, order: np.ndarray) -> None:
        """Keep some documents to learn from again; `order` says which one is which row of Y_."""

        def take(rows: np.ndarray) -> tuple[Features, sp.csr_array | None]:
            exclude = None if data.exclude is None else data.exclude[order[rows]]
            return data.features.take(order[rows]), exclude

        capacity = max(kind.replay for kind in self.evidence_.values())
        self.replay_ = Replay.of(order, take, capacity, self.setting.seed)

    def documents(self, features: Features) -> Documents:
        """Documents with these features, as evidence takes them."""
        return Documents(features, self.space_, self.Y_)

    # -- scores -------------------------------------------------------------------------------

    def propose(
        self, documents: Documents, depth: int | None = None, allowed: Allowed | None = None
    ) -> Proposals:
        """The best allowed labels of each kind.

        Parameters
        ----------
        documents : Documents
        depth : int or None
            Most labels of a kind; None takes those that scores are made of.
        allowed : Allowed or None
            None allows all labels.

        Returns
        -------
        proposals : dict of str to (labels, scores)
            Labels (n, m) int64 and scores (n, m) float32, best first.
        """
        depth = min(self.setting.shortlist if depth is None else depth, self.n_labels_)
        documents.proposed = {}
        if not allowed:
            for name, kind in self.evidence_.items():
                documents.proposed[name] = kind.propose(documents, depth)
            return documents.proposed
        return propose_allowed(self.evidence_, documents, depth, allowed)

    def predict(
        self, features: Features, k: int, allowed: Allowed | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """The k best labels, (n, k) int64, and their probabilities, (n, k) float32.

        Rows with fewer candidates are padded with label -1 and score -inf. What the first labels
        and their probabilities are does not depend on k.
        """
        indices = np.full((len(features), k), -1, dtype=np.int64)
        scores = np.full((len(features), k), -np.inf, dtype=np.float32)
        for start in range(0, len(features), BLOCK):
            rows = slice(start, start + BLOCK)
            part = allowed.take(rows) if allowed else None
            documents = self.documents(features.take(rows))
            indices[rows], scores[rows] = self._rank(documents, k, part)
        return indices, scores

    def _rank(
        self, documents: Documents, k: int, allowed: Allowed | None
    ) -> tuple[np.ndarray, np.ndarray]:
        """The k best allowed labels of some documents, and their probabilities."""
        first = self.mixture_.candidates(self.propose(documents, allowed=allowed))
        scores = self.final_scores(first, self._picture_comparison(documents))
        about = describe_documents(first, scores)
        width = first.labels.shape[1]
        labels, best = best_candidates(first.labels, scores, min(k, width))
        depth = self.setting.shortlist
        while self._may_have_more(labels, k, documents.proposed) and depth < self.n_labels_:
            depth = min(4 * depth, self.n_labels_)
            proposals = self.propose(documents, depth, allowed)
            more = self.mixture_.more_candidates(first, proposals, labels)
            labels, best = behind(labels, best, *more, k)
        probabilities = self.calibrator_.probabilities(best, about)
        return pad(labels, -1, k), pad(probabilities, -np.inf, k)

    @staticmethod
    def _may_have_more(labels: np.ndarray, k: int, proposals: Proposals) -> bool:
        """Whether a document has fewer than k labels, though a kind's list of it was full."""
        short = np.count_nonzero(labels >= 0, axis=1) < k
        return bool(short.any()) and any(
            (found[short, -1] >= 0).any() for found, _ in proposals.values()
        )

    def final_scores(self, candidates: Candidates, compare: Pictures | None) -> np.ndarray:
        """Final scores of the candidates, (n, m) float32."""
        if self.reranker_ is None:
            return candidates.mixed
        return self.reranker_.rescore(candidates, self.counts_, compare)

    def score(
        self, features: Features, labels: np.ndarray, allowed: Allowed | None = None
    ) -> np.ndarray:
        """Probabilities of given labels, (n, n_given) float32, for all documents the same labels.

        They are those of :meth:`predict`; of labels that are not among a document's candidates,
        less than those of all candidates.
        """
        found = np.zeros((len(features), len(labels)), dtype=np.float32)
        for start in range(0, len(features), BLOCK):
            rows = slice(start, start + BLOCK)
            part = allowed.take(rows) if allowed else None
            documents = self.documents(features.take(rows))
            asked = np.tile(labels, (len(documents), 1))
            _, _, probabilities = self.assess(documents, asked, part)
            if part:
                probabilities[~part.are(asked)] = 0
            found[rows] = probabilities
        return found

    def assess(
        self, documents: Documents, labels: np.ndarray, allowed: Allowed | None = None
    ) -> tuple[Candidates, dict[str, np.ndarray], np.ndarray]:
        """Candidates of some documents, and what is known of given labels.

        Parameters
        ----------
        documents : Documents
        labels : ndarray of shape (n, m), int64
            Labels of each document, -1 where there are fewer.
        allowed : Allowed or None

        Returns
        -------
        candidates : Candidates
            Of the documents, whatever `labels` are.
        scores : dict of str to ndarray of shape (n, m), float32
            Those of each kind for the labels.
        probabilities : ndarray of shape (n, m), float32
        """
        first = self.mixture_.candidates(self.propose(documents, allowed=allowed))
        final = self.final_scores(first, self._picture_comparison(documents))
        given = {name: kind.score(documents, labels) for name, kind in self.evidence_.items()}
        own = self.mixture_.score(first, final, labels, given)
        # The best one is what scores are relative to.
        own = np.concatenate([final.max(axis=1, keepdims=True), own], axis=1)
        probabilities = self.calibrator_.probabilities(own, describe_documents(first, final))
        return first, given, probabilities[:, 1:]

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
        self.count_documents(self.Y_)
        if isinstance(self.threshold_, np.ndarray):
            common = np.full(len(labels), np.median(self.threshold_), dtype=np.float32)
            self.threshold_ = np.concatenate([self.threshold_, common])

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
            "options": asdict(replace(self.options, threshold=None)),
            "n_labels": self.n_labels_,
            "threshold": self.threshold_,
            "mixture": self.mixture_.state_dict(),
            "reranker": self.reranker_ and self.reranker_.state_dict(),
            "calibrator": self.calibrator_.state_dict(),
            "n_empty": self.n_empty_,
            "space": self.space_.state_dict(),
            "evidence": {name: kind.state_dict() for name, kind in self.evidence_.items()},
            "Y": self.Y_,
            "rows": self.rows_,
            "counts": [self.n_fitted_, self.n_seen_, self.n_added_],
            "held_out_precision": self.held_out_precision_,
            "judged": self.judged_ and self.judged_.state_dict(),
            "replay": self.replay_.state_dict(),
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
        ranker.calibrator_ = Calibrator.from_state(state["calibrator"])
        ranker.n_empty_ = state["n_empty"]
        ranker.space_ = JointSpace(**state["space"])
        ranker.evidence_ = {}
        for kind in kinds:
            if kind.name in state["evidence"]:
                kind.load_state_dict(state["evidence"][kind.name])
                ranker.evidence_[kind.name] = kind
        ranker.Y_, ranker.rows_ = state["Y"], state["rows"]
        ranker.n_fitted_, ranker.n_seen_, ranker.n_added_ = state["counts"]
        ranker.held_out_precision_ = state["held_out_precision"]
        ranker.judged_ = state["judged"] and Judged(**state["judged"])
        ranker.replay_ = Replay(**state["replay"])
        ranker.count_documents(ranker.Y_)
        return ranker
