"""Towers from folders: which class reads one, and what all of them have."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from .._backbones._named_files import check_named_files
from .._backbones._sizes import check_sizes
from ._fusion import ImageProjection
from ._weights import fill

if TYPE_CHECKING:
    from ._tower import Tower

# Module and class by their kind. They are imported when they are asked for: reading an encoder
# takes no transformers, which a decoder needs.
TOWERS = {
    "text": ("._text", "TextTower"),
    "decoder": ("._decoder", "DecoderTower"),
    "static": ("._frozen", "StaticTower"),
}


def load_tower(
    folder: Path,
    state: dict[str, Any],
    *,
    trust_remote_code: bool = False,
    base: str | None = None,
) -> Tower:
    """Read a tower that :meth:`Tower.save` wrote; weights are mapped, on the CPU.

    Weights are equal to the bit to those that were saved. Embeddings are equal but for rounding:
    mapped weights lie elsewhere in memory, and some products of matrices add up in another order
    there.

    Parameters
    ----------
    folder : Path
    state : dict
        What :meth:`Tower.save` returned.
    trust_remote_code : bool, default=False
        Whether code in the folder may run, for backbones that transformers does not know.
    base : str or None
        Where the base model of a decoder is, if it came from a folder or is not found under the
        name that was saved.

    Returns
    -------
    tower : Tower

    Raises
    ------
    ValueError
        If the folder lacks weights or needs code that may not run, if the tower is of a kind that
        is not known, if its configuration has sizes that no model has or names other files, or if
        a decoder's base model has other weights than it had or came from a folder and `base` is
        None.
    OSError
        If a decoder's base model is not found.
    """
    attention = state["attention"]
    # A name with a slash would be a kernel to download.
    if attention is not None and (not isinstance(attention, str) or "/" in attention):
        raise ValueError(f"attention {attention!r} is none of transformers; save the model again.")
    if not isinstance(state["kind"], str) or state["kind"] not in TOWERS:
        raise ValueError(
            f"its tower is of the kind {state['kind']!r}, and this version of skxmc knows "
            f"{', '.join(TOWERS)}; load it with the version that saved it."
        )
    check_sizes(folder)
    check_named_files(folder)
    module, name = TOWERS[state["kind"]]
    kind = getattr(import_module(module, __package__), name)
    # Modules start with random weights; loading must not use up the caller's random numbers.
    with torch.random.fork_rng(devices=[]):
        tower = kind.load(folder, state, trust_remote_code=trust_remote_code, base=base)
        if state["image_projection"] is not None:
            width, image_dimension = state["image_projection"]["linear.weight"].shape
            tower.image_projection = ImageProjection.empty(image_dimension, width)
            fill(tower.image_projection, state["image_projection"])
    return tower.eval()
