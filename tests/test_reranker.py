"""Re-ranking by a network over all evidence."""

import numpy as np
import pytest
import scipy.sparse as sp
from rounding import assert_alike
from scipy.special import expit, logit
from sklearn.neural_network import MLPClassifier

from skxmc import ViXMLClassifier
from skxmc._ranking._mixture import MixedKind, Mixture, best_candidates
from skxmc._ranking._reranker import N_CANDIDATES, N_NETWORKS, SHARE, Reranker, _best, _describe
from skxmc.evidence import LabelVectors, Neighbours, Prototypes
from skxmc.metrics import precision_at_k

N_LABELS = 60
HALF = N_LABELS // 2


def _mixture():
    """Of the kinds that the problems below have."""
    return Mixture(
        [
            MixedKind(kind.name, kind.default_weight, kind.default_temperature, kind.temperatures)
            for kind in (Prototypes, Neighbours)
        ]
    )


def _problem(seed, n=600, m=45):
    """One kind of evidence knows frequent labels, the other rare ones; -1 pads some rows."""
    rng = np.random.RandomState(seed)
    counts = np.where(np.arange(N_LABELS) < HALF, 200, 2)
    truth = rng.randint(N_LABELS, size=n)
    evidence = {}
    for name, knows in (("prototypes", counts[truth] < 10), ("neighbours", counts[truth] > 10)):
        labels = np.stack([rng.permutation(N_LABELS)[:m] for _ in range(n)])
        # A kind is as sure where it is wrong, but wrong about labels that it knows nothing of.
        wrong = rng.randint(HALF, size=n) + (HALF if name == "neighbours" else 0)
        labels[:, 0] = np.where(knows, truth, wrong)
        for row in labels:
            row[1:][row[1:] == row[0]] = -1
        scores = rng.randn(n, m).astype(np.float32)
        scores[:, 0] = 5
        scores[labels < 0] = -np.inf
        evidence[name] = (labels.astype(np.int64), scores)
    Y = sp.csr_array((np.ones(n, np.float32), (np.arange(n), truth)), shape=(n, N_LABELS))
    return evidence, Y, counts


@pytest.fixture(scope="module")
def fitted():
    evidence, Y, counts = _problem(0)
    mixture = _mixture().fit(evidence, Y, propensities=np.ones(N_LABELS))
    return mixture, Reranker(random_state=0).fit(mixture.candidates(evidence), Y, counts)


def test_it_learns_when_a_kind_of_evidence_is_to_be_trusted(fitted):
    mixture, reranker = fitted
    evidence, Y, counts = _problem(1)
    candidates = mixture.candidates(evidence)
    before = best_candidates(candidates.labels, candidates.mixed, 5)
    after = best_candidates(candidates.labels, reranker.rescore(candidates, counts), 5)
    assert precision_at_k(Y, before, k=1) < 0.75
    assert precision_at_k(Y, after, k=1) > 0.95


def test_counts_do_not_tell_the_labels_of_held_out_documents(monkeypatch):
    """Every label has two documents: with counts of the others it would be those with one."""
    rng = np.random.RandomState(0)
    centres = rng.normal(size=(500, 16)).astype(np.float32)
    Y = sp.csr_array(sp.vstack([sp.eye_array(500)] * 2), dtype=np.float32)
    X = Y @ centres + rng.normal(scale=0.3, size=(1000, 16))
    given = []
    fit = Reranker.fit

    def recorded(self, candidates, truth, counts, pictures=None):
        given.append(counts.copy())
        return fit(self, candidates, truth, counts, pictures)

    monkeypatch.setattr(Reranker, "fit", recorded)
    clf = ViXMLClassifier("precomputed", validation=0.25, random_state=0).fit(X, Y)
    np.testing.assert_array_equal(given, [np.full(500, 2)])
    assert clf.ranker_.reranker_ is not None


def test_scores_are_of_the_network_and_of_the_mixture(fitted):
    mixture, reranker = fitted
    evidence, _, counts = _problem(2, n=40)
    candidates = mixture.candidates(evidence)
    scores = reranker.rescore(candidates, counts)
    assert scores.dtype == np.float32
    assert scores.min() >= 0
    assert scores.max() <= 1
    (first, first_bias), (second, second_bias) = reranker.layers_
    for row in range(len(scores)):
        order = np.argsort(-np.where(candidates.labels[row] < 0, -1, candidates.mixed[row]))
        for rank, column in enumerate(order):
            mixed = candidates.mixed[row, column]
            if rank >= N_CANDIDATES:
                assert scores[row, column] == pytest.approx((1 - SHARE) * mixed)
                continue
            reranked = order[:N_CANDIDATES]
            known = [np.log(mixed + 1e-6)]
            known += [known[0] - np.log(candidates.mixed[row].max() + 1e-6)]
            for kind, values in candidates.scores.items():
                given = np.isfinite(values[row])
                scores_of = np.where(given, values[row], values[row][given].min())
                score, shares = scores_of[column], candidates.shares[kind][row]
                known += [score, score - scores_of[reranked].max(), given[column]]
                known += [np.log(shares[column] + 1e-6), np.log(shares[reranked].max() + 1e-6)]
            known.append(np.log1p(counts[candidates.labels[row, column]]))
            x = (np.array(known) - reranker.mean_) / reranker.scale_
            network = expit(np.maximum(x @ first + first_bias, 0) @ second + second_bias)[0]
            expected = SHARE * network + (1 - SHARE) * mixed
            if candidates.labels[row, column] >= 0:
                assert scores[row, column] == pytest.approx(expected, abs=1e-5)


def test_the_network_is_the_mean_of_those_of_scikit_learn(fitted):
    mixture, reranker = fitted
    evidence, Y, counts = _problem(0)
    candidates = mixture.candidates(evidence)
    columns = _best(candidates)
    labels = np.take_along_axis(candidates.labels, columns, axis=1)
    x = (_describe(candidates, counts, None, columns) - reranker.mean_) / reranker.scale_
    truth = Y.toarray()[np.arange(len(labels))[:, None], labels] > 0
    logits = []
    for seed in np.random.RandomState(0).randint(2**31, size=N_NETWORKS):
        parameters = {"alpha": 0.1, "batch_size": 512, "learning_rate_init": 3e-3, "max_iter": 40}
        model = MLPClassifier((32,), random_state=seed, **parameters)
        model.fit(x[labels >= 0], truth[labels >= 0])
        logits.append(logit(model.predict_proba(x.reshape(-1, x.shape[-1]))[:, 1]))
    expected = expit(np.mean(logits, axis=0)).reshape(labels.shape)
    scores = np.take_along_axis(reranker.rescore(candidates, counts), columns, axis=1)
    mixed = np.take_along_axis(candidates.mixed, columns, axis=1)
    np.testing.assert_allclose(scores - (1 - SHARE) * mixed, SHARE * expected, atol=1e-5)


def test_state_rebuilds_it(fitted):
    mixture, reranker = fitted
    evidence, _, counts = _problem(3, n=20)
    candidates = mixture.candidates(evidence)
    again = Reranker.from_state(reranker.state_dict())
    np.testing.assert_array_equal(
        again.rescore(candidates, counts), reranker.rescore(candidates, counts)
    )


@pytest.mark.parametrize("right", [0.0, 1.0])
def test_nothing_to_tell_apart(right):
    """If no candidate is right, or every one, the order of the mixture stays."""
    evidence, _, counts = _problem(0, n=250, m=20)
    Y = sp.csr_array(np.full((250, N_LABELS), right, dtype=np.float32))
    mixture = _mixture()
    candidates = mixture.candidates(evidence)
    scores = Reranker().fit(candidates, Y, counts).rescore(candidates, counts)
    before = best_candidates(candidates.labels, candidates.mixed, 3)[0]
    after = best_candidates(candidates.labels, scores, 3)[0]
    assert (before == after).mean() > 0.95


def test_pictures_decide_where_the_rest_does_not(fitted):
    """Of two candidates with equal scores the one whose pictures are like the document's."""
    rng = np.random.RandomState(0)
    labels = np.stack([rng.permutation(N_LABELS)[:20] for _ in range(400)]).astype(np.int64)
    evidence = {"prototypes": (labels, np.zeros((400, 20), dtype=np.float32))}
    truth = labels[np.arange(400), rng.randint(20, size=400)]
    Y = sp.csr_array((np.ones(400, np.float32), (np.arange(400), truth)), shape=(400, N_LABELS))

    def pictures_of(rows):
        return lambda asked: (asked == truth[rows][:, None]).astype(np.float32)

    def part(rows):
        return _mixture().candidates({k: (a[rows], b[rows]) for k, (a, b) in evidence.items()})

    seen, unseen = slice(0, 300), slice(300, 400)
    counts = np.ones(N_LABELS)
    reranker = Reranker().fit(part(seen), Y[seen], counts, pictures_of(seen))
    candidates = part(unseen)
    scores = reranker.rescore(candidates, counts, pictures_of(unseen))
    ranked = best_candidates(candidates.labels, scores, 1)[0]
    np.testing.assert_array_equal(ranked[:, 0], truth[unseen])


# -- in the estimator -------------------------------------------------------------------------


@pytest.fixture(scope="module")
def documents():
    rng = np.random.RandomState(0)
    n, n_labels = 2400, 40
    centres = rng.normal(size=(n_labels, 16))
    Y = (rng.rand(n, n_labels) < 0.15 / (1 + np.arange(n_labels) / 4)).astype(np.float32)
    Y[np.arange(n), rng.randint(n_labels, size=n)] = 1
    X = (Y @ centres + 1.5 * rng.normal(size=(n, 16))).astype(np.float32)
    return X, sp.csr_array(Y)


def test_predictions_are_reranked_and_survive_saving(documents, tmp_path):
    X, Y = documents
    clf = ViXMLClassifier("precomputed", random_state=0).fit(X[:2100], Y[:2100])
    reranker = clf.ranker_.reranker_
    assert reranker is not None
    clf.save(tmp_path / "model")
    loaded = ViXMLClassifier.load(tmp_path / "model")
    assert_alike(loaded.predict_topk(X[2100:]), clf.predict_topk(X[2100:]))
    clf.set_params(evidence=[Prototypes(), Neighbours(weight=0.3), LabelVectors()])
    clf.fit(X[:2100], Y[:2100])
    assert clf.ranker_.reranker_ is None  # the share of the neighbours is the one asked for


@pytest.mark.parametrize("index", ["exact", "hnsw"])
def test_pictures_beside_embeddings_are_compared(documents, tmp_path, index):
    """What is right can be seen in the pictures alone, which only some documents have."""
    X, Y = documents
    rng = np.random.RandomState(1)
    images = (Y @ rng.normal(size=(Y.shape[1], 12)) + rng.normal(size=(len(X), 12))).astype("f4")
    images[::5] = np.nan
    noise = rng.normal(size=X.shape).astype(np.float32)
    clf = ViXMLClassifier("precomputed", index=index, random_state=0)
    clf.fit(noise[:2100], Y[:2100], images=images[:2100])
    ranker, features = clf.ranker_, clf._features(noise[2100:], images[2100:])
    compare = ranker._picture_comparison(ranker.documents(features))
    cosines = compare(np.tile(np.arange(Y.shape[1]), (300, 1)))
    right = Y[2100:].toarray() > 0
    assert cosines[right].mean() > cosines[~right].mean() + 0.05
    assert not cosines[::5].any()  # without a picture
    clf.save(tmp_path / "model")
    loaded = ViXMLClassifier.load(tmp_path / "model")
    own, other = (m.predict_topk(noise[2100:], images=images[2100:]) for m in (clf, loaded))
    assert_alike(other, own)


def test_few_held_out_documents_teach_nothing(documents):
    X, Y = documents
    clf = ViXMLClassifier("precomputed", random_state=0).fit(X[:150], Y[:150])
    assert clf.ranker_.reranker_ is None
