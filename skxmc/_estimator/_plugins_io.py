"""Objects that are parameters, as plain values that a folder can hold.

A folder names the class of such an object, and nothing that a folder names is ever imported: the
class is one of ours, one that an installed package has registered, or one that is defined already.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any

from sklearn.base import BaseEstimator

# Rooms whose public classes can be parameters.
ROOMS = ("encoders", "evidence", "indexes", "model_selection", "objectives")

_PACKAGE = __name__.partition(".")[0]
_CLASS, _PARAMETERS = "$class", "parameters"


def describe(value: BaseEstimator, plain: Callable[[Any], Any]) -> dict[str, Any]:
    """An object as a dict of its class and its parameters, each made `plain`.

    Raises
    ------
    TypeError
        If a parameter cannot be stored, or the class is local to a function.
    """
    kind = type(value)
    if "<locals>" in kind.__qualname__:
        raise TypeError(f"holds an object of the class {kind.__name__}, which a function defines")
    parameters = value.get_params(deep=False)
    return {
        _CLASS: _path(kind),
        _PARAMETERS: {name: plain(part) for name, part in parameters.items()},
    }


def _is_description(value: Any) -> bool:
    """Whether a value is what :func:`describe` gave."""
    return isinstance(value, dict) and value.keys() == {_CLASS, _PARAMETERS}


def rebuild(value: Any) -> Any:
    """The object that :func:`describe` described; other values as they are, containers too.

    Raises
    ------
    ValueError
        If its class is not known in this process, or has other parameters.
    """
    if isinstance(value, list | tuple):
        return type(value)(rebuild(part) for part in value)
    if not _is_description(value):
        is_dict = isinstance(value, dict)
        return {name: rebuild(part) for name, part in value.items()} if is_dict else value
    kind = _find(value[_CLASS])
    parameters = {name: rebuild(part) for name, part in value[_PARAMETERS].items()}
    known = inspect.signature(kind).parameters
    unknown = sorted(parameters.keys() - known.keys())
    if unknown:
        raise ValueError(
            f"{value[_CLASS]} has no parameter {unknown[0]!r}; load the model with the "
            "version that saved it."
        )
    return kind(**parameters)


def _path(kind: type) -> str:
    """Where the class is: our own by their public room, so that files may move."""
    parts = kind.__module__.split(".")
    if parts[0] == _PACKAGE:
        return f"{parts[0]}.{parts[1]}:{kind.__qualname__}"
    return f"{kind.__module__}:{kind.__qualname__}"


def _find(path: str) -> type:
    module, _, name = str(path).partition(":")
    for room in ROOMS:
        if module == f"{_PACKAGE}.{room}":
            public = import_module(module)
            found = getattr(public, name) if name in public.__all__ else None
            if inspect.isclass(found) and issubclass(found, BaseEstimator):
                return found
    for kind in _subclasses(BaseEstimator):
        if _path(kind) == path:
            return kind
    for room in ROOMS:
        for point in entry_points(group=f"{_PACKAGE}.{room}"):
            if point.value == path:
                return point.load()
    raise ValueError(
        f"the model uses the class {path!r}, which is not known here; import the module that "
        "defines it before loading."
    )


def _subclasses(kind: type) -> list[type]:
    found = []
    for child in kind.__subclasses__():
        found += [child, *_subclasses(child)]
    return found
