"""What predictions mean: documents without labels, probabilities, thresholds, allowed labels."""

import pickle

import numpy as np
import pytest
import scipy.sparse as sp
from rounding import assert_alike
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score
from tiny_models import save_encoder

from skxmc import ViXMLClassifier
from skxmc._ranking._threshold import best_threshold, label_thresholds
from skxmc.metrics import calibration_error, micro_f1, set_report
from skxmc.model_selection import Precision


def groups(seed, n, n_groups=12, n_labels=40, labels_each=3, noise=0.5, d=24):
    """Documents around centres; those of a group have the same labels."""
    rng = np.random.RandomState(seed)
    centres = rng.normal(size=(n_groups, d))
    labels = [rng.choice(n_labels, labels_each, replace=False) for _ in range(n_groups)]
    group = rng.randint(n_groups, size=n)
    Y = np.zeros((n, n_labels), dtype=np.float32)
    for row, number in enumerate(group):
        Y[row, labels[number]] = 1
    X = centres[group] + noise * rng.normal(size=(n, d))
    return X.astype(np.float32), sp.csr_array(Y), group


@pytest.fixture(scope="module")
def half_empty():
    """Half of the groups have no label; and the model fitted on the first 500 documents."""
    X, Y, group = groups(0, 900)
    Y = sp.csr_array(Y.multiply((group % 2 == 0)[:, None]))
    Y.eliminate_zeros()
    clf = ViXMLClassifier("precomputed", random_state=0).fit(X[:500], Y[:500])
    return clf, X[500:], Y[500:], group[500:]


@pytest.fixture(scope="module")
def noisy():
    """Documents whose labels are often wrong, so that probabilities are between 0 and 1."""
    X, Y, _ = groups(1, 1400, noise=0.9)
    rng = np.random.RandomState(7)
    Y = Y.toarray()
    wrong = rng.rand(*Y.shape) < 0.05
    Y[wrong] = 1 - Y[wrong]
    Y = sp.csr_array(Y)
    clf = ViXMLClassifier("precomputed", random_state=0).fit(X[:600], Y[:600])
    return clf, X[600:], Y[600:]


# ------------------------------------------------------------------------ documents without labels


def test_documents_without_labels_get_none(half_empty):
    clf, X, Y, group = half_empty
    found = clf.predict(X)
    given = np.diff(found.indptr)
    assert (given[group % 2 == 1] > 0).mean() < 0.02
    assert micro_f1(Y, found) > 0.97
    best = clf.predict_topk(X, k=1)[1][:, 0]
    assert best[group % 2 == 1].max() < best[group % 2 == 0].mean()


def test_documents_without_labels_are_counted(half_empty):
    clf, *_ = half_empty
    *_, group = groups(0, 900)
    assert clf.ranker_.n_empty_ == np.count_nonzero(group[:500] % 2)


@pytest.mark.parametrize("balance", [0.0, 1.0])
def test_one_column_is_as_good_as_a_logistic_regression(balance, rng):
    X = rng.normal(size=(2100, 16))
    X /= np.linalg.norm(X, axis=1, keepdims=True)
    y = 4 * X[:, 0] + 0.5 * rng.normal(size=2100) > balance
    linear = LogisticRegression(C=10).fit(X[:600], y[:600])
    clf = ViXMLClassifier("precomputed", random_state=0).fit(X[:600], y[:600, None].astype(int))
    found = clf.predict(X[600:]).toarray()[:, 0]
    expected = f1_score(y[600:], linear.predict(X[600:]))
    assert f1_score(y[600:], found) > expected - 0.03


# ---------------------------------------------------------------------------- number of labels, k


@pytest.mark.parametrize("n_each", [1, 3, 10, 20, 40])
def test_as_many_labels_as_documents_have(n_each):
    X, Y, _ = groups(2, 300, n_labels=6 * n_each + 6, labels_each=n_each, noise=0.2)
    clf = ViXMLClassifier("precomputed", random_state=0).fit(X[:150], Y[:150])
    assert micro_f1(Y[150:], clf.predict(X[150:])) > 0.97


def test_ranks_and_probabilities_do_not_depend_on_k(noisy):
    clf, X, _ = noisy
    n_labels = len(clf.classes_)
    labels, probabilities = clf.predict_topk(X, k=n_labels)
    assert (np.sort(labels, axis=1) == np.arange(n_labels)).all()  # every label has a rank
    assert (np.diff(probabilities, axis=1) <= 0).all()
    for k in (1, 2, 7, 30):
        some, values = clf.predict_topk(X, k=k)
        np.testing.assert_array_equal(some, labels[:, :k])
        np.testing.assert_array_equal(values, probabilities[:, :k])


def test_more_labels_than_a_kind_proposes(rng):
    """Beyond the shortlist of the evidence ranks go on, to the last label."""
    X, Y, _ = groups(3, 400, n_labels=600, labels_each=12)
    clf = ViXMLClassifier("precomputed", random_state=0).fit(X, Y)
    labels, probabilities = clf.predict_topk(X[:20], k=600)
    assert (np.sort(labels, axis=1) == np.arange(600)).all()
    assert (np.diff(probabilities, axis=1) <= 0).all()
    first, values = clf.predict_topk(X[:20], k=10)
    np.testing.assert_array_equal(first, labels[:, :10])
    np.testing.assert_array_equal(values, probabilities[:, :10])


def test_the_bound_on_labels_warns_when_it_cuts(half_empty):
    clf, X, *_ = half_empty
    with pytest.warns(UserWarning, match="max_labels"):
        found = clf.predict(X, max_labels=1)
    assert np.diff(found.indptr).max() == 1


# ----------------------------------------------------------------------------------- probabilities


def test_probabilities_are_calibrated(noisy):
    clf, X, Y = noisy
    assert calibration_error(Y, clf.predict_topk(X, k=10)) < 0.05
    assert calibration_error(Y, clf.predict_proba(X)) < 0.02


def test_probabilities_of_few_documents():
    X, Y, _ = groups(4, 1000, noise=1.2)
    clf = ViXMLClassifier("precomputed", random_state=0).fit(X[:300], Y[:300])
    assert clf.ranker_.calibrator_.n_documents_ == 300  # every document is held out once
    assert calibration_error(Y[300:], clf.predict_topk(X[300:], k=10)) < 0.05


def test_all_methods_have_the_same_probabilities(noisy):
    clf, X, _ = noisy
    X = X[:50]
    labels, probabilities = clf.predict_topk(X, k=6)
    stored = clf.predict_proba(X)
    assert stored.dtype == np.float32
    rows = np.arange(len(X))[:, None]
    np.testing.assert_array_equal(stored[rows, labels].toarray(), probabilities)
    names = clf.classes_[[5, 2, 9]].tolist()
    dense = clf.predict_proba(X, labels=names)
    assert dense.shape == (50, 3)
    everything = clf.predict_topk(X, k=len(clf.classes_))
    for column, label in enumerate((5, 2, 9)):
        place = np.argmax(everything[0] == label, axis=1)
        np.testing.assert_allclose(
            dense[:, column], everything[1][rows[:, 0], place], rtol=1e-5, atol=1e-7
        )
    np.testing.assert_array_equal(clf.decision_function(X) > 0, clf.predict(X).toarray() > 0)


def test_probabilities_of_unknown_labels(noisy):
    clf, X, _ = noisy
    with pytest.raises(ValueError, match=r"labels holds 1 names .* 'x'"):
        clf.predict_proba(X[:2], labels=[clf.classes_[0], "x"])


# -------------------------------------------------------------------------------------- thresholds


def test_the_threshold_has_nearly_the_best_f1(noisy):
    clf, X, Y = noisy
    scores = clf.predict_proba(X)

    def f1(threshold):
        given = scores.copy()
        given.data = (given.data > threshold).astype(np.float32)
        given.eliminate_zeros()
        return micro_f1(Y, given)

    best = max(f1(threshold) for threshold in np.linspace(0.05, 0.95, 37))
    assert micro_f1(Y, clf.predict(X)) > best - 0.01


@pytest.fixture(scope="module")
def per_label():
    X, Y, _ = groups(5, 900, noise=0.9)
    return ViXMLClassifier("precomputed", threshold="per-label", random_state=0).fit(X, Y), X


def test_every_label_has_a_threshold(per_label, tmp_path):
    clf, X = per_label
    assert clf.threshold_.shape == (40,)
    assert len(np.unique(clf.threshold_)) > 5
    labels, probabilities = clf.predict_topk(X[:50], k=40)
    expected = np.zeros((50, 40), dtype=bool)
    given = probabilities > clf.threshold_[labels]
    expected[np.nonzero(given)[0], labels[given]] = True
    np.testing.assert_array_equal(clf.predict(X[:50]).toarray() > 0, expected)
    np.testing.assert_array_equal(clf.decision_function(X[:50]) > 0, expected)
    clf.save(tmp_path / "model")
    for other in (ViXMLClassifier.load(tmp_path / "model"), pickle.loads(pickle.dumps(clf))):
        np.testing.assert_array_equal(other.threshold_, clf.threshold_)
        assert_alike(other.predict_topk(X[:50]), clf.predict_topk(X[:50]))


def test_labels_that_nothing_is_known_of_have_the_common_threshold(rng):
    labels = np.tile(np.arange(3), (60, 1))
    probabilities = rng.rand(60, 3).astype(np.float32)
    right = rng.rand(60, 3) < probabilities
    common = best_threshold(probabilities.ravel(), right.ravel())
    found = label_thresholds(labels, probabilities, right, common, 6)
    assert found.shape == (6,)
    np.testing.assert_array_equal(found[3:], np.float32(common))
    assert (found[:3] != np.float32(common)).any()


def test_a_wanted_precision_is_kept():
    X, Y, _ = groups(6, 2400, noise=1.6)
    strict, usual = (
        ViXMLClassifier("precomputed", threshold=threshold, random_state=0).fit(X[:800], Y[:800])
        for threshold in (Precision(0.9), "auto")
    )
    report, other = (set_report(Y[800:], model.predict(X[800:])) for model in (strict, usual))
    assert other["micro_precision"] < 0.88 <= report["micro_precision"]
    assert 0.2 < report["micro_recall"] < other["micro_recall"]


def test_a_precision_that_cannot_be_shown_gives_nothing(rng):
    X = rng.normal(size=(200, 8)).astype(np.float32)
    Y = sp.csr_array((rng.rand(200, 6) < 0.2).astype(np.float32))  # nothing to do with X
    clf = ViXMLClassifier("precomputed", threshold=Precision(0.95), random_state=0)
    with pytest.warns(UserWarning, match="precision of 0.95"):
        clf.fit(X, Y)
    assert clf.predict(X).nnz == 0


@pytest.mark.parametrize("threshold", ["label", 1.5, -0.1, Precision(1.2), Precision(0.9, 0.2)])
def test_bad_thresholds(threshold, noisy):
    _, X, Y = noisy
    with pytest.raises((TypeError, ValueError), match=r"threshold|target|confidence"):
        ViXMLClassifier("precomputed", threshold=threshold).fit(X, Y)


# ---------------------------------------------------------------------------------- allowed labels


def test_only_allowed_labels_come_back_and_all_of_them(noisy):
    clf, X, _ = noisy
    everything, _ = clf.predict_topk(X[:40], k=40)
    allowed = [3, 17, 30, 8]
    names = clf.classes_[allowed].tolist()
    mask = np.isin(np.arange(40), allowed)
    matrix = sp.csr_array(np.tile(mask, (40, 1)))
    results = [clf.predict_topk(X[:40], k=4, only=only) for only in (names, mask, matrix)]
    for labels, probabilities in results:
        assert (np.sort(labels, axis=1) == np.sort(allowed)).all()
        assert np.isfinite(probabilities).all()
        np.testing.assert_array_equal(labels, results[0][0])
    few, _ = clf.predict_topk(X[:40], k=6, only=names)
    assert (few[:, 4:] == -1).all()
    # Labels that stand first anyway stay in their order.
    same = everything[:, 0] == results[0][0][:, 0]
    assert same[np.isin(everything[:, 0], allowed)].all()


def test_each_document_has_its_own_allowed_labels(noisy, rng):
    clf, X, _ = noisy
    allowed = rng.rand(40, 40) < 0.2
    labels, _ = clf.predict_topk(X[:40], k=40, only=sp.csr_array(allowed))
    for row, own in enumerate(labels):
        assert sorted(own[own >= 0]) == np.flatnonzero(allowed[row]).tolist()


def test_excluded_labels_leave_room_for_others(noisy):
    clf, X, _ = noisy
    for n_left in (1, 5):
        kept = np.arange(n_left) * 7
        exclude = np.ones((30, 40), dtype=bool)
        exclude[:, kept] = False
        labels, _ = clf.predict_topk(X[:30], k=n_left, exclude=sp.csr_array(exclude))
        assert (np.sort(labels, axis=1) == kept).all()
    none = clf.predict(X[:30], exclude=sp.csr_array(np.ones((30, 40), dtype=bool)))
    assert none.nnz == 0


def test_allowed_labels_that_do_not_exist(noisy):
    clf, X, _ = noisy
    with pytest.raises(ValueError, match=r"only\[1\] is 'nothing'"):
        clf.predict_topk(X[:2], only=[clf.classes_[0], "nothing"])
    with pytest.raises(ValueError, match="mask of length 3 for 40 labels"):
        clf.predict(X[:2], exclude=np.array([True, False, True]))


def test_added_labels_have_a_threshold_too(tmp_path):
    names = ["red", "green", "blue", "grey"]
    texts = [f"{name} thing {number}" for number in range(15) for name in names]
    clf = ViXMLClassifier(
        save_encoder(tmp_path / "encoder"),
        train_encoder="frozen",
        threshold="per-label",
        random_state=0,
    )
    clf.fit(texts, [[name] for name in names * 15]).add_labels(["pink", "brown"])
    assert clf.threshold_.shape == (6,)
    assert clf.predict(["pink thing"]).shape == (1, 6)


def test_labels_that_are_never_given(noisy):
    clf, X, _ = noisy
    never = clf.classes_[[1, 2, 3]].tolist()
    mask = np.isin(np.arange(40), [1, 2, 3])
    pairs = np.array([[0, 5], [1, 6]])
    labels, _ = clf.predict_topk(X[:2], k=40, exclude=pairs, exclude_labels=never)
    assert [sorted(set(range(40)) - set(row)) for row in labels.tolist()] == [
        [1, 2, 3, 5],
        [1, 2, 3, 6],
    ]
    same, _ = clf.predict_topk(X[:2], k=40, exclude=pairs, exclude_labels=mask)
    np.testing.assert_array_equal(same, labels)
    few, _ = clf.predict_topk(X[:2], k=40, only=clf.classes_[[3, 4]].tolist(), exclude_labels=never)
    assert [row[row >= 0].tolist() for row in few] == [[4], [4]]
    assert clf.predict(X, exclude_labels=never)[:, [1, 2, 3]].nnz == 0
    assert clf.predict_proba(X, exclude_labels=never)[:, [1, 2, 3]].nnz == 0
    dense = clf.decision_function(X[:2], exclude_labels=never) + np.float32(clf.threshold_)
    assert (np.abs(dense[:, [1, 2, 3]]) < 1e-6).all()
    with pytest.raises(TypeError, match="exclude_labels is for all documents"):
        clf.predict(X[:2], exclude_labels=pairs)
