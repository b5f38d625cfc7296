"""Held-out documents choose probabilities and threshold, in a fit and in later updates."""

from __future__ import annotations

from copy import copy
from dataclasses import asdict, dataclass
from numbers import Real
from typing import Any

import numpy as np

from ._calibration import describe_documents
from ._candidates import Candidates, best_candidates, pad
from ._proposals import Seen
from ._threshold import choose_threshold

# Best labels of a document that are kept, at least; of most documents twice as many as are right.
_RANKS = 30

# Documents that are kept, the newest.
_MOST = 5000


@dataclass
class Judged:
    """The best labels of held-out documents, and which of them are right.

    A model keeps them: those of an update choose together with those of the fit. New documents may
    be of another kind, and the old kind may come again.

    Attributes
    ----------
    labels : ndarray of shape (n, m), int64
        Best first, -1 where there is none, or where a label has gone.
    scores : ndarray of shape (n, m), float32
        Final scores, -inf where there is none.
    about : ndarray of shape (n, d), float32
        As :func:`describe_documents` gives it.
    right : ndarray of shape (n, m), bool
    missed : ndarray of shape (n,), int64
        Right labels that are not among the best ones.
    """

    labels: np.ndarray
    scores: np.ndarray
    about: np.ndarray
    right: np.ndarray
    missed: np.ndarray

    def __len__(self) -> int:
        return len(self.labels)

    def precision(self) -> float | None:
        """Share of the documents with labels whose best one is right; None without any."""
        labelled = self.right.any(axis=1) | (self.missed > 0)
        return float(self.right[labelled, 0].mean()) if labelled.any() else None

    def behind(self, earlier: Judged | None) -> Judged:
        """Earlier documents and then these."""
        if earlier is None:
            return self
        parts = earlier, self
        width = max(part.labels.shape[1] for part in parts)
        return Judged(
            np.concatenate([pad(part.labels, -1, width) for part in parts])[-_MOST:],
            np.concatenate([pad(part.scores, -np.inf, width) for part in parts])[-_MOST:],
            np.concatenate([part.about for part in parts])[-_MOST:],
            np.concatenate([pad(part.right, False, width) for part in parts])[-_MOST:],
            np.concatenate([part.missed for part in parts])[-_MOST:],
        )

    def keep_labels(self, kept: np.ndarray, n_labels: int) -> Judged:
        """The same documents for a model that has some of the labels, renumbered."""
        number_of = np.full(n_labels + 1, -1, dtype=np.int64)
        number_of[kept] = np.arange(len(kept))
        labels = number_of[self.labels]
        return Judged(labels, self.scores, self.about, self.right, self.missed)

    def state_dict(self) -> dict[str, np.ndarray]:
        """The attributes."""
        return asdict(self)


def judge(ranker: Any, candidates: Candidates, seen: Seen) -> Judged:
    """What a ranker, of which mixture and re-ranker are chosen, says of held-out documents.

    Parameters
    ----------
    ranker : Ranker
    candidates : Candidates
        Of documents that the evidence has not seen.
    seen : Seen
        The same documents.
    """
    truth = seen.truth
    scores = ranker.final_scores(candidates, seen.compare)
    about = describe_documents(candidates, scores)
    n_right = np.diff(truth.indptr)
    most = int(2 * np.percentile(n_right, 95)) if len(n_right) else 0
    depth = min(ranker.setting.shortlist, max(_RANKS, most))
    labels, scores = best_candidates(candidates.labels, scores, depth)
    rows = np.arange(len(labels))[:, None]
    right = np.asarray(truth[rows, np.maximum(labels, 0)].toarray() > 0) & (labels >= 0)
    return Judged(labels, scores, about, right, n_right - right.sum(axis=1))


def calibrate(ranker: Any, judged: Judged, threshold: Any) -> None:
    """Fit the probabilities of a ranker, and choose its threshold.

    Parameters
    ----------
    ranker : Ranker
        Gets a new calibrator, a threshold, and `judged`.
    judged : Judged
    threshold : "auto", "per-label", float or Precision
        As the estimators' parameter; a number stays what it is.
    """
    ranker.judged_ = judged
    ranker.calibrator_ = copy(ranker.calibrator_).fit(judged.scores, judged.about, judged.right)
    probabilities = ranker.calibrator_.probabilities(judged.scores, judged.about)
    if not isinstance(threshold, Real):
        ranker.threshold_ = choose_threshold(
            threshold,
            judged.labels,
            probabilities,
            judged.right,
            int(judged.missed.sum()),
            ranker.n_labels_,
        )
