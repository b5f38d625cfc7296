"""Parameters of the objects that an estimator is made of: set, searched, cloned and saved."""

import copy
import json
import pickle
import sys

import numpy as np
import pytest
from conftest import parameters_of
from rounding import assert_alike
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, KFold

from skxmc import DecoderXMCClassifier, ViXMLClassifier
from skxmc.encoders import ImageEncoder, LanguageModel, LoRA, TextEncoder
from skxmc.evidence import Evidence, LabelVectors, Neighbours, Prototypes
from skxmc.indexes import HNSW
from skxmc.model_selection import Validation
from skxmc.objectives import LinearHead, Prime, Training


def _everything():
    """An estimator whose parameters are all objects."""
    return ViXMLClassifier(
        TextEncoder("some/encoder", max_length=32),
        ImageEncoder(max_images=2),
        train_encoder="lora",
        evidence=[Prototypes(), Neighbours(n_neighbors=20), LabelVectors(anchor=0.7)],
        objective=Prime(margin=(0.2, 0.4)),
        adapter=LoRA(rank=8),
        index=HNSW(m=24),
        training=Training(warmup_steps=10),
        validation=Validation(patience=3),
    )


# Nested parameter: its value above, and another one.
NESTED = {
    "label_vectors__anchor": (0.7, 0.25),
    "neighbours__n_neighbors": (20, 5),
    "neighbours__weight": ("auto", 0.5),
    "prototypes__centroids": (True, False),
    "objective__margin": ((0.2, 0.4), (0.0, 0.5)),
    "objective__head_weight": (0.3, 0.0),
    "encoder__max_length": (32, 64),
    "encoder__name": ("some/encoder", "another/encoder"),
    "image_encoder__max_images": (2, 1),
    "adapter__rank": (8, 16),
    "index__m": (24, 8),
    "training__warmup_steps": (10, 0),
    "validation__patience": (3, None),
}


def _problem():
    rng = np.random.RandomState(0)
    topics = rng.randint(4, size=80)
    X = np.eye(4)[topics] + 0.4 * rng.normal(size=(80, 4))
    Y = [[f"topic {topic}", "even" if topic % 2 == 0 else "odd"] for topic in topics]
    return X.astype(np.float32), Y


def _precomputed(**parameters):
    evidence = [Prototypes(), Neighbours(), LabelVectors(epochs=2)]
    return ViXMLClassifier("precomputed", evidence=evidence, random_state=0, **parameters)


# -- get_params and set_params -----------------------------------------------------------------


@pytest.mark.parametrize("name", NESTED)
def test_nested_parameters_are_read_and_set(name):
    clf = _everything()
    value, other = NESTED[name]
    assert clf.get_params(deep=True)[name] == value
    assert name not in clf.get_params(deep=False)
    before = clf.get_params()
    assert clf.set_params(**{name: other}) is clf
    after = clf.get_params()
    assert after[name] == other
    assert {key for key in before if before[key] != after[key]} == {name}


def test_objects_in_evidence_are_parameters_themselves():
    clf = _everything()
    params = clf.get_params()
    assert [params[kind.name] for kind in clf.evidence] == clf.evidence
    assert "label_vectors" not in clf.get_params(deep=False)
    assert not {"label_vectors", "prototypes"} & set(ViXMLClassifier().get_params())
    by_name = ViXMLClassifier(evidence=["prototypes", Neighbours()]).get_params()
    assert "prototypes" not in by_name
    assert by_name["neighbours__n_neighbors"] == 50


def test_all_parameters_can_be_set_as_they_are_read():
    clf = _everything()
    params = clf.get_params()
    other = ViXMLClassifier().set_params(**params)
    assert parameters_of(other) == parameters_of(clf)


def test_a_kind_is_replaced_by_its_name():
    clf = _everything()
    others, given = clf.evidence[:2], LabelVectors(anchor=1.0)
    clf.set_params(label_vectors=given)
    assert clf.evidence == [*others, given]
    clf.set_params(label_vectors=LabelVectors(), label_vectors__decay=0.5)
    assert clf.evidence[2].get_params()["decay"] == 0.5
    assert clf.evidence[2].get_params()["anchor"] == 0.5
    assert given.decay == 1.0
    clf.set_params(evidence=[Neighbours(), "prototypes"], neighbours=Neighbours(3))
    assert [repr(kind) for kind in clf.evidence] == ["Neighbours(n_neighbors=3)", "'prototypes'"]


def test_evidence_and_its_parameters_are_set_together():
    clf = ViXMLClassifier().set_params(
        neighbours__n_neighbors=7, evidence=[Neighbours()], objective__loss="binary_cross_entropy",
        objective=LinearHead(),
    )  # fmt: skip
    assert clf.evidence[0].n_neighbors == 7
    assert clf.objective.loss == "binary_cross_entropy"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("objective__margin", r"objective is None; pass an object as objective first.*Prime\(\)"),
        ("adapter__rank", r"adapter is None; pass an object as adapter first.*LoRA\(\)"),
        ("training__warmup_steps", r"pass an object as training first.*Training\(\)"),
        ("validation__metric", r"pass an object as validation first.*Validation\(\)"),
        ("index__m", r"index is 'auto'; pass an object as index first.*HNSW\(\)"),
        ("encoder__max_length", r"pass an object as encoder first.*TextEncoder\(\.\.\.\)"),
        ("image_encoder__max_images", r"as image_encoder first.*ImageEncoder\(\.\.\.\)"),
        ("label_vectors__anchor", r"evidence is None; pass a list .*=\[LabelVectors\(\)\]"),
    ],
)
def test_what_is_no_object_has_no_parameters(name, message):
    with pytest.raises(ValueError, match=f"^{name} cannot be set, because .*{message}"):
        ViXMLClassifier().set_params(**{name: 1})


def test_names_of_kinds_and_of_encoders_have_no_parameters():
    clf = ViXMLClassifier(evidence=["prototypes", "label_vectors"])
    with pytest.raises(ValueError, match=r"because evidence is \['prototypes', 'label_vectors'\]"):
        clf.set_params(label_vectors__anchor=1)
    assert clf.evidence == ["prototypes", "label_vectors"]
    with pytest.raises(ValueError, match=r"encoder=LanguageModel\(\.\.\.\)"):
        DecoderXMCClassifier().set_params(encoder__pooling="last")
    decoder = DecoderXMCClassifier(LanguageModel()).set_params(encoder__pooling="last")
    assert decoder.get_params()["encoder__pooling"] == "last"


@pytest.mark.parametrize("name", ["nothing", "nothing__anchor", "label_vectors__nothing"])
def test_unknown_parameters_are_named(name):
    with pytest.raises(ValueError, match="Invalid parameter 'nothing'"):
        _everything().set_params(**{name: 1})


# -- clones and searches -----------------------------------------------------------------------


def test_a_clone_has_objects_of_its_own():
    clf = _everything()
    other = clone(clf)
    assert parameters_of(other) == parameters_of(clf)
    for name in ("encoder", "image_encoder", "objective", "adapter", "index", "training"):
        assert getattr(other, name) is not getattr(clf, name)
    assert all(one is not two for one, two in zip(clf.evidence, other.evidence, strict=True))
    other.set_params(**{name: value for name, (_, value) in NESTED.items()})
    for name, (value, _) in NESTED.items():
        assert clf.get_params()[name] == value


def test_a_fit_leaves_all_objects_unfitted():
    clf = _precomputed(index=HNSW(m=8), validation=Validation(fraction=0.3))
    before = parameters_of(clf)
    clf.fit(*_problem())
    assert parameters_of(clf) == before
    for given in [*clf.evidence, clf.index, clf.validation]:
        assert not [name for name in vars(given) if name.endswith("_")]


def test_grid_search_over_kinds_of_evidence():
    X, Y = _problem()
    grid = {"label_vectors__anchor": [0.0, 1.0], "neighbours__n_neighbors": [1, 30]}
    clf = _precomputed()
    search = GridSearchCV(clf, grid, cv=KFold(3), error_score="raise").fit(X, Y)
    assert search.cv_results_["mean_test_score"].shape == (4,)
    assert search.best_score_ > 0.5
    best = search.best_estimator_
    assert {name: best.get_params()[name] for name in grid} == search.best_params_
    fitted = best.evidence_
    assert fitted["neighbours"].n_neighbors == search.best_params_["neighbours__n_neighbors"]
    assert fitted["label_vectors"].model_.anchor == search.best_params_["label_vectors__anchor"]
    assert clf.get_params()["label_vectors__anchor"] == 0.5
    # One neighbour and thirty of them are other models: the parameter arrives.
    one, thirty = (
        clone(clf).set_params(neighbours__n_neighbors=n).fit(X, Y).decision_function(X)
        for n in grid["neighbours__n_neighbors"]
    )
    assert not np.array_equal(one, thirty)


# -- folders and pickles -----------------------------------------------------------------------


class Counted(Evidence):
    """The labels that most documents have, if at least `least` do; others are parts of it."""

    name = "counted"

    def __init__(self, least=1, parts=()):
        self.least = least
        self.parts = parts

    def fit(self, corpus):
        counts = np.bincount(corpus.Y.indices, minlength=corpus.n_labels)
        self.best_ = np.flatnonzero(counts >= self.least)
        return len(self.best_) > 0

    def propose(self, documents, k):
        labels = np.tile(self.best_[:k], (len(documents), 1)).astype(np.int64)
        return labels, np.zeros(labels.shape, dtype=np.float32)


@pytest.fixture(scope="module")
def fitted():
    """With parameters that are objects, in objects too; not to be changed by tests."""
    clf = _precomputed(
        objective=Prime(margin=(0.2, 0.4)),
        index=HNSW(m=8),
        training=Training(warmup_steps=7),
        validation=Validation(fraction=0.3, propensity=(0.6, 2.6)),
    )
    parts = [Neighbours(n_neighbors=2), (Prime(n_negatives=3), 4)]
    clf.evidence.append(Counted(least=2, parts=parts))
    return clf.set_params(neighbours__n_neighbors=9, label_vectors__anchor=0.9).fit(*_problem())


def test_folders_keep_nested_parameters(fitted, tmp_path):
    fitted.save(tmp_path / "model")
    loaded = ViXMLClassifier.load(tmp_path / "model", device=fitted.device)
    assert parameters_of(loaded) == parameters_of(fitted)
    assert repr(loaded.evidence) == repr(fitted.evidence)
    assert loaded.get_params()["counted__parts"][1][0].n_negatives == 3
    for name, kind in fitted.evidence_.items():
        assert repr(loaded.evidence_[name]) == repr(kind)
    X, Y = _problem()
    assert_alike(loaded.predict_topk(X), fitted.predict_topk(X))
    again = clone(loaded).set_params(label_vectors__anchor=0.1).fit(X, Y)
    assert again.evidence_["label_vectors"].model_.anchor == 0.1


@pytest.mark.parametrize(
    "through", [lambda clf: pickle.loads(pickle.dumps(clf)), copy.deepcopy], ids=["pickle", "copy"]
)
def test_pickles_keep_nested_parameters(fitted, through):
    for clf in (_everything(), fitted):
        other = through(clf)
        assert parameters_of(other) == parameters_of(clf)
        assert repr(other.evidence) == repr(clf.evidence)
        other.set_params(label_vectors__anchor=0.1)
        assert clf.get_params()["label_vectors__anchor"] in (0.7, 0.9)


def test_what_a_kind_holds_and_a_folder_cannot_is_named(tmp_path):
    clf = ViXMLClassifier("precomputed", evidence=[Counted(parts=[len])]).fit(*_problem())
    with pytest.raises(TypeError, match="evidence 'counted' holds an object of type builtin_func"):
        clf.save(tmp_path / "model")
    assert not any(tmp_path.iterdir())


def _brightness(pictures):
    return np.stack([np.asarray(picture, np.float32).mean((0, 1)) for picture in pictures])


@pytest.mark.parametrize("model", [_brightness, "some/model"], ids=["callable", "name"])
def test_another_place_of_an_image_encoder_leaves_the_rest_of_it(model, tmp_path, recwarn):
    X, Y = _problem()
    pictures = [np.full((4, 4, 3), row, np.uint8) for row in range(len(X))]
    clf = ViXMLClassifier(
        "precomputed", ImageEncoder(_brightness, max_images=5, batch_size=7), random_state=0
    ).fit(X, Y, images=pictures)
    clf.set_params(image_encoder__model=model)
    clf.save(tmp_path / "model")
    assert len(recwarn) == callable(model)
    loaded = ViXMLClassifier.load(tmp_path / "model", image_encoder=_brightness)
    assert loaded.image_encoder.model is loaded.image_encoder_.model is _brightness
    assert loaded.image_encoder.max_images == 5
    several = [[picture] * 5 for picture in pictures]
    assert_alike(loaded.predict_topk(X, images=several), clf.predict_topk(X, images=several))
    given = ImageEncoder(_brightness, max_images=1)
    other = ViXMLClassifier.load(tmp_path / "model", image_encoder=given)
    assert other.image_encoder is given
    assert other.image_encoder_.model is _brightness
    with pytest.raises(ValueError, match="images"):
        other.predict_topk(X, images=several)


def _rename(folder, find):
    """Let a saved model name a class of a module that can be imported, but has not been."""
    path = folder / "skxmc.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    find(content)["$class"] = "surprise:Surprise"
    path.write_text(json.dumps(content), encoding="utf-8")


@pytest.mark.parametrize(
    "find",
    [
        lambda content: content["evidence"][0],
        lambda content: content["parameters"]["evidence"][-1]["parameters"]["parts"][0],
        lambda content: content["parameters"]["objective"],
    ],
    ids=["fitted kind", "within a kind", "parameter"],
)
def test_unknown_classes_are_refused_and_not_imported(fitted, find, tmp_path, monkeypatch):
    (tmp_path / "surprise.py").write_text(
        "from sklearn.base import BaseEstimator\nclass Surprise(BaseEstimator): pass\n",
        encoding="utf-8",
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    fitted.save(tmp_path / "model")
    _rename(tmp_path / "model", find)
    with pytest.raises(ValueError, match=r"class 'surprise:Surprise', which is not known here"):
        ViXMLClassifier.load(tmp_path / "model")
    assert "surprise" not in sys.modules


@pytest.mark.parametrize("path", ["skxmc.evidence:nothing", "os:system", "skxmc.evidence:Setting"])
def test_what_is_no_class_of_parameters_is_refused(fitted, path, tmp_path):
    fitted.save(tmp_path / "model")
    file = tmp_path / "model" / "skxmc.json"
    content = json.loads(file.read_text(encoding="utf-8"))
    content["parameters"]["training"] = {"$class": path, "parameters": {}}
    file.write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(ValueError, match=f"class {path!r}, which is not known here"):
        ViXMLClassifier.load(tmp_path / "model")
