"""Readers of features beside targets: PECOS and svmlight."""

import gzip
import tempfile
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.datasets import dump_svmlight_file

from skxmc.datasets import load_pecos, load_svmlight_xmc

X = np.array([[0.5, 0, 0, 1], [0, 2, 0, 0], [0, 0, 0, 0]], dtype=np.float32)
Y = [[1, 0, 1], [0, 1, 0], [0, 0, 0]]


@pytest.fixture
def pecos(tmp_path):
    for middle, rows in (".trn", slice(None)), (".tst", slice(0, 1)):
        sp.save_npz(tmp_path / f"X{middle}.npz", sp.csr_matrix(X[rows]))
        sp.save_npz(tmp_path / f"Y{middle}.npz", sp.csr_matrix(np.array(Y[rows], dtype=np.int8)))
    (tmp_path / "X.trn.txt").write_text("a\nb\n\n")
    (tmp_path / "output-items.txt").write_text("x\ny\nz\n\n")
    return tmp_path


def test_pecos(pecos):
    data = load_pecos(pecos)
    np.testing.assert_array_equal(data.X_train.toarray(), X)
    np.testing.assert_array_equal(data.Y_train.toarray(), Y)
    np.testing.assert_array_equal(data.X_test.toarray(), X[:1])
    assert data.X_train.dtype == data.Y_train.dtype == np.float32
    assert data.text_train == ["a", "b", ""]
    assert data.text_test is None
    assert data.label_text == ["x", "y", "z"]
    assert data.exclude_train.shape == (3, 3)


def test_pecos_without_splits_and_with_features_below(pecos):
    for name in ("X.trn.npz", "X.tst.npz", "Y.tst.npz", "X.trn.txt", "output-items.txt"):
        (pecos / name).unlink()
    (pecos / "Y.trn.npz").rename(pecos / "Y.npz")
    data = load_pecos(pecos)
    assert data.X_train is data.text_train is data.label_text is data.Y_test is None
    (pecos / "dense").mkdir()
    np.save(pecos / "dense" / "X.npy", X)
    np.testing.assert_array_equal(load_pecos(pecos).X_train, X)
    (pecos / "sparse").mkdir()
    sp.save_npz(pecos / "sparse" / "X.npz", sp.csr_matrix(X))
    with pytest.raises(ValueError, match=r"several features, dense/X.npy, sparse/X.npz"):
        load_pecos(pecos)


def test_wrong_folders_of_pecos(pecos):
    sp.save_npz(pecos / "Y.tst.npz", sp.csr_matrix((1, 4)))
    with pytest.raises(ValueError, match=r"Y has 3 columns in the training set .* and 4"):
        load_pecos(pecos)
    (pecos / "Y.tst.npz").unlink()
    (pecos / "output-items.txt").write_text("x\ny\n")
    with pytest.raises(ValueError, match=r"output-items.txt has 2 lines, but there are 3 labels"):
        load_pecos(pecos)
    sp.save_npz(pecos / "X.trn.npz", sp.csr_matrix([[0, np.nan], [1, 0], [0, 0]]))
    with pytest.raises(ValueError, match=r"row 0 of .*X.trn.npz holds NaN"):
        load_pecos(pecos)
    sp.save_npz(pecos / "X.trn.npz", sp.csr_matrix((2, 2)))
    with pytest.raises(ValueError, match=r"X.trn.npz has 2 rows, and .* has 3"):
        load_pecos(pecos)
    (pecos / "X.trn.npz").unlink()
    np.save(pecos / "X.trn.npy", np.zeros(3))
    with pytest.raises(ValueError, match=r"X.trn.npy has shape \(3,\)"):
        load_pecos(pecos)
    (pecos / "Y.trn.npz").unlink()
    with pytest.raises(FileNotFoundError, match=r"neither Y.trn.npz nor Y.npz"):
        load_pecos(pecos)


def write(folder, content, name="train.txt"):
    path = folder / name
    path.write_bytes(gzip.compress(content.encode()) if name.endswith("gz") else content.encode())
    return path


FROM_0 = "0,2 0:0.5 3:1\n1 1:2\n\n"
FROM_1 = "1,3 1:0.5 4:1\n2 2:2\n\n"


@pytest.mark.parametrize(
    ("content", "options"),
    [
        ("3 4 3\n" + FROM_0, {}),
        ("3 4 3\n" + FROM_1, {}),
        ("3 4 3\n" + FROM_0, {"zero_based": True}),
        ("3 4 3\n" + FROM_1, {"zero_based": False}),
        ("\ufeff3 4 3\r\n" + FROM_0.replace("\n", "\r\n") + "\r\n", {}),
        (FROM_0 + " # without anything\n", {}),
        (FROM_1 + " #\n", {}),
        ("0,2,0 3 0:0.5 # a comment\n1 1:2\n 2:0\n", {}),
    ],
)
@pytest.mark.parametrize("name", ["train.txt", "train.txt.gz"])
def test_svmlight(content, options, name, tmp_path):
    if "#" in content and content.startswith(("0,2 0", "1,3")):
        content = content.replace("\n\n", "\n")  # the comment keeps the last, empty document
    data = load_svmlight_xmc(write(tmp_path, content, name), **options)
    np.testing.assert_array_equal(data.X_train.toarray(), X)
    np.testing.assert_array_equal(data.Y_train.toarray(), Y)
    assert data.text_train is data.label_text is data.X_test is None
    assert data.X_train.dtype == data.Y_train.dtype == np.float32


def test_svmlight_test_set_and_texts(tmp_path):
    train = write(tmp_path, "3 4 3\n" + FROM_0)
    test = write(tmp_path, "1 4 3\n 1:1\n", "test.txt")
    labels = write(tmp_path, "x\ny\nz\n\n", "labels.txt")
    data = load_svmlight_xmc(train, test, label_text=labels)
    assert data.label_text == ["x", "y", "z"]
    assert (data.X_test.shape, data.Y_test.shape, data.Y_test.nnz) == ((1, 4), (1, 3), 0)
    # A test set without a 0 counts from where the training set does.
    test = write(tmp_path, "2 1:1\n", "test.txt")
    data = load_svmlight_xmc(write(tmp_path, FROM_0), test, label_text=list("abcd"))
    assert data.Y_test.toarray().tolist() == [[0, 0, 1, 0]]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("3 4 3\n0 0:1\n", "has 1 documents, and 3 by its first line"),
        ("1 4 3\n0 0:nan\n", "line 2 of .*the value nan is not finite"),
        ("1 4 3\n0 0:1:2\n", "line 2 of .*train.txt is not label,label"),
        ("1 4 3\na 0:1\n", "line 2 of .*train.txt is not label,label"),
        ("1 4 3\n-1 0:1\n", "line 2 of .* index -1 lies outside"),
        ("0 0:1\n9999999999 0:1\n", "line 2 of .* index 9999999999 lies outside"),
        ("2 4 3\n0 0:1\n3 0:1\n", "document 1 of .* has the index 3 of labels, outside of 0 to 2"),
        ("1 4 3\n0 0:1 4:1\n", "document 0 of .* has the index 4 of features, outside of 0 to 3"),
    ],
)
def test_wrong_lines_are_named(content, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        load_svmlight_xmc(write(tmp_path, content))


def test_wrong_arguments(tmp_path):
    path = write(tmp_path, "3 4 3\n" + FROM_0)
    with pytest.raises(ValueError, match="zero_based is 'no'"):
        load_svmlight_xmc(path, zero_based="no")
    with pytest.raises(ValueError, match="outside of 1 to 4; correct it, or set zero_based"):
        load_svmlight_xmc(path, zero_based=False)
    with pytest.raises(ValueError, match="label_text has 2 texts, but there are 3 labels"):
        load_svmlight_xmc(path, label_text=["x", "y"])
    with pytest.raises(ValueError, match=r"state different numbers of features, \[4, 5\]"):
        load_svmlight_xmc(path, write(tmp_path, "1 5 3\n0 0:1\n", "test.txt"))


MATRIX = st.lists(
    st.tuples(st.sets(st.integers(0, 3)), st.dictionaries(st.integers(0, 4), st.integers(1, 9))),
    min_size=1,
    max_size=6,
)


@given(rows=MATRIX, stated=st.booleans())
@settings(max_examples=50, deadline=None)
def test_what_scikit_learn_writes_is_read(rows, stated):
    labels, features = np.zeros((len(rows), 4)), np.zeros((len(rows), 5))
    for row, (own, values) in enumerate(rows):
        labels[row, list(own)] = 1
        features[row, list(values)] = list(values.values())
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.txt"
        dump_svmlight_file(features, labels, str(path), multilabel=True)
        header = f"{len(rows)} 5 4\n" if stated else ""
        end = "" if stated else "3 4:1\n"  # without a header a blank last line is none
        path.write_text(header + path.read_text() + end)
        data = load_svmlight_xmc(path, zero_based=True)
    np.testing.assert_array_equal(data.X_train.toarray()[: len(rows)], features)
    np.testing.assert_array_equal(data.Y_train.toarray()[: len(rows)], labels)
