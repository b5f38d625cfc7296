"""PRIME: label prototypes of texts, clusters and documents, and a linear head beside them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from numbers import Real
from typing import Any

import numpy as np
import scipy.sparse as sp
import torch
from sklearn.utils._param_validation import Interval, StrOptions

from .._features._centroids import label_centroids, label_centroids_of_all
from .._features._clustering import balanced_kmeans
from .._runtime import group, limits
from .._training._problem import TuningProblem
from ._dual_encoder import DualEncoder
from ._head_loss import HeadLoss, HeadTargets
from ._label_head import HEAD_LOSSES, LabelHead, resolve_head_loss
from ._objective import LabelBatch
from ._prototype_network import PrototypeNetwork
from ._prototype_regularizer import PrototypeRegularizer
from ._threshold_consistent_loss import ThresholdConsistentLoss
from ._triplet_loss import draw_positives


@dataclass(kw_only=True)
class _PrimeBatch(LabelBatch):
    """Targets within the batch, and those of the head where there is one."""

    head: HeadTargets | None


class Prime(DualEncoder):
    r"""Label prototypes of texts, free vectors and documents (PRIME), and a linear head beside.

    With S the cosines of documents and label texts, S' those of documents and prototypes, T the
    targets, :math:`\ell` the triplet loss with a dynamic margin and R the regulariser,

    .. math:: L = \ell(S, T) + \ell(S^\top, T^\top) + \ell(S', T) + w\, L_{head} + r\, R(S, S', T)

    A dual encoder and a classifier trained together find better embeddings than each alone
    (UniDEC). The head is left out above 65,536 labels.

    Parameters
    ----------
    margin : tuple of float, default=(0.1, 0.3)
        Bounds of the dynamic margin, in units of cosine.
    n_negatives : int, default=10
        Hardest negatives of each document in the loss.
    regularization : float, default=0.1
        Weight r of the regulariser that keeps prototypes as good as label texts.
    head_weight : float, default=0.3
        Weight w of the linear head's loss; 0 leaves the head out.
    head_loss : str or HeadLoss, default="decoupled_softmax"
        Loss of the linear head: "decoupled_softmax", "binary_cross_entropy", or an object.
    free_vectors : {"auto", "random", "labels"}, default="auto"
        Where free vectors start: drawn at random, or at the mean of their labels' embeddings.
        "auto" draws them for small encoders and takes the labels' for language models.
    threshold_consistency : float or ThresholdConsistentLoss, default=0.0
        As in :class:`DualEncoder`, of the cosines with prototypes.
    positives : {"drawn", "random"}, default="drawn"
        Which label of a document stands for it where it has several in a batch: the one that the
        sampler drew for it, rare ones more often, or one at random, drawn again in each term of
        the loss, as in the published code.

    Attributes
    ----------
    network_ : PrototypeNetwork
        The network that makes the prototypes.
    head_ : LabelHead or None
        The linear head, if there is one.
    centroids_ : Tensor of shape (n_labels, dimension) or None
        Mean embedding of each label's documents, as of the last epoch; None after training.

    References
    ----------
    "PRIME", NAACL 2025 (arXiv 2410.20401), Section 3; "UniDEC", WWW 2025 (arXiv 2405.03714).

    Examples
    --------
    >>> from skxmc.objectives import Prime
    >>> Prime(head_weight=0.0)
    Prime(head_weight=0.0)
    """

    # Free vectors are a table: a label's row must not shrink while others are trained.
    undecayed = ("network.free_vectors",)

    _parameter_constraints: dict = {
        **DualEncoder._parameter_constraints,
        "regularization": [Interval(Real, 0, None, closed="left")],
        "head_weight": [Interval(Real, 0, None, closed="left")],
        "head_loss": [StrOptions(set(HEAD_LOSSES)), HeadLoss],
        "free_vectors": [StrOptions({"auto", "random", "labels"})],
    }

    def __init__(
        self,
        margin: tuple[float, float] = (0.1, 0.3),
        n_negatives: int = 10,
        regularization: float = 0.1,
        head_weight: float = 0.3,
        head_loss: str | HeadLoss = "decoupled_softmax",
        free_vectors: str = "auto",
        threshold_consistency: float | ThresholdConsistentLoss = 0.0,
        positives: str = "drawn",
    ) -> None:
        super().__init__(
            margin=margin,
            n_negatives=n_negatives,
            threshold_consistency=threshold_consistency,
            positives=positives,
        )
        self.regularization = regularization
        self.head_weight = head_weight
        self.head_loss = head_loss
        self.free_vectors = free_vectors

    def build(self, problem: TuningProblem) -> None:
        """Check the parameters; make prototype network and head, and take centroids."""
        super().build(problem)
        self.regularizer_ = PrototypeRegularizer(self.n_negatives)
        n_labels = problem.Y.shape[1]
        many = n_labels > limits.MAX_FREE_VECTORS
        with_head = self.head_weight > 0 and n_labels <= limits.MAX_ALL_NEGATIVES
        start = problem.tower.free_vectors if self.free_vectors == "auto" else self.free_vectors
        clusters, free_vectors, embeddings = np.arange(n_labels), None, None
        if many or with_head or start == "labels":
            embeddings = problem.encode(problem.labels)
        if many:
            clusters = group.first(
                lambda: balanced_kmeans(
                    embeddings, limits.MAX_FREE_VECTORS, random_state=problem.rng
                ),
                problem.rng,
            )
        if start == "labels":
            ones = np.ones(n_labels, dtype=np.float32)
            members = sp.csr_array((ones, (np.arange(n_labels), clusters)))
            free_vectors = label_centroids(embeddings, members)
        self.head_ = None
        if with_head:
            loss = resolve_head_loss(self.head_loss)
            head = LabelHead.for_training(problem.bank, embeddings, problem.Y, loss)
            self.head_ = head.to(problem.device)
        network = PrototypeNetwork(problem.tower.dimension, clusters, free_vectors=free_vectors)
        self.network_ = network.to(problem.device)
        self.after_epoch(problem.bank)

    def modules(self) -> dict[str, torch.nn.Module]:
        """The prototype network and the head, if there is one."""
        modules = {"network": self.network_}
        return modules if self.head_ is None else {**modules, "head": self.head_}

    def batch(self, rows: np.ndarray, drawn: np.ndarray) -> tuple[np.ndarray, _PrimeBatch]:
        """Documents and the labels drawn; the head scores documents against all labels."""
        ids, batch = super().batch(rows, drawn)
        head = None if self.head_ is None else self.head_.targets(self.problem_, rows)
        return ids, _PrimeBatch(**vars(batch), head=head)

    def compute_loss(self, embeddings: torch.Tensor, batch: _PrimeBatch) -> torch.Tensor:
        """Text against text both ways, prototypes, the head, and the regulariser."""
        target, exclude = batch.target, batch.exclude
        queries, labels, similarity = self._compare(embeddings, batch)
        total = self.margin_loss_(similarity, target, self._columns(batch), exclude)
        by_label = draw_positives(target.T, self.problem_.generator)
        total = total + self.margin_loss_(
            similarity.T, target.T, by_label, None if exclude is None else exclude.T
        )
        prototypes = self.network_(labels, batch.label_ids, self.centroids_[batch.label_ids])
        to_prototypes = queries @ prototypes.T
        total = total + self.margin_loss_(to_prototypes, target, self._columns(batch), exclude)
        total = self._add_consistency(total, to_prototypes, batch)
        if batch.head is not None:
            loss = self.head_.loss(queries, batch.head, self.problem_.precision)
            total = total + self.head_weight * loss
        return total + self.regularization * self.regularizer_(
            similarity, to_prototypes, target, self._columns(batch), exclude
        )

    def after_epoch(self, bank: np.ndarray) -> None:
        """Take the centroids of the embeddings that the epoch left in the bank."""
        problem = self.problem_
        centroids = label_centroids_of_all(bank, problem.Y)
        self.centroids_ = torch.from_numpy(centroids).to(problem.device)

    def after_training(self) -> None:
        """Let go of the centroids: prototypes take those of the exact embeddings."""
        self.centroids_ = None

    def prototype_maker(
        self, bank: np.ndarray, labels: np.ndarray, lengths: np.ndarray
    ) -> Callable[[sp.csr_array], np.ndarray]:
        """Prototypes of the labels' texts and of the centroids of their documents."""
        network = self.network_
        return lambda Y: network.of_all(labels, lengths, label_centroids(bank, Y))

    def memory(self, n_labels: int, width: int) -> tuple[float, float]:
        """Free vectors, network and head; label embeddings, centroids and prototypes."""
        rows = min(n_labels, limits.MAX_FREE_VECTORS)
        with_head = self.head_weight > 0 and n_labels <= limits.MAX_ALL_NEGATIVES
        trained = (rows + with_head * n_labels) * width + 12 * width**2
        return float(trained), 4.0 * rows * width + 12.0 * n_labels * width

    def state_dict(self) -> dict[str, Any]:
        """The centroids."""
        return {"centroids": self.centroids_}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Resume with these centroids."""
        self.centroids_.copy_(state["centroids"])

    def _validate_params(self) -> None:
        super()._validate_params()
        resolve_head_loss(self.head_loss)._validate_params()
