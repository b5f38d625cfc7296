"""Rankers that learn more documents, and forget labels; the one that is there stays as it is."""

from __future__ import annotations

from copy import copy, deepcopy
from dataclasses import replace

import numpy as np
import scipy.sparse as sp
from sklearn.utils import check_random_state

from .._features._blocks import Features
from .._inputs._targets import narrow_indices
from ..evidence import Evidence, LabelledDocuments, Update
from ._ranker import Ranker

# Old documents for each new one, and at least, as far as the sample has them. On icons, with 5,973
# new documents, 4,096 old ones kept 83.7 % P@1 of the old libraries' 86.2, and 8,192 kept 85.0.
REPLAYED, MIN_REPLAYED = 3.0, 512


def with_documents(
    ranker: Ranker,
    features: Features,
    Y: sp.csr_array,
    exclude: sp.csr_array | None,
    labels: Features | None,
    rows: np.ndarray,
) -> Ranker:
    """A ranker that has learned of more documents, and of more labels.

    Mixture, re-ranker, probabilities and threshold stay. An error or interrupt leaves `ranker` as
    it was.

    Parameters
    ----------
    ranker : Ranker
    features : Features
        Of the new documents.
    Y : csr_array of shape (n_new, n_labels)
        Their labels, the new ones as last columns. Documents without any say that every label is
        wrong.
    exclude : csr_array of shape (n_new, n_labels), or None
        Pairs that are neither positive nor negative.
    labels : Features or None
        Of the new labels' own texts.
    rows : ndarray of shape (n_new,), int64
        Numbers of the new documents, which follow those of the fit.

    Returns
    -------
    updated : Ranker
    """
    updated = _copy(ranker)
    if labels is not None:
        updated.add_labels(labels)
    n_before = updated.Y_.shape[0]
    # Each update draws anew, and the same whenever the same documents are added.
    seed = (updated.setting.seed + n_before) % 2**31
    n_old = max(MIN_REPLAYED, int(REPLAYED * len(features)))
    drawn, old, old_exclude = updated.replay_.draw(
        n_old, updated.n_labels_, check_random_state(seed)
    )
    old_labels = updated.Y_[drawn]
    updated.rows_ = np.concatenate([updated.rows_, rows])
    updated.Y_ = narrow_indices(sp.csr_array(sp.vstack([updated.Y_, Y], format="csr")))
    update = Update(
        new=LabelledDocuments(updated.documents(features), Y, exclude),
        old=LabelledDocuments(updated.documents(old), old_labels, old_exclude),
        counts=updated.counts_,
        setting=replace(updated.setting, seed=seed),
        kinds=updated.evidence_,
    )
    for kind in updated.evidence_.values():
        kind.update(update)
    updated.count_documents(updated.Y_)
    updated.n_empty_ += int(np.count_nonzero(np.diff(Y.indptr) == 0))
    updated.n_added_ += len(features)
    updated.replay_ = updated.replay_.add(features, exclude, n_before, updated.n_labels_)
    return updated


def check_removable(ranker: Ranker) -> None:
    """Raise a ValueError if a kind of evidence cannot forget labels."""
    for name, kind in ranker.evidence_.items():
        if type(kind).remove_labels is Evidence.remove_labels:
            raise ValueError(
                f"the evidence {name!r} does not say how to remove labels; override remove_labels "
                f"of {type(kind).__name__}, or pass these labels as exclude= when predicting."
            )


def with_labels(ranker: Ranker, kept: np.ndarray) -> Ranker:
    """A ranker that knows some of the labels only; `ranker` stays as it was.

    Documents that lose all their labels stay, as documents for which every label is wrong.

    Parameters
    ----------
    ranker : Ranker
    kept : ndarray of shape (n_kept,), int64
        The labels that stay, ascending; they are numbered anew in this order.

    Returns
    -------
    smaller : Ranker
    """
    check_removable(ranker)
    smaller = _copy(ranker)
    for kind in smaller.evidence_.values():
        kind.remove_labels(kept)
    smaller.replay_ = smaller.replay_.keep_labels(kept, smaller.n_labels_)
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
