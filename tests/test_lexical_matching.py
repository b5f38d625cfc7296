"""Lexical matching: its formula, and what a model with it can do."""

import pickle

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st
from rounding import assert_alike
from tiny_models import save_encoder

from skxmc import ViXMLClassifier, estimate_memory
from skxmc._features._words import SparseTextFeatures
from skxmc.evidence import LabelVectors, LexicalMatching, Neighbours, Prototypes, TokenMatching

LABELS = {
    "sql": "database queries",
    "web": "web pages",
    "db": "database servers",
    "team": "lead a team of engineers",
    "car": "repair engines of cars",
}
TEXTS = [
    "you write database queries",
    "our web pages need care",
    "we run database servers at night",
    "you lead a team of young engineers",
    "engines of old cars are repaired here",
] * 6
TAGS = [[name] for name in LABELS] * 6


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    words = sorted({word for text in [*TEXTS, *LABELS.values()] for word in text.split()})
    return save_encoder(tmp_path_factory.mktemp("encoder"), words=words)


def make(encoder, evidence=None, **params):
    params = {"train_encoder": "frozen", "random_state": 0, "device": "cpu", **params}
    return ViXMLClassifier(
        encoder,
        label_text=LABELS,
        evidence=[Prototypes(), LexicalMatching()] if evidence is None else evidence,
        precision="float32",
        **params,
    )


@pytest.fixture(scope="module")
def model(encoder):
    return make(encoder).fit(TEXTS, TAGS)


def kind_of(model):
    return model.evidence_["lexical_matching"]


def documents_of(model, X):
    return model.ranker_.documents(model._features(X, None))


def scores_by_hand(model, text):
    """The formula of the docstring, term by term."""
    words = model.featurizer_.words
    there = set(words.transform([text]).indices.tolist())
    scores = []
    for name in model.classes_:
        row = sp.csr_array(words.transform([LABELS[name]]))
        squares = row.data.astype(np.float64) ** 2
        own = sum(s for t, s in zip(row.indices.tolist(), squares, strict=True) if t in there)
        scores.append(own / squares.sum())
    return np.array(scores)


def test_scores_are_the_formula(model):
    X = [*TEXTS[:5], "servers and web pages", "pages"]
    labels, scores = kind_of(model).propose(documents_of(model, X), 5)
    for text, own, values in zip(X, labels, scores, strict=True):
        expected = scores_by_hand(model, text)
        found = own >= 0
        assert (np.diff(values[found]) <= 0).all()
        np.testing.assert_allclose(values[found], expected[own[found]], atol=1e-5)
        assert sorted(own[found]) == np.flatnonzero(expected > 0).tolist()
        assert (values[~found] == -np.inf).all()


def test_a_document_that_has_all_words_of_a_label_scores_one(model):
    text = "he is paid to " + " and ".join(LABELS.values())
    labels, scores = kind_of(model).propose(documents_of(model, [text]), 5)
    assert sorted(labels[0]) == [0, 1, 2, 3, 4]
    np.testing.assert_allclose(scores, 1, atol=1e-5)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.sampled_from("database queries web pages team cars of night".split())))
def test_more_words_never_lower_a_score(model, words):
    text = " ".join(words)
    every = np.arange(5)[None]
    kind = kind_of(model)
    before = kind.score(documents_of(model, [text or "zzz"]), every)
    after = kind.score(documents_of(model, [text + " database engines"]), every)
    assert (after >= before - 1e-6).all()
    assert after.max() <= 1 + 1e-5


def test_given_labels_have_the_same_scores(model):
    documents = documents_of(model, TEXTS[:5])
    labels, scores = kind_of(model).propose(documents, 4)
    asked = np.pad(labels, ((0, 0), (0, 1)), constant_values=-1)
    found = kind_of(model).score(documents, asked)
    np.testing.assert_allclose(found[:, :4], scores)
    assert (found[:, 4] == -np.inf).all()


def test_blocks_do_not_matter(model, monkeypatch):
    documents = documents_of(model, TEXTS)
    expected = kind_of(model).propose(documents, 3)
    monkeypatch.setattr("skxmc.evidence._lexical_matching._SCORES", 12)
    for found, other in zip(kind_of(model).propose(documents, 3), expected, strict=True):
        np.testing.assert_array_equal(found, other)


def test_documents_without_a_word_of_a_label_have_no_candidates(model):
    labels, scores = kind_of(model).propose(documents_of(model, ["", "xyz"]), 3)
    assert (labels == -1).all()
    assert (scores == -np.inf).all()
    assert model.predict_topk(["", "xyz"], k=2)[0].shape == (2, 2)


def test_each_text_of_a_label_counts(encoder):
    """Of a name and a long definition the name alone has a large share."""
    texts = {**LABELS, "sql": ["SQL", "database queries that fetch rows of many tables at once"]}
    model = make(encoder).set_params(label_text=texts).fit(TEXTS, TAGS)
    labels, scores = kind_of(model).propose(documents_of(model, ["you know queries"]), 5)
    assert model.classes_[labels[0, 0]] == "sql"
    words = model.featurizer_.words
    mean = words.transform(texts["sql"]).toarray().mean(axis=0) ** 2
    there = words.transform(["you know queries"]).indices
    assert scores[0, 0] == pytest.approx(mean[there].sum() / mean.sum(), abs=1e-5)


def test_words_explain_it(encoder):
    evidence = [Prototypes(weight=0.2), LexicalMatching(weight=0.8)]
    model = make(encoder, evidence).fit(TEXTS, TAGS)
    text = "database queries, written for cars"
    [[sql, car]] = model.explain([text], labels=[["sql", "car"]], n_words=2)
    assert {word for word, _ in sql.words} == {"database", "queries"}
    assert car.words[0][0] == "cars"
    documents = documents_of(model, [text, "xyz"])
    labels = np.array([[0, 1, -1], [2, 3, 4]])
    parts = kind_of(model).explain(documents, labels, 3).words
    expected = np.maximum(kind_of(model).score(documents, labels), 0)
    np.testing.assert_allclose([part.sum(axis=1) for part in parts], expected, atol=1e-5)


def test_labels_and_documents_come_and_go(encoder):
    model = make(encoder).fit(TEXTS, TAGS, document_ids=list(range(len(TEXTS))))
    model.add_labels({"night": "work at night"})
    labels, _ = kind_of(model).propose(documents_of(model, ["never at night"]), 1)
    assert model.classes_[labels[0, 0]] == "night"
    model.partial_fit(["a shift at night"], [["night"]], document_ids=[100])
    model.remove_documents([0, 1])
    model.remove_labels("sql")
    assert kind_of(model).postings_.shape[1] == len(model.classes_) == 5
    labels, _ = kind_of(model).propose(documents_of(model, ["work at night", TEXTS[1]]), 1)
    assert model.classes_[labels[:, 0]].tolist() == ["night", "web"]


def test_saved_and_pickled_models_predict_the_same(model, tmp_path):
    expected = model.predict_topk(TEXTS[:5], k=4)
    model.save(tmp_path / "model")
    for other in (
        ViXMLClassifier.load(tmp_path / "model", device="cpu"),
        pickle.loads(pickle.dumps(model)),
    ):
        assert_alike(other.predict_topk(TEXTS[:5], k=4), expected)


def test_beside_a_tuned_encoder_and_by_name(encoder):
    kinds = ["token_matching", "lexical_matching"]
    model = make(encoder, kinds, train_encoder="full", epochs=1, batch_size=16).fit(TEXTS, TAGS)
    labels, _ = kind_of(model).propose(documents_of(model, TEXTS[:5]), 1)
    assert model.classes_[labels[:, 0]].tolist() == list(LABELS)


def test_given_weights_are_the_weights(encoder):
    evidence = [TokenMatching(weight=0.7), LexicalMatching(weight=0.3)]
    model = make(encoder, evidence).fit(TEXTS, TAGS)
    assert model.ranker_.mixture_.weights_ == {"token_matching": 0.7, "lexical_matching": 0.3}
    assert model.ranker_.reranker_ is None


def test_models_without_words_are_refused(encoder):
    with pytest.raises(ValueError, match=r"LexicalMatching compares words.*text_features"):
        make(encoder, text_features="embedding").fit(TEXTS, TAGS)
    precomputed = ViXMLClassifier("precomputed", evidence=["neighbours", "lexical_matching"])
    with pytest.raises(ValueError, match="LexicalMatching compares words"):
        precomputed.fit(np.eye(4), [["a"], ["b"], ["a"], ["b"]])


def test_labels_without_texts_leave_it_out(encoder):
    evidence = [Prototypes(), Neighbours(), LabelVectors(), LexicalMatching()]
    Y = np.tile(np.eye(5), (6, 1))
    model = make(encoder, evidence).set_params(label_text=None).fit(TEXTS, Y)
    assert "lexical_matching" not in model.evidence_


def test_estimate_has_its_words(encoder):
    with_it, without = (
        estimate_memory(make(encoder, kinds), TEXTS, TAGS).index
        for kinds in ([Prototypes(), LexicalMatching()], [Prototypes()])
    )
    kept = SparseTextFeatures().fit(TEXTS).transform(list(LABELS.values()))
    assert with_it - without >= 8 * kept.nnz
