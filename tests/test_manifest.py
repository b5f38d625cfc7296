"""The list of a saved model's files: nothing else is opened, and each has the bytes it had."""

import gc
import json
import os
import shutil
import socket
from pathlib import Path

import numpy as np
import pytest
from saved_folders import content, refused, rewrite, save_content

from skxmc._folders import _content
from skxmc._folders._content import ARRAYS, read_content, readings, write_content
from skxmc._folders._manifest import METADATA, WHOLE
from skxmc._folders._replacing import replacing
from skxmc._folders._strict_json import is_sealed, parse_json, seal


@pytest.fixture
def saved(tmp_path):
    return save_content(tmp_path / "model")


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


def test_who_waits_for_a_lock_may_get_that_of_a_replaced_folder(saved, monkeypatch):
    """Saves of others, one after the other: each ends while this reader waits for the lock."""
    left = [10]

    def share(descriptor):
        if left[0]:
            left[0] -= 1
            shutil.rmtree(saved)
            save_content(saved)

    monkeypatch.setattr(_content, "share", share)
    monkeypatch.setattr(_content, "_ATTEMPTS_WITHOUT_LOCK", 0)
    assert read_content(saved, parts=("tower",))["tuple"] == (1, "a")
    assert left == [0]
    left[0] = 10**6
    refused(saved, "replaced again and again")


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
        gc.collect()  # files of tests before this one
        return len(os.listdir("/proc/self/fd"))

    before = count()
    for _ in range(5):
        read_content(saved)
    (saved / "index.index").unlink()
    for _ in range(5):
        refused(saved, "lacks its file")
    assert count() == before
