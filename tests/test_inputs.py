"""Texts, targets and pictures in the forms that users have them, each read right or refused."""

import io
from enum import Enum, IntEnum
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from skxmc._inputs._images import collect_images
from skxmc._inputs._targets import encode_targets
from skxmc._inputs._texts import check_texts
from skxmc._inputs._values import listed, plain_text
from skxmc.datasets import split_tags

# --- texts ---

SONGS = {"title": ["Dawn", "Rain"], "words": ["la la", None], "image": [None, "r.png"]}


@pytest.mark.parametrize("make", [pd.DataFrame, pl.DataFrame, pa.table, dict])
def test_several_columns_are_joined(make):
    texts, images = check_texts(make(SONGS), text_column=["title", "words"])
    assert texts == ["Dawn. la la", "Rain"]
    assert images == [None, "r.png"]
    reverse = check_texts(make(SONGS), text_column=np.array(["words", "title"]))[0]
    assert reverse == ["la la. Dawn", "Rain"]


def test_a_row_with_no_text_at_all_is_missing():
    frame = pd.DataFrame({"a": ["x", None, None, "y"], "b": ["z", None, np.nan, None]})
    message = r"X\['a'\]\[1\] is missing .*\(2 rows in all: 1, 2\); drop the row"
    with pytest.raises(ValueError, match=message):
        check_texts(frame, text_column=["a", "b"])
    with pytest.raises(ValueError, match=r"no column 'c' \(its columns are \['a', 'b'\]\)"):
        check_texts(frame, text_column=["a", "c"])
    with pytest.raises(ValueError, match="text_column names no column"):
        check_texts(frame, text_column=[])
    with pytest.raises(TypeError, match="text_column holds 3"):
        check_texts(frame, text_column=["a", 3])


def test_a_single_column_needs_no_name():
    assert check_texts(pd.DataFrame({"body": ["a", "b"]}))[0] == ["a", "b"]
    assert check_texts(pl.DataFrame({"body": ["a", "b"]}))[0] == ["a", "b"]
    with pytest.raises(ValueError, match="no column 'text'"):
        check_texts(pd.DataFrame({"image": ["a.png"]}))


@pytest.mark.parametrize(
    ("X", "message"),
    [
        (pd.DataFrame({"text": ["a"], "image": [None]}).iloc[0], "as a row of a table has"),
        (pd.DataFrame({"name": ["a"], "body": ["b"]}).iloc[0], "as a row of a table has"),
        (pl.LazyFrame({"text": ["a"]}), r"LazyFrame.*pass X.collect\(\)"),
        ({"a": "b"}, "a single row"),
    ],
)
def test_rows_and_queries_are_refused(X, message):
    with pytest.raises(TypeError, match=message):
        check_texts(X)


def test_a_series_with_ids_is_no_row():
    assert check_texts(pd.Series(["a", "b"], index=["id1", "id2"]))[0] == ["a", "b"]


def test_all_wrong_rows_are_counted():
    with pytest.raises(
        ValueError, match=r"X\[1\] is missing \(None\) \(7 rows in all: 1, 2, 3, 4, 5, ...\)"
    ):
        check_texts(["a", *[None] * 7])
    with pytest.raises(TypeError, match=r"X\[0\] is of type int, not str \(2 rows in all: 0, 2\)"):
        check_texts([1, "a", 2.5])
    assert listed([4]) == ""


# --- surrogates and subclasses of str ---


@given(st.text(st.characters(), max_size=8))
@settings(max_examples=200, deadline=None)
def test_plain_text_can_always_be_encoded(text):
    plain = plain_text(text)
    plain.encode()
    assert plain_text(plain) == plain
    if not any("\ud800" <= character <= "\udfff" for character in text):
        assert plain == text


def test_surrogates_are_replaced_everywhere():
    assert plain_text("a\udc80b\ud800") == "a\ufffdb\ufffd"
    assert plain_text("\ud83d\ude00") == "\U0001f600"  # a pair is a character
    assert check_texts(["bad \udcff"])[0] == ["bad \ufffd"]
    _, classes = encode_targets([["t\ud8ff"], ["ok"]], 2)
    assert classes.tolist() == ["ok", "t\ufffd"]
    Y, _ = encode_targets([["t\ud8ff"]], 1, classes=classes)
    assert Y.indices.tolist() == [1]


class Genre(str, Enum):  # noqa: UP042
    JAZZ = "jazz"
    FOLK = "folk"


class Number(IntEnum):
    ONE = 1


def test_members_count_by_their_value():
    Y, classes = encode_targets([[Genre.JAZZ, "folk"], [Genre.FOLK]], 2)
    assert classes.tolist() == ["folk", "jazz"]
    assert [type(name) for name in classes] == [str, str]
    assert Y.toarray().tolist() == [[1, 1], [1, 0]]
    assert check_texts([Genre.JAZZ])[0] == ["jazz"]
    assert type(check_texts([Genre.JAZZ])[0][0]) is str
    assert encode_targets([[Number.ONE], [2]], 2)[1].tolist() == [1, 2]


# --- targets ---

TAGS = pd.Series(["sun|sea", "snow", "sea|snow|sun"])
EXPECTED = [["sun", "sea"], ["snow"], ["sea", "snow", "sun"]]


@pytest.mark.parametrize(
    "make",
    [
        lambda: TAGS.str.get_dummies("|"),
        lambda: TAGS.str.get_dummies("|").astype(bool),
        lambda: TAGS.str.get_dummies("|").astype(pd.SparseDtype(int, 0)),
        lambda: pl.from_pandas(TAGS.str.get_dummies("|")),
        lambda: pa.Table.from_pandas(TAGS.str.get_dummies("|")),
        lambda: split_tags(TAGS),
        lambda: split_tags(pl.Series(TAGS.to_list())),
        lambda: pd.DataFrame([row + [None] * (3 - len(row)) for row in EXPECTED]),
        lambda: pl.DataFrame({"first": ["sun", "snow", "sea"], "second": ["sea", None, "snow"],
                              "third": [None, None, "sun"]}),
        lambda: pd.DataFrame({"tags": EXPECTED}),
        lambda: pl.DataFrame({"tags": EXPECTED}),
        lambda: pa.table({"tags": EXPECTED}),
    ],
)  # fmt: skip
def test_tags_of_a_table(make):
    Y, classes = encode_targets(make(), 3)
    assert classes.tolist() == ["sea", "snow", "sun"]
    assert Y.toarray().tolist() == [[1, 0, 1], [0, 1, 0], [1, 1, 1]]


def test_a_square_table_of_tags_is_read_by_rows():
    square = [["a", "b"], ["c", "d"]]
    for frame in (pl.DataFrame(square, orient="row"), pd.DataFrame(square)):
        Y, _ = encode_targets(frame, 2)
        assert Y.toarray().tolist() == [[1, 1, 0, 0], [0, 0, 1, 1]]


@given(st.lists(st.sets(st.sampled_from("abcde"), min_size=1), min_size=1, max_size=6))
@settings(max_examples=40, deadline=None)
def test_names_and_named_columns_are_equal(rows):
    rows = [sorted(row) for row in rows]
    frame = pd.Series(["|".join(row) for row in rows]).str.get_dummies("|")
    Y, classes = encode_targets(rows, len(rows))
    for other in (frame, pl.from_pandas(frame), split_tags(["|".join(row) for row in rows])):
        found, names = encode_targets(other, len(rows))
        assert names.tolist() == classes.tolist()
        assert (found != Y).nnz == 0


def test_columns_that_are_no_names():
    numbers = pd.DataFrame([[0, 1], [1, 1]])
    assert encode_targets(numbers, 2)[1].tolist() == [0, 1]
    numbers.columns = [30, 10]
    assert encode_targets(numbers, 2)[1].tolist() == [30, 10]
    numbers.columns = [0.5, "a"]
    with pytest.raises(TypeError, match=r"column named 0.5 of type float"):
        encode_targets(numbers, 2)
    numbers.columns = ["a", "a"]
    with pytest.raises(ValueError, match="more than one column 'a'"):
        encode_targets(numbers, 2)


def test_blank_names_are_dropped_and_counted():
    with pytest.warns(UserWarning, match="y holds 3 label names that are empty or blank"):
        Y, classes = encode_targets([["", "a"], [" "], ["b", ""]], 3)
    assert classes.tolist() == ["a", "b"]
    assert Y.toarray().tolist() == [[1, 0], [0, 0], [0, 1]]
    with pytest.warns(UserWarning, match="y holds 1 label name that is empty"):
        Y, classes = encode_targets(pd.DataFrame({"": [1, 0], "a": [1, 1]}), 2)
    assert (classes.tolist(), Y.shape) == (["a"], (2, 1))
    tags = pd.Series(["a|b", None, ""]).fillna("").str.split("|")
    with pytest.warns(UserWarning, match="2 label names"):
        assert encode_targets(tags, 3)[1].tolist() == ["a", "b"]


def test_nested_lists_of_zeros_and_ones():
    for rows in ([[0, 1, 0], [1, 0, 0]], [[True, False], [False, True]], [[0.0, 1.0], [1.0, 0.0]],
                 [[0, 0], [0, 1]], [[1, 1], [0, 1]]):  # fmt: skip
        Y, classes = encode_targets(rows, 2)
        np.testing.assert_array_equal(Y.toarray(), np.asarray(rows, dtype=float))
        assert classes.tolist() == list(range(len(rows[0])))
    named = encode_targets([[0, 1], [1, 0]], 2, classes=np.array(["x", "y"], dtype=object))[0]
    assert named.toarray().tolist() == [[0, 1], [1, 0]]  # 0 and 1 are no names there
    names, classes = encode_targets([[0], [1], [1]], 3)  # one class each
    assert names.toarray().tolist() == [[1, 0], [0, 1], [0, 1]]


def test_names_of_more_than_64_bits():
    hashes = [[2**63 - 1], [-(2**63)]]
    assert encode_targets(hashes, 2)[1].tolist() == [-(2**63), 2**63 - 1]
    with pytest.raises(ValueError, match=r"y holds the label 9223372036854775808, .*as str"):
        encode_targets([[2**63], [1]], 2)
    assert encode_targets([[str(2**80)], ["1"]], 2)[1].tolist() == ["1", str(2**80)]


def test_messages_lead_to_split_tags():
    with pytest.raises(ValueError, match=r"skxmc.datasets.split_tags\(y\)"):
        encode_targets(TAGS, 3)
    with pytest.raises(ValueError, match="split_tags"):
        encode_targets(pd.DataFrame({"tags": TAGS}), 3)
    with pytest.raises(TypeError, match="LazyFrame"):
        encode_targets(pl.LazyFrame({"a": [1]}), 1)


@pytest.mark.parametrize(
    ("series", "sep", "error", "message"),
    [
        ("a|b", "|", TypeError, "series is a str"),
        ([["a"], ["b"]], "|", TypeError, r"series\[0\] is .* of type list.*need no splitting"),
        ([1, "a", 2], "|", TypeError, r"series\[0\] .*\(2 rows in all: 0, 2\)"),
        (pd.DataFrame({"a": ["b"]}), "|", TypeError, "pass the one column"),
        (["a"], "", ValueError, "sep is empty"),
        (["a"], None, TypeError, "sep is None"),
    ],
)
def test_split_tags_refuses(series, sep, error, message):
    with pytest.raises(error, match=message):
        split_tags(series, sep)


# --- pictures ---


def png(colour):
    buffer = io.BytesIO()
    Image.new("RGB", (4, 4), colour).save(buffer, format="PNG")
    return buffer.getvalue()


def test_covers_of_pictures(tmp_path, monkeypatch):
    (tmp_path / "blue.png").write_bytes(png("blue"))
    monkeypatch.setenv("HOME", str(tmp_path))
    buffer = io.BytesIO(b"..." + png("red"))
    buffer.seek(3)
    with open(tmp_path / "blue.png", "rb") as file:
        entries = [
            {"bytes": png("red"), "path": "elsewhere.png"},
            {"bytes": None, "path": str(tmp_path / "blue.png")},
            {"bytes": None, "path": None},
            buffer,
            file,
            "~/blue.png",
            Path("~/blue.png"),
            "",
            "  ",
            [{"bytes": png("red")}, "", "~/blue.png"],
        ]
        for _ in range(2):  # open files are read again from where they stood
            items = collect_images(entries, len(entries))
            assert items.n_distinct == 2
            assert items.index[:, 0].tolist() == [0, 1, -1, 0, 1, 1, 1, -1, -1, 0]
            assert items.index[9].tolist() == [0, 1]


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"url": "x"}, r"images\[0\] is a dict with the keys \['url'\]"),
        ({}, "is a dict with the keys"),
        (io.StringIO("text"), "reads str and not bytes"),
    ],
)
def test_covers_that_hold_no_picture(entry, message):
    with pytest.raises(TypeError, match=message):
        collect_images([entry], 1)


def test_missing_files_are_found_at_once():
    entries = [png("red"), *(f"no{number}.png" for number in range(7))]
    with pytest.raises(ValueError, match="7 pictures cannot be used") as caught:
        collect_images(entries, 8)
    message = str(caught.value)
    assert all(f"images[{row}] is a path but no such file exists" in message for row in range(1, 6))
    assert "images[6]" not in message
    assert "ImageEncoder(missing='warn')" in message
    with pytest.warns(UserWarning, match="pictures are left out: 7 pictures"):
        items = collect_images(entries, 8, missing="warn")
    assert items.index[:, 0].tolist() == [0, *[-1] * 7]
    quiet = collect_images(entries, 8, missing="ignore")
    assert quiet.index.tolist() == items.index.tolist()
    with pytest.raises(ValueError, match="missing is 'drop'"):
        collect_images(entries, 8, missing="drop")


def test_items_without_some_pictures():
    items = collect_images([[png("red"), png("blue")], png("green"), [png("blue"), png("red")]], 3)
    fewer = items.without([1])
    assert fewer.n_distinct == 2
    assert fewer.index.tolist() == [[0], [1], [0]]
    assert fewer.names == ("images[0][0]", "images[1]")
    assert items.without([0, 1, 2]).index.tolist() == [[-1], [-1], [-1]]
