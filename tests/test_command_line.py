"""The command line: from a table to a model, its metrics and its predictions; errors in a line."""

import csv
import json
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
from pathlib import Path
from textwrap import dedent

import httpx
import numpy as np
import pytest
import scipy.sparse as sp
from served import WORDS, texts_and_tags
from tiny_models import save_encoder

from skxmc._cli._config import make_estimator, read_config
from skxmc._cli._main import main
from skxmc.evidence import LabelVectors
from skxmc.metrics import xmc_report
from skxmc.objectives import LinearHead, Prime
from skxmc.serving import load_model

ROOT = Path(__file__).resolve().parents[1]


def command(*arguments, **options):
    """Start ``python -m skxmc`` in a process of its own."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1"}
    return subprocess.Popen(
        [sys.executable, "-m", "skxmc", *map(str, arguments)],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Tables in several formats, a configuration, and a model fitted by the command."""
    folder = tmp_path_factory.mktemp("command_line")
    save_encoder(folder, words=WORDS)
    for name, n, seed in ("train", 60, 0), ("test", 20, 1):
        texts, tags = texts_and_tags(n, seed)
        with (folder / f"{name}.csv").open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["sku", "title", "more", "tags"])
            for row, (text, names) in enumerate(zip(texts, tags, strict=True)):
                first, _, rest = text.partition(" ")
                writer.writerow([f"{name}-{row}", first, rest, ";".join(names)])
    (folder / "model.toml").write_text(f"""
train_encoder = "frozen"
encoder = {json.dumps(str(folder / "encoder"))}
precision = "float32"
device = "cpu"
random_state = 0

[evidence.label_vectors]
anchor = 0.25
""")
    process = command(
        "fit", folder / "train.csv", "--text", "title,more", "--labels", "tags", "--label-sep", ";",
        "--id", "sku", "--config", folder / "model.toml", "-o", folder / "model",
    )  # fmt: skip
    out, err = process.communicate()
    assert process.returncode == 0, err
    assert out == ""
    assert "fitting 60 documents with 12 labels" in err
    assert "label vectors" in err  # progress
    return folder


COLUMNS = ["--text", "title,more", "--id", "sku"]
LABELS = ["--labels", "tags", "--label-sep", ";"]


def test_the_fit_is_that_of_the_estimator(folder):
    model = load_model(folder / "model")
    assert model.classes_.tolist() == sorted(WORDS)
    assert model.evidence_["label_vectors"].anchor == 0.25
    texts, tags = texts_and_tags(60, 0)
    by_hand = make_estimator(read_config(folder / "model.toml", [])).fit(texts, tags)
    expected = by_hand.predict_topk(texts, 3)
    found = model.predict_topk(texts, 3)
    np.testing.assert_array_equal(found[0], expected[0])
    np.testing.assert_allclose(found[1], expected[1], rtol=1e-5)


def test_evaluate_prints_the_metrics(folder, capsys):
    arguments = ["evaluate", str(folder / "model"), str(folder / "test.csv"), *COLUMNS, *LABELS]
    assert main([*arguments, "-k", "1,2,20", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    model = load_model(folder / "model")
    texts, tags = texts_and_tags(20, 1)
    labels, _ = model.predict_topk(texts, 12)
    expected = xmc_report(tags, labels, k=[1, 2, 20], classes=model.classes_)
    assert expected.items() <= found.items()
    assert found["psprecision_at_1"] > 0
    assert main([*arguments, "-q"]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert out.split()[:5] == ["@1", "@3", "@5", "precision", f"{found['precision_at_1']:.4f}"]


def test_labels_that_the_model_does_not_know_count_as_missed(folder, tmp_path, capsys):
    table = tmp_path / "new.jsonl"
    table.write_text('{"text": "red car", "labels": ["unknown"]}\n')
    assert main(["evaluate", str(folder / "model"), str(table), "--json", "-q"]) == 0
    out, err = capsys.readouterr()
    assert json.loads(out)["recall_at_5"] == 0
    assert "1 labels of the documents are unknown to the model" in err


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "npz", "trec"])
def test_predict_writes_what_the_suffix_says(folder, tmp_path, suffix):
    path = tmp_path / f"out.{suffix}"
    arguments = ["predict", str(folder / "model"), str(folder / "test.csv"), *COLUMNS]
    assert main([*arguments, "-k", "2", "-q", "-o", str(path)]) == 0
    texts, _ = texts_and_tags(20, 1)
    model = load_model(folder / "model")
    names, scores = model.predict_topk(texts, 2, return_labels=True)
    if suffix == "npz":
        found = sp.load_npz(path)
        assert found.shape == (20, 12)
        best = model.classes_[found.toarray().argmax(axis=1)]
        assert best.tolist() == names[:, 0].tolist()
    elif suffix == "jsonl":
        rows = [json.loads(line) for line in path.read_text().splitlines()]
        assert [row["id"] for row in rows] == [f"test-{row}" for row in range(20)]
        assert [row["labels"] for row in rows] == names.tolist()
        np.testing.assert_allclose([row["scores"] for row in rows], scores, rtol=1e-5)
    else:
        lines = path.read_text().splitlines()[suffix == "csv" :]
        cells = [line.split("," if suffix == "csv" else " ") for line in lines]
        column = 2
        assert [row[column] for row in cells] == names.ravel().tolist()


def test_a_threshold_leaves_labels_out(folder, tmp_path):
    path = tmp_path / "out.jsonl"
    arguments = ["predict", str(folder / "model"), str(folder / "test.csv"), *COLUMNS]
    assert main([*arguments, "--threshold", "0.3", "-q", "-o", str(path)]) == 0
    scores = [json.loads(line)["scores"] for line in path.read_text().splitlines()]
    assert min(map(len, scores)) < 5
    assert min(score for row in scores for score in row) >= 0.3


def test_annif_and_its_uris(folder, tmp_path, capsys):
    texts, tags = texts_and_tags(60, 0)
    uris = {word: f"http://example.org/{number}" for number, word in enumerate(WORDS)}
    lines = (f"<{uri}>\t{word}\n" for word, uri in uris.items())
    (tmp_path / "subjects.tsv").write_text("".join(lines))
    rows = zip(texts, tags, strict=True)
    (tmp_path / "corpus.tsv").write_text(
        "".join(f"{text}\t{' '.join(f'<{uris[tag]}>' for tag in row)}\n" for text, row in rows)
    )
    corpus = [str(tmp_path / "corpus.tsv"), "--vocabulary", str(tmp_path / "subjects.tsv"), "-q"]
    settings = ["train_encoder=frozen", f"encoder={folder / 'encoder'}", "random_state=0"]
    settings += ["evidence.kinds=['neighbours']"]
    config = [part for setting in settings for part in ("--set", setting)]
    assert main(["fit", *corpus, *config, "-o", str(tmp_path / "model")]) == 0
    model = load_model(tmp_path / "model")
    assert set(model.classes_) == set(uris.values())
    assert list(model.evidence_) == ["neighbours"]
    assert main(["evaluate", str(tmp_path / "model"), *corpus, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["precision_at_1"] > 0.9
    out = str(tmp_path / "out.csv")
    assert main(["predict", str(tmp_path / "model"), *corpus, "-o", out, "-k", "1"]) == 0
    with open(out, newline="") as file:
        rows = list(csv.DictReader(file))
    assert all(uris[row["text"]] == row["label"] for row in rows)


def test_update_learns_and_forgets(folder, tmp_path, capsys):
    table = tmp_path / "more.csv"
    rows = [f"n{row},red,zebra car,{'zebra;car'}" for row in range(8)]
    table.write_text("\n".join(["sku,title,more,tags", *rows]) + "\n")
    gone = tmp_path / "gone.txt"
    gone.write_text("train-3\n\ntrain-5\n")
    new = str(tmp_path / "new")
    arguments = ["update", str(folder / "model"), str(table), *COLUMNS, *LABELS, "-q"]
    assert main([*arguments, "--remove", str(gone), "-o", new]) == 0
    assert "removed 2 documents\nlearned 8 documents\n13 labels, " in capsys.readouterr().err
    model = load_model(new)
    assert {"n7", "train-4"} <= {*model.document_ids_}
    assert not {"train-3", "train-5"} & {*model.document_ids_}
    assert model.predict_topk(["zebra"], 1, return_labels=True)[0] == [["zebra"]]
    assert load_model(folder / "model").n_documents_added_ == 0
    # Without --output the model itself is replaced.
    assert main(["update", new, str(table), *COLUMNS, *LABELS, "--max-documents", "20"]) == 0
    assert load_model(new).ranker_.Y_.shape[0] == 20
    capsys.readouterr()
    for wrong, message in (
        ([], "there is nothing to do; pass DATA"),
        (["--remove", str(gone)], "ids holds 2 documents ('train-3', 'train-5'), which the model"),
        ([str(table), "--text", "title,more", *LABELS], "DATA has none; pass --id"),
    ):
        assert main(["update", new, *wrong]) == 2
        err = capsys.readouterr().err
        assert message in err
        assert err.count("\n") == 1
    assert len(load_model(new).ranker_.rows_) == 20


def test_explain_says_why(folder, capsys):
    arguments = ["explain", str(folder / "model"), str(folder / "test.csv"), *COLUMNS, "-k", "2"]
    assert main([*arguments, "--json"]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    texts, _ = texts_and_tags(20, 1)
    expected = load_model(folder / "model").explain(texts, k=2)
    assert [row["id"] for row in rows] == [f"test-{row}" for row in range(20)]
    for row, own in zip(rows, expected, strict=True):
        assert [label["label"] for label in row["labels"]] == [reason.label for reason in own]
        ids = [near["id"] for near in row["labels"][0]["documents"]]
        assert ids == [near.id for near in own[0].documents]
        assert all(one.startswith("train-") for one in ids)
    assert main(arguments) == 0
    out = capsys.readouterr().out
    assert out.startswith(f"test-0  {texts[0]}\n  {expected[0][0].label}  ")
    assert out.count("    evidence   prototypes ") == 40


def test_shells_complete_what_is_typed(tmp_path):
    pytest.importorskip("argcomplete")
    found = tmp_path / "found"
    environment = {
        **os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "_ARGCOMPLETE": "1",
        "_ARGCOMPLETE_STDOUT_FILENAME": str(found), "COMP_LINE": "skxmc up", "COMP_POINT": "8",
        "_ARGCOMPLETE_SUPPRESS_SPACE": "1",
    }  # fmt: skip
    subprocess.run([sys.executable, "-m", "skxmc"], env=environment, check=True)
    assert found.read_text() == "update"


def test_info_says_what_a_model_is(folder, capsys):
    assert main(["info", str(folder / "model"), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["labels"] == 12
    assert found["documents"] == 60
    assert found["evidence"] == ["prototypes", "neighbours", "label_vectors"]
    assert main(["info", str(folder / "model")]) == 0
    assert "labels        12\n" in capsys.readouterr().out


# --- configurations ---


def test_tables_become_objects(tmp_path):
    file = tmp_path / "model.toml"
    file.write_text("""
epochs = 3
validation = 0.2
[objective]
kind = "prime"
margin = [0.2, 0.4]
[evidence]
kinds = ["prototypes", "label_vectors"]
label_vectors.anchor = 2
[index]
kind = "hnsw"
m = 16
[adapter]
rank = 8
[training]
max_grad_norm = "none"
[threshold]
target = 0.8
""")
    model = make_estimator(read_config(file, ["objective.n_negatives=7", "device=cpu"]))
    assert model.epochs == 3
    assert model.validation == 0.2
    assert isinstance(model.objective, Prime)
    assert model.objective.margin == (0.2, 0.4)
    assert model.objective.n_negatives == 7
    assert [kind.name for kind in model.evidence] == ["prototypes", "label_vectors"]
    assert isinstance(model.evidence[1], LabelVectors)
    assert model.evidence[1].anchor == 2
    assert model.index.m == 16
    assert model.adapter.rank == 8
    assert model.training.max_grad_norm is None
    assert model.threshold.target == 0.8
    assert model.device == "cpu"
    head = make_estimator({"objective": {"kind": "linear_head", "loss": "decoupled_softmax"}})
    assert isinstance(head.objective, LinearHead)
    decoder = make_estimator({"estimator": "DecoderXMCClassifier", "encoder": {"pooling": "last"}})
    assert decoder.encoder.pooling == "last"


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"epoch": 3}, "the configuration has the unknown key 'epoch'; the known .* epochs"),
        ({"label_text": ["a"]}, "unknown key 'label_text'"),
        ({"estimator": "SVC"}, "estimator is 'SVC'; pass one of ViXMLClassifier"),
        ({"objective": {"kind": "prime", "margins": 1}}, r"\[objective\] .* 'margins'; .* margin,"),
        ({"objective": {"margin": 1}}, r"\[objective\] has no kind"),
        ({"objective": {"kind": "hinge"}}, "'hinge' is not one of the objectives"),
        ({"objective": {"kind": "prime", "margin": {"a": 1}}}, "margin is a table"),
        ({"evidence": {"neighbors": {}}}, r"\[evidence\] .* 'neighbors'; .* kinds, prototypes"),
        ({"evidence": {"neighbours": {"n": 3}}}, r"\[evidence.neighbours\] .* 'n'; .* n_neighbors"),
        ({"evidence": {"neighbours": 3}}, "neighbours is 3; write a table"),
        ({"epochs": {"a": 1}}, "epochs is a table"),
    ],
)
def test_wrong_keys_are_errors_that_list_the_known_ones(config, message):
    with pytest.raises(ValueError, match=message):
        make_estimator(config)


# --- errors ---


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["predict", "MODEL", "no.csv", "-o", "OUT.csv"], "no.csv"),
        (["predict", "MODEL", "TABLE", "-o", "OUT.csv"], "no column 'text'"),
        (["predict", "MODEL", "TABLE", "-o", "OUT.xml"], "suffix is none of .csv"),
        (["predict", "MODEL", "TABLE", "-o", "no-such/OUT.csv"], "no folder for it"),
        (["predict", "no-model", "TABLE", "--text", "title", "-o", "OUT.csv"], "no folder 'no-mod"),
        (["info", "FOLDER"], "holds no skxmc.json"),
        (["fit", "TABLE", "-o", "FOLDER"], "is not empty"),
        (["fit", "TABLE", "-o", "TABLE"], "is a file"),
        (["fit", "TABLE", "-o", "NEW", "--set", "epoch=1"], "unknown key 'epoch'"),
        (["fit", "TABLE", "-o", "NEW", "--set", "epochs"], "not of the form KEY=VALUE"),
        (["fit", "TABLE", "-o", "NEW", "--config", "TABLE"], "is no TOML"),
        (["fit", "TABLE", "-o", "NEW", "--format", "annif"], "pass --vocabulary"),
        (["fit", "TABLE", "--text", "title", "--labels", "tags", "-o", "NEW", "--set", "epochs=0"],
         "'epochs' parameter"),
        (["serve", "MODEL", "--limit", "size=3"], "unknown name 'size'; the known ones are body"),
        (["serve", "MODEL", "--limit", "k=0"], "the limit k must be"),
        (["serve", "MODEL", "--token-file", "no-token"], "no-token"),
        (["serve", "MODEL", "--port", "TAKEN"], "cannot listen on 127.0.0.1"),
    ],
)  # fmt: skip
def test_errors_are_one_line(folder, tmp_path, capsys, arguments, message):
    places = {
        "MODEL": folder / "model",
        "TABLE": folder / "train.csv",
        "FOLDER": folder,
        "NEW": tmp_path / "new",
    }
    with socket.create_server(("127.0.0.1", 0)) as taken:
        places["TAKEN"] = taken.getsockname()[1]
        arguments = [str(places.get(argument, argument)) for argument in arguments]
        arguments = [argument.replace("OUT", str(tmp_path / "out")) for argument in arguments]
        assert main(arguments) == 2
        with pytest.raises((ValueError, OSError)):
            main([*arguments, "--debug"])
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("skxmc: ")
    assert message in err
    assert err.count("\n") == 1
    assert not (tmp_path / "new").exists()


def test_a_missing_extra_is_named(folder, monkeypatch, capsys):
    for module in ("uvicorn", "fastapi", "prometheus_client"):
        with monkeypatch.context() as patch:
            patch.setitem(sys.modules, module, None)
            assert main(["serve", str(folder / "model"), "--port", "0"]) == 2
        err = capsys.readouterr().err
        assert f"the module '{module}' is not installed" in err
        assert 'pip install "skxmc[serve]"' in err


def test_wrong_options_are_those_of_argparse(capsys):
    for arguments in ([], ["fit"], ["nothing"], ["evaluate", "m", "d", "-k", "0"]):
        with pytest.raises(SystemExit) as caught:
            main(arguments)
        assert caught.value.code == 2
    assert "usage: skxmc" in capsys.readouterr().err


# --- the documentation ---


def blocks_of_page():
    """What the page on the command line holds: files by name, and commands without ``skxmc``."""
    page = (ROOT / "docs/user_guide/command_line.rst").read_text(encoding="utf-8")
    block = r"\.\. code-block:: {}\n\n((?:   .*\n|\n)+)"
    files = re.findall(r"\.\. file: (\S+)\n\n" + block.format(r"\w+"), page)
    consoles = "".join(re.findall(block.format("console"), page)).replace("\\\n", " ")
    commands = [shlex.split(line) for line in re.findall(r"\$ skxmc (.*)", consoles)]
    return {name: dedent(text) for name, text in files}, commands


@pytest.mark.slow
def test_commands_of_the_documentation_run(tmp_path, monkeypatch, capsys):
    files, commands = blocks_of_page()
    monkeypatch.chdir(tmp_path)
    for name, text in files.items():
        Path(name).write_text(text)
    assert [arguments[0] for arguments in commands] == [
        "fit", "evaluate", "predict", "info", "update", "explain", "fit",
    ]  # fmt: skip
    for arguments in commands:
        assert main(arguments) == 0, capsys.readouterr().err
    with open("tags.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 12
    assert rows[0]["document"] == "001"
    assert {row["label"] for row in rows} <= {"ceramic", "garden", "kitchen", "steel"}


# --- signals ---


def test_an_interrupt_ends_with_130(folder, tmp_path):
    process = command(
        "fit", folder / "train.csv", *COLUMNS, *LABELS, "--config", folder / "model.toml",
        "-o", tmp_path / "new",
    )  # fmt: skip
    line = ""
    while "fitting" not in line:
        line = process.stderr.readline()
        assert line, "the command ended"
    process.send_signal(signal.SIGINT)
    _, err = process.communicate()
    assert process.returncode == 130
    assert err.endswith("skxmc: interrupted\n")
    assert "Traceback" not in err
    assert not (tmp_path / "new").exists()


def test_serve_answers_and_stops_as_it_should(folder, tmp_path):
    (tmp_path / "token").write_text("tea-time\n")
    process = command(
        "serve", folder / "model", "--port", 0, "--token-file", tmp_path / "token", "-v"
    )
    try:
        line = ""
        while "serving" not in line:
            line = process.stderr.readline()
            assert line, "the command ended"
        address = line.split()[-1]
        headers = {"authorization": "Bearer tea-time"}
        with httpx.Client(base_url=address, headers=headers, timeout=60, trust_env=False) as client:
            body = {"texts": ["red secret"], "k": 2}
            assert client.post("/predict", json=body).status_code == 200
            assert client.get("/labels", headers={"authorization": ""}).status_code == 401
            assert client.get("/health", headers={"host": "evil.example"}).status_code == 400
    finally:
        process.terminate()
        _, err = process.communicate()
    assert process.returncode == 0
    assert "POST /predict 200" in err
    assert "secret" not in err
    assert "stopped" in err
    assert "Traceback" not in err
