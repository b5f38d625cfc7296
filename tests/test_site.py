"""The built documentation: links, pictures and formulas, also in a browser without a network."""

import re
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from browser import PROGRAM, browser

SITE = Path(__file__).resolve().parents[1] / "docs" / "_build" / "html"
LOADED = {"img": "src", "script": "src", "link": "href", "source": "src", "iframe": "src"}
CODE = {"code", "pre", "script", "style", "annotation"}
TEX = re.compile(r"\\(?:frac|sum|mathrm|text|log|cdot|tau|qquad)\b|\\\(|\\\[|:math:|:ref:|:doc:")
# Pages that a phone must show without scrolling sideways, and whose formulas must have a size.
LOOKED_AT = (
    "index.html",
    "getting_started.html",
    "comparison.html",
    "theory.html",
    "tutorials/shop.html",
    "user_guide/inspection.html",
    "user_guide/scores.html",
)

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not (SITE / "index.html").is_file(), reason="`make docs` was not run"),
]


class Reader(HTMLParser):
    """What a page links to, what it loads, its anchors, and its text outside of code."""

    def __init__(self):
        super().__init__()
        self.links, self.loads, self.anchors, self.texts, self.unnamed = [], [], set(), [], []
        self._code = 0

    def handle_starttag(self, tag, attributes):
        found = dict(attributes)
        self.anchors.update(found[name] for name in ("id", "name") if found.get(name))
        if tag == "a" and found.get("href"):
            self.links.append(found["href"])
        if tag in LOADED and found.get(LOADED[tag]) and found.get("rel") != "search":
            self.loads.append(found[LOADED[tag]])
        if tag == "img" and "alt" not in found:
            self.unnamed.append(found.get("src"))
        self._code += tag in CODE

    def handle_endtag(self, tag):
        self._code -= tag in CODE

    def handle_data(self, data):
        if not self._code:
            self.texts.append(data)


@cache
def read(path):
    reader = Reader()
    reader.feed(path.read_text(encoding="utf-8"))
    return reader


def pages():
    return sorted(path for path in SITE.rglob("*.html") if "_static" not in path.parts)


def target_of(page, link):
    """The file and the anchor that a local link leads to."""
    parts = urlsplit(link)
    file = page if not parts.path else (page.parent / unquote(parts.path)).resolve()
    return file, unquote(parts.fragment)


def test_local_links_lead_somewhere():
    broken = []
    for page in pages():
        for link in read(page).links:
            if urlsplit(link).scheme or link.startswith("//"):
                continue
            file, anchor = target_of(page, link)
            if file.is_dir():
                file = file / "index.html"
            known = file.is_file() and (
                not anchor or file.suffix != ".html" or anchor in read(file).anchors
            )
            if not known:
                broken.append(f"{page.relative_to(SITE)}: {link}")
    assert not broken


def test_everything_loaded_is_there_and_local():
    missing = []
    for page in pages():
        for address in read(page).loads:
            if address.startswith("data:"):
                continue
            local = not urlsplit(address).scheme and not address.startswith("//")
            if not (local and target_of(page, address)[0].is_file()):
                missing.append(f"{page.relative_to(SITE)}: {address}")
    assert not missing


def test_every_picture_says_what_it_shows():
    assert not {
        f"{page.relative_to(SITE)}: {picture}" for page in pages() for picture in read(page).unnamed
    }


def test_no_markup_is_left_in_the_text():
    # In the examples scikit-learn draws estimators, with docstrings as they were written.
    left = [
        f"{page.relative_to(SITE)}: {text.strip()[:80]}"
        for page in pages()
        if "auto_examples" not in page.parts
        for text in read(page).texts
        if TEX.search(text)
    ]
    assert not left


@pytest.mark.skipif(PROGRAM is None, reason="Chromium is not installed")
@pytest.mark.parametrize("name", LOOKED_AT)
def test_page_in_a_browser(name, tmp_path):
    with browser() as page:
        page.open((SITE / name).as_uri())
        page.call(
            "Emulation.setDeviceMetricsOverride",
            width=390,
            height=844,
            deviceScaleFactor=1,
            mobile=True,
        )
        wide = page.run("document.scrollingElement.scrollWidth - window.innerWidth")
        assert wide <= 1, f"{name} is {wide} pixels wider than a phone"
        assert page.run(
            "[...document.images].every((i) => i.loading == 'lazy' || i.naturalWidth > 0)"
        )
        widths = page.run(
            "[...document.querySelectorAll('math')].map((m) => m.getBoundingClientRect().width)"
        )
        assert all(width > 2 for width in widths)
        page.screenshot(tmp_path / "phone.png")
        failed = [event for event in page.events if event["method"] == "Network.loadingFailed"]
        assert not failed
