"""What a model of sentence-transformers says beside its weights: modules, pooling, prompts."""

from __future__ import annotations

from typing import Any

import torch

from ._pooling import ENCODER_POOLINGS

# Routes of a model that reads queries and documents in different ways: documents of ours are texts
# of any length, and so they are documents there.
_ROUTES = ("document", "passage", "corpus")


def modules_of(model: Any) -> list[torch.nn.Module]:
    """The modules in their order; of a router those that its documents go through."""
    modules = list(model)
    if type(modules[0]).__name__ != "Router":
        return modules
    routes = modules[0].sub_modules
    name = next((name for name in _ROUTES if name in routes), None)
    if name is None:
        raise ValueError(
            f"the encoder has the routes {list(routes)} and none for documents; pass the model of "
            "one of them"
        )
    return [*routes[name], *modules[1:]]


def prompt_of(model: Any, given: str | None) -> str:
    """The text of a prompt: the model's default, one of its own by name, or any other text."""
    own = dict(getattr(model, "prompts", None) or {})
    if given == "auto":
        given = getattr(model, "default_prompt_name", None)
    if given is None:
        return ""
    return own.get(given, given) or ""


def read_modules(
    modules: list[torch.nn.Module], path: str
) -> tuple[str, list[torch.nn.Module], bool]:
    """What follows a transformer.

    Parameters
    ----------
    modules : list of Module
    path : str
        How errors call the encoder.

    Returns
    -------
    pooling : str
    head : list of Module
        What the pooled vector goes through.
    included : bool
        Whether the tokens of a prompt are pooled with the others.

    Raises
    ------
    ValueError
        If a module does something that a tower does not.
    """
    pooling, head, included, normalized = "mean", [], True, False
    for module in modules:
        kind = type(module).__name__
        if normalized and kind in ("Dense", "LayerNorm"):
            raise ValueError(f"encoder at {path!r} normalises before {kind}, which skxmc does not")
        if kind == "Pooling":
            pooling = _pooling_mode(module, path)
            included = getattr(module, "include_prompt", True)
        elif kind == "Normalize":
            normalized = True  # what the tower's caller does anyway
        elif kind == "Dense" and _is_plain_dense(module):
            head += [module.linear, module.activation_function]
        elif kind == "LayerNorm":
            head.append(module.norm)
        elif kind != "Dropout":
            raise ValueError(f"encoder at {path!r} has a module that skxmc does not know: {module}")
    return pooling, head, included


def _is_plain_dense(module: torch.nn.Module) -> bool:
    """Whether a dense module maps the pooled embedding, and does nothing beside."""
    plain = {
        "module_input_name": "sentence_embedding",
        "module_output_name": "sentence_embedding",
        "use_residual": False,
    }
    return all(getattr(module, name, value) == value for name, value in plain.items())


def _pooling_mode(module: torch.nn.Module, path: str) -> str:
    # Older versions of sentence-transformers have no attribute for it.
    mode = getattr(module, "pooling_mode", None) or module.get_pooling_mode_str().split("+")
    modes = [mode] if isinstance(mode, str) else list(mode)
    if len(modes) != 1 or modes[0] not in ENCODER_POOLINGS:
        raise ValueError(
            f"encoder at {path!r} pools by {modes}, which skxmc does not know; it knows "
            f"{ENCODER_POOLINGS}"
        )
    return modes[0]
