"""The decoder tower: a language model without its head, prompts, and images among the text."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import torch

from .._backbones._backbone import Backbone
from .._backbones._language_model import (
    checkpoint_gradients,
    checkpointed_layers,
    is_quantized,
    load_backbone,
    load_tokenizer,
)
from .._backbones._lora import base_state, has_adapters, load_adapters, save_adapters
from .._backbones._packed import probe_sharing
from .._backbones._sources import ModelSource, find_model
from .._backbones._transformers import TransformersBackbone
from .._inputs._images import ImageFeatures
from .._runtime._quiet import quiet_transformers
from ._base_model import BaseModel
from ._items import Items, Pack, TokenizedTexts
from ._pooling import make_pooling
from ._prompts import Frame, Prompts, tokenize_prompts
from ._tower import Tower, by_runs
from ._weights import fill

logger = logging.getLogger(__name__)

POOLINGS = ("mean", "last", "eos", "attention")

# Adapters have a folder of their own: transformers takes a folder with an adapter for that alone.
ADAPTER = "adapter"

# Texts by which embeddings are standardised, at most twice as many.
CALIBRATED_TEXTS = 2000


class DecoderTower(Tower):
    """Tower over a decoder-only language model (dual-decoder learning).

    Prompts stand around an item's text and images; each image is one token. Position ids count
    the tokens that are there, so an image that is missing shifts nothing.

    Parameters
    ----------
    backbone : Backbone
        Language model without its head.
    tokenizer : transformers.PreTrainedTokenizerBase
    prompts : Prompts
        What stands around text and images, and in which order.
    pooling : {"mean", "last", "eos", "attention"}
        How hidden states become one vector: their mean over all positions, prompts and images
        included; the last one; that of the end token; or a mean with learned weights.
    max_length : int
        Longest text in tokens, what stands around it not counted.
    n_shared : int, default=0
        Tokens that all sequences begin with, run once a pack, as :func:`probe_decoder` found.
    base : BaseModel or None
        Where the backbone's weights come from, for a tower that is saved without them.
    """

    kind = "decoder"
    new_parts = (*Tower.new_parts, "pooling.")
    # Embeddings of a language model that is not tuned lie close together: free vectors at random
    # would be far from all of them.
    free_vectors = "labels"

    def __init__(
        self,
        backbone: Backbone,
        tokenizer,
        *,
        prompts: Prompts | None = None,
        pooling: str = "mean",
        max_length: int = 128,
        n_shared: int = 0,
        base: BaseModel | None = None,
    ) -> None:
        super().__init__(
            backbone,
            tokenizer,
            pooling=make_pooling(pooling, backbone.width, POOLINGS),
            max_length=max_length,
        )
        prompts = prompts or Prompts()
        if pooling == "eos" and not prompts.end:
            raise ValueError("pooling='eos' needs an end token; pass one, or pooling='last'")
        self.prompts, self.n_shared, self.base = prompts, n_shared, base
        self._frame = tokenize_prompts(prompts, tokenizer)
        shared = torch.from_numpy(self._frame.heads[0][:n_shared]).long()
        self.register_buffer("shared_ids", shared, persistent=False)
        # What embeddings are standardised by; nothing at first.
        self.register_buffer("offset", torch.zeros(self.dimension))
        self.register_buffer("scale", torch.ones(self.dimension))
        self.to(next(backbone.parameters()).device)

    def __getstate__(self) -> dict[str, Any]:
        if is_quantized(self.backbone.model):
            raise ValueError(
                "a model with 4-bit weights cannot be pickled; save it to a folder, which holds "
                "its adapters and the name of their base"
            )
        return super().__getstate__()

    @property
    def dimension(self) -> int:
        """Length of an embedding."""
        return self.backbone.width

    def settings(self) -> tuple[str, ...]:
        """All beside the weights that an embedding depends on."""
        quantization = self.base and self.base.quantization
        standard = joblib.hash((self.offset.cpu().numpy(), self.scale.cpu().numpy()))
        return (
            *super().settings(),
            repr(self.prompts),
            self.pooling.name,
            str(quantization),
            standard,
        )

    def train(self, mode: bool = True) -> DecoderTower:
        """As usual, but for the backbone, which stays in evaluation mode."""
        super().train(mode)
        for layer in checkpointed_layers(self.backbone):
            layer.training = mode  # the layer's own flag, not that of what is in it
        return self

    # -- folders ------------------------------------------------------------------------------

    def _save_parts(self, folder: Path, include_base: bool) -> dict[str, Any]:
        model = self.backbone.model
        include_base = include_base or self.base is None or _base_is_trained(model)
        if include_base and is_quantized(model):
            raise ValueError(
                "4-bit base weights cannot be saved; save with include_base=False and adapters "
                "that are not merged"
            )
        adapted = has_adapters(model)
        with quiet_transformers():
            self.tokenizer.save_pretrained(folder)
            if include_base:
                model.save_pretrained(folder, state_dict=base_state(model))
        if adapted:
            save_adapters(model, folder / ADAPTER, self.base and self.base.name)
        return {
            "base": None if include_base else asdict(self.base),
            "weights_dtype": str(self.backbone.dtype).removeprefix("torch."),
            "adapters": adapted,
            "n_shared": self.n_shared,
            "prompts": asdict(self.prompts),
            "standard": [part.cpu().numpy() for part in (self.offset, self.scale)],
        }

    @classmethod
    def load(
        cls, folder: Path, state: dict[str, Any], *, trust_remote_code: bool, base: str | None
    ) -> DecoderTower:
        """Read all but the image projection, as :func:`load_tower` asks for it."""
        attention, reference = state["attention"], None
        with quiet_transformers():
            if state["base"] is None:
                model = load_backbone(
                    folder,
                    weights_dtype=getattr(torch, state["weights_dtype"]),
                    attn_implementation=attention,
                    trust_remote_code=trust_remote_code,
                )
            else:
                reference = BaseModel(**state["base"])
                model = reference.load(
                    base, attention=attention, trust_remote_code=trust_remote_code
                )
            if state["adapters"]:
                load_adapters(model, folder / ADAPTER)
            tower = cls(
                TransformersBackbone(model, state["packed"], state["position_offset"]),
                load_tokenizer(folder, trust_remote_code=trust_remote_code),
                prompts=Prompts(**state["prompts"]),
                pooling=state["pooling"],
                max_length=state["max_length"],
                n_shared=state["n_shared"],
                base=reference,
            )
        for part, array in zip((tower.offset, tower.scale), state["standard"], strict=True):
            part.copy_(torch.from_numpy(array))
        fill(tower.pooling, state["pooling_weights"])
        return tower

    # -- sequences ----------------------------------------------------------------------------

    def tokenize(self, texts: Sequence[str]) -> TokenizedTexts:
        """Token ids of texts without images, prompts around them; the texts are cut, not these."""
        kinds = np.zeros(len(texts), dtype=np.int64)
        return self._tokenize_texts(texts).surrounded(self._frame.heads, self._frame.tails, kinds)

    def items(
        self,
        texts: Sequence[str],
        images: ImageFeatures | None = None,
        *,
        of_labels: bool = False,
    ) -> Items:
        """Sequences of texts and images, without what all of them begin with.

        A tower without a projection leaves images out.
        """
        items = Items(
            self._tokenize_texts(texts), images if self.image_projection is not None else None
        )
        heads = [head[self.n_shared :] for head in self._frame.heads]
        kinds = (items.image_counts() > 0).astype(np.int64)
        tokens = items.tokens.surrounded(heads, self._frame.tails, kinds)
        slots = None if items.images is None else self._frame.image_slots(tokens.lengths)
        return Items(tokens, items.images, slots)

    def without_images(self, items: Items) -> Items:
        """What :meth:`items` makes of the same texts without any image: the prompts differ."""
        heads, tails = [head[self.n_shared :] for head in self._frame.heads], self._frame.tails
        kinds = (items.image_counts() > 0).astype(np.int64)
        texts = items.tokens.trimmed(
            np.array([len(head) for head in heads], dtype=np.int64)[kinds],
            np.array([len(tail) for tail in tails], dtype=np.int64)[kinds],
        )
        return Items(texts.surrounded(heads, tails, np.zeros_like(kinds)))

    def _tokenize_texts(self, texts: Sequence[str]) -> TokenizedTexts:
        lead = self._frame.lead
        return self._tokenize(
            [lead + text if text else text for text in texts],
            # Where nothing need stand in a sequence beside the text, that must not be empty.
            nonempty=not self.prompts.end,
            add_special_tokens=False,
        )

    # -- embeddings ---------------------------------------------------------------------------

    def forward(self, pack: Pack) -> torch.Tensor:
        """Embeddings before normalisation, (n_items, dimension), in the order of the pack."""
        embeddings, positions, head = self._input_embeddings(pack), pack.positions, None
        n_shared = self.n_shared
        if n_shared:
            first = self.backbone.get_input_embeddings()(self.shared_ids)
            embeddings = torch.cat([first, embeddings])
            places = torch.arange(n_shared, device=positions.device)
            positions = torch.cat([places, positions + n_shared])
        hidden = self.backbone.run(embeddings, positions, pack.runs, n_shared)
        if n_shared:
            head, hidden = hidden[:n_shared], hidden[n_shared:]
        pooled = torch.cat([self.pooling(part, head) for part in by_runs(hidden, pack.runs)])
        return (pooled - self.offset) * self.scale

    def calibrate(self, texts: Sequence[str], precision: torch.dtype) -> None:
        """Standardise embeddings by their mean and spread over some of the texts.

        The hidden states of language models share a large mean, and a few directions have most
        of the variance: the cosine of any two texts is near 1 (Ethayarajh, "How Contextual are
        Contextualized Word Representations?", EMNLP 2019). Training would start where all
        labels are alike, and not leave it for long.
        """
        sample = list(texts[:: max(1, len(texts) // CALIBRATED_TEXTS)])
        if len(sample) < 2:  # a single text is all of its own mean
            return
        self.offset.zero_()
        self.scale.fill_(1.0)
        items = self.items(sample)
        vectors = torch.from_numpy(self.encode(items, precision=precision, normalize=False))
        spread = vectors.std(dim=0, correction=0)
        self.offset.copy_(vectors.mean(dim=0))
        self.scale.copy_(1.0 / spread.clamp(min=float(1e-2 * spread.mean() + 1e-6)))

    def activation_bytes_per_token(self, precision: torch.dtype | None = None) -> int:
        """As for any tower; with checkpoints one layer's graph, and what goes into each layer."""
        graph = super().activation_bytes_per_token(precision)
        if not any(True for _ in checkpointed_layers(self.backbone)):
            return graph
        n_layers = self.backbone.config.num_hidden_layers
        return graph // n_layers + n_layers * self.dimension * self.backbone.dtype.itemsize


def _base_is_trained(model: torch.nn.Module) -> bool:
    """Whether its weights may be others than those that were loaded: those are frozen."""
    return any(p.requires_grad for name, p in model.named_parameters() if "lora_" not in name)


def probe_decoder(
    model: torch.nn.Module, frame: Frame, max_length: int
) -> tuple[TransformersBackbone, int]:
    """Find out how sequences go through a language model.

    Parameters
    ----------
    model : transformers.PreTrainedModel
    frame : Frame
        The prompts around all sequences.
    max_length : int
        The most tokens and images that they stand around.

    Returns
    -------
    backbone : TransformersBackbone
    n_shared : int
        How many of the tokens that all sequences begin with can be run once a pack.
    """
    longest = frame.length + max_length
    backbone = TransformersBackbone.probe(model, longest)
    n_shared = 0 if frame.images_first else len(frame.heads[0])
    shares = backbone.packed and n_shared
    if not (shares and probe_sharing(model, n_shared, longest, backbone.position_offset)):
        n_shared = 0
    return backbone, n_shared


def load_decoder_tower(
    model: ModelSource | str | os.PathLike,
    *,
    prompts: Prompts | None = None,
    pooling: str = "mean",
    max_length: int | None = None,
    max_images: int = 0,
    weights_dtype: torch.dtype = torch.float32,
    quantization: str | None = None,
    attn_implementation: str | None = None,
    gradient_checkpointing: bool = False,
    fused_kernels: bool = False,
    trust_remote_code: bool = False,
) -> DecoderTower:
    """Load a decoder-only language model as a tower.

    Parameters
    ----------
    model : ModelSource, str or path-like
        What ``find_model`` found, or is to find: a folder of transformers, or with one GGUF
        file, a model in an installed package, a name on the hub.
    prompts : Prompts or None
        None takes the defaults.
    pooling : {"mean", "last", "eos", "attention"}, default="mean"
    max_length : int or None
        Longest text in tokens, prompts not counted; None takes the model's own limit, at most
        256.
    max_images : int, default=0
        Positions to leave free for image tokens.
    weights_dtype : torch.dtype, default=torch.float32
        Of the weights in memory.
    quantization : {"nf4"} or None
        Weights in 4 bits (bitsandbytes, double quantisation, products in bf16), on a CUDA device.
    attn_implementation : str or None
        One of transformers' attentions, for which texts go through by equal lengths. None packs
        texts without padding where that is exact, else takes the model's default.
    gradient_checkpointing : bool, default=False
        Whether layers compute their activations again in the backward pass.
    fused_kernels : bool, default=False
        Whether to use the kernels of liger-kernel, on a CUDA device.
    trust_remote_code : bool, default=False
        Whether code that comes with the model may run.

    Returns
    -------
    tower : DecoderTower
        On the CPU (4-bit weights: on the CUDA device); its base weights are frozen.

    Raises
    ------
    ValueError
        If the model is no language model alone, or needs a device that is not there.
    """
    if not isinstance(model, ModelSource):
        model = find_model(model, kind="decoder", trust_remote_code=trust_remote_code)
    network = load_backbone(
        model.path,
        gguf_file=model.gguf_file,
        weights_dtype=weights_dtype,
        quantization=quantization,
        attn_implementation=attn_implementation,
        fused_kernels=fused_kernels,
        trust_remote_code=trust_remote_code,
    )
    tokenizer = load_tokenizer(
        model.path, gguf_file=model.gguf_file, trust_remote_code=trust_remote_code
    )
    if gradient_checkpointing:
        checkpoint_gradients(network)
    prompts = prompts or Prompts()
    frame = tokenize_prompts(prompts, tokenizer)
    limit = 256 if max_length is None else max_length
    positions = getattr(network.config, "max_position_embeddings", None)
    if positions and positions > 0:
        limit = min(limit, positions - frame.length - max_images)
    if limit < 1:
        raise ValueError(
            f"the model has {positions} positions, and prompts and images take "
            f"{frame.length + max_images}; shorten the prompts"
        )
    backbone, n_shared = TransformersBackbone(network), 0
    if attn_implementation is None:
        backbone, n_shared = probe_decoder(network, frame, limit + max_images)
    tower = DecoderTower(
        backbone,
        tokenizer,
        prompts=prompts,
        pooling=pooling,
        max_length=limit,
        n_shared=n_shared,
        base=BaseModel.of(model, weights_dtype, quantization),
    )
    logger.debug(
        "tower from %s: %s, %d tokens shared",
        model.path,
        "packed" if backbone.packed else "by equal lengths",
        tower.n_shared,
    )
    return tower
