"""What all towers share: tokens and images to input embeddings, and encoding in packs."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from .._backbones._backbone import Backbone
from .._backbones._bert import KINDS
from .._features._tokens import TokenVectors
from .._inputs._images import ImageFeatures
from ._fusion import ImageProjection
from ._items import Items, Pack, TokenizedTexts, make_packs
from ._long_texts import shorten
from ._pooling import Pooling
from ._weights import arrays_of, attach_weights, detach_weights

# Tokens of one forward pass without a graph. With twice as many, on a CPU, each operation writes to
# memory that is new to the process, and takes a third longer. Half as many are no faster.
ENCODE_TOKENS = 4096

# The memory of a graph is measured on so many texts of so many tokens.
MEASURED_TEXTS, MEASURED_LENGTH = (8, 16), 16

# Texts that a tokenizer gets at a time: what it returns is large, many times the token ids.
TOKENIZE_TEXTS = 20_000


class Tower(torch.nn.Module, ABC):
    """One embedding per text with any number of images, by a transformer.

    A subclass says what a sequence looks like (:meth:`tokenize`, :meth:`items`), what it gives to
    the pooling (:meth:`forward`), and what a folder holds beside backbone and tokenizer
    (:meth:`save`, :meth:`load`); :func:`load_tower` finds it by its kind.

    Parameters
    ----------
    backbone : Backbone
        It is kept in evaluation mode, also while it is trained: dropout costs a third of a forward
        pass on a CPU and buys nothing in the few epochs of fine-tuning. Dropout in front of
        adapters is what somebody asked for, and works.
    tokenizer : transformers.PreTrainedTokenizerBase
    pooling : Pooling
    max_length : int
        Longest text in tokens.
    """

    #: By which a saved tower is read again.
    kind: str

    #: Parts that are trained at the learning rate of new parts, by the start of their names.
    new_parts: tuple[str, ...] = ("image_projection",)

    #: Where the free vectors of prototypes start by default: at random, or at the embeddings of
    #: their labels.
    free_vectors = "random"

    #: Whether an objective can tune it.
    trainable = True

    #: Whether :meth:`encode_tokens` can be asked.
    gives_tokens = False

    #: Whether the gradient of word embeddings is that of rows.
    sparse_gradients = False

    #: Most parts that a long text is encoded in; 1 cuts it.
    max_chunks = 1

    def __init__(
        self,
        backbone: Backbone,
        tokenizer,
        *,
        pooling: Pooling,
        max_length: int,
    ) -> None:
        super().__init__()
        # First, for its parameters come first then: gradients are clipped by a sum in this order.
        self.pooling = pooling
        self.backbone = backbone.eval()
        self.tokenizer = tokenizer
        self.max_length = int(max_length)
        self.image_projection: ImageProjection | None = None

    def __getstate__(self) -> dict[str, Any]:
        return detach_weights(self, shared=(self.tokenizer,))

    def __setstate__(self, state: dict[str, Any]) -> None:
        attach_weights(self, state)

    def save(self, folder: Path, *, include_base: bool = False) -> dict[str, Any]:
        """Write backbone and tokenizer in the format of transformers.

        Parameters
        ----------
        folder : Path
        include_base : bool, default=False
            Whether a decoder's folder holds the weights under its adapters, and not their name
            alone. Weights that are not those of that name any more are always written.

        Returns
        -------
        state : dict
            The rest of the tower as numbers, strings and arrays, for :func:`load_tower`.

        Raises
        ------
        ValueError
            If a part of the tower cannot be described in this way.
        """
        return {
            **self._save_parts(folder, include_base),
            "kind": self.kind,
            "pooling": self.pooling.name,
            "pooling_weights": arrays_of(self.pooling),
            "max_length": self.max_length,
            "packed": self.backbone.packed,
            "position_offset": self.backbone.position_offset,
            "attention": self.backbone.attention,  # transformers does not store it
            "image_projection": arrays_of(self.image_projection),
        }

    @abstractmethod
    def _save_parts(self, folder: Path, include_base: bool) -> dict[str, Any]:
        """Write backbone and tokenizer; what this kind of tower has beside other kinds."""

    @classmethod
    @abstractmethod
    def load(
        cls, folder: Path, state: dict[str, Any], *, trust_remote_code: bool, base: str | None
    ) -> Tower:
        """Read all but the image projection, as :func:`load_tower` asks for it."""

    @property
    @abstractmethod
    def dimension(self) -> int:
        """Length of an embedding."""

    @abstractmethod
    def tokenize(self, texts: Sequence[str]) -> TokenizedTexts:
        """Token ids of all texts, cut to `max_length`, without padding."""

    @abstractmethod
    def items(
        self,
        texts: Sequence[str],
        images: ImageFeatures | None = None,
        *,
        of_labels: bool = False,
    ) -> Items:
        """Tokenised texts with their images, which a tower without a projection leaves out.

        Labels may have another prompt than documents.
        """

    @abstractmethod
    def forward(self, pack: Pack) -> torch.Tensor:
        """Embeddings before normalisation, (n_items, dimension), in the order of the pack."""

    def encode_tokens(
        self, texts: Sequence[str], *, precision: torch.dtype = torch.float32
    ) -> TokenVectors:
        """Vectors of unit norm of the tokens of texts, without pictures.

        Special tokens and prompts are left out.
        """
        raise NotImplementedError(f"{type(self).__name__} gives no vectors of tokens.")

    def settings(self) -> tuple[str, ...]:
        """All beside the weights that an embedding depends on."""
        return (str(self.max_length), str(self.max_chunks), str(self.backbone.dtype))

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.parameters()).device

    def train(self, mode: bool = True) -> Tower:
        """As usual, but for the backbone, which stays in evaluation mode."""
        super().train(mode)
        self.backbone.eval()
        for name, module in self.backbone.named_modules():
            if name.endswith("lora_dropout"):
                module.train(mode)
        return self

    def without_images(self, items: Items) -> Items:
        """What :meth:`items` makes of the same texts without any image."""
        return Items(items.tokens)

    def add_images(self, vectors: np.ndarray, seed: int = 0, widths: tuple[int, ...] = ()) -> None:
        """Give the tower a projection for image vectors like these, (n, image_dimension).

        `widths` are those of the blocks that a vector is made of, if there are several.
        """
        table = self.backbone.get_input_embeddings()
        words = table.weight
        if type(table) is not torch.nn.Embedding:
            rows = torch.linspace(0, len(words) - 1, 1000).long().to(words.device)
            with torch.no_grad():
                words = table(rows)
        self.image_projection = ImageProjection(vectors, words, seed, widths).to(self.device)

    @torch.inference_mode()
    def encode(
        self,
        items: Items,
        *,
        precision: torch.dtype = torch.float32,
        normalize: bool = True,
        progress: str | None = None,
        out: np.ndarray | None = None,
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
        out : ndarray of shape (n_items, dimension), float32, or None
            Where to write them; None makes a new array.

        Returns
        -------
        embeddings : ndarray of shape (n_items, dimension), float32
        """
        first = items.representatives()
        repeated = first != np.arange(len(items))
        distinct = np.flatnonzero(~repeated)
        packs, order = make_packs(items, distinct, ENCODE_TOKENS)
        output = np.empty((len(items), self.dimension), dtype=np.float32) if out is None else out
        tower = self._for_encoding(precision)
        row = 0
        bar = tqdm(total=len(distinct), desc=progress, unit="item", disable=progress is None)
        for embeddings in self._embeddings(tower, packs, precision, normalize):
            rows = order[row : row + len(embeddings)]
            output[distinct[rows]] = embeddings.cpu().numpy()
            row += len(rows)
            bar.update(len(rows))
        bar.close()
        output[repeated] = output[first[repeated]]
        return output

    def _embeddings(
        self, tower: Tower, packs: Iterator[Pack], precision: torch.dtype, normalize: bool
    ) -> Iterator[torch.Tensor]:
        """Those of each pack. An accelerator has the next one to do while one is read."""
        before = None
        for pack in packs:
            with autocast(self.device, precision):
                embeddings = tower(pack.to(self.device))
            if normalize:
                embeddings = torch.nn.functional.normalize(embeddings, dim=1)
            if before is not None:
                yield before
            before = embeddings
        if before is not None:
            yield before

    def for_serving(self, precision: torch.dtype, backend: str = "torch") -> Tower:
        """A tower with the same embeddings in `precision`, whose linear layers are stored in it.

        Autocast brings weights to `precision` again for each pack, which takes as long as a short
        text does. The copy has half the size of the linear layers; it shares all else. On an
        accelerator, where memory is dearer than a cast, this is the tower itself.

        With `backend` "openvino" the layers are those of :class:`OpenVinoBackbone`, and embeddings
        nearly the same.

        Raises
        ------
        ImportError
            If OpenVINO is to compute and is missing.
        ValueError
            If OpenVINO cannot: on an accelerator, or for another architecture than BERT's.
        """
        if backend == "openvino":
            return self._twin(self._openvino_backbone(precision))
        if self.device.type != "cpu":
            return self
        return self._with_backbone(self._leanest().for_serving(precision))

    def for_training(self) -> Tower:
        """A tower with the same parameters, for whoever trains them in several packs.

        The gradient of word embeddings is that of rows: each pack would fill and add up one of the
        whole table. Where it can be, the backbone is our own.
        """
        twin = self._twin(self._leanest())
        # An accelerator fills tables in no time, and would have to say how many rows there are.
        twin.sparse_gradients = self.device.type == "cpu"
        return twin

    def _leanest(self) -> Backbone:
        """What computes the backbone's model with the least around it."""
        return self.backbone.lean() or self.backbone

    def _for_encoding(self, precision: torch.dtype) -> Tower:
        """For embeddings alone, on our own backbone with its weights cast once, if there is one."""
        lean = self.backbone.lean()
        return self if lean is None else self._with_backbone(lean.for_serving(precision))

    def _openvino_backbone(self, precision: torch.dtype) -> Backbone:
        if self.device.type != "cpu":
            raise ValueError(
                "backend='openvino' computes on the CPU, and the encoder is on "
                f"{str(self.device)!r}; fit or load it with device='cpu'."
            )
        lean = self.backbone.lean()
        if lean is None:
            kind = getattr(self.backbone.config, "model_type", type(self.backbone.model).__name__)
            raise ValueError(
                f"backend='openvino' knows {', '.join(KINDS)}, and the encoder is {kind!r}; "
                "leave it at backend='torch'."
            )
        from .._backbones._openvino import OpenVinoBackbone

        return OpenVinoBackbone(lean, precision)

    def _with_backbone(self, backbone: Backbone) -> Tower:
        """The same tower with this backbone, which it may have already."""
        return self if backbone is self.backbone else self._twin(backbone)

    def _twin(self, backbone: Backbone) -> Tower:
        """The same tower with another backbone; all else is shared."""
        twin = object.__new__(type(self))
        vars(twin).update(vars(self))
        twin._modules = {**self._modules, "backbone": backbone}
        return twin

    @contextmanager
    def mixed_precision(self, precision: torch.dtype) -> Iterator[None]:
        """Autocast in which a backbone that can casts its weights once and not for each pack."""
        with autocast(self.device, precision), self.backbone.cast_once(precision):
            yield

    def fingerprint(self) -> tuple:
        """Equal as long as no weight was written to and no part replaced."""
        return tuple((id(p), p.data_ptr(), p._version) for p in self.parameters())

    def activation_bytes_per_token(self, precision: torch.dtype | None = None) -> int:
        """Memory that one more token's graph holds, in bytes, measured on short texts.

        Parameters
        ----------
        precision : torch.dtype or None
            Of matrix products; None takes that of the weights.
        """
        training = self.training
        self.train(False)  # whole graphs: layers recompute nothing
        few, many = (self._graph_bytes(n, precision or self.backbone.dtype) for n in MEASURED_TEXTS)
        self.train(training)
        tokens = (MEASURED_TEXTS[1] - MEASURED_TEXTS[0]) * MEASURED_LENGTH
        return (many - few) // tokens + 1

    def _graph_bytes(self, n_texts: int, precision: torch.dtype) -> int:
        """Bytes that a graph over some texts keeps beside the weights."""
        texts = TokenizedTexts.from_lists([[0] * MEASURED_LENGTH] * n_texts)
        packs, _ = make_packs(Items(texts), np.arange(n_texts), n_texts * MEASURED_LENGTH)
        weights = {p.untyped_storage().data_ptr() for p in self.parameters()}
        # The storages themselves, so that none takes the address of another.
        kept: dict[int, torch.UntypedStorage] = {}

        def keep(tensor: torch.Tensor) -> torch.Tensor:
            storage = tensor.untyped_storage()
            if storage.data_ptr() not in weights:
                kept[storage.data_ptr()] = storage
            return tensor

        with (
            torch.enable_grad(),
            torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor),
            self.mixed_precision(precision),
        ):
            self(next(packs).to(self.device))
        return sum(storage.nbytes() for storage in kept.values())

    # -- for subclasses -----------------------------------------------------------------------

    def _tokenize(
        self, texts: Sequence[str], *, nonempty: bool, max_length: int | None = None, **options
    ) -> TokenizedTexts:
        """Token ids as the tokenizer gives them; `nonempty` puts one token where there is none."""
        filler = [self.tokenizer.pad_token_id or 0] if nonempty else []
        longest = self.max_length if max_length is None else max_length

        def tokenize(part: list[str]) -> list[list[int]]:
            return self.tokenizer(
                part,
                truncation=True,
                max_length=longest,
                return_attention_mask=False,
                return_token_type_ids=False,
                **options,
            )["input_ids"]

        blocks = []
        for start in range(0, len(texts), TOKENIZE_TEXTS):
            part = list(texts[start : start + TOKENIZE_TEXTS])
            if self.tokenizer.truncation_side == "right":
                part = shorten(part, tokenize, longest)
            blocks.append(TokenizedTexts.from_lists([ids or filler for ids in tokenize(part)]))
        return TokenizedTexts.concatenate(blocks)

    def _input_embeddings(self, pack: Pack) -> torch.Tensor:
        """Embeddings of the pack's tokens, images among them, (n_tokens, width)."""
        table = self.backbone.get_input_embeddings()
        if type(table) is torch.nn.Embedding:
            embeddings = torch.nn.functional.embedding(
                pack.token_ids, table.weight, table.padding_idx, sparse=self.sparse_gradients
            )
        else:  # Gemma 3 scales what its table holds
            embeddings = table(pack.token_ids)
        if pack.order is None:
            return embeddings
        image_tokens = self.image_projection(pack.image_vectors).to(embeddings.dtype)
        return torch.cat([embeddings, image_tokens]).index_select(0, pack.order)


def graph_bytes_per_token(n_layers: int, width: int, inner: int) -> int:
    """Rough memory that one token's graph holds in a transformer, in bytes.

    A layer keeps about sixteen vectors of its width and three of its intermediate width;
    measured with MiniLM, BERT and Llama blocks in mixed precision.
    """
    return n_layers * (16 * width + 3 * inner) * 4


def by_runs(hidden: torch.Tensor, runs: list[tuple[int, int]]) -> list[torch.Tensor]:
    """Hidden states of a row (n_tokens, width) as one (count, length, width) for each run."""
    parts = hidden.split([count * length for count, length in runs])
    return [part.view(*run, -1) for part, run in zip(parts, runs, strict=True)]


def autocast(device: torch.device | str, precision: torch.dtype) -> torch.autocast:
    """Mixed precision for a block of code; no change for fp32."""
    return torch.autocast(
        torch.device(device).type, dtype=precision, enabled=precision != torch.float32
    )
