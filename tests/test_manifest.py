"""Folders from anybody: what is in them is checked, and nothing outside of them is opened."""

import copy
import json
import os
import random
import shutil
import socket
import struct
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse as sp
from saved_folders import rewrite
from tiny_models import save_encoder

from skxmc import ViXMLClassifier
from skxmc._estimator import _persistence
from skxmc._folders import _strict_json
from skxmc._folders._content import ARRAYS, read_content, readings, write_content
from skxmc._folders._manifest import METADATA, WHOLE
from skxmc._folders._replacing import replacing
from skxmc._folders._strict_json import is_sealed, parse_json, seal
from skxmc.indexes import Exact

ROOT = Path(__file__).resolve().parents[1]
WORDS = "red green blue apple car tree house dog cat bird fast slow".split()
RNG = np.random.RandomState(0)
VECTORS = RNG.normal(size=(40, 6)).astype(np.float32)
TEXTS = [" ".join(WORDS[word] for word in row) for row in RNG.randint(len(WORDS), size=(40, 3))]
LABELS = [sorted({*text.split()}) for text in TEXTS]
KINDS = ("vectors", "texts")


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Two small models in folders, not to be changed, and what they predict."""
    place = tmp_path_factory.mktemp("models")
    encoder = save_encoder(place / "encoder", words=WORDS)
    common = {"random_state": 0, "device": "cpu", "n_neighbors": 5}
    found = {}
    for kind, options, X in (
        ("vectors", {"encoder": "precomputed"}, VECTORS),
        ("texts", {"encoder": encoder, "train_encoder": "frozen"}, TEXTS),
    ):
        model = ViXMLClassifier(**options, **common).fit(X, LABELS)
        model.save(place / kind)
        found[kind] = (place / kind, X, model.predict_topk(X, k=3))
    return found


@pytest.fixture
def folder(models, tmp_path):
    """A function that copies a model to where it may be changed."""

    def copied(kind="vectors"):
        shutil.rmtree(tmp_path / "model", ignore_errors=True)
        return Path(shutil.copytree(models[kind][0], tmp_path / "model"))

    return copied


def content():
    """One of each form."""
    return {
        "numbers": [1, 2.5, None, True, float("inf")],
        "tuple": (1, "a"),
        "names": np.array(["a", "b"], dtype=object),
        "array": np.arange(12, dtype=np.float32).reshape(3, 4),
        "matrix": sp.csr_array(np.eye(4, 5, dtype=np.float32)),
        "index": Exact().build(np.eye(3, 4, dtype=np.float32)),
        "odd": {"$tuple": [1]},
    }


@pytest.fixture
def saved(tmp_path):
    """A small content in a folder, with a file of another library below."""
    with replacing(tmp_path / "model") as place:
        (place / "tower").mkdir()
        (place / "tower" / "config.json").write_text("{}", encoding="utf-8")
        write_content(place, content())
    return tmp_path / "model"


def refused(folder, match=None, **options):
    """The error of loading, which names the folder."""
    with pytest.raises((ValueError, FileNotFoundError), match=match) as caught:
        read_content(folder, parts=("tower",), **options)
    assert str(folder) in str(caught.value)
    return caught.value


def change_array(folder, name, values):
    """Write other numbers of the same size over an array, and a manifest that fits."""
    path = folder / ARRAYS
    data = bytearray(path.read_bytes())
    (length,) = struct.unpack("<Q", data[:8])
    first, last = json.loads(data[8 : 8 + length])[name]["data_offsets"]
    values = np.ascontiguousarray(values).tobytes()
    assert len(values) == last - first
    data[8 + length + first : 8 + length + last] = values
    path.write_bytes(data)
    rewrite(folder, files=True)


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


def test_damaged_matrix_of_a_model_is_an_error_before_predictions(folder):
    model = folder()
    matrix = ViXMLClassifier.load(model).ensemble_.Y_
    indices = matrix.indices.copy()
    indices[0] = 1000
    change_array(model, "ensemble.Y.indices", indices)
    with pytest.raises(ValueError, match="damaged"):
        ViXMLClassifier.load(model, verify=False)


# --- names and links ---

NAMES = [
    "../other.safetensors",
    "/etc/hostname",
    "tower/../../x",
    "..",
    ".",
    "",
    "tower//x",
    "tower/",
    "/",
    "tower/./x",
    "..\\x",
    "C:x.index",
    "a\nb",
    "a\0b",
    "x" * 501,
    "tower/x. ",
    "con?.json",
    ".skxmc.next/x.json",
    METADATA,
    "tower/pytorch_model.bin",
    "tower/model.PKL",
    "tower/weights.pt",
    "cache.joblib",
]


@pytest.mark.parametrize("name", NAMES, ids=ascii)
def test_names_that_leave_the_folder_or_are_pickles_are_refused(name, saved):
    entry = {"size": 5, "sha256": "0" * 64}
    rewrite(saved, lambda tree: tree["files"].update({name: entry}))
    error = str(refused(saved, "damaged"))
    assert "no name of a file" in error or "pickle" in error


ENTRIES = [
    5,
    None,
    [],
    {},
    {"size": 5},
    {"size": -1, "sha256": "0" * 64},
    {"size": 1.5, "sha256": "0" * 64},
    {"size": True, "sha256": "0" * 64},
    {"size": "5", "sha256": "0" * 64},
    {"size": 5, "sha256": "0" * 63},
    {"size": 5, "sha256": None},
    {"size": 5, "sha256": "Z" * 64},
    {"size": 5, "sha256": "0" * 64, "sample": 5},
]


@pytest.mark.parametrize("entry", ENTRIES, ids=str)
def test_entries_without_size_or_hash_are_refused(entry, saved):
    rewrite(saved, lambda tree: tree["files"].update({"x.json": entry}))
    refused(saved, r"skxmc\.json.*damaged")


def test_manifest_needs_an_id_and_few_files(saved):
    whole = (saved / METADATA).read_bytes()
    for save in (None, 5, "", "g" * 32, ["a"]):
        rewrite(saved, lambda tree, save=save: tree.update(save=save))
        refused(saved, "damaged")
    (saved / METADATA).write_bytes(whole)
    entry = {"size": 0, "sha256": "0" * 64}
    rewrite(saved, lambda tree: tree["files"].update({f"{n}.txt": entry for n in range(1001)}))
    refused(saved, "more than 1000 files")


@pytest.mark.parametrize(
    "place",
    [
        ["../index.index", 3, 4],
        ["/etc/hostname", 3, 4],
        ["", 3, 4],
        ["..", 3, 4],
        [".", 3, 4],
        [METADATA, 3, 4],
        [ARRAYS, 3, 4],
        ["tower/config.json", 3, 4],
        ["unlisted.index", 3, 4],
        ["index.index", 4, 4],
        ["index.index", 3, 3],
        ["index.index", 2**60, 2**60],
        ["index.index", 3],
        ["index.index", "3", 4],
        ["index.index", 3.0, 4],
        [["index.index"], 3, 4],
        "index.index",
        {"name": "index.index"},
        None,
        5,
    ],
    ids=str,
)
def test_indexes_are_listed_files_with_the_saved_shape(place, saved):
    shutil.copy(saved / "index.index", saved / "unlisted.index")
    rewrite(saved, lambda tree: tree.update(index={"$index": place}))
    refused(saved, "damaged")


def replace_by(kind, path, other):
    """Put something in the place of a file, or of the folder around it."""
    target = path.parent if kind.startswith("folder") else path
    Path(target).rename(other)
    if kind.endswith("link"):
        target.symlink_to(other)
    elif kind.endswith("dangling"):
        target.symlink_to(other.parent / "nowhere")
    elif kind == "pipe":
        os.mkfifo(target)
    elif kind == "socket":
        with socket.socket(socket.AF_UNIX) as end:
            end.bind(str(target))
    elif kind == "directory":
        target.mkdir()


@pytest.mark.skipif(os.name != "posix", reason="needs links and pipes")
@pytest.mark.parametrize("kind", ["link", "dangling", "pipe", "directory", "socket"])
@pytest.mark.parametrize("name", [ARRAYS, "index.index", "tower/config.json", METADATA])
def test_what_is_no_file_is_not_opened(kind, name, saved, tmp_path, monkeypatch):
    if kind == "socket":
        monkeypatch.chdir((saved / name).parent)  # names of sockets are short
        replace_by(kind, Path(Path(name).name), tmp_path / "other")
    else:
        replace_by(kind, saved / name, tmp_path / "other")
    refused(saved, r"is (a link|a named pipe|a folder|a socket), which is not read")


@pytest.mark.skipif(os.name != "posix", reason="needs links")
@pytest.mark.parametrize("inside", [False, True])
def test_linked_folders_are_not_entered(inside, saved, tmp_path):
    replace_by("folder link", saved / "tower" / "x", (saved if inside else tmp_path) / "other")
    refused(saved, "below 'tower', which is a link")


FOREIGN = [
    "tower/evil.py",
    "tower/tokenizer.model",
    "tower/model.safetensors.index.json",
    "tower/adapter_config.json",
    "tower/pytorch_model.bin",
    "tower/modules.json",
    "tower/README",
    "tower/.hidden",
    "tower/sub/x.json",
    "tower/sub/deep/x.json",
]


@pytest.mark.parametrize("name", FOREIGN)
@pytest.mark.parametrize("verify", [True, False])
def test_files_that_are_not_listed_are_refused_where_others_read(name, verify, saved):
    (saved / name).parent.mkdir(parents=True, exist_ok=True)
    (saved / name).touch()
    top = "/".join(name.split("/")[:2])
    refused(saved, rf"holds '{top}', which is not part of the model", verify=verify)


def test_folder_of_another_library_is_refused_when_nothing_in_it_is_listed(saved):
    rewrite(saved, lambda tree: tree["files"].pop("tower/config.json"))
    refused(saved, r"holds 'tower/config\.json'")


def test_other_files_beside_the_model_are_not_read(saved):
    for name in ("README.md", "more.index", "tower/.DS_Store"):
        (saved / name).write_bytes(b"\xff")
    (saved / "data").mkdir()
    assert read_content(saved, parts=("tower",))["tuple"] == (1, "a")


@pytest.mark.parametrize(
    "shards",
    [
        {"weight_map": {"a": "../m.safetensors"}},
        {"weight_map": {"a": "/m.safetensors"}},
        {"weight_map": {"a": "other.safetensors"}},
        {"weight_map": {"a": ["config.json"]}},
        {"weight_map": {"a": None}},
        {"weight_map": ["config.json"]},
        {"weight_map": "config.json"},
        {},
        [],
    ],
    ids=str,
)
def test_lists_of_shards_name_listed_files(shards, saved):
    name = "tower/model.safetensors.index.json"
    (saved / name).write_text(json.dumps(shards), encoding="utf-8")
    rewrite(saved, lambda tree: tree["files"].update({name: None}))
    rewrite(saved, files=True)
    refused(saved, r"index\.json.*damaged")
    (saved / name).write_text('{"weight_map": {"a": "config.json"}}', encoding="utf-8")
    rewrite(saved, files=True)
    assert read_content(saved, parts=("tower",))["tuple"] == (1, "a")


LOAD = """
import sys
from skxmc import ViXMLClassifier

opened = []


def note(event, arguments):
    if event == "open" and isinstance(arguments[0], str):
        opened.append(arguments[0])


for folder in sys.argv[1:]:
    ViXMLClassifier.load(folder)  # imports everything
sys.addaudithook(note)
for folder in sys.argv[1:]:
    open(folder + "/BEGIN-HERE", "w").close()
    ViXMLClassifier.load(folder)
    open(folder + "/END-HERE", "w").close()
print(*opened, sep="\\n")
"""

# Names of open files may begin with these, which belong to the machine and to nobody.
MACHINE = ("/proc/", "/sys/", "/etc/localtime", "/dev/shm")


def load_in_process(models, *prefix):
    return subprocess.run(
        [*prefix, sys.executable, "-c", LOAD, *(str(models[kind][0]) for kind in KINDS)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()


def check_opened(names, models):
    """Whether what was opened is relative to an opened folder, below it, or code of a library."""
    for kind in KINDS:
        folder = str(models[kind][0])
        begin, end = (names.index(f"{folder}/{name}-HERE") for name in ("BEGIN", "END"))
        part = names[begin : end + 1]
        assert {METADATA, ARRAYS} <= set(part)
        for name in part:
            relative = not name.startswith("/") and ".." not in name.split("/")
            assert relative or name.startswith((folder, *MACHINE, sys.prefix, sys.base_prefix))
        (models[kind][0] / "BEGIN-HERE").unlink()
        (models[kind][0] / "END-HERE").unlink()


@pytest.mark.slow
def test_nothing_is_opened_outside_of_the_folder(models):
    check_opened(load_in_process(models), models)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("strace") is None, reason="needs strace")
def test_system_opens_nothing_outside_of_the_folder(models, tmp_path):
    log = tmp_path / "log"
    trace = ("strace", "-f", "-s", "500", "-e", "trace=open,openat,openat2", "-o", str(log))
    load_in_process(models, *trace)
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    check_opened([line.split('"')[1] for line in lines if line.count('"') >= 2], models)


# --- what a folder may set ---


@pytest.mark.parametrize(
    ("name", "value"),
    [("memory", "/tmp/cache"), ("trust_remote_code", True), ("device", "cuda:7")],
)
def test_parameters_that_no_folder_may_set(name, value, folder):
    model = folder()
    rewrite(model, lambda tree: tree["parameters"].update({name: value}))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "the model was fitted with trust_remote_code=True")
        loaded = ViXMLClassifier.load(model, device="cpu")
    expected = {"memory": None, "trust_remote_code": False, "device": "cpu"}
    assert getattr(loaded, name) == expected[name]
    assert set(_persistence.NEVER_FROM_A_FOLDER) == set(expected) <= set(loaded.get_params())


@pytest.mark.parametrize("name", ["featurizer_", "ensemble_", "predict", "__class__", "_x_", "x"])
def test_attributes_that_no_folder_may_set(name, folder):
    model = folder()
    rewrite(model, lambda tree: tree["fitted"].update({name: "evil"}))
    assert getattr(ViXMLClassifier.load(model), name, None) != "evil"


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


def test_seal_is_about_content_and_not_about_line_ends():
    data = seal({"a": 'x",\n "seal": "0', "b": [1]})
    assert is_sealed(data)
    assert is_sealed(data.replace(b"\n", b"\r\n"))
    assert not is_sealed(data.replace(b"1", b"2", 1))
    assert not is_sealed(b"{}")
    assert parse_json(data)["b"] == [1]
    with pytest.raises(ValueError, match="JSON compliant"):
        seal({"a": float("nan")})


def test_changed_json_is_read_only_on_purpose(saved):
    path = saved / METADATA
    path.write_bytes(path.read_bytes().replace(b'"a"', b'"c"'))
    refused(saved, "not as it was written.*verify=False")
    assert read_content(saved, verify=False)["tuple"] == (1, "c")


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


# --- damage, and mixtures of two saves ---


def outcome(folder, kind, models, **options):
    """ "refused" by an error that names folder and file, or "same" predictions."""
    _, X, expected = models[kind]
    try:
        loaded = ViXMLClassifier.load(folder, device="cpu", **options)
    except (ValueError, FileNotFoundError) as error:
        return "refused" if str(folder) in str(error) else repr(error)
    for one, two in zip(expected, loaded.predict_topk(X, k=3), strict=True):
        np.testing.assert_array_equal(one, two)
    return "same"


def damage(data, rng):
    """One of the ways in which bytes get lost."""
    data = bytearray(data)
    place = rng.randrange(len(data))
    kind = rng.choice(["bit", "byte", "zero", "swap", "cut", "append"])
    if kind == "bit":
        data[place] ^= 1 << rng.randrange(8)
    elif kind == "byte":
        data[place] = rng.randrange(256)
    elif kind == "zero":
        data[place : place + 16] = bytes(len(data[place : place + 16]))
    elif kind == "swap":
        half, size = len(data) // 2, min(256, len(data) // 2)
        data[:size], data[half : half + size] = data[half : half + size], data[:size]
    elif kind == "cut":
        del data[place:]
    else:
        data += bytes([place % 256])
    return bytes(data)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_damaged_bytes_are_refused_or_change_nothing(kind, models, folder):
    rng = random.Random(kind)
    model = folder(kind)
    files = sorted(path for path in model.rglob("*") if path.is_file())
    results = []
    for number in range(150):
        path = files[number % len(files)]
        whole = path.read_bytes()
        changed = damage(whole, rng)
        path.write_bytes(changed)
        result = outcome(model, kind, models)
        assert result == "refused" or changed == whole or path.name == METADATA
        results.append(result)
        path.write_bytes(whole)
    assert results.count("refused") > 140
    assert outcome(model, kind, models) == "same"


def edits(tree, path=()):
    """All places in a tree."""
    items = tree.items() if isinstance(tree, dict) else enumerate(tree)
    for name, value in items:
        yield (*path, name)
        if isinstance(value, dict | list):
            yield from edits(value, (*path, name))


VALUES = [
    None, True, -1, 0, 2**63, 1.5, 1e308, "", "x", "../../etc", [], {}, [1], {"a": 1},
    {"$tuple": []}, {"$float": "nan"}, {"$evil": 1},
]  # fmt: skip


def edited(tree, rng):
    """A copy with one value changed or dropped."""
    tree = copy.deepcopy(tree)
    path = rng.choice(list(edits(tree)))
    parent = tree
    for name in path[:-1]:
        parent = parent[name]
    if rng.random() < 0.1:
        del parent[path[-1]]
    else:
        parent[path[-1]] = copy.deepcopy(rng.choice(VALUES))
    return tree


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_edited_json_is_refused_or_loads_when_it_is_sealed_again(kind, folder):
    rng = random.Random(kind)
    model = folder(kind)
    tree = json.loads((model / METADATA).read_text(encoding="utf-8"))
    del tree["seal"]
    loaded = 0
    for _ in range(200):
        (model / METADATA).write_bytes(seal(edited(tree, rng)))
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                ViXMLClassifier.load(model)
            loaded += 1
        except (ValueError, FileNotFoundError) as error:
            if str(model) not in str(error):
                raise
    assert 0 < loaded < 150  # most places are parts of numbers of files, or checked


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_edited_json_is_refused_when_it_is_not_sealed(kind, models, folder):
    rng = random.Random(kind)
    model = folder(kind)
    tree = json.loads((model / METADATA).read_text(encoding="utf-8"))
    for _ in range(50):
        changed = edited(tree, rng)
        (model / METADATA).write_text(json.dumps(changed, indent=1) + "\n", encoding="utf-8")
        assert outcome(model, kind, models) == ("same" if changed == tree else "refused")


def test_large_files_are_sampled_and_hashed_whole_on_demand(tmp_path):
    vectors = np.arange(2**21, dtype=np.float32).reshape(-1, 64)
    with replacing(tmp_path / "model") as place:
        write_content(place, {"array": vectors})
    path = tmp_path / "model" / ARRAYS
    whole = path.read_bytes()
    assert len(whole) > WHOLE

    def results(start, stop):
        data = bytearray(whole)
        data[start:stop] = bytes(255 - byte for byte in data[start:stop])
        path.write_bytes(data)
        found = []
        for verify in ("auto", True, False):
            try:
                read_content(tmp_path / "model", verify=verify)
                found.append("read")
            except ValueError:
                found.append("refused")
        return found

    assert results(0, 0) == ["read", "read", "read"]
    assert results(len(whole) - 1, len(whole)) == ["refused", "refused", "read"]
    assert results(2**22, 2**22 + 2**18) == ["refused", "refused", "read"]
    assert results(100_000, 100_001) == ["read", "refused", "read"]


@pytest.mark.parametrize("name", [ARRAYS, "prototypes.index", "neighbours.index", METADATA])
@pytest.mark.parametrize("verify", ["auto", False])
def test_files_of_another_save_are_noticed(name, verify, models, folder, tmp_path):
    model = folder()
    ViXMLClassifier.load(model, device="cpu").save(tmp_path / "again")
    sizes = [(place / name).stat().st_size for place in (model, tmp_path / "again")]
    assert sizes[0] == sizes[1]
    shutil.copy(tmp_path / "again" / name, model / name)
    assert outcome(model, "vectors", models, verify=verify) == "refused"


def test_folder_that_is_replaced_while_it_is_read_is_read_again(saved):
    other = {**content(), "tuple": ("other",)}
    seen = []
    for reading in readings(saved, parts=("tower",)):
        with reading as found:
            seen.append(found["tuple"])
            if len(seen) <= 2:
                with replacing(saved) as place:
                    (place / "tower").mkdir()
                    (place / "tower" / "config.json").write_text("[]", encoding="utf-8")
                    write_content(place, other)
            if len(seen) == 2:
                raise KeyError("of no account")
    assert seen == [(1, "a"), ("other",), ("other",)]


def fail_in_body(folder, error):
    for reading in readings(folder):
        with reading:
            raise error


def test_errors_of_the_body_name_the_folder(saved):
    for error, match in (
        (KeyError("x"), "lacks an entry 'x'"),
        (TypeError("odd"), r"cannot be loaded \(TypeError: odd\)"),
        (MemoryError("much"), r"cannot be loaded \(MemoryError: much\)"),
        (ValueError("odd"), r"cannot be loaded \(ValueError: odd\)"),
    ):
        with pytest.raises(ValueError, match=match) as caught:
            fail_in_body(saved, error)
        assert str(saved) in str(caught.value)
    with pytest.raises(KeyboardInterrupt):
        fail_in_body(saved, KeyboardInterrupt())


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="needs Linux to count open files")
def test_nothing_stays_open(saved):
    def count():
        return len(os.listdir("/proc/self/fd"))

    before = count()
    for _ in range(5):
        read_content(saved)
    (saved / "index.index").unlink()
    for _ in range(5):
        refused(saved, "lacks its file")
    assert count() == before
