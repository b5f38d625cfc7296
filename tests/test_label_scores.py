"""Scores by label vectors: integers find the same labels, and may be all that is kept."""

import numpy as np
import pytest
import scipy.sparse as sp

from skxmc import ViXMLClassifier
from skxmc._features._blocks import Features
from skxmc._runtime._device import has_fast_int8_cpu
from skxmc.evidence import LabelVectors, Neighbours, Prototypes, _label_scores, _label_vectors
from skxmc.evidence._label_scores import LabelScores
from skxmc.evidence._linear_model import LinearModel
from skxmc.indexes._integers import quantize

N_LABELS, WIDTH = 2000, 48


@pytest.fixture
def small(monkeypatch):
    """Sizes above which integers are used, patched down."""
    monkeypatch.setattr(_label_scores, "_MANY", 1)


@pytest.fixture
def vectors(rng):
    return rng.randn(N_LABELS, WIDTH).astype(np.float32)


def _best(x, vectors, k):
    scores = x @ vectors.T
    order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    return order, np.take_along_axis(scores, order, axis=1)


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("n", [1, 70])
@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_the_best_labels_are_found(rng, vectors, n, dtype, monkeypatch):
    monkeypatch.setattr(_label_scores, "_INTEGER_BLOCK", 30 * N_LABELS)  # a few documents at once
    vectors = vectors.astype(dtype)
    x = rng.randn(n, WIDTH).astype(np.float32)
    scores = LabelScores(vectors, None, "cpu")
    expected = _best(x, vectors.astype(np.float32), 10)
    for _ in range(2):  # a single document is not waited for the first time
        found = scores.best(x, 10)
        np.testing.assert_array_equal(found[0], expected[0])
        np.testing.assert_allclose(found[1], expected[1], rtol=1e-5, atol=1e-4)
        assert (found[0].dtype, found[1].dtype) == (np.int64, np.float32)
    assert (scores._integers is not None) == has_fast_int8_cpu()


@pytest.mark.usefixtures("small")
def test_a_document_that_comes_first_does_not_wait_for_integers(rng, vectors):
    scores = LabelScores(vectors, None, "cpu")
    x = rng.randn(3, WIDTH).astype(np.float32)
    scores.best(x[:1], 5)
    assert scores._integers is None
    scores.best(x, 5)
    assert (scores._integers is not None) == has_fast_int8_cpu()


def test_few_labels_are_compared_one_by_one(rng, vectors):
    scores = LabelScores(vectors, None, "cpu")
    x = rng.randn(4, WIDTH).astype(np.float32)
    np.testing.assert_array_equal(scores.best(x, 1500)[0], _best(x, vectors, 1500)[0])
    assert scores._integers is None


def test_given_labels(rng, vectors):
    labels = rng.randint(N_LABELS, size=(5, 7))
    labels[2, 3:] = -1
    x = rng.randn(5, WIDTH).astype(np.float32)
    for stored, scales in (vectors, None), quantize(vectors)[:2]:
        scores = LabelScores(stored, scales, "cpu")
        found, values = scores.given(x, labels)
        np.testing.assert_array_equal(found, labels)
        expected = np.einsum("nmd,nd->nm", scores.rows(np.maximum(labels, 0)), x)
        there = labels >= 0
        np.testing.assert_allclose(values[there], expected[there], rtol=1e-4, atol=1e-4)


# -- eight bits -------------------------------------------------------------------------------


def _problem(rng):
    labels = rng.randn(60, 24).astype(np.float32)
    labels /= np.linalg.norm(labels, axis=1, keepdims=True)
    own = rng.randint(60, size=400)
    x = labels[own] + 0.1 * rng.randn(400, 24).astype(np.float32)
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    return x.astype(np.float32), sp.csr_array(np.eye(60, dtype=np.float32)[own]), labels


def test_eight_bits_score_nearly_the_same(rng):
    x, Y, labels = _problem(rng)
    plain, short = (
        LinearModel(epochs=5, random_state=0, bits=bits).fit([x], Y, labels=Features(labels))
        for bits in (None, 8)
    )
    assert short.weights_.dtype == np.int8
    assert short.weights_.nbytes < 0.3 * plain.weights_.nbytes
    np.testing.assert_allclose(short.vectors(), plain.vectors(), atol=0.03)
    found, expected = short.decision([x], k=5), plain.decision([x], k=5)
    assert np.mean(found[0][:, 0] == expected[0][:, 0]) > 0.97
    np.testing.assert_allclose(found[1], expected[1], atol=0.1)
    again = LinearModel.from_state(short.state_dict())
    np.testing.assert_array_equal(again.decision([x], k=5)[1], found[1])
    for model in (short, again):
        model.average([plain.vectors()])
        model.add_labels(Features(labels[:2]))
        assert (model.weights_.dtype, model.weights_.shape[0]) == (np.int8, 62)
        np.testing.assert_allclose(model.vectors()[60:], labels[:2], atol=0.01)


@pytest.mark.parametrize("precomputed_none", [False, True])
def test_models_keep_eight_bits(rng, tmp_path, precomputed_none):
    x, Y, _ = _problem(rng)
    if precomputed_none:
        Y = Y.tolil()
        Y[:30] = 0
        Y = sp.csr_array(Y)
    kinds = [Prototypes(), Neighbours(), LabelVectors(bits=8, epochs=2)]
    clf = ViXMLClassifier("precomputed", evidence=kinds, random_state=0).fit(x, Y)
    model = clf.evidence_["label_vectors"].model_
    assert model.weights_.dtype == np.int8
    assert (clf.evidence_["label_vectors"].none_ is not None) == precomputed_none
    clf.save(tmp_path / "model")
    again = ViXMLClassifier.load(tmp_path / "model")
    assert again.evidence_["label_vectors"].model_.weights_.dtype == np.int8
    np.testing.assert_array_equal(again.predict_topk(x, k=3)[0], clf.predict_topk(x, k=3)[0])
    again.partial_fit(x[:20], Y[:20])
    again.remove_labels(again.classes_[:2])
    weights = again.evidence_["label_vectors"].model_.weights_
    assert (weights.dtype, len(weights)) == (np.int8, 58)
    assert np.isfinite(again.predict_topk(x, k=3)[1]).all()


# -- hard negatives ---------------------------------------------------------------------------


@pytest.mark.parametrize(("given", "expected"), [("auto", 4), (3, 3), (0, None)])
def test_hard_negatives_where_labels_are_very_many(rng, monkeypatch, given, expected):
    monkeypatch.setattr(_label_vectors, "FEW_LABELS", 50)
    asked = []
    propose = Prototypes.propose

    def counted(self, documents, k):
        asked.append(k)
        return propose(self, documents, k)

    x, Y, _ = _problem(rng)
    monkeypatch.setattr(Prototypes, "propose", counted)
    kinds = [Prototypes(), LabelVectors(hard_negatives=given, max_labels=20, epochs=2)]
    ViXMLClassifier("precomputed", evidence=kinds, validation=None, random_state=0).fit(x, Y)
    assert set(asked) & {3, 4} == (set() if expected is None else {expected})
