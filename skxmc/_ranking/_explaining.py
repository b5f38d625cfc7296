"""What the ranker can say of given pairs of documents and labels."""

from __future__ import annotations

import numpy as np

from .._features._blocks import Features
from ..evidence import Documents, Evidence, Reasons
from ._candidates import pad
from ._ranker import Ranker


def explain_pairs(
    ranker: Ranker, features: Features, labels: np.ndarray, n_documents: int
) -> tuple[np.ndarray, dict[str, np.ndarray], Reasons]:
    """Say why documents get labels.

    Parameters
    ----------
    ranker : Ranker
    features : Features
        Of n documents.
    labels : ndarray of shape (n, m), int64
        Labels of each document, -1 where there are fewer.
    n_documents : int
        Most training documents that are named for a label.

    Returns
    -------
    probabilities : ndarray of shape (n, m), float32
    shares : dict of str to ndarray of shape (n, m), float32
        Of each kind in the mixture; they sum to 1, or are 0 where no evidence speaks for a label.
    reasons : Reasons
        Documents are rows of what fit was given. All else is in logarithms of odds.
    """
    documents = ranker.documents(features)
    first, scores, probabilities = ranker.assess(documents, labels)
    parts = ranker.mixture_.parts(first, labels, scores)
    total = np.maximum(sum(parts.values()), np.float32(1e-30))
    shares = {name: part / total for name, part in parts.items()}
    return probabilities, shares, _reasons(ranker, documents, labels, n_documents)


def document_finder(ranker: Ranker) -> Evidence | None:
    """The first kind of evidence that compares documents; None if none does."""
    for kind in ranker.evidence_.values():
        if type(kind).nearest_documents is not Evidence.nearest_documents:
            return kind
    return None


def nearest_documents(
    ranker: Ranker, finder: Evidence, features: Features, n: int
) -> tuple[np.ndarray, np.ndarray]:
    """The nearest training documents, as rows of what fit was given, and their cosines.

    Padded with -1 and -inf to n columns.
    """
    n_found = min(n, len(ranker.rows_))
    positions, cosines = finder.nearest_documents(ranker.documents(features), n_found)
    return pad(_original_rows(ranker, positions), -1, n), pad(cosines, -np.inf, n)


def _reasons(ranker: Ranker, documents: Documents, labels: np.ndarray, n_documents: int) -> Reasons:
    """Of each part, what the kind with most weight says that can tell."""
    weights, temperatures = ranker.mixture_.weights_, ranker.mixture_.temperatures_
    merged = Reasons()
    for name in sorted(ranker.evidence_, key=lambda name: -weights.get(name, 0.0)):
        own = ranker.evidence_[name].explain(documents, labels, n_documents)
        if own is None:
            continue
        temperature = np.float32(temperatures.get(name, 1.0))
        if merged.documents is None and own.documents is not None:
            positions, cosines = own.documents
            merged.documents = _original_rows(ranker, positions), cosines
        if merged.words is None and own.words is not None:
            merged.words = [part / temperature for part in own.words]
        if merged.pictures is None and own.pictures is not None:
            merged.pictures = own.pictures / temperature
        if merged.tokens is None and own.tokens is not None:
            merged.tokens = [part / temperature for part in own.tokens]
    return merged


def _original_rows(ranker: Ranker, positions: np.ndarray) -> np.ndarray:
    """Rows of what fit was given; -1 stays."""
    return np.where(positions < 0, -1, ranker.rows_[np.maximum(positions, 0)]).astype(np.int64)
