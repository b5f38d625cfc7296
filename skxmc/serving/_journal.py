"""What callers change or confirm, in files that outlive the model."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .._folders._strict_json import parse_json

# A label and its text, or None where it was removed.
Entry = tuple[str | int, str | None]


class LabelJournal:
    """A file with a line of JSON for each label that was added or removed.

    Several processes may append to it.

    Parameters
    ----------
    path : path-like
        Made with the first label, in a folder that exists.

    Raises
    ------
    OSError
        If there is no such folder, or the file cannot be written.
    ValueError
        If a line of the file is none of a label.
    """

    def __init__(self, path: str | os.PathLike) -> None:
        self._path = Path(path).expanduser()
        with self._path.open("ab"):  # it can be written
            pass
        self._seen = -1
        self.read()

    def read(self) -> list[Entry]:
        """All labels, in the order in which they were added or removed."""
        content = self._path.read_bytes()
        self._seen = len(content)
        entries = []
        for number, line in enumerate(content.splitlines(), 1):
            try:
                found = parse_json(line)
                name, text = found["id"], found["text"]
                valid = type(name) in (str, int) and isinstance(text, str | None)
            except (ValueError, KeyError, TypeError):
                valid = False
            if not valid:
                raise ValueError(f"line {number} of {self._path} is no label; remove it.")
            entries.append((name, text))
        return entries

    def has_grown(self) -> bool:
        """Whether another process has written since this one last read or wrote."""
        return self._path.stat().st_size != self._seen

    def append(self, name: str | int, text: str | None) -> None:
        """Keep one more label, or that it was removed."""
        append_line(self._path, {"id": name, "text": text})


class DocumentLog:
    """A file with a line of JSON for each document whose labels a caller has confirmed.

    ``skxmc update`` reads it as it is.

    Parameters
    ----------
    path : path-like
        Made at once, in a folder that exists.

    Raises
    ------
    OSError
        If there is no such folder, or the file cannot be written.
    """

    def __init__(self, path: str | os.PathLike) -> None:
        self._path = Path(path).expanduser()
        with self._path.open("ab"):  # it can be written
            pass

    def append(self, text: str, labels: Sequence[str | int]) -> None:
        """Keep one more document."""
        append_line(self._path, {"text": text, "labels": list(labels)})


def append_line(path: Path, entry: dict[str, Any]) -> None:
    """Write a line at the end of a file, in one piece: lines of several processes do not mix."""
    line = json.dumps(entry, ensure_ascii=False) + "\n"
    file = os.open(path, os.O_WRONLY | os.O_APPEND)
    try:
        os.write(file, line.encode())
        os.fsync(file)
    finally:
        os.close(file)
