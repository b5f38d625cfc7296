"""Label vectors: a linear one-vs-all classifier over everything known of a document."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import numpy as np
import scipy.sparse as sp
import torch
from sklearn.exceptions import NotFittedError
from sklearn.utils import check_random_state
from tqdm import tqdm

from .._device import resolve_device, resolve_precision
from ._sparse_projection import SparseProjection

if TYPE_CHECKING:
    from .._features import Features

logger = logging.getLogger(__name__)

# Score of a pair that must not compete: its share of any softmax is zero, also in bf16.
_OUT = -1e4

# Most entries of a block of scores, and of gathered label vectors (float32: 256 MB).
_BLOCK = 2**26

# Labels whose moments are updated at a time: their numbers stay in the processor's cache.
_ROWS = 128


class LabelVectors:
    r"""One vector for each label, trained against all others or against hard negatives.

    The score of label l for a document with features x is :math:`z_l = s\, x \cdot w_l` with
    :math:`x = [\text{embedding}, \text{picture vector}, \text{projected sparse words}]`. With P
    the positives of a document, N all labels that are neither positive nor ignored, the loss is
    the decoupled softmax

    .. math:: |P|^{-\gamma} \sum_{p \in P} -\log \frac{e^{z_p}}{e^{z_p} + \sum_{n \in N} e^{z_n}}

    in which positives don't compete with each other. With :math:`\gamma = 0` documents with many
    labels count most, which is good for the lower ranks; :math:`\gamma = 1` is best for the
    first rank; 0.5 gives up nearly nothing of either.

    A label's vector starts from the features of its own text, so that a label without documents
    is scored by its text. Sparse words are brought to `sparse_dimension` numbers by a random
    projection, so that a word by label matrix is never made: time and memory are those of dense
    vectors, whatever the vocabulary.

    Parameters
    ----------
    epochs : int, default=8
        Passes over the documents.
    resume_epochs : int, default=3
        Passes when :meth:`fit` goes on from vectors of an earlier fit.
    learning_rate : float, default=0.01
        Of Adam; rises over the first 5 % of the steps, then falls linearly to 0.
    scale : float, default=20.0
        The factor s above, an inverse temperature.
    document_exponent : float, default=0.5
        The exponent :math:`\gamma` above.
    batch_size : int, default=512
        Documents a step.
    sparse_dimension : int, default=1024
        Dimension that sparse words are projected to.
    sparse_scale : float, default=0.7
        Length of the projected words; embeddings have length 1.
    max_labels : int, default=65536
        Up to this number of labels every one is a negative of every document; beyond, a batch
        has as negatives the labels in the `negatives` of its documents, all its positives, and
        as many drawn at random as are missing to `max_labels` / 8.
    device : str, default="cpu"
    precision : {"auto", "float32", "bfloat16"}, default="auto"
        Of matrix products in training; weights, moments and predicted scores are float32.
    random_state : int or RandomState, default=None
    verbose : int, default=0
        With 1 there is a progress bar.

    Attributes
    ----------
    weights_ : Tensor of shape (n_labels, d), float32
        d is the sum of the widths of the dense blocks and, with sparse words, `sparse_dimension`.
    losses_ : list of float
        Mean loss of a positive, one an epoch of the last fit.

    Notes
    -----
    The decoupled softmax is from "NGAME: Negative Mining-aware Mini-batching for Extreme
    Classification" and DEXML, "Dual-Encoders for Extreme Multi-Label Classification" (ICLR 2024),
    section 4.
    """

    def __init__(
        self,
        *,
        epochs: int = 8,
        resume_epochs: int = 3,
        learning_rate: float = 0.01,
        scale: float = 20.0,
        document_exponent: float = 0.5,
        batch_size: int = 512,
        sparse_dimension: int = 1024,
        sparse_scale: float = 0.7,
        max_labels: int = 65536,
        device: str = "cpu",
        precision: str = "auto",
        random_state: int | np.random.RandomState | None = None,
        verbose: int = 0,
    ) -> None:
        self.epochs = epochs
        self.resume_epochs = resume_epochs
        self.learning_rate = learning_rate
        self.scale = scale
        self.document_exponent = document_exponent
        self.batch_size = batch_size
        self.sparse_dimension = sparse_dimension
        self.sparse_scale = sparse_scale
        self.max_labels = max_labels
        self.device = device
        self.precision = precision
        self.random_state = random_state
        self.verbose = verbose

    # -- training -----------------------------------------------------------------------------

    def fit(
        self,
        blocks: list[np.ndarray],
        Y: sp.csr_array,
        *,
        sparse: sp.csr_array | None = None,
        labels: Features | None = None,
        negatives: np.ndarray | None = None,
        ignore: sp.csr_array | None = None,
        resume: bool = False,
    ) -> LabelVectors:
        """Learn the vectors.

        A KeyboardInterrupt ends training early; what was learned so far can be used.

        Parameters
        ----------
        blocks : list of ndarray of shape (n, d_i), float32
            Dense features, each scaled to what it should weigh.
        Y : csr_array of shape (n, n_labels)
            Positive pairs.
        sparse : csr_array of shape (n, n_words), float32, or None
            Sparse features.
        labels : Features or None
            The same features of the labels' own texts: where the vectors start. None starts
            from zero.
        negatives : ndarray of shape (n, m), int64, or None
            Hard negatives of each document, -1 where there are fewer; used beyond `max_labels`.
        ignore : csr_array of shape (n, n_labels), or None
            Pairs that are neither positive nor negative.
        resume : bool, default=False
            Go on from the vectors of the last fit for `resume_epochs`, in place of starting anew.

        Returns
        -------
        self : LabelVectors

        Raises
        ------
        ValueError
            If shapes do not fit, or if `resume` comes before a first fit.
        FloatingPointError
            If the loss is not finite.
        """
        self._check(blocks, Y, sparse, negatives)
        self._random = check_random_state(self.random_state)
        if resume:
            self._check_fitted()
            if self.weights_.shape[0] != Y.shape[1]:
                raise ValueError(
                    f"Y has {Y.shape[1]} labels but the vectors to resume from are of "
                    f"{self.weights_.shape[0]}; fit with resume=False."
                )
        else:
            self._projection = None
            if sparse is not None:
                seed = int(self._random.randint(2**31 - 1))
                self._projection = SparseProjection(sparse.shape[1], self.sparse_dimension, seed)
            self._start(Y.shape[1], [block.shape[1] for block in blocks], labels)
        if self._n_features != self._width(blocks, sparse):
            raise ValueError(
                f"the features have {self._width(blocks, sparse)} columns but the vectors "
                f"{self._n_features}; pass the blocks of the first fit."
            )
        steps = _Steps(self, Y, negatives, ignore)
        epochs = self.resume_epochs if resume else self.epochs
        self.losses_ = []
        try:
            for epoch in tqdm(range(epochs), "label vectors", disable=not self.verbose):
                self.losses_.append(steps.epoch(blocks, sparse, epoch, epochs))
        except KeyboardInterrupt:
            logger.warning("label vectors: training was interrupted; keeping what was learned")
        return self
