"""Language models from folders and GGUF files, without their heads."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator
from pathlib import Path

import torch
from transformers.modeling_layers import GradientCheckpointingLayer

from .._runtime._optional import import_optional
from .._runtime._quiet import quiet_transformers
from ._sources import check_no_image_model
from ._transformers import text_part


def load_backbone(
    folder: Path,
    *,
    gguf_file: str | None = None,
    weights_dtype: torch.dtype = torch.float32,
    quantization: str | None = None,
    attn_implementation: str | None = None,
    fused_kernels: bool = False,
    trust_remote_code: bool = False,
) -> torch.nn.Module:
    """A decoder-only language model without its head, in evaluation mode; its weights are frozen.

    Parameters
    ----------
    folder : Path
    gguf_file : str or None
        The file in the folder, for a model in this format; it is brought into `weights_dtype`.
    weights_dtype, quantization, attn_implementation, fused_kernels, trust_remote_code
        As in ``load_decoder_tower``.

    Returns
    -------
    backbone : transformers.PreTrainedModel

    Raises
    ------
    ValueError
        If it is no language model alone, if weights are missing, or if what was asked for needs
        a CUDA device.
    ImportError
        If what was asked for needs a package that is missing.
    """
    import transformers

    check_no_image_model(folder)
    if fused_kernels:
        _need_cuda("fused_kernels=True")
        liger = import_optional("liger_kernel.transformers", "gpu")
    local = {"trust_remote_code": trust_remote_code, **_local(gguf_file)}
    options = {} if quantization is None else _quantized(quantization)
    if gguf_file is None:
        options["use_safetensors"] = True
    elif hasattr(transformers, "GgufConfig"):
        options["quantization_config"] = transformers.GgufConfig(dequantize=True)
    # Modules start with random weights; loading must not use up the caller's random numbers.
    with torch.random.fork_rng(devices=[]), _quiet(gguf_file):
        config = transformers.AutoConfig.from_pretrained(folder, **local)
        if config.is_encoder_decoder:
            raise ValueError(
                f"the model in {str(folder)!r} ({config.model_type}) has an encoder and a decoder; "
                "pass a decoder-only language model"
            )
        backbone, info = transformers.AutoModel.from_pretrained(
            folder,
            config=config,
            dtype=weights_dtype,
            attn_implementation=attn_implementation,
            output_loading_info=True,
            **options,
            **local,
        )
    if info["missing_keys"]:
        missing = sorted(info["missing_keys"])
        raise ValueError(
            f"the weights in {str(folder)!r} lack {len(missing)} tensors of the model "
            f"({', '.join(missing[:3])} ...); get the model once more"
        )
    if gguf_file is not None:
        _forget_gguf(backbone)
    backbone = _reader_of_text(backbone, folder)
    backbone.config.use_cache = False  # nothing is generated
    if fused_kernels:
        liger._apply_liger_kernel_to_instance(model=backbone)
    return backbone.requires_grad_(False).eval()


def _reader_of_text(model: torch.nn.Module, folder: Path) -> torch.nn.Module:
    """The language model of one that sees or hears as well; the others are let go."""
    part = text_part(model)
    if part is model and model.config.get_text_config() is not model.config:
        raise ValueError(
            f"the model in {str(folder)!r} ({model.config.model_type}) has several parts and none "
            "that is called language_model; pass a decoder-only language model"
        )
    if getattr(part.config, "hidden_size_per_layer_input", 0):
        raise ValueError(
            f"the model in {str(folder)!r} ({part.config.model_type}) looks tokens up again in "
            "each layer, so it cannot read pictures as vectors; pass another language model"
        )
    return part


def load_tokenizer(folder: Path, *, gguf_file: str | None = None, trust_remote_code: bool = False):
    """The tokenizer in a folder, or in a GGUF file there."""
    import transformers

    # The automatic class would read a GGUF file once more for the name of another.
    automatic = gguf_file is None
    kind = transformers.AutoTokenizer if automatic else transformers.PreTrainedTokenizerFast
    with _quiet(gguf_file):
        return kind.from_pretrained(
            folder, trust_remote_code=trust_remote_code, **_local(gguf_file)
        )


def checkpoint_gradients(backbone: torch.nn.Module) -> None:
    """Let layers compute their activations again in the backward pass, in place.

    Layers do so in training mode only, in which ``DecoderTower.train`` puts them, and not what
    is in them; the dropout that layers have of their own is set to zero.
    """
    enable = getattr(backbone, "activation_checkpointing_enable", None)
    if enable is None:  # an older transformers
        enable = backbone.gradient_checkpointing_enable
    enable({"use_reentrant": False})
    # What this adds is for reentrant checkpoints, and cannot be pickled.
    backbone.disable_input_require_grads()
    for layer in checkpointed_layers(backbone):
        for name, value in vars(layer).items():
            if "drop" in name and isinstance(value, float):
                setattr(layer, name, 0.0)


def checkpointed_layers(backbone: torch.nn.Module) -> Iterator[torch.nn.Module]:
    """Layers for which :func:`checkpoint_gradients` was called."""
    for layer in backbone.modules():
        if isinstance(layer, GradientCheckpointingLayer) and layer.gradient_checkpointing:
            yield layer


def is_quantized(model: torch.nn.Module) -> bool:
    """Whether its weights are in 4 bits, which can neither be pickled nor written."""
    return getattr(model, "hf_quantizer", None) is not None


def _local(gguf_file: str | None) -> dict:
    if gguf_file is None:
        return {"local_files_only": True}
    import_optional("gguf", "offline")
    return {"local_files_only": True, "gguf_file": gguf_file}


@contextlib.contextmanager
def _quiet(gguf_file: str | None) -> Iterator[None]:
    """Neither messages nor bars; that of a GGUF file has no switch of its own."""
    bar = contextlib.nullcontext()
    if gguf_file is not None:
        bar = contextlib.redirect_stderr(io.StringIO())
    with quiet_transformers(), bar:
        yield


def _need_cuda(argument: str) -> None:
    if not torch.cuda.is_available():
        raise ValueError(f"{argument} needs a CUDA device, and there is none; leave it out")


def _quantized(quantization: str) -> dict:
    """Options of a model in 4 bits; all that can be missing is asked for before anything loads."""
    if quantization != "nf4":
        raise ValueError(f"quantization must be 'nf4' or None, got {quantization!r}")
    _need_cuda("quantization='nf4'")
    import_optional("bitsandbytes", "gpu")
    from transformers import BitsAndBytesConfig

    return {
        "quantization_config": BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=torch.bfloat16,
        ),
        "device_map": {"": torch.cuda.current_device()},
    }


def _forget_gguf(backbone: torch.nn.Module) -> None:
    """Make a plain model of one that came from a GGUF file, so that it can be saved as one."""
    vars(backbone.config).pop("quantization_config", None)
    for name in ("hf_quantizer", "is_quantized", "quantization_method"):
        vars(backbone).pop(name, None)
