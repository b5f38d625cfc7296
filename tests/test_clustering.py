"""Balanced clusters: exact partitions, balance, determinism, quality, odd input."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from skxmc._features import _clustering
from skxmc._features._clustering import balanced_bisecting, balanced_kmeans


def blobs(rng, n_blobs, size, d=32, noise=0.02):
    """Well separated unit vectors in random order, and the blob of each."""
    of = rng.permutation(np.repeat(np.arange(n_blobs), size))
    vectors = rng.normal(size=(n_blobs, d))[of] + noise * rng.normal(size=(len(of), d))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32), of


def assert_balanced_partition(order, offsets, n, cluster_size):
    assert order.dtype == offsets.dtype == np.int64
    np.testing.assert_array_equal(np.sort(order), np.arange(n))
    assert offsets[0] == 0
    assert offsets[-1] == n
    sizes = np.diff(offsets)
    assert len(sizes) == -(-n // cluster_size)
    if n:
        assert sizes.max() <= cluster_size
        assert sizes.max() - sizes.min() <= 1


def small_vectors():
    """Floats and, more often, integers of which many are equal or zero."""
    shapes = st.tuples(st.integers(0, 70), st.integers(1, 4))
    numbers = st.one_of(st.sampled_from([-1.0, 0.0, 1.0]), st.floats(-2, 2, width=32))
    return shapes.flatmap(lambda shape: arrays(np.float32, shape, elements=numbers))


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(vectors=small_vectors(), cluster_size=st.integers(1, 80), seed=st.integers(0, 99))
def test_bisecting_is_a_balanced_partition(vectors, cluster_size, seed):
    order, offsets = balanced_bisecting(vectors, cluster_size, random_state=seed, n_jobs=1)
    assert_balanced_partition(order, offsets, len(vectors), cluster_size)
    again = balanced_bisecting(vectors, cluster_size, random_state=seed, n_jobs=1)
    np.testing.assert_array_equal(order, again[0])


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(vectors=small_vectors(), n_clusters=st.integers(1, 80), seed=st.integers(0, 99))
def test_kmeans_is_a_balanced_partition(vectors, n_clusters, seed):
    clusters = balanced_kmeans(vectors, n_clusters, random_state=seed, n_jobs=1)
    assert clusters.dtype == np.int32
    assert clusters.shape == (len(vectors),)
    if n_clusters >= len(vectors):
        np.testing.assert_array_equal(clusters, np.arange(len(vectors)))
    else:
        sizes = np.bincount(clusters, minlength=n_clusters)
        assert len(sizes) == n_clusters
        assert sizes.max() - sizes.min() <= 1


@pytest.mark.parametrize("n_blobs", [2, 3, 7, 16, 50])
def test_blobs_are_recovered(rng, n_blobs):
    vectors, of = blobs(rng, n_blobs, 10)
    order, offsets = balanced_bisecting(vectors, 10, random_state=0)
    found = [set(of[order[a:b]]) for a, b in pairwise(offsets)]
    pure = sum(len(members) == 1 for members in found)
    # A cut may go through a blob that lies between the two centroids.
    assert pure >= 0.8 * n_blobs
    clusters = balanced_kmeans(vectors, n_blobs, random_state=0)
    np.testing.assert_array_equal(clusters[order], np.repeat(np.arange(n_blobs), np.diff(offsets)))


def test_neighbouring_clusters_are_similar(rng):
    vectors, of = blobs(rng, 4, 64)
    order, offsets = balanced_bisecting(vectors, 8, random_state=0)
    np.testing.assert_array_equal(offsets, np.arange(0, 257, 8))
    assert all(len(set(part)) == 1 for part in of[order].reshape(4, 64))


def test_clusters_are_tighter_than_chance_and_iterations_help(rng):
    vectors = rng.normal(size=(3000, 16))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)

    def tightness(order):
        return np.linalg.norm(vectors[order].reshape(300, 10, 16).mean(axis=1), axis=1).mean()

    by_iterations = [
        tightness(balanced_bisecting(vectors, 10, n_iter=n_iter, random_state=0)[0])
        for n_iter in (0, 1, 10)
    ]
    chance = tightness(rng.permutation(3000))
    assert chance + 0.1 < by_iterations[0] < by_iterations[1] < by_iterations[2]


def test_large_nodes_are_cut_by_a_sample(rng, monkeypatch):
    vectors, of = blobs(rng, 8, 100)
    monkeypatch.setattr(_clustering, "_SAMPLE", 64)
    monkeypatch.setattr(_clustering, "_ROWS", 50)
    order, offsets = balanced_bisecting(vectors, 100, random_state=0)
    assert_balanced_partition(order, offsets, 800, 100)
    commonest = [np.bincount(part).max() for part in of[order].reshape(8, 100)]
    assert np.mean(commonest) >= 90


@pytest.mark.parametrize("n_jobs", [None, 2, -1])
def test_result_does_not_depend_on_threads_or_batches(rng, monkeypatch, n_jobs):
    vectors = rng.normal(size=(1000, 8)).astype(np.float32)
    expected = balanced_bisecting(vectors, 7, random_state=3, n_jobs=1)
    monkeypatch.setattr(_clustering, "_ROWS", 64)
    found = balanced_bisecting(vectors, 7, random_state=3, n_jobs=n_jobs)
    np.testing.assert_array_equal(found[0], expected[0])
    np.testing.assert_array_equal(found[1], expected[1])


def test_random_state(rng):
    vectors = rng.normal(size=(400, 8))
    first = balanced_kmeans(vectors, 33, random_state=0)
    np.testing.assert_array_equal(
        first, balanced_kmeans(vectors, 33, random_state=np.random.RandomState(0))
    )
    assert (first != balanced_kmeans(vectors, 33, random_state=1)).any()


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_any_floating_type_and_nothing_is_written(rng, dtype):
    vectors = rng.normal(size=(100, 8)).astype(dtype)
    vectors.flags.writeable = False
    assert_balanced_partition(*balanced_bisecting(vectors, 9, random_state=0), 100, 9)


@pytest.mark.parametrize("fill", [0.0, 1.0])
def test_equal_vectors(fill):
    vectors = np.full((1001, 4), fill, dtype=np.float32)
    assert_balanced_partition(*balanced_bisecting(vectors, 16, random_state=0), 1001, 16)
    sizes = np.bincount(balanced_kmeans(vectors, 17, random_state=0))
    assert sorted(sizes) == [58] * 2 + [59] * 15


def test_errors(rng):
    vectors = rng.normal(size=(5, 3))
    with pytest.raises(ValueError, match="cluster_size must be at least 1, got 0"):
        balanced_bisecting(vectors, 0)
    with pytest.raises(ValueError, match="n_clusters must be at least 1, got -1"):
        balanced_kmeans(vectors, -1)
    with pytest.raises(ValueError, match=r"vectors must be a floating array of shape \(n, d\)"):
        balanced_kmeans(vectors.astype(int), 2)
    with pytest.raises(ValueError, match="got float64 of shape"):
        balanced_kmeans(vectors[0], 2)
    vectors[3, 1] = np.nan
    with pytest.raises(ValueError, match=r"vectors\[3\] has NaN"):
        balanced_bisecting(vectors, 2)
