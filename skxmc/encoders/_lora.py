"""Low-rank adapters on a backbone."""

from __future__ import annotations

import torch


def add_adapters(
    backbone: torch.nn.Module, *, rank: int, seed: int, alpha: float | None = None
) -> None:
    """Put rank-stabilised LoRA on all linear layers, in place; nothing else is trained then.

    Parameters
    ----------
    backbone : transformers.PreTrainedModel
    rank : int
        Rank of the adapters, at most the width of a layer.
    seed : int
        Of the adapters' start.
    alpha : float or None
        Scale of the adapters; None takes the rank.

    References
    ----------
    Kalajdzievski, "A Rank Stabilization Scaling Factor for Fine-Tuning with LoRA", 2023.
    """
    from peft import LoraConfig, inject_adapter_in_model

    targets = sorted(
        {name for name, module in backbone.named_modules() if isinstance(module, torch.nn.Linear)}
    )
    config = LoraConfig(
        r=rank,
        lora_alpha=rank if alpha is None else alpha,
        lora_dropout=0.0,
        bias="none",
        use_rslora=True,
        target_modules=targets,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        inject_adapter_in_model(config, backbone)
    for name, parameter in backbone.named_parameters():
        parameter.requires_grad_("lora_" in name)


def merge_adapters(backbone: torch.nn.Module) -> None:
    """Fold all adapters into the weights they sit on, in place: the model is a plain one again."""
    from peft.tuners.lora import LoraLayer

    for name, module in list(backbone.named_modules()):
        if isinstance(module, LoraLayer):
            module.merge()
            parent, _, child = name.rpartition(".")
            setattr(backbone.get_submodule(parent), child, module.get_base_layer())
    for parameter in backbone.parameters():
        parameter.requires_grad_(True)
