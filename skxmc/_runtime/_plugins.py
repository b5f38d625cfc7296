"""Classes that are found by name: the package's own, and those that other packages register."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from importlib.metadata import entry_points


def find_plugin(kind: str, name: str, known: Mapping[str, type | str]) -> type:
    """Return the class called `name`.

    Parameters
    ----------
    kind : str
        What is asked for, in the plural. Other packages register theirs as entry points of the
        group ``f"skxmc.{kind}"``.
    name : str
    known : mapping of str to type or str
        The package's own classes, which no entry point can replace. A string
        ``"module:Class"`` is imported when its name is asked for.

    Returns
    -------
    plugin : type

    Raises
    ------
    ValueError
        If nothing has that name. The message lists the names that there are.
    TypeError
        If an entry point leads to something that is not a class.

    Examples
    --------
    >>> from skxmc._runtime._plugins import find_plugin
    >>> find_plugin("counters", "plain", {"plain": "collections:Counter"})
    <class 'collections.Counter'>
    """
    group = f"skxmc.{kind}"
    found = known.get(name)
    if found is None:
        registered = {point.name: point for point in entry_points(group=group)}
        if name not in registered:
            names = ", ".join(map(repr, [*known, *sorted(registered.keys() - known.keys())]))
            raise ValueError(
                f"{name!r} is none of the known {kind}: {names}; a package that brings another "
                f"registers it under the entry-point group {group!r}"
            )
        found = registered[name].load()
    elif isinstance(found, str):
        module, _, attribute = found.partition(":")
        found = getattr(import_module(module), attribute)
    if not isinstance(found, type):
        raise TypeError(f"{name!r} of the entry-point group {group!r} is {found!r}, not a class")
    return found
