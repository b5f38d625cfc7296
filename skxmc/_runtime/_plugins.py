"""Classes by name: those of this package, and those that other packages register."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points


def find_plugin(kind: str, name: str, known: Mapping[str, type | str]) -> type:
    """Find a class by its name.

    Another package registers a class in the table ``[project.entry-points."skxmc.<kind>"]`` of its
    ``pyproject.toml``, as ``name = "module:Class"``. It cannot take the name of a known one.

    Parameters
    ----------
    kind : str
        What is looked for, such as "objectives"; the group of entry points is ``skxmc.<kind>``.
    name : str
        Name of the class.
    known : mapping of str to type or str
        Classes of this package, or where they are as "module:Class".

    Returns
    -------
    type
        The class.

    Raises
    ------
    ValueError
        If no class has this name, or two packages register different ones under it.
    ImportError
        If the class that another package registers cannot be imported.
    """
    group = f"skxmc.{kind}"
    if name in known:
        found = known[name]
        return found if isinstance(found, type) else _load(found)
    registered = entry_points(group=group)
    values = {entry.value: entry for entry in registered if entry.name == name}
    if not values:
        names = sorted({*known, *(entry.name for entry in registered)})
        raise ValueError(
            f"{name!r} is not one of the {kind}, which are {', '.join(map(repr, names))}; another "
            f"package adds one by an entry point of the group {group!r}."
        )
    if len(values) > 1:
        raise ValueError(
            f"{name!r} is registered more than once under the entry points {group!r}: "
            f"{' and '.join(sorted(values))}; uninstall one of the packages."
        )
    return _load_entry(group, *values.values())


def _load(place: str) -> type:
    module, _, name = place.partition(":")
    return getattr(import_module(module), name)


def _load_entry(group: str, entry: EntryPoint) -> type:
    try:
        found = entry.load()
    except (ImportError, AttributeError) as error:
        raise ImportError(
            f"the entry point {entry.name} = {entry.value!r} of {group!r} cannot be imported "
            f"({error}); repair or uninstall the package that registers it."
        ) from error
    if not isinstance(found, type):
        raise ValueError(
            f"the entry point {entry.name} = {entry.value!r} of {group!r} names "
            f"{type(found).__name__!r}, not a class."
        )
    return found
