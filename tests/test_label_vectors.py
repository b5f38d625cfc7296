"""The linear model of label vectors, the loss it is trained by, and sparse text features."""

import json
import pickle

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from sklearn.exceptions import NotFittedError
from torch.utils._python_dispatch import TorchDispatchMode

from skxmc._features import _words as _sparse
from skxmc._features._blocks import Features
from skxmc._features._words import SparseProjection, SparseTextFeatures
from skxmc._runtime import limits
from skxmc._training._label_batches import batch_labels
from skxmc.evidence import _label_scores, _one_vs_all
from skxmc.evidence._linear_model import LinearModel
from skxmc.evidence._one_vs_all import decoupled_softmax

N_LABELS, WIDTH = 12, 8

WORDS = [
    "red apple fruit",
    "green apple tree",
    "blue whale sea",
    "grey whale ocean",
    "c++ compiler",
    "rust compiler",
]


def _unit(vectors):
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


@pytest.fixture
def problem(rng):
    """Documents near the texts of their labels: features, targets, features of labels."""
    labels = _unit(rng.randn(N_LABELS, WIDTH))
    Y = np.zeros((120, N_LABELS), dtype=np.float32)
    Y[np.arange(120), rng.randint(N_LABELS, size=120)] = 1
    Y[rng.rand(*Y.shape) < 0.05] = 1
    documents = _unit(Y @ labels + 0.3 * rng.randn(120, WIDTH))
    return documents, sp.csr_array(Y), labels


def _vectors(**parameters):
    given = {"precision": "float32", "random_state": 0, "batch_size": 32, "epochs": 10}
    given["dropout"] = 0.0
    return LinearModel(**{**given, **parameters})


# -- the loss ---------------------------------------------------------------------------------


def _obvious_loss(scores, Y, weights, exclude):
    """Decoupled softmax by its formula, for automatic differentiation."""
    losses = []
    for row in range(len(Y)):
        negative = (Y[row] == 0) & (exclude[row] == 0)
        for column in np.flatnonzero(Y[row]):
            others = torch.cat([scores[row, column : column + 1], scores[row, negative]])
            losses.append(weights[row] * (torch.logsumexp(others, dim=0) - scores[row, column]))
    return losses


@pytest.mark.parametrize("with_excluded", [False, True])
def test_gradient_is_that_of_the_formula(rng, with_excluded):
    Y = (rng.rand(6, 9) < 0.3).astype(np.float32)
    Y[0] = 0  # a document without positives adds nothing
    exclude = (rng.rand(6, 9) < 0.2) * (1 - Y) * with_excluded
    of_rows = torch.from_numpy(rng.uniform(0.5, 2, 6).astype(np.float32))
    scores = torch.from_numpy(rng.randn(6, 9).astype(np.float32) * 3).requires_grad_()
    losses = _obvious_loss(scores, Y, of_rows, torch.from_numpy(exclude).numpy())
    torch.stack(losses).sum().backward()
    rows, columns = map(torch.from_numpy, np.nonzero(Y))
    excluded = tuple(map(torch.from_numpy, np.nonzero(exclude))) if with_excluded else None
    found, gradient, factors = decoupled_softmax(
        scores.detach().clone(), (rows, columns), of_rows[rows], excluded
    )
    torch.testing.assert_close(gradient * factors[:, None], scores.grad, atol=1e-5, rtol=1e-4)
    unweighted = [
        float(v.detach() / of_rows[row]) for v, row in zip(losses, rows.tolist(), strict=True)
    ]
    np.testing.assert_allclose(found, unweighted, rtol=1e-5, atol=1e-6)


def test_bfloat16_is_near(rng):
    scores = torch.from_numpy(rng.randn(5, 40).astype(np.float32) * 4)
    rows, columns = torch.arange(5), torch.arange(5) * 3
    exact = decoupled_softmax(scores.clone(), (rows, columns), torch.ones(5))
    rough = decoupled_softmax(scores.bfloat16(), (rows, columns), torch.ones(5))
    assert rough[1].dtype == torch.bfloat16
    torch.testing.assert_close(rough[0], exact[0], rtol=0.02, atol=0.02)
    torch.testing.assert_close(rough[1].float(), exact[1], rtol=0.1, atol=0.02)


# -- training ---------------------------------------------------------------------------------


def test_training_ranks_the_labels(problem):
    documents, Y, labels = problem
    vectors = _vectors(epochs=20).fit([documents], Y, labels=Features(labels))
    assert len(vectors.losses_) == 20
    assert vectors.losses_[-1] < vectors.losses_[0]
    indices, scores = vectors.decision([documents], k=3)
    assert (Y.toarray()[np.arange(120), indices[:, 0]] > 0).mean() > 0.9
    expected = vectors.scale * documents @ vectors.weights_.T
    np.testing.assert_allclose(scores, -np.sort(-expected, axis=1)[:, :3], rtol=1e-5, atol=1e-5)


def test_a_label_without_documents_stays_near_its_text(problem):
    documents, Y, labels = problem
    Y = Y.tolil()
    Y[:, 4] = 0
    anchored = _vectors(anchor=1.0).fit([documents], sp.csr_array(Y), labels=Features(labels))
    loose = _vectors(anchor=0.0).fit([documents], sp.csr_array(Y), labels=Features(labels))

    def to_text(vectors):
        return np.linalg.norm(vectors.weights_[4] - labels[4])

    assert to_text(anchored) < to_text(loose)


def test_same_seed_same_vectors(problem):
    documents, Y, labels = problem
    first, second, other = (
        _vectors(random_state=seed).fit([documents], Y, labels=Features(labels)).weights_
        for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(first, second)
    assert not np.array_equal(first, other)


@pytest.mark.parametrize(
    ("max_steps", "n_steps", "n_epochs"), [(1, 1, 1), (6, 6, 2), (999, 40, 10)]
)
def test_bounded_number_of_steps(problem, monkeypatch, max_steps, n_steps, n_epochs):
    documents, Y, labels = problem
    rates = []
    update = _one_vs_all.DecayingAdam.update
    monkeypatch.setattr(
        _one_vs_all.DecayingAdam,
        "update",
        lambda self, gradient, rate, of: rates.append(rate) or update(self, gradient, rate, of),
    )
    vectors = _vectors(max_steps=max_steps).fit([documents], Y, labels=Features(labels))
    assert len(rates) == n_steps  # four batches of 32 an epoch
    assert len(vectors.losses_) == n_epochs
    assert rates[-1] == pytest.approx(vectors.learning_rate / (n_steps + 1))
    assert not np.array_equal(vectors.weights_, labels)


def test_loss_of_a_bounded_run_is_that_of_what_it_saw(problem):
    documents, Y, labels = problem
    whole, part = (
        _vectors(epochs=1, max_steps=n, learning_rate=1e-9).fit(
            [documents], Y, labels=Features(labels)
        )
        for n in (None, 2)
    )
    assert part.losses_[0] == pytest.approx(whole.losses_[0], rel=0.2)


@pytest.mark.parametrize("max_labels", [6, N_LABELS])
def test_excluded_pairs_are_not_pushed_away(problem, max_labels):
    documents, Y, labels = problem
    Y = Y.tolil()
    Y[0] = 0
    Y[0, 1] = 1
    documents[0] = labels[7]  # alike to a label that it does not have
    exclude = sp.lil_array(Y.shape, dtype=np.float32)
    exclude[0, 7] = 1
    scores = [
        _vectors(max_labels=max_labels, random_negatives=20)
        .fit([documents], sp.csr_array(Y), labels=Features(labels), exclude=pairs)
        .decision([documents[:1]], candidates=np.array([[7]]))[1][0, 0]
        for pairs in (None, sp.csr_array(exclude))
    ]
    assert scores[1] > scores[0]


def test_many_labels_use_given_negatives(problem):
    documents, Y, labels = problem
    negatives = np.full((120, 3), -1)
    negatives[:, 0] = np.arange(120) % 4
    vectors = _vectors(max_labels=6, random_negatives=0).fit(
        [documents], Y[:, :10], labels=Features(labels[:10]), negatives=negatives
    )
    indices, _ = vectors.decision([documents], k=1)
    known = Y[:, :10].sum(axis=1) > 0
    right = Y.toarray()[np.arange(120), indices[:, 0]] > 0
    assert right[known].mean() > 0.8


@pytest.mark.parametrize("storage", ["float32", "float16"])
def test_rows_that_all_batches_leave_out_decay_as_others(problem, storage):
    """A label that no step is about ends where decay alone takes it."""
    documents, Y, labels = problem
    Y = Y.tolil()
    Y[:, 5] = 0
    vectors = _vectors(max_labels=6, random_negatives=0, epochs=2, storage=storage).fit(
        [documents], sp.csr_array(Y), labels=Features(labels)
    )
    steps = np.arange(1, 9)  # four batches of 32 an epoch
    rates = 0.02 * np.minimum(steps / 1.0, 1 - steps / 9)
    left = np.prod(1 - rates)
    expected = labels[5] * (left + 0.5 * (1 - left))
    np.testing.assert_allclose(vectors.weights_[5], expected, rtol=1e-2, atol=1e-3)
    direction = vectors.weights_[4] / np.linalg.norm(vectors.weights_[4].astype(np.float32))
    assert direction @ labels[4] < 0.999


def test_drawn_labels_stand_for_all_others():
    """With the correction the sum over drawn labels is right on average, whatever is taken."""
    rng = np.random.RandomState(0)
    scores = rng.randn(200)
    Y = sp.csr_array(np.eye(200, dtype=np.float32)[[3, 70]])
    proposed = np.array([[5, -1], [9, 5]])
    sums, sizes = [], []
    for _ in range(2000):
        labels, log_rates = batch_labels(Y, proposed, 40, rng)
        assert (np.diff(labels) > 0).all()
        assert np.isin([3, 70, 5, 9], labels[log_rates == 0]).all()
        sums.append(np.exp(scores[labels] - log_rates).sum())
        sizes.append(len(labels))
    assert np.mean(sizes) < 45
    assert np.mean(sums) == pytest.approx(np.exp(scores).sum(), rel=0.02)


def test_no_label_is_left_to_draw():
    Y = sp.csr_array(np.ones((1, 3), dtype=np.float32))
    labels, log_rates = batch_labels(Y, None, 10, np.random.RandomState(0))
    np.testing.assert_array_equal(labels, [0, 1, 2])
    np.testing.assert_array_equal(log_rates, 0)


def test_few_drawn_labels_do_about_as_well_as_all(rng):
    labels = _unit(rng.randn(400, 16))
    own = rng.randint(400, size=1500)
    documents = _unit(labels[own] + 0.25 * rng.randn(1500, 16))
    Y = sp.csr_array((np.ones(1000, np.float32), (np.arange(1000), own[:1000])), (1000, 400))
    right = []
    for max_labels in (400, 10):
        vectors = _vectors(max_labels=max_labels, random_negatives=60, batch_size=100).fit(
            [documents[:1000]], Y, labels=Features(labels)
        )
        found = vectors.decision([documents[1000:]], k=1)[0][:, 0]
        right.append(np.mean(found == own[1000:]))
    assert right[1] > right[0] - 0.03


@pytest.mark.parametrize("max_labels", [6, N_LABELS])
def test_a_step_reads_no_number(problem, max_labels):
    """A GPU would have to be waited for: losses are read once an epoch."""
    documents, Y, labels = problem
    read = []

    class Reads(TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            if function is torch.ops.aten._local_scalar_dense.default:
                read.append(function)
            return function(*args, **(kwargs or {}))

    with Reads():
        _vectors(max_labels=max_labels, random_negatives=3, dropout=0.2, epochs=3).fit(
            [documents], Y, labels=Features(labels)
        )
    assert len(read) <= 3


def test_negatives_may_be_asked_for(problem):
    documents, Y, labels = problem
    negatives = np.arange(360).reshape(120, 3) % N_LABELS
    given = {"max_labels": 6, "random_negatives": 2, "batch_size": 50}
    first, second = (
        _vectors(**given).fit([documents], Y, labels=Features(labels), negatives=form)
        for form in (negatives, negatives.astype(np.int32).__getitem__)
    )
    np.testing.assert_array_equal(first.weights_, second.weights_)


@pytest.mark.parametrize("max_labels", [6, 65_536])
def test_short_storage_learns_the_same(problem, max_labels):
    """Sixteen bits a number, with batches of some labels and of all."""
    documents, Y, labels = problem
    plain, short = (
        _vectors(max_labels=max_labels, storage=storage).fit(
            [documents], Y, labels=Features(labels)
        )
        for storage in ("float32", "float16")
    )
    assert short.weights_.dtype == np.float16
    assert plain.weights_.dtype == np.float32
    assert short.losses_[-1] == pytest.approx(plain.losses_[-1], rel=0.02)
    np.testing.assert_allclose(short.weights_, plain.weights_, atol=0.05)
    again = LinearModel.from_state(short.state_dict())
    for candidates in (None, np.tile(np.arange(N_LABELS), (120, 1))):
        found = short.decision([documents], k=3, candidates=candidates)
        assert found[1].dtype == np.float32
        assert (found[0] == plain.decision([documents], k=3)[0]).mean() > 0.95
        np.testing.assert_array_equal(
            found[1], again.decision([documents], k=3, candidates=candidates)[1]
        )
    again.add_labels(Features(labels[:2]))
    assert again.weights_.dtype == np.float16
    assert again.weights_.shape == (N_LABELS + 2, WIDTH)


def test_starts_are_made_in_parts(problem, monkeypatch):
    documents, Y, labels = problem
    sparse = sp.random_array((120, 20), density=0.2, format="csr", dtype=np.float32, rng=0)
    own = Features(labels, None, sparse[:N_LABELS])

    def fit():
        return _vectors(epochs=1).fit([documents], Y, sparse=sparse, labels=own).weights_

    whole = fit()
    monkeypatch.setattr(limits, "ROWS", 5)
    np.testing.assert_array_equal(fit(), whole)


def test_dropout_leaves_features_out_in_training_only(problem):
    documents, Y, labels = problem
    given = {"labels": Features(labels)}
    plain = _vectors().fit([documents], Y, **given)
    dropped = _vectors(dropout=0.5).fit([documents], Y, **given)
    again = _vectors(dropout=0.5).fit([documents], Y, **given)
    assert not np.array_equal(dropped.weights_, plain.weights_)
    np.testing.assert_array_equal(dropped.weights_, again.weights_)
    assert dropped.losses_[-1] > plain.losses_[-1]
    first, second = (dropped.decision([documents], k=3)[1] for _ in range(2))
    np.testing.assert_array_equal(first, second)


def test_interrupt_leaves_what_was_learned(problem, monkeypatch):
    documents, Y, labels = problem
    vectors = _vectors(epochs=5)
    join, calls = vectors._join, []

    def interrupted(*arguments):
        calls.append(arguments)
        if len(calls) == 10:
            raise KeyboardInterrupt
        return join(*arguments)

    monkeypatch.setattr(vectors, "_join", interrupted)
    vectors.fit([documents], Y, labels=Features(labels))
    monkeypatch.undo()
    assert len(vectors.losses_) < 5
    assert not np.array_equal(vectors.weights_, labels)
    assert vectors.decision([documents], k=2)[0].shape == (120, 2)


def test_infinite_features_stop_training(problem):
    documents, Y, labels = problem
    documents[3, 2] = np.inf
    with pytest.raises(FloatingPointError, match="epoch 0"):
        _vectors().fit([documents], Y, labels=Features(labels))


def test_wrong_shapes_are_named(problem):
    documents, Y, labels = problem
    with pytest.raises(ValueError, match=r"blocks\[0\] has 119 rows"):
        _vectors().fit([documents[1:]], Y)
    with pytest.raises(ValueError, match="exclude has 5 rows"):
        _vectors().fit([documents], Y, exclude=Y[:5])
    with pytest.raises(ValueError, match="labels has 3 rows"):
        _vectors().fit([documents], Y, labels=Features(labels[:3]))
    vectors = _vectors(epochs=1).fit([documents], Y)
    with pytest.raises(ValueError, match="widths"):
        vectors.decision([documents[:, 1:]])


# -- scores -----------------------------------------------------------------------------------


def test_candidates_are_scored_as_all_labels_are(problem, rng, monkeypatch):
    documents, Y, labels = problem
    vectors = _vectors(epochs=2).fit([documents], Y, labels=Features(labels))
    dense = vectors.scale * documents @ vectors.weights_.T
    candidates = np.stack([rng.permutation(N_LABELS)[:5] for _ in range(120)])
    candidates[::3, 4] = -1
    monkeypatch.setattr(_label_scores, "_BLOCK", 400)  # a few documents at a time
    indices, scores = vectors.decision([documents], candidates=candidates)
    assert (indices[::3, 4] == -1).all()
    assert np.isneginf(scores[::3, 4]).all()
    for row in range(120):
        kept = indices[row] >= 0
        assert set(indices[row, kept]) == set(candidates[row]) - {-1}
        expected = dense[row, indices[row, kept]]
        np.testing.assert_allclose(scores[row, kept], expected, rtol=1e-4, atol=1e-5)
        assert (np.diff(scores[row, kept]) <= 0).all()
    every, _ = vectors.decision([documents], k=2)
    np.testing.assert_array_equal(every[:, 0], dense.argmax(axis=1))


def test_a_document_alone_has_the_labels_that_it_has_in_a_batch(rng):
    labels, documents = _unit(rng.randn(300, WIDTH)), _unit(rng.randn(20, WIDTH))
    Y = sp.csr_array((rng.rand(20, 300) < 0.02).astype(np.float32))
    vectors = _vectors(epochs=1).fit([documents], Y, labels=Features(labels))

    def compare():
        together = vectors.decision([documents], k=5)
        alone = [vectors.decision([documents[row : row + 1]], k=5) for row in range(20)]
        indices, scores = (np.concatenate(part) for part in zip(*alone, strict=True))
        np.testing.assert_array_equal(indices, together[0])
        np.testing.assert_allclose(scores, together[1], rtol=1e-5, atol=1e-6)

    compare()
    vectors.average(np.zeros_like(vectors.weights_))
    compare()
    vectors.add_labels(Features(_unit(rng.randn(9, WIDTH))))
    compare()


def test_added_labels_are_scored_by_their_text(problem):
    documents, Y, labels = problem
    vectors = _vectors(epochs=1).fit([documents], Y, labels=Features(labels))
    vectors.add_labels(Features(documents[:1]))
    indices, scores = vectors.decision([documents[:1]], candidates=np.array([[N_LABELS]]))
    assert indices[0, 0] == N_LABELS
    assert scores[0, 0] == pytest.approx(vectors.scale, rel=1e-5)


@pytest.mark.parametrize("with_sparse", [False, True])
def test_state_and_pickle_score_the_same(problem, with_sparse, tmp_path):
    documents, Y, _ = problem
    sparse = sp.csr_array(np.abs(documents)) if with_sparse else None
    vectors = _vectors(epochs=2, sparse_dimension=16).fit([documents], Y, sparse=sparse)
    path = tmp_path / "state.npz"
    np.savez(path, **vectors.state_dict())
    expected = vectors.decision([documents], sparse=sparse, k=4)
    copies = [LinearModel.from_state(dict(np.load(path))), pickle.loads(pickle.dumps(vectors))]
    for copy in copies:
        for ours, theirs in zip(
            copy.decision([documents], sparse=sparse, k=4), expected, strict=True
        ):
            np.testing.assert_array_equal(ours, theirs)


def test_memory_mapped_vectors_are_read_without_warning(problem, tmp_path, recwarn):
    documents, Y, labels = problem
    vectors = _vectors(epochs=1).fit([documents], Y, labels=Features(labels))
    np.save(tmp_path / "weights.npy", vectors.weights_)
    expected = vectors.decision([documents], k=3)
    vectors.weights_ = np.load(tmp_path / "weights.npy", mmap_mode="r")
    np.testing.assert_array_equal(vectors.decision([documents], k=3)[0], expected[0])
    assert not recwarn.list


def test_sparse_features_help_where_embeddings_say_nothing(rng):
    words = rng.randint(20, size=150)
    sparse = sp.csr_array((np.ones(150, np.float32), (np.arange(150), words)), shape=(150, 20))
    Y = sp.csr_array((np.ones(150, np.float32), (np.arange(150), words % N_LABELS)))
    noise = _unit(rng.randn(150, WIDTH))
    vectors = _vectors(sparse_dimension=64).fit([noise], Y, sparse=sparse)
    found = vectors.decision([noise], sparse=sparse, k=1)[0][:, 0]
    assert (found == words % N_LABELS).mean() > 0.95


# -- sparse text features ---------------------------------------------------------------------


def test_sparse_text_features_are_made_in_parts(monkeypatch):
    whole = SparseTextFeatures().fit(WORDS).transform(WORDS)
    monkeypatch.setattr(limits, "ROWS", 4)
    parts = SparseTextFeatures().fit(WORDS).transform(WORDS)
    np.testing.assert_array_equal(parts.toarray(), whole.toarray())
    monkeypatch.setattr(_sparse, "_FIT_TEXTS", 3)
    some = SparseTextFeatures().fit(WORDS)  # every second text
    assert some.n_features == SparseTextFeatures().fit(WORDS[::2]).n_features


def test_sparse_text_features_have_unit_norm_and_know_words():
    features = SparseTextFeatures().fit(WORDS)
    matrix = features.transform(WORDS)
    assert matrix.shape == (6, features.n_features)
    assert matrix.dtype == np.float32
    lengths = np.sqrt(np.asarray(matrix.multiply(matrix).sum(axis=1)).ravel())
    np.testing.assert_allclose(lengths, 1, rtol=1e-5)
    alike = (matrix @ matrix.T).toarray()
    assert alike[0, 1] > alike[0, 2]
    assert alike[4, 5] > alike[4, 2]
    assert features.transform([""]).nnz == 0


def test_tf_idf_is_that_of_scikit_learn():
    texts = [*WORDS, "", "unheard-of", "blue blue blue tree", "xylophone red"]
    features = SparseTextFeatures().fit(WORDS)
    parts = [vectorizer.transform(texts).toarray() for vectorizer in features._vectorizers]
    for vectorizer, part in zip(features._vectorizers, parts, strict=True):
        found = _sparse._tf_idf(vectorizer, texts)
        assert found.dtype == np.float32
        np.testing.assert_allclose(found.toarray(), part, rtol=1e-6)
    joined = np.hstack(parts)
    lengths = np.linalg.norm(joined, axis=1, keepdims=True)
    assert (lengths == 0).any()
    np.testing.assert_allclose(
        features.transform(texts).toarray(), joined / np.maximum(lengths, 1e-12), rtol=1e-6
    )


def test_character_ngrams_know_parts_of_words():
    known = (
        SparseTextFeatures(min_df=1).fit(["librarian", "whale"]).transform(["library", "whales"])
    )
    assert known.nnz > 0
    words = SparseTextFeatures(characters=False).fit(["librarian", "whale"])
    assert words.transform(["library", "whales"]).nnz == 0


def test_sparse_text_features_persist_as_json_and_arrays(tmp_path):
    features = SparseTextFeatures(max_words=8, ngram_range=(2, 3)).fit(WORDS)
    state = features.state_dict()
    json.loads(state["parameters"])
    arrays = {name: value for name, value in state.items() if name != "parameters"}
    assert all(isinstance(value, np.ndarray) for value in arrays.values())
    np.savez(tmp_path / "state.npz", **state)
    again = SparseTextFeatures.from_state(dict(np.load(tmp_path / "state.npz")))
    texts = [*WORDS, "a blue c++ tree", "naïve 字"]
    np.testing.assert_array_equal(
        again.transform(texts).toarray(), features.transform(texts).toarray()
    )


def test_sparse_text_features_say_what_is_wrong():
    with pytest.raises(ValueError, match="no word"):
        SparseTextFeatures().fit(["", " "])
    with pytest.raises(NotFittedError):
        SparseTextFeatures().transform(WORDS)


def test_projection_keeps_inner_products(rng):
    features = sp.random(40, 500, density=0.05, format="csr", dtype=np.float32, random_state=rng)
    features = sp.csr_array(features / np.sqrt(features.multiply(features).sum(axis=1)))
    projected = SparseProjection(500, 2048, seed=3).transform(features)
    error = projected @ projected.T - (features @ features.T).toarray()
    assert np.abs(error).max() < 0.15
    assert np.sqrt((error**2).mean()) < 0.04
    again = SparseProjection(500, 2048, seed=3).transform(features)
    np.testing.assert_array_equal(again, projected)


@pytest.mark.parametrize("storage", ["float32", "float16"])
def test_mean_of_two_fits(problem, storage):
    documents, Y, labels = problem
    given = {"sparse": None, "labels": Features(labels)}
    one = _vectors(dropout=0.5, storage=storage).fit([documents], Y, **given)
    other = _vectors(dropout=0.5, storage=storage).fit([documents[:80]], Y[:80], **given)
    expected = (one.weights_.astype(np.float64) + other.weights_) / 2
    one.average([other.weights_])
    assert one.weights_.dtype == storage
    np.testing.assert_allclose(one.weights_, expected, rtol=2e-3 if storage == "float16" else 1e-6)
