"""Data sets built from packages: a tiny part of each library and of Debian's lists."""

import gzip
import io
import json
import shutil
import tarfile

import pytest

from benchmarks import _data_debian, _data_icons
from benchmarks import data as command_line
from benchmarks._data_folder import compare_folders
from skxmc.datasets import load_xmc_folder

SQUARE = '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 8 8"><path d="M1 1h6v6z"/></svg>'


def archive(downloads, source, files):
    """A package as npm packs it."""
    package, _, version = _data_icons.PACKAGES[source].rpartition("@")
    downloads.mkdir(exist_ok=True)
    name = f"{package.lstrip('@').replace('/', '-')}-{version}.tgz"
    with tarfile.open(downloads / name, "w:gz") as tar:
        for path, content in files.items():
            content = (content if isinstance(content, str) else json.dumps(content)).encode()
            member = tarfile.TarInfo(f"package/{path}")
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))


@pytest.fixture
def downloads(tmp_path):
    """Two icons or so of each library."""
    folder = tmp_path / "downloads"
    archive(folder, "mdi", {
        "meta.json": [{"name": "home", "aliases": ["house"], "tags": ["Home/Living"]},
                      {"name": "home-outline", "aliases": ["House"], "tags": []},
                      {"name": "untagged", "aliases": [], "tags": []}],
        **{f"svg/{name}.svg": SQUARE for name in ("home", "home-outline", "untagged")},
    })  # fmt: skip
    archive(folder, "tabler", {
        "icons.json": {"tea-cup": {"tags": ["drink", 1]}, "filled-only": {"tags": ["drink"]}},
        "icons/outline/tea-cup.svg": SQUARE, "icons/filled/filled-only.svg": SQUARE,
    })  # fmt: skip
    archive(folder, "lucide", {"tags.json": {"cup": ["drink"]}, "icons/cup.svg": SQUARE})
    archive(folder, "ionicons", {
        "dist/ionicons.json": {"icons": [{"name": "cafe-sharp", "tags": ["drink", "sharp"]}]},
        "dist/svg/cafe-sharp.svg": SQUARE,
    })  # fmt: skip
    archive(folder, "carbon", {
        "metadata.json": {"icons": [{
            "name": "cafe", "friendlyName": "Cafe", "aliases": ["drink"],
            "assets": [{"filepath": "16/cafe.svg"}, {"filepath": "32/cafe.svg"}],
        }]},
        "svg/32/cafe.svg": SQUARE,
    })  # fmt: skip
    return folder


def test_icons_of_all_libraries_become_a_data_set(downloads, tmp_path):
    pytest.importorskip("fontawesomefree")
    read = {icon.uid: icon for icon in _data_icons.read_icons(downloads)}
    assert read["mdi:home"].tags == ["home living", "house"]
    assert read["mdi:untagged"].tags == []
    assert read["tabler:tea-cup"].text == "tea cup"
    assert read["tabler:tea-cup"].tags == ["1", "drink"]
    assert 'stroke="#000"' in read["ionicons:cafe-sharp"].drawing
    icons = [icon for icon in read.values() if icon.tags and "fontawesome" not in icon.uid]
    for name in ("first", "second"):
        _data_icons.write_icons(tmp_path / name, icons)
    data = load_xmc_folder(tmp_path / "first")
    assert data.label_text == sorted(data.label_text)
    assert "drink" in data.label_text
    assert "untagged" not in data.text_train + data.text_test
    sides = [set(data[f"uids_{split}"]) for split in ("train", "test")]
    # Variants of one name are on one side.
    assert any({"ionicons:cafe-sharp", "carbon:cafe"} <= side for side in sides)
    assert data.images_train[0].startswith(b"\x89PNG")
    figures = compare_folders(tmp_path / "first", tmp_path / "second")
    assert figures["train"]["same text and labels"] == len(data.text_train)
    assert figures["train"]["equal pictures"] == len(data.text_train)
    for file in (tmp_path / "first").iterdir():
        assert file.read_bytes() == (tmp_path / "second" / file.name).read_bytes()
    with pytest.raises(SystemExit, match="is not empty; name a new folder"):
        _data_icons.write_icons(tmp_path / "first", icons)


PACKAGES = """\
Package: tea
Version: 2
Source: drinks (1.0)
Section: utils
Depends: kettle (>= 1) | pot, libhot1, nothing
Recommends: cup
Description-md5: 1

Package: tea
Version: 10
Source: drinks
Section: utils
Depends: kettle (>= 1) | pot, libhot1, nothing
Recommends: cup
Description-md5: 2

Package: cup
Version: 1
Section: utils
Suggests: kettle
Description-md5: 3

Package: kettle
Version: 1
Section: contrib/utils
Enhances: tea
Description-md5: 4

Package: pot
Version: 1
Section: utils
Suggests: oldtea
Description-md5: 5

Package: libhot1
Version: 1
Section: libs
Description-md5: 6

Package: oldtea
Version: 1
Section: utils
Depends: tea
Description-md5: 7
"""
TRANSLATIONS = """\
Package: tea
Description-md5: 2
Description-en: leaves in hot water
 It brews
 .
  * slowly
  - and well

Package: oldtea
Description-md5: 7
Description-en: transitional package for tea
 It can be removed.
"""


@pytest.fixture
def lists(tmp_path):
    folder = tmp_path / "lists"
    folder.mkdir()
    (folder / "debian_main_Packages").write_text(PACKAGES)
    (folder / "debian_main_Translation-en").write_text(TRANSLATIONS)
    return folder


@pytest.mark.skipif(shutil.which("dpkg") is None, reason="dpkg compares the versions")
def test_lists_of_debian_become_a_data_set(lists, tmp_path, monkeypatch):
    packages = _data_debian.read_packages(_data_debian.fetch_lists(lists))
    assert packages["tea"].text == "tea: leaves in hot water. It brews slowly and well"
    assert packages["tea"].related == ["cup", "kettle", "libhot1", "pot"]
    assert packages["tea"].source == "drinks"
    assert packages["oldtea"].is_transitional
    monkeypatch.setattr(_data_debian, "_COMMON", 1.0)  # of four documents each label is common
    _data_debian.write_packages(tmp_path / "out", packages, ["lists"])
    data = load_xmc_folder(tmp_path / "out")
    documents = {**dict(zip(data.uids_train, data.Y_train.toarray(), strict=True)),
                 **dict(zip(data.uids_test or (), data.Y_test.toarray(), strict=True))}  # fmt: skip
    assert "oldtea" not in documents  # nor is it a label
    assert "pot" not in documents  # it had no other label
    assert set(data.label_ids) <= {"cup", "kettle", "pot", "tea"}
    row = documents["tea"]
    assert {data.label_ids[label] for label in row.nonzero()[0]} <= {"cup", "kettle", "pot"}


@pytest.mark.skipif(shutil.which("dpkg") is None, reason="dpkg compares the versions")
def test_the_command_builds_and_compares(lists, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(_data_debian, "_COMMON", 1.0)
    (tmp_path / "debian").symlink_to(lists)
    out = tmp_path / "out"
    arguments = ["debian", "--downloads", str(tmp_path)]
    command_line.main([*arguments, "--into", str(out)])
    assert "test pairs that do not count" in capsys.readouterr().out
    command_line.main([*arguments, "--compare", str(out)])
    shown = capsys.readouterr().out
    assert "in the same order" in shown
    with gzip.open(out / "labels.jsonl.gz", "rt") as file:
        assert json.loads(file.readline())["text"].startswith("cup")


def test_lists_without_packages_are_refused(tmp_path):
    (tmp_path / "debian_main_Translation-en").touch()
    with pytest.raises(SystemExit, match=r"holds no list \*_Packages"):
        _data_debian.fetch_lists(tmp_path)
