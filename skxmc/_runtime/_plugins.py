"""Classes that a user names: our own, and those that other installed packages register."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from importlib.metadata import entry_points


def find_plugin(kind: str, name: str, known: Mapping[str, type | str]) -> type:
    """The class of a name.

    Parameters
    ----------
    kind : str
        Such as ``"evidence"``. Other packages register theirs under the entry-point group
        ``skxmc.evidence``.
    name : str
    known : mapping of str to type or str
        Our own classes; a str is ``"module:Class"``, which is imported when it is asked for.

    Raises
    ------
    ValueError
        If there is no class of that name; the message lists the names that there are.
    """
    if name in known:
        value = known[name]
        if isinstance(value, str):
            module, _, attribute = value.partition(":")
            value = getattr(import_module(module), attribute)
        return value
    registered = {point.name: point for point in entry_points(group=f"skxmc.{kind}")}
    if name in registered:
        return registered[name].load()
    names = ", ".join(map(repr, [*known, *sorted(registered)]))
    raise ValueError(f"{kind}={name!r} is not known; pass one of {names}, or an object.")
