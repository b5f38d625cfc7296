"""The benchmark of GPUs at tiny size on a CPU: all parts run, and reasons are given."""

import argparse
import json

import pytest

from benchmarks import gpu


def _options(*arguments):
    parser = argparse.ArgumentParser()
    gpu.add_arguments(parser)
    return parser.parse_args(["--device", "cpu", *arguments])


def test_all_parts_run_on_a_cpu():
    results = list(gpu.run(_options("--tiny")))
    json.dumps(results, allow_nan=False)
    assert [result["part"] for result in results] == list(gpu.PARTS)
    assert not any("skipped" in result for result in results)
    checks, *speeds = (result["rows"] for result in results)
    assert len(checks) == 18
    assert all(row["right"] for row in checks)
    for row in (row for rows in speeds for row in rows):
        assert row["documents_per_second"]["median"] > 0
        assert 0 < row.get("share_of_peak", 0.5) < 1
    text = gpu.markdown(results)
    assert "Qwen2.5-3B, LoRA 256, 3 pictures" in text
    assert "NO" not in text.split()


def test_parts_alone_and_without_time(monkeypatch):
    (result,) = gpu.run(_options("--tiny", "--parts", "search"))
    assert [row["what"] for row in result["rows"]] == ["search among 9,000 vectors"]
    (result,) = gpu.run(_options("--tiny", "--parts", "search", "--minutes", "0"))
    assert result["rows"] == []
    assert "no time was left" in gpu.markdown([result])


def test_a_missing_package_is_the_reason(monkeypatch):
    def fails(run):
        raise ImportError("no module named it")
        yield

    monkeypatch.setitem(gpu.PARTS, "search", fails)
    first, second = gpu.run(_options("--tiny", "--parts", "search", "label-vectors"))
    assert first["skipped"] == "no module named it"
    assert "skipped" not in second
    assert "search: no module named it" in gpu.markdown([first, second])


def test_wrong_results_are_shown(monkeypatch):
    monkeypatch.setattr(gpu, "checks", lambda device: [("search", 0.5, 0.1)])
    (result,) = gpu.run(_options("--tiny", "--parts", "correctness"))
    assert "NO" in gpu.markdown([result]).split()


def test_a_cpu_is_measured_only_at_tiny_size():
    with pytest.raises(SystemExit, match="--tiny"):
        list(gpu.run(_options()))
