"""Towers with random weights, in the shapes of real models."""

from dataclasses import dataclass
from pathlib import Path

import torch

from skxmc._towers._decoder import load_decoder_tower
from skxmc._towers._text import load_text_tower
from skxmc._towers._tower import Tower

from ._data import tiny_encoder

MAX_LENGTH = 32
# Words of a random decoder; the tokenizer knows a few hundred.
_VOCABULARY = 32_768


@dataclass(frozen=True)
class Shape:
    """A model's sizes.

    Attributes
    ----------
    decoder : bool
        Whether it is a language model, on which adapters are trained.
    width, layers, heads, key_heads, inner : int
    training_gb : float
        Memory that a step of 2,048 documents needs at least.
    """

    decoder: bool
    width: int
    layers: int
    heads: int
    key_heads: int
    inner: int
    training_gb: float


# Published sizes.
MODELS = {
    "MiniLM-L6": Shape(False, 384, 6, 12, 12, 1536, 4),
    "DistilBERT": Shape(False, 768, 6, 12, 12, 3072, 8),
    "Qwen2.5-0.5B": Shape(True, 896, 24, 14, 2, 4864, 16),
    "Qwen2.5-3B": Shape(True, 2048, 36, 16, 2, 11_008, 40),
}
_TINY = Shape(False, 32, 2, 4, 2, 64, 0)


def make_tower(
    name: str,
    folder: Path,
    device: torch.device,
    precision: torch.dtype = torch.float32,
    *,
    tiny: bool = False,
    load: bool = True,
) -> Tower | str:
    """A tower of a shape, by name, with random weights; `load=False` gives its folder instead.

    Weights of language models are kept in `precision`, as is usual beside adapters.
    """
    shape = MODELS[name]
    sizes = _TINY if tiny else shape
    path = tiny_encoder(folder, sizes.width, sizes.layers)  # with it comes a tokenizer
    _write(shape.decoder, sizes, path, device, precision)
    if not load:
        return path
    if shape.decoder:
        tower = load_decoder_tower(
            path, weights_dtype=precision, max_length=MAX_LENGTH, max_images=3
        )
    else:
        tower = load_text_tower(path, max_length=MAX_LENGTH, max_images=3)
    return tower.to(device)


def _write(
    decoder: bool, sizes: Shape, path: str, device: torch.device, precision: torch.dtype
) -> None:
    """Write a model over the one of a folder; large ones are drawn on the device."""
    from transformers import BertConfig, BertModel, Qwen2Config, Qwen2Model

    common = {
        "hidden_size": sizes.width,
        "num_hidden_layers": sizes.layers,
        "num_attention_heads": sizes.heads,
        "intermediate_size": sizes.inner,
        "max_position_embeddings": 512,
        "vocab_size": _VOCABULARY,
    }
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices), device:
        torch.manual_seed(0)
        if decoder:
            config = Qwen2Config(num_key_value_heads=sizes.key_heads, **common)
            model = Qwen2Model(config).to(precision)
        else:
            model = BertModel(BertConfig(**common))
    model.save_pretrained(path)
