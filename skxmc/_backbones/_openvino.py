"""The layers of BERT and models like it by OpenVINO, with weights in integers of 8 bits.

A single text takes little longer than reading the weights does, and integers are a quarter of them.
And where a CPU has no fast products in bfloat16, those of integers are the fastest that it has.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from .._runtime._optional import import_optional
from ._bert import BertBackbone, linear_layers
from ._packed import SHORT_ROW_STEP

if TYPE_CHECKING:
    import openvino

# So many numbers of a token share a scale while they are integers. With fewer embeddings are nearer
# to those in float32, and batches slower: 32 have a cosine of 0.9994 with them (MiniLM, names of
# icons), 128 have 0.9987 in three quarters of the time.
GROUP = 128

# Tokens of the rows that sequences are laid in, at most; a longer one has a row for itself. Rows
# are filled up to few lengths, as OpenVINO prepares and keeps kernels for each, and a token is
# compared with all of its row, of which a mask leaves its own sequence.
ROW = 256


class OpenVinoBackbone(BertBackbone):
    """One that is never trained, whose layers are computed by OpenVINO.

    Each row of a weight has a scale of its own; activations become integers as they come, so that
    nothing has to be calibrated.

    Parameters
    ----------
    backbone : BertBackbone
        On the CPU. Its weights are shared, and those of the layers copied besides.
    precision : torch.dtype
        Of what is not a product with weights.

    Raises
    ------
    ImportError
        If OpenVINO is missing.
    """

    def __init__(self, backbone: BertBackbone, precision: torch.dtype = torch.float32) -> None:
        ov = import_optional("openvino", extra="openvino")
        vars(self).update(vars(backbone))
        settings = {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_NUM_THREADS": torch.get_num_threads(),
            "INFERENCE_PRECISION_HINT": "bf16" if precision == torch.bfloat16 else "f32",
            "DYNAMIC_QUANTIZATION_GROUP_SIZE": GROUP,
            # Several processes would share the first cores.
            "ENABLE_CPU_PINNING": False,
        }
        self._request = (
            ov.Core().compile_model(_graph(backbone), "CPU", settings).create_infer_request()
        )
        self._lock = threading.Lock()  # a request computes one thing at a time

    def for_serving(self, dtype: torch.dtype) -> OpenVinoBackbone:
        """Itself, whatever the precision."""
        return self

    def _run_layers(self, hidden: torch.Tensor, runs: list[tuple[int, int]]) -> torch.Tensor:
        tokens = hidden[0].float().numpy()
        last = np.zeros_like(tokens)  # filling stays so
        start = 0
        for lengths in _rows(runs):
            part = slice(start, start + sum(lengths))
            start = part.stop
            filling = -sum(lengths) % SHORT_ROW_STEP
            row = np.pad(tokens[part], ((0, filling), (0, 0)))
            sequence = np.repeat(np.arange(len(lengths) + 1), [*lengths, filling])
            mask = np.where(sequence[:, None] == sequence, np.float32(0), -np.inf)
            with self._lock:  # what comes back is the request's own memory
                found = self._request.infer(
                    [row[None], mask[None, None]], share_inputs=True, share_outputs=True
                )
                last[part] = found[0][0, : len(row) - filling]
        return torch.from_numpy(last)[None]


def _rows(runs: list[tuple[int, int]]) -> Iterator[list[int]]:
    """Lengths of the sequences that go through the layers together."""
    row: list[int] = []
    for count, length in runs:
        for _ in range(count):
            if row and sum(row) + length > ROW:
                yield row
                row = []
            row.append(length)
    yield row


def _graph(backbone: BertBackbone) -> openvino.Model:
    """All layers, for embeddings (1, n_tokens, width) and what is added to attention scores.

    What the layers of :class:`BertBackbone` compute, in the operations of OpenVINO.
    """
    import openvino as ov
    from openvino import opset13 as ops

    n_heads = backbone.config.num_attention_heads
    width = backbone.config.hidden_size
    to_heads = np.array([0, 0, n_heads, width // n_heads])  # 0 keeps what is there
    swap = np.array([0, 2, 1, 3])

    def split(rows: Any) -> Any:
        return ops.transpose(ops.reshape(rows, to_heads, special_zero=True), swap)

    first = hidden = ops.parameter(ov.PartialShape([1, -1, width]), ov.Type.f32)
    mask = ops.parameter(ov.PartialShape([1, 1, -1, -1]), ov.Type.f32)
    for layer in backbone.model.encoder.layer:
        heads, merged, inner, outer = linear_layers(layer)
        found = ops.scaled_dot_product_attention(
            *(split(_linear(ops, hidden, part)) for part in heads), mask, causal=False
        )
        found = ops.reshape(ops.transpose(found, swap), np.array([0, 0, width]), special_zero=True)
        found = ops.add(_linear(ops, found, *merged), hidden)
        hidden = _norm(ops, found, layer.attention.output.LayerNorm)
        found = ops.gelu(_linear(ops, hidden, *inner), "erf")
        found = ops.add(_linear(ops, found, *outer), hidden)
        hidden = _norm(ops, found, layer.output.LayerNorm)
    return ov.Model([hidden], [first, mask])


def _linear(ops: Any, rows: Any, layer: torch.nn.Linear) -> Any:
    weight = layer.weight.detach().float()
    scales = weight.abs().amax(dim=1, keepdim=True).clamp(min=1e-30) / 127
    integers = (weight / scales).round().to(torch.int8).numpy()
    weight = ops.multiply(ops.convert(ops.constant(integers), "f32"), _constant(ops, scales))
    product = ops.matmul(rows, weight, transpose_a=False, transpose_b=True)
    return ops.add(product, _constant(ops, layer.bias))


def _norm(ops: Any, rows: Any, layer: torch.nn.LayerNorm) -> Any:
    last = np.array([-1])
    rows = ops.mvn(rows, last, normalize_variance=True, eps=layer.eps, eps_mode="inside_sqrt")
    return ops.add(ops.multiply(rows, _constant(ops, layer.weight)), _constant(ops, layer.bias))


def _constant(ops: Any, tensor: torch.Tensor) -> Any:
    return ops.constant(tensor.detach().float().numpy())
