"""Names of other files in the configurations of a saved tower, which nobody may follow.

Transformers, timm and peft open what some entries of a configuration name, wherever that is. The
towers that skxmc writes name nothing, so that such an entry was put there by somebody else.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

# Beside the model, peft's configuration makes transformers load the base model that it names.
_ADAPTER = "adapter_config.json"

# Prefixes by which timm takes a name for a folder, or for a repository.
_SCHEMES = ("local-dir:", "hf-hub:", "hf_hub:", "hf://", "file:")

# Names of other models and of their data; a text tower has none.
_MODELS = ("backbone", "index_path", "passages_path")

# Arguments of tokenizers that are files, and arguments without a name, which can be files.
_FILES = ("_file", "_files", "init_inputs")


def check_named_files(folder: Path) -> None:
    """Refuse configurations that name other files or models.

    Parameters
    ----------
    folder : Path
        Of a saved tower.

    Raises
    ------
    ValueError
        If there is such a name; the message says in which file.
    """
    if (folder / _ADAPTER).exists():
        raise ValueError(
            f"its {_ADAPTER} names a base model outside of the folder; save the model again, "
            "which merges such adapters."
        )
    for file in sorted(folder.glob("*.json")):
        if file.name == "config.json" or file.name.endswith("_config.json"):
            for name, value in entries(json.loads(file.read_text(encoding="utf-8"))):
                if _names_a_file(name, value):
                    raise ValueError(
                        f"its {file.name} has {name} = {str(value)[:100]!r}, and no file that a "
                        "saved model names is opened; get the model from where it was saved."
                    )


def entries(config: Any) -> Iterator[tuple[str, Any]]:
    """All names and values of a configuration, those of inner ones too."""
    if isinstance(config, dict):
        for name, value in config.items():
            yield name, value
            yield from entries(value)
    elif isinstance(config, list):
        for value in config:
            yield "", value
            yield from entries(value)


def _names_a_file(name: str, value: Any) -> bool:
    if isinstance(value, str) and value.startswith(_SCHEMES):
        return True
    is_reference = name in _MODELS or name.endswith(_FILES)
    return is_reference and bool(value) and not isinstance(value, bool | int | float)
