"""Lexical matching: the labels whose own words a document uses."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import scipy.sparse as sp

from ..indexes import sort_candidates
from ._corpus import Candidates, Corpus, Documents, Removal, Size
from ._evidence import Evidence
from ._reasons import Reasons

# Scores in memory at a time: 64 MB.
_SCORES = 1 << 24

# About how many terms a label's texts have, words and n-grams, where no one has counted them.
_TERMS = 100


class LexicalMatching(Evidence):
    r"""The labels whose words the document uses, whatever else it says.

    With w the TF-IDF of the label's texts, words and character n-grams, of unit norm, the score is
    the share of it that the document has:

    .. math:: \mathrm{score} = \sum_{t \in \mathrm{document}} w_t^2

    It is 1 where every word of the label is in the document, and rare words count more than common
    ones. Unlike a cosine it does not fall as the document gets longer, so a long sentence that
    names several labels matches each of them.

    It needs texts of labels, and words, so ``text_features`` must not be ``"embedding"``. Documents
    only say how rare words are.

    Parameters
    ----------
    weight : "auto" or float in [0, 1], default="auto"
        Share in the mixture; "auto" chooses it on held-out documents.

    Attributes
    ----------
    postings_ : csr_array of shape (n_terms, n_labels), float32
        An inverted index: which labels have a term, and what it adds to their scores. Columns sum
        to 1, or are empty.

    Examples
    --------
    Skills that are known by names and definitions alone (:ref:`label_text_only`). Held-out
    definitions know nothing of sentences, so the weights are given.

    >>> from skxmc import ViXMLClassifier
    >>> from skxmc.evidence import LexicalMatching, TokenMatching
    >>> clf = ViXMLClassifier(
    ...     label_text={"sql": "database queries", "hr": "hire new staff"},
    ...     evidence=[TokenMatching(weight=0.7), LexicalMatching(weight=0.3)],
    ...     train_encoder="frozen",
    ... )
    >>> clf = clf.fit(["write SQL", "find employees"], [["sql"], ["hr"]])
    >>> clf.evidence_["lexical_matching"].postings_.shape[1]
    2
    """

    name = "lexical_matching"
    default_weight = 0.2
    # Shares of a label's words.
    temperatures = (0.2,)
    tuned_temperatures = (0.2,)
    default_temperature = 0.2

    def __init__(self, weight: float | str = "auto") -> None:
        self.weight = weight

    def needs_label_texts(self) -> bool:
        """Documents cannot take the place of the labels' own words."""
        return True

    def sees_words(self, tuned: bool) -> bool:
        """Words are all that it sees."""
        return True

    def fit(self, corpus: Corpus) -> bool:
        """Keep the words of the labels; False if they have no texts."""
        if corpus.documents.features.words is None:
            raise ValueError(
                "LexicalMatching compares words, and the model has none: text_features is "
                "'embedding', or there are no texts, or too many labels or documents for words. "
                "Leave it out, or pass text_features='both' or 'tfidf'."
            )
        if corpus.labels is None or corpus.labels.words is None:
            return False
        self.postings_ = _postings(corpus.labels.words)
        return True

    def propose(self, documents: Documents, k: int) -> Candidates:
        """The labels of which the document has most."""
        k = min(k, self.postings_.shape[1])
        labels = np.full((len(documents), k), -1, dtype=np.int64)
        scores = np.full((len(documents), k), -np.inf, dtype=np.float32)
        for rows, found in self._blocks(documents):
            every = np.broadcast_to(np.arange(found.shape[1]), found.shape)
            labels[rows], scores[rows] = sort_candidates(every, _possible(found), k)
        labels[~np.isfinite(scores)] = -1
        return labels, scores

    def score(self, documents: Documents, labels: np.ndarray) -> np.ndarray:
        """Scores of given labels."""
        scores = np.empty(labels.shape, dtype=np.float32)
        for rows, found in self._blocks(documents):
            own = np.take_along_axis(_possible(found), np.maximum(labels[rows], 0), axis=1)
            scores[rows] = np.where(labels[rows] >= 0, own, -np.inf)
        return scores

    def explain(self, documents: Documents, labels: np.ndarray, n_documents: int) -> Reasons:
        """What each term of a document adds to the score."""
        words = documents.features.words
        found = []
        for row, own in enumerate(labels):
            terms = words.indices[words.indptr[row] : words.indptr[row + 1]]
            amounts = self.postings_[terms][:, np.maximum(own, 0)].toarray().T
            found.append(np.where(own[:, None] >= 0, amounts, 0).astype(np.float32))
        return Reasons(words=found)

    def add_labels(self, labels: Documents) -> None:
        """New labels have words like others."""
        new = _postings(labels.features.words)
        self.postings_ = sp.csr_array(sp.hstack([self.postings_, new], format="csr"))

    def remove_documents(self, removal: Removal) -> None:
        """Nothing was kept of documents."""

    def remove_labels(self, kept: np.ndarray) -> None:
        """The words of the others go."""
        self.postings_ = sp.csr_array(self.postings_[:, kept])

    def memory(self, size: Size) -> tuple[float, float]:
        """Bytes of the scores of some documents, and of the labels' words."""
        return 4.0 * _SCORES, 8.0 * _TERMS * size.n_labels

    def _blocks(self, documents: Documents) -> Iterator[tuple[slice, np.ndarray]]:
        """Scores of all labels for some documents after the other."""
        n_rows = max(1, _SCORES // max(1, self.postings_.shape[1]))
        for start in range(0, len(documents), n_rows):
            rows = slice(start, start + n_rows)
            there = sp.csr_array(documents.features.words[rows], copy=True)
            there.data[:] = 1
            yield rows, (there @ self.postings_).toarray()


def _postings(words: sp.csr_array) -> sp.csr_array:
    """Squares of the terms' weights, as shares of a label's sum; (n_terms, n_labels)."""
    squares = sp.csr_array(words, dtype=np.float32).power(2)
    sums = np.repeat(squares.sum(axis=1), np.diff(squares.indptr))
    squares.data /= np.maximum(sums, np.float32(1e-30))
    return sp.csr_array(squares.T)


def _possible(scores: np.ndarray) -> np.ndarray:
    """A label that shares no word with a document is not proposed."""
    return np.where(scores > 0, scores, np.float32(-np.inf))
