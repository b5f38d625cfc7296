"""Reader of public benchmarks, on folders in all their layouts."""

import base64
import gzip
import json
import tempfile
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st
from test_datasets import FIELDS

from skxmc._inputs._images import collect_images
from skxmc.datasets import load_xmc_repository
from skxmc.datasets._sparse_text import read_sparse_text

TRAIN = ["a tea cup", "größe", "a kettle of steel", "nothing"]
TEST = ["a white kettle"]
LABELS = ["teapot", "kettle", "größe"]
Y_TRAIN = [[1, 1, 0], [0, 0, 1], [0, 1, 0], [0, 0, 0]]
Y_TEST = [[1, 1, 0]]


def write_records(folder, suffix):
    def lines(name, records):
        content = "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records)
        opener = gzip.open if suffix else open
        with opener(folder / f"{name}.json{suffix}", "wb") as file:
            file.write(content.encode("latin-1" if name == "trn" else "utf-8"))

    for name, texts, Y in ("trn", TRAIN, Y_TRAIN), ("tst", TEST, Y_TEST):
        rows = [
            {"uid": "1", "title": text.split()[0], "content": " ".join(text.split()[1:]),
             "target_ind": np.flatnonzero(row)[::-1].tolist(), "target_rel": [1.0] * sum(row)}
            for text, row in zip(texts, Y, strict=True)
        ]  # fmt: skip
        lines(name, rows)
    lines("lbl", [{"uid": "2", "title": text} for text in LABELS])


def write_matrix(path, Y):
    if path.suffix == ".npz":
        sp.save_npz(path, sp.csr_matrix(Y))
        return
    rows = [" ".join(f"{column}:1.00000" for column in np.flatnonzero(row)) for row in Y]
    path.write_text("\n".join([f"{len(Y)} {len(LABELS)}", *rows]) + "\n")


def write_texts(folder, names, matrices):
    for name, texts in zip(names, (TRAIN, TEST, LABELS), strict=True):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text("\n".join(texts) + "\n", encoding="utf-8")
    for name, Y in zip(matrices, (Y_TRAIN, Y_TEST), strict=True):
        write_matrix(folder / name, Y)


ENCODERS = ("raw/trn_X.txt", "raw/tst_X.txt", "raw/Y.txt")
NGAME = ("raw_data/train.raw.txt", "raw_data/test.raw.txt", "raw_data/label.raw.txt")
PECOS = ("X.trn.txt", "X.tst.txt", "output-items.txt")
LAYOUTS = {
    "json.gz": lambda folder: write_records(folder, ".gz"),
    "json": lambda folder: write_records(folder, ""),
    "encoders, text": lambda folder: write_texts(folder, ENCODERS, ("trn_X_Y.txt", "tst_X_Y.txt")),
    "encoders, npz": lambda folder: write_texts(folder, ENCODERS, ("Y.trn.npz", "Y.tst.npz")),
    "raw data": lambda folder: write_texts(folder, NGAME, ("trn_X_Y.npz", "tst_X_Y.npz")),
    "pecos": lambda folder: write_texts(folder, PECOS, ("Y.trn.npz", "Y.tst.npz")),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts_of_public_benchmarks(layout, tmp_path):
    LAYOUTS[layout](tmp_path)
    (tmp_path / "filter_labels_train.txt").write_text("1 2\n")
    data = load_xmc_repository(tmp_path)
    assert data.keys() == FIELDS
    assert data.text_train == TRAIN
    assert data.text_test == TEST
    assert data.label_text == LABELS
    for Y, expected in (data.Y_train, Y_TRAIN), (data.Y_test, Y_TEST):
        assert Y.dtype == np.float32
        assert Y.has_sorted_indices
        np.testing.assert_array_equal(Y.toarray(), expected)
    assert np.argwhere(data.exclude_train.toarray()).tolist() == [[1, 2]]
    assert data.exclude_test.nnz == 0
    assert tmp_path.name == data.DESCR


@pytest.mark.parametrize("layout", ["json", "pecos"])
def test_a_benchmark_may_have_no_test_set(layout, tmp_path):
    LAYOUTS[layout](tmp_path)
    for file in tmp_path.glob("*tst*"):
        file.unlink()
    data = load_xmc_repository(tmp_path)
    assert data.text_test is None
    assert data.Y_test is None
    assert data.text_train == TRAIN


@pytest.mark.parametrize("fields", ["title", ("title",), ("content", "title")])
def test_fields_of_a_record(fields, tmp_path):
    write_records(tmp_path, ".gz")
    data = load_xmc_repository(tmp_path, fields=fields)
    assert data.text_train[0] == ("tea cup a" if "content" in fields else "a")
    assert data.text_train[1] == "größe"


def spoil(name, old, new):
    def change(folder):
        text = (folder / name).read_text(encoding="utf-8")
        assert old in text
        (folder / name).write_text(text.replace(old, new), encoding="utf-8")

    return change


@pytest.mark.parametrize(
    ("layout", "change", "message"),
    [
        ("json", spoil("tst.json", "[1, 0]", "[1, 3]"), "line 1 of .*tst.json has the label 3"),
        ("json", spoil("tst.json", "[1, 0]", '["1"]'), "line 1 of .*tst.json has the label '1'"),
        ("json", spoil("lbl.json", "}\n{", "\n{"), "line 1 of .*lbl.json is not JSON"),
        (
            "json",
            spoil("lbl.json", '{"uid": "2", "title": "kettle"}', "3"),
            "line 2 of .* JSON object but 3",
        ),
        ("encoders, text", spoil("trn_X_Y.txt", "4 3\n", "1:1 2:1\n"), "first line"),
        ("encoders, text", spoil("trn_X_Y.txt", "4 3\n", "9 3\n"), "has 4 rows, and 9"),
        ("encoders, text", spoil("trn_X_Y.txt", "2:1.0", "3:1.0"), "row 1 of .*outside"),
        ("encoders, text", spoil("trn_X_Y.txt", "2:1.0", "2 1.0"), "row 1 of .*pairs"),
        ("pecos", spoil("X.trn.txt", "nothing\n", ""), "for 4 documents .* has 3 lines"),
        ("pecos", spoil("output-items.txt", "kettle\n", ""), "3 labels, .* has 2"),
        (
            "pecos",
            spoil("filter_labels_train.txt", "1 2", "1 x"),
            "line 1 .* not a pair",
        ),
        (
            "pecos",
            spoil("filter_labels_train.txt", "1 2", "1 7"),
            "line 1 .*train.txt is the pair",
        ),
    ],
)
def test_broken_benchmarks_are_named(layout, change, message, tmp_path):
    LAYOUTS[layout](tmp_path)
    (tmp_path / "filter_labels_train.txt").write_text("1 2\n")
    change(tmp_path)
    with pytest.raises(ValueError, match=message):
        load_xmc_repository(tmp_path)


@pytest.mark.parametrize("missing", ["lbl.json", "raw/Y.txt", "Y.trn.npz"])
def test_missing_files_of_benchmarks_are_named(missing, tmp_path):
    LAYOUTS["json" if missing.endswith("json") else "encoders, npz"](tmp_path)
    (tmp_path / missing).unlink()
    with pytest.raises(FileNotFoundError, match=missing):
        load_xmc_repository(tmp_path)


def test_folders_without_a_benchmark(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"trn.json.gz, .* raw texts"):
        load_xmc_repository(tmp_path)
    with pytest.raises(FileNotFoundError, match="not a folder"):
        load_xmc_repository(tmp_path / "none")


@given(rows=st.lists(st.lists(st.integers(0, 6), max_size=5, unique=True), min_size=1, max_size=8))
@settings(max_examples=50, deadline=None)
def test_sparse_text_keeps_every_row(rows):
    """Also rows without a label, wherever they stand."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "trn_X_Y.txt"
        lines = [" ".join(f"{label}:1" for label in row) for row in rows]
        path.write_text("\n".join([f"{len(rows)} 7", *lines]))
        if not lines[-1]:  # the end of the last line tells it from none
            path.write_text(path.read_text() + "\n")
        Y = read_sparse_text(path)
    assert [sorted(Y[[row]].indices.tolist()) for row in range(len(rows))] == [
        sorted(row) for row in rows
    ]


VIXML = ("trn.raw.txt", "tst.raw.txt", "lbl.raw.txt")
SPARSE = ("trn_X_Y.txt", "tst_X_Y.txt")
MAPS = {
    "train": [[0, 1, 2, 3], -1, [4], None],
    "test": [[np.int64(1), 0]],
    "labels": [[0], [], [0, 1]],
}


def write_vectors(folder, rng):
    """Vectors and maps as ViXML's programs name and write them."""
    vectors = {}
    for short, (name, entries) in zip(("trn", "tst", "lbl"), MAPS.items(), strict=True):
        vectors[name] = rng.randn(5, 3).astype(np.float32)
        np.save(folder / f"{short}_embs_imgs_3_1152_siglip2.npy", vectors[name])
        array = np.empty(len(entries), dtype=object)
        array[:] = entries
        np.save(folder / f"{name}_imgs_384_3_map.npy", array)
    return vectors


def test_folder_of_vixml(tmp_path, rng):
    write_texts(tmp_path, VIXML, SPARSE)
    vectors = write_vectors(tmp_path, rng)
    data = load_xmc_repository(tmp_path)
    assert (data.text_train, data.text_test, data.label_text) == (TRAIN, TEST, LABELS)
    assert data.uids_train is data.label_ids is None
    parts = (data.images_train, data.images_test, data.label_images)
    indices = ([[0, 1, 2], [-1] * 3, [4, -1, -1], [-1] * 3], [[1, 0]], [[0, -1], [-1, -1], [0, 1]])
    for images, name, index in zip(parts, MAPS, indices, strict=True):
        assert isinstance(images.vectors, np.memmap)
        np.testing.assert_array_equal(images.vectors, vectors[name])
        assert images.index.tolist() == index
    assert load_xmc_repository(tmp_path, max_images=1).images_train.index.shape == (4, 1)


def test_maps_by_uid(tmp_path, rng):
    write_texts(tmp_path, VIXML, SPARSE)
    for name in VIXML:
        lines = (tmp_path / name).read_text(encoding="utf-8").splitlines()
        content = "".join(f"B{number}->{line}\n" for number, line in enumerate(lines))
        (tmp_path / name).write_text(content, encoding="utf-8")
    write_vectors(tmp_path, rng)
    by_uid = {"B2": [3], "B0": [1, 2]}
    np.save(tmp_path / "train_imgs_384_3_map.npy", by_uid, allow_pickle=True)
    data = load_xmc_repository(tmp_path)
    assert data.text_train == TRAIN
    assert data.uids_train == ["B0", "B1", "B2", "B3"]
    assert data.label_ids == ["B0", "B1", "B2"]
    assert data.images_train.index.tolist() == [[1, 2], [-1, -1], [3, -1], [-1, -1]]
    np.save(tmp_path / "train_imgs_384_3_map.npy", {"C": [1]}, allow_pickle=True)
    with pytest.raises(ValueError, match=r"train_imgs_384_3_map.npy names the item 'C'"):
        load_xmc_repository(tmp_path)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("train_imgs_384_3_map.npy", [[0], [5], [], []], r"index\[1\] names the picture 5"),
        ("train_imgs_384_3_map.npy", [[0]], "is for 1 items, but there are 4"),
        ("train_imgs_384_3_map.npy", [[0], "a", [], []], "entry 1 of .* is 'a'"),
        ("trn_embs_imgs_3_1152_siglip2.npy", [[np.nan] * 3] * 5, "row 0 of vectors holds NaN"),
    ],
)
def test_vectors_and_maps_that_do_not_fit(name, content, message, tmp_path, rng):
    write_texts(tmp_path, VIXML, SPARSE)
    write_vectors(tmp_path, rng)
    array = np.array(content, dtype=np.float32) if "embs" in name else np.empty(len(content), "O")
    array[:] = content
    np.save(tmp_path / name, array)
    with pytest.raises(ValueError, match=message):
        load_xmc_repository(tmp_path)


def test_vectors_that_are_cut_off_or_alone(tmp_path, rng):
    write_texts(tmp_path, VIXML, SPARSE)
    write_vectors(tmp_path, rng)
    path = tmp_path / "trn_embs_imgs_3_1152_siglip2.npy"
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(ValueError, match=r"trn_embs_imgs_3_1152_siglip2.npy is not an array"):
        load_xmc_repository(tmp_path)
    path.rename(tmp_path / "trn_embs_imgs_3_768_other.npy")
    np.save(path, np.zeros((5, 3), dtype=np.float32))
    with pytest.raises(ValueError, match="several files of one kind"):
        load_xmc_repository(tmp_path)
    for file in tmp_path.glob("trn_embs*"):
        file.unlink()
    with pytest.raises(
        FileNotFoundError, match=r"has train_imgs_384_3_map.npy but not its vectors"
    ):
        load_xmc_repository(tmp_path)


def write_mufin(folder):
    """MM-AmazonTitles-300K: uids in the texts, lines of base64, their places plus one."""
    write_texts(folder, NGAME, SPARSE)
    content, places = b"", []
    for picture in b"first", b"second", b"third":
        places.append(len(content) + 1)
        content += b"B1\t" + base64.b64encode(picture) + b"\n"
    for name in NGAME:
        lines = (folder / name).read_text(encoding="utf-8").splitlines()
        text = "".join(f"B{number}->{line}\n" for number, line in enumerate(lines))
        (folder / name).write_text(text, encoding="latin-1")
    (folder / "images").mkdir()
    (folder / "images" / "img.bin").write_bytes(content)
    slots = {
        "train": [[places[1], 0], [0, 0], [places[0], places[2]], [0, 0]],
        "test": [[0, places[0]]],
    }
    for name, rows in slots.items():
        sp.save_npz(folder / "images" / f"{name}.img.bin.npz", sp.csr_matrix(rows))
    return places


def test_folder_of_mufin(tmp_path):
    write_mufin(tmp_path)
    data = load_xmc_repository(tmp_path)
    assert (data.text_train, data.text_test, data.label_text) == (TRAIN, TEST, LABELS)
    assert (data.uids_train[3], data.uids_test, data.label_ids[2]) == ("B3", ["B0"], "B2")
    assert len(data.images_train) == 4
    assert data.images_train[2] == [b"first", b"third"]
    assert data.images_train[1:3] == [None, [b"first", b"third"]]
    assert list(data.images_train) == [[b"second"], None, [b"first", b"third"], None]
    assert list(data.images_test) == [[b"first"]]
    assert data.label_images is None
    first = load_xmc_repository(tmp_path, max_images=1).images_train
    assert first[2] == [b"first"]
    assert collect_images(data.images_train, 4).n_distinct == 3


def test_damaged_pictures_of_mufin(tmp_path):
    places = write_mufin(tmp_path)
    path = tmp_path / "images" / "img.bin"
    path.write_bytes(path.read_bytes()[: places[2] + 4])
    with pytest.raises(ValueError, match=r"img.bin has no picture .* which row 2 names"):
        load_xmc_repository(tmp_path).images_train[2]
    path.write_bytes(path.read_bytes()[:5])
    with pytest.raises(ValueError, match=r"names places outside of .*img.bin"):
        load_xmc_repository(tmp_path)
    path.unlink()
    with pytest.raises(FileNotFoundError, match=r"img.bin does not exist"):
        load_xmc_repository(tmp_path)


def test_an_arrow_in_some_lines_is_text(tmp_path):
    write_texts(tmp_path, NGAME, SPARSE)
    spoil("raw_data/train.raw.txt", "nothing", "a->b")(tmp_path)
    data = load_xmc_repository(tmp_path)
    assert data.text_train[3] == "a->b"
    assert data.uids_train is None


def write_json(folder, name, *lines):
    (folder / name).write_bytes("".join(lines).encode())


LABEL = '{"uid": "a", "title": "A"}\n{"uid": 70, "title": "B"}\n'


def test_records_of_other_forms(tmp_path):
    """Scalar targets, null, numbers as ids and titles, a BOM, blank lines."""
    write_json(tmp_path, "lbl.json", LABEL)
    write_json(
        tmp_path,
        "trn.json",
        '\ufeff{"uid": 1, "title": "x", "target_ind": 0}\r\n\r\n',
        f'{{"uid": {2**70}, "title": 1984, "content": null, "target_ind": [1, 1]}}\r\n',
        '{"uid": "c", "title": "z", "target_ind": null}\r\n\r\n',
    )
    data = load_xmc_repository(tmp_path)
    assert data.text_train == ["x", "1984", "z"]
    assert data.uids_train == ["1", str(2**70), "c"]
    assert data.label_ids == ["a", "70"]
    np.testing.assert_array_equal(data.Y_train.toarray(), [[1, 0], [0, 1], [0, 0]])


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ('{"title": "x"}', 'has no "target_ind"'),
        ('{"name": "x", "target_ind": []}', "none of the fields title, content, only"),
        ('{"title": "x", "target_ind": [true]}', "the label True"),
        ('{"title": "x", "target_ind": -1}', "the label -1"),
        ('{"title": "x", "target_ind": [1.0]}', "the label 1.0"),
        ('{"title": "x", "target_ind": "1"}', "the label '1'"),
        ('{"title": ["x"], "target_ind": []}', "the field 'title' of line 2"),
        ('{"title": "x", "uid": 1.5, "target_ind": []}', "the uid in line 2 .* as str"),
    ],
)
def test_records_that_are_wrong(record, message, tmp_path):
    write_json(tmp_path, "lbl.json", LABEL)
    write_json(tmp_path, "trn.json", '{"uid": "1", "title": "x", "target_ind": [0]}\n', record)
    with pytest.raises(ValueError, match=message) as caught:
        load_xmc_repository(tmp_path)
    assert "line 2 of" in str(caught.value)


def test_blank_last_lines_of_texts(tmp_path):
    write_texts(tmp_path, VIXML, SPARSE)
    for name in VIXML:
        path = tmp_path / name
        path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n") + b"\r\n")
    data = load_xmc_repository(tmp_path)
    assert (data.text_train, data.text_test, data.label_text) == (TRAIN, TEST, LABELS)
