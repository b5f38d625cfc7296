"""DecoderXMCClassifier from fit to folder, over random language models of two layers."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from rounding import assert_alike
from tiny_models import random_texts, save_language_model, tiny_decoder

from skxmc import DecoderXMCClassifier, ViXMLClassifier, estimate_memory
from skxmc._backbones._lora import has_adapters
from skxmc._training import _trainer
from skxmc.encoders import LanguageModel, LoRA
from skxmc.objectives import LinearHead, Training

ARCHITECTURES = ["llama", "gpt2", "gemma", "mamba"]
TOPICS = ["cat", "dog", "tram", "axe"]
NOISE = ["red", "blue", "big", "old"]


@pytest.fixture(scope="module")
def problem():
    """Texts whose topic, and pictures whose direction, say which label they have."""
    rng = np.random.RandomState(0)
    kinds = rng.permutation(48) % 4
    texts = [f"{rng.choice(NOISE)} {TOPICS[kind]} {rng.choice(NOISE)}" for kind in kinds]
    images = (np.eye(4, 6)[kinds] + 0.1 * rng.normal(size=(48, 6))).astype(np.float32)
    return texts, np.eye(4, dtype=np.float32)[kinds], images


@pytest.fixture(scope="module")
def folder_of(tmp_path_factory):
    folders = {}

    def find(architecture="llama"):
        if architecture not in folders:
            folder = tmp_path_factory.mktemp(architecture)
            folders[architecture] = save_language_model(folder, architecture)
        return folders[architecture]

    return find


def classifier(encoder, **parameters):
    parameters = {
        "label_text": ["feline", "canine", "vehicle", "tool"],
        "epochs": 3,
        "batch_size": 16,
        "learning_rate": 5e-3,
        "random_state": 0,
        **parameters,
    }
    if parameters.get("train_encoder", "lora") == "lora":
        parameters = {"adapter": LoRA(rank=4), **parameters}
    return DecoderXMCClassifier(encoder, **parameters)


def assert_same(one, other, X, images):
    """What a loaded model gives is what the saved one gave."""
    found, expected = (
        (*model.predict_topk(X, k=3, images=images), model.transform(X, images=images))
        for model in (other, one)
    )
    assert_alike(found, expected)


@pytest.mark.parametrize("with_images", [True, False], ids=["pictures", "texts"])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_fit_predict_save_load(problem, folder_of, tmp_path, architecture, with_images):
    texts, Y, images = problem
    images = images if with_images else None
    clf = classifier(folder_of(architecture)).fit(texts, Y, images=images)
    assert clf.score(texts, Y, images=images) > 0.9
    assert len(clf.history_) == 3
    assert has_adapters(clf.tower_.backbone.model)
    clf.save(tmp_path / "model")
    assert not list((tmp_path / "model" / "tower").glob("model*.safetensors"))  # adapters alone
    with pytest.raises(
        ValueError, match="no folder that a saved model names is opened; pass base="
    ):
        DecoderXMCClassifier.load(tmp_path / "model")
    loaded = DecoderXMCClassifier.load(tmp_path / "model", base=folder_of(architecture))
    assert_same(clf, loaded, texts, images)


@pytest.mark.parametrize("pooling", ["mean", "last", "eos", "attention"])
def test_tuning_with_every_pooling_learns(problem, folder_of, pooling):
    """Prototypes alone: nothing but the tower and them ranks the labels."""
    texts, Y, _ = problem
    encoder = LanguageModel(folder_of(), pooling=pooling)
    clf = classifier(encoder, evidence=["prototypes"], epochs=12).fit(texts, Y)
    assert clf.score(texts, Y) > 0.9
    assert clf.history_[-1]["loss"] < clf.history_[0]["loss"]


def test_whole_models_are_saved_on_request(problem, folder_of, tmp_path):
    texts, Y, _ = problem
    clf = classifier(folder_of(), epochs=1).fit(texts, Y)
    clf.save(tmp_path / "model", include_base=True)
    assert list((tmp_path / "model" / "tower").glob("*.safetensors"))
    assert_same(clf, DecoderXMCClassifier.load(tmp_path / "model"), texts, None)


def test_merged_adapters_embed_alike(problem, folder_of, tmp_path):
    texts, Y, _ = problem
    clf = classifier(folder_of(), precision="float32").fit(texts, Y)
    before = clf.transform(texts)
    assert clf.merge_adapter() is clf
    np.testing.assert_allclose(clf.transform(texts), before, atol=1e-3)
    with pytest.raises(ValueError, match="no adapters"):
        clf.merge_adapter()
    clf.save(tmp_path / "model")
    assert_same(clf, DecoderXMCClassifier.load(tmp_path / "model"), texts, None)


def test_adapters_are_served_alike(problem, folder_of):
    """Later predictions come from a copy with short weights, made again where these change."""
    texts, Y, _ = problem
    clf = classifier(folder_of(), precision="bfloat16").fit(texts, Y)
    first = clf.transform(texts)
    for _ in range(2):
        np.testing.assert_array_equal(clf.transform(texts), first)
    clf.merge_adapter()
    for _ in range(2):
        np.testing.assert_array_equal(clf.transform(texts), clf.featurizer_.encode(texts))


def test_base_weights_stay_as_they_are(problem, folder_of):
    texts, Y, _ = problem
    frozen = classifier(folder_of(), train_encoder="frozen").fit(texts, Y)
    tuned = classifier(folder_of()).fit(texts, Y)
    assert not (frozen.transform(texts) == tuned.transform(texts)).all()
    base = {
        name.replace(".base_layer", ""): weight
        for name, weight in tuned.tower_.backbone.model.state_dict().items()
        if "lora_" not in name
    }
    for name, weight in frozen.tower_.backbone.model.state_dict().items():
        assert torch.equal(weight, base[name]), name


def test_full_tuning_trains_and_saves_all_weights(problem, folder_of, tmp_path):
    texts, Y, _ = problem
    frozen = classifier(folder_of(), train_encoder="frozen").fit(texts, Y)
    clf = classifier(folder_of(), train_encoder="full", learning_rate=1e-3).fit(texts, Y)
    before = frozen.tower_.backbone.model.state_dict()
    assert any(
        not torch.equal(before[name], weight)
        for name, weight in clf.tower_.backbone.model.state_dict().items()
    )
    clf.save(tmp_path / "model")
    assert_same(clf, DecoderXMCClassifier.load(tmp_path / "model"), texts, None)


def test_gradient_checkpointing_trains_the_same(problem, folder_of):
    texts, Y, _ = problem
    options = {"epochs": 1, "precision": "float32"}
    plain = classifier(folder_of(), **options).fit(texts, Y)
    encoder = LanguageModel(folder_of(), gradient_checkpointing=True)
    checkpointed = classifier(encoder, **options).fit(texts, Y)
    np.testing.assert_allclose(
        plain.transform(texts), checkpointed.transform(texts), rtol=1e-4, atol=1e-4
    )


def test_dropout_of_adapters_draws_the_same_masks_in_chunks(problem, folder_of, monkeypatch):
    """Gradient caching runs each chunk twice, and both passes must drop the same."""
    texts, Y, _ = problem
    seen = []

    def record(tower, args, embeddings):
        if tower.training:
            seen.append((args[0].token_ids, embeddings.requires_grad, embeddings.detach()))

    class RecordingTrainer(_trainer.TowerTrainer):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs)
            self.gradient_cache.graph_tokens = self.gradient_cache.chunk_tokens = 40
            self.tower.register_forward_hook(record)

    monkeypatch.setattr(_trainer, "TowerTrainer", RecordingTrainer)
    classifier(
        folder_of(),
        adapter=LoRA(rank=4, dropout=0.5),
        training=Training(max_graph_memory=1.0),
        epochs=2,
        precision="float32",
    ).fit(texts, Y)
    first = [entry for entry in seen if not entry[1]]
    second = [entry for entry in seen if entry[1]]
    assert len(first) == len(second) > 10
    for (ids, _, before), (same, _, after) in zip(first, second, strict=True):
        assert torch.equal(ids, same)
        torch.testing.assert_close(before, after, atol=1e-4, rtol=1e-4)


def test_cached_embeddings_are_those_of_the_prompt(problem, folder_of, tmp_path):
    texts, Y, _ = problem
    options = {"train_encoder": "frozen", "memory": str(tmp_path)}
    one = classifier(folder_of(), **options).fit(texts, Y)
    prompting = LanguageModel(folder_of(), text_prompt="tag")
    other = classifier(prompting, **options).fit(texts, Y)
    alone = classifier(prompting, train_encoder="frozen").fit(texts, Y)
    assert_same(other, alone, texts, None)
    assert (one.transform(texts) != other.transform(texts)).any()


def test_linear_head_needs_no_label_texts(problem, folder_of):
    texts, Y, _ = problem
    clf = classifier(
        folder_of(),
        label_text=None,
        objective=LinearHead(),
        training=Training(head_learning_rate=1e-2),
        epochs=8,
    ).fit(texts, Y)
    assert clf.score(texts, Y) > 0.9


def test_four_bits_without_a_gpu_is_refused_before_loading(problem, folder_of):
    if torch.cuda.is_available():
        pytest.skip("there is a CUDA device")
    texts, Y, _ = problem
    with pytest.raises(ValueError, match="CUDA"):
        classifier(LanguageModel(folder_of(), quantization="nf4")).fit(texts, Y)


# -- estimate_memory --------------------------------------------------------------------------


def test_estimate_counts_weights_and_adapters(problem, folder_of):
    texts, Y, images = problem
    clf = classifier(folder_of(), precision="float32")
    estimate = estimate_memory(clf, texts, Y, images=images)
    clf.fit(texts, Y, images=images)
    parameters = dict(clf.tower_.backbone.model.named_parameters())
    adapters = sum(p.numel() for name, p in parameters.items() if "lora_" in name)
    base = sum(p.numel() for name, p in parameters.items() if "lora_" not in name)
    assert estimate.adapters == 4 * adapters
    assert estimate.base_weights == 4 * base
    assert estimate.optimizer > 12 * adapters
    assert estimate.total == pytest.approx(
        sum(value for name, value in vars(estimate).items()), rel=1e-9
    )
    assert "total" in str(estimate)


def test_estimate_grows_with_what_is_trained(problem, folder_of):
    texts, Y, _ = problem
    totals = [
        estimate_memory(classifier(folder_of(), train_encoder=mode), texts, Y).total
        for mode in ("frozen", "lora", "full")
    ]
    assert totals == sorted(totals)
    assert totals[0] < totals[2]


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_estimate_reads_a_configuration_alone(problem, folder_of, tmp_path, architecture):
    texts, Y, _ = problem
    folder = folder_of(architecture)
    shutil.copy(Path(folder) / "config.json", tmp_path)
    alone = estimate_memory(classifier(str(tmp_path)), texts, Y)
    assert alone == estimate_memory(classifier(folder), texts, Y)
    assert alone.total > alone.accelerator > alone.base_weights > 0


def test_estimate_of_four_bits_leaves_embeddings_long(problem, folder_of):
    texts, Y, _ = problem
    model = tiny_decoder().backbone
    rest = sum(p.numel() for name, p in model.named_parameters() if "_proj" not in name)
    linear = sum(p.numel() for p in model.parameters()) - rest
    assert linear > 0
    encoder = LanguageModel(folder_of(), quantization="nf4")
    clf = classifier(encoder, precision="bfloat16")
    estimate = estimate_memory(clf, texts, Y)
    assert estimate.base_weights == pytest.approx(2 * rest + 0.516 * linear)


def test_estimate_with_checkpoints_holds_one_layer_at_a_time(problem, folder_of):
    _, Y, _ = problem
    texts = ["the cat " * 100] * len(Y)  # so that a graph takes more than encoding
    plain, checkpointed = (
        estimate_memory(classifier(LanguageModel(folder_of(), **options)), texts, Y)
        for options in ({}, {"gradient_checkpointing": True})
    )
    assert checkpointed.activations < 0.8 * plain.activations
    assert checkpointed.base_weights == plain.base_weights


def test_estimate_of_ready_embeddings_loads_no_model():
    X, Y = np.eye(4, dtype=np.float32), np.eye(4)
    estimate = estimate_memory(ViXMLClassifier("precomputed"), X, Y)
    assert estimate.base_weights == estimate.optimizer == estimate.activations == 0


# -- standardised embeddings ------------------------------------------------------------------


def test_calibrated_embeddings_have_mean_zero_and_spread_one():
    rng = np.random.RandomState(0)
    tower = tiny_decoder()
    texts = random_texts(rng, 60)
    tower.calibrate(texts, torch.float32)
    vectors = tower.encode(tower.items(texts), normalize=False)
    np.testing.assert_allclose(vectors.mean(axis=0), 0, atol=1e-4)
    np.testing.assert_allclose(vectors.std(axis=0), 1, atol=1e-3)
    tower.calibrate(texts, torch.float32)  # again: from the model's own embeddings
    np.testing.assert_allclose(
        tower.encode(tower.items(texts), normalize=False), vectors, atol=1e-3
    )


def test_one_text_calibrates_nothing():
    tower = tiny_decoder()
    tower.calibrate(["the cat"], torch.float32)
    assert not tower.offset.any()
    assert (tower.scale == 1).all()


def test_standardizing_can_be_switched_off(problem, folder_of):
    texts, Y, _ = problem
    options = {"train_encoder": "frozen"}
    plain = classifier(LanguageModel(folder_of(), standardize=False), **options).fit(texts, Y)
    standard = classifier(folder_of(), **options).fit(texts, Y)
    assert not plain.tower_.offset.any()
    centre = np.linalg.norm(standard.transform(texts).mean(axis=0))
    assert centre < np.linalg.norm(plain.transform(texts).mean(axis=0))
