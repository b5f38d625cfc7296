"""Labels that callers have added, in a file that outlives the model they were added to."""

from __future__ import annotations

import json
import os
from pathlib import Path

from .._folders._strict_json import parse_json

Entry = tuple[str | int, str]


class LabelJournal:
    """A file with a line of JSON for each label; several processes may append to it.

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
        """All labels, in the order in which they were added."""
        content = self._path.read_bytes()
        self._seen = len(content)
        entries = []
        for number, line in enumerate(content.splitlines(), 1):
            try:
                found = parse_json(line)
                name, text = found["id"], found["text"]
                valid = type(name) in (str, int) and isinstance(text, str)
            except (ValueError, KeyError, TypeError):
                valid = False
            if not valid:
                raise ValueError(f"line {number} of {self._path} is no label; remove it.")
            entries.append((name, text))
        return entries

    def has_grown(self) -> bool:
        """Whether another process has written since this one last read or wrote."""
        return self._path.stat().st_size != self._seen

    def append(self, name: str | int, text: str) -> None:
        """Keep one more label."""
        line = json.dumps({"id": name, "text": text}, ensure_ascii=False) + "\n"
        # One write at the end of the file: lines of several processes do not mix.
        file = os.open(self._path, os.O_WRONLY | os.O_APPEND)
        try:
            os.write(file, line.encode())
            os.fsync(file)
        finally:
            os.close(file)
