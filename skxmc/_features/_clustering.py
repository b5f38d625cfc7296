"""Balanced clusters of embeddings: hard-negative batches and shared free vectors."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import numpy as np
from joblib import effective_n_jobs
from sklearn.utils import check_random_state

# Rows handled at a time: 1,024 x 384 float32 numbers are 1.5 MB, so that the iterations of the
# many small nodes deep in the tree find their vectors in the cache.
_ROWS = 1024
# A node with more members finds its direction on a sample of this many. On sets of 15,000 and
# 29,000 embeddings a sample of 4,096 already costs less than 1% of the mean cosine to the centroid.
_SAMPLE = 8192


def balanced_bisecting(
    vectors: np.ndarray,
    cluster_size: int,
    *,
    n_iter: int = 10,
    random_state: np.random.RandomState | int | None = None,
    n_jobs: int | None = -1,
) -> tuple[np.ndarray, np.ndarray]:
    """Cut vectors into clusters of at most `cluster_size`, all of nearly the same size.

    Balanced bisecting 2-means, as used for batches with hard negatives by NGAME (WSDM 2023,
    section 3.2) and PRIME (NAACL 2025): a node of the tree is cut where half of its members lie
    nearer to one of two centroids than the other half, until the leaves are small enough. All
    nodes of equal shape are cut together.

    Parameters
    ----------
    vectors : ndarray of shape (n, d), floating
        Embeddings, usually normalised; float16 is read without a float32 copy of the whole.
    cluster_size : int
        The most members of a cluster. There are ``ceil(n / cluster_size)`` clusters, and their
        sizes differ by at most one.
    n_iter : int, default=10
        The most iterations of each 2-means; it stops earlier once the halves stay as they are.
    random_state : RandomState, int or None, default=None
        Draws the first centroids.
    n_jobs : int or None, default=-1
        Threads, as in joblib. The result does not depend on it.

    Returns
    -------
    order : ndarray of shape (n,), int64
        A permutation of the rows of `vectors`. Neighbouring clusters are similar to each other.
    offsets : ndarray of shape (n_clusters + 1,), int64
        Cluster c is ``order[offsets[c] : offsets[c + 1]]``.

    Raises
    ------
    ValueError
        Where `vectors` is not a finite floating (n, d) array or `cluster_size` is below 1.

    Examples
    --------
    >>> import numpy as np
    >>> from skxmc._features._clustering import balanced_bisecting
    >>> vectors = np.array([[1.0, 0.0], [0.0, 1.0], [0.9, 0.1], [0.1, 0.9]])
    >>> order, offsets = balanced_bisecting(vectors, 2, random_state=0)
    >>> sorted(sorted(order[a:b].tolist()) for a, b in zip(offsets[:-1], offsets[1:]))
    [[0, 2], [1, 3]]
    """
    _check(vectors, "cluster_size", cluster_size)
    n_clusters = -(-len(vectors) // cluster_size)
    return _bisect(vectors, n_clusters, n_iter, check_random_state(random_state), n_jobs)


def balanced_kmeans(
    vectors: np.ndarray,
    n_clusters: int,
    *,
    n_iter: int = 10,
    random_state: np.random.RandomState | int | None = None,
    n_jobs: int | None = -1,
) -> np.ndarray:
    """Cluster of each vector, the clusters being of nearly the same size.

    Decides which labels share a free vector (PRIME, NAACL 2025, section 3.2). The clusters are
    the leaves of a tree of balanced 2-means, for any number of leaves: its cost grows with
    ``n log(n_clusters)``, that of flat k-means with ``n n_clusters``.

    Parameters
    ----------
    vectors : ndarray of shape (n, d), floating
        Embeddings of the labels, usually normalised.
    n_clusters : int
        Number of clusters. Sizes differ by at most one.
    n_iter : int, default=10
        The most iterations of each 2-means.
    random_state : RandomState, int or None, default=None
        Draws the first centroids.
    n_jobs : int or None, default=-1
        Threads, as in joblib. The result does not depend on it.

    Returns
    -------
    clusters : ndarray of shape (n,), int32
        Cluster of each row; every row its own, ``0 .. n - 1``, where ``n_clusters >= n``.

    Raises
    ------
    ValueError
        Where `vectors` is not a finite floating (n, d) array or `n_clusters` is below 1.

    Examples
    --------
    >>> import numpy as np
    >>> from skxmc._features._clustering import balanced_kmeans
    >>> vectors = np.array([[1.0, 0.0], [0.0, 1.0], [0.9, 0.1], [0.1, 0.9]])
    >>> clusters = balanced_kmeans(vectors, 2, random_state=0)
    >>> bool(clusters[0] == clusters[2] != clusters[1] == clusters[3])
    True
    """
    _check(vectors, "n_clusters", n_clusters)
    n = len(vectors)
    if n_clusters >= n:
        return np.arange(n, dtype=np.int32)
    order, offsets = _bisect(vectors, n_clusters, n_iter, check_random_state(random_state), n_jobs)
    clusters = np.empty(n, dtype=np.int32)
    clusters[order] = np.repeat(np.arange(n_clusters, dtype=np.int32), np.diff(offsets))
    return clusters


def _bisect(
    vectors: np.ndarray,
    n_leaves: int,
    n_iter: int,
    random_state: np.random.RandomState,
    n_jobs: int | None,
) -> tuple[np.ndarray, np.ndarray]:
    """Order of the vectors in which each leaf is a slice, and where the leaves begin and end.

    Sizes of the leaves are fixed beforehand and differ by at most one. A node is a range of
    leaves, hence a slice of the order; it is cut at its middle leaf. So there are at most a few
    shapes (members, members of the left half) in a level, and the nodes of a shape form dense
    arrays.
    """
    n = len(vectors)
    offsets = np.arange(n_leaves + 1, dtype=np.int64) * n // max(n_leaves, 1)
    order = np.arange(n, dtype=np.int64)
    edges = np.array([0, n_leaves])  # nodes of a level: between which leaves each lies
    with ThreadPoolExecutor(effective_n_jobs(n_jobs)) as pool:
        while np.diff(edges).max() > 1:
            middles = (edges[:-1] + edges[1:] + 1) // 2
            uncut = np.diff(edges) > 1
            starts = offsets[edges[:-1][uncut]]
            shapes = np.column_stack(
                (offsets[edges[1:][uncut]] - starts, offsets[middles[uncut]] - starts)
            )
            seeds = random_state.random_sample(len(starts))
            batches = []
            for size, n_left in np.unique(shapes, axis=0):
                nodes = np.flatnonzero((shapes == (size, n_left)).all(axis=1))
                n_batches = -(-len(nodes) * int(size) // _ROWS)
                for batch in np.array_split(nodes, min(n_batches, len(nodes))):
                    places = starts[batch, None] + np.arange(size)
                    batches.append((places, int(n_left), seeds[batch]))
            # Batches write to different slices of the order.
            for _ in pool.map(partial(_cut, vectors, order, n_iter), *zip(*batches, strict=True)):
                pass
            edges = np.unique(np.concatenate((edges, middles)))
    return order, offsets


def _cut(
    vectors: np.ndarray,
    order: np.ndarray,
    n_iter: int,
    places: np.ndarray,
    n_left: int,
    seeds: np.ndarray,
) -> None:
    """Reorder members of the nodes at `places` (n_nodes, size): left half first."""
    members = order[places]
    size = members.shape[1]
    if size <= _SAMPLE:
        scores = _two_means(_gather(vectors, members), n_left, n_iter, seeds)[1]
    else:
        # Members lie in the order of the cut above, so equal steps are a sample of all of them.
        sample = members[:, np.arange(_SAMPLE) * size // _SAMPLE]
        share = max(1, n_left * _SAMPLE // size)
        direction = _two_means(_gather(vectors, sample), share, n_iter, seeds)[0]
        scores = np.empty(members.shape, dtype=np.float32)
        for start in range(0, size, _ROWS):
            rows = slice(start, start + _ROWS)
            scores[:, rows] = _project(_gather(vectors, members[:, rows]), direction)
    halves = np.argpartition(scores, n_left - 1, axis=1)
    order[places] = np.take_along_axis(members, halves, axis=1)


def _two_means(
    block: np.ndarray, n_left: int, n_iter: int, seeds: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Balanced 2-means of each node of a dense block.

    Parameters
    ----------
    block : ndarray of shape (n_nodes, size, d), float32
        Vectors of the nodes' members.
    n_left : int
        Members of the left half.
    n_iter : int
        The most iterations.
    seeds : ndarray of shape (n_nodes,), float64
        In [0, 1); choose the member to start from.

    Returns
    -------
    direction : ndarray of shape (n_nodes, d), float32
        Right centroid minus left centroid.
    scores : ndarray of shape (n_nodes, size), float32
        Product of members and direction; the lowest `n_left` are the left half.
    """
    n_nodes, size, _ = block.shape
    nodes = np.arange(n_nodes)
    # Two members far from each other: the one farthest from a random member, and the one
    # farthest from that. It varies less with the seed than two random members do.
    start = block[nodes, (seeds * size).astype(np.int64)]
    first = block[nodes, _project(block, start).argmin(axis=1)]
    scores = _project(block, first)
    direction = first - block[nodes, scores.argmin(axis=1)]
    scores = _project(block, direction)
    weights = np.zeros((n_nodes, size), dtype=np.float32)
    for _ in range(n_iter):
        left = np.argpartition(scores, n_left - 1, axis=1)[:, :n_left]
        previous, weights = weights, np.full_like(weights, 1 / (size - n_left))
        np.put_along_axis(weights, left, -1 / n_left, axis=1)
        if np.array_equal(weights, previous):
            break
        direction = np.einsum("bs,bsd->bd", weights, block)
        scores = _project(block, direction)
    return direction, scores


def _gather(vectors: np.ndarray, members: np.ndarray) -> np.ndarray:
    return vectors[members].astype(np.float32, copy=False)


def _project(block: np.ndarray, direction: np.ndarray) -> np.ndarray:
    # einsum is as fast as a BLAS here (vectors are read once), gives the same bits for a node in
    # any batch, and does not start a BLAS's own threads inside of ours.
    return np.einsum("bsd,bd->bs", block, direction)


def _check(vectors: Any, argument: str, value: Any) -> None:
    if value < 1:
        raise ValueError(f"{argument} must be at least 1, got {value}")
    if getattr(vectors, "ndim", None) != 2 or not np.issubdtype(vectors.dtype, np.floating):
        raise ValueError(
            "vectors must be a floating array of shape (n, d), got "
            f"{getattr(vectors, 'dtype', type(vectors).__name__)} of shape "
            f"{getattr(vectors, 'shape', None)}"
        )
    for start in range(0, len(vectors), _ROWS):
        finite = np.isfinite(vectors[start : start + _ROWS]).all(axis=1)
        if not finite.all():
            row = start + int(np.flatnonzero(~finite)[0])
            raise ValueError(f"vectors[{row}] has NaN or infinite entries; embeddings are finite")
