"""Why documents get labels: shares of evidence, near documents, words, pictures, ids."""

import pickle
import re

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from plugins.popularity import Popularity
from rounding import assert_alike
from tiny_models import save_encoder

from skxmc import DecoderXMCClassifier, ViXMLClassifier
from skxmc._features._words import SparseProjection, SparseTextFeatures
from skxmc._inputs._document_ids import check_document_ids
from skxmc._ranking._candidates import Candidates
from skxmc._runtime import limits
from skxmc.evidence import LabelVectors, Neighbours, Prototypes, Reasons

N_DOCUMENTS, N_LABELS, WIDTH = 48, 6, 10
WORDS = ["red", "green", "blue", "apple", "car", "tree"]
NOISE = ["one", "two", "three", "four"]


@pytest.fixture(scope="module")
def corpus():
    """Embeddings around a centre for each label; the last document has no label."""
    rng = np.random.RandomState(3)
    Y = (rng.rand(N_DOCUMENTS, N_LABELS) < 0.25).astype(np.float32)
    Y[np.arange(N_DOCUMENTS), np.arange(N_DOCUMENTS) % N_LABELS] = 1
    Y[-1] = 0
    X = Y @ rng.normal(size=(N_LABELS, WIDTH)) + rng.normal(scale=0.3, size=(N_DOCUMENTS, WIDTH))
    return X.astype(np.float32), sp.csr_array(Y)


IDS = [f"doc-{row}" for row in range(N_DOCUMENTS)]


@pytest.fixture(scope="module", params=[ViXMLClassifier, DecoderXMCClassifier])
def model(request, corpus):
    return request.param("precomputed", random_state=0).fit(*corpus, document_ids=IDS)


def unit(X):
    return X / np.linalg.norm(X, axis=1, keepdims=True)


# --- shares of the evidence ---


def test_best_labels_are_those_of_predict_topk(model, corpus):
    X = corpus[0][:7]
    labels, probabilities = model.predict_topk(X, k=3)
    found = model.explain(X, k=3)
    assert [[one.label for one in row] for row in found] == labels.tolist()
    np.testing.assert_allclose(
        [[one.probability for one in row] for row in found], probabilities, rtol=1e-5
    )


def test_shares_follow_weights_and_sum_to_one(model, corpus):
    X, _ = corpus
    ranker = model.ranker_
    documents = ranker.documents(model._features(X, None))
    first = ranker.mixture_.candidates(ranker.propose(documents))
    for row, explanations in enumerate(model.explain(X, range(N_LABELS))):
        for one in explanations:
            column = first.labels[row].tolist().index(one.label)
            parts = {
                name: weight * first.shares[name][row, column]
                for name, weight in ranker.mixture_.weights_.items()
            }
            total = sum(parts.values())
            assert one.evidence.keys() == parts.keys()
            assert sum(one.evidence.values()) == pytest.approx(1, abs=1e-5)
            for name, part in parts.items():
                assert one.evidence[name] == pytest.approx(part / total, abs=1e-5)


def test_a_kind_without_weight_has_no_share(corpus):
    kinds = [Prototypes(weight=0.0), Neighbours(weight=1.0)]
    model = ViXMLClassifier("precomputed", evidence=kinds, random_state=0).fit(*corpus)
    for [one] in model.explain(corpus[0], k=1):
        assert one.evidence == {"prototypes": 0.0, "neighbours": 1.0}


def test_labels_that_no_evidence_speaks_for_have_no_shares(corpus):
    """The single neighbour of each document is itself."""
    kinds = [Neighbours(n_neighbors=1)]
    model = ViXMLClassifier("precomputed", evidence=kinds, random_state=0).fit(*corpus)
    X, Y = corpus
    for row, explanations in enumerate(model.explain(X, range(N_LABELS))):
        shares = [one.evidence["neighbours"] for one in explanations]
        assert shares == Y[[row]].toarray()[0].tolist()


def test_labels_beyond_the_shortlist_are_measured_by_the_same_scale(corpus, monkeypatch):
    """With one candidate a kind, a softmax over the candidates divides by the best alone."""
    X, Y = corpus
    model = ViXMLClassifier("precomputed", random_state=0).fit(X, Y)
    ranker = model.ranker_
    monkeypatch.setattr(ranker.setting, "shortlist", 1)
    documents = ranker.documents(model._features(X, None))
    proposals = ranker.propose(documents)
    everything = np.tile(np.arange(N_LABELS), (N_DOCUMENTS, 1))
    parts = {}
    for name, (_, best) in proposals.items():
        scores = model.evidence_[name].score(documents, everything)
        relative = np.exp((scores - best) / ranker.mixture_.temperatures_[name])
        parts[name] = ranker.mixture_.weights_[name] * relative
    total, n_checked = sum(parts.values()), 0
    for row, explanations in enumerate(model.explain(X, range(N_LABELS))):
        candidates = {labels[row, 0] for labels, _ in proposals.values()}
        for label in set(range(N_LABELS)) - candidates:
            for name, share in explanations[label].evidence.items():
                expected = parts[name][row, label] / total[row, label]
                assert share == pytest.approx(expected, abs=1e-4)
                n_checked += 1
    assert n_checked > N_DOCUMENTS


def test_evidence_of_others_needs_no_more_than_the_contract(corpus):
    kinds = [Popularity(weight=0.5), Prototypes(weight=0.5)]
    model = ViXMLClassifier("precomputed", evidence=kinds, random_state=0).fit(*corpus)
    for explanations in model.explain(corpus[0][:3], k=2):
        for one in explanations:
            assert one.evidence["popularity"] > 0
            assert (one.documents, one.words, one.picture) == ([], [], None)


class Telling(Popularity):
    """Says the same, for every pair alike."""

    name = "telling"

    def explain(self, documents, labels, n_documents):
        shape = (*labels.shape, n_documents)
        near = np.full(shape, -1), np.full(shape, -np.inf, dtype=np.float32)
        near[0][:, :, 0], near[1][:, :, 0] = 7, 0.25
        return Reasons(documents=near)

    def nearest_documents(self, documents, n):
        return np.full((len(documents), n), -1), np.full((len(documents), n), -np.inf)


@pytest.mark.parametrize(("weight", "row"), [(0.9, 7), (0.1, 2)])
def test_the_evidence_that_weighs_most_is_heard(corpus, weight, row):
    kinds = [Telling(weight=weight), Neighbours(weight=1 - weight)]
    model = ViXMLClassifier("precomputed", evidence=kinds, random_state=0)
    model.fit(*corpus, document_ids=IDS)
    assert model.explain(corpus[0][[2]], [2])[0][0].documents[0].row == row
    found, cosines = model.nearest(corpus[0][:1], n=2)  # of the first kind that compares
    assert found.tolist() == [[None, None]]
    assert np.isneginf(cosines).all()


@pytest.mark.parametrize("wanted", [[0, 3, 1, -1], [-1, -1, -1, 5]])
def test_candidates_find_their_columns(wanted):
    labels = np.array([[1, 3, 4], [0, 5, -1]])
    candidates = Candidates(labels, {}, {}, np.zeros(labels.shape, dtype=np.float32))
    found = candidates.find(np.array([wanted, wanted]))
    expected = [
        [own.index(one) if one in own and one >= 0 else -1 for one in wanted]
        for own in labels.tolist()
    ]
    assert found.tolist() == expected


# --- which labels ---


def test_documents_are_explained_in_parts(model, corpus, monkeypatch):
    X = corpus[0]
    expected = [model.explain(X, k=2), model.explain(X, [3, 4, 5])]
    monkeypatch.setattr("skxmc._estimator._explaining._PAIRS", 8)
    for one, other in zip(
        [model.explain(X, k=2), model.explain(X, [3, 4, 5])], expected, strict=True
    ):
        alike(one, other)


def test_labels_for_all_documents_and_for_each(model, corpus):
    X = corpus[0][:3]
    everywhere = model.explain(X, [4, 2])
    assert [[one.label for one in row] for row in everywhere] == [[4, 2]] * 3
    each = model.explain(X, [[2], [], [4, 2]])
    assert [[one.label for one in row] for row in each] == [[2], [], [4, 2]]
    assert each[0][0].probability == pytest.approx(everywhere[0][1].probability, rel=1e-5)
    assert each[2] == everywhere[2]
    assert model.explain(X, []) == [[], [], []]
    probabilities = model.predict_proba(X, labels=[4, 2])
    np.testing.assert_allclose(
        [[one.probability for one in row] for row in everywhere], probabilities, rtol=1e-5
    )


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"labels": ["nowhere"]}, ValueError, "such as 'nowhere'"),
        ({"labels": [[1], [2]]}, ValueError, "labels holds 2 lists for 3 documents"),
        ({"labels": [[1], 2, [3]]}, TypeError, r"labels\[1\] is no list"),
        ({"k": 0}, ValueError, "k must be at least 1"),
        ({"n_nearest": -1}, ValueError, "n_nearest must be at least 0"),
        ({"n_words": 1.5}, TypeError, "n_words must be an int, got 1.5"),
    ],
)
def test_explain_refuses(model, corpus, arguments, error, message):
    with pytest.raises(error, match=message):
        model.explain(corpus[0][:3], **arguments)


# --- near documents ---


def test_nearest_is_brute_force_cosine(model, corpus, rng):
    X, _ = corpus
    queries = rng.normal(size=(9, WIDTH)).astype(np.float32)
    cosines = unit(queries) @ unit(X).T
    order = np.argsort(-cosines, axis=1)[:, :4]
    ids, found = model.nearest(queries, n=4)
    assert ids.tolist() == [[IDS[row] for row in rows] for rows in order]
    np.testing.assert_allclose(found, np.take_along_axis(cosines, order, axis=1), atol=1e-5)


def test_near_documents_have_the_label_wherever_they_are(model, corpus, rng):
    """Compared with all documents of the label, not with the nearest of all documents."""
    X, Y = corpus
    queries = rng.normal(size=(4, WIDTH)).astype(np.float32)
    cosines = unit(queries) @ unit(X).T
    found = model.explain(queries, range(N_LABELS), n_nearest=5)
    for row, explanations in enumerate(found):
        for label, one in enumerate(explanations):
            holders = np.flatnonzero(Y[:, [label]].toarray())
            best = holders[np.argsort(-cosines[row, holders])][:5]
            assert [near.row for near in one.documents] == best.tolist()
            assert [near.id for near in one.documents] == [IDS[place] for place in best]
            np.testing.assert_allclose(
                [near.cosine for near in one.documents], cosines[row, best], atol=1e-5
            )
    none = model.explain(queries, [0], n_nearest=0)
    assert all(one.documents == [] for [one] in none)


def test_documents_of_a_label_are_compared_in_parts(corpus, monkeypatch):
    X, Y = corpus
    model = ViXMLClassifier("precomputed", random_state=0).fit(X, Y)
    [expected] = model.explain(X[:1], range(N_LABELS), n_nearest=6)
    monkeypatch.setattr(limits, "ROWS", 4)
    [found] = model.explain(X[:1], range(N_LABELS), n_nearest=6)
    for one, other in zip(found, expected, strict=True):
        assert [near.row for near in one.documents] == [near.row for near in other.documents]


def test_rows_are_those_of_fit_where_documents_were_left_out(corpus):
    """A document that loses all labels as excluded pairs is not learned from."""
    X, Y = corpus
    exclude = sp.csr_array(Y.toarray() * (np.arange(N_DOCUMENTS) < 3)[:, None])
    model = ViXMLClassifier("precomputed", random_state=0).fit(X, Y, exclude=exclude)
    assert model.ranker_.rows_.tolist() == list(range(3, N_DOCUMENTS))
    rows, cosines = model.nearest(X[3:], n=1)
    assert rows.dtype == np.int64
    assert rows[:, 0].tolist() == list(range(3, N_DOCUMENTS))
    assert cosines.dtype == np.float32
    np.testing.assert_allclose(cosines, 1, atol=1e-5)
    assert model.explain(X[[4]], [4])[0][0].documents[0].row == 4


def test_rows_are_those_of_fit_where_held_out_documents_come_last(corpus, monkeypatch):
    X, Y = corpus
    monkeypatch.setattr(limits, "MAX_REBUILT", 5)
    model = ViXMLClassifier("precomputed", validation=0.5, random_state=0)
    model.fit(X, Y, document_ids=np.arange(N_DOCUMENTS) + 100)
    assert model.ranker_.rows_.tolist() != sorted(model.ranker_.rows_.tolist())
    ids, _ = model.nearest(X, n=1)
    assert ids[:, 0].tolist() == list(range(100, 100 + N_DOCUMENTS))


def test_a_model_without_neighbours_says_so(corpus):
    kinds = ["prototypes", "label_vectors"]
    model = ViXMLClassifier("precomputed", evidence=kinds, random_state=0).fit(*corpus)
    with pytest.raises(ValueError, match=r"without neighbours: its evidence is \['prototypes'"):
        model.nearest(corpus[0][:2])
    with pytest.raises(NotImplementedError, match="Prototypes compares no documents"):
        model.evidence_["prototypes"].nearest_documents(None, 1)
    assert model.explain(corpus[0][:1])[0][0].documents == []


def test_rows_are_padded_where_there_are_fewer_documents(model, corpus):
    ids, cosines = model.nearest(corpus[0][:2], n=N_DOCUMENTS + 2)
    assert sorted(ids[0, :-2]) == sorted(IDS)
    assert ids[:, -2:].tolist() == [[None, None]] * 2
    assert np.isneginf(cosines[:, -2:]).all()


def test_no_documents_have_no_explanations(model, corpus):
    X = corpus[0][:0]
    assert model.explain(X) == model.explain(X, [1]) == []
    assert [part.shape for part in model.nearest(X, n=3)] == [(0, 3), (0, 3)]
    assert len(model.explain(corpus[0][:1], k=N_LABELS + 3)[0]) == N_LABELS


def test_nearest_refuses(model, corpus):
    with pytest.raises(ValueError, match="n must be at least 1, got n=0"):
        model.nearest(corpus[0], n=0)
    with pytest.raises(TypeError, match=r"n must be an int, got 2\.0"):
        model.nearest(corpus[0], n=2.0)


# --- ids ---


@pytest.mark.parametrize(
    ("ids", "expected"),
    [
        (["a", "a"], ["a", "a"]),
        (pd.Index([7, 8]), [7, 8]),
        (pd.Series(["x", "y"], index=[5, 6]), ["x", "y"]),
        (np.array(["p", "q"]), ["p", "q"]),
        ((np.int32(1), 2), [1, 2]),
    ],
)
def test_ids_come_in_many_forms(ids, expected):
    found = check_document_ids(ids, 2)
    assert found.tolist() == expected
    assert found.dtype == (object if isinstance(expected[0], str) else np.int64)


@pytest.mark.parametrize(
    ("ids", "error", "message"),
    [
        (["a"], ValueError, "document_ids has length 1 but X has 2 documents"),
        ("ab", TypeError, "document_ids must be a sequence"),
        ((one for one in "ab"), TypeError, "got generator"),
        (["a", None], ValueError, r"document_ids\[1\] is missing"),
        ([1, 2.5], TypeError, r"document_ids\[1\] is of type float"),
        ([True, False], TypeError, r"document_ids\[0\] is of type bool"),
        (["a", 2], TypeError, r"document_ids\[1\] is 2, but document_ids\[0\] is 'a'"),
    ],
)
def test_wrong_ids(ids, error, message):
    with pytest.raises(error, match=message):
        check_document_ids(ids, 2)


def test_wrong_ids_are_found_before_training(corpus):
    model = ViXMLClassifier("precomputed")
    with pytest.raises(ValueError, match="document_ids has length 2"):
        model.fit(*corpus, document_ids=[1, 2])
    assert not hasattr(model, "ranker_")


def test_without_ids_there_are_rows(corpus):
    X, Y = corpus
    model = ViXMLClassifier("precomputed", random_state=0)
    model.fit_transform(X, Y, document_ids=IDS)
    assert model.document_ids_.tolist() == IDS
    model.fit(X, Y)
    assert model.document_ids_ is None
    assert model.nearest(X[:2], n=1)[0].tolist() == [[0], [1]]
    assert model.explain(X[:1])[0][0].documents[0].id is None


def alike(one, other):
    """Records that are equal but for rounding."""
    numbers = re.compile(r"\d+\.\d+(?:e[+-]\d+)?")
    texts = [repr(explanations) for explanations in (one, other)]
    assert numbers.sub("", texts[0]) == numbers.sub("", texts[1])
    np.testing.assert_allclose(
        *([float(number) for number in numbers.findall(text)] for text in texts), atol=1e-4
    )


def test_saved_and_pickled_models_explain_alike(model, corpus, tmp_path):
    X = corpus[0][:5]
    expected, nearest = model.explain(X, k=3), model.nearest(X, n=2)
    model.save(tmp_path / "model")
    for other in (
        type(model).load(tmp_path / "model", device="cpu"),
        pickle.loads(pickle.dumps(model)),
    ):
        assert other.document_ids_.tolist() == IDS
        alike(other.explain(X, k=3), expected)
        assert_alike(other.nearest(X, n=2), nearest)


# --- words ---


@pytest.fixture(scope="module")
def texts():
    """A planted word, which is the label, anywhere among words that say nothing."""
    rng = np.random.RandomState(0)
    planted = rng.choice(WORDS, size=80)
    noise = [rng.choice(NOISE, size=2) for _ in planted]
    return [f"{a} {word}, {b}" for word, (a, b) in zip(planted, noise, strict=True)], planted


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    return save_encoder(tmp_path_factory.mktemp("encoder"), words=[*WORDS, *NOISE])


@pytest.mark.parametrize("kind", ["label_vectors", "prototypes"])
@pytest.mark.parametrize("text_features", ["both", "tfidf"])
def test_the_planted_word_is_the_first(texts, encoder, kind, text_features):
    X, planted = texts
    model = ViXMLClassifier(
        encoder,
        train_encoder="frozen",
        text_features=text_features,
        evidence=[kind],
        random_state=0,
    ).fit(X, [[word] for word in planted])
    found = model.explain(X, [[word] for word in planted], n_words=2)
    for word, [one] in zip(planted, found, strict=True):
        assert one.words[0][0] == word
        assert one.words[0][1] > 0
        assert len(one.words) <= 2
    assert all(one.words == [] for [one] in model.explain(X[:3], k=1, n_words=0))
    assert model.explain([""], k=1)[0][0].words == []


def test_a_tuned_encoder_has_words_too(texts, encoder):
    X, planted = texts
    model = ViXMLClassifier(encoder, epochs=1, batch_size=32, random_state=0)
    model.fit(X, [[word] for word in planted])
    found = model.explain(X, [[word] for word in planted])
    assert [one.words[0][0] for [one] in found] == planted.tolist()
    assert len(found[0][0].documents) == 3
    without = ViXMLClassifier(
        encoder, train_encoder="frozen", text_features="embedding", random_state=0
    ).fit(X, [[word] for word in planted])
    assert all(one.words == [] for [one] in without.explain(X[:3], k=1))


def test_words_sum_to_what_the_block_of_words_adds(texts, encoder):
    """Scores with the words, less those of a text without words, in units of the temperature."""
    X, planted = texts
    model = ViXMLClassifier(
        encoder,
        train_encoder="frozen",
        text_features="tfidf",
        evidence=["label_vectors"],
        random_state=0,
    ).fit(X, [[word] for word in planted])
    kind, ranker = model.evidence_["label_vectors"], model.ranker_
    documents = ranker.documents(model._features(X[:4], None))
    labels = np.tile(np.arange(len(WORDS)), (4, 1))
    parts = kind.explain(documents, labels, 0).words
    [words] = model.explain(X[:1], n_words=99)
    for one in words:
        label = model.classes_.tolist().index(one.label)
        origins = model.featurizer_.words.words_of(X[0])[1][
            :, documents.features.words[[0]].indices
        ]
        amounts = origins @ parts[0][label] / ranker.mixture_.temperatures_["label_vectors"]
        expected = sorted(amounts[amounts > 0], reverse=True)
        np.testing.assert_allclose([amount for _, amount in one.words], expected, rtol=1e-4)
    np.testing.assert_allclose(
        [part.sum(axis=1) for part in parts], kind.score(documents, labels), atol=1e-4
    )


def test_words_are_what_terms_come_from():
    features = SparseTextFeatures(min_df=1).fit(["Red, (apple) red c++", "green tree"])
    words, origins = features.words_of("RED apple, red! c++")
    assert words == ["red", "apple", "c++"]
    shares = origins.sum(axis=0)
    stored = features.transform(["RED apple, red! c++"]).indices
    np.testing.assert_allclose(shares[stored], 1)
    assert set(np.flatnonzero(shares)) == set(stored)
    assert features.words_of(" ")[0] == []
    assert features.words_of(" ")[1].shape == (0, features.n_features)


def test_parts_of_a_projection_sum_to_its_inner_products(rng):
    projection = SparseProjection(30, 16, seed=0)
    features = sp.random_array((5, 30), density=0.3, rng=rng, format="csr", dtype=np.float32)
    vectors = rng.normal(size=(5, 3, 16)).astype(np.float32)
    parts = projection.parts(features, vectors)
    expected = np.einsum("nd,nmd->nm", projection.transform(features), vectors)
    np.testing.assert_allclose([part.sum(axis=1) for part in parts], expected, atol=1e-5)
    assert [part.shape for part in parts] == [(3, n) for n in np.diff(features.indptr)]


# --- pictures ---


@pytest.mark.parametrize("kind", ["label_vectors", "prototypes"])
def test_pictures_speak_for_labels(kind):
    """Texts say nothing here; a picture vector says the label."""
    rng = np.random.RandomState(0)
    topics = np.arange(60) % 3
    pictures = np.eye(3)[topics] * 3 + rng.normal(scale=0.2, size=(60, 3))
    pictures = np.hstack([pictures, rng.normal(scale=0.2, size=(60, 5))]).astype(np.float32)
    pictures[59] = np.nan
    X = rng.normal(size=(60, 4)).astype(np.float32)
    model = ViXMLClassifier("precomputed", evidence=[kind], random_state=0)
    model.fit(X, [[int(topic)] for topic in topics], images=pictures)
    found = model.explain(X, range(3), images=pictures)
    for topic, explanations in zip(topics[:59], found, strict=False):
        amounts = [one.picture for one in explanations]
        assert np.argmax(amounts) == topic
        assert amounts[topic] > 0
    assert [one.picture for one in found[59]] == [None, None, None]


def test_label_vectors_and_the_empty_label(corpus):
    """The parts are those of a label's vector less that of "none of them"."""
    X, Y = corpus
    model = ViXMLClassifier("precomputed", evidence=[LabelVectors()], random_state=0).fit(X, Y)
    kind = model.evidence_["label_vectors"]
    assert kind.none_ is not None
    documents = model.ranker_.documents(model._features(X[:3], None))
    labels = np.tile(np.arange(N_LABELS), (3, 1))
    vectors = kind.model_.weights_[labels] - kind.none_
    [dense], words = kind.model_.parts(vectors, documents.features.dense())
    assert words is None
    np.testing.assert_allclose(dense, kind.score(documents, labels), atol=1e-4)
