"""The text tower: a bidirectional encoder with its own pooling, and images fused early."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from .._backbones._backbone import Backbone
from .._backbones._bert import load_bert
from .._backbones._packed import PACKED
from .._backbones._sources import check_no_image_model
from .._backbones._transformers import TransformersBackbone, load_encoder
from .._features._tokens import TokenVectors
from .._inputs._images import ImageFeatures
from .._runtime._quiet import quiet_transformers
from ._head import build_head, describe_head
from ._items import Items, Pack, TokenizedTexts, make_packs, ranges
from ._pooling import make_pooling
from ._token_places import special_ends, token_spans
from ._tower import ENCODE_TOKENS, Tower, autocast, by_runs

logger = logging.getLogger(__name__)

POOLINGS = ("mean", "cls", "max", "lasttoken", "mean_sqrt_len_tokens")


class TextTower(Tower):
    """Tower over a bidirectional encoder.

    The sequence of an item is ``[image tokens][text tokens]``, given to the backbone as input
    embeddings. An image that is missing takes no place in it, so an item without images has
    the embedding of its text alone.

    Parameters
    ----------
    backbone : Backbone
    tokenizer : transformers.PreTrainedTokenizerBase
    pooling : {"mean", "cls", "max", "lasttoken", "mean_sqrt_len_tokens"}
        How hidden states become one vector.
    head : torch.nn.Module or None
        What follows pooling (dense layers of a sentence-transformers model).
    max_length : int
        Longest text in tokens, special tokens included.
    """

    kind = "text"
    gives_tokens = True

    def __init__(
        self,
        backbone: Backbone,
        tokenizer,
        *,
        pooling: str = "mean",
        head: torch.nn.Module | None = None,
        max_length: int = 128,
    ) -> None:
        super().__init__(
            backbone,
            tokenizer,
            pooling=make_pooling(pooling, backbone.width, POOLINGS),
            max_length=max_length,
        )
        self.head = head

    @property
    def dimension(self) -> int:
        """Length of an embedding."""
        if self.head is not None:
            linear = [m for m in self.head.modules() if isinstance(m, torch.nn.Linear)]
            if linear:
                return linear[-1].out_features
        return self.backbone.width

    def tokenize(self, texts: Sequence[str]) -> TokenizedTexts:
        """Token ids of all texts, cut to `max_length`, without padding."""
        # A tokenizer without special tokens gives nothing for an empty text.
        return self._tokenize(texts, nonempty=True)

    def items(self, texts: Sequence[str], images: ImageFeatures | None = None) -> Items:
        """Tokenised texts with their images, which a tower without a projection leaves out."""
        return Items(self.tokenize(texts), images if self.image_projection is not None else None)

    def forward(self, pack: Pack) -> torch.Tensor:
        """Embeddings before normalisation, (n_items, dimension), in the order of the pack."""
        hidden = self.backbone.run(self._input_embeddings(pack), pack.positions, pack.runs)
        starts = pack.image_counts.split([count for count, _ in pack.runs])
        pooled = torch.cat(
            [
                self.pooling(part, starts=first)
                for part, first in zip(by_runs(hidden, pack.runs), starts, strict=True)
            ]
        )
        return pooled if self.head is None else self.head(pooled).float()

    @torch.inference_mode()
    def encode_tokens(
        self, texts: Sequence[str], *, precision: torch.dtype = torch.float32
    ) -> TokenVectors:
        """Vectors of unit norm of the tokens of texts, without pictures.

        What follows the pooling of an embedding follows each token here: of a mean and linear
        layers, tokens are then what the embedding is the mean of.
        """
        items = Items(self.tokenize(texts))
        packs, order = make_packs(items, np.arange(len(items)), ENCODE_TOKENS)
        tower = self._for_encoding(precision)
        before, behind = special_ends(self.tokenizer)
        states, lengths = [], np.zeros(len(items), dtype=np.int64)
        row = 0
        for pack in packs:
            own = np.repeat(*np.array(pack.runs, dtype=np.int64).T[::-1])
            lengths[order[row : row + pack.n_items]] = np.maximum(own - before - behind, 0)
            row += pack.n_items
            places = pack.positions.numpy()
            inside = (places >= before) & (places < np.repeat(own, own) - behind)
            kept = torch.from_numpy(inside)
            with autocast(self.device, precision):
                states.append(tower.token_states(pack.to(self.device), kept.to(self.device)))
        vectors = np.concatenate([np.empty((0, self.dimension), np.float32), *states])
        return _in_order(vectors, lengths, order)

    def token_states(self, pack: Pack, kept: torch.Tensor) -> np.ndarray:
        """Unit vectors of some tokens of a pack without images, (n_kept, dimension) float32."""
        hidden = self.backbone.run(self._input_embeddings(pack), pack.positions, pack.runs)
        hidden = hidden.reshape(pack.n_tokens, -1)[kept].float()
        if self.head is not None:
            hidden = self.head(hidden).float()
        return torch.nn.functional.normalize(hidden, dim=1).cpu().numpy()

    def token_spans(self, text: str) -> np.ndarray | None:
        """Where the tokens of :meth:`encode_tokens` stand in a text, (n_tokens, 2) int64.

        None if the tokenizer does not know.
        """
        n_special = sum(special_ends(self.tokenizer))
        return token_spans(self.tokenizer, text, self.max_length - n_special)

    def _save_parts(self, folder: Path, include_base: bool) -> dict[str, Any]:
        state = describe_head(self.head)
        self.backbone.save(folder)
        self.tokenizer.save_pretrained(folder)
        return state

    @classmethod
    def load(
        cls, folder: Path, state: dict[str, Any], *, trust_remote_code: bool, base: str | None
    ) -> TextTower:
        """Read all but the image projection, as :func:`load_tower` asks for it."""
        packed, offset = state["packed"], state["position_offset"]
        encoder = load_bert(folder, offset) if packed else None
        if encoder is None:
            model, tokenizer = load_encoder(folder, state["attention"], trust_remote_code)
            encoder = TransformersBackbone(model, packed, offset), tokenizer
        return cls(
            *encoder,
            pooling=state["pooling"],
            head=build_head(state),
            max_length=state["max_length"],
        )


def load_text_tower(
    path: str,
    *,
    max_length: int | None = None,
    trust_remote_code: bool = False,
    max_images: int = 0,
) -> TextTower:
    """Load a sentence-transformers or transformers encoder from a folder.

    Parameters
    ----------
    path : str
        Folder with the model.
    max_length : int or None
        Longest text in tokens; None takes the model's own limit, at most 256.
    trust_remote_code : bool, default=False
        Whether code that comes with the model may run.
    max_images : int, default=0
        Positions to leave free for image tokens.

    Returns
    -------
    tower : TextTower
        In fp32, on the CPU.
    """
    from sentence_transformers import SentenceTransformer

    check_no_image_model(path)
    with quiet_transformers():
        model = SentenceTransformer(path, device="cpu", trust_remote_code=trust_remote_code)
    modules = list(model)
    if not hasattr(modules[0], "auto_model"):
        raise ValueError(
            f"encoder at {path!r} starts with {type(modules[0]).__name__}, which takes no token "
            "embeddings; choose a model whose first module is a Transformer"
        )
    encoder = modules[0].auto_model.float()
    from .._backbones._lora import has_adapters, merge_adapters  # loads peft

    if has_adapters(encoder):  # a folder of peft with the adapters of a base model
        merge_adapters(encoder)
    pooling, head, normalized = "mean", [], False
    for module in modules[1:]:
        kind = type(module).__name__
        if normalized and kind in ("Dense", "LayerNorm"):
            raise ValueError(f"encoder at {path!r} normalises before {kind}, which skxmc does not")
        if kind == "Pooling":
            pooling = _pooling_mode(module, path)
        elif kind == "Normalize":
            normalized = True  # what the tower's caller does anyway
        elif kind == "Dense" and _is_plain_dense(module):
            head += [module.linear, module.activation_function]
        elif kind == "LayerNorm":
            head.append(module.norm)
        elif kind != "Dropout":
            raise ValueError(f"encoder at {path!r} has a module that skxmc does not know: {module}")
    config = encoder.config.get_text_config()
    limit = min(model.max_seq_length or 256, 256) if max_length is None else max_length
    positions = getattr(config, "max_position_embeddings", None)
    if positions and positions > 0:
        limit = min(limit, positions - _lost_positions(encoder) - max_images)
    tower = TextTower(
        TransformersBackbone.probe(encoder, limit + max_images),
        model.tokenizer,
        pooling=pooling,
        head=torch.nn.Sequential(*head) if head else None,
        max_length=limit,
    )
    way = PACKED if tower.backbone.packed else "runs"
    logger.debug("tower from %s: pooling %s, %s", path, pooling, way)
    return tower


def _in_order(vectors: np.ndarray, lengths: np.ndarray, order: np.ndarray) -> TokenVectors:
    """Tokens of texts that stand in another order, `order`, in the order of the texts."""
    starts = np.empty_like(lengths)
    starts[order] = np.cumsum(lengths[order]) - lengths[order]
    return TokenVectors(vectors[ranges(starts, lengths)], np.concatenate([[0], np.cumsum(lengths)]))


def _is_plain_dense(module: torch.nn.Module) -> bool:
    """Whether a dense module maps the pooled embedding, and does nothing beside."""
    plain = {
        "module_input_name": "sentence_embedding",
        "module_output_name": "sentence_embedding",
        "use_residual": False,
    }
    return all(getattr(module, name, value) == value for name, value in plain.items())


def _lost_positions(model: torch.nn.Module) -> int:
    """Positions up to the padding index, which RoBERTa and models like it never use."""
    for name, module in model.named_modules():
        if name.endswith("position_embeddings") and isinstance(module, torch.nn.Embedding):
            return 0 if module.padding_idx is None else module.padding_idx + 1
    return 0


def _pooling_mode(module: torch.nn.Module, path: str) -> str:
    # Older versions of sentence-transformers have no attribute for it.
    mode = getattr(module, "pooling_mode", None) or module.get_pooling_mode_str().split("+")
    modes = [mode] if isinstance(mode, str) else list(mode)
    if len(modes) != 1 or modes[0] not in POOLINGS:
        raise ValueError(
            f"encoder at {path!r} pools by {modes}, which skxmc does not know; it knows {POOLINGS}"
        )
    return modes[0]
