"""How near two results are whose numbers are the same, but lie elsewhere in memory.

What was loaded, mapped or copied has other addresses. Kernels for products and sums go by the
alignment of what they read, start at another number there, and add up in another order: 49 of 640
numbers of a loaded Mamba differ by 6e-8 on a CPU with AVX512-BF16, and none on others.

Equality to the bit is asked for where nothing was moved (the same object before and after), where
torch made both memories (it aligns all of them alike), and of stored numbers themselves.
"""

from collections.abc import Iterable

import numpy as np
import torch

FLOAT32 = {"rtol": 1e-5, "atol": 1e-6}

# A sum that rounds the other way is off by one of 256 steps, and layers hand it on.
BFLOAT16 = {"rtol": 0, "atol": 2e-2}

TOLERANCES = {torch.float32: FLOAT32, torch.bfloat16: BFLOAT16}


def assert_same_weights(module, other):
    """All parameters and buffers are equal to the bit, under the same names."""
    expected, found = module.state_dict(), other.state_dict()
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        assert found[name].dtype == tensor.dtype, name
        assert torch.equal(found[name], tensor), name


def assert_same_embeddings(tower, other, items):
    """Equal but for rounding, in both precisions."""
    for precision, tolerance in TOLERANCES.items():
        expected, found = (one.encode(items, precision=precision) for one in (tower, other))
        np.testing.assert_allclose(found, expected, **tolerance)


def assert_alike(found: Iterable[np.ndarray], expected: Iterable[np.ndarray]) -> None:
    """What a loaded model predicts is what the saved one did: labels exactly, scores nearly."""
    for one, two in zip(found, expected, strict=True):
        assert one.dtype == two.dtype
        if two.dtype.kind == "f":
            np.testing.assert_allclose(one, two, **FLOAT32)
        else:
            np.testing.assert_array_equal(one, two)
