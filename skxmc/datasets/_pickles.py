"""Reader of NumPy files that hold Python lists, which runs no code that the file names."""

from __future__ import annotations

import io
import pickle
import struct
import zlib
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from ._files import check_file, read_array_header


def load_object_array(path: Path) -> list | dict:
    """Read an array of Python objects as ``numpy.save`` writes it.

    Only lists, tuples, dicts, numbers, strings and arrays of these or of numbers are made. The
    file may name classes and functions of NumPy's arrays alone, and even these are not called:
    NumPy believes what a pickle states of its memory, so that a file could make it read anywhere.

    Returns
    -------
    content : list or dict
        The entries, arrays among them as lists; a dict where the file holds a single one.

    Raises
    ------
    ValueError
        If the file is damaged or holds anything else.
    """
    check_file(path)
    try:
        with path.open("rb") as file:
            shape, _, dtype = read_array_header(file)
            if dtype.kind != "O":
                raise ValueError(f"it holds {dtype}, not lists")
            content = _plain(_Unpickler(file).load(), {})
    except (
        ValueError, TypeError, KeyError, IndexError, AttributeError, EOFError, OverflowError,
        AssertionError, MemoryError, RecursionError, pickle.UnpicklingError, struct.error,
        zlib.error,
    ) as error:  # fmt: skip
        raise ValueError(
            f"{path} cannot be read ({error}); it must be an array of lists of numbers as "
            "numpy.save writes it."
        ) from None
    if isinstance(content, list) and not (len(shape) == 1 and len(content) == shape[0]):
        raise ValueError(f"{path} states the shape {shape} but holds {len(content)} entries.")
    if not isinstance(content, (list, dict)):
        raise ValueError(f"{path} holds a {type(content).__name__}, not a list or a dict.")
    return content


class _Dtype:
    """Stands for ``numpy.dtype``: numbers, bool, or objects."""

    def __init__(self, code: str, *flags: Any) -> None:
        self.dtype = np.dtype(str(code))
        if self.dtype.kind not in "biufO" or self.dtype.fields is not None:
            raise pickle.UnpicklingError(f"the dtype {code!r} is refused")

    def __setstate__(self, state: tuple) -> None:
        if state[1] == ">":
            self.dtype = self.dtype.newbyteorder(">")


class _Array:
    """Stands for ``numpy.ndarray``; only what is in the pickle is ever looked at."""

    def __init__(self) -> None:
        self.entries: Any = []

    def __setstate__(self, state: tuple) -> None:
        _, shape, dtype, _, data = state
        self.entries = _entries(data, dtype, shape)


def _entries(data: Any, dtype: _Dtype, shape: tuple[int, ...]) -> Any:
    """The entries of an array with one axis, or the only one of an array without any."""
    if not isinstance(dtype, _Dtype) or not isinstance(shape, tuple) or len(shape) > 1:
        raise pickle.UnpicklingError("arrays with several axes are refused")
    if dtype.dtype.kind == "O" and isinstance(data, list):
        entries = data
    elif dtype.dtype.kind != "O" and isinstance(data, bytes | bytearray):
        entries = np.frombuffer(data, dtype.dtype).tolist()
    else:
        raise pickle.UnpicklingError("an array's content is not what its dtype states")
    if len(entries) != prod(shape):
        raise pickle.UnpicklingError(f"an array of shape {shape} holds {len(entries)} entries")
    return entries if shape else entries[0]


_NUMPY_MODULES = {
    f"numpy.{core}.{part}" for core in ("core", "_core") for part in ("multiarray", "numeric")
}


class _Unpickler(pickle._Unpickler):
    """Makes plain Python objects, and stand-ins where the file names parts of NumPy.

    The unpickler in Python, since the one in C fills as much memory as a five-byte instruction
    states. It takes about 15 s for a million lists.
    """

    def __init__(self, file: io.BufferedIOBase) -> None:
        super().__init__(file)

        # Made for each file: a pickle can set attributes of what it gets from here.
        def reconstruct(kind: Any, shape: Any, code: Any) -> _Array:
            return _Array()

        def scalar(dtype: _Dtype, data: bytes) -> Any:
            return _entries(data, dtype, ())

        def from_buffer(data: Any, dtype: _Dtype, shape: Any, order: Any) -> _Array:
            array = _Array()
            array.entries = _entries(bytes(data), dtype, shape)
            return array

        self._known = {
            "dtype": _Dtype,
            "ndarray": _Array,
            "_reconstruct": reconstruct,
            "scalar": scalar,
            "_frombuffer": from_buffer,
        }

    def find_class(self, module: str, name: str) -> Any:
        """Look up a stand-in; nothing is imported."""
        known = name in self._known and (module == "numpy" or module in _NUMPY_MODULES)
        if not known:
            raise pickle.UnpicklingError(f"it names {module}.{name}, which is refused")
        return self._known[name]


def _plain(value: Any, done: dict[int, Any], depth: int = 0) -> Any:
    """The same without stand-ins.

    A pickle may hold a list in many places, or in itself. `done` keeps what was made of a list,
    by its id.
    """
    if isinstance(value, _Array):
        value = value.entries
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if not isinstance(value, (list, tuple, dict)):
        raise ValueError(f"it holds a {type(value).__name__}")
    if id(value) not in done:
        if depth > 2:
            raise ValueError("it is nested too deeply")
        plain: dict | list
        if isinstance(value, dict):
            plain = {key: _plain(entry, done, depth + 1) for key, entry in value.items()}
        else:
            plain = [_plain(entry, done, depth + 1) for entry in value]
        done[id(value)] = plain
    return done[id(value)]
