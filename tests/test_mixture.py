"""The mixture of evidence and what is around it."""

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st

from skxmc._features._centroids import untuned_prototypes
from skxmc._ranking._mixture import MixedKind, Mixture
from skxmc._ranking._threshold import best_threshold
from skxmc.evidence import LabelVectors, Neighbours, Prototypes
from skxmc.evidence._neighbours import neighbour_labels
from skxmc.indexes import join_candidates
from skxmc.metrics import ndcg_at_k, precision_at_k, psprecision_at_k

KINDS = (Prototypes, LabelVectors, Neighbours)
NAMES = tuple(kind.name for kind in KINDS)


def _mixture(given=None, tried=None):
    """Of the kinds of this package, some of them with a given weight or other temperatures."""
    given, tried = given or {}, tried or {}
    return Mixture(
        [
            MixedKind(
                kind.name,
                kind.default_weight,
                kind.default_temperature,
                tried.get(kind.name, kind.temperatures),
                given.get(kind.name),
            )
            for kind in KINDS
        ]
    )


def _evidence(rng, n=30, n_labels=12, m=6):
    """Random candidates, some rows shorter than others."""
    found = {}
    for name in NAMES:
        indices = np.stack([rng.permutation(n_labels)[:m] for _ in range(n)])
        scores = -np.sort(-rng.randn(n, m).astype(np.float32), axis=1)
        short = rng.rand(n) < 0.3
        indices[short, m // 2 :] = -1
        scores[short, m // 2 :] = -np.inf
        found[name] = (indices.astype(np.int64), scores)
    return found


def _obvious_prediction(mixture, evidence, k, exclude=None):
    """The same by a loop over rows and a dict of totals."""
    n = len(evidence["prototypes"][0])
    labels = np.full((n, k), -1)
    probabilities = np.full((n, k), -np.inf)
    for row in range(n):
        totals = {}
        for name, (indices, scores) in evidence.items():
            there = indices[row] >= 0
            if exclude is not None:
                there &= ~exclude[row, indices[row]]
            if not there.any():
                continue
            exponentials = np.exp(scores[row][there] / mixture.temperatures_[name])
            shares = exponentials / exponentials.sum()
            for label, share in zip(indices[row][there], shares, strict=True):
                totals[label] = totals.get(label, 0) + mixture.weights_[name] * share
        ranked = sorted(totals.items(), key=lambda item: (-item[1], item[0]))[:k]
        for rank, (label, value) in enumerate(ranked):
            labels[row, rank], probabilities[row, rank] = label, value
    return labels, probabilities


@pytest.mark.parametrize("seed", range(4))
def test_prediction_is_the_weighted_sum_of_probabilities(seed):
    rng = np.random.RandomState(seed)
    evidence = _evidence(rng)
    exclude = sp.csr_array(rng.rand(30, 12) < 0.2)
    mixture = _mixture()
    for pairs in (None, exclude):
        labels, probabilities = mixture.predict(evidence, k=12, exclude=pairs)
        dense = None if pairs is None else pairs.toarray()
        expected, values = _obvious_prediction(mixture, evidence, 12, dense)
        np.testing.assert_allclose(probabilities, values, rtol=1e-5)
        # Sums that differ by rounding alone may change places.
        apart = np.abs(np.diff(np.maximum(values, -9), axis=1, prepend=9)) > 1e-6
        np.testing.assert_array_equal(labels[apart], expected[apart])


def test_candidates_are_padded_where_there_are_fewer():
    evidence = {"prototypes": (np.array([[2, -1]]), np.array([[0.5, -np.inf]], dtype=np.float32))}
    labels, probabilities = _mixture().predict(evidence, k=4)
    assert labels.tolist() == [[2, -1, -1, -1]]
    assert probabilities[0, 0] == pytest.approx(1.0)  # one kind alone has all the weight
    assert np.isneginf(probabilities[0, 1:]).all()


def test_ties_go_to_the_lower_label():
    scores = np.zeros((1, 3), dtype=np.float32)
    labels, _ = _mixture().predict({"prototypes": (np.array([[7, 3, 5]]), scores)}, k=3)
    assert labels.tolist() == [[3, 5, 7]]


def test_fit_gives_the_weight_to_the_evidence_that_knows():
    rng = np.random.RandomState(0)
    evidence = _evidence(rng, n=200)
    best = evidence["neighbours"][0][:, 0]
    truth = sp.csr_array((np.ones(200), (np.arange(200), best)), shape=(200, 12))
    mixture = _mixture().fit(evidence, truth, propensities=np.ones(12))
    assert mixture.weights_["neighbours"] >= 0.9
    assert sum(mixture.weights_.values()) == pytest.approx(1)
    assert (mixture.predict(evidence, k=1)[0][:, 0] == best).mean() >= 0.98
    assert 0 < mixture.score_ <= 1


def test_few_documents_leave_the_defaults_and_many_do_not():
    """Prototypes know most labels, neighbours the others."""
    defaults = {kind.name: kind.default_weight for kind in KINDS}
    distances = []
    for n in (12, 3000):
        rng = np.random.RandomState(4)
        evidence = _evidence(rng, n=n)
        of_kind = np.where(rng.rand(n) < 0.35, "neighbours", "prototypes")
        best = [evidence[kind][0][row, 0] for row, kind in enumerate(of_kind)]
        truth = sp.csr_array((np.ones(n), (np.arange(n), best)), shape=(n, 12))
        mixture = _mixture().fit(evidence, truth, propensities=np.ones(12))
        moved = [abs(mixture.weights_[name] - share) for name, share in defaults.items()]
        distances.append(sum(moved) / 2)
    assert distances[0] < 0.3 < 0.5 < distances[1]


def test_temperatures_stay_unless_others_are_better_by_more_than_noise():
    fixed = {"label_vectors": 0.5, "neighbours": 0.5}
    found = []
    for n in (12, 3000):
        evidence = _evidence(np.random.RandomState(6), n=n)
        del evidence["prototypes"]
        evidence = {name: (labels, 3 * scores) for name, (labels, scores) in evidence.items()}
        maker = _mixture(fixed)
        maker.temperatures_ = {"label_vectors": 2.5, "neighbours": 1.0}
        best = maker.predict(evidence, k=1)[0][:, 0]
        truth = sp.csr_array((np.ones(n), (np.arange(n), best)), shape=(n, 12))
        mixture = _mixture(fixed).fit(evidence, truth, propensities=np.ones(12))
        found.append(mixture.temperatures_["label_vectors"])
    assert found == [LabelVectors.default_temperature, 2.5]


def test_fit_does_not_remember_an_earlier_fit():
    rng = np.random.RandomState(5)
    evidence = _evidence(rng, n=40)
    truths = [
        sp.csr_array(np.eye(12)[evidence[name][0][:, 0]]) for name in ("neighbours", "prototypes")
    ]
    mixture = _mixture()
    for truth in truths:
        mixture.fit(evidence, truth, propensities=np.ones(12))
    fresh = _mixture().fit(evidence, truths[1], propensities=np.ones(12))
    assert mixture.state_dict() == fresh.state_dict()


@pytest.mark.parametrize("share", [0.0, 0.25, 1.0])
def test_fixed_weights_stay(share):
    rng = np.random.RandomState(1)
    evidence = _evidence(rng, n=60)
    truth = sp.csr_array(np.eye(12)[evidence["prototypes"][0][:, 0]])
    mixture = _mixture({"neighbours": share})
    mixture.fit(evidence, truth, propensities=np.ones(12))
    assert mixture.weights_["neighbours"] == pytest.approx(share)
    assert sum(mixture.weights_.values()) == pytest.approx(1)
    unfitted = _mixture({"neighbours": share})
    assert unfitted.predict(evidence, k=3)[0].shape == (60, 3)


def test_the_score_is_the_public_metric_of_the_prediction():
    rng = np.random.RandomState(2)
    evidence = _evidence(rng, n=50)
    truth = sp.csr_array((rng.rand(50, 12) < 0.2).astype(np.float32))
    propensities = rng.uniform(0.1, 1, 12)
    for metric in ("precision_at_1", "precision_at_5", "psprecision_at_5", "mean"):
        # All weights given: there is nothing to choose but temperatures.
        fixed = {"prototypes": 0.5, "label_vectors": 0.3, "neighbours": 0.2}
        mixture = _mixture(fixed).fit(evidence, truth, metric=metric, propensities=propensities)
        ranked, _ = mixture.predict(evidence, k=5)
        figures = {
            "precision_at_1": precision_at_k(truth, ranked, k=1),
            "precision_at_5": precision_at_k(truth, ranked, k=5),
            "psprecision_at_5": psprecision_at_k(truth, ranked, k=5, propensities=propensities),
        }
        figures["ndcg_at_5"] = ndcg_at_k(truth, ranked, k=5)
        expected = figures.get(metric, np.mean(list(figures.values())))
        assert mixture.score_ == pytest.approx(expected, abs=0.02)
    with pytest.raises(ValueError, match="not known"):
        _mixture().fit(evidence, truth, metric="accuracy", propensities=propensities)


def test_only_given_temperatures_are_tried():
    rng = np.random.RandomState(3)
    evidence = _evidence(rng, n=50)
    truth = sp.csr_array((rng.rand(50, 12) < 0.2).astype(np.float32))
    tried = {"prototypes": (0.3,), "neighbours": (1.0,), "label_vectors": (4.0,)}
    only = {"prototypes": 0.3, "neighbours": 1.0, "label_vectors": 4.0}
    mixture = _mixture(tried=tried)
    assert mixture.temperatures_ == only
    assert mixture.fit(evidence, truth, propensities=np.ones(12)).temperatures_ == only


def test_state_is_plain_numbers():
    mixture = _mixture({"neighbours": 0.1})
    again = Mixture.from_state(mixture.state_dict())
    assert again.state_dict() == mixture.state_dict()
    assert again.state_dict()["score"] is None


def test_neighbours_vote_by_the_softmax_of_their_cosines():
    Y = sp.csr_array(np.array([[1, 0, 1], [0, 1, 0], [1, 0, 0]], dtype=np.float32))
    indices, scores = np.array([[0, 1, 2], [1, -1, -1]]), np.array([[0.9, 0.8, 0.5], [0.7, 0, 0]])
    scores = np.where(indices >= 0, scores, -np.inf).astype(np.float32)
    labels, votes = neighbour_labels(indices, scores, Y, 3, temperature=0.1)
    weights = np.exp(np.array([0.9, 0.8, 0.5]) / 0.1)
    weights /= weights.sum()
    assert labels.tolist() == [[0, 2, 1], [1, -1, -1]]
    expected = np.log([weights[0] + weights[2], weights[0], weights[1]])
    np.testing.assert_allclose(votes[0], expected, rtol=1e-4)
    assert votes[1, 0] == pytest.approx(0)


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.lists(st.integers(-1, 9), min_size=3, max_size=3), min_size=1, max_size=5),
    st.lists(st.lists(st.integers(-1, 9), min_size=2, max_size=2), min_size=5, max_size=5),
)
def test_joined_candidates_are_the_union(first, second):
    first, second = np.array(first), np.array(second)[: len(first)]
    for row, a, b in zip(join_candidates([first, second]), first, second, strict=True):
        kept = row[row >= 0].tolist()
        assert sorted(kept) == sorted({*a.tolist(), *b.tolist()} - {-1})


def test_threshold_has_the_best_f1():
    rng = np.random.RandomState(0)
    probabilities = rng.rand(200).astype(np.float32)
    right = rng.rand(200) < 0.6 * probabilities
    n_missed = 17

    def f1(threshold):
        given_ = probabilities > threshold
        return 2 * (given_ & right).sum() / (given_.sum() + right.sum() + n_missed)

    chosen = best_threshold(probabilities, right, n_missed)
    assert f1(chosen) == pytest.approx(max(f1(t) for t in [-1, *probabilities - 1e-6]))


def test_untuned_prototypes_join_text_and_documents():
    documents = np.array([[1, 0], [0, 1]], dtype=np.float32)
    labels = np.array([[0, 1], [1, 0], [0, -1]], dtype=np.float32)
    Y = sp.csr_array(np.array([[1, 0, 0], [1, 1, 0]], dtype=np.float32))
    prototypes = untuned_prototypes(documents, labels, Y)
    np.testing.assert_allclose(prototypes[0], np.array([0.5, 1.5]) / np.hypot(0.5, 1.5), rtol=1e-6)
    np.testing.assert_allclose(prototypes[1], np.array([1, 1]) / np.sqrt(2), rtol=1e-6)
    np.testing.assert_array_equal(prototypes[2], labels[2])  # no documents: its text alone
    without = untuned_prototypes(documents, None, Y)
    np.testing.assert_array_equal(without[2], 0)
