"""The benchmark of all indexes, at tiny size."""

import argparse
import json

from benchmarks import capacity, indexes


def test_every_index_that_is_there(monkeypatch):
    monkeypatch.setenv("SKXMC_QDRANT_URL", ":memory:")
    parser = argparse.ArgumentParser()
    indexes.add_arguments(parser)
    options = parser.parse_args(["--vectors", "1500", "--dimension", "16", "--queries", "30"])
    results = list(indexes.run(options))
    json.dumps(results, allow_nan=False)
    assert [result["index"] for result in results] == [
        "exact", "hnsw", "ivf", "pgvector", "qdrant",
    ]  # fmt: skip
    for result in results:
        if "missing" in result:
            assert "is not" in result["missing"]
            continue
        least = {"exact": 1, "ivf": 0.8}.get(result["index"], 0.98)
        for name in indexes.FILTERS:
            assert result[name]["recall"] >= least
            assert result[name]["batch_seconds"] > 0
    assert "recall@100, none" in indexes.markdown(results)


def test_capacity():
    options = argparse.Namespace(documents=1e9, cores=32, machines=100, partition=50_000)
    small, large = capacity.run(options)
    assert large["model"] > 7 * small["model"]
    # By hand: 656 + 768 + 28 bytes a label, 656 + 22 * 8 a document.
    assert small["model"] == 1.3e6 * 1452 + 2.25e6 * 832
    assert 2200 < small["core hours, least"] < small["core hours, most"] < 3200
    assert "10 million labels" in capacity.markdown([small, large])
