"""Votes of the nearest documents."""

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st

from skxmc.evidence._neighbours import neighbour_labels

N_DOCUMENTS, N_LABELS = 6, 5


def _obvious_votes(indices, scores, Y, temperature):
    """Votes of one query, a dict from label to share, by loops."""
    there = [(i, s) for i, s in zip(indices, scores, strict=True) if i >= 0]
    total = sum(np.exp(s / temperature) for _, s in there)
    votes = {}
    for document, score in there:
        for label in np.flatnonzero(Y[document]):
            votes[label] = votes.get(label, 0) + np.exp(score / temperature) / total
    return votes


@settings(max_examples=80, deadline=None)
@given(seed=st.integers(0, 10**6), m=st.integers(1, 6), k=st.integers(1, 5))
def test_votes_are_those_of_the_obvious_loop(seed, m, k):
    rng = np.random.RandomState(seed)
    Y = (rng.rand(N_DOCUMENTS, N_LABELS) < 0.4).astype(np.float32)
    indices = np.stack([rng.permutation(N_DOCUMENTS)[:m] for _ in range(4)]).astype(np.int64)
    scores = -np.sort(-rng.uniform(-1, 1, (4, m)).astype(np.float32), axis=1)
    n_found = rng.randint(m + 1, size=4)
    missing = np.arange(m) >= n_found[:, None]
    indices[missing], scores[missing] = -1, -np.inf
    labels, log_votes = neighbour_labels(indices, scores, sp.csr_array(Y), k, temperature=0.2)
    assert labels.shape == log_votes.shape == (4, k)
    assert labels.dtype == np.int64
    assert log_votes.dtype == np.float32
    for row in range(4):
        votes = _obvious_votes(indices[row], scores[row], Y, 0.2)
        best = sorted(votes.values(), reverse=True)[:k]
        kept = labels[row] >= 0
        assert kept.sum() == len(best)
        assert np.isneginf(log_votes[row, ~kept]).all()
        np.testing.assert_allclose(np.exp(log_votes[row, kept]), best, rtol=1e-4)
        given_ = [votes[label] for label in labels[row, kept]]
        np.testing.assert_allclose(np.exp(log_votes[row, kept]), given_, rtol=1e-4)


def test_equal_votes_go_to_the_lower_label():
    Y = sp.csr_array(np.array([[0, 1, 0, 1], [1, 0, 0, 0]], dtype=np.float32))
    scores = np.array([[0.5, 0.5]], dtype=np.float32)
    labels, _ = neighbour_labels(np.array([[0, 1]]), scores, Y, 4)
    assert labels.tolist() == [[0, 1, 3, -1]]


def test_low_temperature_trusts_the_nearest():
    Y = sp.csr_array(np.array([[1, 0], [0, 1], [0, 1]], dtype=np.float32))
    indices, scores = np.array([[0, 1, 2]]), np.array([[0.9, 0.8, 0.8]], dtype=np.float32)
    assert neighbour_labels(indices, scores, Y, 1, temperature=0.05)[0][0, 0] == 0
    assert neighbour_labels(indices, scores, Y, 1, temperature=1.0)[0][0, 0] == 1


def test_many_queries_of_different_lengths():
    # More queries than are ranked at a time, and one document with all labels.
    rng = np.random.RandomState(0)
    Y = np.zeros((50, 300), dtype=np.float32)
    Y[np.arange(50), np.arange(50)] = 1
    Y[7] = 1
    indices = rng.randint(50, size=(2500, 1))
    labels, votes = neighbour_labels(indices, np.ones((2500, 1), np.float32), sp.csr_array(Y), 3)
    alone = indices[:, 0] != 7
    np.testing.assert_array_equal(labels[alone, 0], indices[alone, 0])
    assert (labels[alone, 1:] == -1).all()
    assert (labels[~alone] == [0, 1, 2]).all()
    assert votes[:, 0] == pytest.approx(0)


def test_no_neighbours_and_no_queries():
    Y = sp.csr_array((3, 4), dtype=np.float32)
    labels, votes = neighbour_labels(np.array([[0, 1]]), np.ones((1, 2), np.float32), Y, 2)
    assert labels.tolist() == [[-1, -1]]
    assert np.isneginf(votes).all()
    empty = neighbour_labels(np.empty((0, 2), np.int64), np.empty((0, 2), np.float32), Y, 2)
    assert empty[0].shape == (0, 2)
