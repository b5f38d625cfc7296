"""BERT and its kin for predictions: what transformers computes, without what calling it takes.

A single document is little work for a small encoder, and a fifth of its time goes into the layers
of calls around it. In a fresh process, importing transformers and the compiler that it needs takes
two seconds. So serving has a backbone of its own: the same operations on the same weights, with the
same results to the bit.
"""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer

from ._packed import packed_attention

# Architectures that differ in where they count positions from, which their caller knows.
KINDS = {"bert": "BertModel", "roberta": "RobertaModel", "xlm-roberta": "XLMRobertaModel"}

CONFIG, WEIGHTS = "config.json", "model.safetensors"
TOKENIZER, TOKENIZER_CONFIG = "tokenizer.json", "tokenizer_config.json"


class BertBackbone(torch.nn.Module):
    """Encoder of KINDS over packed rows, with the names of transformers' weights.

    Parameters
    ----------
    config : dict
        As transformers writes it.
    weights : dict of str to torch.Tensor
        Shared, not copied.

    Raises
    ------
    ValueError
        If a model of this configuration has other weights, or computes something else.
    """

    def __init__(self, config: dict[str, Any], weights: dict[str, torch.Tensor]) -> None:
        super().__init__()
        self.config = SimpleNamespace(**config)
        if not _is_known(config):
            raise ValueError("this configuration is not one of BERT's encoders")
        width = config["hidden_size"]
        self.embeddings = _parts(
            word_embeddings=_table(config["vocab_size"], width),
            position_embeddings=_table(config["max_position_embeddings"], width),
            token_type_embeddings=_table(config["type_vocab_size"], width),
            LayerNorm=_norm(config),
        )
        layers = [_layer(config) for _ in range(config["num_hidden_layers"])]
        self.encoder = _parts(layer=torch.nn.ModuleList(layers))
        if "pooler.dense.weight" in weights:  # of no use here, but part of what is saved
            self.pooler = _parts(dense=_linear(width, width))
        try:
            found = self.load_state_dict(weights, strict=False, assign=True)
        except RuntimeError as error:
            raise ValueError(f"its weights are not those of its configuration: {error}") from None
        for verb, names in ("lack", found.missing_keys), ("have besides", found.unexpected_keys):
            if names:
                some = ", ".join(sorted(names)[:3])
                raise ValueError(f"its weights {verb} {len(names)} tensors ({some} ...).")
        self.requires_grad_(False)

    @classmethod
    def of(cls, backbone: torch.nn.Module) -> BertBackbone | None:
        """The same for a model of transformers, with its weights; None if there is no such one."""
        config = getattr(backbone, "config", None)
        if type(backbone).__name__ != KINDS.get(getattr(config, "model_type", None)):
            return None
        try:
            kind = {"architectures": [type(backbone).__name__]}  # else that of the whole model
            return cls({**config.to_dict(), **kind}, backbone.state_dict())
        except ValueError:  # with adapters, as a decoder, with an activation of its own
            return None

    @classmethod
    def load(cls, folder: Path) -> BertBackbone | None:
        """Read what :meth:`save_pretrained`, of this class or of transformers, has written.

        None if it is another model, or one that needs more than its configuration and weights.
        """
        config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
        if not _is_known(config):
            return None
        return cls(config, load_file(folder / WEIGHTS))

    def save_pretrained(self, folder: Path) -> None:
        """Write configuration and weights in the format of transformers."""
        text = json.dumps(vars(self.config), indent=2, sort_keys=True)
        (folder / CONFIG).write_text(text + "\n", encoding="utf-8")
        weights = {name: tensor.contiguous() for name, tensor in self.state_dict().items()}
        save_file(weights, folder / WEIGHTS, metadata={"format": "pt"})

    @property
    def dtype(self) -> torch.dtype:
        """Of the weights."""
        return self.embeddings.LayerNorm.weight.dtype

    def get_input_embeddings(self) -> torch.nn.Embedding:
        """The table of words."""
        return self.embeddings.word_embeddings

    def forward(
        self,
        inputs_embeds: torch.Tensor,
        position_ids: torch.Tensor,
        runs: list[tuple[int, int]],
    ) -> SimpleNamespace:
        """``last_hidden_state`` of a packed row, as :func:`run_transformer` asks for it."""
        table = self.embeddings
        hidden = inputs_embeds + table.token_type_embeddings.weight[0]
        hidden = table.LayerNorm(hidden + table.position_embeddings(position_ids))
        for layer in self.encoder.layer:
            hidden = self._run_layer(layer, hidden, runs)
        return SimpleNamespace(last_hidden_state=hidden)

    def _run_layer(
        self, layer: torch.nn.Module, hidden: torch.Tensor, runs: list[tuple[int, int]]
    ) -> torch.Tensor:
        attention = layer.attention
        own = attention.self
        shape = (*hidden.shape[:2], self.config.num_attention_heads, -1)
        heads = (
            part(hidden).view(shape).transpose(1, 2) for part in (own.query, own.key, own.value)
        )
        found, _ = packed_attention(self, *heads, runs=runs, is_causal=False)
        found = attention.output.dense(found.reshape(hidden.shape))
        hidden = attention.output.LayerNorm(found + hidden)
        found = layer.output.dense(F.gelu(layer.intermediate.dense(hidden)))
        return layer.output.LayerNorm(found + hidden)


def _is_known(config: dict[str, Any]) -> bool:
    """Whether a configuration describes an encoder that :class:`BertBackbone` computes."""
    kind = KINDS.get(config.get("model_type"))
    usual = {
        "hidden_act": "gelu",
        "is_decoder": False,
        "add_cross_attention": False,
        "position_embedding_type": "absolute",
    }
    return config.get("architectures") == [kind] and all(
        config.get(name) in (value, None) for name, value in usual.items()
    )


def _parts(**modules: torch.nn.Module) -> torch.nn.Module:
    """A module that only holds others."""
    holder = torch.nn.Module()
    for name, module in modules.items():
        holder.add_module(name, module)
    return holder


def _layer(config: dict[str, Any]) -> torch.nn.Module:
    width, inner = config["hidden_size"], config["intermediate_size"]
    own = {name: _linear(width, width) for name in ("query", "key", "value")}
    return _parts(
        attention=_parts(
            self=_parts(**own),
            output=_parts(dense=_linear(width, width), LayerNorm=_norm(config)),
        ),
        intermediate=_parts(dense=_linear(width, inner)),
        output=_parts(dense=_linear(inner, width), LayerNorm=_norm(config)),
    )


# Without numbers: weights are put in their places.


def _linear(width: int, out: int) -> torch.nn.Linear:
    return torch.nn.Linear(width, out, device="meta")


def _norm(config: dict[str, Any]) -> torch.nn.LayerNorm:
    return torch.nn.LayerNorm(config["hidden_size"], eps=config["layer_norm_eps"], device="meta")


def _table(rows: int, width: int) -> torch.nn.Embedding:
    # Its own initialisation imports torch's compiler, which takes a second.
    return torch.nn.Embedding(rows, width, _weight=torch.empty(rows, width, device="meta"))


class FastTokenizer:
    """A saved tokenizer, without transformers around it.

    Parameters
    ----------
    tokenizer : tokenizers.Tokenizer
    config : dict
        What transformers keeps beside it.
    """

    def __init__(self, tokenizer: Tokenizer, config: dict[str, Any]) -> None:
        tokenizer.no_padding()
        self.tokenizer, self.config = tokenizer, config
        padding = config.get("pad_token")
        padding = padding["content"] if isinstance(padding, dict) else padding
        self.pad_token_id = None if padding is None else tokenizer.token_to_id(padding)

    @classmethod
    def load(cls, folder: Path) -> FastTokenizer:
        """Read what :meth:`save_pretrained`, of this class or of transformers, has written."""
        config = json.loads((folder / TOKENIZER_CONFIG).read_text(encoding="utf-8"))
        return cls(Tokenizer.from_file(str(folder / TOKENIZER)), config)

    def save_pretrained(self, folder: Path) -> None:
        """Write the tokenizer and its configuration in the format of transformers."""
        self.tokenizer.save(str(folder / TOKENIZER))
        text = json.dumps(self.config, indent=2, ensure_ascii=False)
        (folder / TOKENIZER_CONFIG).write_text(text + "\n", encoding="utf-8")

    def __call__(
        self, texts: list[str], *, max_length: int, **options: Any
    ) -> dict[str, list[list[int]]]:
        """Token ids of texts, cut to `max_length`; options of transformers change nothing."""
        direction = self.config.get("truncation_side", "right")
        self.tokenizer.enable_truncation(max_length, direction=direction)
        return {"input_ids": [encoded.ids for encoded in self.tokenizer.encode_batch_fast(texts)]}


def load_encoder(folder: Path) -> tuple[BertBackbone, FastTokenizer] | None:
    """Backbone and tokenizer of a saved tower; None if that takes transformers."""
    files = {path.name for path in folder.iterdir()}
    if files != {CONFIG, WEIGHTS, TOKENIZER, TOKENIZER_CONFIG}:
        return None
    backbone = BertBackbone.load(folder)
    return None if backbone is None else (backbone, FastTokenizer.load(folder))
