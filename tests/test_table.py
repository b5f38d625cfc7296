"""Reader of tables."""

import gzip
import json
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skxmc.datasets import load_table

CSV = """id,title,description,tags,image
1,Tea cup,White ,kitchen|ceramic,a.png
2,Kettle,,kitchen|| steel |kitchen,
3,,"Two
lines, and a comma",,b.png
"""
TEXTS = ["Tea cup White", "Kettle", "Two\nlines, and a comma"]
LABELS = ["ceramic", "kitchen", "steel"]
Y = [[1, 1, 0], [0, 1, 1], [0, 0, 0]]
COLUMNS = {"text": ["title", "description"], "labels": "tags"}


@pytest.fixture
def folder(tmp_path):
    for name in "ab":
        (tmp_path / f"{name}.png").write_bytes(b"picture")
    (tmp_path / "shop.csv").write_text(CSV)
    return tmp_path


def frame(folder):
    return pd.read_csv(folder / "shop.csv")


def write(folder, form):
    table = frame(folder)
    if form == "csv, Windows":
        path = folder / "b.csv"
        path.write_bytes(b"\xef\xbb\xbf" + CSV.replace("\n", "\r\n").encode() + b"\r\n")
    elif form == "csv.gz":
        path = folder / "b.csv.gz"
        path.write_bytes(gzip.compress(CSV.encode()))
    elif form == "tsv":
        path = folder / "b.tsv"
        table.to_csv(path, sep="\t", index=False)
    elif form == "jsonl":
        path = folder / "b.jsonl"
        table.to_json(path, orient="records", lines=True)
    elif form == "parquet":
        path = folder / "b.parquet"
        table.to_parquet(path)
    else:
        path = folder / "shop.csv"
    return path


@pytest.mark.parametrize("form", ["csv", "csv, Windows", "csv.gz", "tsv", "jsonl", "parquet"])
def test_files(form, folder):
    data = load_table(write(folder, form), **COLUMNS, id="id", images="image")
    assert data.text_train == TEXTS
    assert data.label_text == data.label_ids == LABELS
    np.testing.assert_array_equal(data.Y_train.toarray(), Y)
    assert data.uids_train == ["1", "2", "3"]
    assert data.images_train == [str(folder / "a.png"), None, str(folder / "b.png")]
    assert data.exclude_train.nnz == 0
    assert data.text_test is None


@pytest.mark.parametrize("kind", [pd.DataFrame, pl.from_pandas, pa.Table.from_pandas, dict])
def test_frames(kind, folder):
    table = frame(folder)
    data = load_table(kind(table), **COLUMNS, id="id")
    assert data.text_train == TEXTS
    assert data.uids_train == ["1", "2", "3"]
    np.testing.assert_array_equal(data.Y_train.toarray(), Y)


def test_lists_of_labels_and_pictures(folder):
    records = [
        {"t": "a", "l": ["x", None, " y ", 7], "p": ["a.png", "b.png"]},
        {"t": None, "l": None, "p": []},
        {"t": 3, "l": "z", "p": None},
    ]
    (folder / "a.jsonl").write_text("\n".join(map(json.dumps, records)))
    data = load_table(folder / "a.jsonl", text="t", labels="l", images="p")
    assert data.text_train == ["a", "", "3"]
    assert data.label_text == ["7", "x", "y", "z"]
    assert data.images_train == [[str(folder / "a.png"), str(folder / "b.png")], None, None]
    table = pd.DataFrame({"t": ["a"], "l": [np.array(["x"])], "p": [b"bytes"]})
    data = load_table(table, text="t", labels="l", images="p")
    assert (data.label_text, data.images_train) == (["x"], [b"bytes"])


def test_separators_and_a_test_set(folder):
    table = {"t": ["a", "b"], "u": ["c", "d"], "l": ["x, y", "x"]}
    test = {"t": ["e"], "u": [" "], "l": ["z"]}
    data = load_table(table, test=test, text=("u", "t"), labels="l", label_sep=",", text_sep=" / ")
    assert data.text_train == ["c / a", "d / b"]
    assert data.text_test == ["e"]
    assert data.label_text == ["x", "y", "z"]
    np.testing.assert_array_equal(data.Y_test.toarray(), [[0, 0, 1]])
    assert load_table(table, text="t", labels="l", label_sep=None).label_text == ["x", "x, y"]


def test_missing_pictures(folder):
    names = "".join(f"{row},t,t,x,{name}.png\n" for row, name in enumerate("acdefghi"))
    path = folder / "more.csv"
    path.write_text("id,title,description,tags,image\n" + names)
    message = r"more.csv names 7 pictures that are no files: 'c.png' in line 3, .* line 7, \.\.\."
    with pytest.raises(ValueError, match=message):
        load_table(path, **COLUMNS, images="image")
    with pytest.warns(UserWarning, match=message):
        data = load_table(path, **COLUMNS, images="image", missing_images="warn")
    assert data.images_train == [str(folder / "a.png")] + [None] * 7
    load_table(path, **COLUMNS, images="image", missing_images="ignore")
    long = {"title": ["a"], "description": ["b"], "tags": ["c"], "image": ["x" * 5000]}
    with pytest.raises(ValueError, match="1 pictures"):
        load_table(long, **COLUMNS, images="image")
    with pytest.raises(ValueError, match=r"column 'image' in row 0 of table .* is 7"):
        load_table({**long, "image": [7]}, **COLUMNS, images="image")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("1,a,b,c\n", r"line 2 of .*shop.csv has 4 cells, but there are 5 columns"),
        ('1,"a,b,c,d\n', r"line \d of .*shop.csv cannot be read"),
        ("1,a,b,c,\n1,a,b,c,\n", "lines 2 and 3 of .*shop.csv have the same id '1'"),
        (",a,b,c,\n", "column 'id' in line 2 of .*shop.csv is None"),
    ],
)
def test_wrong_rows_are_named(content, message, folder):
    (folder / "shop.csv").write_text("id,title,description,tags,image\n" + content)
    with pytest.raises(ValueError, match=message):
        load_table(folder / "shop.csv", **COLUMNS, id="id")


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"t": ["a"]}, r"table \(dict\) has no column 'l', its columns are \['t'\]"),
        ({"t": ["a"], "l": []}, r"different lengths, \[0, 1\]"),
        ({"t": ["a"], "l": [1.5]}, "a label of column 'l' in row 0 .* as str"),
        ({"t": [b"a"], "l": ["x"]}, "column 't' in row 0 .* write a text"),
        (pd.DataFrame([["a", "b", "x"]], columns=["t", "t", "l"]), "several columns 't'"),
    ],
)
def test_wrong_tables(table, message):
    with pytest.raises(ValueError, match=message):
        load_table(table, text="t", labels="l")


def test_wrong_arguments(folder):
    path = folder / "shop.csv"
    with pytest.raises(FileNotFoundError, match=r"none.csv does not exist"):
        load_table(folder / "none.csv", **COLUMNS)
    with pytest.raises(ValueError, match="suffix is none of"):
        load_table(folder / "shop.xlsx", **COLUMNS)
    with pytest.raises(ValueError, match="label_sep is empty"):
        load_table(path, **COLUMNS, label_sep="")
    with pytest.raises(ValueError, match="text names no column"):
        load_table(path, text=[], labels="tags")
    with pytest.raises(ValueError, match="missing_images is 'no'"):
        load_table(path, **COLUMNS, missing_images="no")
    for table in [1], pl.DataFrame({"title": [], "description": [], "tags": []}).lazy():
        with pytest.raises(TypeError, match="table is a"):
            load_table(table, **COLUMNS)
    (folder / "a.parquet").write_bytes(b"PAR1 nothing PAR1")
    with pytest.raises(ValueError, match=r"a.parquet is not a Parquet file"):
        load_table(folder / "a.parquet", **COLUMNS)
    (folder / "a.jsonl").write_text('{"title": "a"}\n')
    with pytest.raises(ValueError, match=r"line 1 of .*a.jsonl has no 'description'"):
        load_table(folder / "a.jsonl", **COLUMNS)


def test_ids_beyond_int64_and_floats(folder):
    table = {"t": ["a", "b"], "l": ["x", "y"], "id": [2**70, 1]}
    assert load_table(table, text="t", labels="l", id="id").uids_train == [str(2**70), "1"]
    with_gap = pd.DataFrame({"t": ["a", "b"], "l": ["x", "y"], "id": [1, None]})
    with pytest.raises(ValueError, match=r"column 'id' in row 0 .* is 1.0 \(a float"):
        load_table(with_gap, text="t", labels="l", id="id")


def test_long_cells(folder):
    (folder / "long.csv").write_text("t,l\n" + "a" * 300_000 + ",x\n")
    assert len(load_table(folder / "long.csv", text="t", labels="l").text_train[0]) == 300_000


def test_parquet_of_too_many_rows(folder, monkeypatch):
    pd.DataFrame({"t": ["a"] * 10**6, "l": ["x"] * 10**6}).to_parquet(folder / "bomb.parquet")
    monkeypatch.setattr("skxmc.datasets._files.MAX_UNPACKED_BYTES", 2**10)
    with pytest.raises(ValueError, match=r"bomb.parquet .*unpacks to more than"):
        load_table(folder / "bomb.parquet", text="t", labels="l")


CELL = st.text(st.characters(codec="utf-8", exclude_characters="\r\0"))
NAME = st.text(st.characters(codec="utf-8", exclude_categories=("C", "Z"), exclude_characters="|"))


@given(st.lists(st.tuples(CELL, st.lists(NAME, max_size=3)), min_size=1, max_size=6))
@settings(max_examples=50, deadline=None)
def test_what_pandas_writes_is_read(rows):
    table = pd.DataFrame(
        {"t": [text for text, _ in rows], "l": ["|".join(names) for _, names in rows]}
    )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.csv"
        table.to_csv(path, index=False)
        data = load_table(path, text="t", labels="l")
    assert data.text_train == [text.strip() for text, _ in rows]
    for row, (_, names) in enumerate(rows):
        found = {data.label_text[label] for label in data.Y_train[[row]].indices}
        assert found == set(names) - {""}


def test_a_table_without_labels(tmp_path):
    path = tmp_path / "new.csv"
    path.write_text("title\nTea cup\nKettle\n")
    data = load_table(path, text="title", labels=None)
    assert data.text_train == ["Tea cup", "Kettle"]
    assert data.Y_train.shape == (2, 0)
    assert data.label_text == []
