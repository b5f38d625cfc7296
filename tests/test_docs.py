"""The documentation's code runs as it stands, and its API reference is complete."""

import doctest
import re
import runpy
import sys
import types
from dataclasses import dataclass, field
from pathlib import Path
from textwrap import dedent

import pytest

import skxmc

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
BUILT = {"_build", "auto_examples", "generated"}

DIRECTIVE = re.compile(r"\.\. (?:code-block|code|sourcecode):: python3?$")
CONTROL = re.compile(r"\.\. doc-test: (setup|skip|slow)\b")
FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


@dataclass
class Page:
    """Code of a page in the order of the page: (number of its first line, text)."""

    blocks: list[tuple[int, str]] = field(default_factory=list)
    slow: bool = False


def read_page(text: str) -> Page:
    """Collect the Python blocks, doctest blocks and controlling comments of a page."""
    page, lines = Page(), text.splitlines()
    position, skip = 0, False
    while position < len(lines):
        line = lines[position].strip()
        indent = len(lines[position]) - len(lines[position].lstrip())
        control = CONTROL.match(line)
        position += 1
        if control and control[1] == "slow":
            page.slow = True
        elif control and control[1] == "skip":
            skip = True
        elif control or DIRECTIVE.match(line):
            start = position
            while position < len(lines) and (
                not lines[position].strip() or lines[position][: indent + 1].isspace()
            ):
                position += 1
            first, body = strip_options(lines[start:position])
            if not skip:
                page.blocks.append((start + first, body))
            skip = False
        elif line.startswith(">>> "):
            start = position - 1
            while position < len(lines) and lines[position].strip():
                position += 1
            if not skip:
                page.blocks.append((start, dedent("\n".join(lines[start:position]))))
            skip = False
    return page


def strip_options(lines: list[str]) -> tuple[int, str]:
    """Drop ``:option:`` lines and blank lines before the body of a directive."""
    first = 0
    while first < len(lines) and (
        not lines[first].strip() or re.match(r"\s+:[\w-]+:", lines[first])
    ):
        first += 1
    return first, dedent("\n".join(lines[first:])).rstrip()


def run_block(code: str, namespace: dict, path: str, first: int) -> None:
    """Run a block; a doctest's output is compared, and a traceback shows the page's lines."""
    if code.lstrip().startswith(">>>"):
        test = doctest.DocTestParser().get_doctest(code, {}, path, path, first)
        test.globs = namespace  # get_doctest would copy it
        doctest.DebugRunner(optionflags=FLAGS).run(test, clear_globs=False)
    else:
        exec(compile("\n" * first + code, path, "exec"), namespace)


def pages():
    written = (page for page in DOCS.rglob("*.rst") if not BUILT & set(page.parts))
    for path in [ROOT / "README.rst", *sorted(written)]:
        page = read_page(path.read_text(encoding="utf-8"))
        if page.blocks:
            marks = [pytest.mark.slow] if page.slow else []
            name = path.relative_to(ROOT).as_posix()
            yield pytest.param(name, page.blocks, marks=marks, id=name)


@pytest.mark.parametrize(("name", "blocks"), list(pages()))
def test_code_of_page_runs(name, blocks, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MPLBACKEND", "Agg")
    # A module of its own, so that classes of a page can be pickled.
    module = types.ModuleType("code_of_page")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    namespace = vars(module)
    for first, code in blocks:
        run_block(code, namespace, name, first)


EXAMPLE = """
.. doc-test: setup
   value = 1

Text.

.. code-block:: python
   :caption: not code

   value += 1

   value += 1

.. doc-test: skip (no such module)

.. code-block:: python

   import no_such_module

>>> value
3

.. code-block:: bash

   rm important
"""


def test_reader_of_pages():
    page = read_page(EXAMPLE)
    assert [code for _, code in page.blocks] == [
        "value = 1",
        "value += 1\n\nvalue += 1",
        ">>> value\n3",
    ]
    assert not page.slow
    assert read_page(".. doc-test: slow\n").slow
    for first, code in page.blocks:
        assert EXAMPLE.splitlines()[first].strip() == code.splitlines()[0]


def test_blocks_share_a_namespace_and_failures_show():
    namespace = {}
    for first, code in read_page(EXAMPLE).blocks:
        run_block(code, namespace, "example", first)
    assert namespace["value"] == 3
    with pytest.raises(doctest.DocTestFailure):
        run_block(">>> value\n4", namespace, "example", 0)
    with pytest.raises(ZeroDivisionError):
        run_block("1 / 0", namespace, "example", 0)


def test_drawings_are_current(monkeypatch):
    monkeypatch.syspath_prepend(DOCS)  # one script has parts of another
    house = runpy.run_path(str(DOCS / "draw_house.py"))["draw"]
    diagrams = runpy.run_path(str(DOCS / "draw_diagrams.py"))["DIAGRAMS"]
    guide = runpy.run_path(str(DOCS / "draw_guide.py"))["DIAGRAMS"]
    for name, draw in {"house": house, **diagrams, **guide}.items():
        kept = (DOCS / "_static" / f"{name}.svg").read_text(encoding="utf-8")
        assert kept == draw(), "run the scripts docs/draw_*.py, which write the drawings"


@pytest.mark.parametrize(
    "home",
    [
        "skxmc",
        "skxmc.datasets",
        "skxmc.encoders",
        "skxmc.evidence",
        "skxmc.indexes",
        "skxmc.inspection",
        "skxmc.metrics",
        "skxmc.model_selection",
        "skxmc.objectives",
        "skxmc.serving",
        "skxmc.testing",
    ],
)
def test_every_public_name_is_in_the_api_reference(home):
    listed = {}
    module = None
    for line in (DOCS / "api.rst").read_text(encoding="utf-8").splitlines():
        if line.startswith(".. currentmodule::"):
            module = line.split()[-1]
        elif re.fullmatch(r"   \w+", line):
            listed.setdefault(module, []).append(line.strip())
    package = skxmc if home == "skxmc" else getattr(skxmc, home.partition(".")[2])
    public = {name for name in package.__all__ if callable(getattr(package, name))}
    assert set(listed[home]) == public
    assert len(listed[home]) == len(set(listed[home]))
