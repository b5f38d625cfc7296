"""What is known of labels: ids, texts, pictures and parents in every form."""

from enum import Enum

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st

from skxmc._features._blocks import mean_rows
from skxmc._inputs._label_set import (
    flatten_texts,
    joined_texts,
    plain_labels,
    plain_mapping,
    read_labels,
)
from skxmc._inputs._targets import encode_targets, unseen_names

TEXTS = {"Q1": ["oak", "tree with acorns"], "Q2": ["elm"], "Q3": ["fern", "frond"]}


def listed(labels):
    return labels.ids.tolist(), labels.texts


# --- one content in every form ---


def records(texts):
    return [{"id": name, "texts": group} for name, group in texts.items()]


FORMS = {
    "dict": dict,
    "tuples": lambda texts: {name: tuple(group) for name, group in texts.items()},
    "arrays": lambda texts: {name: np.array(group, dtype=object) for name, group in texts.items()},
    "Series": lambda texts: pd.Series(texts),
    "records": records,
    "pandas": lambda texts: pd.DataFrame(records(texts)),
    "pandas index": lambda texts: pd.DataFrame(records(texts)).set_index("id"),
    "polars": lambda texts: pl.DataFrame(records(texts)),
    "pyarrow": lambda texts: pa.Table.from_pylist(records(texts)),
    "text and texts": lambda texts: pd.DataFrame(
        {
            "id": list(texts),
            "text": [group[0] for group in texts.values()],
            "texts": [group[1:] for group in texts.values()],
            "uses": 3,
        }
    ),
}


@pytest.mark.parametrize("form", FORMS)
def test_forms_are_equal(form):
    assert listed(read_labels(FORMS[form](TEXTS))) == (list(TEXTS), list(TEXTS.values()))


text = st.text(st.characters(codec="utf-8"), min_size=1, max_size=6).filter(str.strip)
groups = st.lists(text, min_size=1, max_size=3, unique=True)


@given(st.dictionaries(text, groups, min_size=1, max_size=5), st.sampled_from(sorted(FORMS)))
@settings(max_examples=60, deadline=None)
def test_equal_content_is_equal_in_any_form(texts, form):
    labels = read_labels(FORMS[form](texts))
    assert listed(labels) == (list(texts), list(texts.values()))
    again = read_labels(plain_labels(FORMS[form](texts)))
    assert listed(again) == listed(labels)


def test_sequences_have_no_ids():
    for given_texts in (
        ["oak", "elm"],
        ("oak", "elm"),
        np.array(["oak", "elm"]),
        pd.Series(["oak", "elm"]),
    ):
        labels = read_labels(given_texts)
        assert labels.ids is None
        assert labels.texts == [["oak"], ["elm"]]
        assert labels.names.tolist() == ["oak", "elm"]
    labels = read_labels([["oak", "acorn", None, "oak"], "elm"])
    assert labels.texts == [["oak", "acorn"], ["elm"]]


def test_a_numbered_series_that_was_filtered_is_a_mapping():
    labels = read_labels(pd.Series(["oak", "fern"], index=[0, 2]))
    assert listed(labels) == ([0, 2], [["oak"], ["fern"]])


def test_ids_are_plain():
    class Code(str, Enum):  # noqa: UP042
        OAK = "Q1"

    labels = read_labels({Code.OAK: "oak", np.str_("Q\ud800"): "elm"})
    assert [type(name) for name in labels.ids] == [str, str]
    assert labels.ids.tolist() == ["Q1", "Q\ufffd"]
    numbers = read_labels({np.int32(7): "oak", 3: "elm"})
    assert numbers.ids.dtype == np.int64
    assert numbers.ids.tolist() == [7, 3]


def test_pictures_and_parents_of_a_table():
    table = pd.DataFrame(
        {
            "id": [10, 20, 30],
            "text": ["plant", "tree", "oak"],
            "image": [None, "tree.png", np.nan],
            "parent": [None, 10, [10, 20]],
        }
    )
    labels = read_labels(table)
    assert labels.images == [None, "tree.png", None]
    assert labels.parents == [[], [0], [0, 1]]
    assert read_labels(table.drop(columns=["image", "parent"])).parents is None
    with pytest.raises(ValueError, match="label_images is given although label_text has a column"):
        labels.with_images(["a.png", None, None])


def test_pictures_by_id():
    labels = read_labels(TEXTS)
    for images in ({"Q3": "f.png"}, pd.Series(["f.png"], index=["Q3"])):
        assert labels.with_images(images).images == [None, None, "f.png"]
    assert labels.with_images(["a", "b", "c"]).images == ["a", "b", "c"]
    assert labels.with_images(None).images is None
    with pytest.raises(ValueError, match=r"key 'Q9', which is no label \(2 keys in all: 'Q9', 'x'"):
        labels.with_images({"Q9": "f.png", "Q1": None, "x": "a.png"})


@pytest.mark.parametrize(
    ("label_text", "error", "message"),
    [
        ("oak", TypeError, "label_text is a single str"),
        ({"oak", "elm"}, TypeError, "is a set, whose entries are in no order; pass one text"),
        ((name for name in "ab"), TypeError, "is a generator, not a sequence"),
        (3, TypeError, "is a int, not a sequence"),
        (pl.LazyFrame({"id": ["a"], "text": ["b"]}), TypeError, r"pass label_text.collect\(\)"),
        ({}, ValueError, "label_text is empty"),
        ({"a": None}, TypeError, r"label_text\['a'\] is None of type NoneType"),
        ({"a": {"x", "y"}}, TypeError, r"label_text\['a'\] is .* of type set"),
        ({"a": ["x"], "b": [], "c": [" "]}, ValueError, r"\['b'\] holds no text \(2 labels in all"),
        ({"a": "x", 1: "y"}, TypeError, "has the ids 'a' and 1; use only str, or only int"),
        ({1.5: "x"}, TypeError, "has the id 1.5 of type float"),
        ({None: "x"}, ValueError, "has the id None at position 0"),
        ({" ": "x"}, ValueError, "has the id ' ' at position 0"),
        ({2**63: "x"}, ValueError, "does not fit into 64 bits; pass labels of this length as str"),
        (pd.Series(["x", "y"], index=["a", "a"]), ValueError, "has the id 'a' more than once"),
        (pd.DataFrame({"name": ["x"]}), ValueError, "DataFrame that has no column 'id'"),
        (pd.DataFrame({"id": ["x"], "t": ["y"]}), ValueError, "neither a column 'text' nor"),
        ([{"id": "a", "text": "x"}, {"text": "y"}], ValueError, "has the id None at position 1"),
        ([{"id": "a", "text": {"x"}}], TypeError, "set of texts"),
        ([{"id": "a", "text": "x", "parent": "b"}], ValueError, "parent 'b', which is no label"),
        ([{"id": "a", "text": "x", "parent": ["a"]}], ValueError, "parent 'a', itself"),
        (
            ["a", None, 3, None],
            TypeError,
            r"label_text\[1\] is None .*\(3 labels in all: 1, 2, 3\)",
        ),
    ],
)
def test_what_is_refused(label_text, error, message):
    with pytest.raises(error, match=message):
        read_labels(label_text)


# --- with targets ---

INDICATOR = np.array([[1, 0, 1], [0, 0, 1], [0, 1, 0]])


@pytest.mark.parametrize(
    "make",
    [
        np.asarray,
        sp.csr_array,
        lambda Y: pd.DataFrame(Y),
        lambda Y: pd.DataFrame(Y[:, [2, 0, 1]], columns=["Q3", "Q1", "Q2"]),
        lambda Y: pl.DataFrame(Y[:, [1, 2, 0]], schema=["Q2", "Q3", "Q1"], orient="row"),
        lambda Y: pa.table({"Q2": Y[:, 1], "Q1": Y[:, 0], "Q3": Y[:, 2]}),
        lambda Y: pd.DataFrame(Y, columns=list(TEXTS)).astype(pd.SparseDtype(int, 0)),
        lambda Y: [[list(TEXTS)[column] for column in np.flatnonzero(row)] for row in Y],
        lambda Y: Y.tolist(),
    ],
)
def test_targets_of_labels_with_ids(make):
    Y, classes = encode_targets(make(INDICATOR), 3, label_text=TEXTS)
    assert classes.tolist() == list(TEXTS)
    np.testing.assert_array_equal(Y.toarray(), INDICATOR)


def test_targets_of_labels_with_int_ids():
    texts = {30: "oak", 10: "elm"}
    Y, classes = encode_targets([[10], [30, 10]], 2, label_text=texts)
    assert classes.tolist() == [30, 10]
    np.testing.assert_array_equal(Y.toarray(), [[0, 1], [1, 1]])
    frame = pd.DataFrame([[1, 0], [1, 1]], columns=[10, 30])
    np.testing.assert_array_equal(
        encode_targets(frame, 2, label_text=texts)[0].toarray(), Y.toarray()
    )


def test_labels_without_a_column_stay():
    frame = pd.DataFrame({"Q3": [1, 0], "Q1": [0, 1]})
    Y, classes = encode_targets(frame, 2, label_text=TEXTS)
    assert classes.tolist() == list(TEXTS)
    np.testing.assert_array_equal(Y.toarray(), [[0, 0, 1], [1, 0, 0]])


def test_a_table_beside_a_sequence_of_texts():
    frame = pd.DataFrame(INDICATOR, columns=["c1", "c2", "c3"])
    Y, classes = encode_targets(frame, 3, label_text=["oak", "elm", "fern"])
    assert classes.tolist() == ["c1", "c2", "c3"]  # columns are named, texts come in their order
    frame.columns = ["fern", "oak", "elm"]  # columns named by the texts are found by them
    Y, classes = encode_targets(frame, 3, label_text=["oak", "elm", "fern"])
    assert classes.tolist() == ["oak", "elm", "fern"]
    np.testing.assert_array_equal(Y.toarray(), INDICATOR[:, [1, 2, 0]])


@pytest.mark.parametrize(
    ("Y", "message"),
    [
        (
            [["Q1"], ["oak"], ["oak"]],
            r"y\[1\] names the label 'oak'.*mapping.*\(2 rows in all: 1, 2\)",
        ),
        (INDICATOR[:, :2], "y has 2 columns but label_text has 3 entries"),
        (pd.DataFrame(INDICATOR, columns=["a", "b", "c"]), "none of its columns is an id"),
        (
            pd.DataFrame(INDICATOR, columns=["Q1", "b", "c"]),
            "column 'b', which is not in label_text",
        ),
        (pd.DataFrame(INDICATOR, columns=["Q1", "Q1", "Q2"]), "more than one column 'Q1'"),
    ],
)
def test_targets_that_do_not_fit(Y, message):
    with pytest.raises(ValueError, match=message):
        encode_targets(Y, 3, label_text=TEXTS)


# --- several texts ---


def test_flat_and_joined_texts():
    flat, owner = flatten_texts([["a", "b"], ["c"]])
    assert (flat, owner.tolist()) == (["a", "b", "c"], [0, 0, 1])
    assert joined_texts([["a", "b"], ["c"], [""]]) == ["a. b", "c", ""]
    assert joined_texts(None) is None


def test_mean_of_rows(rng):
    rows = rng.normal(size=(5, 4)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    owner = np.array([0, 0, 1, 2, 2])
    expected = np.stack([rows[:2].mean(0), rows[2], rows[3:].mean(0)])
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    for kind in (np.asarray, sp.csr_array):
        means = mean_rows(kind(rows), owner)
        dense = means if kind is np.asarray else means.toarray()
        np.testing.assert_allclose(dense, expected, atol=1e-6)
        assert means.dtype == np.float32
        assert mean_rows(kind(rows), np.arange(5)) is not None
    assert mean_rows(rows, np.arange(5)) is rows
    np.testing.assert_array_equal(mean_rows(rows, owner)[1], rows[2])  # to the bit


def test_what_can_be_stored():
    assert plain_labels(["a", ["b", "c"]]) == ["a", ["b", "c"]]
    assert plain_labels({7: "x"}) == [{"id": 7, "texts": "x"}]
    table = pl.DataFrame({"n": [1], "id": [7], "text": ["x"], "parent": [None]})
    assert plain_labels(table) == [{"id": 7, "text": "x", "parent": None}]
    assert plain_mapping(pd.Series(["x.png", None], index=["a", "b"])) == {"a": "x.png", "b": None}


def test_unseen_names_are_plain_and_not_blank():
    class Tag(str, Enum):  # noqa: UP042
        ELM = "elm"
        OAK = "oak"

    classes = np.array(["oak"], dtype=object)
    assert unseen_names([[Tag.OAK, ""], [Tag.ELM, "elm"]], classes) == ["elm"]
