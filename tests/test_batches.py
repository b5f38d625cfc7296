"""Positives by inverse propensity, the schedule of hard negatives, batches of an epoch."""

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st

from skxmc._training._batches import BatchMaker, HardNegativeSchedule, PositiveSampler

NEVER = HardNegativeSchedule(start=None, update=1)


def targets(rng, n, n_labels, share):
    dense = rng.random_sample((n, n_labels)) < share
    dense[np.arange(n), rng.randint(n_labels, size=n)] = True
    return sp.csr_array(dense.astype(np.float32))


# ---------------------------------------------------------------------------------------- sampler


@pytest.mark.parametrize(("a", "b"), [(0.55, 1.5), (0.6, 2.6), (0.5, 0.4)])
def test_rare_labels_are_drawn_by_inverse_propensity(rng, a, b):
    n = 400
    dense = np.zeros((n, 4), dtype=np.float32)
    for label, frequency in enumerate((400, 90, 12, 1)):  # the first document has them all
        dense[:frequency, label] = 1
    sampler = PositiveSampler(sp.csr_array(dense), (a, b))
    frequencies = dense.sum(axis=0)
    # Section 4 of the method, written out.
    inverse = 1 + (np.log(n) - 1) * (b + 1) ** a * (frequencies + b) ** -a
    draws = 40_000
    drawn = sampler.draw(np.zeros(draws, dtype=np.int64), rng)
    observed = np.bincount(drawn, minlength=4)
    expected = draws * inverse / inverse.sum()
    assert (observed[3] - observed[0]) / draws > 0.1  # far from even, and the rare one first
    # Chi-square with three degrees of freedom: 16.3 has probability 0.001.
    assert ((observed - expected) ** 2 / expected).sum() < 16.3


def test_drawn_labels_are_the_documents_own(rng):
    Y = targets(rng, 60, 15, 0.2)
    sampler = PositiveSampler(Y, (0.55, 1.5))
    rows = rng.randint(60, size=2000)
    drawn = sampler.draw(rows, rng)
    assert drawn.dtype == np.int64
    assert (Y.toarray()[rows, drawn] == 1).all()
    seen = np.zeros(Y.shape, dtype=bool)
    seen[rows, drawn] = True
    assert seen.sum() > 0.95 * Y.nnz  # none is left out


def test_single_labels_and_documents_without_any():
    Y = sp.csr_array(np.array([[0, 0, 1], [0, 0, 0], [1, 0, 0], [0, 0, 0]], dtype=np.float32))
    sampler = PositiveSampler(Y, (0.55, 1.5))
    drawn = sampler.draw(np.array([2, 0, 2, 0]), np.random.RandomState(0))
    assert drawn.tolist() == [0, 2, 0, 2]


# --------------------------------------------------------------------------------------- schedule


def test_published_schedule():
    schedule = HardNegativeSchedule.for_epochs(150)
    assert (schedule.start, schedule.update, schedule.size) == (10, 5, 16)
    assert schedule.doubling == (20, 40, 60, 80, 100, 120)
    epochs = (10, 19, 20, 39, 40, 149)
    assert [schedule.cluster_size(e) for e in epochs] == [16, 16, 32, 32, 64, 1024]
    due = [e for e in range(150) if schedule.is_due(e)]
    assert due == list(range(10, 150, 5))
    assert [e for e in range(150) if schedule.uses_clusters(e)] == list(range(10, 150))


@given(epochs=st.integers(1, 400))
def test_scaled_schedule_fits_any_number_of_epochs(epochs):
    schedule = HardNegativeSchedule.for_epochs(epochs)
    due = [e for e in range(epochs) if schedule.is_due(e)]
    if epochs < 4:
        assert due == []
        return
    assert due[0] == schedule.start >= 1  # there is an embedding bank to cluster
    assert all(schedule.start < e < epochs for e in schedule.doubling)
    sizes = [schedule.cluster_size(e) for e in range(epochs)]
    assert sizes == sorted(sizes)
    assert sizes[-1] > sizes[0]


def test_no_schedule_never_clusters():
    assert not any(NEVER.is_due(e) or NEVER.uses_clusters(e) for e in range(20))


# ---------------------------------------------------------------------------------------- batches


@settings(max_examples=60, deadline=None)
@given(
    n=st.integers(1, 70),
    batch_size=st.integers(1, 90),
    size=st.integers(1, 20),
    seed=st.integers(0, 99),
)
def test_every_epoch_has_every_document_once(n, batch_size, size, seed):
    rng = np.random.RandomState(seed)
    schedule = HardNegativeSchedule(start=1, update=2, size=size, doubling=(2, 3))
    maker = BatchMaker(n, batch_size, schedule, rng)
    bank = rng.normal(size=(n, 4)).astype(np.float32)
    for epoch in range(5):
        batches = maker.start_epoch(epoch, bank)
        assert len(batches) == len(maker) == -(-n // min(batch_size, n))
        np.testing.assert_array_equal(np.sort(np.concatenate(batches)), np.arange(n))
        sizes = [len(batch) for batch in batches]
        assert max(sizes) <= batch_size
        assert max(sizes) - min(sizes) <= 1


def blobs(rng, n_blobs, size):
    of = rng.permutation(np.repeat(np.arange(n_blobs), size))
    centres = rng.normal(size=(n_blobs, 16))
    bank = centres[of] + 0.01 * rng.normal(size=(len(of), 16))
    return (bank / np.linalg.norm(bank, axis=1, keepdims=True)).astype(np.float32), of


def test_clustered_batches_hold_similar_documents(rng):
    """With batches of two clusters, a batch has two blobs of documents; at random it has most."""
    bank, of = blobs(rng, 8, 16)
    maker = BatchMaker(128, 32, HardNegativeSchedule(start=1, update=1, size=16), rng)
    at_random = [len(np.unique(of[batch])) for batch in maker.start_epoch(0, bank)]
    clustered = [len(np.unique(of[batch])) for batch in maker.start_epoch(1, bank)]
    assert min(at_random) >= 6
    assert clustered == [2, 2, 2, 2]


def test_clusters_come_in_another_order_each_epoch(rng):
    bank, of = blobs(rng, 8, 16)
    maker = BatchMaker(128, 32, HardNegativeSchedule(start=0, update=10, size=16), rng)
    partners = [
        frozenset(frozenset(of[batch].tolist()) for batch in maker.start_epoch(epoch, bank))
        for epoch in range(4)
    ]
    assert len(set(partners)) > 1


def test_clusters_are_made_anew_only_when_due(rng):
    first, of_first = blobs(rng, 8, 16)
    second, of_second = blobs(rng, 8, 16)
    maker = BatchMaker(128, 16, HardNegativeSchedule(start=0, update=2, size=16), rng)

    def blobs_per_batch(epoch, bank, of):
        return max(len(np.unique(of[batch])) for batch in maker.start_epoch(epoch, bank))

    assert blobs_per_batch(0, first, of_first) == 1
    assert blobs_per_batch(1, second, of_first) == 1  # still those of epoch 0
    assert blobs_per_batch(2, second, of_second) == 1


def test_clusters_never_exceed_a_batch(rng):
    bank, of = blobs(rng, 8, 8)
    maker = BatchMaker(64, 8, HardNegativeSchedule(start=0, update=1, size=512), rng)
    assert [len(np.unique(of[batch])) for batch in maker.start_epoch(0, bank)] == [1] * 8


def test_batches_follow_the_random_state():
    bank = np.random.RandomState(5).normal(size=(50, 4)).astype(np.float32)
    schedule = HardNegativeSchedule(start=1, update=1, size=8)

    def run(seed):
        maker = BatchMaker(50, 12, schedule, np.random.RandomState(seed))
        return [batch.tolist() for epoch in range(3) for batch in maker.start_epoch(epoch, bank)]

    assert run(0) == run(0)
    assert run(0) != run(1)
