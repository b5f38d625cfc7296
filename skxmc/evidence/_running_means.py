"""What untuned prototypes need to follow the means of their documents."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.sparse as sp

from .._features._blocks import Features, row_norms, unit_rows
from .._features._centroids import label_centroids
from .._features._joint_space import JointSpace

Blocks = dict[str, tuple[float, np.ndarray]]


class RunningMeans:
    """Lengths of prototypes before they were scaled, and the labels' own vectors.

    A block of a prototype is u = mean of its documents + own vector of the label, scaled to unit
    length. With the length of u and the own vector the mean comes back out of an index that holds
    the scaled vector alone. It takes half the memory of an index; sums would take twice of one.

    Parameters
    ----------
    lengths : dict of str to ndarray of shape (n_labels,), float32
        Length of u by block.
    own : dict of str to ndarray of shape (n_labels, d), float16
        Own vectors by block; a block that is missing is zero.
    fixed : list of str
        Blocks that hold no mean.
    widths : dict of str to int
        Columns of each block, in the order in which they stand in a vector.
    """

    def __init__(
        self,
        lengths: dict[str, np.ndarray],
        own: dict[str, np.ndarray],
        fixed: list[str],
        widths: dict[str, int],
    ) -> None:
        self.lengths, self.own, self.fixed, self.widths = lengths, own, list(fixed), widths

    @classmethod
    def of(
        cls,
        space: JointSpace,
        features: Features,
        Y: sp.csr_array,
        labels: Features | None,
        centroids: bool,
    ) -> RunningMeans:
        """Those of a fit; arguments as in :meth:`JointSpace.prototypes`.

        Without `centroids` the embeddings of prototypes are those of the labels' texts alone.
        """
        own = {} if labels is None else space.blocks(labels)
        own = {name: block.astype(np.float16) for name, (_, block) in own.items()}
        fixed = [] if centroids else ["text"]
        lengths, widths = {}, {}
        for name, (_, block) in space.blocks(features).items():
            vectors = np.zeros((Y.shape[1], block.shape[1]), dtype=np.float32)
            if name not in fixed:
                vectors += label_centroids(block, Y)
            if name in own:
                vectors += own[name]
            lengths[name], widths[name] = row_norms(vectors)[:, 0], block.shape[1]
        return cls(lengths, own, fixed, widths)

    def move(
        self,
        vectors: np.ndarray,
        labels: np.ndarray,
        counts: np.ndarray,
        blocks: Blocks,
        Y: sp.csr_array,
        sign: int,
    ) -> np.ndarray:
        """Prototypes with more documents, or with fewer.

        Parameters
        ----------
        vectors : ndarray of shape (n, d), float32
            The prototypes of some labels.
        labels : ndarray of shape (n,), int64
            Their numbers.
        counts : ndarray of shape (n,), int64
            Documents that each had.
        blocks : dict of str to (length, rows)
            Of the documents that come or go, as :meth:`JointSpace.blocks` gives them.
        Y : csr_array of shape (n_documents, n)
            Which of the labels these documents have.
        sign : int
            1 if they come, -1 if they go.

        Returns
        -------
        moved : ndarray of shape (n, d), float32
        """
        moved = np.empty_like(vectors)
        length = np.float32(np.sqrt(sum(scale**2 for scale, _ in blocks.values())))
        number = counts + sign * np.bincount(Y.indices, minlength=len(labels))
        total = np.maximum(number, 1)[:, np.newaxis].astype(np.float32)
        first = 0
        for name, (scale, block) in blocks.items():
            columns = slice(first, first + block.shape[1])
            first = columns.stop
            if name in self.fixed:
                moved[:, columns] = vectors[:, columns]
                continue
            own = self.own[name][labels].astype(np.float32) if name in self.own else 0
            directions = unit_rows(vectors[:, columns])
            means = directions * self.lengths[name][labels, np.newaxis] - own
            sums = means * counts[:, np.newaxis].astype(np.float32) + sign * (Y.T @ block)
            sums[number == 0] = 0  # what is left of them is rounding
            whole = sums / total + own
            self.lengths[name][labels] = row_norms(whole)[:, 0]
            moved[:, columns] = unit_rows(whole) * np.float32(scale / length)
        return moved

    def split(self, space: JointSpace, vectors: np.ndarray) -> Blocks:
        """Blocks of documents, of which the joint vectors are given at unit length."""
        scales = space.scales()
        found, first = {}, 0
        for name, width in self.widths.items():
            # Rows of blocks have unit length, or none where there is no picture or word.
            found[name] = scales[name], unit_rows(vectors[:, first : first + width])
            first += width
        return found

    def add_labels(self, blocks: Blocks) -> None:
        """Labels without documents, of which the own vectors are given."""
        for name, lengths in self.lengths.items():
            own = blocks[name][1]
            if name not in self.own:
                if not own.any():
                    self.lengths[name] = np.append(lengths, np.zeros(len(own), np.float32))
                    continue
                self.own[name] = np.zeros((len(lengths), own.shape[1]), dtype=np.float16)
            self.own[name] = np.concatenate([self.own[name], own.astype(np.float16)])
            self.lengths[name] = np.concatenate([lengths, row_norms(own)[:, 0]])

    def keep_labels(self, kept: np.ndarray) -> None:
        """Forget all other labels."""
        self.lengths = {name: lengths[kept] for name, lengths in self.lengths.items()}
        self.own = {name: own[kept] for name, own in self.own.items()}

    def state_dict(self) -> dict[str, Any]:
        """The parameters."""
        return {
            "lengths": self.lengths,
            "own": self.own,
            "fixed": self.fixed,
            "widths": self.widths,
        }
