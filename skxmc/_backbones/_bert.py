"""BERT and models like it: what transformers computes, without what calling it takes.

A single document is little work for a small encoder, and a fifth of its time goes into the layers
of calls around it. In a fresh process, importing transformers and the compiler that it needs takes
two seconds. And in training, autocast would bring the input of queries, keys and values to bfloat16
three times. So there is a backbone of our own: the same operations on the same weights, with the
same results: tests find them equal to the bit on weights that are shared.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from itertools import chain
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer

from ._backbone import Backbone
from ._packed import packed_attention, packed_row

# Architectures that differ in where they count positions from.
KINDS = {"bert": "BertModel", "roberta": "RobertaModel", "xlm-roberta": "XLMRobertaModel"}

CONFIG, WEIGHTS = "config.json", "model.safetensors"
TOKENIZER, TOKENIZER_CONFIG = "tokenizer.json", "tokenizer_config.json"


class BertBackbone(Backbone):
    """Encoder of KINDS over packed rows.

    Parameters
    ----------
    config : dict
        As transformers writes it.
    weights : dict of str to torch.Tensor
        Shared, not copied; parameters are the same objects here, others are frozen.
    position_offset : int, default=0
        Where positions are counted from, as ``probe_packing`` finds it.

    Raises
    ------
    ValueError
        If a model of this configuration has other weights, or computes something else.
    """

    #: Products with casts of the layers' weights; None lets the layers multiply by themselves.
    _products: list[_Products] | None = None

    def __init__(
        self, config: dict[str, Any], weights: dict[str, torch.Tensor], position_offset: int = 0
    ) -> None:
        super().__init__()
        self._config = SimpleNamespace(**config)
        self.position_offset = position_offset
        if not _is_known(config):
            raise ValueError("this configuration is not one of BERT's encoders")
        _check_layers(config, weights)
        width = config["hidden_size"]
        embeddings = _parts(
            word_embeddings=_table(config["vocab_size"], width, config.get("pad_token_id")),
            position_embeddings=_table(config["max_position_embeddings"], width),
            token_type_embeddings=_table(config["type_vocab_size"], width),
            LayerNorm=_norm(config),
        )
        layers = [_layer(config) for _ in range(config["num_hidden_layers"])]
        self.model = _parts(
            embeddings=embeddings, encoder=_parts(layer=torch.nn.ModuleList(layers))
        )
        if "pooler.dense.weight" in weights:  # of no use here, but part of what is saved
            self.model.add_module("pooler", _parts(dense=_linear(width, width)))
        self._put(weights)

    @classmethod
    def of(cls, model: torch.nn.Module, position_offset: int = 0) -> BertBackbone | None:
        """The same for a model of transformers, on its parameters; None if there is no such one."""
        config = getattr(model, "config", None)
        if type(model).__name__ != KINDS.get(getattr(config, "model_type", None)):
            return None
        try:
            kind = {"architectures": [type(model).__name__]}  # else that of the whole model
            weights = model.state_dict(keep_vars=True)
            return cls({**config.to_dict(), **kind}, weights, position_offset)
        except ValueError:  # with adapters, as a decoder, with an activation of its own
            return None

    @classmethod
    def load(cls, folder: Path, position_offset: int = 0) -> BertBackbone | None:
        """Read what :meth:`save`, or transformers, has written.

        None if it is another model, or one that needs more than its configuration and weights.
        """
        config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
        if not _is_known(config):
            return None
        return cls(config, load_file(folder / WEIGHTS), position_offset)

    def _put(self, weights: dict[str, torch.Tensor]) -> None:
        """Put weights in their places."""
        shapes = {name: parameter.shape for name, parameter in self.model.named_parameters()}
        given = {name: weight.shape for name, weight in weights.items()}
        for verb, names in (
            ("lack", shapes.keys() - given.keys()),
            ("have besides", given.keys() - shapes.keys()),
            ("have of another shape", {n for n in shapes if given.get(n, shapes[n]) != shapes[n]}),
        ):
            if names:
                some = ", ".join(sorted(names)[:3])
                raise ValueError(f"its weights {verb} {len(names)} tensors ({some} ...).")
        for name, weight in weights.items():
            if not isinstance(weight, torch.nn.Parameter):
                weight = torch.nn.Parameter(weight, requires_grad=False)
            owner, _, own_name = name.rpartition(".")
            setattr(self.model.get_submodule(owner), own_name, weight)

    def save(self, folder: Path) -> None:
        """Write configuration and weights in the format of transformers."""
        folder.mkdir(parents=True, exist_ok=True)
        text = json.dumps(vars(self.config), indent=2, sort_keys=True)
        (folder / CONFIG).write_text(text + "\n", encoding="utf-8")
        weights = {name: tensor.contiguous() for name, tensor in self.model.state_dict().items()}
        save_file(weights, folder / WEIGHTS, metadata={"format": "pt"})

    @property
    def config(self) -> SimpleNamespace:
        """As transformers names its parts."""
        return self._config

    @property
    def dtype(self) -> torch.dtype:
        """Of the weights."""
        return self.model.embeddings.LayerNorm.weight.dtype

    def get_input_embeddings(self) -> torch.nn.Embedding:
        """The table of words."""
        return self.model.embeddings.word_embeddings

    def run(
        self,
        embeddings: torch.Tensor,
        positions: torch.Tensor,
        runs: list[tuple[int, int]],
        shared: int = 0,
    ) -> torch.Tensor:
        """Last hidden states of ragged sequences, one row a token; they share no tokens."""
        if shared:
            raise ValueError("only causal layers can share what sequences begin with")
        row, position_ids = packed_row(embeddings, positions, self.position_offset)
        table = self.model.embeddings
        hidden = row + table.token_type_embeddings.weight[0]
        hidden = table.LayerNorm(hidden + table.position_embeddings(position_ids))
        return self._run_layers(hidden, runs)[0, : len(embeddings)]

    def _run_layers(self, hidden: torch.Tensor, runs: list[tuple[int, int]]) -> torch.Tensor:
        layers = self.model.encoder.layer
        products = self._products or map(_own_products, layers)
        for layer, own in zip(layers, products, strict=True):
            hidden = self._run_layer(layer, own, hidden, runs)
        return hidden

    def _run_layer(
        self,
        layer: torch.nn.Module,
        products: _Products,
        hidden: torch.Tensor,
        runs: list[tuple[int, int]],
    ) -> torch.Tensor:
        shape = (*hidden.shape[:2], self.config.num_attention_heads, -1)
        heads = (part.view(shape).transpose(1, 2) for part in products.heads(hidden))
        found, _ = packed_attention(self, *heads, runs=runs, is_causal=False)
        found = products.merged(found.reshape(hidden.shape))
        hidden = layer.attention.output.LayerNorm(found + hidden)
        found = products.outer(F.gelu(products.inner(hidden)))
        return layer.output.LayerNorm(found + hidden)

    @contextmanager
    def cast_once(self, dtype: torch.dtype) -> Iterator[None]:
        """Within, all rows are multiplied by the same cast of the weights, which has a graph."""
        if dtype == torch.float32:
            yield
            return
        self._products = self._cast_layers(dtype, _product)
        try:
            yield
        finally:
            self._products = None

    @torch.no_grad()
    def for_serving(self, dtype: torch.dtype) -> BertBackbone:
        """One that is never trained, with the layers' weights cast for good; it shares the rest."""
        if dtype == torch.float32 or self._products is not None:
            return self
        twin = copy.copy(self)
        on_cpu = self.model.embeddings.LayerNorm.weight.device.type == "cpu"
        packs = on_cpu and dtype == torch.bfloat16 and _can_pack()
        twin._products = self._cast_layers(dtype, _packed_product if packs else _product)
        return twin

    def lean(self) -> BertBackbone:
        """Itself."""
        return self

    def _cast_layers(self, dtype: torch.dtype, product: _Product) -> list[_Products]:
        return [_cast_products(layer, dtype, product) for layer in self.model.encoder.layer]


# Makes a product with a weight and its bias.
_Product = Callable[[torch.Tensor, torch.Tensor], Callable[[torch.Tensor], torch.Tensor]]


class _Products(NamedTuple):
    """The products of a layer with its weights: queries, keys and values at once, and the rest."""

    heads: Callable[[torch.Tensor], tuple[torch.Tensor, ...]]
    merged: Callable[[torch.Tensor], torch.Tensor]
    inner: Callable[[torch.Tensor], torch.Tensor]
    outer: Callable[[torch.Tensor], torch.Tensor]


def linear_layers(layer: torch.nn.Module) -> tuple[tuple[torch.nn.Linear, ...], ...]:
    """What each of the products of a layer is made of."""
    own = layer.attention.self
    return (
        (own.query, own.key, own.value),
        (layer.attention.output.dense,),
        (layer.intermediate.dense,),
        (layer.output.dense,),
    )


def _own_products(layer: torch.nn.Module) -> _Products:
    heads, *others = linear_layers(layer)
    return _Products(lambda hidden: tuple(part(hidden) for part in heads), *chain(*others))


def _cast_products(
    layer: torch.nn.Module,
    dtype: torch.dtype,
    product: _Product,
) -> _Products:
    """As :func:`_own_products` in another precision; `product` is made of weight and bias."""
    heads, *others = (
        product(
            torch.cat([part.weight.to(dtype) for part in group]),
            torch.cat([part.bias.to(dtype) for part in group]),
        )
        for group in linear_layers(layer)
    )
    return _Products(lambda hidden: heads(hidden).chunk(3, dim=-1), *others)


def _product(weight: torch.Tensor, bias: torch.Tensor) -> Callable[[torch.Tensor], torch.Tensor]:
    return partial(F.linear, weight=weight, bias=bias)


def _can_pack() -> bool:
    """Whether this CPU multiplies by weights in bfloat16 that are laid out for it."""
    operations = torch.ops.mkldnn
    names = ("_is_mkldnn_bf16_supported", "_reorder_linear_weight", "_linear_pointwise")
    return (
        torch.backends.mkldnn.is_available()
        and all(hasattr(operations, name) for name in names)
        and operations._is_mkldnn_bf16_supported()
    )


def _packed_product(
    weight: torch.Tensor, bias: torch.Tensor
) -> Callable[[torch.Tensor], torch.Tensor]:
    """What torch's compiler makes of a linear layer: two thirds of the time for a few tokens."""
    packed = torch.ops.mkldnn._reorder_linear_weight(weight)

    def product(rows: torch.Tensor) -> torch.Tensor:
        rows = rows.to(torch.bfloat16)
        return torch.ops.mkldnn._linear_pointwise(rows, packed, bias, "none", [], "")

    return product


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


def _check_layers(config: dict[str, Any], weights: dict[str, torch.Tensor]) -> None:
    """Raise ValueError unless the weights have the layers of the configuration, by their number.

    Shapes are compared with those of an empty model; that of a billion layers is never made.
    """
    prefix, named = "encoder.layer.", config["num_hidden_layers"]
    found = {name.removeprefix(prefix).split(".")[0] for name in weights if name.startswith(prefix)}
    if type(named) is not int or named != len(found):
        raise ValueError(f"its weights have {len(found)} layers, and its configuration {named!r}.")


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


def _table(rows: int, width: int, padding: int | None = None) -> torch.nn.Embedding:
    # Its own initialisation imports torch's compiler, which takes a second.
    weight = torch.empty(rows, width, device="meta")
    return torch.nn.Embedding(rows, width, padding, _weight=weight)


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
        self.truncation_side = config.get("truncation_side", "right")

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
        self.tokenizer.enable_truncation(max_length, direction=self.truncation_side)
        return {"input_ids": [encoded.ids for encoded in self.tokenizer.encode_batch_fast(texts)]}


def load_bert(folder: Path, position_offset: int = 0) -> tuple[BertBackbone, FastTokenizer] | None:
    """Backbone and tokenizer of a saved encoder; None if that takes transformers."""
    files = {path.name for path in folder.iterdir()}
    if files != {CONFIG, WEIGHTS, TOKENIZER, TOKENIZER_CONFIG}:
        return None
    backbone = BertBackbone.load(folder, position_offset)
    return None if backbone is None else (backbone, FastTokenizer.load(folder))
