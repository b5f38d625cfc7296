"""Bounds on the sizes that a configuration names, before a model of these sizes is made.

A saved folder may come from anybody, and making a billion layers takes for ever, whatever its
weights are. The bounds are far above all models that there are.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

CONFIG = "config.json"

# Names of transformers' configurations; models differ in what they call the same thing.
_LAYERS = (
    "decoder_layers", "encoder_layers", "n_layer", "n_layers", "num_decoder_layers",
    "num_hidden_layers", "num_layers",
)  # fmt: skip
_WIDTHS = (
    "d_kv", "d_model", "dim", "embedding_size", "head_dim", "hidden_dim", "hidden_size", "n_embd",
    "n_head", "n_heads", "num_attention_heads", "num_experts", "num_heads", "num_key_value_heads",
    "num_local_experts", "type_vocab_size", "word_embed_proj_dim",
)  # fmt: skip
_INNER = ("d_ff", "ffn_dim", "intermediate_size", "n_inner")
_ROWS = ("max_position_embeddings", "n_ctx", "n_positions", "vocab_size")

LIMITS = {
    **dict.fromkeys(_LAYERS, 1_000),
    **dict.fromkeys(_WIDTHS, 2**16),
    **dict.fromkeys(_INNER, 2**20),
    **dict.fromkeys(_ROWS, 2**25),
}


def check_sizes(folder: Path) -> None:
    """Raise ValueError if the configuration in a folder, if there is one, has a size beyond all."""
    file = folder / CONFIG
    if file.is_file():
        _check(json.loads(file.read_text(encoding="utf-8")))


def _check(config: Any) -> None:
    parts = config.items() if isinstance(config, dict) else enumerate(config)
    for name, value in parts:
        if isinstance(value, dict | list):
            _check(value)
            continue
        limit = LIMITS.get(name)
        if limit is not None and isinstance(value, int | float) and not 0 <= value <= limit:
            raise ValueError(
                f"its {CONFIG} has {name} = {value!r}, and models have {limit} at most; get the "
                "model from where it was saved."
            )
