"""Reader of CSV and TSV files with names of columns in the first line."""

from __future__ import annotations

import csv
import os
import sys
from collections.abc import Iterator
from pathlib import Path

from ._files import text_lines


def delimited_rows(path: Path, delimiter: str = ",") -> Iterator[tuple[int, list[str]]]:
    """Yield the names of the columns, then the cells of each row; with each the line it ends in.

    Blank lines are left out, and cells may be of any length.

    Raises
    ------
    ValueError
        If a row has another number of cells than there are names, or quotes are unbalanced.
    """
    limit = csv.field_size_limit(2**31 - 1 if os.name == "nt" else sys.maxsize)
    # The ends of lines are put back: a cell in quotes may hold several lines.
    lines = (f"{line}\n" for line in text_lines(path))
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    names = None
    try:
        for cells in reader:
            if not cells:
                continue
            if names is None:
                names = cells = [name.strip() for name in cells]
            if len(cells) != len(names):
                raise ValueError(
                    f"line {reader.line_num} of {path} has {len(cells)} cells, but there are "
                    f"{len(names)} columns; correct it (a cell with {delimiter!r} or a line break "
                    'stands in "").'
                )
            yield reader.line_num, cells
    except csv.Error as error:
        raise ValueError(f"line {reader.line_num} of {path} cannot be read ({error}).") from None
    finally:
        csv.field_size_limit(limit)
    if names is None:
        raise ValueError(f"{path} is empty; its first line must hold the names of the columns.")
