"""Models given where another kind is meant, of timm, and folders of adapters."""

import json

import numpy as np
import peft
import pytest
import torch
import transformers
from tiny_models import save_encoder, word_pieces

from skxmc import DecoderXMCClassifier, ViXMLClassifier
from skxmc._inputs._images import collect_images
from skxmc._pictures._image_encoder import ImageEncoder

X, Y = ["red", "blue", "green"] * 4, [["a"], ["b"], ["c"]] * 4
TINY = {
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
}


def save_clip(folder):
    vision = {**TINY, "image_size": 16, "patch_size": 8}
    text = {**TINY, "vocab_size": 200, "max_position_embeddings": 20, "eos_token_id": 3}
    config = transformers.CLIPConfig(text_config=text, vision_config=vision, projection_dim=8)
    transformers.CLIPModel(config).save_pretrained(folder)
    word_pieces().save_pretrained(folder)


def save_vit(folder):
    config = transformers.ViTConfig(**TINY, image_size=16, patch_size=8)
    transformers.ViTModel(config).save_pretrained(folder)


@pytest.mark.parametrize("save", [save_clip, save_vit])
@pytest.mark.parametrize("estimator", [ViXMLClassifier, DecoderXMCClassifier])
def test_an_image_encoder_is_no_text_encoder(save, estimator, tmp_path):
    save(tmp_path)
    with pytest.raises(ValueError, match="is an image encoder; pass it as image_encoder"):
        estimator(str(tmp_path)).fit(X, Y)


def test_models_of_timm(tmp_path):
    pytest.importorskip("timm")
    config = transformers.TimmWrapperConfig(architecture="resnet10t", num_labels=0)
    model = transformers.TimmWrapperModel(config).eval()
    model.save_pretrained(tmp_path)
    settings = json.loads((tmp_path / "config.json").read_text())
    settings["pretrained_cfg"] = {
        "input_size": [3, 32, 32],
        "mean": [0.5] * 3,
        "std": [0.5] * 3,
        "interpolation": "bicubic",
    }
    (tmp_path / "config.json").write_text(json.dumps(settings))
    images = np.random.RandomState(0).randint(0, 255, (3, 32, 32, 3)).astype(np.uint8)
    found = ImageEncoder(tmp_path).encode(collect_images(images, 3))
    pixels = torch.tensor(images).permute(0, 3, 1, 2) / 127.5 - 1
    with torch.no_grad():
        expected = model(pixels).pooler_output.flatten(1).numpy()
    np.testing.assert_allclose(found.vectors, expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("mode", ["frozen", "full", "lora"])
def test_folders_of_adapters_are_merged(mode, tmp_path):
    base = save_encoder(tmp_path / "base", words=X[:3])
    adapters = peft.LoraConfig(target_modules=["query", "value"], r=4, init_lora_weights=False)
    adapted = peft.get_peft_model(transformers.AutoModel.from_pretrained(base), adapters)
    folder = tmp_path / "adapter"
    adapted.save_pretrained(folder)
    tokenizer = transformers.AutoTokenizer.from_pretrained(base)
    tokenizer.save_pretrained(folder)
    clf = ViXMLClassifier(str(folder), train_encoder=mode, epochs=1, random_state=0).fit(X, Y)
    clf.save(tmp_path / "model")
    loaded = ViXMLClassifier.load(tmp_path / "model")
    np.testing.assert_allclose(loaded.transform(X), clf.transform(X), atol=1e-5)
    if mode == "frozen":
        with torch.no_grad():
            states = adapted.eval()(**tokenizer(X[:1], return_tensors="pt")).last_hidden_state
        mean = torch.nn.functional.normalize(states.mean(1)).numpy()
        np.testing.assert_allclose(clf.transform(X[:1]), mean, atol=1e-2)


def test_two_labels():
    """Ranks over two labels look like an indicator of 0 and 1."""
    rng = np.random.RandomState(0)
    targets = [["a"], ["b"]] * 30
    documents = rng.normal(size=(60, 4)) + np.tile([[3, 0, 0, 0], [-3, 0, 0, 0]], (30, 1))
    clf = ViXMLClassifier("precomputed", random_state=0).fit(documents, targets)
    assert clf.score(documents, targets) == 1
