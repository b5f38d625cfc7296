"""A tower below a linear head over the labels, which need no texts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
import torch
import torch.nn.functional as F
from sklearn.utils._param_validation import StrOptions

from .._training._problem import Batch, TuningProblem
from ._head_loss import HeadLoss, HeadTargets
from ._label_head import HEAD_LOSSES, LabelHead, resolve_head_loss
from ._objective import Objective


@dataclass(kw_only=True)
class _HeadBatch(Batch):
    """What documents and label texts of a batch should score."""

    targets: HeadTargets


class LinearHead(Objective):
    """One free vector for each label, one-vs-all on the documents' embeddings.

    Labels may lack texts. Those that have some start from their embeddings, and the text of a
    label that was drawn for a document of a batch is one more document there, with this label:
    rare labels gain from it (PSP@5 of a tuned MiniLM on the quick-start icons 0.610 without,
    0.623 with, means of three seeds).

    Parameters
    ----------
    loss : str or HeadLoss, default="decoupled_softmax"
        What the head's scores minimise: "decoupled_softmax", "binary_cross_entropy", or an object.

    Attributes
    ----------
    head_ : LabelHead
        The head.

    Examples
    --------
    >>> from skxmc.objectives import LinearHead
    >>> LinearHead(loss="binary_cross_entropy").needs_label_texts
    False
    """

    needs_label_texts = False

    _parameter_constraints: dict = {"loss": [StrOptions(set(HEAD_LOSSES)), HeadLoss]}

    def __init__(self, loss: str | HeadLoss = "decoupled_softmax") -> None:
        self.loss = loss

    def build(self, problem: TuningProblem) -> None:
        """Check the parameters and make the head."""
        super().build(problem)
        texts = None if problem.labels is None else problem.encode(problem.labels)
        loss = resolve_head_loss(self.loss)
        self.head_ = LabelHead.for_training(problem.bank, texts, problem.Y, loss).to(problem.device)

    def modules(self) -> dict[str, torch.nn.Module]:
        """The head."""
        return {"head": self.head_}

    def batch(self, rows: np.ndarray, drawn: np.ndarray) -> tuple[np.ndarray, _HeadBatch]:
        """Documents, and the texts of the labels drawn as documents of these labels."""
        problem = self.problem_
        if problem.labels is None:
            return rows, _HeadBatch(targets=self.head_.targets(problem, rows))
        texts = np.unique(drawn)
        ids = np.concatenate([rows, len(problem.documents) + texts])
        return ids, _HeadBatch(targets=self.head_.targets(problem, rows, texts))

    def compute_loss(self, embeddings: torch.Tensor, batch: _HeadBatch) -> torch.Tensor:
        """Mean loss of documents and label texts."""
        rows = torch.cat([batch.documents, batch.labels])
        queries = F.normalize(embeddings[rows], dim=1)
        return self.head_.loss(queries, batch.targets, self.problem_.precision)

    def memory(self, n_labels: int, width: int) -> tuple[float, float]:
        """The head's vectors; label embeddings, start and prototypes."""
        return float(n_labels * width), 16.0 * n_labels * width

    def prototype_maker(
        self, bank: np.ndarray, labels: np.ndarray | None, lengths: np.ndarray | None
    ) -> Callable[[sp.csr_array], np.ndarray]:
        """The head's vectors, of mean length 1, whatever the targets."""
        weight = self.head_.weight.detach().cpu().numpy()
        mean = np.linalg.norm(weight, axis=1).mean()
        vectors = weight / np.float32(max(mean, 1e-12))
        return lambda Y: vectors

    def _validate_params(self) -> None:
        super()._validate_params()
        resolve_head_loss(self.loss)._validate_params()
