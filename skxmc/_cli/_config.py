"""An estimator from TOML: keys are parameters, and tables are the objects that parameters take."""

from __future__ import annotations

import inspect
import tomllib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from .._decoder import DecoderXMCClassifier
from .._vixml import ViXMLClassifier
from ..encoders import ImageEncoder, LanguageModel, LoRA, TextEncoder
from ..evidence import resolve_evidence
from ..indexes import make_index
from ..model_selection import Precision, Validation
from ..objectives import Training, resolve_objective

ESTIMATORS = {
    "ViXMLClassifier": (ViXMLClassifier, TextEncoder),
    "DecoderXMCClassifier": (DecoderXMCClassifier, LanguageModel),
}

# Parameters that come with the documents.
_FROM_DATA = ("label_text", "label_images")

# Tables whose key `kind` says which class it is.
_BY_KIND: dict[str, Callable[[str], Any]] = {
    "objective": resolve_objective,
    "index": lambda kind: make_index(kind, 1, 1),
}


def read_config(path: str | None, settings: Sequence[str]) -> dict[str, Any]:
    """The content of a file, over which single settings go.

    Parameters
    ----------
    path : str or None
        A file in TOML.
    settings : sequence of str
        ``KEY=VALUE``, the key with dots for tables, the value as in TOML or a bare word.

    Raises
    ------
    ValueError
        If it is no TOML.
    """
    config: dict[str, Any] = {}
    if path is not None:
        try:
            config = tomllib.loads(Path(path).expanduser().read_text("utf-8"))
        except ValueError as error:  # of TOML, or of UTF-8
            raise ValueError(f"{path} is no TOML: {error}.") from None
    for setting in settings:
        key, equals, value = setting.partition("=")
        if not equals or not key.strip():
            raise ValueError(f"--set {setting} is not of the form KEY=VALUE.")
        *tables, last = key.strip().split(".")
        place = config
        for name in tables:
            place = place.setdefault(name, {})
            if not isinstance(place, dict):
                raise ValueError(f"--set {setting}: {name} is given as a value, not as a table.")
        place[last] = _read_value(value.strip())
    return config


def _read_value(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def make_limits(kind: type, settings: Sequence[str]) -> Any:
    """Limits, a dataclass, of which some are given as ``NAME=VALUE``.

    Raises
    ------
    ValueError
        If there is no such limit, or its value is none.
    """
    known = [field.name for field in fields(kind)]
    values = read_config(None, settings)
    for name in values:
        if name not in known:
            raise ValueError(
                f"--limit has the unknown name {name!r}; the known ones are {', '.join(known)}."
            )
    return kind(**values)


def make_estimator(config: Mapping[str, Any], **parameters: Any) -> Any:
    """Make an estimator.

    Parameters
    ----------
    config : mapping
        Its parameters, and `estimator`, the name of its class.
    **parameters : dict
        Parameters where `config` has none.

    Raises
    ------
    ValueError
        If there is a key that is not known; the message lists those that are.
    """
    config = dict(config)
    name = config.pop("estimator", "ViXMLClassifier")
    if name not in ESTIMATORS:
        raise ValueError(f"estimator is {name!r}; pass one of {', '.join(ESTIMATORS)}.")
    kind, encoder = ESTIMATORS[name]
    objects = {
        "encoder": encoder,
        "image_encoder": ImageEncoder,
        "adapter": LoRA,
        "training": Training,
        "validation": Validation,
        "threshold": Precision,
    }
    known = [name for name in inspect.signature(kind).parameters if name not in _FROM_DATA]
    _check_keys(config, ["estimator", *known], "the configuration")
    for key, value in config.items():
        if key == "evidence" and isinstance(value, Mapping):
            parameters[key] = _make_evidence(value)
        elif key in _BY_KIND and isinstance(value, Mapping):
            parameters[key] = _make_by_kind(key, value)
        elif key in objects and isinstance(value, Mapping):
            parameters[key] = _fill(objects[key](), value, f"[{key}]")
        else:
            parameters[key] = _plain(value, None, key)
    return kind(**parameters)


def _make_by_kind(key: str, table: Mapping[str, Any]) -> Any:
    table = dict(table)
    if not isinstance(table.get("kind"), str):
        raise ValueError(f'[{key}] has no kind; add one, such as kind = "...".')
    return _fill(_BY_KIND[key](table.pop("kind")), table, f"[{key}]", ["kind"])


def _make_evidence(table: Mapping[str, Any]) -> list[Any]:
    """The usual kinds, or those under `kinds`, with what the tables of their names set."""
    table = dict(table)
    kinds = resolve_evidence(table.pop("kinds", None))
    _check_keys(table, ["kinds", *(kind.name for kind in kinds)], "[evidence]")
    for kind in kinds:
        changes = table.get(kind.name, {})
        if not isinstance(changes, Mapping):
            raise ValueError(f"[evidence] {kind.name} is {changes!r}; write a table.")
        _fill(kind, changes, f"[evidence.{kind.name}]")
    return kinds


def _fill(found: Any, table: Mapping[str, Any], place: str, more_known: Sequence[str] = ()) -> Any:
    """Set parameters of an object."""
    parameters = found.get_params(deep=False)
    _check_keys(table, [*more_known, *parameters], place)
    plain = {key: _plain(table[key], parameters[key], f"{place} {key}") for key in table}
    return found.set_params(**plain)


def _check_keys(given: Iterable[str], known: Sequence[str], place: str) -> None:
    for key in given:
        if key not in known:
            raise ValueError(
                f"{place} has the unknown key {key!r}; the known ones are {', '.join(known)}."
            )


def _plain(value: Any, default: Any, place: str) -> Any:
    """A value of TOML, which has neither None nor tuples."""
    if isinstance(value, Mapping):
        raise ValueError(f"{place} is a table, but it takes a value.")
    if value == "none":
        return None
    return tuple(value) if isinstance(value, list) and isinstance(default, tuple) else value
