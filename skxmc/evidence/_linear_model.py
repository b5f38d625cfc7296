"""A linear one-vs-all classifier over all features of a document: what label vectors are."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import scipy.sparse as sp
import torch
from sklearn.exceptions import NotFittedError
from sklearn.utils import check_random_state
from tqdm import tqdm

from .._features._words import SparseProjection
from .._runtime import limits
from .._runtime._device import as_tensor, resolve_device
from .._runtime._threads import product
from ..indexes import sort_candidates
from ..indexes._integers import quantize
from ._label_scores import LabelScores
from ._label_shards import open_training, own_labels
from ._one_vs_all import OneVsAllTraining, take_rows

if TYPE_CHECKING:
    from .._features._blocks import Features

logger = logging.getLogger(__name__)


class LinearModel:
    r"""One vector for each label, trained against all other labels or against hard negatives.

    The score of label l for a document with features x is :math:`z_l = s\, x \cdot w_l`, where x
    is the dense blocks and the projected sparse features side by side. With P the positives of a
    document and N all labels that are neither positive nor excluded, the loss of a document is the
    decoupled softmax

    .. math:: |P|^{-\gamma} \sum_{p \in P} -\log \frac{e^{z_p}}{e^{z_p} + \sum_{n \in N} e^{z_n}}

    in which positives don't compete with each other. With :math:`\gamma = 0` documents with many
    labels count most, which serves the lower ranks; :math:`\gamma = 1` serves the first rank;
    0.5 gives up next to nothing of either.

    A label's vector starts from the features of its own text and decays towards half of them: a
    label with few documents stays near its text. Sparse features are brought to
    `sparse_dimension` numbers by a random projection: a matrix of words by labels is never made,
    and time and memory do not depend on the vocabulary.

    Parameters
    ----------
    epochs : int, default=8
        Passes over the documents.
    max_steps : int or None, default=None
        Most steps; the learning rate's rise and fall span so many. None sets no bound but
        `epochs`.
    learning_rate : float, default=0.02
        Of Adam; rises over the first 5 % of the steps, then falls linearly to 0.
    decay : float, default=1.0
        Strength of the pull towards the anchor: each step covers the share `decay` times learning
        rate of the distance.
    anchor : float, default=0.5
        The vectors decay towards this share of their start. 1 keeps rare labels near their text
        (best PSP), 0 is plain weight decay (best P@1); half has most of both.
    scale : float, default=10.0
        The factor s above, an inverse temperature.
    document_exponent : float, default=0.5
        The exponent :math:`\gamma` above.
    dropout : float, default=0.2
        Share of the features that a step leaves out: embeddings of documents that the encoder
        was tuned on fit their labels too well to be learned from alone.
    batch_size : int, default=512
        Documents a step.
    sparse_dimension : int, default=1024
        Dimension that sparse features are projected to.
    sparse_scale : float, default=0.5
        Length of projected sparse features; embeddings have length 1.
    max_labels : int, default=4096
        Up to this number of labels every label is a negative of every document. Beyond, the
        labels of a batch are its positives, the `negatives` of its documents, and random ones
        that stand for all others.
    random_negatives : int, default=2048
        Number of random labels of a batch where there are more than `max_labels`.
    correction : float, default=0.75
        What the logarithm of the rate at which a label is drawn is multiplied by, before it is
        taken from the label's score. With 1 the sum over N is right on average.
    storage : {"float32", "float16"}, default="float32"
        Of the vectors. With "float16" moments are kept in bfloat16 and the anchor is made again
        where it is needed: 6 bytes a number while training instead of 14, and 2 in use.
    bits : 8 or None, default=None
        With 8, vectors are integers of 8 bits with a scale each once they are learned.
    device : str, default="cpu"
    precision : {"auto", "float32", "bfloat16"}, default="auto"
        Of matrix products in training; steps and predicted scores are float32.
    random_state : int or RandomState, default=None
    verbose : int, default=0
        With 1 there is a progress bar.

    Attributes
    ----------
    weights_ : ndarray of shape (n_labels, d), float32, float16 or int8
        The vectors as they are stored, see :meth:`vectors`; d is the width of all dense blocks
        and, with sparse features, `sparse_dimension`.
    scales_ : ndarray of shape (n_labels,), float32, or None
        What integers are multiplied by.
    losses_ : list of float
        Mean loss of a positive, one an epoch of the last fit.

    References
    ----------
    "Dual-Encoders for Extreme Multi-Label Classification" (ICLR 2024, arXiv 2310.10636),
    Section 4: decoupled softmax. "On Using Very Large Target Vocabulary for Neural Machine
    Translation" (ACL 2015), Section 3: softmax over drawn labels.
    """

    def __init__(
        self,
        *,
        epochs: int = 8,
        max_steps: int | None = None,
        learning_rate: float = 0.02,
        decay: float = 1.0,
        anchor: float = 0.5,
        scale: float = 10.0,
        document_exponent: float = 0.5,
        dropout: float = 0.2,
        batch_size: int = 512,
        sparse_dimension: int = 1024,
        sparse_scale: float = 0.5,
        max_labels: int = limits.MAX_FULL_SOFTMAX,
        random_negatives: int = 2048,
        correction: float = 0.75,
        storage: str = "float32",
        bits: int | None = None,
        device: str = "cpu",
        precision: str = "auto",
        random_state: int | np.random.RandomState | None = None,
        verbose: int = 0,
    ) -> None:
        self.epochs = epochs
        self.max_steps = max_steps
        self.learning_rate = learning_rate
        self.decay = decay
        self.anchor = anchor
        self.scale = scale
        self.document_exponent = document_exponent
        self.dropout = dropout
        self.batch_size = batch_size
        self.sparse_dimension = sparse_dimension
        self.sparse_scale = sparse_scale
        self.max_labels = max_labels
        self.random_negatives = random_negatives
        self.correction = correction
        self.storage = storage
        self.bits = bits
        self.device = device
        self.precision = precision
        self.random_state = random_state
        self.verbose = verbose
        self.scales_: np.ndarray | None = None
        self._scored: tuple[Any, Any] = (None, None)

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_scored": (None, None)}

    # -- training -----------------------------------------------------------------------------

    def fit(
        self,
        blocks: list[np.ndarray],
        Y: sp.csr_array,
        *,
        sparse: sp.csr_array | None = None,
        labels: Features | None = None,
        negatives: np.ndarray | Callable[[np.ndarray], np.ndarray] | None = None,
        exclude: sp.csr_array | None = None,
    ) -> LinearModel:
        """Learn the vectors.

        A KeyboardInterrupt ends training early; what was learned until then can be used.

        Parameters
        ----------
        blocks : list of ndarray of shape (n, d_i), float32
            Dense features, each scaled to what it shall weigh.
        Y : csr_array of shape (n, n_labels)
            Positive pairs.
        sparse : csr_array of shape (n, n_words), float32, or None
            Sparse features of unit norm.
        labels : Features or None
            The same features of the labels' own texts, where the vectors start (a block may be
            missing). Without them they start from zero.
        negatives : ndarray of shape (n, m), int, callable, or None
            Hard negatives of each document, -1 where there are fewer; used where there are more
            than `max_labels` labels. A callable gives those of some rows.
        exclude : csr_array of shape (n, n_labels), or None
            Pairs that are neither positive nor negative.

        Returns
        -------
        self : LinearModel

        Raises
        ------
        ValueError
            If shapes do not fit.
        FloatingPointError
            If the loss is not finite.
        """
        for name, array in [("sparse", sparse), ("negatives", negatives), ("exclude", exclude)]:
            if array is not None and not callable(array) and array.shape[0] != Y.shape[0]:
                raise ValueError(f"{name} has {array.shape[0]} rows but Y has {Y.shape[0]}.")
        for number, block in enumerate(blocks):
            if len(block) != Y.shape[0]:
                raise ValueError(f"blocks[{number}] has {len(block)} rows, Y has {Y.shape[0]}.")
        random = check_random_state(self.random_state)
        self._lay_out(blocks, sparse, random)
        start = self.weights_ = self._label_start(Y.shape[1], labels)
        origin = None if labels is None else self._anchor(labels)
        with open_training(self, start, Y, negatives, exclude, origin, random) as training:
            try:
                self._train(training, blocks, sparse)
            except KeyboardInterrupt:
                if training.is_shared:
                    raise
                logger.warning("label vectors: interrupted; what was learned until now is kept")
            self.keep(training.finish())
        return self

    def fit_from(
        self,
        other: LinearModel,
        weights: np.ndarray,
        blocks: list[np.ndarray],
        Y: sp.csr_array,
        *,
        sparse: sp.csr_array | None = None,
        negatives: Callable[[np.ndarray], np.ndarray] | None = None,
        exclude: sp.csr_array | None = None,
    ) -> LinearModel:
        """Learn from vectors that are there, towards which new ones decay.

        Parameters
        ----------
        other : LinearModel
            One that was fitted on such features.
        weights : ndarray of shape (n_labels, d)
            Its vectors, or these and more; they stay as they are.
        blocks, Y, sparse, negatives, exclude
            As in :meth:`fit`.

        Returns
        -------
        self : LinearModel

        Raises
        ------
        FloatingPointError
            If the loss is not finite.
        """
        self._widths, self._projection = other._widths, other._projection
        self.storage = weights.dtype.name
        device = resolve_device(self.device)
        start = as_tensor(weights, device)
        training = OneVsAllTraining(
            self,
            weights.copy(),
            Y,
            negatives,
            exclude,
            lambda rows: take_rows(start, rows),
            check_random_state(self.random_state),
        )
        self._train(training, blocks, sparse)
        self.keep(training.finish())
        return self

    def _train(self, training: OneVsAllTraining, blocks, sparse) -> None:
        """Run all epochs."""
        self.losses_ = []
        size = sparse is not None and 4 * sparse.shape[0] * self.sparse_dimension
        words = self._project(sparse) if size and size <= limits.MAX_PROJECTED else None
        for epoch in tqdm(range(training.n_epochs), "label vectors", disable=not self.verbose):
            loss = training.run_epoch(lambda rows: self._join(blocks, sparse, rows, words))
            if not np.isfinite(loss):
                raise FloatingPointError(
                    f"the loss of label vectors is not finite in epoch {epoch}; lower "
                    "learning_rate, and check the features for huge values."
                )
            self.losses_.append(loss)

    def _lay_out(self, blocks, sparse, random) -> None:
        """Of which features a vector consists."""
        self._projection = None
        if sparse is not None:
            seed = int(random.randint(2**31 - 1))
            self._projection = SparseProjection(sparse.shape[1], self.sparse_dimension, seed)
        self._widths = [block.shape[1] for block in blocks]

    def _label_start(self, n_labels: int, labels: Features | None) -> np.ndarray:
        """Vectors before training: the features of the labels' texts, or zeros."""
        width = sum(self._widths)
        if self._projection is not None:
            width += self._projection.dimension
        start = np.zeros((n_labels, width), dtype=self.storage)
        if labels is None:
            return start
        if len(labels) != n_labels:
            raise ValueError(f"labels has {len(labels)} rows but there are {n_labels} labels.")
        for first in range(0, n_labels, limits.ROWS):
            rows = slice(first, first + limits.ROWS)
            start[rows] = self._label_rows(labels, rows)
        return start

    def _label_rows(self, labels: Features, rows: slice | np.ndarray) -> np.ndarray:
        """Features of some labels' texts; blocks that they lack are zeros."""
        some = labels.take(rows)
        given = some.dense()
        missing = self._widths[len(given) :]
        given = given + [np.zeros((len(some), width), dtype=np.float32) for width in missing]
        sparse = some.words
        if self._projection is not None and sparse is None:
            sparse = sp.csr_array((len(some), self._projection.n_features), dtype=np.float32)
        return self._join(given, sparse, slice(None))

    def _anchor(self, labels: Features) -> Callable[[slice | torch.Tensor], torch.Tensor]:
        """What the vectors of some of this process's labels decay towards."""
        if self.storage != "float32":

            def make(rows: slice | torch.Tensor) -> torch.Tensor:
                own = rows if isinstance(rows, slice) else rows.cpu().numpy()
                return torch.from_numpy(self._label_rows(labels, own) * self.anchor)

            return make
        own = self.weights_[own_labels(len(self.weights_))] * self.anchor
        anchor = torch.from_numpy(own).to(torch.bfloat16).to(resolve_device(self.device))
        return lambda rows: take_rows(anchor, rows)

    def _project(self, sparse: sp.csr_array) -> np.ndarray:
        """Sparse features as few numbers, (n, sparse_dimension) float32."""
        projected = self._projection.transform(sparse)
        projected *= np.float32(self.sparse_scale)
        return projected

    def _join(self, blocks, sparse, rows, words: np.ndarray | None = None) -> np.ndarray:
        """Features of some rows side by side, (n_rows, d) float32; `words` if they are there."""
        widths = [block.shape[1] for block in blocks]
        if widths != self._widths or (sparse is None) != (self._projection is None):
            raise ValueError(
                f"blocks have widths {widths} and sparse is "
                f"{'missing' if sparse is None else 'given'}, but the vectors were fitted with "
                f"widths {self._widths}, {'without' if self._projection is None else 'with'} "
                "sparse features; pass the same features."
            )
        parts = [block[rows] for block in blocks]
        if sparse is not None:
            parts.append(self._project(sparse[rows]) if words is None else words[rows])
        return np.concatenate(parts, axis=1, dtype=np.float32)

    # -- scores -------------------------------------------------------------------------------

    def decision(
        self,
        blocks: list[np.ndarray],
        *,
        sparse: sp.csr_array | None = None,
        k: int | None = None,
        candidates: np.ndarray | None = None,
    ) -> tuple[np.ndarray, np.ndarray]:
        """The best labels of each document, out of all labels or of given candidates.

        Parameters
        ----------
        blocks : list of ndarray of shape (n, d_i), float32
        sparse : csr_array of shape (n, n_words), float32, or None
            Features as in :meth:`fit`.
        k : int or None, default=None
            Number of labels to return, at most `n_labels`; None returns all candidates.
        candidates : ndarray of shape (n, m), int64, or None
            Labels to score, -1 where there are fewer; None scores all labels.

        Returns
        -------
        indices : ndarray of shape (n, k), int64
            Best first, ties in favour of the lower index; -1 where there are fewer.
        scores : ndarray of shape (n, k), float32
            -inf where there is no label.
        """
        n_labels = len(self._check_fitted())
        x = self._join(blocks, sparse, slice(None)) * np.float32(self.scale)
        if candidates is None:
            return self._scores().best(x, n_labels if k is None else min(k, n_labels))
        k = candidates.shape[1] if k is None else min(k, candidates.shape[1])
        return sort_candidates(*self._scores().given(x, candidates), k)

    def vectors(self, labels: np.ndarray | slice = slice(None)) -> np.ndarray:
        """Vectors of some labels as numbers, (..., d) float32, or float16 where they are stored so.

        They may share memory with `weights_`.
        """
        stored = self._check_fitted()
        return stored[labels] if self.scales_ is None else self._scores().rows(labels)

    def keep(self, vectors: np.ndarray) -> None:
        """Take other vectors, stored as these are."""
        self.scales_ = None
        if self.bits == 8:
            vectors, self.scales_, _ = quantize(vectors)
        self.weights_ = vectors

    def _scores(self) -> LabelScores:
        """Of the vectors as they are now."""
        device, scores = self._scored
        if device != self.device or scores.vectors is not self.weights_:
            scores = LabelScores(self.weights_, self.scales_, self.device)
            self._scored = self.device, scores
        return scores

    def scores(
        self, vectors: np.ndarray, blocks: list[np.ndarray], *, sparse: sp.csr_array | None = None
    ) -> np.ndarray:
        """Scores by other vectors, (n, n_vectors) float32; features as in :meth:`fit`."""
        x = self._join(blocks, sparse, slice(None)) * np.float32(self.scale)
        return product(x, np.ascontiguousarray(vectors.T, dtype=np.float32))

    def parts(
        self, vectors: np.ndarray, blocks: list[np.ndarray], *, sparse: sp.csr_array | None = None
    ) -> tuple[list[np.ndarray], list[np.ndarray] | None]:
        """What each block and each sparse feature adds to scores by some vectors a document.

        Parameters
        ----------
        vectors : ndarray of shape (n, m, d), float32
        blocks, sparse
            Features as in :meth:`fit`.

        Returns
        -------
        dense : list of ndarray of shape (n, m), float32
            One a block.
        words : list of ndarray of shape (m, n_stored), float32, or None
            For each document those of its stored sparse features.
        """
        *own, rest = np.split(np.float32(self.scale) * vectors, np.cumsum(self._widths), axis=2)
        dense = [np.einsum("nd,nmd->nm", *pair) for pair in zip(blocks, own, strict=True)]
        if self._projection is None:
            return dense, None
        return dense, self._projection.parts(sparse, np.float32(self.sparse_scale) * rest)

    def average(self, others: list[np.ndarray]) -> None:
        """Take the mean with the vectors of other fits that had the same `random_state`."""
        self.keep(sum(others, self.vectors()) / (1 + len(others)))

    def add_labels(self, labels: Features) -> None:
        """Append labels without documents, scored by the features of their texts."""
        start = self._label_start(len(labels), labels)
        self.keep(np.concatenate([self.vectors(), start]))

    def reset_labels(self, numbers: np.ndarray, labels: Features) -> None:
        """Let some labels start again at the features of their texts."""
        vectors = self.vectors().copy()
        vectors[numbers] = self._label_start(len(numbers), labels)
        self.keep(vectors)

    # -- persistence --------------------------------------------------------------------------

    def state_dict(self) -> dict[str, np.ndarray]:
        """All that is needed to score, as arrays."""
        projection = self._projection
        shape = [] if projection is None else [projection.n_features, projection.dimension]
        return {
            "weights": self._check_fitted(),
            "row_scales": np.empty(0, np.float32) if self.scales_ is None else self.scales_,
            "widths": np.asarray(self._widths, dtype=np.int64),
            "projection": np.asarray(
                [] if projection is None else [*shape, projection.seed], dtype=np.int64
            ),
            "scales": np.asarray([self.scale, self.sparse_scale], dtype=np.float64),
        }

    @classmethod
    def from_state(cls, state: dict[str, Any], *, device: str = "cpu") -> LinearModel:
        """Rebuild from :meth:`state_dict`; scores are equal but for rounding."""
        scale, sparse_scale = (float(value) for value in state["scales"])
        vectors = cls(scale=scale, sparse_scale=sparse_scale, device=device)
        vectors.weights_ = np.asarray(state["weights"])
        if len(state["row_scales"]):
            vectors.bits, vectors.scales_ = 8, np.asarray(state["row_scales"])
        else:
            vectors.storage = vectors.weights_.dtype.name
        vectors._widths = [int(width) for width in state["widths"]]
        projection = [int(number) for number in state["projection"]]
        vectors._projection = SparseProjection(*projection) if projection else None
        return vectors

    def _check_fitted(self) -> np.ndarray:
        if not hasattr(self, "weights_"):
            raise NotFittedError("LinearModel is not fitted yet; call fit first.")
        return self.weights_
