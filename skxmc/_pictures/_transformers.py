"""Vision models of transformers."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from .._runtime._quiet import quiet_transformers
from ._layers import averages, count_prefix_tokens, stages
from ._picture_model import PictureModel, limit_aspect

if TYPE_CHECKING:
    from PIL.Image import Image


class TransformersModel(PictureModel):
    """A vision model of transformers; of a model of text and pictures the vision tower alone.

    Parameters
    ----------
    folder : Path
    device : torch.device
    precision : torch.dtype
    trust_remote_code : bool
        Whether code in the folder may run.
    layers : {"auto", "last", "all"}, default="auto"
        The model's own vector ("auto" and "last"), or that of each stage or last block as well.
    """

    def __init__(
        self,
        folder: Path,
        device: torch.device,
        precision: torch.dtype,
        trust_remote_code: bool,
        layers: str = "auto",
    ) -> None:
        import transformers

        trust = {"trust_remote_code": trust_remote_code}
        with quiet_transformers():
            config = transformers.AutoConfig.from_pretrained(folder, **trust)
            # The PIL backend needs no torchvision, and gives the same pixels with and without it.
            if config.model_type == "timm_wrapper":  # made from the configuration of the model
                kind = transformers.TimmWrapperImageProcessor
                self.processor = kind.from_pretrained(folder)
                self.options = {}
            else:
                self.processor = transformers.AutoImageProcessor.from_pretrained(
                    folder, backend="pil", **trust
                )
                # It cannot be guessed for a height of 1 or 3.
                self.options = {"input_data_format": "channels_last"}
            loader, options = _vision_loader(config)
            model, info = loader.from_pretrained(
                folder, dtype=precision, output_loading_info=True, **options, **trust
            )
        missing = {key for key in info["missing_keys"] if "mask_token" not in key}
        # A classifier's checkpoint has no pooler; transformers fills it with random numbers.
        self.has_pooler = not any("pooler" in key for key in missing)
        missing = sorted(key for key in missing if "pooler" not in key)
        if missing:
            raise ValueError(
                f"the weights in {folder} lack {len(missing)} tensors of the image model "
                f"{type(model).__name__} ({', '.join(missing[:3])} ...); pass a complete model."
            )
        self.device = device
        self.precision = precision
        self.all_layers = layers == "all"
        self.n_prefix = count_prefix_tokens(model)
        self.model = model.eval().requires_grad_(False)
        self.model.to(device=device, memory_format=torch.channels_last)

    def prepare(self, images: list[Image]) -> dict[str, torch.Tensor]:
        """What the model's own processor makes of RGB images."""
        return self.processor(
            [limit_aspect(image) for image in images], return_tensors="pt", **self.options
        )

    def forward(self, prepared: dict[str, torch.Tensor]) -> list[torch.Tensor]:
        """The layers that are asked for, and the model's own vector."""
        inputs = {
            name: tensor.to(self.device, self.precision if tensor.is_floating_point() else None)
            for name, tensor in prepared.items()
        }
        run = getattr(self.model, "get_image_features", self.model)
        output = run(**inputs, **({"output_hidden_states": True} if self.all_layers else {}))
        mask = inputs.get("pixel_attention_mask")
        own = output if isinstance(output, torch.Tensor) else self._own_vector(output, mask)
        if not self.all_layers:
            return [own]
        states = None if isinstance(output, torch.Tensor) else output.get("hidden_states")
        if not states:
            raise ValueError(
                f"layers='all': {type(self.model).__name__} gives no hidden states; pass "
                "layers='last'."
            )
        blocks = [averages(state, self.n_prefix, mask) for state in stages(states)]
        return [*(vector for block in blocks for vector in block), own]

    def _own_vector(self, output: Any, mask: torch.Tensor | None) -> torch.Tensor:
        """The projected or pooled vectors, else the class token, else the mean of the patches."""
        vectors = output.get("image_embeds")
        if vectors is None and self.has_pooler:
            vectors = output.get("pooler_output")
        if vectors is None:
            vectors = averages(output["last_hidden_state"], self.n_prefix, mask)[0]
        return vectors.flatten(start_dim=1)


def _vision_loader(config: Any) -> tuple[Any, dict[str, Any]]:
    """The class that loads what sees pictures of a model, and options for it."""
    import transformers

    architecture = (config.architectures or [""])[0]
    if config.model_type == "clip":
        config.vision_config.projection_dim = config.projection_dim
        return transformers.CLIPVisionModelWithProjection, {"config": config.vision_config}
    if config.model_type == "siglip":
        return transformers.SiglipVisionModel, {}
    if config.model_type == "siglip2":
        return transformers.Siglip2VisionModel, {}
    if architecture.endswith("VisionModelWithProjection"):
        return getattr(transformers, architecture), {}
    return transformers.AutoModel, {}
