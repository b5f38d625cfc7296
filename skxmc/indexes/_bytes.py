"""A header of JSON before a payload, in one array of bytes."""

from __future__ import annotations

import json
import zlib
from typing import Any

import numpy as np

# Longest header that is read: names and values of a few parameters.
_LONGEST = 2**16

_FIELDS = {"index": str, "parameters": dict, "shape": list}


def checksum(part: np.ndarray) -> int:
    """Return the CRC-32 of a uint8 array: damage by accident changes it."""
    return zlib.crc32(np.ascontiguousarray(part).data)


def pack(header: dict[str, Any], payload: np.ndarray) -> np.ndarray:
    """Return header and payload as one uint8 array."""
    text = json.dumps(header, default=lambda value: value.item())  # numbers of numpy
    # Eight bytes of length and checksum, and blanks so that the payload is aligned for any number.
    text += " " * (-(8 + len(text)) % 64)
    encoded = np.frombuffer(text.encode(), np.uint8)
    start = np.array([len(encoded), checksum(encoded)], dtype="<u4").view(np.uint8)
    return np.concatenate((start, encoded, payload))


def unpack(array: np.ndarray) -> tuple[dict[str, Any], np.ndarray]:
    """Return the header and the payload, a view of `array`; ValueError where they are damaged."""
    array = np.asarray(array)
    if array.dtype != np.uint8 or array.ndim != 1 or len(array) < 8:
        raise ValueError("array does not hold an index; pass what to_bytes returned")
    length, expected = array[:8].view("<u4").tolist()
    encoded = array[8 : 8 + length]
    if length > _LONGEST or len(encoded) < length or checksum(encoded) != expected:
        raise ValueError(
            "array does not hold an index, or its header is damaged; pass what to_bytes returned"
        )
    try:
        header = json.loads(encoded.tobytes())
    except (ValueError, RecursionError) as error:
        raise ValueError("array is damaged: its header is not JSON") from error
    _check_header(header)
    return header, array[8 + length :]


def _check_header(header: Any) -> None:
    """Raise ValueError unless types are right and the shape is one."""
    fields = header if isinstance(header, dict) else {}
    for field, kind in _FIELDS.items():
        if not isinstance(fields.get(field), kind):
            raise ValueError(f"array is damaged: its header has no {field!r} of type {kind}")
    fields.setdefault("checksum", None)
    shape = fields["shape"]
    whole = len(shape) == 2 and all(type(size) is int for size in shape)
    if not whole or shape[0] < 0 or shape[1] < 1:
        raise ValueError(f"array is damaged: {shape} is not the shape of vectors")
