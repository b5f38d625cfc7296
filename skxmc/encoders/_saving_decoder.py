"""Decoder towers in folders: adapters with a reference to their base model, or everything."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from ._decoder import BaseModel, DecoderTower
from ._image import _quiet_transformers
from ._language_model import load_backbone, load_tokenizer
from ._lora import base_state, has_adapters, load_adapters, save_adapters
from ._prompts import Prompts
from ._sources import find_model

# Adapters have a folder of their own: transformers takes a folder with an adapter for that alone.
ADAPTER = "adapter"


def save_decoder(tower: DecoderTower, folder: Path, *, include_base: bool) -> dict[str, Any]:
    """Write tokenizer, adapters and, where they are wanted or changed, the weights under them.

    Parameters
    ----------
    tower : DecoderTower
    folder : Path
    include_base : bool

    Returns
    -------
    state : dict
        For :func:`load_decoder`.

    Raises
    ------
    ValueError
        If weights that are to be written are in 4 bits.
    """
    backbone = tower.backbone
    include_base = include_base or tower.base is None or _base_is_trained(backbone)
    if include_base and getattr(backbone, "hf_quantizer", None) is not None:
        raise ValueError(
            "4-bit base weights cannot be saved; save with include_base=False and adapters that "
            "are not merged"
        )
    adapted = has_adapters(backbone)
    with _quiet_transformers():
        tower.tokenizer.save_pretrained(folder)
        if include_base:
            backbone.save_pretrained(folder, state_dict=base_state(backbone))
    if adapted:
        save_adapters(backbone, folder / ADAPTER, tower.base and tower.base.name)
    query = tower.pooling_query
    return {
        "kind": "decoder",
        "base": None if include_base else asdict(tower.base),
        "weights_dtype": str(backbone.dtype).removeprefix("torch."),
        "adapters": adapted,
        "packing": [tower.packed, tower.position_offset, tower.n_shared],
        "prompts": asdict(tower.prompts),
        "standard": [part.cpu().numpy() for part in (tower.offset, tower.scale)],
        "pooling_query": None if query is None else query.detach().cpu().numpy(),
    }


def load_decoder(
    folder: Path, state: dict[str, Any], *, trust_remote_code: bool, base: str | None
) -> DecoderTower:
    """Read a tower that :func:`save_decoder` wrote.

    Parameters
    ----------
    folder : Path
    state : dict
        With "pooling", "max_length" and "attention" beside what :func:`save_decoder` returned.
    trust_remote_code : bool
    base : str or None
        Where the base model is, if not under the name that was saved.

    Returns
    -------
    tower : DecoderTower
    """
    options = {
        "attn_implementation": state["attention"],
        "trust_remote_code": trust_remote_code,
    }
    reference = None
    if state["base"] is None:
        backbone = load_backbone(
            folder, weights_dtype=getattr(torch, state["weights_dtype"]), **options
        )
    else:
        reference = BaseModel(**state["base"])
        backbone = _load_base(reference, base or reference.name, options)
    if state["adapters"]:
        load_adapters(backbone, folder / ADAPTER)
    tower = DecoderTower(
        backbone,
        load_tokenizer(folder, trust_remote_code=trust_remote_code),
        prompts=Prompts(**state["prompts"]),
        pooling=state["pooling"],
        max_length=state["max_length"],
        packing=tuple(state["packing"]),
        base=reference,
    )
    for part, array in zip((tower.offset, tower.scale), state["standard"], strict=True):
        part.copy_(torch.from_numpy(array))
    if state["pooling_query"] is not None:
        tower.pooling_query.data.copy_(torch.from_numpy(state["pooling_query"]))
    return tower


def _base_is_trained(backbone: torch.nn.Module) -> bool:
    """Whether its weights may be others than those that were loaded: those are frozen."""
    return any(p.requires_grad for name, p in backbone.named_parameters() if "lora_" not in name)


def _load_base(reference: BaseModel, name: str, options: dict[str, Any]) -> torch.nn.Module:
    source = find_model(name, kind="decoder", trust_remote_code=options["trust_remote_code"])
    digest = source.weights_digest()
    if digest != reference.digest:
        raise ValueError(
            f"the base model {name!r} at {str(source.path)!r} has other weights than the model "
            f"was saved with (sha256 {digest[:12]}..., expected {reference.digest[:12]}...); get "
            "the right ones, or save the model with include_base=True where they are"
        )
    return load_backbone(
        source.path,
        gguf_file=source.gguf_file,
        weights_dtype=getattr(torch, reference.weights_dtype),
        quantization=reference.quantization,
        **options,
    )
