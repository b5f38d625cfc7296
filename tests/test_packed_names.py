"""Names in one array of bytes, and models that are loaded with such names."""

import pickle

import numpy as np
import pytest

from skxmc import ViXMLClassifier
from skxmc._inputs._packed_names import PackedLists, PackedNames
from skxmc.bulk import TablePredictor

NAMES = ["red", "", "größer", "\N{GRINNING FACE}", "x" * 300, "\ud800"]


def test_names():
    packed = PackedNames.of(NAMES)
    assert packed == NAMES
    assert [packed[number] for number in range(-6, 6)] == NAMES * 2
    assert packed[np.array([[4, 0], [2, 2]])].tolist() == [[NAMES[4], "red"], [NAMES[2]] * 2]
    assert packed[1:3].tolist() == NAMES[1:3]
    assert packed.array().dtype == object
    assert pickle.loads(pickle.dumps(packed)) == NAMES
    assert len(PackedNames.of([])) == 0
    with pytest.raises(IndexError):
        packed[6]


def test_lists():
    lists = [["red", "rot"], [], NAMES]
    packed = PackedLists.of(lists)
    assert packed == lists
    assert packed[-1] == NAMES
    assert packed[:2] == lists[:2]
    assert [*packed, ["more"]] == [*lists, ["more"]]


@pytest.mark.parametrize(
    ("data", "ends", "message"),
    [
        (b"abc", [1, 2], "ends of names are none"),
        (b"abc", [2, 1, 3], "ends of names are none"),
        (b"abc", [-1, 3], "ends of names are none"),
        (b"abc", [], "bytes of some"),
        (b"\xff", [1], "invalid start byte"),
        ("ä".encode(), [1, 2], "within a character"),
    ],
)
def test_what_a_folder_may_not_hold(data, ends, message):
    with pytest.raises(ValueError, match=message):
        PackedNames(np.frombuffer(data, np.uint8), np.array(ends, dtype=np.int64))
    with pytest.raises(TypeError):
        PackedNames(np.frombuffer(data, np.uint8), np.array(ends, dtype=np.float64))


@pytest.fixture
def folder(tmp_path):
    rng = np.random.RandomState(0)
    X = rng.normal(size=(60, 6)).astype(np.float32)
    tags = [[f"tag {np.argmax(row)}", f"größer {np.argmin(row)}"] for row in X]
    texts = {name: [name, "again"] for name in sorted({tag for row in tags for tag in row})}
    clf = ViXMLClassifier("precomputed", label_text=texts, random_state=0).fit(X, tags)
    clf.save(tmp_path / "model")
    return clf, X, tmp_path / "model"


def test_a_loaded_model_makes_names_when_they_are_asked_for(folder):
    clf, X, place = folder
    loaded = ViXMLClassifier.load(place)
    found = loaded.predict_topk(X, 3, return_labels=True)[0]
    loaded.predict(X)
    frame = loaded.predict_topk(X[:2], 2, as_frame=True)
    assert frame["label"].tolist() == found[:2, :2].ravel().tolist()
    predictor = TablePredictor(place)
    assert not predictor.gives_numbers
    for model in (loaded, predictor.model):
        assert isinstance(vars(model)["classes_"], PackedNames)
    assert found.tolist() == clf.predict_topk(X, 3, return_labels=True)[0].tolist()
    assert loaded.classes_.tolist() == clf.classes_.tolist()
    assert loaded.classes_ is loaded.classes_
    assert loaded.label_texts_ == clf.label_texts_


def test_a_loaded_model_is_saved_and_changed(folder, tmp_path):
    clf, X, place = folder
    loaded = ViXMLClassifier.load(place)
    loaded.save(tmp_path / "second")
    again = ViXMLClassifier.load(tmp_path / "second")
    again = pickle.loads(pickle.dumps(again))
    for model in (clf, again):
        model.partial_fit(X[:5], [["new"]] * 5).remove_labels("größer 0")
    assert again.classes_.tolist() == clf.classes_.tolist()
    assert again.label_texts_ == clf.label_texts_


def test_an_unfitted_estimator_has_no_names():
    assert not hasattr(ViXMLClassifier(), "classes_")
    assert not hasattr(ViXMLClassifier, "classes_")
