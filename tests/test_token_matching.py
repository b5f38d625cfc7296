"""Token matching: its formula, what finds its labels, and what a model with it can do."""

import pickle

import numpy as np
import pytest
from rounding import assert_alike
from tiny_models import save_encoder, tiny_backbone, tiny_tower

from skxmc import DecoderXMCClassifier, ViXMLClassifier
from skxmc._features import _tokens
from skxmc._features._blocks import unit_rows
from skxmc._features._words import words_of_spans
from skxmc._runtime import limits
from skxmc.evidence import LabelVectors, Neighbours, Prototypes, TokenMatching

WORDS = ["red", "green", "blue", "apple", "car", "tree"]
NOISE = ["one", "two", "three", "four"]
TAU = 0.2


@pytest.fixture(scope="module")
def texts():
    """Two planted words, which are the labels, among words that say nothing."""
    rng = np.random.RandomState(0)
    pairs = [rng.choice(WORDS, size=2, replace=False) for _ in range(90)]
    return [f"{rng.choice(NOISE)} {a}, {rng.choice(NOISE)} {b}" for a, b in pairs], [
        pair.tolist() for pair in pairs
    ]


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    return save_encoder(tmp_path_factory.mktemp("encoder"), words=[*WORDS, *NOISE])


def make(encoder, **params):
    evidence = params.pop("evidence", [Prototypes(), TokenMatching(tau=TAU)])
    params = {"train_encoder": "frozen", "random_state": 0, "device": "cpu", **params}
    return ViXMLClassifier(encoder, evidence=evidence, precision="float32", **params)


@pytest.fixture(scope="module")
def plain_encoder(tmp_path_factory):
    """Weights so small that a token is hardly anything but its own word."""
    folder = tmp_path_factory.mktemp("plain")
    return save_encoder(folder, words=[*WORDS, *NOISE], spread=0.02)


@pytest.fixture(scope="module")
def model(encoder, texts):
    return make(encoder).fit(*texts)


def documents_of(model, X):
    return model.ranker_.documents(model._features(X, None))


def scores_by_hand(model, text, tau=TAU):
    """The formula of the docstring, with a sequence of its own for the text."""
    tower = model.tower_
    tokens = tower.encode_tokens([text]).vectors.astype(np.float64)
    index = model.evidence_["token_matching"].index_
    labels = index.vectors(np.arange(len(index))).astype(np.float64)
    cosines = tokens @ labels.T
    attention = np.exp(cosines / tau)
    attention /= attention.sum(axis=0)
    return (attention * cosines).sum(axis=0)


# --- tokens ---


def test_tokens_are_what_the_embedding_is_the_mean_of():
    tower = tiny_tower("bert", words=[*WORDS, *NOISE])
    texts = ["red apple", "", "one two three four", "red apple"]
    tokens = tower.encode_tokens(texts)
    assert np.diff(tokens.offsets).tolist() == [2, 0, 4, 2]  # no special tokens
    np.testing.assert_allclose(np.linalg.norm(tokens.vectors, axis=1), 1, rtol=1e-5)
    alone = tower.encode_tokens(texts[2:3])
    np.testing.assert_allclose(tokens.of(2), alone.vectors, atol=1e-5)
    np.testing.assert_allclose(tokens.of(0), tokens.of(3), atol=1e-5)
    # With the two special tokens these are all hidden states of the text.
    model = tiny_backbone("bert", vocabulary=len(tower.tokenizer))
    hidden = model(**tower.tokenizer(texts[2], return_tensors="pt")).last_hidden_state[0]
    expected = unit_rows(hidden[1:-1].detach().numpy())
    np.testing.assert_allclose(tokens.of(2), expected, atol=1e-5)


def test_spans_are_those_of_the_tokens():
    tower = tiny_tower("bert", words=[*WORDS, *NOISE])
    text = "Red, apple"
    spans = tower.token_spans(text)
    assert [text[a:b] for a, b in spans] == ["Red", ",", "apple"]
    words, origins = words_of_spans(text, spans)
    assert words == ["red", "apple"]
    assert origins.toarray().tolist() == [[1, 1, 0], [0, 0, 1]]
    assert words_of_spans("", np.empty((0, 2), dtype=np.int64))[1].shape == (0, 0)


def test_a_blank_before_a_word_belongs_to_it():
    tower = tiny_tower("roberta")
    text = "a  bc d"
    words, origins = words_of_spans(text, tower.token_spans(text))
    assert words == ["a", "bc", "d"]
    assert (origins.sum(axis=1) >= 1).all()


def test_tokens_of_long_texts_come_in_parts():
    tower = tiny_tower("bert", words=[*WORDS, *NOISE], max_length=6)
    text = "red apple one two three four green"
    assert len(tower.encode_tokens([text]).vectors) == 4
    tower.max_chunks = 3
    tokens = tower.encode_tokens(["", text, "blue"])
    assert np.diff(tokens.offsets).tolist() == [0, 7, 1]
    assert [text[a:b] for a, b in tower.token_spans(text)] == text.split()
    alone = tiny_tower("bert", words=[*WORDS, *NOISE]).encode_tokens(["red apple one two"])
    np.testing.assert_allclose(tokens.of(1)[:4], alone.vectors, atol=1e-5)


# --- scores ---


def test_scores_are_the_formula(model, texts):
    X = [*texts[0][:5], "red"]
    labels, scores = model.evidence_["token_matching"].propose(documents_of(model, X), 4)
    for text, own, values in zip(X, labels, scores, strict=True):
        expected = scores_by_hand(model, text)
        assert own.tolist() == np.argsort(-expected, kind="stable")[:4].tolist()
        np.testing.assert_allclose(values, expected[own], atol=1e-5)


def test_given_labels_have_the_same_scores(model, texts):
    kind, documents = model.evidence_["token_matching"], documents_of(model, texts[0][:5])
    labels, scores = kind.propose(documents, 6)
    asked = np.pad(labels, ((0, 0), (0, 1)), constant_values=-1)
    found = kind.score(documents, asked)
    np.testing.assert_allclose(found[:, :6], scores, atol=1e-5)
    assert (found[:, 6] == -np.inf).all()


def test_blocks_do_not_matter(model, texts, monkeypatch):
    kind = model.evidence_["token_matching"]
    expected = kind.propose(documents_of(model, texts[0]), 6)
    monkeypatch.setattr(_tokens, "_TEXTS", 7)
    monkeypatch.setattr("skxmc.evidence._token_matching._LABELS", 4)
    found = kind.propose(documents_of(model, texts[0]), 6)
    np.testing.assert_allclose(found[1], expected[1], atol=1e-5)


def test_texts_without_words_have_no_candidates(model, texts):
    labels, scores = model.evidence_["token_matching"].propose(
        documents_of(model, ["", texts[0][0]]), 3
    )
    assert labels[0].tolist() == [-1, -1, -1]
    assert (scores[0] == -np.inf).all()
    assert (labels[1] >= 0).all()
    assert model.predict_topk([""], k=2)[0].shape == (1, 2)


@pytest.mark.parametrize("few", [2, 16])
def test_many_labels_are_searched_by_single_tokens(model, texts, monkeypatch, few):
    kind, documents = model.evidence_["token_matching"], documents_of(model, texts[0][:20])
    expected = kind.propose(documents, 3)
    monkeypatch.setattr(limits, "MAX_MATCHED_LABELS", 0)
    monkeypatch.setattr("skxmc.evidence._token_matching._SEARCHED", few)
    labels, scores = kind.propose(documents, 3)
    same = labels == expected[0]
    assert same[:, 0].mean() > 0.8
    np.testing.assert_allclose(scores[same], expected[1][same], atol=1e-5)


def test_a_label_of_two_is_found(plain_encoder, texts):
    """The mean of a text is near to none of its labels, and single words are."""
    X, Y = texts
    evidence = [Prototypes(centroids=False), TokenMatching(tau=0.05, centroids=False)]
    model = make(plain_encoder, evidence=evidence, text_features="embedding").fit(X, Y)
    documents = documents_of(model, X)
    right = {}
    for name, kind in model.evidence_.items():
        labels, _ = kind.propose(documents, 2)
        named = model.classes_[labels]
        right[name] = np.mean(
            [len(set(a) & set(b)) for a, b in zip(named.tolist(), Y, strict=True)]
        )
    assert right["token_matching"] > right["prototypes"]


# --- what a model does with it ---


def test_excluded_labels_and_few_allowed_ones(model, texts):
    X = texts[0][:6]
    labels, _ = model.predict_topk(X, k=6, exclude=["red"], return_labels=True)
    assert not (labels == "red").any()
    labels, _ = model.predict_topk(X, k=2, only=["car", "tree"], return_labels=True)
    assert set(labels.ravel()) == {"car", "tree"}


def test_weights_are_chosen_and_may_be_given(encoder, texts):
    free = make(encoder).fit(*texts)
    assert 0 <= free.ranker_.mixture_.weights_["token_matching"] <= 1
    none = make(encoder, evidence=[Prototypes(), TokenMatching(weight=0.0)]).fit(*texts)
    assert none.ranker_.mixture_.weights_["token_matching"] == 0


def test_saved_and_pickled_models_predict_the_same(model, texts, tmp_path):
    expected = model.predict_topk(texts[0], k=4)
    model.save(tmp_path / "model")
    for other in (
        ViXMLClassifier.load(tmp_path / "model", device="cpu"),
        pickle.loads(pickle.dumps(model)),
    ):
        assert_alike(other.predict_topk(texts[0], k=4), expected)


def test_labels_come_and_go(encoder, texts):
    model = make(encoder).fit(*texts)
    model.add_labels(["four"])
    labels, _ = model.evidence_["token_matching"].propose(documents_of(model, ["four"]), 7)
    assert "four" in model.classes_[labels[0]]
    model.partial_fit(["one four", "two four"], [["four"], ["four"]])
    model.remove_labels("red")
    assert len(model.evidence_["token_matching"].index_) == len(model.classes_) == 6
    assert not (model.predict_topk(texts[0], k=6, return_labels=True)[0] == "red").any()


def test_a_tuned_encoder_has_tokens_too(encoder, texts):
    model = make(encoder, train_encoder="full", epochs=1, batch_size=32).fit(*texts)
    labels, scores = model.evidence_["token_matching"].propose(documents_of(model, texts[0][:3]), 2)
    for text, own, values in zip(texts[0][:3], labels, scores, strict=True):
        np.testing.assert_allclose(values, scores_by_hand(model, text)[own], atol=1e-5)


def test_names_of_labels_alone(encoder, texts):
    model = make(encoder, evidence=[TokenMatching(centroids=False)]).fit(*texts)
    index = model.evidence_["token_matching"].index_
    names = model.tower_.encode(model.tower_.items(model.classes_.tolist()))
    np.testing.assert_allclose(index.vectors(np.arange(6)), names, atol=1e-5)


def test_words_that_are_like_a_label_explain_it(plain_encoder, texts):
    X, Y = texts
    model = make(plain_encoder, evidence=[TokenMatching(tau=0.05, centroids=False)]).fit(X, Y)
    found = model.explain(X, Y, n_words=1)
    own = [
        one.matches[0][0] == name
        for row, names in zip(found, Y, strict=True)
        for one, name in zip(row, names, strict=True)
    ]
    assert np.mean(own) > 0.6
    documents = documents_of(model, X[:3])
    labels = np.tile([0, 3], (3, 1))
    kind = model.evidence_["token_matching"]
    parts = kind.explain(documents, labels, 3).tokens
    np.testing.assert_allclose(
        [part.sum(axis=1) for part in parts], kind.score(documents, labels), atol=1e-5
    )


def test_without_the_evidence_nothing_matches(encoder, texts):
    model = make(encoder, evidence=[Prototypes(), Neighbours(), LabelVectors()]).fit(*texts)
    assert model.explain(texts[0][:1], k=1)[0][0].matches == []


@pytest.mark.parametrize(
    ("kind", "encoder", "reason"),
    [
        (ViXMLClassifier, "precomputed", "one vector for a document"),
        (DecoderXMCClassifier, "precomputed", "one vector for a document"),
        (DecoderXMCClassifier, "no-such-model", "reads from left to right"),
    ],
)
def test_encoders_without_tokens_are_refused(kind, encoder, reason):
    model = kind(encoder, evidence=["prototypes", "token_matching"])
    with pytest.raises(ValueError, match=reason):
        model.fit(np.eye(4), [["a"], ["b"], ["a"], ["b"]])


def test_tau_out_of_range(encoder, texts):
    with pytest.raises(ValueError, match=r"tau of TokenMatching must be within 0\.02 and 10"):
        make(encoder, evidence=[TokenMatching(tau=0)]).fit(*texts)
