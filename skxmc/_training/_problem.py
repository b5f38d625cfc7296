"""What the loop and an objective hand each other."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
import torch

from .._towers._items import Items
from .._towers._tower import Tower


@dataclass(frozen=True)
class TuningProblem:
    """What an objective may know when it is built.

    Parameters
    ----------
    tower : Tower
        The encoder of documents and labels that is tuned.
    documents : Items
        All training documents.
    labels : Items or None
        The labels' texts; None if they have none.
    Y : csr_array of shape (n_documents, n_labels)
        Positive pairs.
    exclude : csr_array of shape (n_documents, n_labels), or None
        Pairs that are neither positive nor negative.
    bank : ndarray of shape (n_documents, dimension), float32, unit norm
        Embeddings of the documents. The loop writes new ones into this memory after each step.
    encode : callable
        ``encode(items, normalize=True)`` gives embeddings, (n_items, dimension) float32.
    rng : numpy.random.RandomState
        For draws in NumPy; the loop draws from it as well, and checkpoints keep its state.
    generator : torch.Generator
        For draws in PyTorch, on the CPU; checkpoints keep its state.
    device : torch.device
        Where modules belong.
    precision : torch.dtype
        Of matrix products.
    """

    tower: Tower
    documents: Items
    labels: Items | None
    Y: sp.csr_array
    exclude: sp.csr_array | None
    bank: np.ndarray
    encode: Callable[..., np.ndarray]
    rng: np.random.RandomState
    generator: torch.Generator
    device: torch.device
    precision: torch.dtype


@dataclass(kw_only=True)
class Batch:
    """Targets of one step; an objective derives from it what its loss needs.

    Parameters
    ----------
    documents : Tensor of shape (n_documents,), int64
        Row of each document of the batch among the embeddings; set by the loop, which encodes
        equal items once.
    labels : Tensor of shape (n_labels,), int64
        Row of each label's text; set by the loop, too.
    """

    documents: torch.Tensor | None = None
    labels: torch.Tensor | None = None
