"""Heads of text towers as plain data: classes that are known, and their arguments."""

from __future__ import annotations

from typing import Any

import torch

from ._weights import arrays_of, fill

# What a head may consist of; each can be made from its class and its constants alone.
_MODULES = frozenset(
    "Linear LayerNorm Identity Tanh Sigmoid ReLU LeakyReLU ELU SELU GELU SiLU Mish Softplus".split()
)


def describe_head(head: torch.nn.Module | None) -> dict[str, Any]:
    """Classes, arguments and weights of a head, for :func:`build_head`.

    Raises
    ------
    ValueError
        If a module cannot be described in this way.
    """
    if head is not None and not isinstance(head, torch.nn.Sequential):
        head = torch.nn.Sequential(head)
    return {
        "head": None if head is None else [_describe(part) for part in head],
        "head_weights": arrays_of(head),
    }


def build_head(state: dict[str, Any]) -> torch.nn.Sequential | None:
    """The head that :func:`describe_head` described.

    Raises
    ------
    ValueError
        If it has a module that is not known.
    """
    if state["head"] is None:
        return None
    head = torch.nn.Sequential(*[_build(part) for part in state["head"]])
    fill(head, state["head_weights"])
    return head


def _describe(module: torch.nn.Module) -> dict[str, Any]:
    """Class and arguments of a module."""
    kind = type(module).__name__
    if getattr(torch.nn, kind, None) is not type(module) or kind not in _MODULES:
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
    if kind not in _MODULES:
        raise ValueError(f"the head has a module {kind!r}, which skxmc does not know.")
    return getattr(torch.nn, kind)(**description["arguments"])
