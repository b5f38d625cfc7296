"""The contract of a kind of evidence, and what it learns from."""

from __future__ import annotations

from abc import ABCMeta, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
import scipy.sparse as sp
from sklearn.base import BaseEstimator

from .._features._blocks import Features, unit_rows
from .._features._joint_space import JointSpace
from ._reasons import Reasons

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
        Of all random draws.
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
        Documents, and maybe others among them, where a copy of the former would be too large.
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
    kinds: dict[str, Evidence] = field(default_factory=dict)

    @property
    def n_labels(self) -> int:
        """Number of labels."""
        return self.Y.shape[1]


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
    """

    n_documents: int
    n_labels: int
    dense: int
    words: bool
    joint: int
    index: Any


class Evidence(BaseEstimator, metaclass=ABCMeta):
    """A way to propose labels for a document, with a score for each.

    A subclass learns from a :class:`Corpus` and proposes labels for :class:`Documents`. The scores
    of all kinds become probabilities, by a softmax at a temperature for each kind, and are added
    with weights that held-out documents choose. So scores may have any scale: higher is better.

    ``__init__`` only stores parameters. What is learned goes into attributes that end in an
    underscore: numbers, strings, arrays, sparse arrays, indexes, and lists and dicts of these are
    saved by themselves.

    Attributes
    ----------
    name : str
        Class attribute: what the kind is called in weights, histories and nested parameters. It is
        unique among the kinds of a model.
    default_weight : float
        Class attribute: the share of the mixture where no held-out document can choose one. The
        weights of all kinds are scaled to a sum of 1.
    temperatures, tuned_temperatures : tuple of float
        Class attributes: temperatures that are tried with an untuned and with a tuned encoder.
    default_temperature : float
        Class attribute: the one that is used where no held-out document can choose.
    follows : bool
        Class attribute: whether the kind reads ``documents.proposed`` or ``corpus.kinds``, and so
        comes after those that do not.

    Examples
    --------
    The labels that most documents have, for every document alike:

    >>> import numpy as np
    >>> from skxmc import ViXMLClassifier
    >>> from skxmc.evidence import Evidence, Prototypes
    >>> class Popularity(Evidence):
    ...     name = "popularity"
    ...
    ...     def fit(self, corpus):
    ...         counts = np.bincount(corpus.Y.indices, minlength=corpus.n_labels)
    ...         self.best_ = np.argsort(-counts, kind="stable")
    ...         self.scores_ = np.log1p(counts[self.best_]).astype(np.float32)
    ...         return True
    ...
    ...     def propose(self, documents, k):
    ...         shape = (len(documents), k)
    ...         labels = np.broadcast_to(self.best_[:k], shape)
    ...         return labels.astype(np.int64), np.broadcast_to(self.scores_[:k], shape)
    >>> clf = ViXMLClassifier("precomputed", evidence=[Prototypes(), Popularity()])
    >>> clf = clf.fit(np.eye(4), [["a"], ["a", "b"], ["b"], ["a"]])
    >>> clf.evidence_["popularity"].best_
    array([0, 1])
    """

    name: ClassVar[str]
    default_weight: ClassVar[float] = 0.2
    temperatures: ClassVar[tuple[float, ...]] = (1.0,)
    tuned_temperatures: ClassVar[tuple[float, ...]] = (1.0,)
    default_temperature: ClassVar[float] = 1.0
    follows: ClassVar[bool] = False

    #: Weight in the mixture that is given; "auto" lets held-out documents choose it.
    weight: float | str = "auto"

    # -- learning -----------------------------------------------------------------------------

    @abstractmethod
    def fit(self, corpus: Corpus) -> bool:
        """Learn from documents and labels.

        Parameters
        ----------
        corpus : Corpus
            Documents, labels, and how to compute.

        Returns
        -------
        found : bool
            False if there is nothing to learn from; the kind is left out of the model then.
        """

    def needs_label_texts(self) -> bool:
        """Say whether labels without texts leave nothing to learn from, with an untuned encoder.

        Returns
        -------
        needs : bool
            False by default.
        """
        return False

    def sees_words(self, tuned: bool) -> bool:
        """Say whether the kind has a use for the block of words.

        Parameters
        ----------
        tuned : bool
            Whether the words stand beside an encoder that was tuned on the documents.

        Returns
        -------
        sees : bool
            False by default.
        """
        return False

    def snapshot(self) -> Any:
        """Give the part of what was learned that :meth:`join` takes.

        Returns
        -------
        part : object
            None by default: there is no such part.
        """
        return None

    def join(self, earlier: list[Any]) -> None:
        """Join what other fits on nearly the same documents have learned.

        Parameters
        ----------
        earlier : list of object
            As :meth:`snapshot` gave it, one for each of the other fits.
        """

    def add_documents(self, documents: Documents) -> None:
        """Take in documents that come after the fit, where that is possible without training.

        Parameters
        ----------
        documents : Documents
            They are the last rows of the training labels, from the next call on.
        """

    def add_labels(self, labels: Documents) -> None:
        """Take in labels without documents, numbered after those that are there.

        Parameters
        ----------
        labels : Documents
            The texts and pictures of the labels, as if they were documents.
        """

    # -- proposing ----------------------------------------------------------------------------

    @abstractmethod
    def propose(self, documents: Documents, k: int) -> Candidates:
        """The best labels of each document.

        Parameters
        ----------
        documents : Documents
            What labels are proposed for.
        k : int
            Most labels for a document.

        Returns
        -------
        labels : ndarray of shape (n, m), int64
            Best first, at most k columns; -1 where there are fewer labels.
        scores : ndarray of shape (n, m), float32
            Higher is better; -inf where there is no label.
        """

    def score(self, documents: Documents, labels: np.ndarray) -> np.ndarray:
        """Score given labels, where few of all labels may be proposed.

        Parameters
        ----------
        documents : Documents
            What the labels are scored for.
        labels : ndarray of shape (n, m), int64
            Labels of each document, -1 where there are fewer.

        Returns
        -------
        scores : ndarray of shape (n, m), float32
            As :meth:`propose` gives them; -inf where the kind does not propose the label. By
            default it proposes all labels, and these are picked out.
        """
        n_labels = documents.training_labels.shape[1]
        proposed, values = self.propose(documents, n_labels)
        every = np.full((len(documents), n_labels + 1), -np.inf, dtype=np.float32)
        np.put_along_axis(every, np.where(proposed < 0, n_labels, proposed), values, axis=1)
        every[:, n_labels] = -np.inf
        return np.take_along_axis(every, np.where(labels < 0, n_labels, labels), axis=1)

    def picture_comparison(self, documents: Documents) -> Callable[[np.ndarray], np.ndarray] | None:
        """Say how much the pictures of labels are like those of documents, for re-ranking.

        Parameters
        ----------
        documents : Documents
            Those whose pictures are compared.

        Returns
        -------
        compare : callable or None
            Gives for labels (n, m) int64 numbers (n, m) float32; None if the kind does not know.
        """
        return None

    # -- explaining ---------------------------------------------------------------------------

    def explain(self, documents: Documents, labels: np.ndarray, n_documents: int) -> Reasons | None:
        """Say why given labels have their scores.

        Parameters
        ----------
        documents : Documents
            What the labels are explained for.
        labels : ndarray of shape (n, m), int64
            Labels of each document, -1 where there are fewer.
        n_documents : int
            Most training documents that are named for a label.

        Returns
        -------
        reasons : Reasons or None
            What the kind can tell. None by default: nothing beside the score.
        """
        return None

    def nearest_documents(self, documents: Documents, n: int) -> Candidates:
        """Find the training documents that are most like given ones.

        Only kinds that compare documents override it, and those that do not are never asked.

        Parameters
        ----------
        documents : Documents
            Those that others are looked for.
        n : int
            How many, at most the number of training documents.

        Returns
        -------
        rows : ndarray of shape (n_documents, n), int64
            Rows of ``documents.training_labels``, nearest first; -1 where there are fewer.
        cosines : ndarray of shape (n_documents, n), float32
            -inf where there is no document.
        """
        raise NotImplementedError(f"{type(self).__name__} compares no documents.")

    # -- computing and saving -----------------------------------------------------------------

    def move_to(self, device: str, precision: str) -> None:
        """Compute on another device, or in another precision.

        Parameters
        ----------
        device, precision : str
            Such as ``"cuda"``, and ``"float32"`` or ``"bfloat16"``.
        """

    def state_dict(self) -> dict[str, Any]:
        """Give what was learned, for a saved folder.

        Returns
        -------
        state : dict
            Numbers, strings, arrays, csr_arrays, indexes, and lists and dicts of these. By default
            all attributes that end in an underscore.
        """
        return {
            name: value
            for name, value in vars(self).items()
            if name.endswith("_") and not name.startswith("_")
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take back what was learned, in an object with the same parameters.

        Parameters
        ----------
        state : dict
            As :meth:`state_dict` gave it.
        """
        vars(self).update(state)

    def memory(self, size: Size) -> tuple[float, float]:
        """Estimate what the kind takes in memory, before a fit.

        Parameters
        ----------
        size : Size
            Numbers of documents and labels, and widths.

        Returns
        -------
        fitting, kept : float
            Bytes while the kind is fitted, and bytes that it keeps. 0 by default.
        """
        return 0.0, 0.0
