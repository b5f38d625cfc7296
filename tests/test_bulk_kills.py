"""Workers of Ray and Spark that are killed in the middle: nothing is lost, doubled or changed.

``SKXMC_KILLS=20`` kills twenty of each; without it one.
"""

import os
import sys

import dying
import numpy as np
import pyarrow as pa
import pytest

from skxmc import ViXMLClassifier
from skxmc.bulk import TablePredictor, _engines, predict_ray, predict_spark

KILLS = int(os.environ.get("SKXMC_KILLS", "1"))
N = 600


@pytest.fixture(scope="module")
def documents():
    return np.random.RandomState(0).normal(size=(N, 6)).astype(np.float32)


@pytest.fixture
def folder(documents, tmp_path, monkeypatch):
    """A model, and processes that die while they use it."""
    tags = [[f"tag {np.argmax(row)}", f"tag {np.argmin(row)}"] for row in documents[:80]]
    clf = ViXMLClassifier(encoder="precomputed", random_state=0).fit(documents[:80], tags)
    clf.save(tmp_path / "model")
    monkeypatch.setattr(_engines, "TablePredictor", dying.Dying)
    dying.ask_for_kills(tmp_path, KILLS)
    return tmp_path / "model"


@pytest.fixture
def expected(documents, folder):
    """Labels and scores by id, of a process that lives and gets all documents at once."""
    rows = pa.array(documents.tolist(), pa.list_(pa.float32()))
    found = TablePredictor(folder, k=3)(pa.table({"id": range(N), "text": rows}))
    return by_id(found.to_pylist())


def by_id(rows):
    """Labels and scores in the order of ids, each of which comes once."""
    assert sorted(row["id"] for row in rows) == list(range(N))
    ordered = sorted(rows, key=lambda row: row["id"])
    return np.array([row["labels"] for row in ordered]), np.array(
        [row["scores"] for row in ordered]
    )


def assert_same(found, expected):
    np.testing.assert_array_equal(found[0], expected[0])
    np.testing.assert_allclose(found[1], expected[1], atol=1e-5)  # of products of other shapes


@pytest.mark.slow
def test_actors_of_ray_are_killed(documents, folder, expected):
    ray = pytest.importorskip("ray")
    ray.cloudpickle.register_pickle_by_value(dying)
    ray.init(num_cpus=3, include_dashboard=False, log_to_driver=False)
    try:
        rows = pa.array(documents.tolist(), pa.list_(pa.float32()))
        data = ray.data.from_arrow(pa.table({"id": range(N), "text": rows}))
        found = predict_ray(data, folder, workers=2, batch_size=9, k=3).take_all()
    finally:
        ray.shutdown()
    assert dying.kills_left(folder.parent) == 0
    assert_same(by_id(found), expected)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:PySpark does not yet fully support pandas:FutureWarning")
def test_python_workers_of_spark_are_killed(documents, folder, expected, monkeypatch):
    sql = pytest.importorskip("pyspark.sql")
    import pyspark.cloudpickle

    pyspark.cloudpickle.register_pickle_by_value(dying)
    monkeypatch.setenv("PYSPARK_PYTHON", sys.executable)
    spark = (
        sql.SparkSession.builder.master(f"local[2,{4 + KILLS}]")
        .config("spark.ui.enabled", "false")
        .config("spark.sql.execution.arrow.maxRecordsPerBatch", "9")
        .getOrCreate()
    )
    try:
        frame = spark.createDataFrame(
            list(enumerate(documents.tolist())), "id long, text array<float>"
        ).repartition(8)
        found = predict_spark(frame, folder, k=3).collect()
    finally:
        spark.stop()
    assert dying.kills_left(folder.parent) == 0
    assert_same(by_id([row.asDict() for row in found]), expected)
