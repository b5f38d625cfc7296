"""Neighbours: the labels of the nearest training documents."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp

from ..indexes import sort_candidates
from ._corpus import Candidates, Corpus, Documents, Removal, Size
from ._evidence import Evidence
from ._indexing import build_index, index_bytes, place_index
from ._reasons import Reasons


class Neighbours(Evidence):
    """The labels of the nearest training documents, each with its share of their votes.

    Parameters
    ----------
    n_neighbors : int, default=50
        Training documents whose labels are considered.
    temperature : float, default=0.08
        Temperature of the votes, in units of cosine; a lower one gives the nearest documents more
        weight.
    weight : "auto" or float in [0, 1], default="auto"
        Share in the mixture; "auto" chooses it on held-out documents.

    Attributes
    ----------
    index_ : Index
        Over one vector for each training document.

    References
    ----------
    Wang et al., arXiv 2502.10615: retrieval-augmented inference.

    Examples
    --------
    >>> import numpy as np
    >>> from skxmc import ViXMLClassifier
    >>> from skxmc.evidence import Neighbours
    >>> clf = ViXMLClassifier("precomputed", evidence=[Neighbours(n_neighbors=1)])
    >>> clf = clf.fit(np.eye(3), [["a"], ["b"], ["c"]])
    >>> clf.predict_topk(np.eye(3)[[1]], k=1, return_labels=True)[0]
    array([['b']], dtype=object)
    """

    name = "neighbours"
    default_weight = 0.2
    # Logarithms of votes: the softmax at this temperature gives the votes back.
    temperatures = tuned_temperatures = (1.0,)
    default_temperature = 1.0

    def __init__(
        self, n_neighbors: int = 50, temperature: float = 0.08, weight: float | str = "auto"
    ) -> None:
        self.n_neighbors = n_neighbors
        self.temperature = temperature
        self.weight = weight

    def sees_words(self, tuned: bool) -> bool:
        """Words stand beside the embeddings of an untuned encoder alone."""
        return not tuned

    def fit(self, corpus: Corpus) -> bool:
        """Index the documents; neighbours without labels lower the votes of all labels."""
        documents, rows = corpus.documents, corpus.rows
        self.index_ = build_index(
            corpus.setting, len(rows), lambda part: documents.take(rows[part]).unit
        )
        return True

    def propose(self, documents: Documents, k: int) -> Candidates:
        """The labels with most votes, and the logarithms of their shares."""
        nearest = self.index_.search(documents.unit, min(self.n_neighbors, len(self.index_)))
        return neighbour_labels(
            *nearest, documents.training_labels, k, temperature=self.temperature
        )

    def score(self, documents: Documents, labels: np.ndarray) -> np.ndarray:
        """Logarithms of the shares of given labels in the votes."""
        nearest = self.index_.search(documents.unit, min(self.n_neighbors, len(self.index_)))
        votes = count_votes(*nearest, documents.training_labels, self.temperature)
        with np.errstate(divide="ignore"):
            scores = np.log(votes[np.arange(len(labels))[:, None], np.maximum(labels, 0)].toarray())
        return np.where(labels < 0, -np.inf, scores).astype(np.float32)

    def explain(self, documents: Documents, labels: np.ndarray, n_documents: int) -> Reasons:
        """The nearest of the documents that have the label, among all of them."""
        shape = (*labels.shape, n_documents)
        positions = np.full(shape, -1, dtype=np.int64)
        cosines = np.full(shape, -np.inf, dtype=np.float32)
        wanted = np.unique(labels[(labels >= 0) & (n_documents > 0)])
        holders = sp.csc_array(documents.training_labels[:, wanted])
        for place, label in enumerate(wanted):
            part = slice(*holders.indptr[place : place + 2])
            pairs = labels == label
            queries = documents.unit[np.nonzero(pairs)[0]]
            found = self.index_.search(queries, n_documents, only=holders.indices[part])
            positions[pairs], cosines[pairs] = found
        return Reasons(documents=(positions, cosines))

    def nearest_documents(self, documents: Documents, n: int) -> Candidates:
        """The nearest documents of the index, and their cosines."""
        return self.index_.search(documents.unit, n)

    def add_documents(self, documents: Documents) -> None:
        """More documents become neighbours."""
        self.index_.add(documents.unit)

    def remove_documents(self, removal: Removal) -> None:
        """The documents are neighbours no more."""
        self.index_.remove(removal.rows)

    def document_vectors(self, rows: np.ndarray) -> np.ndarray:
        """Those of the index."""
        return self.index_.vectors(rows)

    def remove_labels(self, kept: np.ndarray) -> None:
        """Nothing here is kept by label: votes are those of the training labels."""

    def move_to(self, device: str, precision: str) -> None:
        """Search on another device."""
        place_index(self.index_, device)

    def memory(self, size: Size) -> tuple[float, float]:
        """Bytes while the kind is fitted, and bytes of its index."""
        return 0.0, index_bytes(size.index, size.n_documents, size.joint)


def neighbour_labels(
    indices: np.ndarray,
    scores: np.ndarray,
    Y: sp.csr_array,
    n_candidates: int,
    *,
    temperature: float = 0.08,
) -> tuple[np.ndarray, np.ndarray]:
    r"""Let the nearest documents vote for their labels.

    With cosines :math:`c_j` of the neighbours, label l gets the share
    :math:`v_l = \sum_j \mathrm{softmax}(c / \tau)_j Y_{jl}` of the votes; its score is
    :math:`\log v_l`, so that a softmax over the scores of a row at temperature 1 gives back the
    votes, divided by their sum.

    Parameters
    ----------
    indices : ndarray of shape (n, m), int64
        Nearest documents of each query, -1 where there are fewer.
    scores : ndarray of shape (n, m), float32
        Their cosines.
    Y : csr_array of shape (n_documents, n_labels), float32
        Labels of the documents.
    n_candidates : int
        Number of labels to return.
    temperature : float, default=0.08
        The :math:`\tau` above; lower trusts the very nearest more.

    Returns
    -------
    labels : ndarray of shape (n, n_candidates), int64
        Best first, ties in favour of the lower index; -1 where there are fewer.
    log_votes : ndarray of shape (n, n_candidates), float32
        At most 0; -inf where there is no label.

    References
    ----------
    Wang et al., arXiv 2502.10615: retrieval-augmented inference.
    """
    return top_of_rows(count_votes(indices, scores, Y, temperature), n_candidates)


def count_votes(
    indices: np.ndarray, scores: np.ndarray, Y: sp.csr_array, temperature: float
) -> sp.csr_array:
    """Shares of the votes, (n, n_labels); arguments as in :func:`neighbour_labels`."""
    n = len(indices)
    found = indices >= 0
    best = np.where(found, scores, -np.inf).max(axis=1, keepdims=True, initial=-np.inf)
    weights = np.exp((scores - np.where(np.isfinite(best), best, 0)) / temperature)
    weights = np.where(found, weights, 0)
    weights /= np.maximum(weights.sum(axis=1, keepdims=True), 1e-30)
    # Indices of the type of Y's: else the product would copy those of all documents.
    kind = Y.indices.dtype
    starts = np.concatenate(([0], np.cumsum(found.sum(axis=1)))).astype(kind)
    votes = sp.csr_array(
        (weights[found].astype(np.float32), indices[found].astype(kind), starts),
        shape=(n, Y.shape[0]),
    )
    return votes @ sp.csr_array(Y)


def top_of_rows(votes: sp.csr_array, k: int) -> tuple[np.ndarray, np.ndarray]:
    """The k largest positive entries of each row, and their logarithms, padded with -1, -inf."""
    n = votes.shape[0]
    counts = np.diff(votes.indptr)
    labels = np.full((n, k), -1, dtype=np.int64)
    scores = np.full((n, k), -np.inf, dtype=np.float32)
    # Rows of similar length together: padding to the longest row of all could be wide.
    order = np.argsort(counts, kind="stable")
    for start in range(0, n, 1024):
        rows = order[start : start + 1024]
        width = int(counts[rows[-1]])
        if width == 0:
            continue
        columns = np.arange(width)
        there = columns < counts[rows][:, None]
        position = np.where(there, votes.indptr[rows][:, None] + columns, 0)
        values = np.where(there, votes.data[position], 0)
        with np.errstate(divide="ignore"):
            values = np.log(values, dtype=np.float32)
        candidates = np.where(np.isfinite(values), votes.indices[position], -1)
        best, best_scores = sort_candidates(candidates, values, k)
        labels[rows, : best.shape[1]] = best
        scores[rows, : best.shape[1]] = best_scores
    return labels, scores
