"""Where the weights under a decoder's adapters come from, and how they are found once more."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from .._backbones._language_model import load_backbone
from .._backbones._sources import ModelSource, find_model


@dataclass(frozen=True)
class BaseModel:
    """Where the frozen weights under a tower's adapters come from.

    Attributes
    ----------
    name : str
        As given to ``find_model``.
    origin : {"folder", "package", "hub"}
        Where it was found.
    digest : str
        Hash of the weights' files.
    weights_dtype : str
        "float32" or "bfloat16".
    quantization : str or None
    """

    name: str
    origin: str
    digest: str
    weights_dtype: str
    quantization: str | None

    @classmethod
    def of(
        cls, source: ModelSource, weights_dtype: torch.dtype, quantization: str | None
    ) -> BaseModel:
        """The base that was found at this source, and in which precision it was loaded."""
        dtype = str(weights_dtype).removeprefix("torch.")
        return cls(source.name, source.origin, source.weights_digest(), dtype, quantization)

    def load(
        self, where: str | None, *, attention: str | None, trust_remote_code: bool
    ) -> torch.nn.Module:
        """The same weights once more.

        A saved folder may come from anybody, so a folder that it names is never opened: what
        was read from a folder is read only from where the caller says.

        Parameters
        ----------
        where : str or None
            Where they are; None looks for their name in packages and on the hub.
        attention : str or None
            One of transformers' attentions; None takes the model's default.
        trust_remote_code : bool
            Whether code that comes with the model may run.

        Returns
        -------
        model : transformers.PreTrainedModel

        Raises
        ------
        ValueError
            If the weights there are others, or if they came from a folder and `where` is None.
        OSError
            If there are none.
        """
        name = self.name if where is None else where
        if where is None and self.origin == "folder":
            raise ValueError(
                f"its language model was read from the folder {name!r}, and no folder that a saved "
                "model names is opened; pass base=, the folder with the language model, or save "
                "with include_base=True"
            )
        source = find_model(
            name,
            kind="decoder",
            trust_remote_code=trust_remote_code,
            folders=where is not None,
        )
        digest = source.weights_digest()
        if digest != self.digest:
            raise ValueError(
                f"the base model {name!r} at {str(source.path)!r} has other weights than the model "
                f"was saved with (sha256 {digest[:12]}..., expected {self.digest[:12]}...); get "
                "the right ones, or save the model with include_base=True where they are"
            )
        return load_backbone(
            source.path,
            gguf_file=source.gguf_file,
            weights_dtype=getattr(torch, self.weights_dtype),
            quantization=self.quantization,
            attn_implementation=attention,
            trust_remote_code=trust_remote_code,
        )
