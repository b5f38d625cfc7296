"""Models of sentence-transformers that see pictures."""

from __future__ import annotations

import json
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import torch

from .._backbones._named_files import entries
from .._runtime._quiet import quiet_transformers
from ._picture_model import PictureModel, limit_aspect

if TYPE_CHECKING:
    from PIL.Image import Image

# Entries of configurations by which sentence-transformers opens another folder or model.
_NAMES = (
    "base_model_name_or_path",
    "model_name_or_path",
    "pretrained_model_name_or_path",
    "processor_name",
    "tokenizer_name_or_path",
)


class SentenceTransformersModel(PictureModel):
    """A model of sentence-transformers whose embeddings of pictures are the vectors.

    All of its modules take part: what :meth:`encode` of the model returns is the vector.

    Parameters
    ----------
    folder : Path
    device : torch.device
    precision : torch.dtype
    trust_remote_code : bool
        Whether code in the folder may run.
    layers : {"auto", "last", "all"}, default="auto"
        "auto" and "last" are the same; there are no hidden states.

    Raises
    ------
    ValueError
        If the model takes no pictures, if its folder names other folders or models, or if `layers`
        is "all".
    """

    # A processor may hold a tokenizer, which no two threads may use at a time.
    thread_safe = False

    def __init__(
        self,
        folder: Path,
        device: torch.device,
        precision: torch.dtype,
        trust_remote_code: bool,
        layers: str = "auto",
    ) -> None:
        from sentence_transformers import SentenceTransformer

        if layers == "all":
            raise ValueError(
                "layers='all': a model of sentence-transformers gives no hidden states; pass "
                "layers='last'."
            )
        _check_folder(folder)
        with quiet_transformers():
            model = SentenceTransformer(
                str(folder),
                device="cpu",
                trust_remote_code=trust_remote_code,
                local_files_only=True,
            )
        seen = [*getattr(model, "modalities", ["text"])]
        if not {"image", "message"} & set(seen):
            raise ValueError(
                f"the model in {str(folder)!r} takes {', '.join(map(str, seen))} and no pictures; "
                "pass a model of pictures as image_encoder."
            )
        self.model = model.to(device=device, dtype=precision).eval().requires_grad_(False)

    def prepare(self, images: list[Image]) -> list[Image]:
        """The images, strips cut; the model itself makes its input of them."""
        return [limit_aspect(image) for image in images]

    def forward(self, prepared: list[Image]) -> list[Any]:
        """The embeddings, as one block."""
        return [
            self.model.encode(
                prepared,
                batch_size=len(prepared),
                convert_to_tensor=True,
                show_progress_bar=False,
            )
        ]


def _check_folder(folder: Path) -> None:
    """Refuse a model whose folder leads out of it.

    Raises
    ------
    ValueError
        If it does; the message names the file.
    """
    for path in sorted(folder.rglob("*.json")):
        if path.name == "adapter_config.json":
            raise _leads_away(path, "a base model")
        if path.name == "modules.json":
            for module in json.loads(path.read_text(encoding="utf-8")):
                parts = PurePosixPath(str(module.get("path", "")).replace("\\", "/"))
                if parts.is_absolute() or ".." in parts.parts or ":" in str(parts):
                    raise _leads_away(path, f"the path {str(parts)!r}")
        elif path.name.endswith("config.json"):
            for name, value in entries(json.loads(path.read_text(encoding="utf-8"))):
                if name in _NAMES and value:
                    raise _leads_away(path, f"{name} = {value!r}")


def _leads_away(path: Path, what: str) -> ValueError:
    return ValueError(
        f"{path} names {what}, and nothing outside of a model's folder is opened; save the model "
        "again with all its parts (adapters merged), and pass that folder."
    )
