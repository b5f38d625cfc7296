"""Labels for tables of documents, and the engines that share them out."""

import pickle
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pytest

from skxmc import ViXMLClassifier
from skxmc.bulk import TablePredictor, _table_predictor, predict_ray, predict_spark

RNG = np.random.RandomState(0)
VECTORS = RNG.normal(size=(80, 6)).astype(np.float32)
TAGS = [[f"tag {np.argmax(row)}", f"tag {np.argmin(row)}"] for row in VECTORS]
NUMBERS = [[int(np.argmax(row)), 10 + int(np.argmin(row))] for row in VECTORS]
WORDS = "red green blue apple car tree house dog".split()
TEXTS = [" ".join(WORDS[word] for word in row) for row in RNG.randint(len(WORDS), size=(60, 3))]


@pytest.fixture(scope="module")
def vectors(tmp_path_factory):
    """A model of ready embeddings, and its folder."""
    clf = ViXMLClassifier(encoder="precomputed", random_state=0).fit(VECTORS, TAGS)
    folder = tmp_path_factory.mktemp("models") / "vectors"
    clf.save(folder)
    return clf, folder


@pytest.fixture(scope="module")
def texts(tmp_path_factory):
    from tiny_models import save_encoder

    place = tmp_path_factory.mktemp("models")
    clf = ViXMLClassifier(
        save_encoder(place, words=WORDS), train_encoder="frozen", random_state=0, device="cpu"
    ).fit(TEXTS, [sorted({*text.split()}) for text in TEXTS])
    clf.save(place / "model")
    return clf, place / "model"


def table(n=80, **columns):
    rows = pa.array(VECTORS[:n].tolist(), pa.list_(pa.float32()))
    return pa.table({"id": [f"d{row}" for row in range(n)], "text": rows, **columns})


def test_the_same_as_predict_topk(vectors):
    clf, folder = vectors
    found = TablePredictor(folder, k=3)(table())
    labels, scores = clf.predict_topk(VECTORS, k=3, return_labels=True)
    assert found["id"].to_pylist() == [f"d{row}" for row in range(80)]
    assert found["labels"].to_pylist() == labels.tolist()
    np.testing.assert_allclose(np.array(found["scores"].to_pylist()), scores, atol=1e-6)
    assert found.schema.field("scores").type == pa.list_(pa.float32())
    columns = TablePredictor(folder, k=3, id=None, return_labels=False)(table().drop(["id"]))
    assert columns.column_names == ["labels", "scores"]
    assert columns["labels"].to_pylist() == clf.predict_topk(VECTORS, k=3)[0].tolist()


def test_no_documents_and_more_labels_than_there_are(vectors):
    clf, folder = vectors
    predict = TablePredictor(folder, k=100)
    assert predict(table(0)).num_rows == 0
    found = predict(table(2))
    assert all(len(labels) == len(clf.classes_) for labels in found["labels"].to_pylist())


def test_names_that_are_numbers_stay_numbers(tmp_path):
    clf = ViXMLClassifier(encoder="precomputed", random_state=0).fit(VECTORS, NUMBERS)
    clf.save(tmp_path / "model")
    found = TablePredictor(tmp_path / "model", k=2)(table(5))
    assert found.schema.field("labels").type == pa.list_(pa.int64())
    expected = clf.predict_topk(VECTORS[:5], k=2, return_labels=True)[0]
    assert found["labels"].to_pylist() == expected.tolist()


def test_several_text_columns(texts):
    clf, folder = texts
    parts = pa.table({"title": ["red apple", "blue", ""], "more": ["car", "", "dog"]})
    found = TablePredictor(folder, k=2, text=["title", "more"], id=None)(parts)
    expected = clf.predict_topk(["red apple. car", "blue", "dog"], k=2, return_labels=True)[0]
    assert found["labels"].to_pylist() == expected.tolist()


def test_documents_that_cannot_be_read(texts):
    clf, folder = texts
    bad = {3, 40, 41}
    rows = pa.table(
        {"id": range(60), "text": [None if r in bad else t for r, t in enumerate(TEXTS)]}
    )
    with pytest.raises(ValueError, match=r"X\[3\] is missing"):
        TablePredictor(folder)(rows)
    found = TablePredictor(folder, k=2, on_error="column")(rows)
    errors = found["error"].to_pylist()
    assert {row for row, error in enumerate(errors) if error is not None} == bad
    assert all("is missing" in errors[row] for row in bad)
    expected = clf.predict_topk(TEXTS, k=2, return_labels=True)[0].tolist()
    for row, labels in enumerate(found["labels"].to_pylist()):
        assert labels == (None if row in bad else expected[row])


def test_what_is_wrong_with_columns_and_options(vectors):
    _, folder = vectors
    with pytest.raises(KeyError, match=r"no column 'title' \(its columns are \['id', 'text'\]\)"):
        TablePredictor(folder, text="title")(table())
    with pytest.raises(ValueError, match="on_error must be one of"):
        TablePredictor(folder, on_error="ignore")
    with pytest.raises(ValueError, match="k must be at least 1"):
        TablePredictor(folder, k=0)
    with pytest.raises(FileNotFoundError, match="there is no folder"):
        TablePredictor("no-such-folder")(table())


def test_batches_and_pickles(vectors):
    _, folder = vectors
    predict = TablePredictor(folder, k=2)
    whole = predict(table())
    assert len(pickle.dumps(predict)) < 1000  # without the model
    again = pickle.loads(pickle.dumps(predict))
    batches = table().to_batches(max_chunksize=30)
    assert pa.Table.from_batches(again.iterate(batches)) == whole.combine_chunks()


def test_a_process_loads_once_and_notices_a_newer_model(vectors, tmp_path):
    clf, _ = vectors
    clf.save(tmp_path / "model")
    predict = TablePredictor(tmp_path / "model", k=1)
    first = predict.model
    predict(table(3))
    assert TablePredictor(tmp_path / "model", k=2).model is first
    newer = ViXMLClassifier(encoder="precomputed", random_state=0).fit(VECTORS, NUMBERS)
    newer.save(tmp_path / "model")
    assert predict.model is not first
    assert predict(table(1))["labels"].to_pylist()[0][0] in newer.classes_.tolist()
    assert len(_table_predictor._loaded) == 1


def test_threads_are_those_of_the_worker(vectors):
    code = (
        "import sys, torch, faiss\n"
        "from skxmc.bulk import TablePredictor\n"
        "TablePredictor(sys.argv[1], threads=1).model\n"
        "print(torch.get_num_threads(), faiss.omp_get_max_threads())\n"
    )
    command = [sys.executable, "-c", code, str(vectors[1])]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout.split() == [
        "1",
        "1",
    ]


@pytest.mark.slow
def test_ray(vectors):
    ray = pytest.importorskip("ray")
    clf, folder = vectors
    ray.init(num_cpus=3, include_dashboard=False, log_to_driver=False)
    try:
        with pytest.raises(ValueError, match="to read the data with"):
            predict_ray(ray.data.from_arrow(table()), folder, workers=3)
        found = predict_ray(
            ray.data.from_arrow(table()), folder, workers=2, batch_size=7, k=3
        ).take_all()
    finally:
        ray.shutdown()
    by_id = {row["id"]: row["labels"] for row in found}
    expected = clf.predict_topk(VECTORS, k=3, return_labels=True)[0].tolist()
    assert len(found) == 80
    assert [list(by_id[f"d{row}"]) for row in range(80)] == expected


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:PySpark does not yet fully support pandas:FutureWarning")
def test_spark(vectors, monkeypatch):
    sql = pytest.importorskip("pyspark.sql")
    monkeypatch.setenv("PYSPARK_PYTHON", sys.executable)
    clf, folder = vectors
    spark = sql.SparkSession.builder.master("local[2]").config("spark.ui.enabled", "false")
    spark = spark.getOrCreate()
    try:
        rows = [(f"d{row}", vector) for row, vector in enumerate(VECTORS.tolist())]
        frame = spark.createDataFrame(rows, "id string, text array<float>").repartition(3)
        found = predict_spark(frame, folder, k=3, on_error="column").collect()
    finally:
        spark.stop()
    expected = clf.predict_topk(VECTORS, k=3, return_labels=True)[0].tolist()
    assert {row.id: list(row.labels) for row in found} == {
        f"d{row}": labels for row, labels in enumerate(expected)
    }
    assert all(row.error is None for row in found)
