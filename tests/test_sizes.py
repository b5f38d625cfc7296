"""Sizes in configurations from anybody are looked at before a model of these sizes is made."""

import json

import pytest
from tiny_models import tiny_backbone, tiny_decoder, tiny_language_model, tiny_tower

from skxmc._backbones._bert import BertBackbone
from skxmc._backbones._sizes import LIMITS, check_sizes
from skxmc._towers._saving import load_tower


def edit(folder, **sizes):
    file = folder / "config.json"
    config = json.loads(file.read_text(encoding="utf-8"))
    file.write_text(json.dumps({**config, **sizes}), encoding="utf-8")


@pytest.mark.parametrize("kind", ["bert", "distilbert", "modernbert", "t5"])
def test_sizes_of_encoders_are_within_bounds(kind, tmp_path):
    tiny_backbone(kind).save_pretrained(tmp_path)
    check_sizes(tmp_path)


@pytest.mark.parametrize("kind", ["llama", "gpt2", "opt", "mamba"])
def test_sizes_of_decoders_are_within_bounds(kind, tmp_path):
    tiny_language_model(kind).save_pretrained(tmp_path)
    check_sizes(tmp_path)


def test_folders_without_a_configuration_pass(tmp_path):
    check_sizes(tmp_path)


@pytest.mark.parametrize("name", LIMITS)
@pytest.mark.parametrize("nested", [False, True])
def test_sizes_beyond_all_models_are_refused(name, nested, tmp_path):
    for value in (LIMITS[name] + 1, 2**70, 1e300, float("inf"), float("nan"), -1):
        config = {"text_config": {name: value}} if nested else {name: value}
        (tmp_path / "config.json").write_text(json.dumps([config]), encoding="utf-8")
        with pytest.raises(ValueError, match=rf"has {name} = .*models have {LIMITS[name]} at most"):
            check_sizes(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({name: LIMITS[name]}), encoding="utf-8")
    check_sizes(tmp_path)


@pytest.mark.parametrize(
    ("kind", "name"),
    [("bert", "num_hidden_layers"), ("t5", "num_layers"), ("distilbert", "n_layers")],
)
def test_encoders_of_many_layers_are_refused_before_they_are_made(kind, name, tmp_path):
    state = tiny_tower(kind).save(tmp_path)
    edit(tmp_path, **{name: 10**9})
    with pytest.raises(ValueError, match=f"{name} = 1000000000"):
        load_tower(tmp_path, state)


def test_decoders_of_many_layers_are_refused_before_they_are_made(tmp_path):
    state = tiny_decoder().save(tmp_path, include_base=True)
    edit(tmp_path, num_hidden_layers=10**9)
    with pytest.raises(ValueError, match="num_hidden_layers = 1000000000"):
        load_tower(tmp_path, state)


@pytest.mark.parametrize("named", [0, 1, 3, 10**9, 2.0, "2", None, True])
def test_bert_has_the_layers_of_its_weights(named, tmp_path):
    tiny_backbone("bert").save_pretrained(tmp_path)
    assert len(BertBackbone.load(tmp_path).model.encoder.layer) == 2
    edit(tmp_path, num_hidden_layers=named)
    with pytest.raises(ValueError, match="its weights have 2 layers, and its configuration"):
        BertBackbone.load(tmp_path)
