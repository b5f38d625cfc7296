"""``learning_rate="auto"``: by kind and size of the encoder."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from tiny_models import save_encoder

from skxmc import ViXMLClassifier
from skxmc._estimator._learning_rates import LEARNING_RATES, resolve_learning_rate
from skxmc.encoders import LanguageModel, TextEncoder


def tower(n_millions, n_words=1000):
    """A tower of so many weights, on the device that holds none."""
    table = torch.nn.Embedding(n_words, 384, device="meta")
    rest = torch.nn.Linear(1000, round(n_millions * 1000), bias=False, device="meta")
    backbone = SimpleNamespace(
        model=torch.nn.ModuleList([table, rest]), get_input_embeddings=lambda: table
    )
    return SimpleNamespace(backbone=backbone)


@pytest.mark.parametrize(
    ("kind", "n_millions", "rate"),
    [
        (TextEncoder, 10.6, 8e-4),  # MiniLM-L6
        (TextEncoder, 43, 2e-4),  # DistilBERT
        (TextEncoder, 86, 1e-4),  # BERT base
        (TextEncoder, 303, 5e-5),  # BERT large
        (LanguageModel, 106, 3e-4),  # SmolLM2-135M
        (LanguageModel, 358, 5e-5),  # Qwen2.5-0.5B
    ],
)
def test_larger_encoders_take_smaller_steps(kind, n_millions, rate):
    assert resolve_learning_rate("auto", kind, tower(n_millions)) == rate
    assert resolve_learning_rate("auto", kind, tower(n_millions, 250_000)) == rate
    assert resolve_learning_rate(1e-2, kind, tower(n_millions)) == 1e-2


def test_rates_fall_with_size_and_end_with_any_size():
    for rows in LEARNING_RATES.values():
        sizes, rates = zip(*rows, strict=True)
        assert list(sizes) == sorted(sizes)
        assert list(rates) == sorted(rates, reverse=True)
        assert sizes[-1] == np.inf


def test_auto_is_the_rate_of_a_small_encoder(tmp_path):
    save_encoder(tmp_path, words=["red", "green", "blue", "sky", "sea"])
    texts, tags = ["red sky", "green sea", "blue sky", "blue sea"] * 10, [["a"], ["b"]] * 20
    options = {"epochs": 2, "random_state": 0, "device": "cpu", "precision": "float32"}
    encoder = str(tmp_path / "encoder")
    auto = ViXMLClassifier(encoder, **options).fit(texts, tags)
    given = ViXMLClassifier(encoder, learning_rate=8e-4, **options).fit(texts, tags)
    losses = [[entry["loss"] for entry in model.history_] for model in (auto, given)]
    assert losses[0] == losses[1]
    with pytest.raises(ValueError, match="learning_rate"):
        ViXMLClassifier(encoder, learning_rate="fast").fit(texts, tags)
