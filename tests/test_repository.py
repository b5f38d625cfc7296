"""Reader of public benchmarks, on folders in all their layouts."""

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
