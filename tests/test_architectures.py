"""Tiny random copies of the architectures that people use: each works, or is refused clearly."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import transformers
from tiny_models import byte_pairs, word_pieces

from skxmc import DecoderXMCClassifier, ViXMLClassifier
from skxmc._features._blocks import unit_rows

CONFIGS = transformers.models.auto.configuration_auto.CONFIG_MAPPING
X = ["red apple", "a blue car", "green", "red", "", "a long text about a tree"] * 4
Y = [["red"], ["blue", "car"], ["green"], ["red"], ["none"], ["tree"]] * 4
SETTINGS = {"epochs": 1, "random_state": 0, "device": "cpu", "precision": "float32"}
SIZES = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 48,
    "max_position_embeddings": 300,
    "head_dim": 8,
    "vocab_size": 300,
    "initializer_range": 0.3,
    "pad_token_id": 0,
    "bos_token_id": 0,
    "eos_token_id": 2,
}
PICTURES = {
    "hidden_size": 16,
    "intermediate_size": 32,
    "depth": 1,
    "num_heads": 2,
    "out_hidden_size": 32,
    "deepstack_visual_indexes": [0],
}
LINEAR_ATTENTION = {
    "linear_num_value_heads": 2,
    "linear_num_key_heads": 2,
    "linear_key_head_dim": 8,
    "linear_value_head_dim": 8,
    "layer_types": ["linear_attention", "full_attention"],
}

# Model type: pooling of sentence-transformers, what its configuration has beside the sizes, and
# the configuration of its part that reads texts where that is one of several.
ENCODERS = {
    "bert": ("cls", {}),
    "xlm-roberta": ("cls", {"pad_token_id": 1}),
    "modernbert": ("mean", {"local_attention": 8}),
    "ultrabert": ("mean", {}),
    "gte": ("cls", {}),
    "nomic_bert": ("mean", {}),
    "eurobert": ("mean", {}),
    "jina_embeddings_v3": ("mean", {}),
    "deberta-v2": ("mean", {}),
    "mpnet": ("mean", {"pad_token_id": 1}),
    "qwen3": ("lasttoken", {}),
    "gemma3_text": ("mean", {"use_bidirectional_attention": True}),
    "lfm2": ("cls", {"layer_types": ["conv", "full_attention"]}),
    "qwen3_vl": ("lasttoken", {"text_config": {}, "vision_config": PICTURES}),
}
DECODERS = {
    "smollm3": {},
    "lfm2": {"layer_types": ["conv", "full_attention"]},
    "lfm3": {},
    "granite": {},
    "granitemoehybrid": {
        "mamba_n_heads": 8, "mamba_d_head": 8, "mamba_d_state": 4,
        "layer_types": ["mamba", "attention"], "num_local_experts": 0,
        "shared_intermediate_size": 48,
    },
    "qwen3": {},
    "gemma3_text": {"layer_types": ["sliding_attention", "full_attention"]},
    "ministral3": {
        "rope_parameters": {
            "rope_type": "default", "rope_theta": 1e4, "llama_4_scaling_beta": 0.1,
            "original_max_position_embeddings": 300,
        },
    },
    "olmo3": {},
    "gpt_oss": {
        "num_local_experts": 4,
        "rope_parameters": {"rope_type": "default", "rope_theta": 1e4},
    },
    "falcon_h1": {"mamba_d_ssm": 32, "mamba_n_heads": 4, "mamba_d_head": 8, "mamba_d_state": 4},
    "qwen3_5_text": LINEAR_ATTENTION,
    "qwen3_5": {"text_config": LINEAR_ATTENTION, "vision_config": PICTURES},
}  # fmt: skip


def save_model(folder, kind, extra):
    """Write a random model; skips where the installed transformers does not know the type."""
    if kind not in CONFIGS:
        pytest.skip(f"transformers {transformers.__version__} has no {kind}")
    known = CONFIGS[kind]
    extra = dict(extra)
    if "text_config" in extra:
        text = {**SIZES, **extra.pop("text_config")}
        config = known(text_config=text, pad_token_id=0, **extra)
    else:
        config = known(**{**SIZES, **extra})
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = transformers.AutoModel.from_config(config).eval()
        for name, parameter in model.named_parameters():
            if "norm" in name:  # some start at zero
                parameter.data += 0.1 * torch.randn(parameter.shape)
    model.save_pretrained(folder)
    return model


def save_processors(folder):
    """What such a folder has for pictures and films, which are never asked for here."""
    transformers.Qwen2VLImageProcessorPil().save_pretrained(folder)
    pytest.importorskip("torchvision")
    transformers.Qwen3VLVideoProcessor().save_pretrained(folder)


@pytest.fixture(scope="module")
def encoders(tmp_path_factory):
    """A function that gives the folder of a sentence encoder of a type."""
    folders = {}

    def get(kind):
        if kind not in folders:
            from sentence_transformers import SentenceTransformer
            from sentence_transformers.sentence_transformer.modules import Pooling, Transformer

            pooling, extra = ENCODERS[kind]
            folder = tmp_path_factory.mktemp(kind)
            save_model(folder / "plain", kind, extra)
            tokenizer = byte_pairs() if extra.get("pad_token_id") == 1 else word_pieces()
            tokenizer.save_pretrained(folder / "plain")
            if "vision_config" in extra:
                save_processors(folder / "plain")
            first = Transformer(str(folder / "plain"), max_seq_length=24)
            model = SentenceTransformer(modules=[first, Pooling(32, pooling)], device="cpu")
            model.save(str(folder / "encoder"))
            folders[kind] = str(folder / "encoder")
        return folders[kind]

    return get


@pytest.fixture(scope="module")
def decoders(tmp_path_factory):
    folders = {}

    def get(kind):
        if kind not in folders:
            folder = tmp_path_factory.mktemp(kind)
            save_model(folder, kind, DECODERS[kind])
            byte_pairs("<s> $A").save_pretrained(folder)
            folders[kind] = str(folder)
        return folders[kind]

    return get


def check(model, folder, images=None):
    """Fit, save, load, and the same predictions."""
    model.fit(X, Y, images=images)
    model.save(folder, include_base=True)
    loaded = type(model).load(folder, device="cpu")
    np.testing.assert_allclose(
        loaded.transform(X, images=images), model.transform(X, images=images), atol=1e-4
    )


@pytest.mark.parametrize("kind", ENCODERS)
def test_embeddings_are_those_of_sentence_transformers(kind, encoders, tmp_path):
    from sentence_transformers import SentenceTransformer

    model = ViXMLClassifier(encoders(kind), train_encoder="frozen", **SETTINGS)
    check(model, tmp_path / "model")
    expected = SentenceTransformer(encoders(kind), device="cpu").encode(X[:4])
    np.testing.assert_allclose(model.transform(X[:4]), unit_rows(expected), atol=1e-4)


@pytest.mark.parametrize("kind", ENCODERS)
def test_encoders_are_tuned_with_pictures(kind, encoders, tmp_path, rng):
    model = ViXMLClassifier(encoders(kind), train_encoder="lora", **SETTINGS)
    check(model, tmp_path / "model", rng.normal(size=(len(X), 2, 5)).astype(np.float32))


@pytest.mark.parametrize("mode", ["frozen", "lora"])
@pytest.mark.parametrize("kind", DECODERS)
def test_language_models(kind, mode, decoders, tmp_path):
    check(DecoderXMCClassifier(decoders(kind), train_encoder=mode, **SETTINGS), tmp_path / "model")


def test_a_language_model_that_looks_tokens_up_in_each_layer_is_refused(tmp_path):
    extra = {"hidden_size_per_layer_input": 4, "vocab_size_per_layer_input": 300}
    save_model(tmp_path, "gemma3n_text", {**extra, "laurel_rank": 4, "num_kv_shared_layers": 0})
    byte_pairs("<s> $A").save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="looks tokens up again in each layer"):
        DecoderXMCClassifier(str(tmp_path), train_encoder="frozen").fit(X, Y)
