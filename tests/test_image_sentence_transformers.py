"""Models of sentence-transformers as image encoders, ``image_encoder="st:..."``."""

import json
import shutil

import numpy as np
import pytest
import torch
from PIL import Image
from rounding import FLOAT32, assert_alike

from skxmc import ViXMLClassifier, encoders
from skxmc._backbones._sources import ModelNotFoundError
from skxmc._inputs._images import collect_images
from skxmc._pictures._image_encoder import ImageEncoder

VISION = {
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
}


def picture(seed, width=40):
    return np.random.RandomState(seed).randint(256, size=(30, width, 3), dtype=np.uint8)


def save_clip(folder):
    """A tiny CLIP with its processor, in the format of transformers."""
    import transformers as tf
    from tokenizers import Tokenizer, models

    torch.manual_seed(0)
    text = {**VISION, "vocab_size": 8, "bos_token_id": 0, "eos_token_id": 1}
    vision = {**VISION, "patch_size": 8, "image_size": 32}
    config = tf.CLIPConfig(text_config=text, vision_config=vision, projection_dim=12)
    tf.CLIPModel(config).save_pretrained(folder)
    words = Tokenizer(models.WordLevel({"<s>": 0, "</s>": 1, "a": 2}, unk_token="a"))
    tokenizer = tf.PreTrainedTokenizerFast(
        tokenizer_object=words, bos_token="<s>", eos_token="</s>", pad_token="</s>"
    )
    square = {"height": 32, "width": 32}
    pixels = tf.CLIPImageProcessorPil(size={"shortest_edge": 32}, crop_size=square)
    tf.CLIPProcessor(image_processor=pixels, tokenizer=tokenizer).save_pretrained(folder)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A model of sentence-transformers: CLIP, a dense module, unit length."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.base.modules import Dense, Normalize, Transformer

    folder = tmp_path_factory.mktemp("models")
    save_clip(folder / "clip")
    modules = [Transformer(str(folder / "clip")), Dense(12, 7), Normalize()]
    SentenceTransformer(modules=modules, device="cpu").save(str(folder / "st"))
    return folder / "st"


def test_the_vectors_are_those_of_sentence_transformers(folder):
    from sentence_transformers import SentenceTransformer

    arrays = [picture(seed, width) for seed, width in ((0, 40), (1, 20), (2, 30))]
    features = ImageEncoder(f"st:{folder}").encode(collect_images(arrays, 3))
    images = [Image.fromarray(array) for array in arrays]
    expected = SentenceTransformer(str(folder), device="cpu").encode(images)
    assert features.vectors.shape == (3, 7)
    np.testing.assert_allclose(features.vectors, expected, **FLOAT32)
    short = ImageEncoder(f"st:{folder}", precision=torch.bfloat16, padding="white")
    assert short.encode(collect_images(arrays, 3)).vectors.dtype == np.float32


def test_a_saved_model_opens_no_folder_that_it_names(folder, tmp_path):
    rng = np.random.RandomState(0)
    X, Y = rng.normal(size=(60, 8)).astype(np.float32), np.eye(6)[np.arange(60) % 6]
    images = [picture(seed) if seed % 5 else None for seed in range(60)]
    model = ViXMLClassifier(
        "precomputed", f"st:{folder}", train_encoder="frozen", random_state=0
    ).fit(X, Y, images=images)
    expected = model.predict_topk(X, k=6, images=images)
    model.save(tmp_path / "model")
    with pytest.raises(ModelNotFoundError, match=r"load\(folder, image_encoder="):
        ViXMLClassifier.load(tmp_path / "model").predict_topk(X, images=images)
    named = ViXMLClassifier.load(tmp_path / "model", image_encoder=f"st:{folder}")
    assert_alike(named.predict_topk(X, k=6, images=images), expected)


@pytest.mark.parametrize(
    ("file", "change", "message"),
    [
        ("modules.json", [{"path": "../clip", "type": "x"}], "names the path '../clip'"),
        ("modules.json", [{"path": "C:\\clip", "type": "x"}], "names the path 'C:/clip'"),
        (
            "sentence_bert_config.json",
            {"processor_kwargs": {"pretrained_model_name_or_path": "user/other"}},
            "names pretrained_model_name_or_path = 'user/other'",
        ),
        ("sentence_bert_config.json", {"tokenizer_name_or_path": "/etc"}, "= '/etc'"),
        ("adapter_config.json", {}, "names a base model"),
    ],
)
def test_a_model_that_leads_elsewhere_is_refused(folder, tmp_path, file, change, message):
    shutil.copytree(folder, tmp_path / "st")
    (tmp_path / "st" / file).write_text(json.dumps(change))
    with pytest.raises(ValueError, match=message):
        ImageEncoder(f"st:{tmp_path / 'st'}").encode(collect_images([picture(0)], 1))


def test_modules_of_other_packages_are_not_imported(folder, tmp_path):
    shutil.copytree(folder, tmp_path / "st")
    path = tmp_path / "st" / "modules.json"
    modules = json.loads(path.read_text())
    path.write_text(json.dumps([{**modules[0], "type": "antigravity.Module"}, *modules[1:]]))
    with pytest.raises(ValueError, match="trust_remote_code"):
        ImageEncoder(f"st:{tmp_path / 'st'}").encode(collect_images([picture(0)], 1))


def test_models_of_texts_and_all_layers_are_refused(folder, tmp_path):
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import BoW

    SentenceTransformer(modules=[BoW(["a"])], device="cpu").save(str(tmp_path))
    (tmp_path / "model.safetensors").touch()
    one = collect_images([picture(0)], 1)
    with pytest.raises(ValueError, match="takes text and no pictures"):
        ImageEncoder(f"st:{tmp_path}").encode(one)
    with pytest.raises(ValueError, match="pass layers='last'"):
        ImageEncoder(f"st:{folder}", layers="all").encode(one)
    assert encoders.ImageEncoder(f"st:{folder}").get_params()["model"] == f"st:{folder}"
