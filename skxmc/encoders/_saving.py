"""Towers in pickles and in folders, read without the library that loaded them first."""

from __future__ import annotations

import copy
from contextlib import nullcontext
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from ._bert import BertBackbone, load_encoder
from ._fusion import ImageProjection
from ._image import _quiet_transformers

if TYPE_CHECKING:
    from ._text import TextTower
    from ._tower import Tower

# What a head may consist of; each can be made from its class and its constants alone.
_HEAD_MODULES = frozenset(
    "Linear LayerNorm Identity Tanh Sigmoid ReLU LeakyReLU ELU SELU GELU SiLU Mish Softplus".split()
)


# -- pickles ----------------------------------------------------------------------------------


def detach_weights(module: torch.nn.Module, shared: tuple = ()) -> dict[str, Any]:
    """State of a module for a pickle: weights are byte arrays on the CPU, beside the rest.

    Torch's own pickles of tensors on a GPU cannot be read without one, and joblib cannot store
    tensors as it does arrays. The module itself stays where it is; arrays share its memory on
    the CPU.

    Parameters
    ----------
    module : torch.nn.Module
    shared : tuple
        Parts of the module that hold no tensors and need not be copied.

    Returns
    -------
    state : dict
        For :func:`attach_weights`.
    """
    loose = (vars(part).values() for part in module.modules())  # some caches are no buffers
    tensors = {
        id(tensor): tensor
        for tensor in chain(module.parameters(), module.buffers(), *loose)
        if isinstance(tensor, torch.Tensor)
    }
    memo = {id(part): part for part in shared}
    weights = []
    for key, tensor in tensors.items():
        empty = torch.empty(0, dtype=tensor.dtype)
        if isinstance(tensor, torch.nn.Parameter):
            empty = torch.nn.Parameter(empty, requires_grad=tensor.requires_grad)
        memo[key] = empty
        flat = tensor.detach().cpu().contiguous().reshape(-1)
        weights.append((empty, tuple(tensor.shape), flat.view(torch.uint8).numpy()))
    # A copy of all but the tensors, with an empty one in the place of each.
    rest = {name: value for name, value in vars(module).items() if name != "_weights"}
    return {**copy.deepcopy(rest, memo), "_weights": weights}


def attach_weights(module: torch.nn.Module, state: dict[str, Any]) -> None:
    """Give an empty module the state from :func:`detach_weights`, on the CPU."""
    weights = state.pop("_weights")
    vars(module).update(state)
    for empty, shape, array in weights:
        # Copied: an array that joblib maps is read-only, and torch wants aligned memory.
        tensor = torch.empty(shape, dtype=empty.dtype)
        tensor.view(-1).view(torch.uint8).numpy()[...] = array
        empty.data = tensor


# -- folders ----------------------------------------------------------------------------------


def save_tower(tower: Tower, folder: Path, *, include_base: bool = False) -> dict[str, Any]:
    """Write backbone and tokenizer in the format of transformers.

    Parameters
    ----------
    tower : Tower
    folder : Path
    include_base : bool, default=False
        Whether a decoder's folder holds the weights under its adapters, and not their name alone.
        Weights that are not those of that name any more are always written.

    Returns
    -------
    state : dict
        The rest of the tower as numbers, strings and arrays, for :func:`load_tower`.

    Raises
    ------
    ValueError
        If a part of the tower cannot be described in this way.
    """
    from ._decoder import DecoderTower

    if isinstance(tower, DecoderTower):
        from ._saving_decoder import save_decoder

        state = save_decoder(tower, folder, include_base=include_base)
    else:
        state = _save_text(tower, folder)
    return {
        **state,
        "pooling": tower.pooling,
        "max_length": tower.max_length,
        # Transformers does not store it. Packing replaces it, so it is of no account then.
        "attention": None if tower.packed else tower.backbone.config._attn_implementation,
        "image_projection": _arrays(tower.image_projection),
    }


def load_tower(
    folder: Path,
    state: dict[str, Any],
    *,
    trust_remote_code: bool = False,
    base: str | None = None,
) -> Tower:
    """Read a tower that :func:`save_tower` wrote; weights are mapped, on the CPU.

    Parameters
    ----------
    folder : Path
    state : dict
        What :func:`save_tower` returned.
    trust_remote_code : bool, default=False
        Whether code in the folder may run, for backbones that transformers does not know.
    base : str or None
        Where the base model of a decoder is, if not under the name that was saved.

    Returns
    -------
    tower : Tower

    Raises
    ------
    ValueError
        If the folder lacks weights or needs code that may not run, or if a decoder's base model
        has other weights than it had.
    OSError
        If a decoder's base model is not found.
    """
    # A name with a slash would be a kernel to download.
    if state["attention"] is not None and "/" in state["attention"]:
        raise ValueError(
            f"attention {state['attention']!r} is none of transformers; save the model anew."
        )
    # Modules start with random weights; loading must not use up the caller's random numbers.
    with torch.random.fork_rng(devices=[]):
        if state["kind"] == "decoder":
            from ._saving_decoder import load_decoder

            with _quiet_transformers():
                tower = load_decoder(folder, state, trust_remote_code=trust_remote_code, base=base)
        else:
            tower = _load_text(folder, state, trust_remote_code)
        if state["image_projection"] is not None:
            width, image_dimension = state["image_projection"]["linear.weight"].shape
            tower.image_projection = ImageProjection.empty(image_dimension, width)
            _fill(tower.image_projection, state["image_projection"])
    tower.use_packing()
    return tower.eval()


def _save_text(tower: TextTower, folder: Path) -> dict[str, Any]:
    head = tower.head
    if head is not None and not isinstance(head, torch.nn.Sequential):
        head = torch.nn.Sequential(head)
    state = {
        "kind": "text",
        "packed": tower.packed,
        "position_offset": tower.position_offset,
        "head": None if head is None else [_describe(part) for part in head],
        "head_weights": _arrays(head),
    }
    folder.mkdir(exist_ok=True)
    own = isinstance(tower.backbone, BertBackbone)
    with nullcontext() if own else _quiet_transformers():
        tower.backbone.save_pretrained(folder)
        tower.tokenizer.save_pretrained(folder)
    return state


def _load_text(folder: Path, state: dict[str, Any], trust_remote_code: bool) -> TextTower:
    from ._text import TextTower

    head = None
    if state["head"] is not None:
        head = torch.nn.Sequential(*[_build(part) for part in state["head"]])
        _fill(head, state["head_weights"])
    encoder = load_encoder(folder) if state["packed"] else None
    if encoder is None:
        with _quiet_transformers():
            encoder = _load_encoder(folder, state["attention"], trust_remote_code)
    return TextTower(
        *encoder,
        pooling=state["pooling"],
        head=head,
        max_length=state["max_length"],
        packing=(state["packed"], state["position_offset"]),
    )


def _load_encoder(
    folder: Path, attention: str | None, trust_remote_code: bool
) -> tuple[torch.nn.Module, Any]:
    """Backbone and tokenizer as transformers reads them."""
    import transformers

    local = {"local_files_only": True, "trust_remote_code": trust_remote_code}
    config = transformers.AutoConfig.from_pretrained(folder, **local)
    name = (config.architectures or [""])[0]
    loader = getattr(transformers, name, None)
    if not (isinstance(loader, type) and issubclass(loader, transformers.PreTrainedModel)):
        if not local["trust_remote_code"]:
            raise ValueError(
                f"its architecture {name!r} is none of transformers, so it needs Python code that "
                "comes with the model; if you trust that, load with trust_remote_code=True."
            )
        loader = transformers.AutoModel
    backbone, info = loader.from_pretrained(
        folder,
        dtype="auto",
        use_safetensors=True,
        attn_implementation=attention,
        output_loading_info=True,
        **local,
    )
    if info["missing_keys"]:
        missing = sorted(info["missing_keys"])
        raise ValueError(f"its weights lack {len(missing)} tensors ({', '.join(missing[:3])} ...).")
    return backbone, transformers.AutoTokenizer.from_pretrained(folder, **local)


def _describe(module: torch.nn.Module) -> dict[str, Any]:
    """Class and arguments of a module of a head."""
    kind = type(module).__name__
    if getattr(torch.nn, kind, None) is not type(module) or kind not in _HEAD_MODULES:
        raise ValueError(
            f"the encoder's head has a module {kind}, which a saved folder cannot hold; use "
            "joblib.dump for this model."
        )
    arguments = {name: getattr(module, name) for name in getattr(module, "__constants__", ())}
    if hasattr(module, "bias"):
        arguments["bias"] = module.bias is not None
    return {"class": kind, "arguments": arguments}


def _build(description: dict[str, Any]) -> torch.nn.Module:
    kind = description["class"]
    if kind not in _HEAD_MODULES:
        raise ValueError(f"the head has a module {kind!r}, which skxmc does not know.")
    return getattr(torch.nn, kind)(**description["arguments"])


def _arrays(module: torch.nn.Module | None) -> dict[str, np.ndarray] | None:
    if module is None:
        return None
    return {name: tensor.cpu().numpy() for name, tensor in module.state_dict().items()}


def _fill(module: torch.nn.Module, arrays: dict[str, np.ndarray]) -> None:
    module.load_state_dict({name: torch.from_numpy(array) for name, array in arrays.items()})
