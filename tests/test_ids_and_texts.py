"""Labels with ids and several texts, as users of the estimators see them."""

import copy
import pickle
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch
from PIL import Image
from sklearn.base import clone
from test_common import mean_colour, tiny_decoder, tiny_encoder

from skxmc import DecoderXMCClassifier, ViXMLClassifier, estimate_memory
from skxmc.encoders import ImageEncoder
from skxmc.objectives import Prime

WORDS = {"u:cat": "cat", "u:dog": "dog", "u:car": "car", "u:bus": "bus"}
TEXTS = {name: [word, f"{word} {word}"] for name, word in WORDS.items()}
X = [f"{size} {word}" for size in ("red", "blue", "big", "small") for word in WORDS.values()]
Y = [[name] for _ in range(4) for name in WORDS]


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    return tiny_encoder(tmp_path_factory.mktemp("encoder"))


def fitted(encoder, **params):
    options = {"train_encoder": "frozen", "label_text": TEXTS, "random_state": 0, **params}
    return ViXMLClassifier(encoder, **options).fit(X, Y)


@pytest.fixture(scope="module")
def model(encoder):
    return fitted(encoder)


def test_ids_are_classes_and_texts_stand_beside(model):
    assert model.classes_.tolist() == list(TEXTS)
    assert model.label_texts_ == list(TEXTS.values())
    assert model.label_parents_ is None
    names, _ = model.predict_topk(["big dog"], k=1, return_labels=True)
    assert names.tolist() == [["u:dog"]]
    assert model.score(X, Y) == 1
    indicator = model.predict(X)
    assert model.inverse_transform(indicator[[1]]) == [("u:dog",)]


@pytest.mark.parametrize(
    "label_text",
    [
        pd.Series(TEXTS),
        pd.DataFrame({"id": list(TEXTS), "texts": list(TEXTS.values())}),
        pl.DataFrame({"id": list(TEXTS), "texts": list(TEXTS.values())}),
        [{"id": name, "texts": texts} for name, texts in TEXTS.items()],
    ],
    ids=["Series", "pandas", "polars", "records"],
)
def test_fits_are_equal_in_all_forms(encoder, model, label_text, tmp_path):
    other = fitted(encoder, label_text=label_text)
    for one, two in zip(model.predict_topk(X), other.predict_topk(X), strict=True):
        np.testing.assert_array_equal(one, two)
    other.save(tmp_path / "model")
    loaded = ViXMLClassifier.load(tmp_path / "model")
    assert loaded.label_texts_ == other.label_texts_
    assert loaded.classes_.tolist() == other.classes_.tolist()
    again = clone(loaded).fit(X, Y)  # the parameter was stored, too
    np.testing.assert_array_equal(again.predict_topk(X)[1], model.predict_topk(X)[1])


def test_pickles_and_copies_keep_texts(model):
    for other in (pickle.loads(pickle.dumps(model)), copy.deepcopy(model)):
        assert other.label_texts_ == model.label_texts_
        np.testing.assert_array_equal(other.predict_topk(X)[0], model.predict_topk(X)[0])


def test_one_text_in_a_list_is_that_text(encoder):
    one = fitted(encoder, label_text={name: [word] for name, word in WORDS.items()})
    other = fitted(encoder, label_text=WORDS)
    for first, second in zip(one.predict_topk(X), other.predict_topk(X), strict=True):
        np.testing.assert_array_equal(first, second)


def test_prototypes_of_several_texts_are_their_mean(encoder):
    """With evidence of labels' texts alone, documents equal to all texts of a label find it."""
    from skxmc.evidence import Prototypes

    texts = {"a": ["red cat", "bus"], "b": ["dog"], "c": ["saw", "axe", "tram"]}
    params = {"evidence": [Prototypes(centroids=False)], "text_features": "embedding"}
    model = fitted(encoder, label_text={**texts, **WORDS}, **params)
    flat = [text for group in texts.values() for text in group]
    vectors = model.transform(flat)
    means = np.stack([vectors[:2].sum(0), vectors[2], vectors[3:].sum(0)])
    means /= np.linalg.norm(means, axis=1, keepdims=True)
    scores = vectors @ means.T
    order = model.predict_topk(flat, k=3, only=["a", "b", "c"])[0]
    np.testing.assert_array_equal(order, np.argsort(-scores, axis=1, kind="stable"))


@pytest.mark.parametrize("mode", ["full", "lora"])
def test_a_tuned_encoder_reads_all_texts_as_one(encoder, mode):
    joined = {name: ". ".join(texts) for name, texts in TEXTS.items()}
    one, other = (
        fitted(encoder, label_text=texts, train_encoder=mode, epochs=1, objective=Prime())
        for texts in (TEXTS, joined)
    )
    np.testing.assert_array_equal(one.transform(X), other.transform(X))
    one.add_labels({"u:new": ["tram", "saw"]})
    other.add_labels({"u:new": "tram. saw"})
    np.testing.assert_array_equal(one.predict_topk(X, k=5)[0], other.predict_topk(X, k=5)[0])


def test_decoders_take_the_same(tmp_path):
    clf = DecoderXMCClassifier(
        tiny_decoder(tmp_path), label_text=TEXTS, epochs=1, batch_size=16, random_state=0
    ).fit(X, Y)
    assert clf.classes_.tolist() == list(TEXTS)


def test_new_labels_as_in_the_constructor(model):
    forms = [
        lambda clf: clf.add_labels({"u:tram": ["tram", "big tram"], "u:saw": "saw"}),
        lambda clf: clf.add_labels(["u:tram", "u:saw"], label_text=[["tram", "big tram"], "saw"]),
        lambda clf: clf.add_labels(
            ["u:tram", "u:saw"], label_text={"u:saw": "saw", "u:tram": ["tram", "big tram"]}
        ),
        lambda clf: clf.add_labels(
            pd.DataFrame({"id": ["u:tram", "u:saw"], "text": ["tram", "saw"],
                          "texts": [["big tram"], None]})
        ),
    ]  # fmt: skip
    expected = forms[0](copy.deepcopy(model))
    assert expected.classes_.tolist() == [*TEXTS, "u:tram", "u:saw"]
    assert expected.label_texts_[-2:] == [["tram", "big tram"], ["saw"]]
    assert expected.predict_topk(["tram"], k=1, return_labels=True)[0].tolist() == [["u:tram"]]
    for form in forms[1:]:
        other = form(copy.deepcopy(model))
        assert other.label_texts_ == expected.label_texts_
        np.testing.assert_array_equal(other.predict_topk(X)[1], expected.predict_topk(X)[1])
    clf = copy.deepcopy(model)
    for arguments, options, message in [
        (["u:cat"], {}, r"labels\[0\] is known already: 'u:cat'"),
        (["new"], {"label_text": {"other": "x"}}, "do not hold the same ids, such as 'new'"),
        (["new"], {"label_text": ["x", "y"]}, "label_text has 2 entries for 1 labels"),
        ({"new": "x"}, {"label_text": ["x"]}, "label_text is given although labels holds texts"),
        (["new", "new"], {}, "the id 'new' more than once"),
    ]:
        with pytest.raises(ValueError, match=message):
            clf.add_labels(arguments, **options)


def test_table_of_candidates(model):
    frame = model.predict_topk(["big dog", "red bus"], k=2, as_frame=True)
    labels, scores = model.predict_topk(["big dog", "red bus"], k=2)
    assert frame.columns.tolist() == ["document", "rank", "label", "text", "score"]
    assert frame.document.tolist() == [0, 0, 1, 1]
    assert frame["rank"].tolist() == [1, 2, 1, 2]
    assert frame.label.tolist() == model.classes_[labels.ravel()].tolist()
    assert frame.text.tolist() == [WORDS[name] for name in frame.label]
    np.testing.assert_array_equal(frame.score, scores.ravel())
    assert len(model.predict_topk(["dog"], k=9, as_frame=True)) == 4  # no rows of padding


def test_numbers_have_no_texts():
    rng = np.random.RandomState(0)
    documents, targets = rng.normal(size=(12, 5)), np.tile(np.eye(3, dtype=int), (4, 1))
    clf = ViXMLClassifier("precomputed", random_state=0).fit(documents, targets)
    assert clf.label_texts_ is None
    frame = clf.predict_topk(documents[:1], as_frame=True)
    assert frame.text.tolist() == [None] * 3
    table = pd.DataFrame(targets, columns=["x", "y", "z"])
    clf = ViXMLClassifier("precomputed", random_state=0, label_text={5: "x", 7: "y", 3: "z"})
    clf.fit(documents, targets)
    assert clf.classes_.tolist() == [5, 7, 3]
    clf = ViXMLClassifier("precomputed", random_state=0).fit(documents, table)
    assert clf.classes_.tolist() == ["x", "y", "z"]
    assert clf.score(documents, table[["z", "x", "y"]]) == clf.score(documents, targets)


# --- how many ---


def test_more_labels_than_there_are(model):
    labels, scores = model.predict_topk(X[:2], k=7)
    fewer, _ = model.predict_topk(X[:2], k=4)
    np.testing.assert_array_equal(labels, np.pad(fewer, ((0, 0), (0, 3)), constant_values=-1))
    assert np.isneginf(scores[:, 4:]).all()
    assert model.predict_topk(X[:2])[0].shape == (2, 5)  # the default, with 4 labels
    names, _ = model.predict_topk(X[:1], k=5, return_labels=True)
    assert names[0, 4] is None


@pytest.mark.parametrize(
    "empty",
    [[], (), np.array([], dtype=str), pd.Series([], dtype=str), pd.DataFrame({"text": []}),
     pl.DataFrame({"text": []}, schema={"text": str}), {"text": []}],
    ids=["list", "tuple", "array", "Series", "pandas", "polars", "dict"],
)  # fmt: skip
def test_nothing_gives_nothing(model, empty):
    labels, scores = model.predict_topk(empty, k=3)
    assert labels.shape == scores.shape == (0, 3)
    assert labels.dtype == np.int64
    assert scores.dtype == np.float32
    assert model.predict_topk(empty, k=9, return_labels=True)[0].shape == (0, 9)
    assert len(model.predict_topk(empty, as_frame=True)) == 0
    assert model.predict(empty).shape == (0, 4)
    assert model.predict_proba(empty).shape == (0, 4)
    assert model.decision_function(empty).shape == (0, 4)
    assert model.transform(empty).shape == (0, 32)
    assert model.inverse_transform(model.predict(empty)) == []
    with pytest.raises(ValueError, match="X is empty"):
        clone(model).fit(empty, [])


def test_no_embeddings_give_nothing():
    rng = np.random.RandomState(0)
    clf = ViXMLClassifier("precomputed", random_state=0).fit(rng.normal(size=(9, 5)), [["a"]] * 9)
    for empty in ([], np.zeros((0, 5))):
        assert clf.predict_topk(empty)[0].shape == (0, 5)
        assert clf.transform(empty).shape == (0, 5)
    with pytest.raises(ValueError, match="features"):
        clf.predict_topk(np.zeros((0, 4)))


# --- parameters ---


def test_several_text_columns(encoder):
    frame = pd.DataFrame({"size": [x.split()[0] for x in X], "noun": [x.split()[1] for x in X]})
    clf = ViXMLClassifier(
        encoder, train_encoder="frozen", text_column=("size", "noun"), random_state=0
    ).fit(frame, Y)
    joined = [x.replace(" ", ". ") for x in X]
    same = clone(clf).set_params(text_column="text").fit(joined, Y)
    np.testing.assert_array_equal(clf.transform(frame), same.transform(joined))
    assert estimate_memory(clf, frame, Y).total > 0


def test_paths_devices_and_arrays_as_parameters(encoder, tmp_path):
    clf = ViXMLClassifier(
        Path(encoder),
        device=torch.device("cpu"),
        memory=tmp_path / "memory",
        objective=Prime(margin=np.array([0.1, 0.3])),
        epochs=np.int64(1),
        threshold=np.float32(0.25),
        label_text=WORDS,
        random_state=0,
    ).fit(X, Y)
    assert any((tmp_path / "memory").rglob("*"))
    clf.save(tmp_path / "model")
    loaded = ViXMLClassifier.load(tmp_path / "model")
    np.testing.assert_array_equal(loaded.predict_topk(X)[0], clf.predict_topk(X)[0])
    with pytest.raises(TypeError, match="pass one name, such as 'cuda:1'"):
        clone(clf).set_params(device=["cpu"]).fit(X, Y)


@pytest.mark.parametrize("label_text", [{"a"}, {"a": {"b"}}, "text", 3])
def test_bad_label_texts_are_named(encoder, label_text):
    with pytest.raises(TypeError, match="label_text"):
        fitted(encoder, label_text=label_text)


# --- pictures ---


def pictures(tmp_path):
    folder = tmp_path / "pictures"
    folder.mkdir()
    for number in range(len(X)):
        Image.new("RGB", (4, 4), (number * 10, 90, 200 - number)).save(folder / f"{number}.png")
    return [str(folder / f"{number}.png") for number in range(len(X))]


def test_missing_and_damaged_pictures(encoder, tmp_path):
    images = pictures(tmp_path)
    for number in (2, 5):
        Path(images[number]).unlink()
    for number in (7, 9, 11):
        Path(images[number]).write_bytes(b"no picture %d" % number)

    def make(missing):
        return ViXMLClassifier(
            encoder,
            ImageEncoder(mean_colour, missing=missing),
            train_encoder="frozen",
            label_text=WORDS,
            random_state=0,
        )

    with pytest.raises(
        ValueError, match=r"2 pictures cannot be used:\n\* images\[2\].*\n\* .*\[5\]"
    ):
        make("raise").fit(X, Y, images=images)
    for number in (2, 5):
        images[number] = None
    with pytest.raises(
        ValueError, match=r"3 pictures cannot be used:\n\* images\[7\] cannot be dec"
    ):
        make("raise").fit(X, Y, images=images)
    with pytest.warns(UserWarning, match=r"pictures are left out: 3 pictures"):
        tolerant = make("warn").fit(X, Y, images=images)
    sound = [None if number in (7, 9, 11) else image for number, image in enumerate(images)]
    strict = make("raise").fit(X, Y, images=sound)
    np.testing.assert_array_equal(
        make("ignore").fit(X, Y, images=images).transform(X, images=sound),
        strict.transform(X, images=sound),
    )
    with pytest.warns(UserWarning, match=r"pictures are left out: images\[0\] is a path"):
        found = tolerant.predict_topk(X[:1], images=["gone.png"])
    np.testing.assert_array_equal(found[0], tolerant.predict_topk(X[:1], images=[None])[0])
    with pytest.raises(ValueError, match=r"images\[0\] cannot be decoded.*Or set image_encoder"):
        strict.predict_topk(X[:1], images=[b"no picture"])
    with pytest.warns(UserWarning, match="image_encoder is not saved"):
        tolerant.save(tmp_path / "model")
    loaded = ViXMLClassifier.load(tmp_path / "model", image_encoder=mean_colour)
    with pytest.warns(UserWarning, match="pictures are left out"):
        loaded.predict_topk(X[:1], images=[b"no picture"])


def test_pictures_of_labels_by_id(encoder, tmp_path):
    images = pictures(tmp_path)
    shared = {"image_encoder": mean_colour, "train_encoder": "frozen", "random_state": 0}
    by_id = {"u:dog": images[1], "u:bus": images[3]}
    in_order = [None, images[1], None, images[3]]
    table = pd.DataFrame({"id": list(WORDS), "text": list(WORDS.values()), "image": in_order})
    models = [
        ViXMLClassifier(encoder, label_text=WORDS, label_images=by_id, **shared),
        ViXMLClassifier(encoder, label_text=WORDS, label_images=in_order, **shared),
        ViXMLClassifier(encoder, label_text=table, **shared),
    ]
    found = [clf.fit(X, Y, images=images).predict_topk(X, images=images) for clf in models]
    for labels, scores in found[1:]:
        np.testing.assert_array_equal(labels, found[0][0])
        np.testing.assert_array_equal(scores, found[0][1])
    with pytest.raises(ValueError, match="label_images is given although label_text has a column"):
        clone(models[2]).set_params(label_images=by_id).fit(X, Y, images=images)
    with pytest.raises(ValueError, match="label_images has the key 'dog', which is no label"):
        clone(models[0]).set_params(label_images={"dog": images[0]}).fit(X, Y, images=images)
