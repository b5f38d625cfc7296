"""Readers of data sets, on folders made here, on the real folders and on the installed icons."""

import gzip
import io
import json
import sys
import zipfile

import numpy as np
import pytest
from PIL import Image

from skxmc.datasets import get_data_home, load_fontawesome, load_table, load_xmc_folder
from skxmc.datasets._base import icon_group, same_text_pairs

FIELDS = {
    "X_test",
    "X_train",
    "label_ids",
    "label_parents",
    "splits",
    "uids_test",
    "uids_train",
    "DESCR",
    "Y_test",
    "Y_train",
    "exclude_test",
    "exclude_train",
    "groups_train",
    "images_test",
    "images_train",
    "label_images",
    "label_text",
    "text_test",
    "text_train",
}


def write_lines(folder, name, rows):
    with gzip.open(folder / f"{name}.jsonl.gz", "wt", encoding="utf-8") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)


def document(text, labels, image=None, **more):
    return {"uid": f"lib:{text}", "text": text, "labels": labels, "image": image, **more}


@pytest.fixture
def folder(tmp_path):
    texts = ("pet", "größe", "dog")
    write_lines(tmp_path, "labels", [{"uid": t, "text": t, "image": None} for t in texts])
    write_lines(
        tmp_path,
        "train",
        [document("cat", [0], "a.png"), document("dog", [2, 0, 2], ["a.png", "b.png"])],
    )
    write_lines(tmp_path, "test", [document("größe", [1]), document("x", []), document("y", [2])])
    write_lines(tmp_path, "val_small", [document("pet", [0])])
    write_lines(tmp_path, "label_extra", [{"uid": "a"}] * 3)
    write_lines(tmp_path, "filter", [{"row": 0, "label": 1}])
    write_lines(tmp_path, "filter_train", [{"row": 1, "label": 2}])
    write_lines(tmp_path, "filter_val_small", [{"row": 0, "label": 0}])
    (tmp_path / "README.md").write_text("# Where it comes from", encoding="utf-8")
    with zipfile.ZipFile(tmp_path / "images.zip", "w") as archive:
        archive.writestr("a.png", b"first")
        archive.writestr("b.png", b"second")
    return tmp_path


def test_folder(folder):
    data = load_xmc_folder(folder)
    assert set(data) == FIELDS
    assert data.text_train == ["cat", "dog"]
    assert data.text_test == ["größe", "x", "y"]
    assert data.label_text == ["pet", "größe", "dog"]
    assert data.images_train == [b"first", [b"first", b"second"]]
    assert data.images_test is None
    assert data.label_images is None
    assert data.groups_train is None
    assert data.DESCR == "# Where it comes from"
    np.testing.assert_array_equal(data.Y_train.toarray(), [[1, 0, 0], [1, 0, 1]])
    np.testing.assert_array_equal(data.Y_test.toarray(), [[0, 1, 0], [0, 0, 0], [0, 0, 1]])
    assert data.Y_train.dtype == np.float32
    assert data.Y_train.has_canonical_format
    assert data.exclude_train.dtype == bool
    np.testing.assert_array_equal(np.argwhere(data.exclude_train.toarray()), [[1, 2]])
    np.testing.assert_array_equal(np.argwhere(data.exclude_test.toarray()), [[0, 1]])
    assert list(data.splits) == ["val_small"]
    assert set(data.splits["val_small"]) == {"text", "X", "images", "Y", "exclude", "uids"}
    assert data.splits["val_small"].exclude.nnz == 1


def test_folder_one_split(folder):
    data = load_xmc_folder(str(folder), split="test")
    assert set(data) == FIELDS
    assert data.text_train is data.Y_train is data.exclude_train is None
    assert data.text_test == ["größe", "x", "y"]
    assert data.splits == {}
    assert list(load_xmc_folder(folder, split="val_small").splits) == ["val_small"]


def test_folder_groups(folder):
    write_lines(folder, "train", [document(t, [0], group=g) for t, g in ("ax", "bx", "cy")])
    assert load_xmc_folder(folder).groups_train.tolist() == [0, 0, 1]


def test_folder_without_filters_readme_and_test(folder):
    for name in ("filter", "filter_train", "filter_val_small", "test"):
        (folder / f"{name}.jsonl.gz").unlink()
    (folder / "README.md").unlink()
    data = load_xmc_folder(folder)
    assert data.exclude_train.nnz == 0
    assert data.Y_test is None
    assert data["DESCR"] == folder.name


def test_folder_errors(folder):
    with pytest.raises(FileNotFoundError, match="is not a folder"):
        load_xmc_folder(folder / "nowhere")
    with pytest.raises(FileNotFoundError, match=r"one of \['test', 'train', 'val_small'\]"):
        load_xmc_folder(folder, split="labels")
    write_lines(folder, "test", [document("a", [0]), document("b", [3])])
    with pytest.raises(ValueError, match=r"line 2 of test.jsonl.gz has the label 3 but "):
        load_xmc_folder(folder)
    write_lines(folder, "test", [document("a", [0]), document("b", [1], "c.png")])
    with pytest.raises(ValueError, match=r"line 2 of test.jsonl.gz names the image 'c.png'"):
        load_xmc_folder(folder)
    (folder / "images.zip").unlink()
    with pytest.raises(FileNotFoundError, match=r"images.zip does not exist"):
        load_xmc_folder(folder)
    (folder / "labels.jsonl.gz").unlink()
    with pytest.raises(FileNotFoundError, match=r"no file labels.jsonl.gz"):
        load_xmc_folder(folder)


@pytest.mark.parametrize(
    ("name", "row", "message"),
    [
        ("train", {"text": "a"}, "line 1 of train.jsonl.gz has no 'labels'"),
        ("train", {"labels": [0]}, "line 1 of train.jsonl.gz has no 'text'"),
        ("labels", {"uid": "a"}, "line 1 of labels.jsonl.gz has no 'text'"),
        ("train", document("a", [True]), "line 1 of train.jsonl.gz has the label True"),
        ("train", document(["a"], [0]), "the text in line 1 of train.jsonl.gz"),
        ("train", document("a", [0], 7), "line 1 of train.jsonl.gz has the image 7"),
        ("filter", {"row": 0}, "line 1 of filter.jsonl.gz has no 'label'"),
        ("filter", {"row": 0, "label": 3}, "line 1 of filter.jsonl.gz is .* 3 labels"),
        ("filter", {"row": -1, "label": 0}, "line 1 of filter.jsonl.gz is .* 3 rows"),
        ("filter", {"row": True, "label": 0}, "line 1 of filter.jsonl.gz is"),
    ],
)
def test_folder_names_the_line(name, row, message, folder):
    write_lines(folder, name, [row])
    if name == "labels":
        write_lines(folder, name, [row] * 3)
    with pytest.raises(ValueError, match=message):
        load_xmc_folder(folder)


def test_folder_of_other_forms(folder):
    """Not packed, null labels, a single label, no pictures in a list, a number as id."""
    lines = ['\ufeff{"uid": 5, "text": "cat", "labels": null}', "",
             '{"uid": "b", "text": null, "labels": 2, "image": []}', ""]  # fmt: skip
    (folder / "train.jsonl.gz").write_text("\r\n".join(lines), encoding="utf-8")
    (folder / "filter_train.jsonl.gz").write_text("")
    data = load_xmc_folder(folder)
    assert data.text_train == ["cat", ""]
    assert data.uids_train == ["5", "b"]
    assert data.label_ids == ["pet", "größe", "dog"]
    assert data.uids_test == ["lib:größe", "lib:x", "lib:y"]
    np.testing.assert_array_equal(data.Y_train.toarray(), [[0, 0, 0], [0, 0, 1]])


def test_folder_with_damaged_pictures(folder, monkeypatch):
    (folder / "images.zip").write_bytes(b"nothing")
    with pytest.raises(ValueError, match=r"images.zip is not a zip file"):
        load_xmc_folder(folder)
    with zipfile.ZipFile(folder / "images.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.png", bytes(2**22))
    content = bytearray((folder / "images.zip").read_bytes())
    content[content.index(b"PK\x01\x02") + 6] = 64  # a version of the format to come
    (folder / "images.zip").write_bytes(content)
    with pytest.raises(ValueError, match=r"images.zip is not a zip file .*version 6.4"):
        load_xmc_folder(folder)
    content[content.index(b"PK\x01\x02") + 6] = 20
    (folder / "images.zip").write_bytes(content)
    monkeypatch.setattr("skxmc.datasets._folder.MAX_UNPACKED_BYTES", 2**20)
    with pytest.raises(ValueError, match=r"line 1 of train.* 'a.png', .* unpacks to 4194304 bytes"):
        load_xmc_folder(folder)


def test_folder_reads_a_picture_once(folder):
    data = load_xmc_folder(folder)
    assert data.images_train[0] is data.images_train[1][0]


@pytest.mark.parametrize(
    ("name", "shapes", "n_filter", "n_groups"),
    [
        ("icons", ((14682, 6042), (3622, 6042)), (2536, 557), 10723),
        ("debian", ((28925, 27650), (6090, 27650)), (16877, 2722), None),
    ],
)
def test_real_folders(shared, name, shapes, n_filter, n_groups):
    data = load_xmc_folder(shared / "data" / name)
    assert (data.Y_train.shape, data.Y_test.shape) == shapes
    assert (data.exclude_train.nnz, data.exclude_test.nnz) == n_filter
    assert len(data.text_train) == shapes[0][0]
    assert len(data.label_text) == shapes[0][1]
    if name == "icons":
        assert len(np.unique(data.groups_train)) == n_groups
        assert all(image.startswith(b"\x89PNG") for image in data.images_test)
        expected = same_text_pairs(data.text_train, data.label_text)
        assert (expected != data.exclude_train).nnz == 0
    else:
        assert data.groups_train is None
        assert data.images_train is None


def test_real_folder_with_other_splits(shared):
    data = load_xmc_folder(shared / "data" / "esco")
    assert data.Y_train.shape == (26732, 13896)
    assert data.splits["val_house"].Y.shape == (61, 13896)
    assert data.splits["val_tech"].Y.shape == (75, 13896)


@pytest.mark.parametrize(
    ("name", "group"),
    [
        ("arrow-up", "arrow up"),
        ("Arrow_Up--outline-Sharp", "arrow up"),
        ("outline", "outline"),
        ("line-chart", "line chart"),
    ],
)
def test_icon_group(name, group):
    assert icon_group(name) == group


def test_data_home(tmp_path, monkeypatch):
    monkeypatch.setenv("SKXMC_DATA", str(tmp_path / "from" / "environment"))
    assert get_data_home() == tmp_path / "from" / "environment"
    assert not get_data_home().exists()  # made by the loader that writes to it
    assert get_data_home(tmp_path / "given") == tmp_path / "given"
    monkeypatch.delenv("SKXMC_DATA")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert get_data_home() == tmp_path / "skxmc_data"


@pytest.fixture(scope="module")
def icons(tmp_path_factory):
    pytest.importorskip("fontawesomefree")
    pytest.importorskip("resvg_py")
    home = tmp_path_factory.mktemp("home") / "not" / "there" / "yet"
    return home, load_fontawesome(data_home=home)


def test_fontawesome(icons):
    _, data = icons
    assert set(data) == FIELDS
    n_train, n_labels = data.Y_train.shape
    assert len(data.text_train) == len(data.images_train) == len(data.groups_train) == n_train
    assert len(data.text_test) == len(data.images_test) == data.Y_test.shape[0]
    assert 0.15 < data.Y_test.shape[0] / (n_train + data.Y_test.shape[0]) < 0.25
    assert len(data.label_text) == len(set(data.label_text)) == n_labels
    assert np.bincount(data.Y_train.indices, minlength=n_labels).min() >= 2
    assert np.diff(data.Y_train.indptr).min() >= 1
    assert np.diff(data.Y_test.indptr).min() >= 1
    assert "CC BY 4.0" in data.DESCR
    assert str(n_train) in data.DESCR
    for row, label in np.argwhere(data.exclude_train.toarray()):
        assert data.text_train[row] == data.label_text[label]
    assert data.exclude_train.nnz > 50
    assert not {icon_group(text) for text in data.text_train} & {
        icon_group(text) for text in data.text_test
    } - {"fort awesome"}
    house = data.Y_train[[data.text_train.index("house")]].indices
    assert {"home", "residence"} <= {data.label_text[label] for label in house}


def test_fontawesome_pictures(icons):
    _, data = icons
    for png in data.images_train[::50]:
        with Image.open(io.BytesIO(png)) as image:
            assert (image.format, image.mode, image.size) == ("PNG", "RGB", (64, 64))
            pixels = np.asarray(image)
        assert pixels.min() < 64  # something is drawn
        assert (pixels == 255).mean() > 0.1  # on white


def test_fontawesome_has_other_splits(icons):
    home, data = icons
    other = load_fontawesome(data_home=home, random_state=1)
    same = load_fontawesome(data_home=home, random_state=0)
    assert same.text_test == data.text_test
    seen = set(other.text_train) & set(data.text_test)
    assert len(seen) > 0.5 * len(data.text_test)
    assert len(other.images_test) == len(other.text_test) == other.Y_test.shape[0]
    assert 0.15 < other.Y_test.shape[0] / (len(other.text_train) + len(other.text_test)) < 0.25
    assert not {icon_group(text) for text in other.text_train} & {
        icon_group(text) for text in other.text_test
    } - {"fort awesome"}
    for wrong in (None, "1", 0.5):
        with pytest.raises(TypeError, match="random_state must be an integer"):
            load_fontawesome(data_home=home, random_state=wrong)


def test_fontawesome_equals_the_icons_set(icons, shared):
    _, data = icons
    reference = {}
    with gzip.open(shared / "data/icons/train.jsonl.gz", "rt", encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    with zipfile.ZipFile(shared / "data/icons/images.zip") as archive:
        for row in rows:
            if row["uid"].startswith("fontawesome:"):
                reference[row["text"]] = archive.read(row["image"])
    common = [row for row, text in enumerate(data.text_train) if text in reference]
    assert len(common) > 900
    for row in common[::20]:
        ours, theirs = (
            np.asarray(Image.open(io.BytesIO(png)).convert("RGB"))
            for png in (data.images_train[row], reference[data.text_train[row]])
        )
        np.testing.assert_array_equal(ours, theirs)


def test_fontawesome_cache(icons, monkeypatch):
    home, data = icons
    monkeypatch.setitem(sys.modules, "fontawesomefree", None)  # importing it would fail
    monkeypatch.setitem(sys.modules, "resvg_py", None)
    again = load_fontawesome(data_home=home)
    assert again.images_test == data.images_test
    assert again.text_train == data.text_train
    assert (again.Y_train != data.Y_train).nnz == 0
    np.testing.assert_array_equal(again.groups_train, data.groups_train)
    without = load_fontawesome(data_home=home, return_images=False)
    assert without.images_train is without.images_test is None
    assert without.text_test == data.text_test
    assert [path.name for path in home.iterdir()] == ["fontawesome.npz"]


def test_fontawesome_rebuilds_a_damaged_cache(icons, tmp_path):
    (tmp_path / "fontawesome.npz").write_bytes(b"PK\x03\x04 half a file")
    data = load_fontawesome(data_home=tmp_path, return_images=False)
    assert data.text_train == icons[1].text_train


def test_fontawesome_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "fontawesomefree", None)
    with pytest.raises(ImportError, match=r"skxmc\[demo\]"):
        load_fontawesome(data_home=tmp_path)


def test_data_sets_say_in_a_line_what_they_hold():
    data = load_table({"text": ["a", "b", "c"], "tags": ["x", "y", ""]}, text="text", labels="tags")
    shown = repr(data)
    assert shown.startswith("<3 training documents, 2 labels; keys: ")
    assert "text_train" in shown
    assert "text_test" not in shown
    assert len(shown) < 200
    assert "nothing" in repr(type(data)())
