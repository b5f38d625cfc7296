"""Low-rank adapters: where they sit, how they start, what they compute, how they are stored."""

import json
import logging

import numpy as np
import pytest
import torch
import transformers
from peft.tuners import lora
from tiny_models import (
    DECODERS,
    random_images,
    random_texts,
    tiny_backbone,
    tiny_language_model,
    tiny_tower,
)

from skxmc._backbones._lora import (
    LeanLinear,
    adapter_state,
    add_adapters,
    base_state,
    count_adapters,
    has_adapters,
    load_adapter_state,
    load_adapters,
    merge_adapters,
    save_adapters,
)
from skxmc._backbones._transformers import TransformersBackbone
from skxmc._towers._text import TextTower


def disturb(backbone, seed=0):
    """Adapters start as no change at all; give them something to merge."""
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in backbone.named_parameters():
        if "lora_B" in name:
            parameter.data = 0.1 * torch.randn(parameter.shape, generator=generator)


def adapted_layers(backbone):
    """Last part of the names of layers with adapters."""
    return {
        name.rpartition(".")[2]
        for name, module in backbone.named_modules()
        if isinstance(module, lora.LoraLayer)
    }


def hidden(backbone, length=9):
    ids = torch.arange(length)[None] + 3
    return backbone(input_ids=ids).last_hidden_state


# ------------------------------------------------------------------------------------------ where

TARGETS = {
    "llama": "q_proj k_proj v_proj o_proj gate_proj up_proj down_proj",
    "gpt2": "c_attn c_proj c_fc",
    "gemma3": "q_proj k_proj v_proj o_proj gate_proj up_proj down_proj",
    "opt": "q_proj k_proj v_proj out_proj fc1 fc2 project_in project_out",
    "gpt_neox": "query_key_value dense dense_h_to_4h dense_4h_to_h",
    # Its layers use the weights of dt_proj without calling it, and peft refuses out_proj.
    "mamba": "in_proj x_proj",
}


@pytest.mark.parametrize("architecture", TARGETS)
def test_automatic_targets(architecture):
    backbone = tiny_language_model(architecture)
    n_adapters = count_adapters(backbone, rank=4)
    add_adapters(backbone, rank=4, seed=0)
    assert adapted_layers(backbone) == set(TARGETS[architecture].split())
    assert n_adapters == sum(p.numel() for p in backbone.parameters() if p.requires_grad)
    # Every adapter is part of the computation.
    hidden(backbone).square().sum().backward()
    for name, parameter in backbone.named_parameters():
        assert (parameter.grad is not None) == ("lora_" in name), name


def test_encoders_get_adapters_on_all_linear_layers():
    backbone = tiny_backbone()
    add_adapters(backbone, rank=4, seed=0)
    linear = [m for m in tiny_backbone().modules() if isinstance(m, torch.nn.Linear)]
    assert sum(isinstance(m, lora.LoraLayer) for m in backbone.modules()) == len(linear)


def test_targets_by_name():
    backbone = tiny_language_model("llama")
    add_adapters(backbone, rank=4, seed=0, targets=["q_proj", "layers.1.mlp.up_proj"])
    assert adapted_layers(backbone) == {"q_proj", "up_proj"}
    assert not isinstance(backbone.layers[0].mlp.up_proj, lora.LoraLayer)
    assert isinstance(backbone.layers[1].mlp.up_proj, lora.LoraLayer)


def test_targets_that_match_nothing_are_refused():
    with pytest.raises(
        ValueError, match=r"no linear layer is called 'query'; this LlamaModel has down_proj, gate"
    ):
        add_adapters(tiny_language_model(), rank=4, seed=0, targets=["q_proj", "query"])
    with pytest.raises(ValueError, match="'auto' or a list of names, got 'q_proj'"):
        add_adapters(tiny_language_model(), rank=4, seed=0, targets="q_proj")


def test_adapters_are_rank_stabilised_and_seeded():
    def adapters(seed, disturbance=0, **options):
        torch.manual_seed(disturbance)
        backbone = tiny_backbone()
        state = torch.get_rng_state()
        add_adapters(backbone, rank=4, seed=seed, **options)
        assert torch.equal(torch.get_rng_state(), state)
        return backbone

    backbone = adapters(0)
    layer = backbone.encoder.layer[0].attention.self.query
    assert layer.scaling["default"] == pytest.approx(4 / 4**0.5)
    assert adapters(0, alpha=10).encoder.layer[0].attention.self.query.scaling[
        "default"
    ] == pytest.approx(10 / 4**0.5)
    trained = [name for name, p in backbone.named_parameters() if p.requires_grad]
    assert trained
    assert all("lora_" in name for name in trained)
    weights = [dict(b.named_parameters())[trained[0]] for b in (backbone, adapters(0, 5))]
    assert torch.equal(*weights)
    assert not torch.equal(weights[0], dict(adapters(1).named_parameters())[trained[0]])


# ------------------------------------------------------------------------------------------- what


@pytest.mark.parametrize("architecture", ["llama", "gpt2"])
@pytest.mark.parametrize("autocast", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_lean_layers_compute_what_those_of_peft_do(architecture, autocast, dtype):
    """In full precision to rounding, also in their gradients; in bf16 nearly."""
    backbone = tiny_language_model(architecture, spread=0.1).to(dtype)
    add_adapters(backbone, rank=4, seed=0)
    disturb(backbone)
    assert all(p.dtype == torch.float32 for p in backbone.parameters() if p.requires_grad)
    layers = [module for module in backbone.modules() if isinstance(module, lora.LoraLayer)]
    results = []
    for kind in (LeanLinear, lora.Linear):
        for layer in layers:
            assert isinstance(layer, LeanLinear) or kind is lora.Linear
            layer.__class__ = kind
        backbone.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            output = hidden(backbone).float()
        output.square().sum().backward()
        gradients = [p.grad for p in backbone.parameters() if p.requires_grad]
        results.append([output.detach(), *gradients])
    exact = dtype == torch.float32 and not autocast
    for got, expected in zip(*results, strict=True):
        error = (got - expected).norm() / expected.norm()
        assert error < (1e-5 if exact else 0.1)


def test_adapters_start_as_no_change():
    backbone = tiny_language_model()
    before = hidden(backbone)
    assert not has_adapters(backbone)
    add_adapters(backbone, rank=4, seed=0)
    assert has_adapters(backbone)
    torch.testing.assert_close(hidden(backbone), before)
    disturb(backbone)
    assert (hidden(backbone) - before).abs().max() > 1e-2


def test_dropout_stands_before_adapters():
    backbone = tiny_language_model()
    add_adapters(backbone, rank=4, seed=0, dropout=0.5)
    disturb(backbone)
    assert torch.equal(hidden(backbone), hidden(backbone))
    for layer in backbone.modules():
        if isinstance(layer, lora.LoraLayer):
            layer.lora_dropout.train()
    assert not torch.equal(hidden(backbone), hidden(backbone))


@pytest.mark.parametrize("architecture", ["bert", "modernbert"])
def test_merged_adapters_give_the_same_embeddings(rng, architecture):
    tower = tiny_tower(architecture)
    images = random_images(rng, 20)
    tower.add_images(images.vectors)
    items = tower.items(random_texts(rng, 20), images)
    names = list(tower.state_dict())
    kinds = [type(module) for module in tower.modules()]
    plain = tower.encode(items)
    add_adapters(tower.backbone.model, rank=4, seed=0)
    np.testing.assert_allclose(tower.encode(items), plain, atol=1e-6)
    disturb(tower.backbone.model)
    adapted = tower.encode(items)
    assert np.abs(adapted - plain).max() > 1e-2
    merge_adapters(tower.backbone.model)
    np.testing.assert_allclose(tower.encode(items), adapted, atol=1e-4)
    # What is left is the model as it was, with other weights.
    assert list(tower.state_dict()) == names
    assert [type(module) for module in tower.modules()] == kinds
    assert all(parameter.requires_grad for parameter in tower.parameters())


@pytest.mark.parametrize("architecture", DECODERS)
def test_merged_decoders_compute_the_same(architecture):
    backbone = tiny_language_model(architecture)
    add_adapters(backbone, rank=4, seed=0)
    disturb(backbone)
    with torch.no_grad():
        adapted = hidden(backbone)
        merge_adapters(backbone)
        assert not has_adapters(backbone)
        torch.testing.assert_close(hidden(backbone), adapted, atol=1e-3, rtol=1e-4)


def test_merged_model_is_saved_like_any_other(tmp_path, rng):
    tower = tiny_tower()
    add_adapters(tower.backbone.model, rank=4, seed=0)
    disturb(tower.backbone.model)
    items = tower.items(random_texts(rng, 10))
    adapted = tower.encode(items)
    merge_adapters(tower.backbone.model)
    tower.backbone.model.save_pretrained(tmp_path)
    assert not list(tmp_path.glob("adapter*"))
    backbone = TransformersBackbone.probe(transformers.AutoModel.from_pretrained(tmp_path), 24)
    again = TextTower(backbone, tower.tokenizer, max_length=24)
    np.testing.assert_allclose(again.encode(items), adapted, atol=1e-4)


# ----------------------------------------------------------------------------------------- stored


def test_state_is_that_of_adapters_and_base_apart():
    backbone = tiny_language_model("gpt2")
    base = {name: tensor.clone() for name, tensor in backbone.state_dict().items()}
    add_adapters(backbone, rank=4, seed=0)
    assert base_state(backbone).keys() == base.keys()
    for name, tensor in base_state(backbone).items():
        assert torch.equal(tensor, base[name])
    disturb(backbone)
    state = {name: tensor.clone() for name, tensor in adapter_state(backbone).items()}
    assert "base_model.model.h.0.attn.c_attn.lora_A.weight" in state
    expected = hidden(backbone)
    other = tiny_language_model("gpt2")
    add_adapters(other, rank=4, seed=1)
    load_adapter_state(other, state)
    assert torch.equal(hidden(other), expected)


def test_state_of_other_adapters_is_refused():
    backbone, other = tiny_language_model(), tiny_language_model()
    add_adapters(backbone, rank=4, seed=0)
    add_adapters(other, rank=8, seed=0)
    with pytest.raises(ValueError, match=r"do not fit the model: 28 differ \(base_model"):
        load_adapter_state(backbone, adapter_state(other))
    state = adapter_state(backbone)
    del state["base_model.model.layers.0.self_attn.q_proj.lora_A.weight"]
    with pytest.raises(ValueError, match="1 differ"):
        load_adapter_state(backbone, state)


def test_files_are_those_of_peft(tmp_path, caplog):
    backbone = tiny_language_model()
    add_adapters(backbone, rank=4, seed=0, dropout=0.1, alpha=6)
    disturb(backbone)
    save_adapters(backbone, tmp_path, "someone/base")
    assert {file.name for file in tmp_path.iterdir()} >= {
        "adapter_config.json",
        "adapter_model.safetensors",
    }
    config = json.loads((tmp_path / "adapter_config.json").read_text(encoding="utf-8"))
    assert (config["r"], config["lora_alpha"], config["use_rslora"]) == (4, 6, True)
    assert config["base_model_name_or_path"] == "someone/base"
    assert set(config["target_modules"]) == set(TARGETS["llama"].split())
    other = tiny_language_model()
    state = torch.get_rng_state()
    with caplog.at_level(logging.WARNING):
        load_adapters(other, tmp_path)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(hidden(other), hidden(backbone))
    assert {name for name, p in other.named_parameters() if p.requires_grad} == {
        name for name, _ in other.named_parameters() if "lora_" in name
    }
    assert not caplog.records
    with pytest.raises(ValueError, match="do not fit"):
        load_adapters(tiny_language_model(num_hidden_layers=3), tmp_path)


@pytest.mark.parametrize(
    ("name", "value", "match"),
    [
        ("target_modules", "(a+)+$", "must be a list of names of layers"),
        ("target_modules", "q_proj", "must be a list of names of layers"),
        ("target_modules", ["(a+)+$"], "must be a list of names of layers"),
        ("target_modules", ["q_proj", 5], "must be a list of names of layers"),
        ("target_modules", {"q_proj": 1}, "must be a list of names of layers"),
        ("r", 10**9, r"have the ranks \[4\], and adapter_config.json has r = 1000000000"),
        ("r", "4", "has r = '4'"),
    ],
)
def test_adapters_from_anybody_are_checked_before_they_are_made(tmp_path, name, value, match):
    backbone = tiny_language_model()
    add_adapters(backbone, rank=4, seed=0)
    save_adapters(backbone, tmp_path)
    file = tmp_path / "adapter_config.json"
    config = json.loads(file.read_text(encoding="utf-8"))
    file.write_text(json.dumps({**config, name: value}), encoding="utf-8")
    other = tiny_language_model()
    with pytest.raises(ValueError, match=match):
        load_adapters(other, tmp_path)
    assert not has_adapters(other)


def test_other_options_of_peft_are_not_taken_from_files(tmp_path):
    backbone = tiny_language_model()
    add_adapters(backbone, rank=4, seed=0)
    disturb(backbone)
    save_adapters(backbone, tmp_path)
    file = tmp_path / "adapter_config.json"
    config = json.loads(file.read_text(encoding="utf-8"))
    others = {"exclude_modules": "(a+)+$", "rank_pattern": {"(a+)+$": 9}, "use_dora": True}
    file.write_text(json.dumps({**config, **others}), encoding="utf-8")
    other = tiny_language_model()
    load_adapters(other, tmp_path)
    assert torch.equal(hidden(other), hidden(backbone))
