"""The decoder tower: a language model without its head, prompts, and images among the text."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import joblib
import numpy as np
import torch

from .._images import ImageFeatures
from ._items import Items, Pack, TokenizedTexts
from ._language_model import (
    checkpoint_gradients,
    checkpointed_layers,
    load_backbone,
    load_tokenizer,
)
from ._packed import probe_packing, probe_sharing
from ._prompts import Prompts, tokenize_prompts
from ._sources import ModelSource, find_model
from ._tower import Tower, by_runs

logger = logging.getLogger(__name__)

POOLINGS = ("mean", "last", "eos", "attention")

# Texts by which embeddings are standardised, at most twice as many.
CALIBRATED_TEXTS = 2000


@dataclass(frozen=True)
class BaseModel:
    """Where the frozen weights under a tower's adapters come from.

    Attributes
    ----------
    name : str
        As given to ``find_model``.
    digest : str
        Hash of the weights' files.
    weights_dtype : str
        "float32" or "bfloat16".
    quantization : str or None
    """

    name: str
    digest: str
    weights_dtype: str
    quantization: str | None


class DecoderTower(Tower):
    """Tower over a decoder-only language model (dual-decoder learning).

    Prompts stand around an item's text and images; each image is one token. Position ids count
    the tokens that are there, so an image that is missing shifts nothing.

    Parameters
    ----------
    backbone : transformers.PreTrainedModel
        Language model without its head.
    tokenizer : transformers.PreTrainedTokenizerBase
    prompts : Prompts
        What stands around text and images, and in which order.
    pooling : {"mean", "last", "eos", "attention"}
        How hidden states become one vector: their mean over all positions, prompts and images
        included; the last one; that of the end token; or their mean weighted by
        softmax(h . q / sqrt(width)) with a learned query q, which starts as the mean.
    max_length : int
        Longest text in tokens, what stands around it not counted.
    max_images : int, default=0
        The most images of an item.
    packing : tuple (packed, position_offset, n_shared) or None
        What was found for this backbone before; None probes it.
    base : BaseModel or None
        Where the backbone's weights come from, for a tower that is saved without them.
    """

    new_parts = (*Tower.new_parts, "pooling_query")
    # As published for decoders (PRIME draws them, for small encoders).
    free_vectors = "labels"

    def __init__(
        self,
        backbone: torch.nn.Module,
        tokenizer,
        *,
        prompts: Prompts | None = None,
        pooling: str = "mean",
        max_length: int = 128,
        max_images: int = 0,
        packing: tuple[bool, int, int] | None = None,
        base: BaseModel | None = None,
    ) -> None:
        if pooling not in POOLINGS:
            raise ValueError(f"pooling must be one of {POOLINGS}, got {pooling!r}")
        prompts = prompts or Prompts()
        if pooling == "eos" and not prompts.end:
            raise ValueError("pooling='eos' needs an end token; pass one, or pooling='last'")
        frame = tokenize_prompts(prompts, tokenizer)
        if packing is None:
            packing = _probe(backbone, frame, max_length + max_images)
        super().__init__(backbone, tokenizer, max_length=max_length, packing=packing[:2])
        self.prompts, self.pooling, self.base = prompts, pooling, base
        self._frame = frame
        # Tokens that all sequences begin with, run once a pack.
        self.n_shared = packing[2]
        shared = torch.from_numpy(frame.heads[0][: self.n_shared]).long()
        self.register_buffer("shared_ids", shared, persistent=False)
        # What embeddings are standardised by; nothing at first.
        self.register_buffer("offset", torch.zeros(self.dimension))
        self.register_buffer("scale", torch.ones(self.dimension))
        self.pooling_query = None
        if pooling == "attention":
            self.pooling_query = torch.nn.Parameter(torch.zeros(self.dimension))
        self.to(next(backbone.parameters()).device)

    def __getstate__(self) -> dict[str, Any]:
        if getattr(self.backbone, "hf_quantizer", None) is not None:
            raise ValueError(
                "a model with 4-bit weights cannot be pickled; save it to a folder, which holds "
                "its adapters and the name of their base"
            )
        return super().__getstate__()

    @property
    def dimension(self) -> int:
        """Length of an embedding."""
        config = self.backbone.config
        # Some OPT models work in another width than they read and write.
        return getattr(config, "word_embed_proj_dim", None) or config.hidden_size

    def settings(self) -> tuple[str, ...]:
        """All beside the weights that an embedding depends on."""
        quantization = self.base and self.base.quantization
        standard = joblib.hash((self.offset.cpu().numpy(), self.scale.cpu().numpy()))
        return (*super().settings(), repr(self.prompts), self.pooling, str(quantization), standard)

    def train(self, mode: bool = True) -> DecoderTower:
        """As usual, but for the backbone, which stays in evaluation mode."""
        super().train(mode)
        for layer in checkpointed_layers(self.backbone):
            layer.training = mode  # the layer's own flag, not that of what is in it
        return self

    # -- sequences ----------------------------------------------------------------------------

    def tokenize(self, texts: Sequence[str]) -> TokenizedTexts:
        """Token ids of texts without images, prompts around them; the texts are cut, not these."""
        kinds = np.zeros(len(texts), dtype=np.int64)
        return self._tokenize_texts(texts).surrounded(self._frame.heads, self._frame.tails, kinds)

    def items(self, texts: Sequence[str], images: ImageFeatures | None = None) -> Items:
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
        embeddings, positions = self._input_embeddings(pack), pack.positions
        n_shared = self.n_shared
        if n_shared:
            head = self.backbone.get_input_embeddings()(self.shared_ids)
            embeddings = torch.cat([head, embeddings])
            first = torch.arange(n_shared, device=positions.device)
            positions = torch.cat([first, positions + n_shared])
        hidden = self._hidden_states(embeddings, positions, pack.runs, n_shared)
        head, hidden = hidden[:n_shared], hidden[n_shared:]
        pooled = torch.cat([self._pool(head, part) for part in by_runs(hidden, pack.runs)])
        return (pooled - self.offset) * self.scale

    def _pool(self, head: torch.Tensor, hidden: torch.Tensor) -> torch.Tensor:
        """One vector for each sequence of hidden (count, length, width), which `head` begins."""
        if self.pooling in ("last", "eos"):  # what ends a sequence is its last token
            return hidden[:, -1].float()
        if self.pooling == "mean":
            total = hidden.sum(dim=1, dtype=torch.float32)
            if len(head):
                total = total + head.sum(dim=0, dtype=torch.float32)
            return total / (len(head) + hidden.shape[1])
        return self._pool_by_attention(head.float(), hidden.float())

    def _pool_by_attention(self, head: torch.Tensor, hidden: torch.Tensor) -> torch.Tensor:
        with torch.autocast(hidden.device.type, enabled=False):  # weights of a mean, in fp32
            query = self.pooling_query / hidden.shape[-1] ** 0.5
            scores = torch.cat([(head @ query).expand(len(hidden), -1), hidden @ query], dim=1)
            weights = scores.softmax(dim=1)
            pooled = (weights[:, None, len(head) :] @ hidden).squeeze(1)
            return pooled + weights[:, : len(head)] @ head

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


def _probe(backbone: torch.nn.Module, frame, max_length: int) -> tuple[bool, int, int]:
    """How sequences go through the backbone: packed or not, position offset, shared tokens."""
    longest = frame.length + max_length
    packed, offset = probe_packing(backbone, longest)
    n_shared = 0 if frame.images_first else len(frame.heads[0])
    if not (packed and n_shared and probe_sharing(backbone, n_shared, longest, offset)):
        n_shared = 0
    return packed, offset, n_shared


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
    backbone = load_backbone(
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
        checkpoint_gradients(backbone)
    prompts = prompts or Prompts()
    frame = tokenize_prompts(prompts, tokenizer)
    limit = 256 if max_length is None else max_length
    positions = getattr(backbone.config, "max_position_embeddings", None)
    if positions and positions > 0:
        limit = min(limit, positions - frame.length - max_images)
    if limit < 1:
        raise ValueError(
            f"the model has {positions} positions, and prompts and images take "
            f"{frame.length + max_images}; shorten the prompts"
        )
    tower = DecoderTower(
        backbone,
        tokenizer,
        prompts=prompts,
        pooling=pooling,
        max_length=limit,
        max_images=max_images,
        packing=None if attn_implementation is None else (False, 0, 0),
        base=BaseModel(
            model.name,
            model.weights_digest(),
            str(weights_dtype).removeprefix("torch."),
            quantization,
        ),
    )
    logger.debug(
        "tower from %s: %s, %d tokens shared",
        model.path,
        "packed" if tower.packed else "by equal lengths",
        tower.n_shared,
    )
    return tower
