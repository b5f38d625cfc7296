"""What kinds of evidence learn from: documents, labels, and how to compute."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import scipy.sparse as sp

from .._features._blocks import Features, unit_rows
from .._features._joint_space import JointSpace

Candidates = tuple[np.ndarray, np.ndarray]


@dataclass
class Setting:
    """How and where evidence computes; the estimator's parameters say what it means.

    Parameters
    ----------
    tuned : bool
        Whether the encoder was tuned on the documents.
    text : bool
        Whether linear models see the embeddings of texts beside their words.
    index : str or Index
        Search over vectors, as `make_index` takes it.
    max_steps : int or None
        Most optimisation steps of what is trained.
    shortlist : int
        Labels that a kind of evidence proposes for a document, if not more are asked for.
    device, precision : str
        Where and in which precision to compute.
    seed : int
        Seed of all random draws.
    verbose : int
        With 1 there are progress bars.
    """

    tuned: bool = False
    text: bool = True
    index: Any = "auto"
    max_steps: int | None = None
    shortlist: int = 100
    device: str = "cpu"
    precision: str = "float32"
    seed: int = 0
    verbose: int = 0


@dataclass
class Documents:
    """Documents that labels are proposed for.

    Parameters
    ----------
    features : Features
        Blocks ``text`` (embeddings), ``pictures`` and ``words``; the last two may be None.
    space : JointSpace
        Joins the blocks.
    training_labels : csr_array of shape (n_training_documents, n_labels)
        Labels of the training documents, in the order in which evidence has seen them.
    proposed : dict of str to (labels, scores)
        What the kinds before this one propose for these documents.
    """

    features: Features
    space: JointSpace
    training_labels: sp.csr_array | None = None
    proposed: dict[str, Candidates] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.features)

    @cached_property
    def joint(self) -> np.ndarray:
        """Vectors by which documents are compared with labels, (n, d) float32."""
        return self.space.documents(self.features)

    @cached_property
    def unit(self) -> np.ndarray:
        """Rows of unit norm by which documents are compared with each other, (n, d) float32."""
        return unit_rows(self.joint) if self.space.pictures else self.features.joined()

    def take(self, rows: Any) -> Documents:
        """Some of the documents, without proposals.

        Parameters
        ----------
        rows : ndarray of int or slice
            Which of them.

        Returns
        -------
        documents : Documents
        """
        return Documents(self.features.take(rows), self.space, self.training_labels)


@dataclass
class Corpus:
    """What evidence learns from.

    Parameters
    ----------
    documents : Documents
        The documents to learn from, and possibly others, which saves a copy; `rows` says which.
    Y : csr_array of shape (n_documents, n_labels)
        Their labels.
    rows : ndarray of int64
        Rows of the documents to learn from. Those without a label say that every label is wrong.
    labels : Features or None
        Features of the labels' own texts and pictures, of which any but the embedding may be
        missing.
    exclude : csr_array of shape (n_documents, n_labels), or None
        Pairs that are neither positive nor negative.
    make_prototypes : callable
        ``make_prototypes(centroids)`` gives one vector for each label, (n_labels, dimension)
        float32, or None where labels have nothing to be represented by. A tuned encoder's come
        from its objective; else they are made of the labels' texts and, if `centroids`, the
        means of their documents.
    setting : Setting
        How and where to compute.
    kinds : dict of str to Evidence
        Those that have learned from this corpus before.
    """

    documents: Documents
    Y: sp.csr_array
    rows: np.ndarray
    labels: Features | None
    exclude: sp.csr_array | None
    make_prototypes: Callable[[bool], np.ndarray | None]
    setting: Setting
    kinds: dict[str, Any] = field(default_factory=dict)

    @property
    def n_labels(self) -> int:
        """Number of labels."""
        return self.Y.shape[1]


@dataclass
class LabelledDocuments:
    """Some documents and their labels.

    Parameters
    ----------
    documents : Documents
        May be none at all.
    Y : csr_array of shape (n_documents, n_labels)
        Their labels. Documents without a label say that every label is wrong.
    exclude : csr_array of shape (n_documents, n_labels), or None
        Pairs that are neither positive nor negative.
    """

    documents: Documents
    Y: sp.csr_array
    exclude: sp.csr_array | None


@dataclass
class Update:
    """Documents that come after the fit.

    Parameters
    ----------
    new : LabelledDocuments
        The new documents; they are the last rows of the training labels.
    old : LabelledDocuments
        A random sample of those that came before, to be learned from again beside the new ones.
    counts : ndarray of shape (n_labels,), int64
        Documents of each label before the new ones.
    setting : Setting
        How and where to compute.
    kinds : dict of str to Evidence
        All kinds of the model; those that come before this one have learned of the documents.
    """

    new: LabelledDocuments
    old: LabelledDocuments
    counts: np.ndarray
    setting: Setting
    kinds: dict[str, Any]

    @property
    def n_labels(self) -> int:
        """Number of labels."""
        return self.new.Y.shape[1]


@dataclass
class Removal:
    """Documents that go.

    Parameters
    ----------
    rows : ndarray of shape (n_gone,), int64
        Which rows of the training labels go, ascending; those behind them move up.
    Y : csr_array of shape (n_gone, n_labels)
        Their labels.
    counts : ndarray of shape (n_labels,), int64
        Documents of each label before they go.
    vectors : ndarray of shape (n_gone, d), float32, or None
        Their `Documents.unit`, as neighbours keep it; None where no kind keeps it.
    space : JointSpace
        Joins the blocks of vectors.
    emptied : ndarray of int64
        Labels that lose their last document, ascending, and that have texts of their own.
    labels : Documents or None
        These labels' texts, as if they were documents; None if there are none.
    """

    rows: np.ndarray
    Y: sp.csr_array
    counts: np.ndarray
    vectors: np.ndarray | None
    space: JointSpace
    emptied: np.ndarray
    labels: Documents | None


@dataclass(frozen=True)
class Size:
    """Numbers that the memory of a fit depends on.

    Parameters
    ----------
    n_documents, n_labels : int
        Of the training set.
    dense : int
        Width of embeddings and pictures together.
    words : bool
        Whether there is a block of words.
    joint : int
        Width of the vectors that prototypes and neighbours compare.
    index : str or Index
        Search over vectors, as `make_index` takes it.
    folds : int
        Parts of the documents that are held out in turn; what a kind learns without one of them
        is kept as its ``snapshot``.
    """

    n_documents: int
    n_labels: int
    dense: int
    words: bool
    joint: int
    index: Any
    folds: int = 1
