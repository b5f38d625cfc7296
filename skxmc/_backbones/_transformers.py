"""Models of transformers as backbones, and how they are read and written."""

from __future__ import annotations

import copy
from itertools import chain
from pathlib import Path
from typing import Any

import torch

from .._runtime._quiet import quiet_transformers
from ._backbone import Backbone
from ._bert import BertBackbone
from ._packed import probe_packing, run_transformer, use_packed_attention


class TransformersBackbone(Backbone):
    """A model of transformers that takes ``inputs_embeds``.

    Parameters
    ----------
    model : transformers.PreTrainedModel
        Put in evaluation mode and, if it packs, changed to packed attention.
    packed : bool, default=False
    position_offset : int, default=0
        As ``probe_packing`` found them.
    """

    def __init__(
        self, model: torch.nn.Module, packed: bool = False, position_offset: int = 0
    ) -> None:
        super().__init__()
        self.model = model.eval()
        self.packed, self.position_offset = packed, position_offset
        self._width: int | None = None
        self._use_packing()

    @classmethod
    def probe(cls, model: torch.nn.Module, max_length: int) -> TransformersBackbone:
        """Packed if that is exact for this model, with sequences of at most so many tokens."""
        return cls(model, *probe_packing(model, max_length))

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self._use_packing()  # a new process does not know this attention

    def _use_packing(self) -> None:
        if self.packed:
            use_packed_attention(self.model)

    @property
    def config(self) -> Any:
        """The model's own."""
        return self.model.config

    @property
    def width(self) -> int:
        """Length of a hidden state, as a pass finds it: configurations say it in many ways."""
        if self._width is None:
            with torch.no_grad():
                table = self.get_input_embeddings()
                device = next(self.parameters()).device
                embeddings = table(torch.zeros(2, dtype=torch.int64, device=device))
                places = torch.arange(2, device=device)
                self._width = self.run(embeddings, places, [(1, 2)]).shape[-1]
        return self._width

    @property
    def dtype(self) -> torch.dtype:
        """Of the weights."""
        return self.model.dtype

    @property
    def attention(self) -> str | None:
        """Which of transformers' attentions computes; None where packed attention does."""
        return None if self.packed else self.config._attn_implementation

    def get_input_embeddings(self) -> torch.nn.Module:
        """The table of words."""
        return self.model.get_input_embeddings()

    def run(
        self,
        embeddings: torch.Tensor,
        positions: torch.Tensor,
        runs: list[tuple[int, int]],
        shared: int = 0,
    ) -> torch.Tensor:
        """Last hidden states of ragged sequences, one row a token."""
        return run_transformer(
            self.model,
            embeddings,
            positions,
            runs,
            packed=self.packed,
            position_offset=self.position_offset,
            shared=shared,
        )

    def for_serving(self, dtype: torch.dtype) -> TransformersBackbone:
        """A copy with linear layers in `dtype`, which shares all else."""
        layers = [m for m in self.modules() if type(m) is torch.nn.Linear]
        if all(m.weight.dtype == dtype for m in layers):
            return self
        memo = {id(t): t for t in chain(self.parameters(), self.buffers())}
        for parameter in chain.from_iterable(layer.parameters() for layer in layers):
            short = parameter.detach().to(dtype)
            memo[id(parameter)] = torch.nn.Parameter(short, requires_grad=False)
        return copy.deepcopy(self, memo)

    def lean(self) -> BertBackbone | None:
        """The same by :class:`BertBackbone`, where that computes such models."""
        return BertBackbone.of(self.model, self.position_offset) if self.packed else None

    def save(self, folder: Path) -> None:
        """Write configuration and weights in the format of transformers."""
        with quiet_transformers():
            self.model.save_pretrained(folder)


def text_part(model: torch.nn.Module) -> torch.nn.Module:
    """The part of a model that reads texts; the model itself where it is all of it."""
    part = getattr(model, "language_model", None)
    several = model.config.get_text_config() is not model.config
    return part if several and isinstance(part, torch.nn.Module) else model


def load_encoder(
    folder: Path, attention: str | None = None, trust_remote_code: bool = False
) -> tuple[torch.nn.Module, Any]:
    """Model and tokenizer of a saved encoder, as transformers reads them.

    Parameters
    ----------
    folder : Path
    attention : str or None
        One of transformers' attentions; None takes the model's default.
    trust_remote_code : bool, default=False
        Whether code in the folder may run.

    Returns
    -------
    model : transformers.PreTrainedModel
    tokenizer : transformers.PreTrainedTokenizerBase

    Raises
    ------
    ValueError
        If weights are missing, or if the model needs code that may not run.
    """
    import transformers

    local = {"local_files_only": True, "trust_remote_code": trust_remote_code}
    with quiet_transformers():
        config = transformers.AutoConfig.from_pretrained(folder, **local)
        model, info = _loader_of(config, trust_remote_code).from_pretrained(
            folder,
            dtype="auto",
            use_safetensors=True,
            attn_implementation=attention,
            output_loading_info=True,
            **local,
        )
        if info["missing_keys"]:
            missing = sorted(info["missing_keys"])
            raise ValueError(
                f"its weights lack {len(missing)} tensors ({', '.join(missing[:3])} ...)."
            )
        return model, transformers.AutoTokenizer.from_pretrained(folder, **local)


def _loader_of(config: Any, trust_remote_code: bool) -> Any:
    """The class that reads a model of this configuration."""
    import transformers

    name = (config.architectures or [""])[0]
    loader = getattr(transformers, name, None)
    if isinstance(loader, type) and issubclass(loader, transformers.PreTrainedModel):
        return loader
    if not trust_remote_code:
        raise ValueError(
            f"its architecture {name!r} is none of transformers, so it needs Python code that "
            "comes with the model; if you trust that, load with trust_remote_code=True."
        )
    return transformers.AutoModel
