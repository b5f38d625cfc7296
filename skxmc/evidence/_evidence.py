"""The contract of a kind of evidence."""

from __future__ import annotations

from abc import ABCMeta, abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
from sklearn.base import BaseEstimator

from ._corpus import Candidates, Corpus, Documents, Removal, Size, Update
from ._reasons import Reasons


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
    replay : int
        Class attribute or parameter: documents that a model keeps a sample of for
        ``update.old``, at most. 0 by default; the largest number among the kinds counts.
    needs_tokens : bool
        Class attribute: whether the kind reads ``documents.features.tokens``, which only text
        encoders give.

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
    replay: int = 0
    needs_tokens: ClassVar[bool] = False

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

    def update(self, update: Update) -> None:
        """Learn from documents that come after the fit, in seconds: what ``partial_fit`` asks for.

        It is called on a copy, which takes the place of the kind once all kinds have learned. An
        error leaves the model as it was.

        Parameters
        ----------
        update : Update
            The new documents, a sample of old ones, and their labels. By default the new ones are
            given to :meth:`add_documents`.
        """
        self.add_documents(update.new.documents)

    def add_labels(self, labels: Documents) -> None:
        """Take in labels without documents, numbered after those that are there.

        Parameters
        ----------
        labels : Documents
            The texts and pictures of the labels, as if they were documents.
        """

    def remove_documents(self, removal: Removal) -> None:
        """Forget documents, as far as that is possible without training.

        It is called on a copy, as :meth:`update` is. Models with a kind that does not override it
        refuse to remove documents.

        Parameters
        ----------
        removal : Removal
            Which documents go, and what is known of them.
        """
        raise NotImplementedError(f"the evidence {self.name!r} cannot remove documents")

    def remove_labels(self, kept: np.ndarray) -> None:
        """Forget labels; those that are kept are renumbered, in their order.

        It is called on a copy, as :meth:`update` is. Models with a kind that does not override it
        refuse to remove labels.

        Parameters
        ----------
        kept : ndarray of shape (n_kept,), int64
            The labels that stay, ascending.
        """
        raise NotImplementedError(f"the evidence {self.name!r} cannot remove labels")

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

    def document_vectors(self, rows: np.ndarray) -> np.ndarray | None:
        """Give the vectors of training documents, where the kind keeps them.

        Parameters
        ----------
        rows : ndarray of shape (n,), int64
            Rows of the training labels.

        Returns
        -------
        vectors : ndarray of shape (n, d), float32, or None
            As `Documents.unit`. None by default.
        """
        return None

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
