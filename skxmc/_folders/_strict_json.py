"""JSON from a file that anybody may have written: bounded before it is parsed, and unambiguous."""

from __future__ import annotations

import json
import math
from hashlib import sha256
from typing import Any

import numpy as np

MAX_BYTES = 2**30
MAX_DEPTH = 100

# Of lists and objects, all together: some ten million labels with texts. Python takes up to a
# hundred bytes for each.
MAX_ENTRIES = 2**25

# Greater integers fit no number of numpy or torch.
MAX_INTEGER = 2**64

# Bytes that are looked at together.
_PIECE = 2**24

_SEAL = b',\n "seal": "'


def parse_json(data: bytes) -> Any:
    """Parse JSON in UTF-8 that is small enough and says each thing once.

    Parameters
    ----------
    data : bytes

    Returns
    -------
    value : object

    Raises
    ------
    ValueError
        If it is no JSON, is too large or too deep, or has a key twice, NaN, an infinite number or
        an integer of more than 64 bits. The message says which.
    """
    check_size(data)
    try:
        return json.loads(
            data.decode("utf-8"),
            object_pairs_hook=_distinct,
            parse_int=_integer,
            parse_float=_finite,
            parse_constant=_refuse_constant,
        )
    except RecursionError as error:  # cannot happen at this depth unless the stack is nearly full
        raise ValueError("it is nested too deep") from error


def seal(tree: dict[str, Any]) -> bytes:
    """Write an object as JSON whose last entry is the hash of all before it.

    Parameters
    ----------
    tree : dict
        With at least one entry, without NaN or infinite numbers.

    Returns
    -------
    data : bytes
    """
    text = json.dumps(tree, indent=1, allow_nan=False)
    return _with_seal(text.removesuffix("\n}").encode())


def is_sealed(data: bytes) -> bool:
    """Whether JSON is what :func:`seal` wrote; line ends may have changed."""
    if b"\r" in data:
        data = data.replace(b"\r\n", b"\n")
    body, mark, _ = data.rpartition(_SEAL)
    return bool(mark) and data == _with_seal(body)


def _with_seal(body: bytes) -> bytes:
    return body + _SEAL + sha256(body).hexdigest().encode() + b'"\n}\n'


def check_size(data: bytes) -> None:
    """Count entries and depth of JSON without making any of them.

    Raises
    ------
    ValueError
        If there is too much of either, or of bytes.
    """
    if len(data) > MAX_BYTES:
        raise ValueError(f"it has {len(data)} bytes, more than {MAX_BYTES}")
    # Without escaped backslashes and quotes, each quote begins or ends a string.
    bare = np.frombuffer(data.replace(rb"\\", b"").replace(rb"\"", b""), dtype=np.uint8)
    entries = depth = 0
    inside = False
    for start in range(0, len(bare), _PIECE):
        piece = bare[start : start + _PIECE]
        strings = np.logical_xor.accumulate(piece == ord('"')) ^ inside
        inside = bool(strings[-1])
        structure = piece[~strings]
        opened = (structure == ord("[")) | (structure == ord("{"))
        closed = (structure == ord("]")) | (structure == ord("}"))
        entries += int(opened.sum()) + int((structure == ord(",")).sum())
        if entries > MAX_ENTRIES:
            raise ValueError(f"it has more than {MAX_ENTRIES} entries")
        steps = np.cumsum(opened.astype(np.int8) - closed.astype(np.int8), dtype=np.int64)
        if len(steps):
            if depth + steps.max() > MAX_DEPTH:
                raise ValueError(f"it is nested more than {MAX_DEPTH} deep")
            depth += int(steps[-1])


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for number, name in enumerate(names) if name in names[:number])
        raise ValueError(f"it has the key {twice[:80]!r} twice")
    return found


def _integer(text: str) -> int:
    if len(text) > 21 or abs(int(text)) >= MAX_INTEGER:
        raise ValueError(f"it has an integer of more than 64 bits ({text[:25]})")
    return int(text)


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"its number {text[:25]} is too large")
    return value


def _refuse_constant(text: str) -> None:
    raise ValueError(f"it has {text}, which JSON does not know")
