"""The data set "debian": packages with descriptions, and the packages that they go with."""

import os
import re
import subprocess
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from skxmc.datasets._fontawesome import choose_test_groups

from ._data_fetch import fetch
from ._data_folder import Document, Split, write_folder

_RELATIONS = ("Depends", "Pre-Depends", "Recommends", "Suggests", "Enhances")
_NO_LABELS = {"libs", "libdevel", "debug", "oldlibs"}  # sections whose packages are no labels
_NO_DOCUMENTS = {"debug", "oldlibs"}
_N_WORDS = 40  # of the long description that are read
_FEWEST_WORDS = 12  # of a package of headers or documentation
_DUMMY_WORDS = 60  # a transitional package that says more describes the old one
_COMMON = 0.02  # share of the documents above which a label says nothing
_DUMMY = re.compile(r"transitionn?al|(transition|dummy) package")
_BULLET = re.compile(r"^[*+-]\s+")

README = """\
# debian

Packages of Debian: name and description -> the packages that it depends on, recommends, suggests or
enhances. Built by `python -m benchmarks data debian` from the lists of the machine's Debian
({files}). Descriptions are parts of the packages, each under its package's free licence.
"""


@dataclass(frozen=True)
class Package:
    """A package as the lists describe it."""

    name: str
    source: str
    section: str
    short: str
    words: list[str]
    related: list[str]

    @property
    def title(self) -> str:
        """Name and short description."""
        return f"{self.name}: {self.short}"

    @property
    def text(self) -> str:
        """The title, and the first words of the long description."""
        return f"{self.title}. {' '.join(self.words[:_N_WORDS])}"

    @property
    def is_transitional(self) -> bool:
        """Whether it is empty, and there for upgrades alone."""
        said = " ".join([self.short, *self.words]).lower()
        return len(said.split()) < _DUMMY_WORDS and _DUMMY.search(said) is not None


def build(output: Path, downloads: Path) -> None:
    """Fetch the lists that are missing, and write the folder of the data set."""
    files = fetch_lists(downloads)
    write_packages(output, read_packages(files), [path.name for path in files])


def fetch_lists(folder: Path) -> list[Path]:
    """The lists of packages and their descriptions, which apt-get fetches if there are none."""
    found = _lists(folder)
    if not found:
        (folder / "partial").mkdir(parents=True, exist_ok=True)
        command = ["apt-get", "update", "-qq"]
        for option in (
            "Acquire::Languages=en",
            "Acquire::GzipIndexes=false",
            f"Dir::State::Lists={folder.resolve()}",
            "Dir::Cache::pkgcache=",
            "Dir::Cache::srcpkgcache=",
        ):
            command += ["-o", option]
        fetch(
            command,
            "the lists",
            f"run this on Debian, or put lists of packages (*_Packages and *_Translation-en, "
            f"unpacked) into {folder}.",
        )
        found = _lists(folder)
    if not any(path.name.endswith("_Packages") for path in found):
        raise SystemExit(f"{folder} holds no list *_Packages; remove it, and run this again.")
    return found


def _lists(folder: Path) -> list[Path]:
    return sorted([*folder.glob("*_Packages"), *folder.glob("*_Translation-en")])


def read_packages(files: Iterable[Path]) -> dict[str, Package]:
    """The newest version of each package, by name, in the order of the names."""
    newest: dict[str, dict[str, str]] = {}
    descriptions: dict[tuple[str, str], str] = {}
    for path in files:
        for record in _stanzas(path):
            name = record["Package"]
            if "Description-en" in record:
                descriptions[name, record["Description-md5"]] = record["Description-en"]
            elif name not in newest or _is_newer(record["Version"], newest[name]["Version"]):
                newest[name] = record
    return {name: _package(newest[name], descriptions, newest) for name in sorted(newest)}


def _stanzas(path: Path) -> Iterator[dict[str, str]]:
    """Records of a list: fields of one or more lines, records apart by blank lines."""
    record: dict[str, str] = {}
    field = ""
    with path.open(encoding="utf-8") as file:
        for line in file:
            line = line.rstrip("\n")
            if not line:
                if record:
                    yield record
                record = {}
            elif line[0] in " \t":
                record[field] += f"\n{line[1:]}"
            else:
                field, _, value = line.partition(":")
                record[field] = value.strip()
    if record:
        yield record


def _is_newer(version: str, other: str) -> bool:
    command = ["dpkg", "--compare-versions", version, "gt", other]
    return subprocess.run(command, check=False).returncode == 0


def _package(
    record: dict[str, str], descriptions: dict[tuple[str, str], str], known: dict[str, object]
) -> Package:
    name = record["Package"]
    given = record.get("Description", "")
    full = descriptions.get((name, record.get("Description-md5", "")), given)
    short, *lines = full.split("\n")
    words = [
        word
        for line in lines
        if line.strip() != "."
        for word in _BULLET.sub("", line.strip()).split()
    ]
    related = {
        re.split(r"[\s(:\[]", choice.strip())[0]
        for field in _RELATIONS
        for part in record.get(field, "").split(",")
        for choice in part.split("|")
    }
    return Package(
        name,
        record.get("Source", name).split()[0],
        record.get("Section", "").rpartition("/")[2],
        short.strip() or given.partition("\n")[0],
        words,
        sorted(related & known.keys()),
    )


def write_packages(output: Path, packages: dict[str, Package], files: list[str]) -> None:
    """Choose documents and labels, split by source packages, and write the folder."""
    labels_of = {}
    for name, package in packages.items():
        related = [other for other in package.related if _is_label(packages[other])]
        if related and _is_document(package):
            labels_of[name] = related
    counts = Counter(label for labels in labels_of.values() for label in labels)
    most = _COMMON * len(labels_of)
    rows = {
        name: kept
        for name, labels in labels_of.items()
        if (kept := [label for label in labels if counts[label] <= most])
        and not _says_nothing(packages[name])
    }
    groups = [packages[name].source for name in rows]
    in_test = choose_test_groups(groups, 0)
    sides = {name: group in in_test for name, group in zip(rows, groups, strict=True)}
    names = sorted({label for name in rows if not sides[name] for label in rows[name]})
    number_of = {name: number for number, name in enumerate(names)}
    splits = []
    for split in ("train", "test"):
        documents = [
            Document(name, packages[name].text, numbers)
            for name, labels in rows.items()
            if sides[name] == (split == "test")
            and (numbers := [number_of[label] for label in labels if label in number_of])
        ]
        own = [
            (row, number_of[document.uid])
            for row, document in enumerate(documents)
            if document.uid in number_of
        ]
        splits.append(Split(split, documents, own))
    labels = [(name, packages[name].title) for name in names]
    write_folder(output, splits, labels, README.format(files=", ".join(files)))


def _is_label(package: Package) -> bool:
    return package.section not in _NO_LABELS and not package.is_transitional


def _is_document(package: Package) -> bool:
    # Sources of cross-compilers are hundreds of copies of one template.
    return not (
        package.section in _NO_DOCUMENTS or package.is_transitional or "-cross" in package.source
    )


def _says_nothing(package: Package) -> bool:
    return package.name.endswith(("-dev", "-doc")) and len(package.words) < _FEWEST_WORDS


def cache_folder() -> Path:
    """Where downloads are kept by default."""
    return Path(os.environ.get("SKXMC_DATA") or "~/skxmc_data").expanduser() / "downloads"
