"""What kinds of evidence propose, to whom they may propose it, and what that was worth."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp

from ..evidence import Documents, Evidence
from ._allowed import Allowed, front
from ._candidates import Proposals
from ._reranker import Pictures

# A document that may be given no more labels than these has all of them scored, and none searched.
_FEW_ALLOWED = 2048


@dataclass
class Seen:
    """Held-out documents, and what evidence that has not seen them says.

    Attributes
    ----------
    proposals : dict of str to (labels, scores)
    truth : csr_array of shape (n, n_labels)
    exclude : csr_array of shape (n, n_labels), or None
    compare : callable or None
        Compares pictures, as :meth:`Evidence.picture_comparison` gives it.
    """

    proposals: Proposals
    truth: sp.csr_array
    exclude: sp.csr_array | None
    compare: Pictures | None


def join_seen(parts: list[Seen]) -> Seen:
    """All parts, one below the other; a kind that is missing in one proposes nothing there."""
    if len(parts) == 1:
        return parts[0]
    names = list(dict.fromkeys(name for part in parts for name in part.proposals))
    proposals = {}
    for name in names:
        lists = [part.proposals.get(name) for part in parts]
        width = max(one[0].shape[1] for one in lists if one is not None)
        labels = [np.full((part.truth.shape[0], width), -1, dtype=np.int64) for part in parts]
        scores = [np.full(one.shape, -np.inf, dtype=np.float32) for one in labels]
        for own, values, one in zip(labels, scores, lists, strict=True):
            if one is not None:
                own[:, : one[0].shape[1]], values[:, : one[0].shape[1]] = one
        proposals[name] = np.concatenate(labels), np.concatenate(scores)
    excludes = [part.exclude for part in parts]
    return Seen(
        proposals,
        sp.csr_array(sp.vstack([part.truth for part in parts], format="csr")),
        None if excludes[0] is None else sp.csr_array(sp.vstack(excludes, format="csr")),
        _join_comparisons(parts),
    )


def _join_comparisons(parts: list[Seen]) -> Pictures | None:
    if any(part.compare is None for part in parts):
        return None
    starts = np.cumsum([part.truth.shape[0] for part in parts])[:-1]

    def compare(labels: np.ndarray) -> np.ndarray:
        blocks = np.split(labels, starts)
        return np.concatenate(
            [part.compare(block) for part, block in zip(parts, blocks, strict=True)]
        )

    return compare


def propose_allowed(
    kinds: Mapping[str, Evidence], documents: Documents, depth: int, allowed: Allowed
) -> Proposals:
    """The best allowed labels of each kind, as if there were no others.

    Lists are so much longer as labels of a document are forbidden, and cut afterwards. Where few
    are allowed, all of these are scored instead.
    """
    n = len(documents)
    n_forbidden = allowed.n_forbidden(n)
    n_allowed = allowed.n_labels - n_forbidden
    few = (n_allowed <= _FEW_ALLOWED) & (n_forbidden > depth)
    proposals: Proposals = {}
    for name in kinds:
        labels = np.full((n, depth), -1, dtype=np.int64)
        proposals[name] = labels, np.full((n, depth), -np.inf, dtype=np.float32)
    for rows, search in ((np.flatnonzero(few), _score_allowed), (np.flatnonzero(~few), _search)):
        if len(rows):
            whole = len(rows) == n
            part = documents if whole else documents.take(rows)
            found = search(kinds, part, depth, allowed if whole else allowed.take(rows))
            for name, (labels, scores) in found.items():
                own, values = proposals[name]
                own[rows, : labels.shape[1]], values[rows, : labels.shape[1]] = labels, scores
    documents.proposed = proposals
    return proposals


def _search(
    kinds: Mapping[str, Evidence], documents: Documents, depth: int, allowed: Allowed
) -> Proposals:
    most = int(allowed.n_forbidden(len(documents)).max(initial=0))
    longer = min(depth + most, allowed.n_labels)
    documents.proposed = {}
    for name, kind in kinds.items():
        labels, scores = kind.propose(documents, longer)
        documents.proposed[name] = front(labels, scores, allowed.are(labels), depth)
    return documents.proposed


def _score_allowed(
    kinds: Mapping[str, Evidence], documents: Documents, depth: int, allowed: Allowed
) -> Proposals:
    lists = [allowed.of_row(row) for row in range(len(documents))]
    width = max(1, max(map(len, lists)))
    asked = np.full((len(documents), width), -1, dtype=np.int64)
    for row, own in enumerate(lists):
        asked[row, : len(own)] = own
    documents.proposed = {}
    for name, kind in kinds.items():
        scores = np.where(asked < 0, np.float32(-np.inf), kind.score(documents, asked))
        order = np.argsort(-scores, axis=1, kind="stable")[:, :depth]
        scores = np.take_along_axis(scores, order, axis=1)
        labels = np.take_along_axis(asked, order, axis=1)
        documents.proposed[name] = np.where(np.isfinite(scores), labels, -1), scores
    return documents.proposed
