"""What the benchmark of training through single tokens is made of."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from tiny_models import tiny_tower

from benchmarks import _token_training, tokens
from skxmc.metrics import (
    label_propensities,
    mrr_at_k,
    precision_at_k,
    psprecision_at_k,
    rp_at_k,
)

TEXTS = ["red apple", "", "green car on a road", "blue dog", "apple"]


@pytest.fixture
def tower():
    return tiny_tower("bert", words="red apple green car on a road blue dog".split())


def unit(n, width):
    return torch.nn.functional.normalize(torch.randn(n, width), dim=1)


# --- scores ---


@pytest.mark.parametrize("tau", [0.05, 0.3])
def test_scores_follow_the_formula_in_the_order_of_the_documents(tower, tau):
    labels = unit(7, tower.dimension)
    [(rows, found)] = _token_training.score_blocks(tower, tower.items(TEXTS), labels, tau)
    assert rows == slice(0, len(TEXTS))
    vectors = tower.encode_tokens(TEXTS)
    for row in range(len(TEXTS)):
        cosines = vectors.of(row) @ labels.numpy().T
        attention = np.exp(cosines / tau)
        attention /= np.maximum(attention.sum(axis=0), 1e-30)
        expected = (attention * cosines).sum(axis=0)
        np.testing.assert_allclose(found["tokens"][row], expected, atol=1e-4)
    cosines = tower.encode(tower.items(TEXTS)) @ labels.numpy().T
    np.testing.assert_allclose(found["cosine"], cosines, atol=1e-4)
    np.testing.assert_allclose(found["both"], (found["cosine"] + found["tokens"]) / 2, atol=1e-5)


def test_scores_do_not_depend_on_how_many_labels_are_compared_at_a_time(monkeypatch):
    runs = [unit(3 * n, 8).view(3, n, 8) for n in (1, 4)]
    labels = unit(9, 8)
    whole = _token_training.token_scores(runs, labels, 0.3)
    monkeypatch.setattr(_token_training, "_COSINES", 24)
    torch.testing.assert_close(_token_training.token_scores(runs, labels, 0.3), whole)


def test_gradients_reach_tokens_and_labels():
    run = unit(4, 6).view(2, 2, 6).double().requires_grad_()
    labels = unit(3, 6).double().requires_grad_()
    assert torch.autograd.gradcheck(
        lambda run, labels: _token_training.token_scores([run], labels, 0.3), (run, labels)
    )


# --- training ---


def test_drawn_labels_are_those_of_the_documents():
    Y = sp.csr_array(np.array([[1, 0, 1], [0, 1, 0], [1, 1, 1]]))
    rows = np.array([2, 1, 0] * 30)
    drawn = _token_training.draw_labels(Y, rows, np.random.default_rng(0))
    assert (Y.toarray()[rows, drawn] == 1).all()
    assert set(drawn[rows == 2]) == {0, 1, 2}


@pytest.mark.parametrize("way", tokens.WAYS)
def test_pairs_that_are_known_do_not_compete(tower, way):
    documents, labels = tower.items(["red apple", "blue dog"]), tower.items(["red", "dog", "car"])
    training = _token_training.PlainTraining(way, 1, 2, 1e-3, 0)
    rows, drawn = np.arange(2), np.array([0, 1])

    def loss(Y, exclude=None):
        pairs = sp.csr_array(np.array(Y)), None if exclude is None else sp.csr_array(exclude)
        return _token_training._loss(tower, documents, labels, rows, drawn, pairs, training).item()

    alone = loss([[1, 1, 0], [1, 1, 0]])
    assert alone == pytest.approx(0, abs=1e-6)
    assert loss([[1, 0, 0], [0, 1, 0]]) > 1e-4
    excluded = np.array([[0, 1, 0], [1, 0, 0]])
    assert loss([[1, 0, 0], [0, 1, 0]], excluded) == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("way", tokens.WAYS)
def test_training_lowers_the_loss(tower, way):
    texts = ["red apple", "blue dog", "green car"] * 4
    Y = sp.csr_array(np.tile(np.eye(3, dtype=np.float32), (4, 1)))
    training = _token_training.PlainTraining(way, 8, 6, 3e-3, 0)
    losses = _token_training.train(tower, texts, ["red", "dog", "car"], Y, None, training)
    assert losses[-1] < 0.5 * losses[0]


# --- figures ---


def test_figures_of_documents_have_the_figures_of_the_data_set_as_means():
    rng = np.random.default_rng(0)
    truth = sp.csr_array((rng.random((40, 30)) < 0.08).astype(np.float32))
    exclude = sp.csr_array((rng.random((40, 30)) < 0.05).astype(np.float32))
    best = tokens.best_labels(rng.random((40, 30), dtype=np.float32), exclude, slice(0, 40))
    assert (exclude.toarray()[np.arange(40)[:, None], best] == 0).all()
    propensities = label_propensities(truth)
    found = tokens.document_figures(truth, best, exclude, propensities)
    expected = [
        precision_at_k(truth, best, k=1, exclude=exclude),
        precision_at_k(truth, best, k=5, exclude=exclude),
        rp_at_k(truth, best, k=5, exclude=exclude),
        mrr_at_k(truth, best, k=10, exclude=exclude),
        psprecision_at_k(truth, best, k=5, exclude=exclude, propensities=propensities),
    ]
    np.testing.assert_allclose(found.mean(axis=0), expected)


def test_errors_are_of_paired_differences():
    before = np.array([0.0, 1.0, 0.0, 1.0])
    found = tokens.paired(before, before + 0.25)
    assert (found["before"], found["gain"], found["error"]) == (0.5, 0.25, 0)
    found = tokens.paired(before, 1 - before)
    assert found["gain"] == 0
    assert found["error"] == pytest.approx(np.sqrt(4 / 3) / 2)
