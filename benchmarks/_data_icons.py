"""The data set "icons": names, pictures and tags of the icons of six libraries."""

import json
import tarfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from skxmc.datasets._base import icon_group
from skxmc.datasets._fontawesome import choose_test_groups, render_icon

from ._data_fetch import fetch
from ._data_folder import Document, Split, write_folder

# Of npm, by the name that the data set has for them.
PACKAGES = {
    "mdi": "@mdi/svg@7.4.47",
    "tabler": "@tabler/icons@3.51.0",
    "lucide": "lucide-static@1.62.0",
    "ionicons": "ionicons@8.1.0",
    "carbon": "@carbon/icons@11.89.0",
}
_ORDER = ("mdi", "tabler", "lucide", "fontawesome", "ionicons", "carbon")
_MIN_TRAIN_ROWS = 2

README = """\
# icons

Icon tagging: name and picture of an icon -> tags of its authors. Built by
`python -m benchmarks data icons` from the npm packages {packages} and the Python package
fontawesomefree {fontawesome}; pictures drawn by resvg-py. Licences: Material Design Icons
Apache-2.0, Tabler MIT, Lucide ISC, Font Awesome CC BY 4.0, Ionicons MIT, Carbon Apache-2.0; brand
logos are trademarks of their owners.
"""


@dataclass(frozen=True)
class Icon:
    """An icon before the split."""

    uid: str
    text: str
    tags: list[str]
    drawing: str  # SVG


class Package:
    """Files of a package of npm, in memory.

    Parameters
    ----------
    path : Path
        Of its archive.
    """

    def __init__(self, path: Path) -> None:
        with tarfile.open(path) as archive:
            self.files = {
                member.name.partition("/")[2]: archive.extractfile(member).read()
                for member in archive
                if member.isfile() and member.name.endswith((".svg", ".json"))
            }

    def json(self, name: str) -> Any:
        """The content of a file of JSON."""
        return json.loads(self.files[name])

    def text(self, *names: str) -> str:
        """The first of these files that there is."""
        return next(self.files[name] for name in names if name in self.files).decode()


def build(output: Path, downloads: Path) -> None:
    """Download what is missing, and write the folder of the data set."""
    icons = [icon for icon in read_icons(downloads) if icon.tags]
    write_icons(output, icons)


def write_icons(output: Path, icons: list[Icon]) -> None:
    """Split icons by their names, keep the tags of the training set, and write the folder."""
    from importlib.metadata import version

    groups = [icon_group(icon.text) for icon in icons]
    in_test = choose_test_groups(groups, 0)
    sides = [group in in_test for group in groups]
    pairs = list(zip(icons, sides, strict=True))
    counts = Counter(tag for icon, is_test in pairs if not is_test for tag in icon.tags)
    tags = sorted(tag for tag, count in counts.items() if count >= _MIN_TRAIN_ROWS)
    number_of = {tag: number for number, tag in enumerate(tags)}

    def documents(wanted: bool) -> Iterator[Document]:
        for icon, is_test in pairs:
            labels = [number_of[tag] for tag in icon.tags if tag in number_of]
            if is_test == wanted and labels:
                name = f"{icon.uid.replace(':', '_')}.png"
                yield Document(icon.uid, icon.text, labels, name)

    splits = [
        Split(name, kept := list(documents(name == "test")), same_texts(kept, number_of))
        for name in ("train", "test")
    ]
    drawing_of = {icon.uid: icon.drawing for icon in icons}
    images = {
        document.image: render_icon(drawing_of[document.uid])
        for split in splits
        for document in split.documents
    }
    readme = README.format(
        packages=", ".join(PACKAGES.values()), fontawesome=version("fontawesomefree")
    )
    write_folder(output, splits, [(f"tag:{tag}", tag) for tag in tags], readme, images)


def same_texts(documents: list[Document], number_of: dict[str, int]) -> list[tuple[int, int]]:
    """Filter pairs: the tag that is the name of the icon."""
    return [
        (row, number_of[document.text])
        for row, document in enumerate(documents)
        if document.text in number_of
    ]


def read_icons(downloads: Path) -> Iterator[Icon]:
    """The icons of all libraries, those without tags too."""
    for source in _ORDER:
        if source == "fontawesome":
            yield from _fontawesome()
            continue
        for name, text, tags, drawing in _READERS[source](Package(download(source, downloads))):
            words = sorted({as_words(tag) for tag in tags} - {""})
            yield Icon(f"{source}:{name}", as_words(text), words, drawing)


def download(source: str, downloads: Path) -> Path:
    """The archive of a package, which npm fetches if it is not there."""
    package, _, version = PACKAGES[source].rpartition("@")
    path = downloads / f"{package.lstrip('@').replace('/', '-')}-{version}.tgz"
    if not path.is_file():
        downloads.mkdir(parents=True, exist_ok=True)
        command = ["npm", "pack", PACKAGES[source], "--pack-destination", str(downloads)]
        advice = f"install Node.js, or put {path.name} of {PACKAGES[source]} into {downloads}."
        fetch(command, PACKAGES[source], advice)
    return path


def as_words(name: Any) -> str:
    """A name in lower case, its parts separated by blanks."""
    for separator in "-_/":
        name = str(name).replace(separator, " ")
    return " ".join(name.lower().split())


_Rows = Iterator[tuple[str, str, list, str]]  # name, text, tags, drawing


def _mdi(package: Package) -> _Rows:
    for icon in package.json("meta.json"):
        name = icon["name"]
        yield name, name, icon["aliases"] + icon["tags"], package.text(f"svg/{name}.svg")


def _tabler(package: Package) -> _Rows:
    for name, icon in package.json("icons.json").items():
        drawing = package.text(f"icons/outline/{name}.svg", f"icons/filled/{name}.svg")
        yield name, name, icon["tags"], drawing


def _lucide(package: Package) -> _Rows:
    for name, tags in package.json("tags.json").items():
        yield name, name, tags, package.text(f"icons/{name}.svg")


def _ionicons(package: Package) -> _Rows:
    for icon in package.json("dist/ionicons.json")["icons"]:
        drawing = package.text(f"dist/svg/{icon['name']}.svg")
        # Their style sheet draws all outlines, those of filled shapes with a width of 1.
        yield (
            icon["name"],
            icon["name"],
            icon["tags"],
            drawing.replace("<svg", '<svg stroke="#000"', 1),
        )


def _carbon(package: Package) -> _Rows:
    for icon in package.json("metadata.json")["icons"]:
        largest = icon["assets"][-1]["filepath"]
        drawing = package.text(f"svg/{largest}")
        yield icon["name"], icon["friendlyName"], icon.get("aliases", []), drawing


_READERS = {
    "mdi": _mdi,
    "tabler": _tabler,
    "lucide": _lucide,
    "ionicons": _ionicons,
    "carbon": _carbon,
}


def _fontawesome() -> Iterator[Icon]:
    import fontawesomefree

    folder = Path(fontawesomefree.__file__).parent / "static" / "fontawesomefree"
    described = json.loads((folder / "metadata" / "icons.json").read_text(encoding="utf-8"))
    for name, icon in sorted(described.items()):
        if icon["free"]:
            tags = sorted({as_words(term) for term in icon["search"]["terms"]} - {""})
            drawing = folder / "svgs" / icon["free"][0] / f"{name}.svg"
            text = as_words(icon["label"])
            yield Icon(f"fontawesome:{name}", text, tags, drawing.read_text(encoding="utf-8"))
