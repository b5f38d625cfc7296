"""Vision models of OpenCLIP."""

from __future__ import annotations

import difflib
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from .._backbones._sources import ModelNotFoundError, find_model
from .._runtime._optional import import_optional
from ._layers import N_LAST, averages, stages
from ._picture_model import PictureModel, limit_aspect

if TYPE_CHECKING:
    from PIL.Image import Image


_FOLDER = "local-dir:"


class OpenClipModel(PictureModel):
    """The vision tower of a model of OpenCLIP.

    Parameters
    ----------
    specification : str
        ``ARCHITECTURE/WEIGHTS``, ``hf-hub:user/model`` or ``local-dir:folder``.
    device : torch.device
    precision : torch.dtype
    layers : {"auto", "last", "all"}, default="auto"
        The model's own vector ("auto" and "last"), or that of each stage or last block as well.
    folders : bool, default=True
        Whether it may name a folder or file; False is for names from strangers.

    Raises
    ------
    ModelNotFoundError
        If the weights are nowhere, or in a folder or file that must not be opened.
    ValueError
        If OpenCLIP knows no such architecture or weights.
    """

    def __init__(
        self,
        specification: str,
        device: torch.device,
        precision: torch.dtype,
        layers: str = "auto",
        folders: bool = True,
    ) -> None:
        open_clip = import_optional("open_clip", "open_clip")
        if specification.startswith("hf-hub:"):
            name = specification.removeprefix("hf-hub:")
            source = find_model(name, kind="open_clip", folders=folders)
            specification = f"{_FOLDER}{source.path}"
        elif specification.startswith(_FOLDER) and not folders:
            raise _not_opened(specification)
        architecture, weights = specification, ""
        if not specification.startswith(_FOLDER):
            architecture, _, weights = specification.partition("/")
            _check_open_clip(open_clip, architecture, weights, folders)
        with torch.random.fork_rng(devices=[]):  # random weights are the same in every process
            torch.manual_seed(0)
            model, _, self.transform = open_clip.create_model_and_transforms(
                architecture, pretrained=weights or None
            )
        self.device = device
        self.precision = precision
        self.all_layers = layers == "all"
        self.visual = model.visual.eval().requires_grad_(False)
        if self.all_layers and not hasattr(self.visual, "forward_intermediates"):
            raise ValueError(
                f"layers='all': open_clip:{architecture} gives no hidden states; pass "
                "layers='last'."
            )
        self.visual.to(device=device, dtype=precision, memory_format=torch.channels_last)

    def prepare(self, images: list[Image]) -> torch.Tensor:
        """Pixels as the model was trained on them."""
        return torch.stack([self.transform(limit_aspect(image)) for image in images])

    def forward(self, prepared: torch.Tensor) -> list[torch.Tensor]:
        """The layers that are asked for, and the model's own vector."""
        pixels = prepared.to(self.device, self.precision)
        if not self.all_layers:
            output = self.visual(pixels)
            # CoCa returns tokens as well.
            return [output[0] if isinstance(output, tuple) else output]
        # Only the transformers of OpenCLIP itself hand out their class tokens.
        own = hasattr(self.visual, "class_embedding")
        output = self.visual.forward_intermediates(pixels, output_extra_tokens=own)
        blocks = []
        maps = output["image_intermediates"]
        tokens = output.get("image_intermediates_prefix", [None] * len(maps))
        if own:
            maps, tokens = maps[-N_LAST:], tokens[-N_LAST:]
            blocks = [token.flatten(start_dim=1) for token in tokens]
        return [
            *blocks,
            *(average for state in stages(maps) for average in averages(state)),
            output["image_features"],
        ]


def _check_open_clip(open_clip: Any, architecture: str, weights: str, files: bool) -> None:
    """Raise at once what OpenCLIP finds out late, or only after a minute of trying the network."""
    known = open_clip.list_models()
    if architecture not in known:
        close = difflib.get_close_matches(architecture, known, n=5, cutoff=0.5)
        raise ValueError(
            f"OpenCLIP has no model {architecture!r}; names like it: {', '.join(close) or 'none'}."
        )
    if not weights:
        warnings.warn(
            f"open_clip:{architecture} names no weights, so they are random; pass "
            f"open_clip:{architecture}/WEIGHTS.",
            UserWarning,
            stacklevel=2,
        )
    elif not (files and Path(weights).is_file()):
        settings = open_clip.get_pretrained_cfg(architecture, weights)
        if not settings and not files:
            raise _not_opened(f"{architecture}/{weights}")
        if not settings:
            tags = ", ".join(open_clip.list_pretrained_tags_by_model(architecture)) or "none"
            raise ValueError(
                f"OpenCLIP has no weights {weights!r} for {architecture}, nor is there such a "
                f"file; it has: {tags}."
            )
        if settings.get("hf_hub"):
            find_model(settings["hf_hub"].rstrip("/"), kind="open_clip", folders=False)


def _not_opened(specification: str) -> ModelNotFoundError:
    return ModelNotFoundError(
        f"no weights found for open_clip:{specification}: no folder and no file that a saved model "
        "names is opened. To fix it: name it yourself, as load(folder, image_encoder=...), if you "
        "trust it."
    )
