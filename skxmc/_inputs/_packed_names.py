"""Names as one array of bytes, which a process maps from a file and reads one by one."""

from __future__ import annotations

import operator
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np


class PackedNames(Sequence):
    """Strings, of which each is made when it is asked for.

    Behaves as an array of strings where it is read: by number, slice, or array of numbers.

    Parameters
    ----------
    data : ndarray of shape (n_bytes,), uint8
        The strings one after the other, in UTF-8.
    ends : ndarray of shape (n,), int64
        Where each ends.

    Raises
    ------
    TypeError, ValueError
        If these are no such arrays.
    """

    dtype = np.dtype(object)

    def __init__(self, data: np.ndarray, ends: np.ndarray) -> None:
        _check_ends(ends, len(data))
        if data.dtype != np.uint8 or data.ndim != 1:
            raise TypeError("the bytes of names are no array of bytes")
        data.tobytes().decode("utf-8", "surrogatepass")
        inner = ends[ends < len(data)]
        if (data[inner] & 0xC0 == 0x80).any():
            raise ValueError("a name ends within a character")
        self.data, self.ends = data, ends

    @classmethod
    def of(cls, names: Sequence[str] | np.ndarray) -> PackedNames:
        """Names in packed form."""
        encoded = [name.encode("utf-8", "surrogatepass") for name in names]
        ends = np.cumsum([len(one) for one in encoded], dtype=np.int64)
        return cls(np.frombuffer(b"".join(encoded), dtype=np.uint8), ends)

    def __len__(self) -> int:
        return len(self.ends)

    def __getitem__(self, key: Any) -> Any:
        if isinstance(key, slice | list | np.ndarray):
            return self._some(np.arange(len(self))[key])
        number = range(len(self))[operator.index(key)]
        start = self.ends[number - 1] if number else 0
        return self.data[start : self.ends[number]].tobytes().decode("utf-8", "surrogatepass")

    def __iter__(self) -> Iterator[str]:
        return iter(self.tolist())

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and self.tolist() == list(other)

    __hash__ = None

    def _some(self, numbers: np.ndarray) -> np.ndarray:
        found = np.empty(numbers.shape, dtype=object)
        found.flat = [self[number] for number in numbers.ravel().tolist()]
        return found

    def tolist(self) -> list[str]:
        """All names."""
        data, start, names = self.data.tobytes(), 0, []
        for end in self.ends.tolist():
            names.append(data[start:end].decode("utf-8", "surrogatepass"))
            start = end
        return names

    def array(self) -> np.ndarray:
        """All names, as an array of objects."""
        found = np.empty(len(self), dtype=object)
        found[:] = self.tolist()
        return found


class PackedLists(Sequence):
    """Lists of strings, of which each is made when it is asked for.

    Parameters
    ----------
    names : PackedNames
        All strings, one list after the other.
    ends : ndarray of shape (n,), int64
        Where each list ends.

    Raises
    ------
    TypeError, ValueError
        If these are no such things.
    """

    def __init__(self, names: PackedNames, ends: np.ndarray) -> None:
        if not isinstance(names, PackedNames):
            raise TypeError("the names of lists are none")
        _check_ends(ends, len(names))
        self.names, self.ends = names, ends

    @classmethod
    def of(cls, lists: Sequence[Sequence[str]]) -> PackedLists:
        """Lists in packed form."""
        names = PackedNames.of([name for one in lists for name in one])
        return cls(names, np.cumsum([len(one) for one in lists], dtype=np.int64))

    def __len__(self) -> int:
        return len(self.ends)

    def __getitem__(self, key: Any) -> Any:
        if isinstance(key, slice):
            return [self[number] for number in range(*key.indices(len(self)))]
        number = range(len(self))[operator.index(key)]
        start = int(self.ends[number - 1]) if number else 0
        return self.names[start : int(self.ends[number])].tolist()

    def __iter__(self) -> Iterator[list[str]]:
        names, start = self.names.tolist(), 0
        for end in self.ends.tolist():
            yield names[start:end]
            start = end

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and list(self) == list(other)

    __hash__ = None


class LazyNames:
    """An attribute of names, which are made of packed ones when somebody asks for it.

    Where packed ones do, they are in the ``__dict__`` of the object.
    """

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __get__(self, owner: Any, kind: type | None = None) -> np.ndarray:
        if owner is None or self._name not in owner.__dict__:
            named = getattr(kind, "__name__", type(owner).__name__)
            raise AttributeError(f"{named!r} object has no attribute {self._name!r}")
        value = owner.__dict__[self._name]
        if isinstance(value, PackedNames):
            value = owner.__dict__[self._name] = value.array()
        return value

    def __set__(self, owner: Any, value: Any) -> None:
        owner.__dict__[self._name] = value

    def __delete__(self, owner: Any) -> None:
        del owner.__dict__[self._name]


def _check_ends(ends: Any, last: int) -> None:
    if not isinstance(ends, np.ndarray) or ends.dtype != np.int64 or ends.ndim != 1:
        raise TypeError("the ends of names are no array of numbers")
    if len(ends) == 0:
        if last:
            raise ValueError("there are no names, and bytes of some")
        return
    if ends[0] < 0 or ends[-1] != last or (ends[1:] < ends[:-1]).any():
        raise ValueError("the ends of names are none")
