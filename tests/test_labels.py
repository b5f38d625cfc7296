"""Targets of every form become the same CSR, and every mistake is named."""

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.preprocessing import MultiLabelBinarizer

from skxmc._inputs._targets import check_exclude, encode_targets, labels_to_names

# Names without blank ones, which are dropped.
WORDS = st.text(max_size=3).filter(str.strip)
DENSE = np.array([[1, 0, 1], [0, 0, 0], [0, 1, 0], [1, 1, 1]])
NAMES = [["c", "a"], [], ["b"], ["a", "b", "c"]]


def check_form(Y):
    assert isinstance(Y, sp.csr_array)
    assert Y.dtype == np.float32
    assert Y.indices.dtype == Y.indptr.dtype == np.int32
    assert Y.has_canonical_format
    assert (Y.data == 1).all()


@pytest.mark.parametrize("dtype", [bool, np.int8, np.int64, np.float32, np.float64])
@pytest.mark.parametrize(
    "make",
    [
        np.asarray,
        np.asfortranarray,
        sp.csr_matrix,
        sp.csc_array,
        sp.coo_array,
        sp.lil_matrix,
        sp.dok_array,
        sp.bsr_array,
        sp.dia_array,
        lambda Y: pytest.importorskip("pandas").DataFrame(Y),
    ],
)
def test_indicators(make, dtype):
    Y, classes = encode_targets(make(DENSE.astype(dtype)), 4)
    check_form(Y)
    np.testing.assert_array_equal(Y.toarray(), DENSE)
    assert classes.tolist() == [0, 1, 2]


@pytest.mark.parametrize(
    "make",
    [
        list,
        tuple,
        lambda rows: [tuple(row) for row in rows],
        lambda rows: [set(row) for row in rows],
        lambda rows: [frozenset(row) for row in rows],
        lambda rows: [np.array(row, dtype="U1") for row in rows],
        lambda rows: [row * 2 for row in rows],
        lambda rows: np.array(rows, dtype=object),
        lambda rows: pytest.importorskip("pandas").Series(rows, index=[5, 5, 2, 1]),
        lambda rows: pytest.importorskip("polars").Series(rows),
        lambda rows: pytest.importorskip("pyarrow").array(rows),
    ],
)
def test_names(make):
    rows = make(NAMES)
    Y, classes = encode_targets(rows, 4)
    check_form(Y)
    np.testing.assert_array_equal(Y.toarray(), DENSE)
    assert classes.dtype == object
    assert classes.tolist() == ["a", "b", "c"]


def test_int_names():
    Y, classes = encode_targets([[30, 10], [np.int32(20)], {10}], 3)
    np.testing.assert_array_equal(Y.toarray(), [[1, 0, 1], [0, 1, 0], [1, 0, 0]])
    assert classes.dtype == np.int64
    assert classes.tolist() == [10, 20, 30]


def test_two_dimensional_arrays_of_names():
    for dtype in ("U1", object):
        Y, classes = encode_targets(np.array([["b", "a"], ["a", "c"]], dtype=dtype), 2)
        np.testing.assert_array_equal(Y.toarray(), [[1, 1, 0], [1, 0, 1]])
        assert classes.tolist() == ["a", "b", "c"]
    numbers, _ = encode_targets(DENSE.astype(object), 4)
    np.testing.assert_array_equal(numbers.toarray(), DENSE)


@given(st.lists(st.sets(WORDS, max_size=4), min_size=1).filter(any))
@settings(max_examples=50, deadline=None)
def test_names_equal_scikit_learn(rows):
    binarizer = MultiLabelBinarizer(sparse_output=True)
    expected = binarizer.fit_transform(rows)
    Y, classes = encode_targets(rows, len(rows))
    check_form(Y)
    assert classes.tolist() == binarizer.classes_.tolist()
    np.testing.assert_array_equal(Y.toarray(), expected.toarray())
    again, _ = encode_targets(expected, len(rows), classes=classes)
    assert (again != Y).nnz == 0
    names = [labels_to_names(Y[[row]].indices, classes).tolist() for row in range(len(rows))]
    assert names == [sorted(row) for row in rows]


def test_label_text():
    texts = ["c", "d", "a", "b"]
    Y, classes = encode_targets(NAMES, 4, label_text=texts)
    assert classes.tolist() == texts
    np.testing.assert_array_equal(Y.toarray(), DENSE[:, [2, 0, 0, 1]] * [1, 0, 1, 1])
    Y, classes = encode_targets(DENSE, 4, label_text=["x", "x", "y"])  # duplicates may name columns
    assert classes.tolist() == ["x", "x", "y"]
    assert encode_targets(DENSE, 4, label_text=("x", "z", "y"))[1].tolist() == ["x", "z", "y"]


def test_classes_of_a_fitted_model():
    _, classes = encode_targets(NAMES, 4)
    Y, same = encode_targets([["b"], ["c"]], 2, classes=classes, label_text=["1", "2", "3"])
    assert same is classes
    np.testing.assert_array_equal(Y.toarray(), [[0, 1, 0], [0, 0, 1]])
    Y, _ = encode_targets([["b", "new"], ["newer"]], 2, classes=classes, unseen="ignore")
    np.testing.assert_array_equal(Y.toarray(), [[0, 1, 0], [0, 0, 0]])
    ints = np.array([10, 20])
    np.testing.assert_array_equal(
        encode_targets([[20], []], 2, classes=ints)[0].toarray(), [[0, 1], [0, 0]]
    )


def test_one_column_stays_multi_label():
    Y, classes = encode_targets(np.array([[1], [0]]), 2)
    assert Y.shape == (2, 1)
    assert classes.tolist() == [0]


def test_rows_without_names_at_score_time():
    Y, _ = encode_targets([[], []], 2, label_text=["a", "b"])
    check_form(Y)
    assert Y.shape == (2, 2)


def test_input_stays_as_it_is():
    unsorted = sp.csr_array(
        (np.array([1.0, 1.0, 0.0]), np.array([2, 0, 1]), np.array([0, 3])), shape=(1, 3)
    )
    for array in (unsorted.data, unsorted.indices, unsorted.indptr):
        array.setflags(write=False)
    Y, _ = encode_targets(unsorted, 1)
    check_form(Y)
    assert Y.nnz == 2
    assert unsorted.indices.tolist() == [2, 0, 1]
    rows = [["b", np.str_("a")], ["a"]]
    encode_targets(rows, 2)
    assert rows == [["b", "a"], ["a"]]
    assert type(rows[0][1]) is np.str_


def test_canonical_input_is_not_copied():
    Y = sp.csr_array(DENSE.astype(np.float32))
    assert np.shares_memory(encode_targets(Y, 4)[0].indices, Y.indices)


@pytest.mark.parametrize(
    ("Y", "message"),
    [
        (np.array([[0, 1], [2, 0]]), r"y\[1, 0\] is 2, but an indicator holds only 0 and 1"),
        (np.array([[0, 1.0], [np.nan, 0]]), r"y\[1, 0\] is nan"),
        (np.array([[0, -1], [0, 0]]), r"y\[0, 1\] is -1"),
        (np.array([[0, None], [0, 0]], dtype=object), r"y\[0, 1\] is None"),
        (sp.csr_array([[0, 1], [0, 0.5]]), r"y\[1, 1\] is 0.5"),
        (sp.csc_array([[0, 1], [np.nan, 0]]), r"y\[1, 0\] is nan"),
        (sp.coo_array(([1, 1], ([0, 0], [1, 1])), shape=(2, 2)), "duplicate entries"),
        (np.eye(3), "y has 3 rows but there are 2 documents"),
        ([["a"]], "y has 1 rows but there are 2 documents"),
        (np.zeros((2, 0)), "y has no columns"),
        (sp.coo_array(np.ones(2)), r"y is sparse with shape \(2,\)"),
        (np.zeros((2, 2, 2)), r"y has shape \(2, 2, 2\)"),
        (np.array([0, 1]), r"y is one-dimensional: y\[0\] is the scalar 0.*reshape"),
        (np.array([0.5, 1]), r"y\[0\] is the continuous value 0.5"),
        (np.float64(1), r"y has shape \(\)"),
        (None, "requires y to be passed, but the target y is None"),
        (["cat", "dog"], r"just one class: \[\[name\] for name in y\]"),
        (["cat", "dog"], r"y\[0\] is the scalar 'cat', but a document can have several labels"),
        ([["cat"], "dog"], r"y\[1\] is the scalar 'dog'"),
        ([["cat"], None], r"y\[1\] is missing \(None\); pass \[\]"),
        ([["cat"], ["dog", None]], r"y\[1\] holds a missing label name"),
        ([["cat"], ["dog", float("nan")]], r"y\[1\] holds a missing label name"),
        ([[], []], "y names no label at all"),
        ([[0, 1], [1, 0]], r"looks like an indicator.*np.asarray\(y\)"),
        ([[2**64], [1]], r"y holds the label 18446744073709551616.*as str"),
    ],
)
def test_wrong_values(Y, message):
    with pytest.raises(ValueError, match=message):
        encode_targets(Y, 2)


@pytest.mark.parametrize(
    ("Y", "message"),
    [
        ("cat", "y is of type str"),
        ((["a"] for _ in range(2)), "y is of type generator"),
        ({"a", "b"}, "y is a set, whose rows are in no order"),
        ([["a"], {"b": 1}], r"y\[1\] is of type dict"),
        ([["a"], [1]], r"y\[1\] holds the label name 1 \(int\) but y\[0\] holds 'a' \(str\)"),
        ([["a"], [1.5]], r"y\[1\] holds the label name 1.5 of type float"),
        ([[True], [False]], r"y\[0\] holds the label name True of type bool"),
        (np.eye(2, dtype=complex), "y is an array of dtype complex128"),
        (sp.csr_array(np.eye(2, dtype=complex)), "y is sparse with dtype complex128"),
    ],
)
def test_wrong_types(Y, message):
    with pytest.raises(TypeError, match=message):
        encode_targets(Y, 2)


def test_wrong_label_text():
    with pytest.raises(ValueError, match="y has 3 columns but label_text has 2 entries"):
        encode_targets(DENSE, 4, label_text=["a", "b"])
    with pytest.raises(ValueError, match=r"y\[0\] names the label 'c', which is not in label_text"):
        encode_targets(NAMES, 4, label_text=["a", "b"])
    with pytest.raises(ValueError, match="label_text holds 'a' more than once"):
        encode_targets(NAMES, 4, label_text=["a", "b", "c", "a"])
    with pytest.raises(TypeError, match=r"label_text\[1\] is None of type NoneType"):
        encode_targets(DENSE, 4, label_text=["a", None, "c"])
    with pytest.raises(TypeError, match="label_text is a single str"):
        encode_targets(DENSE, 4, label_text="abc")


def test_wrong_classes():
    classes = np.array(["a", "b"], dtype=object)
    with pytest.raises(ValueError, match="y has 3 columns but the model was fitted on 2 labels"):
        encode_targets(DENSE, 4, classes=classes)
    with pytest.raises(ValueError, match=r"'c', which is not in the fitted classes; drop it"):
        encode_targets(NAMES, 4, classes=classes)


def test_labels_to_names():
    classes = np.array(["a", "b"], dtype=object)
    names = labels_to_names(np.array([[1, -1], [0, 1]]), classes)
    assert names.tolist() == [["b", None], ["a", "b"]]
    assert labels_to_names([0, -1], np.array([5, 6])).tolist() == [5, None]
    assert labels_to_names(np.zeros((0, 3), dtype=int), classes).shape == (0, 3)
    for wrong in (2, -2):
        with pytest.raises(ValueError, match="between -1 and 1"):
            labels_to_names([wrong], classes)


@pytest.mark.parametrize(
    "make",
    [
        lambda dense: dense,
        sp.csr_array,
        sp.coo_matrix,
        lambda dense: sp.csc_array(dense * 2.5),
        lambda dense: np.argwhere(dense),
        lambda dense: np.argwhere(dense)[::-1].astype(np.int32),
        lambda dense: np.argwhere(dense).tolist() * 2,
    ],
)
def test_exclude(make):
    dense = DENSE.astype(bool)
    exclude = check_exclude(make(dense), 4, 3)
    assert exclude.dtype == bool
    assert exclude.has_canonical_format
    assert exclude.indices.dtype == np.int32
    np.testing.assert_array_equal(exclude.toarray(), dense)


def test_exclude_without_pairs():
    assert check_exclude(None, 4, 3) is None
    assert check_exclude([], 4, 3).nnz == 0
    explicit_zero = sp.csr_array((np.array([0.0]), np.array([1]), np.array([0, 1])), shape=(1, 3))
    assert check_exclude(explicit_zero, 1, 3).nnz == 0
    assert explicit_zero.nnz == 1


@pytest.mark.parametrize(
    ("exclude", "error", "message"),
    [
        (np.zeros((2, 3), dtype=bool), ValueError, r"exclude has shape \(2, 3\) but the targets"),
        (sp.csr_array((4, 2)), ValueError, r"exclude has shape \(4, 2\)"),
        ([[0, 1], [1, 3]], ValueError, r"exclude\[1\] is the pair \(1, 3\)"),
        ([[-1, 1]], ValueError, r"exclude\[0\] is the pair \(-1, 1\)"),
        (np.zeros((4, 3)), TypeError, "pass a sparse or bool matrix"),
        (np.zeros((4, 3), dtype=int), TypeError, r"shape \(4, 3\) and dtype int64"),
    ],
)
def test_wrong_exclude(exclude, error, message):
    with pytest.raises(error, match=message):
        check_exclude(exclude, 4, 3)
