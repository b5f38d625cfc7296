"""The text tower: a transformer with its own pooling, and images fused early."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from .._images import ImageFeatures
from ._fusion import ImageProjection
from ._items import Items, Pack, TokenizedTexts, make_packs
from ._packed import PACKED, probe_packing, run_transformer
from ._saving import attach_weights, detach_weights

logger = logging.getLogger(__name__)

POOLINGS = ("mean", "cls", "max", "lasttoken", "mean_sqrt_len_tokens")

# Tokens of one forward pass without a graph, which holds little but the widest layer.
ENCODE_TOKENS = 16_384

# Texts that a tokenizer gets at a time: what it returns is large, many times the token ids.
TOKENIZE_TEXTS = 20_000


class TextTower(torch.nn.Module):
    """One embedding per text with any number of images.

    The sequence of an item is ``[image tokens][text tokens]``, given to the backbone as input
    embeddings. An image that is missing takes no place in it, so an item without images has
    the embedding of its text alone.

    Parameters
    ----------
    backbone : transformers.PreTrainedModel
        Encoder that takes ``inputs_embeds``. It is kept in evaluation mode, also while it is
        trained: dropout costs a third of a forward pass on a CPU and buys nothing in the few
        epochs of fine-tuning.
    tokenizer : transformers.PreTrainedTokenizerBase
    pooling : {"mean", "cls", "max", "lasttoken", "mean_sqrt_len_tokens"}
        How hidden states become one vector.
    head : torch.nn.Module or None
        What follows pooling (dense layers of a sentence-transformers model).
    max_length : int
        Longest text in tokens, special tokens included.
    max_images : int, default=0
        The most images of an item, by which a sequence may be longer than its text.
    packing : tuple (packed, position_offset) or None
        What :func:`probe_packing` found for this backbone before; None probes it.
    """

    def __init__(
        self,
        backbone: torch.nn.Module,
        tokenizer,
        *,
        pooling: str = "mean",
        head: torch.nn.Module | None = None,
        max_length: int = 128,
        max_images: int = 0,
        packing: tuple[bool, int] | None = None,
    ) -> None:
        super().__init__()
        if pooling not in POOLINGS:
            raise ValueError(f"pooling must be one of {POOLINGS}, got {pooling!r}")
        self.backbone = backbone.eval()
        self.tokenizer = tokenizer
        self.pooling = pooling
        self.head = head
        self.max_length = int(max_length)
        self.image_projection: ImageProjection | None = None
        longest = self.max_length + max_images
        self.packed, self.position_offset = packing or probe_packing(backbone, longest)

    def __getstate__(self) -> dict[str, Any]:
        return detach_weights(self, shared=(self.tokenizer,))

    def __setstate__(self, state: dict[str, Any]) -> None:
        attach_weights(self, state)

    @property
    def dimension(self) -> int:
        """Length of an embedding."""
        if self.head is not None:
            linear = [m for m in self.head.modules() if isinstance(m, torch.nn.Linear)]
            if linear:
                return linear[-1].out_features
        return self.backbone.config.hidden_size

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.parameters()).device

    def train(self, mode: bool = True) -> TextTower:
        """As usual, but for the backbone, which stays in evaluation mode."""
        super().train(mode)
        self.backbone.eval()
        return self

    def tokenize(self, texts: Sequence[str]) -> TokenizedTexts:
        """Token ids of all texts, cut to `max_length`, without padding."""
        # A tokenizer without special tokens gives nothing for an empty text; a sequence needs
        # one token at least.
        filler = self.tokenizer.pad_token_id or 0
        blocks = []
        for start in range(0, len(texts), TOKENIZE_TEXTS):
            encoded = self.tokenizer(
                list(texts[start : start + TOKENIZE_TEXTS]),
                truncation=True,
                max_length=self.max_length,
                return_attention_mask=False,
                return_token_type_ids=False,
            )["input_ids"]
            blocks.append(TokenizedTexts.from_lists([ids or [filler] for ids in encoded]))
        return TokenizedTexts.concatenate(blocks)

    def items(self, texts: Sequence[str], images: ImageFeatures | None = None) -> Items:
        """Tokenised texts with their images, which a tower without a projection leaves out."""
        return Items(self.tokenize(texts), images if self.image_projection is not None else None)

    def add_images(self, vectors: np.ndarray, seed: int = 0) -> None:
        """Give the tower a projection for image vectors like these, (n, image_dimension)."""
        table = self.backbone.get_input_embeddings().weight
        self.image_projection = ImageProjection(vectors, table, seed=seed).to(table.device)

    def forward(self, pack: Pack) -> torch.Tensor:
        """Embeddings before normalisation, (n_items, dimension), in the order of the pack."""
        embeddings = self.backbone.get_input_embeddings()(pack.token_ids)
        if pack.order is not None:
            image_tokens = self.image_projection(pack.image_vectors).to(embeddings.dtype)
            embeddings = torch.cat([embeddings, image_tokens]).index_select(0, pack.order)
        hidden = run_transformer(
            self.backbone,
            embeddings,
            pack.positions,
            pack.runs,
            packed=self.packed,
            position_offset=self.position_offset,
        )
        sizes = [count * length for count, length in pack.runs]
        pooled = torch.cat(
            [
                self._pool(part.view(count, length, -1).float(), n_images)
                for part, (count, length), n_images in zip(
                    hidden.split(sizes), pack.runs, pack.image_counts, strict=True
                )
            ]
        )
        return pooled if self.head is None else self.head(pooled).float()

    def _pool(self, hidden: torch.Tensor, n_images: int) -> torch.Tensor:
        if self.pooling == "mean":
            return hidden.mean(dim=1)
        if self.pooling == "cls":
            return hidden[:, n_images]  # the first token of the text
        if self.pooling == "max":
            return hidden.amax(dim=1)
        if self.pooling == "lasttoken":
            return hidden[:, -1]
        return hidden.sum(dim=1) / hidden.shape[1] ** 0.5

    @torch.inference_mode()
    def encode(
        self,
        items: Items,
        *,
        precision: torch.dtype = torch.float32,
        normalize: bool = True,
        progress: str | None = None,
    ) -> np.ndarray:
        """Embeddings of all items, in their order; equal items are encoded once.

        Parameters
        ----------
        items : Items
        precision : torch.dtype
            Of matrix products.
        normalize : bool, default=True
            Whether rows have unit norm.
        progress : str or None
            Title of a progress bar.

        Returns
        -------
        embeddings : ndarray of shape (n_items, dimension), float32
        """
        distinct, inverse = np.unique(items.representatives(), return_inverse=True)
        packs, order = make_packs(items, distinct, ENCODE_TOKENS)
        output = np.empty((len(distinct), self.dimension), dtype=np.float32)
        row = 0
        bar = tqdm(total=len(distinct), desc=progress, unit="item", disable=progress is None)
        for pack in packs:
            with autocast(self.device, precision):
                embeddings = self(pack.to(self.device))
            if normalize:
                embeddings = torch.nn.functional.normalize(embeddings, dim=1)
            output[order[row : row + pack.n_items]] = embeddings.cpu().numpy()
            row += pack.n_items
            bar.update(pack.n_items)
        bar.close()
        return output[inverse]

    def activation_bytes_per_token(self) -> int:
        """Rough memory that one token's graph holds, in bytes.

        Per layer a transformer keeps about sixteen vectors of its width and three of its
        intermediate width; measured with MiniLM, BERT and Llama blocks in mixed precision.
        """
        config = self.backbone.config.get_text_config()
        width = config.hidden_size
        inner = getattr(config, "intermediate_size", None) or 4 * width
        return config.num_hidden_layers * (16 * width + 3 * inner) * 4


def autocast(device: torch.device | str, precision: torch.dtype) -> torch.autocast:
    """Mixed precision for a block of code; no change for fp32."""
    return torch.autocast(
        torch.device(device).type, dtype=precision, enabled=precision != torch.float32
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

    model = SentenceTransformer(path, device="cpu", trust_remote_code=trust_remote_code)
    modules = list(model)
    if not hasattr(modules[0], "auto_model"):
        raise ValueError(
            f"encoder at {path!r} starts with {type(modules[0]).__name__}, which takes no token "
            "embeddings; choose a model whose first module is a Transformer"
        )
    backbone = modules[0].auto_model.float()
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
    config = backbone.config.get_text_config()
    limit = min(model.max_seq_length or 256, 256) if max_length is None else max_length
    positions = getattr(config, "max_position_embeddings", None)
    if positions and positions > 0:
        limit = min(limit, positions - _lost_positions(backbone) - max_images)
    tower = TextTower(
        backbone,
        model.tokenizer,
        pooling=pooling,
        head=torch.nn.Sequential(*head) if head else None,
        max_length=limit,
        max_images=max_images,
    )
    logger.debug("tower from %s: pooling %s, %s", path, pooling, PACKED if tower.packed else "runs")
    return tower


def _is_plain_dense(module: torch.nn.Module) -> bool:
    """Whether a dense module maps the pooled embedding, and does nothing beside."""
    plain = {
        "module_input_name": "sentence_embedding",
        "module_output_name": "sentence_embedding",
        "use_residual": False,
    }
    return all(getattr(module, name, value) == value for name, value in plain.items())


def _lost_positions(backbone: torch.nn.Module) -> int:
    """Positions up to the padding index, which RoBERTa and its kin never use."""
    for name, module in backbone.named_modules():
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
