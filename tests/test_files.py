"""What all readers share: files that are packed, cut off, hostile or in another encoding."""

import gzip
import io
import os
import zipfile
from contextlib import suppress

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st

from skxmc.datasets import _files
from skxmc.datasets._files import as_id, json_records, load_csr, text_lines
from skxmc.datasets._sparse_text import read_filter, read_targets

BOM = b"\xef\xbb\xbf"


def write(path, content):
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
@pytest.mark.parametrize("name", ["a.txt", "a.txt.gz"])
@pytest.mark.parametrize("content", [b"one\ntwo", BOM + b"one\r\ntwo\r\n"])
def test_lines_of_packed_and_plain_files(name, pack, content, tmp_path):
    assert list(text_lines(write(tmp_path / name, pack(content)))) == ["one", "two"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            gzip.compress(os.urandom(999).hex().encode())[:500],
            r"a.gz is cut off or damaged after line \d+",
        ),
        (gzip.compress(b"a\n" * 999)[:-8], "a.gz is cut off or damaged"),
        (gzip.compress(b"a\n")[:-8] + bytes(8), "a.gz is cut off or damaged after line 1"),
        (b"\x1f\x8bnothing", "a.gz is cut off or damaged after line 0"),
        ("text".encode("utf-16"), "UTF-16"),
        (b"one\ngr\xfc\xdfe\n", "line 2 of .*a.gz is not UTF-8"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:1", "git lfs pull"),
    ],
    # Packed bytes have the time in them, and processes of pytest-xdist must name tests alike.
    ids=["cut", "no end", "wrong sum", "not packed", "UTF-16", "latin-1", "pointer"],
)
def test_damaged_files_are_named(content, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        list(text_lines(write(tmp_path / "a.gz", content)))


def test_latin_lines_beside_utf8(tmp_path):
    path = write(tmp_path / "a.txt", "größe\n".encode() + "größe".encode("latin-1"))
    assert list(text_lines(path, latin=True)) == ["größe", "größe"]


def test_what_is_no_file(tmp_path):
    cases = [("none", "does not exist"), (".", "not a regular file")]
    if hasattr(os, "mkfifo"):  # not on Windows
        os.mkfifo(tmp_path / "pipe")
        cases.append(("pipe", "not a regular file"))
    for name, message in cases:
        with pytest.raises(FileNotFoundError, match=message):
            list(text_lines(tmp_path / name))


def test_decompression_bombs(tmp_path, monkeypatch):
    monkeypatch.setattr(_files, "MAX_UNPACKED_BYTES", 2**16)
    one_line, many_lines = bytes(2**24), b"\n" * 2**24
    for content in one_line, many_lines:
        path = write(tmp_path / "a.gz", gzip.compress(content))
        with pytest.raises(ValueError, match=r"a.gz unpacks to more than \d+ bytes.*unpack it"):
            list(text_lines(path))
    buffer = io.BytesIO()
    np.save(buffer, np.zeros(2**22))
    with zipfile.ZipFile(tmp_path / "a.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("data.npy", buffer.getvalue())
    with pytest.raises(ValueError, match=r"a.npz .* unpacks to more than"):
        load_csr(tmp_path / "a.npz")
    fair = gzip.compress(os.urandom(2**17).hex().encode())
    assert sum(map(len, text_lines(write(tmp_path / "a.gz", fair)))) == 2**18


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("[1]", r"line 3 of .* not a JSON object but \[1\]"),
        ("{", "line 3 of .* not JSON"),
        ("[" * 100_000, "line 3 of .* not JSON"),
        ('{"a": ' + "1" * 5000 + "}", "line 3 of .* not JSON"),
    ],
)
def test_lines_that_are_no_records(line, message, tmp_path):
    path = write(tmp_path / "a.json", f'{{"a": 1}}\n\n{line}\n'.encode())
    with pytest.raises(ValueError, match=message):
        list(json_records(path))


def test_blank_lines_between_records(tmp_path):
    path = write(tmp_path / "a.json", BOM + b'{"a": 1}\r\n\r\n{"a": 2}\r\n\r\n')
    assert list(json_records(path)) == [(1, {"a": 1}), (3, {"a": 2})]


@pytest.mark.parametrize(("value", "name"), [(" a ", "a"), (7, "7"), (2**70, str(2**70))])
def test_ids(value, name):
    assert as_id(value, "the id") == name


@pytest.mark.parametrize("value", [1.0, float("nan"), True, None, "", " ", [1], b"a"])
def test_what_is_no_id(value):
    with pytest.raises(ValueError, match=r"the id is .* pass the id as str"):
        as_id(value, "the id")


def save_parts(path, **parts):
    matrix = {"format": b"csr", "shape": [2, 3], "data": [1.0, 1.0], "indices": [0, 2]}
    np.savez(path, **{**matrix, "indptr": [0, 1, 2], **parts})
    return path


def test_saved_matrix(tmp_path):
    Y = load_csr(save_parts(tmp_path / "a.npz"))
    np.testing.assert_array_equal(Y.toarray(), [[1, 0, 0], [0, 0, 1]])
    sp.save_npz(tmp_path / "b.npz", sp.coo_matrix(([1, 1], ([0, 0], [1, 1])), shape=(1, 2)))
    assert load_csr(tmp_path / "b.npz").toarray().tolist() == [[0, 2]]


@pytest.mark.parametrize(
    "parts",
    [
        {"indices": [0, 3]},
        {"indices": [0, -1]},
        {"indptr": [0, 2**40, 2]},
        {"indptr": [0, 2, 1]},
        {"indptr": [0, 2]},
        {"shape": [2, -3]},
        {"data": ["a", "b"]},
        {"data": np.array([None, 1], dtype=object)},
        {"format": b"xyz"},
    ],
)
def test_damaged_matrices(parts, tmp_path):
    with pytest.raises(ValueError, match=r"a.npz is not a sparse matrix"):
        load_csr(save_parts(tmp_path / "a.npz", **parts))


def test_arrays_that_state_more_than_they_hold(tmp_path):
    buffer = io.BytesIO()
    np.save(buffer, np.zeros(4))
    content = buffer.getvalue().replace(b"(4,), }            ", b"(4000000000000,), }")
    assert content != buffer.getvalue()
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("data.npy", content)
    with pytest.raises(ValueError, match=r"a.npz is not a sparse matrix"):
        load_csr(tmp_path / "a.npz")


@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_changed_bytes_of_a_matrix(data, tmp_path_factory):
    """Whatever is read is a sound matrix, or there is a ValueError."""
    folder = tmp_path_factory.mktemp("npz")
    content = bytearray(save_parts(folder / "a.npz").read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    with suppress(ValueError):  # anything else fails the test
        load_csr(write(folder / "a.npz", bytes(content))).check_format(full_check=True)


@pytest.mark.parametrize("value", ["nan", "-1", "inf"])
def test_targets_that_are_no_targets(value, tmp_path):
    path = write(tmp_path / "Y.txt", f"2 3\n0:1\n1:1 2:{value}\n".encode())
    with pytest.raises(ValueError, match=r"row 1 of .*Y.txt has the value .* for column 2"):
        read_targets(path)
    sp.save_npz(tmp_path / "Y.npz", sp.csr_array([[1.0, 0], [0, float(value)]]))
    with pytest.raises(ValueError, match=r"row 1 of .*Y.npz has the value .* for column 1"):
        read_targets(tmp_path / "Y.npz")


def test_targets_with_zeros_repetitions_and_blank_last_lines(tmp_path):
    path = write(tmp_path / "Y.txt", BOM + b"3 3\r\n0:1 0:1 1:0\r\n\r\n2:0.5\r\n\r\n\r\n")
    Y = read_targets(path)
    np.testing.assert_array_equal(Y.toarray(), [[1, 0, 0], [0, 0, 0], [0, 0, 1]])
    assert Y.nnz == 2


def test_filter_pairs(tmp_path):
    path = write(tmp_path / "filter.txt", b"0 1\r\n1 0\r\n\r\n")
    assert np.argwhere(read_filter(path, (2, 2)).toarray()).tolist() == [[0, 1], [1, 0]]
    assert read_filter(tmp_path / "none.txt", (2, 2)).nnz == 0
    for content, message in ((b"0 1\n0 1 2\n", "line 2"), (b"0 2\n", r"line 1 .* \(0, 2\)")):
        with pytest.raises(ValueError, match=message):
            read_filter(write(path, content), (2, 2))
