"""Embeddings, pictures and words side by side, where prototypes are compared with documents."""

import numpy as np
import pytest
import scipy.sparse as sp

from skxmc import ViXMLClassifier
from skxmc._features._blocks import Features, unit_rows
from skxmc._features._joint_space import WORDS_SCALE, JointSpace
from skxmc._features._whitening import PICTURE_SCALE
from skxmc._ranking._ranker import Ranker, RankingOptions, TrainingSet
from skxmc.evidence import Neighbours, Prototypes, Setting

N_WORDS = 300


def features(rng, n, *, pictures=True, words=True):
    sparse = sp.random_array((n, N_WORDS), density=0.05, rng=rng, dtype=np.float32, format="csr")
    images = PICTURE_SCALE * unit_rows(rng.normal(size=(n, 5)).astype(np.float32))
    return Features(
        unit_rows(rng.normal(size=(n, 8)).astype(np.float32)),
        images if pictures else None,
        sp.csr_array(sparse) if words else None,
    )


@pytest.mark.parametrize("pictures", [True, False])
@pytest.mark.parametrize("words", [True, False])
def test_inner_products_are_weighted_sums_of_cosines(pictures, words):
    rng = np.random.default_rng(0)
    documents = features(rng, 6, pictures=pictures, words=words)
    labels = features(rng, 4, pictures=pictures, words=words)
    Y = sp.csr_array((rng.random((6, 4)) < 0.4).astype(np.float32))
    space = JointSpace(pictures=pictures, n_words=N_WORDS if words else 0, seed=1)
    vectors = space.prototypes(labels.text, documents, Y, labels)
    counts = np.maximum(Y.sum(axis=0), 1)[:, None]
    expected, total = documents.text @ labels.text.T, 1.0
    if pictures:
        own = Y.T @ documents.pictures / counts + labels.pictures
        expected = expected + PICTURE_SCALE * documents.pictures @ unit_rows(own).T
        total += PICTURE_SCALE**2
    if words:
        project = space._projection.transform
        x = unit_rows(project(documents.words))
        own = Y.T @ x / counts + unit_rows(project(labels.words))
        expected = expected + WORDS_SCALE**2 * x @ unit_rows(own).T
        total += WORDS_SCALE**2
    np.testing.assert_allclose(space.documents(documents) @ vectors.T, expected / total, atol=1e-5)


def test_labels_without_texts_have_the_pictures_of_their_documents():
    rng = np.random.default_rng(0)
    documents = features(rng, 3, words=False)
    space = JointSpace(pictures=True)
    Y = sp.csr_array(np.array([[1, 0], [1, 0], [0, 0]], dtype=np.float32))
    vectors = space.prototypes(np.eye(2, 8, dtype=np.float32), documents, Y, None)
    length = np.sqrt(1 + PICTURE_SCALE**2)
    mean = unit_rows(documents.pictures[:2].mean(axis=0, keepdims=True))[0]
    np.testing.assert_allclose(vectors[0, 8:] * length, PICTURE_SCALE * mean, atol=1e-6)
    assert not vectors[1, 8:].any()


def test_a_space_of_embeddings_alone_leaves_them():
    rng = np.random.default_rng(0)
    documents = features(rng, 3)
    np.testing.assert_array_equal(JointSpace().documents(documents), documents.text)


@pytest.mark.parametrize("words_dimension", [8, 512])
def test_same_parameters_same_space(words_dimension):
    documents = features(np.random.default_rng(0), 3)
    space = JointSpace(pictures=True, n_words=N_WORDS, seed=5, words_dimension=words_dimension)
    assert space.documents(documents).shape[1] >= words_dimension
    again = JointSpace(**space.state_dict())
    np.testing.assert_array_equal(space.documents(documents), again.documents(documents))
    other = JointSpace(pictures=True, n_words=N_WORDS, seed=6, words_dimension=words_dimension)
    assert (other.documents(documents) != space.documents(documents)).any()


def test_untuned_prototypes_see_pictures():
    """Embeddings say nothing here; the label's pictures, those of its documents, do."""
    rng = np.random.RandomState(0)
    kinds = np.arange(40) % 4
    X = np.ones((40, 6), dtype=np.float32)
    images = (np.eye(4)[kinds] + 0.05 * rng.normal(size=(40, 4))).astype(np.float32)
    clf = ViXMLClassifier("precomputed", evidence=["prototypes"], random_state=0)
    clf.fit(X, np.eye(4)[kinds], images=images)
    found, _ = clf.predict_topk(X, k=1, images=images)
    np.testing.assert_array_equal(found[:, 0], kinds)


@pytest.mark.parametrize("joined", [True, False])
def test_neighbours_of_an_untuned_encoder_share_words(joined):
    """Embeddings are all alike: only words know which documents belong together."""
    kinds = np.arange(12) % 3
    words = sp.csr_array(np.repeat(np.eye(3, dtype=np.float32), 4, axis=1)[kinds])
    documents = Features(np.ones((12, 8), dtype=np.float32) / np.sqrt(8), None, unit(words))
    Y = sp.csr_array(np.eye(3, dtype=np.float32)[kinds])
    data = TrainingSet(
        documents,
        Y,
        rows=np.arange(12),
        labels=None,
        make_prototypes=lambda known, centroids: None,
        exclude=None,
        folds=[],
    )
    evidence = [Prototypes(), Neighbours(n_neighbors=4)]
    ranker = Ranker(evidence, Setting(tuned=not joined), RankingOptions())
    ranker.fit(data, np.random.RandomState(0))
    assert list(ranker.evidence_) == ["neighbours"]
    found, _ = ranker.predict(documents, k=1)
    assert (found[:, 0] == kinds).all() == joined


def unit(rows):
    return sp.csr_array(rows / np.sqrt(rows.power(2).sum(axis=1))[:, None])
