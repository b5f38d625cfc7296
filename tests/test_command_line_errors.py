"""What a user may get wrong in files: one line that says what, and a status that is not 0."""

import gzip
import json

import numpy as np
import pytest
from PIL import Image
from test_command_line import COLUMNS, LABELS, folder  # noqa: F401

from skxmc import DecoderXMCClassifier, ViXMLClassifier
from skxmc._cli._config import make_estimator, read_config
from skxmc._cli._main import main

ROW = '{"text": "red car", "labels": ["car"]}'
CASES = {
    "no such column": ("t.csv", "title,labels\nred,car\n", "no column 'text'"),
    "a repeated column": ("t.csv", "text,text,labels\na,b,c\n", "text"),
    "no rows": ("t.csv", "text,labels\n", "no documents with labels"),
    "an empty file": ("t.csv", "", "t.csv"),
    "too few cells": ("t.csv", "text,labels\nred\n", "t.csv"),
    "only blank labels": ("t.csv", "text,labels\nred,\nblue,\n", "no documents with labels"),
    "not of UTF-8": ("t.csv", "text,labels\ncaf\xe9,car\n".encode("latin-1"), "t.csv"),
    "no JSON": ("t.jsonl", f"{ROW}\n{{\n", "2"),
    "a missing key": ("t.jsonl", f'{ROW}\n{{"text": "dog"}}\n', "labels"),
    "labels that are null": (
        "t.jsonl", '{"text": "a", "labels": null}\n', "no documents with labels",
    ),
    "cut off": ("t.jsonl.gz", gzip.compress(f"{ROW}\n".encode() * 99)[:-9], "t.jsonl.gz"),
    "a pointer of git-lfs": (
        "t.jsonl", "version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "git",
    ),
    "no Parquet": ("t.parquet", "PAR", "t.parquet"),
    "a suffix that is unknown": ("t.xlsx", "PK", "t.xlsx"),
    "pictures that are missing": (
        "t.csv", "text,labels,image\nred,car,no.png\nblue,dog,\ngreen,cat,no2.png\n", "no.png",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_wrong_files_are_one_line(folder, tmp_path, capsys, case):  # noqa: F811
    name, content, message = CASES[case]
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    arguments = ["fit", str(path), "--config", str(folder / "model.toml"), "-q"]
    if "image" in str(content):
        arguments += ["--images", "image"]
    assert main([*arguments, "-o", str(tmp_path / "new")]) == 2
    out, err = capsys.readouterr()
    lines = [line for line in err.splitlines() if "warning" not in line]
    assert out == ""
    assert len(lines) == 1, err
    assert lines[0].startswith("skxmc: ")
    assert message in lines[0]
    assert not (tmp_path / "new").exists()


def test_what_is_odd_but_right_works(folder, tmp_path):  # noqa: F811
    """A byte order mark, blank last lines, odd line ends, half a surrogate pair, k above all."""
    rows = ["red car,car", "blue dog,dog", "red dog,dog|red", "green car,car"] * 5
    path = tmp_path / "t.csv"
    path.write_bytes("\r\n".join(["\ufefftext,labels", *rows, "", ""]).encode())
    model = str(tmp_path / "model")
    assert main(["fit", str(path), "--config", str(folder / "model.toml"), "-q", "-o", model]) == 0
    lines = tmp_path / "t.jsonl"
    lines.write_text('{"text": "red \\ud800 car"}\n\n{"text": ""}\n')
    out = tmp_path / "out.jsonl"
    arguments = ["predict", model, str(lines), "-k", "99", "-o", str(out), "-q"]
    assert main(arguments) == 0
    found = [json.loads(line) for line in out.read_text().splitlines()]
    assert [len(row["labels"]) for row in found] == [3, 3]


def test_pictures_that_are_missing_can_be_left_out(folder, tmp_path):  # noqa: F811
    Image.fromarray(np.full((8, 8, 3), 200, np.uint8)).save(tmp_path / "a.png")
    path = tmp_path / "t.csv"
    path.write_text("text,labels,image\n" + "red car,car,a.png\nblue dog,dog,no.png\n" * 9)
    arguments = ["fit", str(path), "--images", "image", "--config", str(folder / "model.toml")]
    more = ["--missing-images", "sometimes"]
    with pytest.raises(SystemExit) as caught:
        main([*arguments, *more, "-o", str(tmp_path / "new")])
    assert caught.value.code == 2


@pytest.mark.parametrize("kind", [ViXMLClassifier, DecoderXMCClassifier])
def test_every_parameter_can_be_configured(kind, tmp_path):
    """Each default of the estimator and of its objects, written as TOML, gives the same object."""

    def toml(value):
        if value is None:
            return '"none"'
        return json.dumps(list(value) if isinstance(value, tuple) else value)

    plain = {
        name: value
        for name, value in kind().get_params(deep=False).items()
        if name not in ("label_text", "label_images") and not hasattr(value, "get_params")
    }
    lines = [f'estimator = "{kind.__name__}"', *(f"{k} = {toml(v)}" for k, v in plain.items())]
    lines = [line for line in lines if not line.startswith(("evidence", "encoder", "image_enc"))]
    config = tmp_path / "model.toml"
    config.write_text("\n".join(lines))
    made = make_estimator(read_config(str(config), []))
    assert made.get_params(deep=False).keys() == kind().get_params(deep=False).keys()
    assert all(made.get_params(deep=False)[name] == plain[name] for name in plain)
    tables = {"encoder": {}, "image_encoder": {}, "adapter": {}, "training": {}, "validation": {},
              "threshold": {"target": 0.9}, "objective": {"kind": "prime"},
              "index": {"kind": "exact"}, "evidence": {}}  # fmt: skip
    whole = make_estimator({"estimator": kind.__name__, **tables})
    for table in tables:
        found = whole.get_params(deep=False)[table]
        for one in found if isinstance(found, list) else [found]:
            own = {k: toml(v) for k, v in one.get_params(deep=False).items()}
            rows = [f"{key} = {value}" for key, value in own.items()]
            head = f"[evidence.{one.name}]" if table == "evidence" else f"[{table}]"
            extra = [f'kind = "{tables[table]["kind"]}"'] if "kind" in tables[table] else []
            text = "\n".join([f'estimator = "{kind.__name__}"', head, *extra, *rows])
            config.write_text(text)
            again = make_estimator(read_config(str(config), [])).get_params(deep=False)[table]
            same = (
                next(kind for kind in again if kind.name == one.name)
                if table == "evidence"
                else again
            )
            assert repr(same) == repr(one)
