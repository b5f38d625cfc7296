"""BERT of our own: the same numbers as with transformers on the same weights, and its files."""

import contextlib
import copy
import json
import pickle

import pytest
import torch
import transformers
from hypothesis import given, settings
from hypothesis import strategies as st
from rounding import FLOAT32, assert_same_weights
from tiny_models import byte_pairs, tiny_backbone, word_pieces

from skxmc._backbones import _bert
from skxmc._backbones._backbone import Backbone
from skxmc._backbones._bert import BertBackbone, FastTokenizer, load_bert
from skxmc._backbones._packed import probe_packing
from skxmc._backbones._transformers import TransformersBackbone

OFFSETS = {"bert": 0, "roberta": 2, "xlm-roberta": 2}


def backbone_of(kind, **changes):
    if kind != "xlm-roberta":
        return tiny_backbone(kind, **changes)
    like = tiny_backbone("roberta", **changes)
    config = {**like.config.to_dict(), "model_type": kind}
    config = transformers.XLMRobertaConfig(**config)
    model = transformers.XLMRobertaModel(config).eval()
    model.load_state_dict(like.state_dict())
    return model


def hidden_states(backbone, precision, offset, lengths=(1, 3, 3, 7, 20)):
    """Of random embeddings of sequences with these lengths."""
    generator = torch.Generator().manual_seed(0)
    embeddings = torch.randn(sum(lengths), 32, generator=generator)
    positions = torch.cat([torch.arange(length) for length in lengths])
    runs = [(lengths.count(length), length) for length in sorted(set(lengths))]
    if not isinstance(backbone, Backbone):
        backbone = TransformersBackbone(backbone, True, offset)
    assert backbone.position_offset == offset
    with torch.inference_mode(), torch.autocast("cpu", precision, precision != torch.float32):
        return backbone.run(embeddings, positions, runs)


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("kind", OFFSETS)
def test_hidden_states_are_those_of_transformers(kind, precision):
    model = backbone_of(kind)
    assert probe_packing(model, 20) == (True, OFFSETS[kind])
    own = BertBackbone.of(model, OFFSETS[kind])
    expected = hidden_states(model, precision, OFFSETS[kind])
    assert torch.equal(hidden_states(own, precision, OFFSETS[kind]), expected)
    for again in copy.deepcopy(own), pickle.loads(pickle.dumps(own)):  # in memory by torch
        assert torch.equal(hidden_states(again, precision, OFFSETS[kind]), expected)


@pytest.mark.parametrize("kind", OFFSETS)
def test_folders_are_those_of_transformers(kind, tmp_path):
    """Both ways, and whatever a model was called before its head was taken off."""
    model = backbone_of(kind)
    probe_packing(model, 20)
    model.config.architectures = ["SomethingForMaskedLM"]
    own = BertBackbone.of(model)
    own.save(tmp_path)
    again = transformers.AutoModel.from_pretrained(tmp_path)
    assert type(again) is type(model)
    for (name, tensor), other in zip(
        model.state_dict().items(), again.state_dict().values(), strict=True
    ):
        assert torch.equal(tensor, other), name
    model.save_pretrained(tmp_path)
    offset = OFFSETS[kind]
    loaded = BertBackbone.load(tmp_path, offset)
    assert_same_weights(model, loaded.model)
    expected = hidden_states(model, torch.float32, offset)
    found = hidden_states(loaded, torch.float32, offset)
    torch.testing.assert_close(found, expected, **FLOAT32)  # the file's memory is mapped


@pytest.mark.parametrize(
    ("kind", "changes"),
    [
        ("distilbert", {}),
        ("bert", {"hidden_act": "relu"}),
        ("bert", {"hidden_act": "gelu_new"}),
        ("bert", {"is_decoder": True}),
    ],
)
def test_other_models_are_left_to_transformers(kind, changes, tmp_path):
    model = tiny_backbone(kind, **changes)
    assert BertBackbone.of(model) is None
    model.save_pretrained(tmp_path)
    assert BertBackbone.load(tmp_path) is None


def test_configurations_of_nothing_known_are_left_to_transformers(tmp_path):
    for config in {}, {"model_type": "bert"}, {"model_type": "new", "architectures": ["NewModel"]}:
        (tmp_path / "config.json").write_text(json.dumps(config), encoding="utf-8")
        assert BertBackbone.load(tmp_path) is None


def test_changed_modules_are_left_to_transformers():
    model = tiny_backbone("bert")
    model.encoder.layer[1].output.dense = torch.nn.Linear(48, 32, bias=False)
    assert BertBackbone.of(model) is None
    assert BertBackbone.of(torch.nn.Linear(2, 3)) is None


def test_folders_with_more_in_them_are_left_to_transformers(tmp_path):
    tiny_backbone("bert").save_pretrained(tmp_path)
    word_pieces().save_pretrained(tmp_path)
    assert load_bert(tmp_path) is not None
    (tmp_path / "modeling.py").touch()
    assert load_bert(tmp_path) is None


TOKENIZERS = {"word pieces": word_pieces(["red", "##ish"]), "byte pairs": byte_pairs()}


@pytest.fixture(scope="module")
def tokenizers(tmp_path_factory):
    """Read back by both, and once more from what the own one has written."""
    found = {}
    for name, tokenizer in TOKENIZERS.items():
        first, second = (tmp_path_factory.mktemp("tokenizer") for _ in range(2))
        tokenizer.save_pretrained(first)
        own = FastTokenizer.load(first)
        own.save_pretrained(second)
        by_transformers = transformers.AutoTokenizer.from_pretrained(second)
        found[name] = own, pickle.loads(pickle.dumps(own)), by_transformers
    return found


@pytest.mark.parametrize("name", TOKENIZERS)
@settings(deadline=None)
@given(texts=st.lists(st.text(max_size=40), max_size=4), max_length=st.integers(4, 30))
def test_tokens_are_those_of_transformers(tokenizers, name, texts, max_length):
    texts = [*texts, "", "reddish [PAD] <pad> </s> [SEP]"]
    expected = TOKENIZERS[name](texts, truncation=True, max_length=max_length)["input_ids"]
    for tokenizer in tokenizers[name]:
        found = tokenizer(texts, truncation=True, max_length=max_length)["input_ids"]
        assert found == expected
        assert tokenizer.pad_token_id == TOKENIZERS[name].pad_token_id


def test_texts_are_cut_on_the_side_that_the_tokenizer_says(tmp_path):
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_object=word_pieces().backend_tokenizer, truncation_side="left"
    )
    tokenizer.save_pretrained(tmp_path)
    expected = tokenizer(["abc def"], truncation=True, max_length=5)["input_ids"]
    found = FastTokenizer.load(tmp_path)(["abc def"], truncation=True, max_length=5)["input_ids"]
    assert found == expected
    assert found != word_pieces()(["abc def"], truncation=True, max_length=5)["input_ids"]


# -- training and serving ---------------------------------------------------------------------


def gradients(backbone, cast=None):
    """Of all parameters that have one, for hidden states of some sequences in bfloat16."""
    backbone.zero_grad(set_to_none=True)
    casts = backbone.cast_once(cast) if cast else contextlib.nullcontext()
    table = backbone.get_input_embeddings()
    ids = torch.tensor([5, 0, 7, 8, 9, 5, 11])
    runs, positions = [(2, 2), (1, 3)], torch.tensor([0, 1, 0, 1, 0, 1, 2])
    with torch.autocast("cpu", torch.bfloat16), casts:
        hidden = backbone.run(table(ids), positions, runs)
    weights = torch.linspace(-1, 1, hidden.numel()).view(hidden.shape)
    (hidden.float() * weights).sum().backward()
    return {name: p.grad for name, p in backbone.model.named_parameters() if p.grad is not None}


def test_gradients_are_those_of_transformers():
    """But for the order in which queries, keys and values add up what they say of their input."""
    model = backbone_of("bert")
    model.encoder.layer[0].intermediate.requires_grad_(False)
    theirs = TransformersBackbone.probe(model, 20)
    expected = gradients(theirs)
    own = theirs.lean()
    for cast in None, torch.bfloat16:
        found = gradients(own, cast)
        assert found.keys() == expected.keys()
        assert "encoder.layer.0.intermediate.dense.weight" not in found
        largest = max(gradient.norm() for gradient in expected.values())
        for name, gradient in expected.items():  # that of a key's bias is all rounding
            error = (found[name] - gradient).norm()
            assert error <= 0.02 * gradient.norm() + 1e-3 * largest, name
    assert not found["embeddings.word_embeddings.weight"][0].any()  # padding learns nothing


def test_parameters_are_those_of_the_model():
    model = backbone_of("roberta")
    model.embeddings.requires_grad_(False)
    trained = {name: p.requires_grad for name, p in model.named_parameters()}
    own = dict(BertBackbone.of(model).model.named_parameters())
    assert own.keys() == trained.keys()
    for name, parameter in model.named_parameters():
        assert own[name] is parameter
        assert parameter.requires_grad == trained[name]


@pytest.mark.parametrize("packs", [True, False])
def test_casts_give_the_same_hidden_states(packs, monkeypatch):
    """Within a block, for good, and where the CPU has no layout of its own for weights."""
    if not packs:
        monkeypatch.setattr(_bert, "_can_pack", lambda: False)
    own = BertBackbone.of(backbone_of("bert"))
    expected = hidden_states(own, torch.bfloat16, 0)
    serving = own.for_serving(torch.bfloat16)
    served = hidden_states(serving, torch.bfloat16, 0)
    # Laid out in blocks, or three in one matrix: not every CPU adds up in the same order then.
    near = {"rtol": 0, "atol": 2e-2 * expected.abs().max().item()}
    torch.testing.assert_close(served, expected, **near)
    assert serving.for_serving(torch.bfloat16) is serving
    assert own.for_serving(torch.float32) is own
    with own.cast_once(torch.bfloat16):
        torch.testing.assert_close(hidden_states(own, torch.bfloat16, 0), expected, **near)
    with torch.no_grad():
        own.model.encoder.layer[0].output.dense.weight.mul_(2)
    assert (hidden_states(own, torch.bfloat16, 0) - expected).abs().max() > 2 * near["atol"]
    assert torch.equal(hidden_states(serving, torch.bfloat16, 0), served)


def test_weights_that_do_not_fit_are_named():
    model = backbone_of("bert")
    config = {**model.config.to_dict(), "architectures": ["BertModel"]}
    weights = model.state_dict()
    name = "encoder.layer.0.output.dense.bias"
    with pytest.raises(ValueError, match=rf"have of another shape 1 tensors \({name}"):
        BertBackbone(config, {**weights, name: torch.zeros(3)})
    with pytest.raises(ValueError, match=r"have besides 1 tensors \(more"):
        BertBackbone(config, {**weights, "more": torch.zeros(3)})
    del weights[name]
    with pytest.raises(ValueError, match=rf"lack 1 tensors \({name}"):
        BertBackbone(config, weights)


def test_what_sequences_begin_with_is_not_shared():
    own = BertBackbone.of(backbone_of("bert"))
    with pytest.raises(ValueError, match="only causal layers can share"):
        own.run(torch.zeros(4, 32), torch.arange(4), [(1, 3)], shared=1)
