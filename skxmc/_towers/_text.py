"""The text tower: a bidirectional encoder with its own pooling, and images fused early."""

from __future__ import annotations

import copy
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from .._backbones._backbone import Backbone
from .._backbones._bert import load_bert
from .._backbones._packed import PACKED
from .._backbones._sources import check_no_image_model
from .._backbones._transformers import TransformersBackbone, load_encoder, text_part
from .._features._tokens import TokenVectors
from .._inputs._images import ImageFeatures
from .._runtime._quiet import quiet_transformers
from ._frozen import StaticTower, static_of
from ._head import build_head, describe_head
from ._items import Items, Pack, TokenizedTexts, make_packs, ranges
from ._pooling import ENCODER_POOLINGS, make_pooling
from ._sentence_transformers import modules_of, prompt_of, read_modules
from ._token_places import special_ends, token_spans
from ._tower import ENCODE_TOKENS, Tower, autocast, by_runs

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

logger = logging.getLogger(__name__)


class TextTower(Tower):
    """Tower over a bidirectional encoder.

    The sequence of an item is ``[image tokens][text tokens]``, given to the backbone as input
    embeddings. An image that is missing takes no place in it, so an item without images has
    the embedding of its text alone.

    Parameters
    ----------
    backbone : Backbone
    tokenizer : transformers.PreTrainedTokenizerBase
    pooling : str
        How hidden states become one vector, one of `ENCODER_POOLINGS`.
    head : torch.nn.Module or None
        What follows pooling (dense layers of a sentence-transformers model).
    max_length : int
        Longest text in tokens, special tokens and prompt included.
    max_chunks : int, default=1
        Most parts of `max_length` tokens that a longer text is encoded in; 1 cuts it.
    prompt, label_prompt : str, default=""
        What stands before the texts of documents, and before those of labels.
    truncated : int or None, default=None
        How many of its first numbers an embedding keeps; None keeps all.
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
        max_chunks: int = 1,
        prompt: str = "",
        label_prompt: str = "",
        truncated: int | None = None,
    ) -> None:
        super().__init__(
            backbone,
            tokenizer,
            pooling=make_pooling(pooling, backbone.width, ENCODER_POOLINGS),
            max_length=max_length,
        )
        self.head = head
        self.max_chunks = int(max_chunks)
        self.prompt, self.label_prompt, self.truncated = prompt, label_prompt, truncated

    @property
    def dimension(self) -> int:
        """Length of an embedding."""
        width = self.backbone.width
        if self.head is not None:
            linear = [m for m in self.head.modules() if isinstance(m, torch.nn.Linear)]
            width = linear[-1].out_features if linear else width
        return width if self.truncated is None else min(width, self.truncated)

    def settings(self) -> tuple[str, ...]:
        """All beside the weights that an embedding depends on."""
        own = (self.prompt, self.label_prompt, str(self.truncated))
        return (*super().settings(), self.pooling.name, *own)

    def tokenize(self, texts: Sequence[str]) -> TokenizedTexts:
        """Token ids of all texts, cut to `max_length`, without padding."""
        # A tokenizer without special tokens gives nothing for an empty text.
        return self._tokenize(texts, nonempty=True)

    def chunks(self, texts: Sequence[str], *, of_labels: bool = False) -> tuple[Items, np.ndarray]:
        """Long texts in parts, and the number of the text that each part is of.

        A text is cut into as few parts as hold it, at most `max_chunks`, of about equal length: a
        last one of three words would count as much as all before it. Each has the prompt.
        """
        before, behind = special_ends(self.tokenizer)
        prompt = (self.label_prompt if of_labels else self.prompt).rstrip()
        around = self._tokenize([prompt], nonempty=False).ids
        head, tail = np.split(around, [len(around) - behind])
        room = max(1, self.max_length - len(around))
        longest = self.max_chunks * room + before + behind
        whole = self._tokenize(texts, nonempty=True, max_length=longest)
        inner = whole.trimmed(*(np.full(len(whole), n) for n in (before, behind)))
        parts, owner = inner.in_parts(room)
        return Items(parts.surrounded([head], [tail], np.zeros(len(parts), dtype=np.int64))), owner

    def items(
        self,
        texts: Sequence[str],
        images: ImageFeatures | None = None,
        *,
        of_labels: bool = False,
    ) -> Items:
        """Tokenised texts with their images, which a tower without a projection leaves out."""
        prompt = self.label_prompt if of_labels else self.prompt
        texts = [prompt + text for text in texts] if prompt else texts
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
        pooled = pooled if self.head is None else self.head(pooled).float()
        return pooled[:, : self.truncated]

    @torch.inference_mode()
    def encode_tokens(
        self, texts: Sequence[str], *, precision: torch.dtype = torch.float32
    ) -> TokenVectors:
        """Vectors of unit norm of the tokens of texts, without pictures.

        What follows the pooling of an embedding follows each token here: of a mean and linear
        layers, tokens are then what the embedding is the mean of.
        """
        owner = np.arange(len(texts))
        if self.max_chunks == 1:
            items = self.items(texts)
        else:
            items, owner = self.chunks(texts)
        packs, order = make_packs(items, np.arange(len(items)), ENCODE_TOKENS)
        tower = self._for_encoding(precision)
        before, behind = special_ends(self.tokenizer)
        before += self._prompt_tokens()
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
        tokens = _in_order(vectors, lengths, order)
        starts = np.searchsorted(owner, np.arange(len(texts) + 1))  # first part of each text
        return TokenVectors(tokens.vectors, tokens.offsets[starts])

    def token_states(self, pack: Pack, kept: torch.Tensor) -> np.ndarray:
        """Unit vectors of some tokens of a pack without images, (n_kept, dimension) float32."""
        hidden = self.backbone.run(self._input_embeddings(pack), pack.positions, pack.runs)
        hidden = hidden.reshape(pack.n_tokens, -1)[kept].float()
        if self.head is not None:
            hidden = self.head(hidden).float()
        hidden = hidden[:, : self.truncated]
        return torch.nn.functional.normalize(hidden, dim=1).cpu().numpy()

    def token_spans(self, text: str) -> np.ndarray | None:
        """Where the tokens of :meth:`encode_tokens` stand in a text, (n_tokens, 2) int64.

        None if the tokenizer does not know.
        """
        n_prompt = self._prompt_tokens()
        room = max(1, self.max_length - n_prompt - sum(special_ends(self.tokenizer)))
        spans = token_spans(self.tokenizer, self.prompt + text, n_prompt + self.max_chunks * room)
        return None if spans is None else np.maximum(spans[n_prompt:] - len(self.prompt), 0)

    def _prompt_tokens(self) -> int:
        """Tokens of the documents' prompt; a blank at its end goes with the text behind it."""
        if not self.prompt:
            return 0
        lengths = self.tokenize([self.prompt.rstrip()]).lengths
        return int(lengths[0]) - sum(special_ends(self.tokenizer))

    def _save_parts(self, folder: Path, include_base: bool) -> dict[str, Any]:
        names = ("max_chunks", "prompt", "label_prompt", "truncated")
        state = {**describe_head(self.head), **{name: getattr(self, name) for name in names}}
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
            max_chunks=state["max_chunks"],
            prompt=state["prompt"],
            label_prompt=state["label_prompt"],
            truncated=state["truncated"],
        )


def load_text_tower(
    model: str | SentenceTransformer,
    *,
    max_length: int | None = None,
    max_chunks: int = 1,
    prompt: str | None = "auto",
    label_prompt: str | None = "auto",
    dimension: int | None = None,
    trust_remote_code: bool = False,
    max_images: int = 0,
) -> TextTower | StaticTower:
    """Load a sentence-transformers or transformers encoder.

    Parameters
    ----------
    model : str or SentenceTransformer
        Folder with the model; or the model, of which a copy is taken.
    max_length : int or None
        Longest text in tokens; None takes the model's own limit, at most 256.
    max_chunks : int, default=1
        Most parts of `max_length` tokens that a longer text is encoded in; 1 cuts it.
    prompt, label_prompt : str or None, default="auto"
        What stands before the texts of documents, and before those of labels: the name of one of
        the model's prompts, or any other text. "auto" takes the model's default prompt, if it has
        one; None has none.
    dimension : int or None, default=None
        How many of its first numbers an embedding keeps; None does as the model says.
    trust_remote_code : bool, default=False
        Whether code that comes with the model may run.
    max_images : int, default=0
        Positions to leave free for image tokens.

    Returns
    -------
    tower : TextTower or StaticTower
        In fp32, on the CPU.

    Raises
    ------
    ValueError
        If the model does something that a tower does not.
    """
    from sentence_transformers import SentenceTransformer

    if isinstance(model, str):
        path = model
        check_no_image_model(path)
        with quiet_transformers():
            model = SentenceTransformer(path, device="cpu", trust_remote_code=trust_remote_code)
    else:
        path = type(model).__name__
        model = copy.deepcopy(model).to("cpu")
    modules = modules_of(model)
    if type(modules[0]).__name__ == "StaticEmbedding":
        return static_of(modules[0], max_length)
    encoder = _transformer_of(modules[0], path)
    from .._backbones._lora import has_adapters, merge_adapters  # loads peft

    if has_adapters(encoder):  # a folder of peft with the adapters of a base model
        merge_adapters(encoder)
    prompts = [prompt_of(model, given) for given in (prompt, label_prompt)]
    pooling, head, included = read_modules(modules[1:], path)
    if not included and any(prompts):
        raise ValueError(
            f"encoder at {path!r} leaves its prompt out when it pools, which skxmc does not; pass "
            "TextEncoder(..., prompt=None, label_prompt=None)"
        )
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
        max_chunks=max_chunks,
        prompt=prompts[0],
        label_prompt=prompts[1],
        truncated=getattr(model, "truncate_dim", None) if dimension is None else dimension,
    )
    way = PACKED if tower.backbone.packed else "runs"
    logger.debug("tower from %s: pooling %s, %s", path, pooling, way)
    return tower


def _transformer_of(module: torch.nn.Module, path: str) -> torch.nn.Module:
    """The model of transformers in a first module, in fp32, without parts that see or hear."""
    if not hasattr(module, "auto_model"):
        raise ValueError(
            f"encoder at {path!r} starts with {type(module).__name__}, which takes no token "
            "embeddings; choose a model whose first module is a Transformer"
        )
    return text_part(module.auto_model).float()


def _in_order(vectors: np.ndarray, lengths: np.ndarray, order: np.ndarray) -> TokenVectors:
    """Tokens of texts that stand in another order, `order`, in the order of the texts."""
    starts = np.empty_like(lengths)
    starts[order] = np.cumsum(lengths[order]) - lengths[order]
    return TokenVectors(vectors[ranges(starts, lengths)], np.concatenate([[0], np.cumsum(lengths)]))


def _lost_positions(model: torch.nn.Module) -> int:
    """Positions up to the padding index, which RoBERTa and models like it never use."""
    for name, module in model.named_modules():
        if name.endswith("position_embeddings") and isinstance(module, torch.nn.Embedding):
            return 0 if module.padding_idx is None else module.padding_idx + 1
    return 0
