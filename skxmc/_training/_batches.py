"""Which documents share a batch, and which label each of them draws."""

from __future__ import annotations

from dataclasses import dataclass
from numbers import Integral
from typing import Any

import numpy as np
import scipy.sparse as sp

from .._features._clustering import balanced_bisecting
from .._runtime import group
from ..metrics import label_propensities


class PositiveSampler:
    """Draws one positive label per document, rare labels more often.

    The probability of a document's label is proportional to its inverse propensity
    ``1 + C (n_l + B)^(-A)`` (Jain et al., KDD 2016).

    Parameters
    ----------
    Y : csr of shape (n_documents, n_labels)
        Every document has a label.
    propensity : tuple of float
        The constants (A, B).
    """

    def __init__(self, Y: sp.csr_array, propensity: tuple[float, float]) -> None:
        weights = 1.0 / label_propensities(Y, a=propensity[0], b=propensity[1])
        self._labels = Y.indices
        self._cumulative = np.concatenate([[0.0], np.cumsum(weights[Y.indices])])
        self._indptr = Y.indptr

    def draw(self, rows: np.ndarray, rng: np.random.RandomState) -> np.ndarray:
        """One label of each row, int64."""
        low = self._cumulative[self._indptr[rows]]
        high = self._cumulative[self._indptr[rows + 1]]
        point = low + rng.random_sample(len(rows)) * (high - low)
        entry = np.searchsorted(self._cumulative, point, side="right") - 1
        # Rounding may land on a neighbour's entry.
        entry = np.clip(entry, self._indptr[rows], self._indptr[rows + 1] - 1)
        return self._labels[entry].astype(np.int64)


@dataclass(frozen=True)
class HardNegativeSchedule:
    """When documents are clustered, and how large the clusters are.

    Attributes
    ----------
    start : int or None
        First epoch (from 0) with batches of whole clusters; None never clusters.
    update : int
        Epochs between clusterings.
    size : int
        Documents of a cluster at the start.
    doubling : tuple of int
        Epochs at which the size doubles: from easy to hard batches.
    """

    start: int | None
    update: int
    size: int = 16
    doubling: tuple[int, ...] = ()

    @classmethod
    def of(cls, given: bool | tuple) -> HardNegativeSchedule | None:
        """What a user asks for: False never clusters, True follows :meth:`for_epochs`, here None.

        Parameters
        ----------
        given : bool or tuple of (int, int, sequence of int)
            A tuple holds `start`, `update` and `doubling`.

        Raises
        ------
        ValueError
            If a tuple is something else.
        """
        if not isinstance(given, tuple):
            return None if given else cls(start=None, update=1)
        try:
            start, update, doubling = given
            numbers = [start, update, *doubling]
            right = all(isinstance(number, Integral) for number in numbers)
        except (TypeError, ValueError):
            right = False
        if not right or start < 0 or update < 1:
            raise ValueError(
                "hard_negatives of Training must be a bool or a tuple such as "
                f"(4, 2, (8, 12, 16)), got {given!r}."
            )
        return cls(start=int(start), update=int(update), doubling=tuple(map(int, doubling)))

    @classmethod
    def for_epochs(cls, epochs: int) -> HardNegativeSchedule:
        """The published schedule (150 epochs: start 10, update 5, doubling from 20 on), scaled."""
        if epochs < 4:
            return cls(start=None, update=1)
        unit = epochs / 150
        doubling = sorted({max(2, round(e * unit)) for e in (20, 40, 60, 80, 100, 120)})
        return cls(
            start=max(1, round(10 * unit)),
            update=max(1, round(5 * unit)),
            doubling=tuple(e for e in doubling if e < epochs),
        )

    def cluster_size(self, epoch: int) -> int:
        """Documents of a cluster in this epoch."""
        return self.size * 2 ** sum(epoch >= e for e in self.doubling)

    def is_due(self, epoch: int) -> bool:
        """Whether documents are clustered again before this epoch."""
        return self.uses_clusters(epoch) and (epoch - self.start) % self.update == 0

    def uses_clusters(self, epoch: int) -> bool:
        """Whether this epoch's batches are made of clusters."""
        return self.start is not None and epoch >= self.start


def count_batches(n_documents: int, batch_size: int) -> int:
    """Batches of an epoch, of nearly the same size and none of them above `batch_size`."""
    return -(-n_documents // min(batch_size, n_documents))


class BatchMaker:
    """Cuts documents into batches: at random, later in whole clusters of similar documents.

    Similar documents in one batch make each other's labels hard negatives (NGAME, WSDM 2023,
    Section 3).

    Attributes
    ----------
    batches : list of ndarray of int64
        Documents of each batch of the epoch that was started last.
    """

    def __init__(
        self,
        n_documents: int,
        batch_size: int,
        schedule: HardNegativeSchedule,
        rng: np.random.RandomState,
    ) -> None:
        self.n_documents = n_documents
        self.batch_size = min(batch_size, n_documents)
        self.schedule = schedule
        self.rng = rng
        self._clusters: tuple[np.ndarray, np.ndarray] | None = None
        self.batches: list[np.ndarray] = []

    def __len__(self) -> int:
        return count_batches(self.n_documents, self.batch_size)

    def start_epoch(self, epoch: int, bank: np.ndarray) -> list[np.ndarray]:
        """Make and return the batches of an epoch; `bank` has the latest embeddings."""
        if self.schedule.is_due(epoch):
            size = min(self.schedule.cluster_size(epoch), self.batch_size)
            self._clusters = group.first(
                lambda: balanced_bisecting(bank, size, random_state=self.rng), self.rng
            )
        if self.schedule.uses_clusters(epoch) and self._clusters is not None:
            order, offsets = self._clusters
            clusters = np.split(order, offsets[1:-1])
            documents = np.concatenate([clusters[i] for i in self.rng.permutation(len(clusters))])
        else:
            documents = self.rng.permutation(self.n_documents)
        # Batches of equal size: a last batch of three documents has no negatives to speak of.
        self.batches = np.array_split(documents, len(self))
        return self.batches

    def state_dict(self) -> dict[str, Any]:
        """What :meth:`load_state_dict` goes on from, in the middle of an epoch."""
        return {"clusters": self._clusters, "batches": self.batches}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from there."""
        self._clusters, self.batches = state["clusters"], state["batches"]
