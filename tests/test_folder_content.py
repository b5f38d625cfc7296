"""What a saved folder holds comes back, and content that nobody saved is refused."""

import json
import struct

import numpy as np
import pytest
from saved_folders import change_array, content, refused, rewrite, save_content

from skxmc._folders import _strict_json
from skxmc._folders._content import ARRAYS, read_content, write_content
from skxmc._folders._manifest import METADATA
from skxmc._folders._replacing import replacing
from skxmc._folders._strict_json import parse_json
from skxmc.indexes import Exact


@pytest.fixture
def saved(tmp_path):
    return save_content(tmp_path / "model")


def change_header(folder, edit):
    """Edit the header of the arrays, and write a manifest that fits."""
    path = folder / ARRAYS
    data = path.read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + length])
    changed = edit(header)
    text = changed if isinstance(changed, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data[8 + length :])
    rewrite(folder, files=True)


def test_content_comes_back(saved):
    for verify in ("auto", True, False):
        found = read_content(saved, verify=verify)
        assert found["numbers"] == content()["numbers"]
        assert found["tuple"] == (1, "a")
        assert found["odd"] == {"$tuple": [1]}
        np.testing.assert_array_equal(found["array"], content()["array"])
        np.testing.assert_array_equal(found["matrix"].toarray(), np.eye(4, 5))
        assert len(found["index"]) == 3
    with pytest.raises(ValueError, match="verify must be"):
        read_content(saved, verify="all")


def test_arrays_keep_shape_and_order_and_names_do_not_clash(tmp_path):
    tree = {
        "a": {"b": np.array(3, dtype=np.int16)},
        "a.b": np.zeros((2, 0)),
        "big": np.arange(3, dtype=">f8"),
        "__metadata__": np.arange(2),
        "x": {"part": Exact().build(np.eye(2, dtype=np.float32))},
        "y": {"part": Exact().build(np.eye(3, dtype=np.float32))},
        "../z": Exact().build(np.eye(4, dtype=np.float32)),
    }
    with replacing(tmp_path / "model") as place:
        write_content(place, tree)
    found = read_content(tmp_path / "model")
    assert found["a"]["b"].shape == ()
    assert found["a"]["b"] == 3
    assert found["a.b"].shape == (2, 0)
    np.testing.assert_array_equal(found["big"], [0, 1, 2])
    np.testing.assert_array_equal(found["__metadata__"], [0, 1])
    assert [len(found[name]["part"]) for name in "xy"] == [2, 3]
    assert len(found["../z"]) == 4


@pytest.mark.parametrize(
    ("value", "match"),
    [
        (2**64, "64 bits"),
        ({1: 2}, "keys that are no strings"),
        ({1, 2}, "set"),
        (np.zeros(2, dtype=complex), "complex128"),
        (np.array([["a"]]), "shape"),
        (np.array(["2020-01-01"], dtype="datetime64[D]"), "datetime64"),
        (1j, "complex"),
    ],
)
def test_what_cannot_be_saved_is_named(value, match, tmp_path):
    with pytest.raises(TypeError, match=rf"here\.0 is of type .*{match}"):
        write_content(tmp_path, {"here": [value]})


def test_too_deep_and_reserved_content_is_not_saved(tmp_path):
    deep = []
    for _ in range(200):
        deep = [deep]
    with pytest.raises(ValueError, match="nested more than 100 deep"):
        write_content(tmp_path, {"deep": deep})
    for name in ("files", "$tuple"):
        with pytest.raises(ValueError, match="has no entry"):
            write_content(tmp_path, {name: 1})


# --- matrices (their products read and write by index) ---

MATRICES = {
    "column too large": ("indices", [0, 1, 2, 5]),
    "column far too large": ("indices", [0, 1, 2, 2**31 - 1]),
    "first column too large": ("indices", [1000, 1, 2, 3]),
    "negative column": ("indices", [0, 1, 2, -1]),
    "very negative column": ("indices", [-(2**31), 1, 2, 3]),
    "pointers start late": ("indptr", [1, 1, 2, 3, 4]),
    "pointers start below": ("indptr", [-1, 1, 2, 3, 4]),
    "pointers fall": ("indptr", [0, 3, 2, 3, 4]),
    "pointers leap": ("indptr", [0, 1000, 2, 3, 4]),
    "pointers end late": ("indptr", [0, 1, 2, 3, 5]),
    "pointers end early": ("indptr", [0, 1, 2, 3, 3]),
    "pointers end far": ("indptr", [0, 1, 2, 3, 2**31 - 1]),
    "nan": ("data", [1, np.nan, 1, 1]),
    "infinite": ("data", [1, 1, -np.inf, 1]),
}
SHAPES = [
    [5, 5],
    [3, 5],
    [4, 2],
    [4, -1],
    [4, 2**31],
    [4, 2**62],
    [2**62, 5],
    [0, 0],
    [4.0, 5],
    [True, 5],
    [4],
    [4, 5, 1],
    "4x5",
    None,
]


@pytest.mark.parametrize("name", MATRICES)
def test_matrices_with_wrong_entries_are_refused(name, saved):
    part, values = MATRICES[name]
    dtype = np.float32 if part == "data" else np.int32
    change_array(saved, f"matrix.{part}", np.array(values, dtype=dtype))
    refused(saved, "damaged", verify=False)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_matrices_with_wrong_shapes_are_refused(shape, saved):
    def edit(tree):
        packed = {"$tuple": shape} if isinstance(shape, list) else shape
        tree["matrix"]["$csr"]["shape"] = packed

    rewrite(saved, edit)
    refused(saved, r"skxmc\.json.*damaged")


@pytest.mark.parametrize("part", ["data", "indices", "indptr"])
@pytest.mark.parametrize("other", ["array", "numbers", "none", "missing", "beside"])
def test_matrices_of_other_things_are_refused(part, other, saved):
    def edit(tree):
        parts = tree["matrix"]["$csr"]
        if other == "missing":
            del parts[part]
        elif other == "beside":
            parts[part + "2"] = parts[part]
        else:
            parts[part] = {"array": tree["array"], "numbers": [0, 1], "none": None}[other]

    rewrite(saved, edit)
    refused(saved, r"skxmc\.json.*damaged")


# --- JSON ---


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("[" * 100_000 + "]" * 100_000, "nested more than 100 deep"),
        ('{"a":' * 100_000 + "1" + "}" * 100_000, "nested more than 100 deep"),
        ('{"a": NaN}', "NaN"),
        ('{"a": Infinity}', "Infinity"),
        ('{"a": -Infinity}', "Infinity"),
        ('{"a": 1e400}', "too large"),
        ('{"a": 18446744073709551616}', "64 bits"),
        ('{"a": -18446744073709551616}', "64 bits"),
        ('{"a": ' + "9" * 10_000 + "}", "64 bits"),
        ('{"a": 1, "b": 2, "a": 1}', "'a' twice"),
        ('{"x": {"a": 1, "\\u0061": 2}}', "'a' twice"),
        ('{"a": 1} {"b": 2}', "Extra data"),
        ('{"a": 1,}', None),
        ("{'a': 1}", None),
        ('\ufeff{"a": 1}', "BOM"),
        ("", None),
        ('"', None),
        ('{"a": "\n"}', None),
        (b'{"a": "\xff"}', "utf-8"),
        ('{"a": 1}'.encode("utf-16"), "utf-8"),
        (b"\x00" * 100, None),
    ],
    ids=lambda value: ascii(value)[:20],
)
def test_json_is_bounded_and_says_each_thing_once(text, match, saved):
    data = text if isinstance(text, bytes) else text.encode()
    with pytest.raises(ValueError, match=match):
        parse_json(data)
    (saved / METADATA).write_bytes(data)
    refused(saved, r"skxmc\.json.*damaged")


def test_json_in_strings_is_no_structure():
    tree = {"a": "[" * 500, "b\\": '\\"' + "{" * 500, "c": ["\\", '"[', "\\\\"], "d": "é\ud800"}
    assert parse_json(json.dumps(tree).encode()) == tree
    assert parse_json(b"[" * 100 + b"]" * 100)


def test_json_is_bounded_in_size_and_entries(monkeypatch, saved):
    with open(saved / METADATA, "r+b") as stream:
        stream.truncate(2**30 + 1)  # takes no room
    refused(saved, "more than 1073741824 bytes")
    monkeypatch.setattr(_strict_json, "MAX_ENTRIES", 1000)
    monkeypatch.setattr(_strict_json, "_PIECE", 64)
    many = ["a,[", 1.5] * 499
    assert parse_json(json.dumps(many).encode()) == many
    for text in (b"[" + b"[]," * 600 + b"[]]", b"[" + b"1," * 1001 + b"1]"):
        with pytest.raises(ValueError, match="more than 1000 entries"):
            parse_json(text)


FORMS = [
    {"$evil": 1},
    {"$tuple": 5},
    {"$tuple": {"a": 1}},
    {"$tuple": [1], "x": 1},
    {"x": 1, "$tuple": [1]},
    {"$objects": "abc"},
    {"$objects": None},
    {"$float": "1e400"},
    {"$float": 1},
    {"$float": ["inf"]},
    {"$dict": {"a": 1}},
    {"$dict": [["a", 1], ["a", 2]]},
    {"$dict": [[1, 2]]},
    {"$dict": [["a"]]},
    {"$csr": {}},
    {"$csr": [1, 2, 3, 4]},
    {"$array": "array"},
    {"$array": ["array"]},
    {"$array": ["nowhere", "F32", [3, 4]]},
    {"$array": ["array", "F64", [3, 4]]},
    {"$array": ["array", "F32", [4, 3]]},
    {"$array": ["array", "F32", [12]]},
    {"$array": ["array", "F32", [2**60]]},
    {"$array": ["array", "evil", [3, 4]]},
    {"$array": [{}, "F32", [3, 4]]},
    {"$": 1},
]


@pytest.mark.parametrize("form", FORMS, ids=str)
def test_unknown_forms_are_refused(form, saved):
    rewrite(saved, lambda tree: tree.update(tuple=[form]))
    refused(saved, "damaged")


def overlap(header):
    header["matrix.data"]["data_offsets"] = header["array"]["data_offsets"]


def far(header):
    header["array"]["shape"] = [2**60]


HEADERS = {
    "overlapping": overlap,
    "too large": far,
    "negative": lambda header: header["array"].update(shape=[-3, -4]),
    "float": lambda header: header["array"].update(shape=[3.0, 4]),
    "text": lambda header: header["array"].update(shape="34"),
    "dtype": lambda header: header["array"].update(dtype="F8_E4M3"),
    "no dtype": lambda header: header["array"].pop("dtype"),
    "offsets": lambda header: header["array"].update(data_offsets=[0]),
    "far offsets": lambda header: header["array"].update(data_offsets=[2**62, 2**62 + 48]),
    "text offsets": lambda header: header["array"].update(data_offsets="ab"),
    "missing array": lambda header: header.pop("array"),
    "no array": lambda header: header.update(array=5),
    "no metadata": lambda header: header.pop("__metadata__"),
    "other save": lambda header: header["__metadata__"].update(save="0" * 32),
    "no save": lambda header: header.update(__metadata__=[]),
    "many dimensions": lambda header: header["array"].update(shape=[1] * 40 + [12]),
    "list": lambda header: b"[]",
    "deep": lambda header: b"[" * 1000 + b"]" * 1000,
    "twice": lambda header: b'{"a": 1, "a": 1}',
    "empty": lambda header: b"",
}


@pytest.mark.parametrize("name", HEADERS)
def test_headers_of_arrays_are_checked_before_they_are_mapped(name, saved):
    change_header(saved, HEADERS[name])
    refused(saved, r"arrays\.safetensors.*damaged")


@pytest.mark.parametrize("length", [0, 7, 10**6, 2**63, 2**64 - 1])
def test_length_of_a_header_is_bounded(length, saved):
    data = (saved / ARRAYS).read_bytes()
    (saved / ARRAYS).write_bytes(struct.pack("<Q", length) + data[8:])
    rewrite(saved, files=True)
    refused(saved, r"arrays\.safetensors.*damaged")


@pytest.mark.parametrize("data", [b"", b"x", b"skxmc index ", b"\xff" * 200, b"\x80\x04K\x01."])
@pytest.mark.parametrize("name", [ARRAYS, "index.index"])
def test_other_bytes_are_no_arrays_and_no_index(data, name, saved):
    (saved / name).write_bytes(data)
    rewrite(saved, files=True)
    refused(saved, "damaged")


def test_payload_of_an_index_must_be_that_of_its_shape(saved):
    data = (saved / "index.index").read_bytes()
    for other in (data[:-4], data + b"\0" * 16, data[:70] + b"\xff" * 20 + data[90:]):
        (saved / "index.index").write_bytes(other)
        rewrite(saved, files=True)
        refused(saved, r"index\.index.*damaged")
