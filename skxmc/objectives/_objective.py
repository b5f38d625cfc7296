"""The contract of an objective: what a tower is tuned for."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse as sp
import torch
from sklearn.base import BaseEstimator

from .._runtime._device import to_device
from .._training._problem import Batch, TuningProblem


@dataclass(kw_only=True)
class LabelBatch(Batch):
    """Targets within a batch: its documents against the labels that were drawn for them.

    Parameters
    ----------
    documents, labels : Tensor of int64
        As in :class:`Batch`, set by the loop.
    label_ids : Tensor of shape (n_labels,), int64
        The distinct labels that were drawn: columns of Y, in ascending order.
    columns : Tensor of shape (n_documents,), int64
        Which of them was drawn for each document.
    target : Tensor of shape (n_documents, n_labels), bool
        Positive pairs, drawn or not.
    exclude : Tensor of shape (n_documents, n_labels), bool, or None
        Pairs that are neither positive nor negative.
    """

    label_ids: torch.Tensor
    columns: torch.Tensor
    target: torch.Tensor
    exclude: torch.Tensor | None


class Objective(BaseEstimator, ABC):
    """What a tower is tuned for: a loss on the embeddings of a batch, and how labels are compared.

    An objective is a scikit-learn estimator without ``fit``: its constructor only stores, so that
    ``clone``, ``get_params`` and searches of nested parameters work. The loop calls

    1. :meth:`build`, once;
    2. for each step :meth:`batch`, and :meth:`compute_loss` on the embeddings of what it names;
    3. :meth:`after_epoch`, after each epoch;
    4. :meth:`after_training`, once, and :meth:`prototype_maker`, whenever labels are ranked.

    Only :meth:`compute_loss` must be written. What an objective learns beside the tower are PyTorch
    modules, made by :meth:`build` and listed by :meth:`modules`. They are in training mode during
    steps and in evaluation mode otherwise. Random numbers are drawn from ``problem_.rng``,
    ``problem_.generator`` or PyTorch's global state alone: these are seeded and kept in
    checkpoints, so that equal seeds give equal fits.

    Parameters are checked by :func:`resolve_objective` and when :meth:`build` starts, with
    scikit-learn's ``_parameter_constraints``, a dictionary of the class.

    Attributes
    ----------
    needs_label_texts : bool
        Class attribute: whether labels must have texts. Default True.
    undecayed : tuple of str
        Class attribute: matrices without weight decay, by the start of their names, such as
        ``"network.free_vectors"`` (key in :meth:`modules`, then name of the parameter). Vectors,
        like biases, never have any.
    problem_ : TuningProblem
        As given to :meth:`build`.

    Examples
    --------
    Contrastive learning with the other labels of the batch as negatives (InfoNCE):

    >>> import torch
    >>> import torch.nn.functional as F
    >>> from skxmc.objectives import Objective, resolve_objective
    >>> class InfoNCE(Objective):
    ...     def __init__(self, temperature=0.05):
    ...         self.temperature = temperature
    ...
    ...     def compute_loss(self, embeddings, batch):
    ...         embeddings = F.normalize(embeddings, dim=1)
    ...         scores = embeddings[batch.documents] @ embeddings[batch.labels].T
    ...         others = batch.target if batch.exclude is None else batch.target | batch.exclude
    ...         others = others.scatter(1, batch.columns[:, None], False)
    ...         scores = (scores / self.temperature).masked_fill(others, -torch.inf)
    ...         return F.cross_entropy(scores, batch.columns)
    >>> resolve_objective(InfoNCE(temperature=0.1))
    InfoNCE(temperature=0.1)
    """

    needs_label_texts: bool = True
    undecayed: tuple[str, ...] = ()

    _parameter_constraints: dict = {}

    def build(self, problem: TuningProblem) -> None:
        """Check the parameters and make the modules that are trained beside the tower.

        An override calls this one first. Called again, it starts again.

        Parameters
        ----------
        problem : TuningProblem
            What is tuned with what; kept as ``problem_``.
        """
        self._validate_params()
        self.problem_ = problem

    def modules(self) -> dict[str, torch.nn.Module]:
        """Modules that are trained beside the tower, at the learning rate of new parts.

        Returns
        -------
        dict of str to Module
            None of them by default.
        """
        return {}

    def batch(self, rows: np.ndarray, drawn: np.ndarray) -> tuple[np.ndarray, Batch]:
        """What a step encodes, and its targets.

        By default the documents and the distinct labels drawn for them, each a negative for the
        documents that don't have it.

        Parameters
        ----------
        rows : ndarray of shape (n,), int64
            Documents of the batch.
        drawn : ndarray of shape (n,), int64
            A positive label of each, rare labels more often.

        Returns
        -------
        ids : ndarray of int64
            What is encoded: first `rows`, then labels as their number plus that of all documents.
        batch : Batch
            A :class:`LabelBatch` by default.
        """
        problem = self.problem_
        labels, columns = np.unique(drawn, return_inverse=True)
        batch = LabelBatch(
            label_ids=to_device(labels, problem.device),
            columns=to_device(columns, problem.device),
            target=self._pairs(problem.Y, rows, labels),
            exclude=None if problem.exclude is None else self._pairs(problem.exclude, rows, labels),
        )
        return np.concatenate([rows, len(problem.documents) + labels]), batch

    @abstractmethod
    def compute_loss(self, embeddings: torch.Tensor, batch: Batch) -> torch.Tensor:
        """Loss of a batch.

        Parameters
        ----------
        embeddings : Tensor of shape (n_items, dimension), float32
            Of the distinct items of the batch, before normalisation;
            ``embeddings[batch.documents]`` are those of the documents,
            ``embeddings[batch.labels]`` those of the labels' texts.
        batch : Batch
            As :meth:`batch` made it.

        Returns
        -------
        Tensor of shape ()
            To be minimised.
        """

    def after_epoch(self, bank: np.ndarray) -> None:
        """Follow what an epoch has learned; nothing by default.

        Parameters
        ----------
        bank : ndarray of shape (n_documents, dimension), float32, unit norm
            The documents' latest embeddings, each as of its last time in a batch.
        """

    def after_training(self) -> None:
        """Let go of what only steps need; nothing by default."""

    def prototype_maker(
        self, bank: np.ndarray, labels: np.ndarray | None, lengths: np.ndarray | None
    ) -> Callable[[sp.csr_array], np.ndarray | None]:
        """Make the function that gives what documents are compared with.

        The function outlives training, so it should not refer to `self`.

        Parameters
        ----------
        bank : ndarray of shape (n_documents, dimension), float32, unit norm
            Embeddings of the documents.
        labels : ndarray of shape (n_labels, dimension), float32, unit norm, or None
            Embeddings of the labels' texts; None if they have none.
        lengths : ndarray of shape (n_labels, 1), float32, or None
            Lengths of these before they were brought to unit norm.

        Returns
        -------
        callable
            Gives prototypes, (n_labels, dimension) float32, from the documents' labels Y, a CSR
            matrix that may lack some of the training pairs. By default those are `labels`, so an
            objective that does without label texts overrides this.
        """
        return lambda Y: labels

    def memory(self, n_labels: int, width: int) -> tuple[float, float]:
        """What an objective takes in memory, for the estimate before a fit.

        Parameters
        ----------
        n_labels : int
            Number of labels.
        width : int
            Width of embeddings.

        Returns
        -------
        trained : float
            Numbers that are trained beside the tower.
        state : float
            Bytes of all else that it keeps for the labels. By default their embeddings.
        """
        return 0.0, 4.0 * n_labels * width

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint needs beside the parameters of modules.

        Returns
        -------
        dict of str to object
            Tensors, or whatever else can be pickled. Nothing by default.
        """
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Resume from a checkpoint, after :meth:`build`.

        Parameters
        ----------
        state : dict
            As given by :meth:`state_dict`; tensors are on the CPU.
        """

    def _pairs(self, matrix: sp.csr_array, rows: np.ndarray, columns: np.ndarray) -> torch.Tensor:
        dense = matrix[rows][:, columns].toarray() > 0
        return to_device(dense, self.problem_.device)
