"""The benchmarks at tiny size: what they report is computed right, and nothing of it is missing."""

import argparse
import gzip
import json
import os
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from xml.etree import ElementTree

import numpy as np
import pytest
import scipy.sparse as sp
from sklearn.utils import Bunch
from tiny_models import save_encoder

from benchmarks import __main__ as command_line
from benchmarks import (
    _baselines,
    _chart,
    _data,
    _report,
    distributed,
    encode,
    index,
    metrics,
    predict,
    quality,
    scale,
    serve,
    tokens,
    update,
)
from skxmc import DecoderXMCClassifier, ViXMLClassifier

WORDS = [first + second for first in ("bal", "dor", "kir", "mun") for second in ("ta", "ve", "so")]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A data set in which a document has the words of its labels, beside an encoder."""
    folder = tmp_path_factory.mktemp("benchmarks")
    rng = np.random.RandomState(0)

    def write(name, rows):
        with gzip.open(folder / "tiny" / f"{name}.jsonl.gz", "wt", encoding="utf-8") as file:
            file.writelines(json.dumps(row) + "\n" for row in rows)

    (folder / "tiny").mkdir()
    write("labels", [{"uid": word, "text": word, "image": None} for word in WORDS])
    for name, n in ("train", 60), ("test", 20):
        drawn = [sorted(rng.choice(len(WORDS), 2, replace=False).tolist()) for _ in range(n)]
        texts = [" ".join(WORDS[label] for label in labels) for labels in drawn]
        rows = [
            {"uid": str(row), "text": text, "labels": labels, "image": None}
            for row, (text, labels) in enumerate(zip(texts, drawn, strict=True))
        ]
        write(name, rows)
    write("few", rows[:4])
    save_encoder(folder)
    return folder


@pytest.fixture(autouse=True)
def together(monkeypatch):
    """Everything runs in this process: a new one takes seconds to import torch."""
    for module in (encode, index, metrics, predict, quality, scale, tokens, update):
        monkeypatch.setattr(module, "apart", lambda function, *arguments: function(*arguments))


def results_of(module, folder, *arguments):
    """What a benchmark measures with these arguments; its Markdown must be writable as well."""
    parser = argparse.ArgumentParser()
    module.add_arguments(parser)
    given = [argument.replace("ENCODER", str(folder / "encoder")) for argument in arguments]
    options = parser.parse_args(given)
    if hasattr(options, "folder"):
        options.folder = str(folder)
    results = list(module.run(options))
    json.dumps(results, allow_nan=False)
    assert module.markdown(results).count("|") > 8
    return results


def nested(sequence):
    """Whether median, least and greatest are in order."""
    return sequence["min"] <= sequence["median"] <= sequence["max"]


# --- what all share ---


def test_contestants_take_turns_and_the_first_round_does_not_count():
    calls = []
    clock = iter(range(100))
    seconds = _report.interleaved(
        {name: lambda name=name: calls.append(name) for name in "ab"}, 3, lambda: next(clock)
    )
    assert calls == list("ab" * 4)
    assert seconds == {"a": [1, 1, 1], "b": [1, 1, 1]}


def test_ratios_are_taken_round_by_round():
    assert _report.ratio([2, 9, 4], [1, 3, 4]) == {"median": 2, "min": 1, "max": 3}
    assert _report.show({"median": 2, "min": 1, "max": 3}, 1) == "2.0 (1.0 to 3.0)"


def test_memory_of_a_process_is_its_own():
    if not Path("/proc/self/status").is_file():
        pytest.skip("no /proc")
    kept = np.ones(30_000_000)
    assert _report.peak_gb() > 0.24
    assert _report.apart(_report.peak_gb) < 0.15
    assert _report.apart(os.getpid) != os.getpid()
    del kept


def test_values_on_the_command_line():
    assert _report.parameter("margin=[0.1, 0.3]") == ("margin", [0.1, 0.3])
    assert _report.contestant("hnsw:m=16,name=word") == ("hnsw", {"m": 16, "name": "word"})
    assert _report.contestant("exact") == ("exact", {})
    with pytest.raises(argparse.ArgumentTypeError, match="no '='"):
        _report.parameter("epochs")
    with pytest.raises(argparse.ArgumentTypeError, match="no spread"):
        _report.repeats("2")


def test_parameters_may_be_nested():
    def parameters(kind=ViXMLClassifier, **params):
        return _report.make_estimator(kind, params).get_params()

    found = parameters(label_vectors__anchor=1, neighbours__weight=0.3, index__m=8, epochs=3)
    assert list(found["evidence"]) == [
        found[name] for name in ("prototypes", "neighbours", "label_vectors")
    ]
    assert (found["label_vectors__anchor"], found["neighbours__weight"]) == (1, 0.3)
    assert (found["index__m"], found["epochs"]) == (8, 3)
    # What is there keeps what it says.
    found = parameters(evidence=["neighbours"], neighbours__n_neighbors=5)
    assert [kind.name for kind in found["evidence"]] == ["neighbours"]
    found = parameters(validation=0.2, validation__patience=4, objective="linear_head")
    assert (found["validation__fraction"], found["validation__patience"]) == (0.2, 4)
    assert found["objective"] == "linear_head"
    found = parameters(objective="linear_head", objective__loss="binary_cross_entropy")
    assert found["objective__loss"] == "binary_cross_entropy"
    found = parameters(encoder="name", encoder__max_length=9, image_encoder__max_images=1)
    assert (found["encoder__name"], found["encoder__max_length"]) == ("name", 9)
    assert found["image_encoder__max_images"] == 1
    nested = {"encoder__pooling": "last", "adapter__rank": 2, "training__warmup_steps": 0}
    found = parameters(DecoderXMCClassifier, **nested)
    assert {name: found[name] for name in nested} == nested
    with pytest.raises(ValueError, match="no_such_kind"):
        parameters(no_such_kind__weight=1)


@pytest.mark.parametrize("name", ["report", "report.json"])
def test_report_is_written_after_each_result(tmp_path, capsys, name):
    def run(options):
        yield {"speed": 1}
        if options.fail:
            raise RuntimeError
        yield {"speed": 2}

    module = SimpleNamespace(run=run, markdown=lambda results: f"speeds {results}")
    options = argparse.Namespace(fail=True, output=tmp_path / "new" / name)
    with pytest.raises(RuntimeError):
        _report.execute(module, options, "python -m benchmarks")
    written = tmp_path / "new" / "report.json"
    assert json.loads(written.read_text())["results"] == [{"speed": 1}]
    options.fail = False
    _report.execute(module, options, "python -m benchmarks it")
    report = json.loads(written.read_text())
    assert report["results"] == [{"speed": 1}, {"speed": 2}]
    assert report["settings"] == {"fail": False}
    assert {"cpu", "flags", "versions", "load"} <= set(report["environment"])
    printed = capsys.readouterr().out
    assert printed.startswith("speeds")
    assert printed.strip() in written.with_suffix(".md").read_text()


def test_charts_have_every_point_and_name(tmp_path):
    """A well-formed drawing; numbers grow to the right and upwards, and names do not collide."""
    fits = [("a", 1.0, 0.5), ("b", 1.1, 0.5), ("c", 40.0, 0.75)]
    results = [
        {"mode": "baseline", "baseline": "linear", "params": {"C": name}, "data": "icons"}
        | {"cpu_seconds": seconds, "figures": {"P@1": precision}}
        for name, seconds, precision in fits
    ]
    tree = ElementTree.fromstring(quality.chart(results))
    names = {"".join(one.itertext()): one for one in tree.findall(".//{*}text")}
    shown = [
        next(one for name, one in names.items() if name.endswith(f"={fit[0]}")) for fit in fits
    ]
    heights = [float(one.get("y")) for one in shown]
    assert abs(heights[0] - heights[1]) >= 14
    centres = [(float(c.get("cx")), float(c.get("cy"))) for c in tree.findall(".//{*}circle")]
    assert centres[0][0] < centres[1][0] < centres[2][0]
    assert centres[2][1] < centres[0][1] == centres[1][1]

    module = SimpleNamespace(
        run=lambda options: iter([{"speed": 2.0}, {"speed": 4.0}]),
        markdown=str,
        chart=lambda results: _chart.bars("t", [(str(r), r["speed"]) for r in results], "ms"),
    )
    _report.execute(module, argparse.Namespace(output=tmp_path / "report"), "it")
    bars = ElementTree.parse(tmp_path / "report.svg").getroot().findall("{*}rect")[1:]
    short, long = (float(bar.get("width")) for bar in bars)
    assert long == pytest.approx(2 * short, abs=0.2)


@pytest.mark.parametrize("name", command_line.SUBCOMMANDS)
def test_every_subcommand_has_help(name, capsys):
    module = import_module(f"benchmarks.{name}")
    with pytest.raises(SystemExit) as stopped:
        command_line.main([name, "--help"])
    assert stopped.value.code == 0
    assert "--output" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        module.main(["--help"])
    assert f"benchmarks.{name}" in capsys.readouterr().out


def test_synthetic_data_has_power_laws():
    rng = np.random.default_rng(0)
    Y = _data.targets(4000, 2000, 6.0, rng)
    assert 5 < Y.nnz / 4000 < 6.5
    assert np.diff(Y.indptr).min() == 1
    assert set(Y.data) == {1}
    counts = Y.sum(axis=0)
    assert counts[:100].mean() > 3 * counts[1000:].mean()
    words = " ".join(_data.titles(2000, 6, rng)).split()
    assert 5.5 < len(words) / 2000 < 6.5
    assert words.count(_data._word(0)) > 3 * words.count(_data._word(20)) > 0
    assert len({_data._word(rank) for rank in range(_data.N_WORDS)}) == _data.N_WORDS


# --- the benchmarks ---


def test_metrics(folder):
    (result,) = results_of(
        metrics, folder, "--documents", "300", "--labels", "2000", "--predictions", "20",
        "--loop", "100",
    )  # fmt: skip
    assert nested(result["ratio"])
    assert nested(result["loop_seconds"])
    # The loop covers a third of the documents, so its time is scaled by three.
    assert result["ratio"]["max"] >= result["loop_seconds"]["min"] / result["report_seconds"]["max"]
    assert result["figures"] == 14 * 3  # metrics without frequencies, at three depths
    assert result["peak_gb"] > 0


def test_index(folder):
    results = results_of(
        index, folder, "--sizes", "300", "--dimension", "16", "--queries", "8", "--singles", "2",
        "--indexes", "exact", "faiss", "hnsw:m=8", "hnsw:m=8,ef_search=300", "ivf",
    )  # fmt: skip
    found = {result["index"]: result for result in results}
    for name in ("exact", "faiss"):
        assert found[name]["recall_at_10"] == found[name]["recall_at_100"] == 1
        assert found[name]["bytes_per_vector"] == pytest.approx(64, abs=1)
    assert found["exact"]["batch_ratio"] == {"median": 1, "min": 1, "max": 1}
    # Vectors, and twice eight neighbours of four bytes each.
    assert 64 + 64 < found["hnsw:m=8"]["bytes_per_vector"] < 64 + 64 + 40
    assert 0.5 < found["ivf"]["recall_at_100"] <= 1
    # Built once, searched more widely.
    narrow, wide = found["hnsw:m=8"], found["hnsw:m=8,ef_search=300"]
    assert wide["build_seconds"] == narrow["build_seconds"]
    assert wide["recall_at_100"] >= narrow["recall_at_100"]


def test_one_thread_must_be_set_before(folder, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    with pytest.raises(SystemExit, match="OMP_NUM_THREADS=1"):
        results_of(index, folder, "--one-thread")


def test_quality_of_baselines(folder, monkeypatch):
    monkeypatch.setattr(_baselines.Omikuji, "needs", ("no_package_of_this_name",))
    names = ["tfidf-neighbours:n_neighbors=7", "linear", "omikuji", "tfidf-labels"]
    found = results_of(quality, folder, "--data", "tiny", "--mode", "none", "--baseline", *names)
    for result in found[:2]:
        assert result["figures"]["P@1"] == 1
        assert result["fit_seconds"] > 0
        assert result["predict_seconds"] > 0
    # Two labels each: all of them are found among the first five.
    assert found[1]["figures"]["P@5"] == pytest.approx(0.4)
    assert quality.name_of(found[0]) == "TF-IDF, 7 neighbours"
    assert "no_package_of_this_name" in found[2]["skipped"]
    assert "was left out" in quality.markdown(found)
    assert found[3]["figures"]["P@5"] == pytest.approx(0.4)


def test_update(folder):
    old = [str(row) for row in range(10, 60)]  # here every document is a library of its own
    (result,) = results_of(
        update, folder, "--data", "tiny", "--param", "encoder=ENCODER", "--calls", "2",
        "--old", *old,
    )  # fmt: skip
    assert result["documents"] == {"old": 50, "new": 10}
    assert list(result["ways"]) == ["fitted on old", "partial_fit", "refit on all"]
    for found in result["ways"].values():
        assert found["labels"] <= len(WORDS)
        assert min(found["new"], found["old"]) > 0.8
        assert found["cpu_seconds"] > 0
        assert found["encoding_cpu_seconds"] > 0


def test_tokens(folder):
    (result,) = results_of(
        tokens, folder, "--data", "tiny", "--encoder", "ENCODER", "--documents", "40", "--batch",
        "16", "--seeds", "0", "1", "--joined",
    )  # fmt: skip
    assert result["documents"] == 40
    assert [(run["seed"], run["way"]) for run in result["runs"]] == [
        (0, "cosine"), (0, "tokens"), (1, "cosine"), (1, "tokens"),
    ]  # fmt: skip
    # Untuned and four tuned encoders, the test file and a split, six ways to score.
    assert len(result["figures"]) == 5 * 2 * 6
    assert all(0 <= row[metric] <= 1 for row in result["figures"] for metric in tokens.METRICS)
    same = result["gains"]["same"]["texts, cosine"]["P@1"]
    rows = {
        way: [row["P@1"] * {"test": 20, "few": 4}[row["test"]] / 24 / 2
              for row in result["figures"]
              if (row["way"], row["vectors"], row["score"]) == (way, "texts", "cosine")]
        for way in tokens.WAYS
    }  # fmt: skip
    assert same["before"] == pytest.approx(sum(rows["cosine"]))
    assert same["gain"] == pytest.approx(sum(rows["tokens"]) - sum(rows["cosine"]))


def test_a_stream(folder):
    (result,) = results_of(
        update, folder, "--data", "tiny", "--param", "encoder=ENCODER", "--part", "stream",
        "--first", "20", "--block", "10", "--refit", "20",
    )  # fmt: skip
    assert result["documents"] == 60
    assert list(result["ways"]) == ["static", "partial_fit", "refit each 20"]
    assert all(0.5 < found["score"] <= 1 for found in result["ways"].values())


def test_a_split_may_be_the_test_documents(folder):
    data = _data.load("tiny", folder)
    other = _data.load("tiny:few", folder)
    assert other.text_test == data.text_test[:4]
    assert (other.Y_test != data.Y_test[:4]).nnz == 0
    assert other.text_train == data.text_train
    with pytest.raises(SystemExit, match=r"no split 'many', but \['few'\]"):
        _data.load("tiny:many", folder)


@pytest.mark.parametrize("name", ["omikuji", "napkinxc"])
def test_trees(folder, name):
    if missing := _baselines.BASELINES[name].missing():
        pytest.skip(f"{missing} not installed")
    (result,) = results_of(quality, folder, "--data", "tiny", "--mode", "none", "--baseline", name)
    assert result["figures"]["P@1"] > 0.9


def test_quality_of_an_estimator(folder):
    (result,) = results_of(
        quality, folder, "--data", "tiny", "--param", "encoder=ENCODER", "--seed", "3",
        "--param", "neighbours__weight=0.3",
    )  # fmt: skip
    assert result["params"]["random_state"] == 3
    assert result["weights"]["neighbours"] == 0.3
    assert set(result["evidence"]) == {*result["weights"], "mixture"}
    assert 0 < result["micro_f1"] <= 1
    assert result["figures"]["P@1"] > 0.9
    assert result["peak_gb"] > 0


def test_configurations_of_quality(folder):
    def modes(*arguments):
        parser = argparse.ArgumentParser()
        quality.add_arguments(parser)
        options = parser.parse_args(["--data", "tiny", "--folder", str(folder), *arguments])
        return [(task["mode"], task["params"].get("epochs")) for task in quality.tasks(options)]

    assert modes("--mode", "all", "--estimator", "decoder") == [("frozen", None), ("lora", None)]
    assert modes("--mode", "none") == [("baseline", None)]
    assert modes("--mode", "full", "--curve", "1", "2") == [("full", 1), ("full", 2)]
    assert modes("--baseline") == [("baseline", None), ("frozen", None)]


def test_encode(folder):
    results = results_of(
        encode, folder, "--data", "tiny", "words", "--encoder", "ENCODER", "--texts", "30",
        "--precision", "float32", "--backend", "torch", "openvino",
    )  # fmt: skip
    assert [result["data"] for result in results] == ["tiny"] * 3 + ["words"] * 3
    for plain, ours, by_openvino in (results[:3], results[3:]):
        assert plain["ratio"]["median"] == 1
        assert nested(ours["ratio"])
        low = ours["documents_per_second"]["min"] / plain["documents_per_second"]["max"]
        assert ours["ratio"]["median"] >= low
        assert ours["min_cosine"] > 0.9999
        assert by_openvino["way"] == "skxmc, float32, openvino"
        assert 0.98 < by_openvino["min_cosine"] < ours["min_cosine"]
    assert results[3]["texts"] == 30
    assert results[0]["distinct"] <= 30


def test_predict(folder, monkeypatch, tmp_path):
    one = {"median": 1.0, "min": 1.0, "max": 1.0}
    names = ("import_seconds", "load_seconds", "first_seconds", "seconds")
    monkeypatch.setattr(predict, "cold", lambda *_: {"imports included": dict.fromkeys(names, one)})
    (result,) = results_of(
        predict, folder, "--data", "tiny", "--labels", "30", "--documents", "50", "--batch", "8",
        "--singles", "3", "--encoder", "ENCODER", "--model", str(tmp_path / "model"),
        "--backend", "torch", "openvino",
    )  # fmt: skip
    assert (result["labels"], result["documents"], result["batch"]) == (30, 50, 8)
    p50 = {name: latency["p50_ms"] for name, latency in result["latency"].items()}
    own = {"skxmc", "skxmc, openvino"}
    assert len(p50) == 4
    assert all(map(nested, p50.values()))
    assert own == result["own_ms"].keys() == result["documents_per_second"].keys()
    assert all(result["own_ms"][name]["max"] <= p50[name]["max"] for name in own)
    assert len(ViXMLClassifier.load(tmp_path / "model").classes_) == 30


@pytest.mark.slow
def test_serve(folder, monkeypatch, tmp_path):
    monkeypatch.chdir(Path(__file__).resolve().parents[1])
    monkeypatch.setattr(serve, "apart", lambda function, *arguments: function(*arguments))
    results = results_of(
        serve, folder, "--data", "tiny", "--encoder", "ENCODER", "--model", str(tmp_path / "model"),
        "--clients", "1", "2", "--seconds", "0.2", "--reloads", "2",
    )  # fmt: skip
    *results, stress = results
    assert {*stress["answers"]} <= {"old", "new"}
    assert stress["answers"]["old"] > 0
    assert len(stress["megabytes"]) == 3
    assert {*stress["overload"]["statuses"]} <= {"200", "429"}
    assert stress["overload"]["recovered"]
    assert "Overload" in serve.markdown([*results, stress])
    assert [(result["service"], result["clients"]) for result in results] == [
        ("in batches", 1), ("in batches", 2), ("one by one", 1), ("one by one", 2),
    ]  # fmt: skip
    for result in results:
        assert result["requests_per_second"] > 0
        assert 0 < result["p50_ms"] <= result["p99_ms"]


@pytest.mark.slow
def test_cold_start(folder, tmp_path, monkeypatch):
    monkeypatch.chdir(Path(__file__).resolve().parents[1])
    model = ViXMLClassifier(str(folder / "encoder"), train_encoder="frozen", random_state=0)
    model.fit(WORDS, [[word] for word in WORDS]).save(tmp_path / "model")
    found = predict.cold(str(tmp_path / "model"), WORDS[0], 1)
    with_imports, without = found["imports included"], found["imports excluded"]
    assert without["seconds"]["median"] < with_imports["seconds"]["median"]
    parts = ("import_seconds", "load_seconds", "first_seconds")
    total = sum(with_imports[part]["median"] for part in parts)
    assert with_imports["seconds"]["median"] == pytest.approx(total)


def train_arguments(*more):
    return (
        "--data", "tiny", "--encoder", "ENCODER", "--batch", "8", "--max-length", "20",
        "--product-size", "64", *more,
    )  # fmt: skip


def test_train_compares_the_same_work(folder):
    from benchmarks import train

    (result,) = results_of(
        train, folder, *train_arguments("--train-param", "learning_rate=0"),
        "--train-param", "head_learning_rate=0",
    )  # fmt: skip
    loops = result["loops"]
    assert list(loops) == ["plain, float32", "plain, bfloat16", train.OURS]
    # Nothing is learned: the same weights have the same loss, whichever loop holds them.
    losses = [loop["loss"] for loop in loops.values()]
    assert losses == pytest.approx([losses[0]] * 3, rel=0.02)
    for loop in loops.values():
        assert len(loop["seconds"]) == len(loop["losses"]) == 4
        pairs = zip(loop["seconds"][1:], loops[train.OURS]["seconds"][1:], strict=True)
        assert loop["ratio"]["median"] == pytest.approx(sorted(a / b for a, b in pairs)[1])
        assert loop["gflops"] > 0
    assert result["product_gflops"] > 0


def test_trained_weights_differ_by_seed(folder):
    from benchmarks import train

    results = results_of(
        train, folder, *train_arguments("--seeds", "0", "1", "--plain", "float32"),
        "--objective-param", "head_weight=0.3",
    )  # fmt: skip
    assert results[0]["loops"][train.OURS]["losses"] != results[1]["loops"][train.OURS]["losses"]
    with pytest.raises(SystemExit, match="--steps must be at least 4"):
        results_of(train, folder, *train_arguments("--steps", "3"))


@pytest.mark.parametrize(("target", "epochs", "arrived"), [(0.01, 1, True), (1.5, 2, False)])
def test_time_to_accuracy(folder, target, epochs, arrived):
    from benchmarks import train

    (result,) = results_of(
        train, folder, *train_arguments("--time-to-accuracy", str(target), "--epochs", "2")
    )
    plain, ours = result["race"]["plain, bfloat16"], result["race"]["skxmc"]
    assert len(plain["history"]) == epochs
    assert plain["arrived"] == ours["arrived"] == arrived
    minutes = [entry["minutes"] for entry in plain["history"]]
    assert minutes == sorted(minutes)
    assert plain["minutes"] == minutes[-1]
    expected = plain["minutes"] / ours["minutes"] if arrived else None
    assert result["ratio"] == expected


@pytest.mark.slow
@pytest.mark.distributed
def test_distributed(folder):
    first, second = results_of(
        distributed, folder, "--data", "tiny", "--documents", "40", "--set", "encoder=ENCODER",
        "epochs=1",
    )  # fmt: skip
    assert (first["processes"], second["processes"]) == (1, 2)
    assert second["alike"]
    assert first["difference"] == 0
    assert second["difference"] < 1e-5
    assert second["equal_labels"] == 1


def test_scale(folder):
    assert scale.exponent([1, 2, 4], [3, 12, 48]) == pytest.approx(2)
    results = results_of(
        scale, folder, "--axis", "documents", "--documents", "32", "--labels", "16", "--batch",
        "16", "--queries", "16", "--doublings", "1", "--repeats", "2",
    )  # fmt: skip
    # A fit and predictions of each point, in each round.
    assert [result["documents"] for result in results] == [32, 32, 64, 64] * 2
    joined = scale.join(results)
    assert [point["documents"] for point in joined] == [32, 64]
    seconds = [result["fit_seconds"] for result in results[::4]]
    assert (joined[0]["fit_seconds"]["min"], joined[0]["fit_seconds"]["max"]) == (
        min(seconds),
        max(seconds),
    )
    assert "exponent" in scale.markdown(results)


def test_points_of_scale(folder):
    def points(*arguments):
        parser = argparse.ArgumentParser()
        scale.add_arguments(parser)
        return scale.tasks(parser.parse_args(arguments))

    found = points("--axis", "labels", "batch", "--labels", "4", "--doublings", "2")
    assert [task["labels"] for task in found[:3]] == [4, 8, 16]
    assert len({task["labels"] for task in found[3:]}) == 1
    (full,) = points("--full", "--mode", "full")
    assert full["documents"] > 2e6
    assert full["labels"] > 1e6
    assert full["params"] == {"epochs": 1}
    assert points("--steps", "7", "--full")[0]["params"]["max_steps"] == 7


# --- recipes ---


@pytest.mark.parametrize(
    "name",
    [
        "vixml-minilm-l3-131k-text",
        "vixml-distilbert-300k-images",
        "vixml-qwen2.5-0.5b-131k-images",
        "prime-distilbert-131k",
    ],
)
def test_recipes_run_dry(name):
    from benchmarks.recipes import dry_run, read_recipe

    assert dry_run(read_recipe(name)).endswith("predicted (400, 5)")


def test_every_recipe_is_complete():
    from benchmarks.recipes import FIGURES, NAMES, estimator_of, read_recipe

    assert len(NAMES) == 25
    for name in NAMES:
        recipe = read_recipe(name)
        assert set(recipe["published"]) <= set(FIGURES)
        assert recipe["published"]["P@1"] > 40
        assert recipe["measured"] is None or set(recipe["measured"]) <= set(FIGURES)
        estimator = estimator_of(recipe, recipe["encoder"])
        assert estimator.get_params()["encoder__name"] == recipe["encoder"]
        assert estimator.objective.positives == "random"


def test_memory_of_a_recipe_is_estimated():
    from benchmarks.recipes import estimate, read_recipe

    recipe = read_recipe("vixml-minilm-l3-131k-text")
    small = {"documents": 2000, "labels": 500, "labels_per_document": 2.3, "words": 7}
    assert 1e8 < estimate({**recipe, "shape": small}) < 1e11


def test_training_documents_are_joined():
    from benchmarks._data import join_training_documents

    Y = sp.csr_array(np.array([[1, 0, 0], [1, 0, 0], [0, 1, 0]], dtype=np.float32))
    data = Bunch(text_train=["wool", "fleece", "oak"], Y_train=Y, exclude_train=None, rest=1)
    found = join_training_documents(data, seed=0)
    assert found.text_train[:3] == ["wool", "fleece", "oak"]
    assert found.Y_train.toarray().tolist()[:3] == Y.toarray().tolist()
    assert found.Y_train.toarray().tolist()[3:] == [[1, 1, 0]] * 3
    assert found.rest == 1
