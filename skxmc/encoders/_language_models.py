"""What a user says of a language model."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from sklearn.base import BaseEstimator

if TYPE_CHECKING:
    import torch

    from .._backbones._sources import ModelSource


class LanguageModel(BaseEstimator):
    """A decoder-only language model without its head, and its options.

    Pass it as `encoder` of :class:`~skxmc.DecoderXMCClassifier` when the name alone is not enough.

    Parameters
    ----------
    name : str or path-like, default="HuggingFaceTB/SmolLM2-135M-Instruct"
        A folder (of transformers, or with one GGUF file), a model that an installed package
        carries, or a name on the hub.
    text_prompt, image_prompt : str, default="This product text" and "and its image"
        Prompts in front of the text, and in front of the pictures.
    end_token : str or None, default="eos"
        Text at the end of a sequence; "eos" is the tokenizer's own end token.
    prompt_order : {"text-image", "image-text"}, default="text-image"
        Whether the text or the pictures come first.
    pooling : {"mean", "last", "eos", "attention"}, default="mean"
        How hidden states become one embedding: their mean, the last one, that of the end token,
        or a mean weighted by a learned query.
    standardize : bool, default=True
        Whether embeddings are scaled to mean 0 and standard deviation 1 in each direction, before
        they get unit length. Mean and deviation are those of the pretrained model's embeddings of
        the training texts.
    max_length : int or None, default=None
        Longest text in tokens, prompts not counted; None takes the model's own limit, at most
        256.
    quantization : {"nf4"} or None, default=None
        Base weights in 4 bits (bitsandbytes, double quantisation); needs a CUDA device.
    attn_implementation : str or None, default=None
        One of transformers' attentions, for which texts go through by equal lengths. None packs
        texts without padding where that is exact, else takes the model's default.
    gradient_checkpointing : bool, default=False
        Whether activations are computed again in the backward pass, for memory.
    fused_kernels : bool, default=False
        Whether to use the kernels of liger-kernel, which must be installed.
    trust_remote_code : bool, default=False
        Whether code that comes with the model may run.

    Examples
    --------
    >>> from skxmc import DecoderXMCClassifier
    >>> from skxmc.encoders import LanguageModel
    >>> clf = DecoderXMCClassifier(LanguageModel(pooling="last"))
    >>> clf.get_params()["encoder__pooling"]
    'last'
    """

    #: What kind of model it is, for `find_model`.
    kind = "decoder"

    #: Whether each token gets a vector that evidence may compare.
    gives_tokens = False

    def __init__(
        self,
        name: str | os.PathLike = "HuggingFaceTB/SmolLM2-135M-Instruct",
        text_prompt: str = "This product text",
        image_prompt: str = "and its image",
        end_token: str | None = "eos",
        prompt_order: str = "text-image",
        pooling: str = "mean",
        standardize: bool = True,
        max_length: int | None = None,
        quantization: str | None = None,
        attn_implementation: str | None = None,
        gradient_checkpointing: bool = False,
        fused_kernels: bool = False,
        trust_remote_code: bool = False,
    ) -> None:
        self.name = name
        self.text_prompt = text_prompt
        self.image_prompt = image_prompt
        self.end_token = end_token
        self.prompt_order = prompt_order
        self.pooling = pooling
        self.standardize = standardize
        self.max_length = max_length
        self.quantization = quantization
        self.attn_implementation = attn_implementation
        self.gradient_checkpointing = gradient_checkpointing
        self.fused_kernels = fused_kernels
        self.trust_remote_code = trust_remote_code

    def find(self) -> ModelSource:
        """Find the model's files, or download them.

        Returns
        -------
        source : ModelSource
            Where they are.
        """
        from .._backbones._sources import find_model

        return find_model(self.name, kind=self.kind, trust_remote_code=self.trust_remote_code)

    def load(self, source: ModelSource, *, max_images: int, weights_dtype: torch.dtype) -> Any:
        """The pretrained tower, on the CPU.

        Parameters
        ----------
        source : ModelSource
            Where the files are.
        max_images : int
            Positions to leave free for pictures.
        weights_dtype : torch.dtype
            Of weights that are never trained.

        Returns
        -------
        tower : DecoderTower
        """
        from .._towers._decoder import load_decoder_tower
        from .._towers._prompts import Prompts

        return load_decoder_tower(
            source,
            prompts=Prompts(
                text=self.text_prompt,
                image=self.image_prompt,
                end=self.end_token,
                order=self.prompt_order,
            ),
            pooling=self.pooling,
            max_length=self.max_length,
            max_images=max_images,
            weights_dtype=weights_dtype,
            quantization=self.quantization,
            attn_implementation=self.attn_implementation,
            gradient_checkpointing=self.gradient_checkpointing,
            fused_kernels=self.fused_kernels,
            trust_remote_code=self.trust_remote_code,
        )

    def calibrate(self, tower: Any, texts: Sequence[str], precision: torch.dtype) -> None:
        """Standardise the embeddings by the training texts, if that is wanted.

        Parameters
        ----------
        tower : Tower
            As :meth:`load` gave it.
        texts : list of str
            The training texts.
        precision : torch.dtype
            Precision of matrix products.
        """
        if self.standardize:
            tower.calibrate(texts, precision)
