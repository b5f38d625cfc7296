"""Checks of texts, tables and k."""

import numpy as np
import pytest
import scipy.sparse as sp

from skxmc._inputs._texts import check_texts, check_top_k

TEXTS = ["a cat", "", "größe"]


@pytest.mark.parametrize(
    "make",
    [
        list,
        tuple,
        np.array,
        lambda texts: np.array(texts, dtype=object),
        lambda texts: [np.str_(text) for text in texts],
        lambda texts: pytest.importorskip("pandas").Series(texts, index=[7, 7, 1]),
        lambda texts: pytest.importorskip("pandas").Series(texts, dtype=object),
        lambda texts: pytest.importorskip("pandas").Series(texts, dtype="category"),
        lambda texts: pytest.importorskip("polars").Series(texts),
        lambda texts: pytest.importorskip("pyarrow").array(texts),
        lambda texts: pytest.importorskip("pandas").DataFrame({"text": texts, "n": 1}),
        lambda texts: pytest.importorskip("polars").DataFrame({"text": texts, "n": 1}),
    ],
)
def test_forms_of_texts(make):
    texts, images = check_texts(make(TEXTS))
    assert texts == TEXTS
    assert all(type(text) is str for text in texts)
    assert images is None


def test_input_list_is_not_changed():
    texts = [np.str_("a"), "b"]
    assert check_texts(texts)[0] is not texts
    assert type(texts[0]) is np.str_


@pytest.mark.parametrize("package", ["pandas", "polars"])
def test_columns_of_a_table(package):
    frames = pytest.importorskip(package)
    table = frames.DataFrame({"title": ["a", "b"], "picture": ["x.png", None], "image": [1, 2]})
    texts, images = check_texts(table, text_column="title", image_column="picture")
    assert texts == ["a", "b"]
    assert images == ["x.png", None]
    table = frames.DataFrame({"text": ["a", "b"], "image": [["x.png", "y.png"], []]})
    assert check_texts(table)[1] == [["x.png", "y.png"], []]
    with pytest.raises(ValueError, match="images is given although X has a column 'image'"):
        check_texts(table, images=[None, None])
    with pytest.raises(ValueError, match=r"no column 'body' \(its columns are \['text', 'image'\]"):
        check_texts(table, text_column="body")


def test_missing_images_of_a_pandas_column():
    pandas = pytest.importorskip("pandas")
    table = pandas.DataFrame({"text": list("abc"), "image": [np.nan, pandas.NA, b"png"]})
    assert check_texts(table)[1] == [None, None, b"png"]
    series = pandas.Series(["x.png", np.nan, None], index=[3, 1, 2])
    assert check_texts(TEXTS, images=series)[1] == ["x.png", None, None]


def test_duplicated_columns():
    pandas = pytest.importorskip("pandas")
    table = pandas.DataFrame([["a", "b"]], columns=["text", "text"])
    with pytest.raises(ValueError, match="more than one column 'text'"):
        check_texts(table)
    table = pandas.DataFrame([["a", 1, 2]], columns=["text", "image", "image"])
    with pytest.raises(ValueError, match="more than one column 'image'"):
        check_texts(table)


@pytest.mark.parametrize(
    ("X", "error", "message"),
    [
        ("a text", TypeError, r"X is a single str.*pass a list with one text: \[X\]"),
        (b"bytes", TypeError, "X is a single bytes"),
        ((text for text in TEXTS), TypeError, r"got generator; pass list\(X\)"),
        ({"a", "b"}, TypeError, "got set"),
        ({"text": "a", "image": None}, TypeError, "a single row; pass a table of one row"),
        ({"a": TEXTS, "b": TEXTS}, TypeError, r"no column 'text'|without a column 'text'"),
        ({"text": TEXTS, "n": [1]}, ValueError, "columns of different lengths"),
        ([{"text": "a"}, {"text": "b"}], TypeError, r"list of dicts.*pandas.DataFrame\(X\)"),
        (None, TypeError, "got NoneType"),
        (3, TypeError, "got int"),
        ([], ValueError, "X is empty"),
        (np.array(["a"])[0:0], ValueError, "X is empty"),
        (np.array([["a"], ["b"]]), ValueError, r"ndarray of shape \(2, 1\)"),
        (np.zeros((2, 3)), ValueError, r"shape \(2, 3\)"),
        (sp.eye_array(3), ValueError, r"shape \(3, 3\)"),
        (["a", None], ValueError, r"X\[1\] is missing \(None\); drop the row or fill it with ''"),
        (["a", "b", float("nan")], ValueError, r"X\[2\] is missing \(nan\)"),
        (["a", 3], TypeError, r"X\[1\] is of type int, not str; convert"),
        (["a", b"b"], TypeError, r"X\[1\] is of type bytes, not str; decode"),
        ([["a"], ["b"]], TypeError, r"X\[0\] is of type list"),
        (np.zeros(3), TypeError, r"X\[0\] is of type float"),
    ],
)
def test_wrong_texts(X, error, message):
    with pytest.raises(error, match=message):
        check_texts(X)


def test_argument_name():
    with pytest.raises(ValueError, match=r"label_text\[0\] is missing"):
        check_texts([None], argument="label_text")


@pytest.mark.parametrize("images", [[None] * 3, (None,) * 3, np.zeros((3, 4)), np.zeros((3, 2, 4))])
def test_images_pass(images):
    assert check_texts(TEXTS, images=images)[1] is images


@pytest.mark.parametrize(
    ("images", "error", "message"),
    [
        ([None] * 2, ValueError, "images has length 2 but X has length 3"),
        (np.zeros((4, 3)), ValueError, "images has length 4 but X has length 3"),
        ("x.png", TypeError, "got str"),
        ((None for _ in range(3)), TypeError, "got generator"),
    ],
)
def test_wrong_images(images, error, message):
    with pytest.raises(error, match=message):
        check_texts(TEXTS, images=images)


def test_top_k():
    assert check_top_k(3) == 3
    assert type(check_top_k(np.int64(1))) is int
    for k in (0, -1):
        with pytest.raises(ValueError, match=f"k must be at least 1, got k={k}"):
            check_top_k(k)
    for k in (1.0, "1", None, True):
        with pytest.raises(TypeError, match="k must be an int"):
            check_top_k(k)
