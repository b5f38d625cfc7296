"""Prototypes: one vector for each label in the space of documents."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import scipy.sparse as sp
from sklearn.base import clone

from .._runtime import limits
from ._corpus import Candidates, Corpus, Documents, Removal, Size, Update
from ._evidence import Evidence
from ._indexing import build_index, index_bytes, place_index
from ._reasons import Reasons
from ._running_means import RunningMeans

# Documents that are compared with labels of their own at a time.
_ROWS = 256


class Prototypes(Evidence):
    """The cosine between a document and each label's prototype.

    A tuned encoder's prototypes are those of its objective. With an untuned encoder a prototype is
    the embedding of the label's text together with the mean of its documents' embeddings, and
    pictures and words stand beside it.

    Parameters
    ----------
    centroids : bool, default=True
        Whether the prototypes of a frozen encoder move towards the means of their documents. If
        not, labels are represented by their texts alone.
    weight : "auto" or float in [0, 1], default="auto"
        Share in the mixture; "auto" chooses it on held-out documents.

    Attributes
    ----------
    index_ : Index
        Over one vector for each label.

    References
    ----------
    PRIME (NAACL 2025, arXiv 2410.20401), Section 3.

    Examples
    --------
    >>> from skxmc import ViXMLClassifier
    >>> from skxmc.evidence import Prototypes
    >>> clf = ViXMLClassifier(train_encoder="frozen", evidence=[Prototypes()])
    >>> clf = clf.fit(["red apple", "fast car"], [["fruit"], ["vehicle"]])
    >>> len(clf.evidence_["prototypes"].index_)
    2
    """

    name = "prototypes"
    default_weight = 0.2
    # Cosines. Above an encoder that was tuned on the documents the choice of a temperature is so
    # uncertain that trying several did worse than this one.
    temperatures = (0.05, 0.1)
    tuned_temperatures = (0.1,)
    default_temperature = 0.1

    def __init__(self, centroids: bool = True, weight: float | str = "auto") -> None:
        self.centroids = centroids
        self.weight = weight

    def needs_label_texts(self) -> bool:
        """Whether labels without texts leave nothing to learn from, with an untuned encoder."""
        return not self.centroids

    def sees_words(self, tuned: bool) -> bool:
        """Words stand beside the embeddings of an untuned encoder alone."""
        return not tuned

    def fit(self, corpus: Corpus) -> bool:
        """Index the prototypes; False if labels have nothing to be represented by."""
        vectors = corpus.make_prototypes(self.centroids)
        if vectors is None:
            return False
        documents = corpus.documents
        vectors = documents.space.prototypes(vectors, documents.features, corpus.Y, corpus.labels)
        self.index_ = build_index(corpus.setting, len(vectors), vectors.__getitem__)
        self.means_ = None
        if not corpus.setting.tuned and max(corpus.Y.shape) <= limits.MAX_REBUILT:
            self.means_ = RunningMeans.of(
                documents.space, documents.features, corpus.Y, corpus.labels, self.centroids
            )
        return True

    def propose(self, documents: Documents, k: int) -> Candidates:
        """The labels whose prototypes are nearest, and their cosines."""
        return self.index_.search(documents.joint, k)

    def score(self, documents: Documents, labels: np.ndarray) -> np.ndarray:
        """Cosines of given labels."""
        scores = self._compare(documents.joint, labels, slice(None))
        return np.where(labels < 0, np.float32(-np.inf), scores)

    def add_labels(self, labels: Documents) -> None:
        """The prototype of a label without documents is its own vector."""
        self.index_.add(labels.joint)
        if self.means_ is not None:
            self.means_.add_labels(labels.space.blocks(labels.features))

    def remove_labels(self, kept: np.ndarray) -> None:
        """The prototypes of the others go."""
        self.index_.remove(np.setdiff1d(np.arange(len(self.index_)), kept))
        if self.means_ is not None:
            self.means_.keep_labels(kept)

    def update(self, update: Update) -> None:
        """Untuned prototypes follow the means of their documents; tuned ones stay."""
        if self.means_ is None:
            return
        documents = update.new.documents
        self._move(documents.space.blocks(documents.features), update.new.Y, update.counts, 1)

    def remove_documents(self, removal: Removal) -> None:
        """Untuned prototypes leave the documents, where neighbours know these; tuned ones stay."""
        if self.means_ is None or removal.vectors is None:
            return
        blocks = self.means_.split(removal.space, removal.vectors)
        self._move(blocks, removal.Y, removal.counts, -1)

    def _move(
        self,
        blocks: dict[str, tuple[float, np.ndarray]],
        Y: sp.csr_array,
        counts: np.ndarray,
        sign: int,
    ) -> None:
        """Prototypes with documents more, or fewer if `sign` is -1."""
        labels = np.unique(Y.indices)
        vectors = self.index_.vectors(np.arange(len(self.index_)))
        vectors[labels] = self.means_.move(
            vectors[labels], labels, counts[labels], blocks, Y[:, labels], sign
        )
        self.index_ = clone(self.index_).build(vectors)

    def picture_comparison(self, documents: Documents) -> Callable[[np.ndarray], np.ndarray] | None:
        """Inner products of the picture blocks; None where pictures do not stand by themselves."""
        block = documents.space.picture_columns(documents.features)
        if block is None:
            return None
        own = documents.joint[:, block]
        return lambda labels: self._compare(own, labels, block)

    def explain(self, documents: Documents, labels: np.ndarray, n_documents: int) -> Reasons:
        """What words and pictures add to the cosines, where they stand by themselves."""
        vectors = self.index_.vectors(np.maximum(labels, 0).ravel()).reshape(*labels.shape, -1)
        compare = self.picture_comparison(documents)
        return Reasons(
            words=documents.space.word_parts(documents.features, vectors),
            pictures=None if compare is None else compare(labels),
        )

    def _compare(self, own: np.ndarray, labels: np.ndarray, columns: slice) -> np.ndarray:
        """Inner products with some columns of the labels' vectors, (n, m) float32."""
        found = np.empty(labels.shape, dtype=np.float32)
        for first in range(0, len(labels), _ROWS):
            rows = slice(first, first + _ROWS)
            theirs = self.index_.vectors(np.maximum(labels[rows], 0).ravel())[:, columns]
            theirs = theirs.reshape(*labels[rows].shape, -1)
            found[rows] = np.einsum("nmd,nd->nm", theirs, own[rows])
        return found

    def move_to(self, device: str, precision: str) -> None:
        """Search on another device."""
        place_index(self.index_, device)

    def memory(self, size: Size) -> tuple[float, float]:
        """Bytes while the kind is fitted; of its index, and of the labels' own vectors."""
        index = index_bytes(size.index, size.n_labels, size.joint)
        return 0.0, index + 2.0 * size.n_labels * size.joint

    def state_dict(self) -> dict[str, Any]:
        """The index, and what the means of documents move it by."""
        return {"index": self.index_, "means": self.means_ and self.means_.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take what :meth:`state_dict` gave."""
        self.index_ = state["index"]
        self.means_ = state["means"] and RunningMeans(**state["means"])
