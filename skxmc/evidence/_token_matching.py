"""Token matching: the words of a document that are most like a label speak for it."""

from __future__ import annotations

from collections.abc import Iterator
from numbers import Real

import numpy as np
from sklearn.base import clone

from .._features._tokens import TokenVectors
from .._runtime import limits
from .._runtime._threads import product
from ..indexes import sort_candidates
from ._corpus import Candidates, Corpus, Documents, Removal, Size
from ._evidence import Evidence
from ._indexing import build_index, index_bytes, place_index
from ._reasons import Reasons

# Labels that tokens are compared with at a time: 2,048 vectors stay in the cache.
_LABELS = 2048

# Tokens of a document that candidates are looked for by, where labels are too many for a scan.
_SEARCHED = 16


class TokenMatching(Evidence):
    r"""The labels that some words of a document are like, however much else it says.

    With :math:`t_i` the unit vectors of the document's tokens and s that of a label,

    .. math::

        a_i = \mathrm{softmax}_i(\langle t_i, s \rangle / \tau), \qquad
        \mathrm{score} = \sum_i a_i \langle t_i, s \rangle

    A sentence that mentions several labels has one vector that is like none of them, but has
    tokens that are like each. A document about one thing has no words to pick; held-out documents
    set the weight of this kind to 0 there. Labels keep one vector, and tokens of documents are
    made when they are asked for: nothing else is stored.

    Tokens see the text alone, without pictures. It needs a text encoder of
    :class:`~skxmc.ViXMLClassifier`, which reads each document a second time.

    Parameters
    ----------
    tau : float, default=0.3
        Temperature of the attention, in units of cosine. Small values listen to the best token
        alone; large ones compare the mean.
    centroids : bool, default=True
        Whether vectors of labels are made of their documents as well; without, of their texts
        alone. Those of a tuned encoder are its prototypes in any case.
    weight : "auto" or float in [0, 1], default="auto"
        Share in the mixture; "auto" chooses it on held-out documents.

    Attributes
    ----------
    index_ : Index
        Over one vector for each label.

    References
    ----------
    Decorte et al., "ConTeXT-match", on extracting skills from job adverts; here the attention is
    a softmax of cosines, which does not depend on the encoder's scale.

    Examples
    --------
    >>> from skxmc import ViXMLClassifier
    >>> from skxmc.evidence import Prototypes, TokenMatching
    >>> clf = ViXMLClassifier(evidence=[Prototypes(), TokenMatching(tau=0.4)])
    >>> clf.get_params()["token_matching__tau"]
    0.4
    """

    name = "token_matching"
    default_weight = 0.2
    # Cosines, as those of prototypes.
    temperatures = (0.05, 0.1)
    tuned_temperatures = (0.1,)
    default_temperature = 0.1
    needs_tokens = True

    def __init__(
        self, tau: float = 0.3, centroids: bool = True, weight: float | str = "auto"
    ) -> None:
        self.tau = tau
        self.centroids = centroids
        self.weight = weight

    def needs_label_texts(self) -> bool:
        """Whether labels without texts leave nothing to learn from, with an untuned encoder."""
        return not self.centroids

    def fit(self, corpus: Corpus) -> bool:
        """Index the labels; False if they have nothing to be represented by."""
        if not (isinstance(self.tau, Real) and 0.02 <= self.tau <= 10):
            raise ValueError(f"tau of TokenMatching must be within 0.02 and 10, got {self.tau!r}.")
        if corpus.documents.features.tokens is None:
            raise ValueError(
                "the encoder gives no vectors of single words, which TokenMatching compares; leave "
                "it out, or use a transformer."
            )
        vectors = corpus.make_prototypes(self.centroids)
        if vectors is None:
            return False
        self.index_ = build_index(corpus.setting, len(vectors), vectors.__getitem__)
        return True

    def propose(self, documents: Documents, k: int) -> Candidates:
        """The labels of greatest score: of all labels, or of those near to single tokens."""
        k = min(k, len(self.index_))
        labels = np.full((len(documents), k), -1, dtype=np.int64)
        scores = np.full((len(documents), k), -np.inf, dtype=np.float32)
        few = len(self.index_) <= limits.MAX_MATCHED_LABELS
        for rows, tokens in documents.features.tokens.blocks():
            if few:
                best = self._scan(tokens, k)
            else:
                texts = documents.features.text[rows]
                candidates = self._search(tokens, texts, k)
                best = sort_candidates(candidates, self._compare(tokens, candidates), k)
            labels[rows], scores[rows] = best
        labels[~np.isfinite(scores)] = -1
        return labels, scores

    def score(self, documents: Documents, labels: np.ndarray) -> np.ndarray:
        """Scores of given labels."""
        scores = np.empty(labels.shape, dtype=np.float32)
        for rows, tokens in documents.features.tokens.blocks():
            scores[rows] = self._compare(tokens, labels[rows])
        return scores

    def explain(self, documents: Documents, labels: np.ndarray, n_documents: int) -> Reasons:
        """What each token adds to the score."""
        found: list[np.ndarray] = []
        for rows, tokens in documents.features.tokens.blocks():
            for row, own in enumerate(labels[rows]):
                cosines, attention = self._attend(tokens.of(row), own)
                found.append(attention * cosines)
        return Reasons(tokens=found)

    def add_labels(self, labels: Documents) -> None:
        """The vector of a label without documents is that of its text."""
        self.index_.add(labels.features.text)

    def remove_documents(self, removal: Removal) -> None:
        """Vectors stay, but that of a label without a document is that of its text again."""
        if removal.labels is not None:
            vectors = self.index_.vectors(np.arange(len(self.index_)))
            vectors[removal.emptied] = removal.labels.features.text
            self.index_ = clone(self.index_).build(vectors)

    def remove_labels(self, kept: np.ndarray) -> None:
        """The vectors of the others go."""
        self.index_.remove(np.setdiff1d(np.arange(len(self.index_)), kept))

    def move_to(self, device: str, precision: str) -> None:
        """Search on another device."""
        place_index(self.index_, device)

    def memory(self, size: Size) -> tuple[float, float]:
        """Bytes while the kind is fitted, and bytes of its index."""
        return 0.0, index_bytes(size.index, size.n_labels, size.dense)

    def _scan(self, tokens: TokenVectors, k: int) -> Candidates:
        """The best of all labels."""
        scores = np.empty((len(tokens), len(self.index_)), dtype=np.float32)
        for columns, part in self._label_blocks():
            for rows, vectors, starts in _runs(tokens):
                scores[rows, columns] = self._weigh(product(vectors, part.T), starts)
        every = np.broadcast_to(np.arange(scores.shape[1]), scores.shape)
        scores[np.diff(tokens.offsets) == 0] = -np.inf
        return sort_candidates(every, scores, k)

    def _label_blocks(self) -> Iterator[tuple[slice, np.ndarray]]:
        n = len(self.index_)
        for start in range(0, n, _LABELS):
            columns = slice(start, min(start + _LABELS, n))
            yield columns, self.index_.vectors(np.arange(columns.start, columns.stop))

    def _weigh(self, cosines: np.ndarray, starts: np.ndarray) -> np.ndarray:
        """Scores (n_texts, n_labels) from the cosines of tokens, whose texts start there."""
        weights = np.exp(cosines * np.float32(1 / self.tau))  # at most exp(50)
        total = np.add.reduceat(weights, starts, axis=0)
        weights *= cosines
        return np.add.reduceat(weights, starts, axis=0) / total

    def _search(self, tokens: TokenVectors, texts: np.ndarray, k: int) -> np.ndarray:
        """Labels near to a text or one of its tokens, (n, m) int64, -1 behind the last one."""
        lists = []
        for row, text in enumerate(texts):
            own = tokens.of(row)
            if len(own) > _SEARCHED:  # those that the text as a whole says least of
                own = own[np.argpartition(own @ text, _SEARCHED)[:_SEARCHED]]
            near, _ = self.index_.search(np.vstack([text, own]), k)
            lists.append(np.unique(near[near >= 0]))
        candidates = np.full((len(lists), max(k, *map(len, lists))), -1, dtype=np.int64)
        for row, near in enumerate(lists):
            candidates[row, : len(near)] = near
        return candidates

    def _compare(self, tokens: TokenVectors, labels: np.ndarray) -> np.ndarray:
        """Scores of given labels, (n, m) float32; -inf where there is none."""
        scores = np.full(labels.shape, -np.inf, dtype=np.float32)
        for row, own in enumerate(labels):
            vectors, there = tokens.of(row), own >= 0
            if len(vectors) and there.any():
                cosines, attention = self._attend(vectors, own[there])
                scores[row, there] = np.vecdot(attention, cosines)
        return scores

    def _attend(self, vectors: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Cosines of a text's tokens with labels, and shares of attention, (m, n_tokens)."""
        cosines = self.index_.vectors(np.maximum(labels, 0)) @ vectors.T
        weights = np.exp(cosines * np.float32(1 / self.tau))
        return cosines, weights / np.maximum(weights.sum(axis=1, keepdims=True), 1e-30)


def _runs(tokens: TokenVectors) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Texts that have tokens, about 1,024 tokens at a time: rows, vectors, and starts in these."""
    rows = np.flatnonzero(np.diff(tokens.offsets))
    if not len(rows):
        return
    groups = np.flatnonzero(np.diff(tokens.offsets[rows] // 1024, prepend=-1))
    for own in np.split(rows, groups[1:]):
        first, last = tokens.offsets[own[0]], tokens.offsets[own[-1] + 1]
        yield own, tokens.vectors[first:last], tokens.offsets[own] - first
