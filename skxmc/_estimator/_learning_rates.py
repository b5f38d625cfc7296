"""Learning rates by kind and size of an encoder, for ``learning_rate="auto"``."""

from __future__ import annotations

from math import inf
from typing import Any

from ..encoders import LanguageModel, TextEncoder

# By kind: up to so many weights, without the table of tokens, the rate. The first of each kind is
# for runs of few epochs on a CPU and was measured here (MiniLM-L6 has 11 million, SmolLM2-135M has
# 106 million). The others are those of ViXML's authors for DistilBERT (43 million), BERT
# (86 million) and decoders from 0.5 billion on. Encoders above 200 million weights take the
# decoders' rate.
LEARNING_RATES = {
    TextEncoder: ((30e6, 8e-4), (60e6, 2e-4), (200e6, 1e-4), (inf, 5e-5)),
    LanguageModel: ((150e6, 3e-4), (inf, 5e-5)),
}


def resolve_learning_rate(learning_rate: float | str, kind: type, tower: Any) -> float:
    """The learning rate as a number.

    Parameters
    ----------
    learning_rate : "auto" or float
    kind : type
        `TextEncoder` or `LanguageModel`.
    tower : Tower
        Whose weights are counted, without those of the tokens: a vocabulary of many languages
        makes no step larger.
    """
    if learning_rate != "auto":
        return float(learning_rate)
    n_weights = sum(part.numel() for part in tower.backbone.model.parameters())
    n_weights -= tower.backbone.get_input_embeddings().weight.numel()
    return next(rate for most, rate in LEARNING_RATES[kind] if n_weights <= most)
