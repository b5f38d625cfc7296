"""Plug-ins of another package go through everything: fit, search, clone, save, new labels."""

import pickle
import subprocess
import sys
from pathlib import Path

import joblib
import numpy as np
import pytest
from plugins.blocked import Blocked
from plugins.infonce import InfoNCE
from plugins.popularity import Popularity
from rounding import assert_alike
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, KFold
from tiny_models import save_encoder, save_language_model

from skxmc import DecoderXMCClassifier, ViXMLClassifier, estimate_memory
from skxmc.evidence import LabelVectors, Neighbours, Prototypes
from skxmc.testing import check_index

WORDS = ["red", "green", "blue", "apple", "car", "tree"]


@pytest.fixture(scope="module")
def documents():
    """A colour and a thing, which are the labels, among noise; "red" is the commonest."""
    rng = np.random.RandomState(0)
    colours = rng.choice(WORDS[:3], size=90, p=[0.6, 0.2, 0.2])
    things = rng.choice(WORDS[3:], size=90)
    texts = [f"{a} {b} x{n % 7}" for n, (a, b) in enumerate(zip(colours, things, strict=True))]
    return texts, [list(pair) for pair in zip(colours, things, strict=True)]


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    return save_encoder(tmp_path_factory.mktemp("encoder"), words=WORDS)


@pytest.fixture(scope="module")
def language_model(tmp_path_factory):
    return save_language_model(tmp_path_factory.mktemp("decoder") / "model")


def plugged(encoder, **params):
    """An estimator of nothing but plug-ins and two of our own kinds of evidence."""
    return ViXMLClassifier(
        encoder,
        evidence=[Popularity(), Prototypes(), Neighbours(), LabelVectors(epochs=2)],
        objective=InfoNCE(),
        index=Blocked(),
        validation=0.3,
        epochs=2,
        batch_size=16,
        random_state=0,
        **params,
    )


@pytest.fixture(scope="module")
def fitted(encoder, documents):
    return plugged(encoder).fit(*documents)


def test_everything_is_made_of_the_plugins(fitted, documents):
    texts, labels = documents
    assert isinstance(fitted.evidence_["popularity"], Popularity)
    assert isinstance(fitted.evidence_["prototypes"].index_, Blocked)
    assert [entry["epoch"] for entry in fitted.history_] == [1, 2]
    assert set(fitted.ranker_.mixture_.weights_) == set(fitted.evidence_)
    assert fitted.score(texts, labels) > 0.6
    best, _ = fitted.evidence_["popularity"].propose(texts, 1)
    assert fitted.classes_[best[0, 0]] == "red"


def test_estimators_of_language_models_take_them_too(language_model, documents):
    texts, labels = documents
    model = DecoderXMCClassifier(
        language_model,
        evidence=[Popularity(), "prototypes"],
        objective=InfoNCE(temperature=0.1),
        index=Blocked(),
        epochs=1,
        random_state=0,
    ).fit(texts, labels)
    assert set(model.evidence_) == {"popularity", "prototypes"}
    assert model.predict_topk(texts, k=2)[0].shape == (90, 2)


def test_fitting_leaves_the_objects_that_were_passed_as_they_were(encoder, documents):
    model = plugged(encoder, train_encoder="frozen")
    model.fit(*documents)
    for part in (*model.evidence, model.objective, model.index):
        assert not [name for name in vars(part) if name.endswith("_") and name[0] != "_"]


def test_clones_are_apart(encoder):
    model = plugged(encoder)
    copy = clone(model).set_params(
        popularity__smoothing=5, objective__temperature=1, index__block=2
    )
    assert (copy.evidence[0].smoothing, model.evidence[0].smoothing) == (5, 1.0)
    assert (copy.objective.temperature, model.objective.temperature) == (1, 0.05)
    assert (copy.index.block, model.index.block) == (2, 64)


def test_searches_reach_into_them(encoder, documents):
    texts, labels = documents
    grid = {
        "popularity__weight": [0.0, 1.0],
        "label_vectors__anchor": [0.5],
        "index__block": [8],
        "objective__temperature": [0.1],
    }
    search = GridSearchCV(plugged(encoder, train_encoder="frozen"), grid, cv=KFold(2))
    search.fit(texts, labels)
    assert search.best_params_["popularity__weight"] == 0.0
    best = search.best_estimator_
    assert best.evidence_["prototypes"].index_.block == 8
    assert best.ranker_.mixture_.weights_["popularity"] == 0.0


def test_saved_models_come_back(fitted, documents, tmp_path):
    fitted.save(tmp_path / "model")
    loaded = ViXMLClassifier.load(tmp_path / "model")
    assert_alike(loaded.predict_topk(documents[0]), fitted.predict_topk(documents[0]))
    assert isinstance(loaded.evidence_["prototypes"].index_, Blocked)
    assert loaded.get_params()["objective__temperature"] == 0.05
    assert loaded.objective.__class__ is InfoNCE
    again = ViXMLClassifier.load(tmp_path / "model").fit(*documents)  # from its parameters alone
    assert_alike(again.predict_topk(documents[0]), fitted.predict_topk(documents[0]))


def test_a_folder_imports_nothing_that_it_names(fitted, tmp_path):
    """Where the classes are not defined, the model is refused."""
    fitted.save(tmp_path / "model")
    code = (
        "import sys\nfrom skxmc import ViXMLClassifier\n"
        f"try:\n    ViXMLClassifier.load({str(tmp_path / 'model')!r})\n"
        "except ValueError as error:\n    print(error)\n"
        "print('plugins' in sys.modules)"
    )
    root = Path(__file__).resolve().parents[1]
    environment = {"PYTHONPATH": f"{root}:{root / 'tests'}", "PATH": ""}
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment
    )
    *message, imported = run.stdout.splitlines()
    assert imported == "False"
    assert "'blocked' is not one of the indexes" in "".join(message)


@pytest.mark.parametrize("way", ["pickle", "joblib"])
def test_pickled_models_come_back(fitted, documents, tmp_path, way):
    if way == "pickle":
        other = pickle.loads(pickle.dumps(fitted))
    else:
        joblib.dump(fitted, tmp_path / "model.joblib")
        other = joblib.load(tmp_path / "model.joblib", mmap_mode="r")
    assert_alike(other.predict_topk(documents[0]), fitted.predict_topk(documents[0]))


def test_new_labels_reach_them(encoder, documents):
    model = plugged(encoder, train_encoder="frozen").fit(*documents)
    before = len(model.classes_)
    model.add_labels(["purple"])
    assert len(model.evidence_["popularity"].counts_) == before + 1
    assert len(model.evidence_["prototypes"].index_) == before + 1
    assert model.predict_topk(["purple"], k=before + 1)[0].shape == (1, before + 1)


def test_the_size_estimate_sums_them(encoder, documents):
    texts, labels = documents
    kinds = [Prototypes()]
    without = estimate_memory(plugged(encoder).set_params(evidence=kinds), texts, labels)
    with_it = estimate_memory(
        plugged(encoder).set_params(evidence=[*kinds, Popularity()]), texts, labels
    )
    assert with_it.index - without.index == 8.0 * len(WORDS)


def test_the_index_keeps_the_contract():
    check_index(Blocked)
