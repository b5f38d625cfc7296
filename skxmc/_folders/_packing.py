"""Content of a model as a tree that JSON can hold, with arrays and indexes beside it.

What JSON has no form for is an object with one key that begins with a dollar sign:
``{"$tuple": [...]}``, ``{"$objects": [...]}`` (an array of strings or of Python objects),
``{"$float": "inf"}``, ``{"$array": [name, dtype, shape]}``,
``{"$csr": {"data": ..., "indices": ..., "indptr": ..., "shape": ...}}``,
``{"$names": {"data": ..., "ends": ...}}`` and ``{"$name_lists": {"names": ..., "ends": ...}}``
(packed names), ``{"$index": [file, n, dimension]}``, and ``{"$dict": [[key, value], ...]}`` for
dicts with such keys.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import scipy.sparse as sp

from .._inputs._packed_names import PackedLists, PackedNames
from ..indexes import Storable
from ._strict_json import MAX_INTEGER

# Names that safetensors has for the kinds of numbers.
DTYPES = {
    "BOOL": np.dtype(bool),
    **{f"{kind}{8 * size}": np.dtype(f"<{kind.lower()}{size}")
       for kind in "IU" for size in (1, 2, 4, 8)},
    **{f"F{8 * size}": np.dtype(f"<f{size}") for size in (2, 4, 8)},
}  # fmt: skip
_NAMES = {dtype: name for name, dtype in DTYPES.items()}

# Labels are counted in 32 bits.
MAX_COLUMNS = 2**31 - 1


class Packed(NamedTuple):
    """What :func:`pack` makes."""

    tree: Any
    arrays: dict[str, np.ndarray]
    indexes: dict[str, Storable]


def pack(content: Any) -> Packed:
    """Take arrays and indexes out of a content.

    Parameters
    ----------
    content : object
        Nested dicts, lists and tuples of numbers, strings, None, ndarrays, csr_arrays, packed names
        and indexes.

    Returns
    -------
    packed : Packed
        A tree for JSON, arrays by name, and indexes by the name of their file.

    Raises
    ------
    TypeError
        If there is anything else in it; the message says where.
    """
    arrays: dict[str, np.ndarray] = {}
    indexes: dict[str, Storable] = {}
    return Packed(_pack(content, (), arrays, indexes), arrays, indexes)


def unpack(
    tree: Any,
    array: Callable[[str, str, list[int]], np.ndarray],
    index: Callable[[str, int, int], Storable],
) -> Any:
    """Put a content together again.

    Parameters
    ----------
    tree : object
        As :func:`._strict_json.parse_json` gives it, so of limited depth.
    array : callable
        Gives the array of some name, dtype and shape, or raises a ValueError.
    index : callable
        Gives the index in a file, with so many vectors of that width, or raises a ValueError.

    Returns
    -------
    content : object

    Raises
    ------
    ValueError
        If the tree is none that :func:`pack` makes.
    """
    if isinstance(tree, list):
        return [unpack(part, array, index) for part in tree]
    if not isinstance(tree, dict):
        return tree
    if not any(name.startswith("$") for name in tree):
        return {name: unpack(part, array, index) for name, part in tree.items()}
    kind, part = next(iter(tree.items()))
    if len(tree) > 1 or kind not in (*_FORMS, *_ARRAYS):
        raise ValueError(f"it has an object of the unknown kind {kind!r:.60}")
    if kind == "$array":
        return array(*_fields(kind, part, str, str, list))
    if kind == "$index":
        return index(*_fields(kind, part, str, int, int))
    part = unpack(part, array, index)
    try:
        return _FORMS[kind](part)
    except (TypeError, KeyError, IndexError, OverflowError) as error:
        raise ValueError(f"its {kind!r} has no such form ({error})") from error


# -- there --------------------------------------------------------------------------------------


def _pack(
    value: Any, place: tuple[str, ...], arrays: dict[str, np.ndarray], indexes: dict[str, Storable]
) -> Any:
    def pack_part(part: Any, *names: str) -> Any:
        return _pack(part, (*place, *names), arrays, indexes)

    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return {"$float": repr(value)}
    if value is None or isinstance(value, bool | float | str):
        return value
    if isinstance(value, int) and abs(value) < MAX_INTEGER:
        return value
    if isinstance(value, dict) and all(isinstance(name, str) for name in value):
        parts = {name: pack_part(part, name) for name, part in value.items()}
        if any(name.startswith("$") for name in value):
            return {"$dict": [list(pair) for pair in parts.items()]}
        return parts
    if isinstance(value, list | tuple):
        entries = [pack_part(part, str(number)) for number, part in enumerate(value)]
        return entries if isinstance(value, list) else {"$tuple": entries}
    if isinstance(value, PackedNames):
        return {"$names": pack_part({"data": value.data, "ends": value.ends})}
    if isinstance(value, PackedLists):
        return {"$name_lists": pack_part({"names": value.names, "ends": value.ends})}
    if isinstance(value, np.ndarray) and value.dtype.kind in "OU" and value.ndim == 1:
        return {"$objects": pack_part(value.tolist())}
    if isinstance(value, np.ndarray) and value.dtype.newbyteorder("<") in _NAMES:
        value = np.asarray(value, dtype=value.dtype.newbyteorder("<"), order="C")
        name = _unused(".".join(place), {*arrays, "__metadata__"})
        arrays[name] = value
        return {"$array": [name, _NAMES[value.dtype], list(value.shape)]}
    if isinstance(value, sp.csr_array):
        parts = {name: getattr(value, name) for name in ("data", "indices", "indptr")}
        return {"$csr": pack_part({**parts, "shape": value.shape})}
    if isinstance(value, Storable):
        # Named by whose index it is.
        owner = next((part for part in reversed(place) if part not in ("index", "index_")), "index")
        stem = re.sub(r"[^A-Za-z0-9_-]", "_", owner)[:60]
        name = f"{_unused(stem, {name.removesuffix('.index') for name in indexes})}.index"
        indexes[name] = value
        return {"$index": [name, len(value), value.dimension]}
    raise TypeError(f"{'.'.join(place)} is of type {_type(value)}, which cannot be saved.")


def _unused(name: str, used: set[str]) -> str:
    number, found = 1, name
    while found in used:
        number += 1
        found = f"{name}-{number}"
    return found


def _type(value: Any) -> str:
    if isinstance(value, np.ndarray):
        return f"ndarray of shape {value.shape} and dtype {value.dtype}"
    if isinstance(value, int):
        return "int with more than 64 bits"
    if isinstance(value, dict):
        return "dict with keys that are no strings"
    return type(value).__name__


# -- and back -----------------------------------------------------------------------------------


def _fields(kind: str, part: Any, *types: type) -> list[Any]:
    if (
        not isinstance(part, list)
        or len(part) != len(types)
        or any(type(field) is not expected for field, expected in zip(part, types, strict=True))
    ):
        raise ValueError(f"its {kind!r} has no such form")
    return part


def _tuple(parts: Any) -> tuple:
    if not isinstance(parts, list):
        raise TypeError("no list")
    return tuple(parts)


def _objects(parts: Any) -> np.ndarray:
    array = np.empty(len(_tuple(parts)), dtype=object)
    array[:] = parts
    return array


def _float(text: Any) -> float:
    if text not in ("inf", "-inf", "nan"):
        raise TypeError("no such number")
    return float(text)


def _dict(pairs: Any) -> dict[str, Any]:
    found = {}
    for name, value in pairs:
        if not isinstance(name, str) or name in found:
            raise TypeError("no distinct names")
        found[name] = value
    return found


def _names(parts: Any) -> PackedNames:
    data, ends = (parts[name] for name in ("data", "ends"))
    if len(parts) != 2 or not isinstance(data, np.ndarray):
        raise TypeError("they are no arrays")
    return PackedNames(data, ends)


def _name_lists(parts: Any) -> PackedLists:
    if len(parts) != 2:
        raise TypeError("they are no names and ends")
    return PackedLists(parts["names"], parts["ends"])


def _csr(parts: Any) -> sp.csr_array:
    """A matrix of which nothing can be read or written outside of its memory."""
    data, indices, indptr = (parts[name] for name in ("data", "indices", "indptr"))
    rows, columns = parts["shape"]
    for name, array, kinds in (
        ("data", data, "biuf"),
        ("indices", indices, "i"),
        ("indptr", indptr, "i"),
    ):
        if not isinstance(array, np.ndarray) or array.ndim != 1 or array.dtype.kind not in kinds:
            raise TypeError(f"{name} is no such array")
    if len(parts) != 4 or type(rows) is not int or type(columns) is not int:
        raise TypeError("its shape is none")
    if rows != len(indptr) - 1 or not 0 <= columns <= MAX_COLUMNS:
        raise ValueError(f"a matrix of shape {(rows, columns)} has {len(indptr)} row pointers")
    if data.dtype.kind == "f" and not np.isfinite(data).all():
        raise ValueError("a matrix has NaN or infinite entries")
    if indptr[0] != 0 or indptr[-1] != len(indices) or len(indices) != len(data):
        raise ValueError("the row pointers of a matrix do not fit its entries")
    matrix = sp.csr_array((data, indices, indptr), shape=(rows, columns))
    matrix.check_format(full_check=True)
    return matrix


_ARRAYS = ("$array", "$index")  # which are beside the tree
_FORMS: dict[str, Callable[[Any], Any]] = {
    "$tuple": _tuple,
    "$objects": _objects,
    "$float": _float,
    "$dict": _dict,
    "$csr": _csr,
    "$names": _names,
    "$name_lists": _name_lists,
}
