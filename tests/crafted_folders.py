"""Saved folders as somebody with bad intentions would make them: twenty of each kind.

The kinds are those of a review of an early version, in which each of them worked:

* S1, matrices whose numbers make products read and write outside of their memory,
* S2, indexes of faiss that name other files, or are not what their header says,
* S3, parameters that only the user may set, such as a cache full of pickles,
* S4, names and links that lead out of the folder,
* S5, code: kernels, modules beside the model, and quantisers,
* S6, sizes, pipes and patterns that take all memory or never end.

Everything is sealed again, as somebody would do who knows the format.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import faiss
import numpy as np
from saved_folders import change_array, rewrite
from small_models import VECTORS, N, SmallModels, save_vit
from tiny_models import save_encoder, save_language_model

from skxmc._folders._manifest import METADATA, describe
from skxmc._folders._strict_json import seal
from skxmc.indexes._bytes import checksum, pack, unpack

KINDS = ("S1", "S2", "S3", "S4", "S5", "S6")
EACH = 20
REFITTED = 5  # of S3: with these as parameters a model is fitted again

Edit = Callable[[Path, Path], None]  # of a model's folder, given the place outside


def make_outside(place: Path) -> Path:
    """What a folder may try to reach: whole models, and files that can be read as part of one."""
    save_vit(place / "vit")
    save_encoder(place / "text", words=["red"])
    save_language_model(place / "language")
    (place / "weights.safetensors").write_bytes(
        (place / "language" / "model.safetensors").read_bytes()
    )
    tokenizer = (place / "language" / "tokenizer.json").read_bytes()
    for name in ("tokenizer.json", "tokenizer.4.0.json", "vocab.json", "lists.dat"):
        (place / name).write_bytes(tokenizer)
    (place / "cache").mkdir()
    return place


def craft(kind: str, number: int, models: SmallModels, outside: Path, folder: Path) -> str:
    """Make crafted folder `number` of a kind; returns the kind of model that it is."""
    model, edit = RECIPES[kind][number]
    shutil.copytree(models[model].folder, folder)
    edit(folder, outside)
    return model


# -- S1 -----------------------------------------------------------------------------------------


def _array(name: str, change: Callable[[np.ndarray], None]) -> Edit:
    def edit(folder: Path, outside: Path) -> None:
        values = _read_array(folder, name)
        change(values)
        change_array(folder, name, values)

    return edit


def _read_array(folder: Path, name: str) -> np.ndarray:
    from safetensors.numpy import load_file

    return load_file(folder / "arrays.safetensors")[name].copy()


def _put(place: int, value: float) -> Callable[[np.ndarray], None]:
    def change(values: np.ndarray) -> None:
        values[place] = value

    return change


S1 = [
    *(_array("ranker.Y.indices", _put(place, value))
      for place in (0, -1)
      for value in (12, 1000, 10**5, 2 * 10**7, 2**31 - 1, -1, -(2**31))),
    *(_array("ranker.Y.indptr", _put(place, value))
      for place, value in ((0, 1), (0, -1), (1, 10**6), (-1, 2**31 - 1), (-1, 0), (5, -(2**31)))),
]  # fmt: skip


# -- S2 -----------------------------------------------------------------------------------------


def _payload(make: Callable[[Path], np.ndarray]) -> Edit:
    def edit(folder: Path, outside: Path) -> None:
        path = folder / "prototypes.index"
        data = np.fromfile(path, dtype=np.uint8)
        head, written = data[:64].tobytes(), data[64:]
        header, _ = unpack(written)
        payload = make(outside)
        made = pack({**header, "checksum": checksum(payload)}, payload)
        path.write_bytes(head + np.asarray(made).tobytes())
        rewrite(folder, files=True)

    return edit


def _faiss(description: str, n: int, width: int = 6, metric: int = faiss.METRIC_INNER_PRODUCT):
    def make(outside: Path) -> np.ndarray:
        index = faiss.index_factory(width, description, metric)
        data = np.random.RandomState(0).normal(size=(max(n, 1), width)).astype(np.float32)
        index.train(data)
        index.add(data[:n])
        if description.startswith("IVF"):
            index.set_direct_map_type(faiss.DirectMap.Array)
        return faiss.serialize_index(index)

    return make


def _on_disk(name: str) -> Callable[[Path], np.ndarray]:
    """An index whose lists are in a file outside."""

    def make(outside: Path) -> np.ndarray:
        victim = str(outside / name)
        scratch = f"{victim[:-1]}~"  # made by faiss here; the victim has a name as long
        data = VECTORS[:12]
        index = faiss.index_factory(6, "IVF4,Flat", faiss.METRIC_INNER_PRODUCT)
        index.train(data)
        lists = faiss.OnDiskInvertedLists(4, index.code_size, scratch)  # faiss holds no reference
        index.replace_invlists(lists)
        index.add(data)
        index.set_direct_map_type(faiss.DirectMap.Array)
        payload = faiss.serialize_index(index).tobytes()
        os.unlink(scratch)
        assert scratch.encode() in payload
        return np.frombuffer(payload.replace(scratch.encode(), victim.encode()), dtype=np.uint8)

    return make


def _flipped(place: int, value: int) -> Callable[[Path], np.ndarray]:
    """Bytes of a right index with a number in them that is not."""

    def make(outside: Path) -> np.ndarray:
        payload = _faiss("IVF4,Flat", 12)(outside)
        start = place % len(payload)
        payload[start : start + 8] = np.array([value], dtype="<i8").view(np.uint8)
        return payload

    return make


S2 = [
    *map(_payload, (
        _on_disk("lists.dat"), _on_disk("thesis.txt"), _on_disk("vit/model.safetensors"),
        _faiss("Flat", 12), _faiss("IVF4,SQ8", 12), _faiss("IVF4,Flat", 36),
        _faiss("IVF4,Flat", 5), _faiss("IVF4,Flat", 12, width=8),
        _faiss("IVF4,Flat", 12, metric=faiss.METRIC_L2), _faiss("HNSW8,Flat", 12),
        _faiss("IVF4,PQ2x4", 40), _faiss("SQ8", 12), _faiss("IVF4,SQfp16", 12),
        _faiss("PCA4,Flat", 12),
        # the number of vectors twice, that of lists, and a place at the end
        _flipped(8, 2**62), _flipped(8, -1), _flipped(37, 2**40), _flipped(-8, 10**6),
        lambda outside: np.zeros(0, dtype=np.uint8),
        lambda outside: np.full(500, 255, dtype=np.uint8),
    )),
]  # fmt: skip


# -- S3 -----------------------------------------------------------------------------------------


def _parameter(name: str, value: Any) -> Edit:
    def edit(folder: Path, outside: Path) -> None:
        made = json.loads(json.dumps(value).replace("OUTSIDE", str(outside)))
        rewrite(folder, lambda tree: tree["parameters"].update({name: made}))

    return edit


def _encoder(kind: str, **parameters: Any) -> dict[str, Any]:
    described = [["$class", f"skxmc.encoders:{kind}"], ["parameters", parameters]]
    return {"$dict": described}


_TRUSTING = _encoder("ImageEncoder", model="OUTSIDE/vit", trust_remote_code=True)
S3 = [
    *(_parameter("memory", value)
      for value in ("OUTSIDE/cache", "../cache", "cache", "~", {"a": 1})),
    *(_parameter("device", value) for value in ("cuda:7", "meta", "xla", "mps")),
    *(_parameter("trust_remote_code", value) for value in (True, "yes")),
    *(_parameter("image_encoder", value) for value in (_TRUSTING, [_TRUSTING], {"x": _TRUSTING})),
    _parameter("encoder", _encoder("TextEncoder", name="OUTSIDE/text", trust_remote_code=True)),
    _parameter("encoder", _encoder("LanguageModel", name="OUTSIDE/text", trust_remote_code=1)),
    _parameter("objective", _encoder("TextEncoder", name=_TRUSTING, trust_remote_code=True)),
    _parameter("featurizer_", "OUTSIDE"),
    _parameter("evidence", [{"$dict": [["$class", "os:system"], ["parameters", {}]]}]),
    _parameter("index", {"$dict": [["$class", "joblib:Memory"], ["parameters", {"a": "x"}]]}),
]  # fmt: skip


# -- S4 -----------------------------------------------------------------------------------------


def _image_encoder(name: str) -> tuple[str, Edit]:
    def edit(folder: Path, outside: Path) -> None:
        made = name.replace("OUTSIDE", str(outside))
        rewrite(folder, lambda tree: tree["featurizer"]["image_encoder"].update({"model": made}))

    return "pictures", edit


def _tower(name: str, change: Callable[[dict, Path], None], model: str) -> tuple[str, Edit]:
    """Edit a JSON file of the tower, or write one."""

    def edit(folder: Path, outside: Path) -> None:
        path = folder / "tower" / name
        tree = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
        change(tree, outside)
        path.write_text(json.dumps(tree), encoding="utf-8")
        _list(folder)

    return model, edit


def _list(folder: Path) -> None:
    """List all regular files of a folder."""
    found = (path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
    files = sorted(path.relative_to(folder).as_posix() for path in found)
    listed = describe(folder, [name for name in files if name != METADATA])
    rewrite(folder, lambda tree: tree.update({"files": listed}))


def _tokenizer(**entries: Any) -> tuple[str, Edit]:
    def change(tree: dict, outside: Path) -> None:
        tree.update(json.loads(json.dumps(entries).replace("OUTSIDE", str(outside))))

    return _tower("tokenizer_config.json", change, "modern")


def _shards(outside_name: str) -> tuple[str, Edit]:
    def edit(folder: Path, outside: Path) -> None:
        (folder / "tower" / "model.safetensors").unlink()
        target = outside_name.replace("OUTSIDE", str(outside))
        index = {"metadata": {}, "weight_map": {"embeddings.norm.weight": target}}
        path = folder / "tower" / "model.safetensors.index.json"
        path.write_text(json.dumps(index), encoding="utf-8")
        _list(folder)

    return "modern", edit


def _link(name: str, target: str) -> tuple[str, Edit]:
    def edit(folder: Path, outside: Path) -> None:
        path = folder / name
        (shutil.rmtree if path.is_dir() else os.unlink)(path)
        path.symlink_to(outside / target)

    return "modern", edit


def _base(tree: dict, outside: Path) -> None:
    base = tree["featurizer"]["tower"]["base"]
    base.update({"name": str(outside / "language"), "origin": "hub"})


def _adapter(tree: dict, outside: Path) -> None:
    tree.update({"peft_type": "LORA", "base_model_name_or_path": str(outside / "text")})


def _backbone(tree: dict, outside: Path) -> None:
    name = f"local-dir:{outside / 'vit'}"
    tree.update({"model_type": "timm_wrapper", "architecture": name})
    tree["architectures"] = ["TimmWrapperModel"]


def _listed(name: str) -> tuple[str, Edit]:
    def edit(folder: Path, outside: Path) -> None:
        record = {"size": 5, "sha256": "0" * 64}
        made = name.replace("OUTSIDE", str(outside))
        rewrite(folder, lambda tree: tree["files"].update({made: record}))

    return "vectors", edit


S4 = [
    *map(_image_encoder, (
        "OUTSIDE/vit", "../outside/vit", "vit", "~/vit", "./vit", "OUTSIDE/vit/.",
        "open_clip:local-dir:OUTSIDE/vit", "open_clip:hf-hub:OUTSIDE/vit",
        "open_clip:RN50/OUTSIDE/weights.safetensors",
    )),
    _tokenizer(fast_tokenizer_files=["OUTSIDE/tokenizer.4.0.json"]),
    _tokenizer(init_inputs=["OUTSIDE/vocab.json"]),
    _tokenizer(tokenizer_file="OUTSIDE/tokenizer.json"),
    _tower("adapter_config.json", _adapter, "modern"),
    _tower("config.json", _backbone, "modern"),
    _shards("OUTSIDE/weights.safetensors"),
    _shards("../../outside/weights.safetensors"),
    _link("tower", "text"),
    _link("tower/tokenizer.json", "tokenizer.json"),
    ("decoder", lambda folder, outside: rewrite(folder, lambda tree: _base(tree, outside))),
    _listed("OUTSIDE/lists.dat"),
]  # fmt: skip


# -- S5 -----------------------------------------------------------------------------------------

_EVIL = "import pathlib\npathlib.Path({!r}).write_text('ran')\nclass Model: pass\n"


def _attention(value: Any) -> tuple[str, Edit]:
    def edit(folder: Path, outside: Path) -> None:
        rewrite(folder, lambda tree: tree["featurizer"]["tower"].update({"attention": value}))

    return "modern", edit


def _config(**entries: Any) -> tuple[str, Edit]:
    return _tower("config.json", lambda tree, outside: tree.update(entries), "modern")


def _module(name: str, **entries: Any) -> tuple[str, Edit]:
    """A module beside the model that leaves a file outside when it runs."""
    model, change = _tower(name, lambda tree, outside: tree.update(entries), "modern")

    def edit(folder: Path, outside: Path) -> None:
        evil = _EVIL.format(str(outside / "RAN"))
        (folder / "tower" / "evil.py").write_text(evil, encoding="utf-8")
        change(folder, outside)

    return model, edit


def _pickled(name: str) -> tuple[str, Edit]:
    def edit(folder: Path, outside: Path) -> None:
        (folder / "tower" / "model.safetensors").unlink()
        code = f"cposix\nsystem\n(S'touch {outside / 'RAN'}'\ntR.".encode()
        (folder / "tower" / name).write_bytes(code)
        _list(folder)

    return "modern", edit


S5 = [
    *map(_attention, (
        "evil/kernel", "evil/kernel@main:f", {"": "evil/kernel"}, ["evil/kernel"], 5, True,
        "flash_attention_9",
    )),
    _config(attn_implementation="evil/kernel"),
    _config(_attn_implementation="evil/kernel"),
    _config(quantization_config={"quant_method": "gptq", "bits": 4}),
    _config(quantization_config={"quant_method": "awq", "modules_to_not_convert": "evil"}),
    _config(architectures=["os.system"]),
    _config(architectures=["PreTrainedModel"], model_type="evil"),
    _config(use_kernels=True, kernel_config={"RMSNorm": "evil/kernel:f"}),
    _module("config.json", auto_map={"AutoModel": "evil.Model", "AutoConfig": "evil.Model"}),
    _module("config.json", auto_map={"AutoModel": "evil.Model"}, architectures=["Model"]),
    _module("config.json", auto_map={"AutoTokenizer": ["evil.Model", None]}),
    _module("tokenizer_config.json", auto_map={"AutoTokenizer": ["evil.Model", "evil.Model"]},
            tokenizer_class="Model"),
    _pickled("pytorch_model.bin"),
    _pickled("model.pt"),
]  # fmt: skip


# -- S6 -----------------------------------------------------------------------------------------


def _pipe(name: str, listed: bool = True) -> tuple[str, Edit]:
    def edit(folder: Path, outside: Path) -> None:
        path = folder / name
        if path.exists():
            path.unlink()
        os.mkfifo(path)
        if not listed:
            rewrite(folder, lambda tree: tree["files"].pop(name, None))

    return "modern", edit


def _text(change: Callable[[str], str]) -> tuple[str, Edit]:
    """Edit what JSON cannot hold, and seal it."""

    def edit(folder: Path, outside: Path) -> None:
        path = folder / METADATA
        tree = json.loads(path.read_text(encoding="utf-8"))
        del tree["seal"]
        path.write_bytes(seal({**tree, "MARK": 0}))
        text = change(path.read_text(encoding="utf-8"))
        path.write_text(text, encoding="utf-8")

    return "vectors", edit


def _tree(change: Callable[[dict], Any], model: str = "vectors") -> tuple[str, Edit]:
    return model, lambda folder, outside: rewrite(folder, change)


def _targets(tree: dict, outside: Path) -> None:
    tree["target_modules"] = "(.*.*.*.*.*.*.*.*)*x"


def _rank(tree: dict, outside: Path) -> None:
    tree["r"] = 10**9


def _adapters(change: Callable[[dict, Path], None]) -> tuple[str, Edit]:
    return _tower("adapter/adapter_config.json", change, "decoder")


S6 = [
    _pipe("arrays.safetensors"), _pipe("prototypes.index"), _pipe("tower/config.json"),
    _pipe("tower/extra.json", listed=False), _pipe(METADATA),
    _config(num_hidden_layers=10**6), _config(hidden_size=10**9), _config(vocab_size=10**12),
    _config(intermediate_size=10**10), _config(max_position_embeddings=2**40),
    _adapters(_targets), _adapters(_rank),
    _text(lambda text: text.replace('"MARK": 0', '"MARK": ' + "[" * 10**5 + "]" * 10**5)),
    _text(lambda text: text.replace('"MARK": 0', '"MARK": 1e400')),
    _text(lambda text: text.replace('"MARK": 0', '"MARK": 1' + "0" * 10**6)),
    _text(lambda text: text.replace('"MARK": 0', '"MARK": 0, "format": 1e400')),
    _tree(lambda tree: tree["ranker"]["Y"]["$csr"].update({"shape": {"$tuple": [N, 2**62]}})),
    _tree(lambda tree: tree["ranker"]["Y"]["$csr"].update({"shape": {"$tuple": [2**62, 12]}})),
    _tree(lambda tree: tree["fitted"].update({"x_": {"$array": ["y", "F64", [2**20, 2**30]]}})),
    _tree(lambda tree: tree["files"].update(
        {f"f{n}": {"size": 1, "sha256": "0" * 64} for n in range(5000)})),
]  # fmt: skip

RECIPES: dict[str, list[tuple[str, Edit]]] = {
    "S1": [("vectors", edit) for edit in S1],
    "S2": [("ivf", edit) for edit in S2],
    "S3": [("vectors" if n < REFITTED else "frozen", edit) for n, edit in enumerate(S3)],
    "S4": S4,
    "S5": S5,
    "S6": S6,
}


# -- in a process of its own ----------------------------------------------------------------------

# Seconds and bytes after which a folder has won.
PATIENCE, MEMORY = 60, 2**34


def open_all(jobs: list[dict[str, Any]], note: Callable[[str], None]) -> None:
    """Load each folder of `jobs` and predict; adds an outcome to each.

    Parameters
    ----------
    jobs : list of dict
        With "folder", "estimator", "X", "images", "options" and "refit".
    note : callable
        Is told when a job begins.
    """
    import resource
    import signal

    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    for job in jobs:
        note(job["folder"])
        signal.alarm(PATIENCE)  # ends the process
        job["outcome"] = _outcome(job)
        signal.alarm(0)


def _outcome(job: dict[str, Any]) -> dict[str, Any]:
    import warnings

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model = job["estimator"].load(job["folder"], device="cpu", **job["options"])
            answer = model.predict_topk(job["X"], k=3, images=job["images"])
            if job["refit"]:
                model.fit(job["X"], job["refit"])
    except Exception as error:
        return {"error": type(error).__name__, "message": str(error)}
    objects = [value for value in model.get_params().values() if hasattr(value, "get_params")]
    return {
        "answer": answer,
        "memory": model.memory,
        "device": model.device,
        "trusts": any(getattr(part, "trust_remote_code", False) for part in objects),
    }


def main(jobs_file: str, results_file: str) -> None:
    """Open what a file lists, after the whole models, so that everything is imported before."""
    import pickle
    import sys

    jobs = pickle.loads(Path(jobs_file).read_bytes())
    opened: list[str] = []

    def hook(event: str, arguments: tuple) -> None:
        if event == "open" and isinstance(arguments[0], str):
            opened.append(arguments[0])

    def note(folder: str) -> None:
        with open(f"{folder}.begin", "w"):
            pass

    open_all([job for job in jobs if job["whole"]], note=lambda folder: None)
    sys.addaudithook(hook)
    open_all(jobs, note)
    note(str(Path(results_file).with_suffix(".end")))
    names = list(opened)
    Path(results_file).write_bytes(pickle.dumps(([job["outcome"] for job in jobs], names)))


if __name__ == "__main__":
    import sys

    main(*sys.argv[1:])
