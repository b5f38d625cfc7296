"""Rankers that learn and forget documents and labels; the one that is there stays as it is."""

from __future__ import annotations

from collections.abc import Callable
from copy import copy, deepcopy
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import scipy.sparse as sp
from sklearn.utils import check_random_state

from .._features._blocks import Features
from .._inputs._targets import narrow_indices
from ..evidence import Evidence, LabelledDocuments, Removal, Update
from ._allowed import Allowed
from ._calibrating import calibrate, judge
from ._ranker import Ranker

# Old documents for each new one, and at least, as far as the sample has them. On icons, with 5,973
# new documents, 4,096 old ones kept 83.7 % P@1 of the old libraries' 86.2, and 8,192 kept 85.0.
REPLAYED, MIN_REPLAYED = 3.0, 512


# Share of new documents that are held out to choose probabilities and threshold again, and the
# fewest and most documents that this takes.
HELD_OUT, MIN_HELD_OUT, MAX_HELD_OUT = 0.2, 100, 500

# New documents that are looked at before they are learned from, at most.
LOOKED_AT = 500


@dataclass
class Arriving:
    """Documents that come after the fit.

    Attributes
    ----------
    features : Features
    Y : csr_array of shape (n_new, n_labels)
        Their labels, the new ones as last columns. Documents without any say that every label is
        wrong.
    exclude : csr_array of shape (n_new, n_labels), or None
        Pairs that are neither positive nor negative.
    rows : ndarray of shape (n_new,), int64
        Numbers of the documents as callers see them.
    numbers : ndarray of shape (n_new,), int64
        How many documents came before each.
    """

    features: Features
    Y: sp.csr_array
    exclude: sp.csr_array | None
    rows: np.ndarray
    numbers: np.ndarray

    def __len__(self) -> int:
        return len(self.rows)

    def take(self, part: np.ndarray) -> Arriving:
        """Some of them."""
        exclude = None if self.exclude is None else self.exclude[part]
        rows, numbers = self.rows[part], self.numbers[part]
        return Arriving(self.features.take(part), self.Y[part], exclude, rows, numbers)


def with_documents(
    ranker: Ranker,
    arriving: Arriving,
    labels: Features | None,
    threshold: Any,
    verbose: int = 0,
) -> Ranker:
    """A ranker that has learned of more documents, and of more labels.

    Mixture and re-ranker stay. Where there are enough new documents, a part of them is held out to
    choose probabilities and threshold, and then learned from as well. An error or interrupt leaves
    `ranker` as it was.

    Parameters
    ----------
    ranker : Ranker
    arriving : Arriving
    labels : Features or None
        Of the new labels' own texts.
    threshold : "auto", "per-label", float or Precision
        As the estimators' parameter.
    verbose : int, default=0
        With 1 there are progress bars.

    Returns
    -------
    updated : Ranker
    """
    updated = _copy(ranker)
    updated.setting.verbose = verbose
    if labels is not None:
        updated.add_labels(labels)
    # Each update draws again, and the same whenever the same documents are added.
    seed = (updated.setting.seed + updated.Y_.shape[0]) % 2**31
    n_held_out = min(int(HELD_OUT * len(arriving)), MAX_HELD_OUT)
    order = check_random_state(seed).permutation(len(arriving))
    held_out = np.sort(order[:n_held_out]) if n_held_out >= MIN_HELD_OUT else order[:0]
    _learn(updated, arriving.take(np.setdiff1d(order, held_out)), seed)
    if len(held_out):
        part = arriving.take(held_out)
        _recalibrate(updated, part, threshold)
        _learn(updated, part, seed + 1)
    return updated


def _learn(updated: Ranker, arriving: Arriving, seed: int) -> None:
    """Let all evidence learn of documents."""
    features, Y = arriving.features, arriving.Y
    n_before = updated.Y_.shape[0]
    n_old = max(MIN_REPLAYED, int(REPLAYED * len(arriving)))
    drawn, old, old_exclude = updated.replay_.draw(
        n_old, updated.n_labels_, check_random_state(seed)
    )
    old_labels = updated.Y_[drawn]
    updated.rows_ = np.concatenate([updated.rows_, arriving.rows])
    updated.Y_ = narrow_indices(sp.csr_array(sp.vstack([updated.Y_, Y], format="csr")))
    update = Update(
        new=LabelledDocuments(updated.documents(features), Y, arriving.exclude),
        old=LabelledDocuments(updated.documents(old), old_labels, old_exclude),
        counts=updated.counts_,
        setting=replace(updated.setting, seed=seed),
        kinds=updated.evidence_,
    )
    for kind in updated.evidence_.values():
        kind.update(update)
    updated.count_documents(updated.Y_)
    updated.n_empty_ += int(np.count_nonzero(np.diff(Y.indptr) == 0))
    updated.n_added_ += len(arriving)
    updated.replay_ = updated.replay_.add(
        features, arriving.exclude, n_before, arriving.numbers, updated.n_labels_
    )


def _recalibrate(updated: Ranker, held_out: Arriving, threshold: Any) -> None:
    """Choose probabilities and threshold by these documents as well, before they are seen."""
    seen = updated.look(held_out.features, held_out.Y, held_out.exclude)
    judged = judge(updated, updated.mixture_.candidates(seen.proposals), seen)
    calibrate(updated, judged.behind(updated.judged_), threshold)


def precision_before(ranker: Ranker, arriving: Arriving) -> tuple[float, int]:
    """Share of the new documents whose best label is right before anything is learned of them.

    Parameters
    ----------
    ranker : Ranker
        As the fit or an earlier update left it. Labels that it does not know are never right.
    arriving : Arriving

    Returns
    -------
    precision : float
    n : int
        Documents with labels that were looked at.
    """
    labelled = np.flatnonzero(np.diff(arriving.Y.indptr) > 0)
    step = max(1, len(labelled) // LOOKED_AT)
    part = arriving.take(labelled[::step])
    if not len(part):
        return 0.0, 0
    known = ranker.n_labels_
    exclude = None if part.exclude is None else part.exclude[:, :known]
    best = ranker.predict(part.features, 1, Allowed(known, exclude))[0][:, 0]
    right = part.Y[np.arange(len(part)), np.maximum(best, 0)] > 0
    return float(np.mean(right & (best >= 0))), len(part)


def without_documents(
    ranker: Ranker,
    gone: np.ndarray,
    describe: Callable[[np.ndarray], Features | None],
) -> Ranker:
    """A ranker without some of its documents; `ranker` stays as it was.

    Parameters
    ----------
    ranker : Ranker
    gone : ndarray of shape (n_gone,), int64
        Which rows of the training labels go, ascending.
    describe : callable
        Gives the features of some labels' own texts, or None where they have none.

    Returns
    -------
    smaller : Ranker
    """
    _check_removable(ranker, "remove_documents", "fit again without these documents")
    smaller = _copy(ranker)
    kept = np.setdiff1d(np.arange(smaller.Y_.shape[0]), gone)
    Y = smaller.Y_[gone]
    before = smaller.counts_
    smaller.Y_, smaller.rows_ = sp.csr_array(smaller.Y_[kept]), smaller.rows_[kept]
    smaller.count_documents(smaller.Y_)
    emptied = np.flatnonzero((before > 0) & (smaller.counts_ == 0))
    features = describe(emptied) if len(emptied) else None
    vectors = (kind.document_vectors(gone) for kind in smaller.evidence_.values())
    removal = Removal(
        rows=gone,
        Y=Y,
        counts=before,
        vectors=next((found for found in vectors if found is not None), None),
        space=smaller.space_,
        emptied=emptied,
        labels=None if features is None else smaller.documents(features),
    )
    for kind in smaller.evidence_.values():
        kind.remove_documents(removal)
    smaller.n_empty_ = int(np.count_nonzero(np.diff(smaller.Y_.indptr) == 0))
    smaller.replay_ = smaller.replay_.keep_documents(kept)
    return smaller


def _check_removable(ranker: Ranker, method: str, instead: str) -> None:
    """Raise a ValueError if a kind of evidence cannot forget documents or labels."""
    for name, kind in ranker.evidence_.items():
        if getattr(type(kind), method) is getattr(Evidence, method):
            raise ValueError(
                f"the evidence {name!r} does not say how to {method.replace('_', ' ')}; override "
                f"{method} of {type(kind).__name__}, or {instead}."
            )


def with_labels(ranker: Ranker, kept: np.ndarray) -> Ranker:
    """A ranker that knows some of the labels only; `ranker` stays as it was.

    Documents that lose all their labels stay, as documents for which every label is wrong.

    Parameters
    ----------
    ranker : Ranker
    kept : ndarray of shape (n_kept,), int64
        The labels that stay, ascending; they are renumbered in this order.

    Returns
    -------
    smaller : Ranker
    """
    instead = "pass these labels as exclude= when predicting"
    _check_removable(ranker, "remove_labels", instead)
    smaller = _copy(ranker)
    for kind in smaller.evidence_.values():
        kind.remove_labels(kept)
    smaller.replay_ = smaller.replay_.keep_labels(kept, smaller.n_labels_)
    if smaller.judged_ is not None:
        smaller.judged_ = smaller.judged_.keep_labels(kept, smaller.n_labels_)
    smaller.Y_ = narrow_indices(sp.csr_array(smaller.Y_[:, kept]))
    smaller.n_labels_ = len(kept)
    smaller.count_documents(smaller.Y_)
    if isinstance(smaller.threshold_, np.ndarray):
        smaller.threshold_ = smaller.threshold_[kept]
    return smaller


def _copy(ranker: Ranker) -> Ranker:
    """A ranker whose evidence and labels can be changed."""
    copied = copy(ranker)
    copied.setting = replace(ranker.setting)
    copied.evidence_ = {name: deepcopy(kind) for name, kind in ranker.evidence_.items()}
    copied.Y_ = ranker.Y_.copy()
    return copied
