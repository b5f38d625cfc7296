"""Held-out documents choose probabilities and threshold, in a fit and in later updates."""

from __future__ import annotations

from numbers import Real
from typing import TYPE_CHECKING, Any

import numpy as np

from ._calibration import describe_documents
from ._candidates import Candidates, best_candidates
from ._proposals import Seen
from ._threshold import choose_threshold

if TYPE_CHECKING:
    from ._ranker import Ranker


def calibrate(ranker: Ranker, candidates: Candidates, seen: Seen, threshold: Any) -> None:
    """Fit the probabilities of a ranker, and choose its threshold.

    Parameters
    ----------
    ranker : Ranker
        Mixture and re-ranker are chosen; calibrator, threshold and the precision of held-out
        documents are set.
    candidates : Candidates
        Of documents that the evidence has not seen.
    seen : Seen
        The same documents.
    threshold : "auto", "per-label", float or Precision
        As the estimators' parameter; a number stays what it is.
    """
    truth = seen.truth
    scores = ranker.final_scores(candidates, seen.compare)
    about = describe_documents(candidates, scores)
    labels, scores = best_candidates(candidates.labels, scores, ranker.setting.shortlist)
    rows = np.arange(len(labels))[:, None]
    right = np.asarray(truth[rows, np.maximum(labels, 0)].toarray() > 0) & (labels >= 0)
    has_labels = np.diff(truth.indptr) > 0
    if has_labels.any():
        ranker.held_out_precision_ = float(right[has_labels, 0].mean())
    ranker.calibrator_.fit(scores, about, right)
    probabilities = ranker.calibrator_.probabilities(scores, about)
    if not isinstance(threshold, Real):
        missed = int(truth.nnz - right.sum())
        ranker.threshold_ = choose_threshold(
            threshold, labels, probabilities, right, missed, ranker.n_labels_
        )
