"""Embeddings, pictures and words side by side, where prototypes are compared with documents."""

import numpy as np
import pytest
import scipy.sparse as sp

from skxmc import ViXMLClassifier
from skxmc._features import PICTURE_SCALE, Features, unit_rows
from skxmc._prototype_space import WORDS_SCALE, PrototypeSpace

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
    space = PrototypeSpace(pictures=pictures, n_words=N_WORDS if words else 0, seed=1)
    vectors = space.prototypes(labels.embeddings, documents, Y, labels)
    counts = np.maximum(Y.sum(axis=0), 1)[:, None]
    expected, total = documents.embeddings @ labels.embeddings.T, 1.0
    if pictures:
        own = Y.T @ documents.images / counts + labels.images
        expected = expected + PICTURE_SCALE * documents.images @ unit_rows(own).T
        total += PICTURE_SCALE**2
    if words:
        project = space._projection.transform
        x = unit_rows(project(documents.sparse))
        own = Y.T @ x / counts + unit_rows(project(labels.sparse))
        expected = expected + WORDS_SCALE**2 * x @ unit_rows(own).T
        total += WORDS_SCALE**2
    np.testing.assert_allclose(space.documents(documents) @ vectors.T, expected / total, atol=1e-5)


def test_labels_without_texts_have_the_pictures_of_their_documents():
    rng = np.random.default_rng(0)
    documents = features(rng, 3, words=False)
    space = PrototypeSpace(pictures=True)
    Y = sp.csr_array(np.array([[1, 0], [1, 0], [0, 0]], dtype=np.float32))
    vectors = space.prototypes(np.eye(2, 8, dtype=np.float32), documents, Y, None)
    length = np.sqrt(1 + PICTURE_SCALE**2)
    mean = unit_rows(documents.images[:2].mean(axis=0, keepdims=True))[0]
    np.testing.assert_allclose(vectors[0, 8:] * length, PICTURE_SCALE * mean, atol=1e-6)
    assert not vectors[1, 8:].any()


def test_a_space_of_embeddings_alone_leaves_them():
    rng = np.random.default_rng(0)
    documents = features(rng, 3)
    np.testing.assert_array_equal(PrototypeSpace().documents(documents), documents.embeddings)


def test_same_parameters_same_space():
    documents = features(np.random.default_rng(0), 3)
    space = PrototypeSpace(pictures=True, n_words=N_WORDS, seed=5)
    again = PrototypeSpace(**space.state_dict())
    np.testing.assert_array_equal(space.documents(documents), again.documents(documents))
    other = PrototypeSpace(pictures=True, n_words=N_WORDS, seed=6)
    assert (other.documents(documents) != space.documents(documents)).any()


def test_untuned_prototypes_see_pictures():
    """Embeddings say nothing here; the label's pictures, those of its documents, do."""
    rng = np.random.RandomState(0)
    kinds = np.arange(40) % 4
    X = np.ones((40, 6), dtype=np.float32)
    images = (np.eye(4)[kinds] + 0.05 * rng.normal(size=(40, 4))).astype(np.float32)
    clf = ViXMLClassifier(
        "precomputed", refine_labels=False, retrieval_augmentation=0, random_state=0
    )
    clf.fit(X, np.eye(4)[kinds], images=images)
    found, _ = clf.predict_topk(X, k=1, images=images)
    np.testing.assert_array_equal(found[:, 0], kinds)
