"""Writers of predictions and truth."""

import csv
import json
import tempfile
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st

from skxmc.datasets import load_annif, save_predictions, save_qrels
from skxmc.metrics import precision_at_k

LABELS = np.array([[2, 0], [1, -1], [-1, -1]])
SCORES = np.array([[0.75, 1e-7], [-0.5, -np.inf], [np.nan, 0]], dtype=np.float32)
CLASSES = ["wool", "sheep", "http://example.org/größe"]
NAMES = [[CLASSES[2], CLASSES[0]], [CLASSES[1], None], [None, None]]
IDS = ["d1", 2**70, "d3"]
TEXT_IDS = ["d1", str(2**70), "d3"]
ROWS = [
    ("d1", 1, CLASSES[2], 0.75),
    ("d1", 2, CLASSES[0], 1e-7),
    (str(2**70), 1, CLASSES[1], -0.5),
]


@pytest.fixture(params=["numbers", "names"])
def labels(request):
    return LABELS if request.param == "numbers" else np.array(NAMES, dtype=object)


def test_score_matrix(labels, tmp_path):
    save_predictions(tmp_path / "a.npz", labels, SCORES, classes=CLASSES)
    matrix = sp.load_npz(tmp_path / "a.npz")
    assert isinstance(matrix, sp.csr_matrix)  # not an array: older SciPy reads no others
    assert matrix.dtype == np.float32
    expected = np.zeros((3, 3), dtype=np.float32)
    expected[0, [2, 0]], expected[1, 1] = (0.75, 1e-7), -0.5
    np.testing.assert_array_equal(matrix.toarray(), expected)
    with pytest.raises(ValueError, match="pass classes"):
        save_predictions(tmp_path / "a.npz", labels, SCORES)


def test_metrics_take_the_score_matrix_back(rng, tmp_path):
    scores = -np.sort(-rng.rand(20, 4), axis=1).astype(np.float32)
    labels = np.argsort(rng.rand(20, 9), axis=1)[:, :4]
    Y = sp.csr_array((rng.rand(20, 9) < 0.3).astype(np.float32))
    save_predictions(tmp_path / "a.npz", labels, scores, classes=np.arange(9))
    loaded = sp.load_npz(tmp_path / "a.npz")
    assert precision_at_k(Y, loaded, k=3) == precision_at_k(Y, labels, k=3)


@pytest.mark.parametrize("suffix", [".trec", ".run"])
def test_trec_run(labels, suffix, tmp_path):
    path = tmp_path / f"a{suffix}"
    save_predictions(path, labels, SCORES, ids=IDS, classes=CLASSES)
    lines = [line.split(" ") for line in path.read_text(encoding="utf-8").splitlines()]
    assert {(q0, tag) for _, q0, _, _, _, tag in lines} == {("Q0", "skxmc")}
    found = [
        (document, int(rank), name, float(score)) for document, _, name, rank, score, _ in lines
    ]
    assert found == ROWS


@pytest.mark.parametrize(("suffix", "delimiter"), [(".csv", ","), (".tsv", "\t")])
def test_tables(labels, suffix, delimiter, tmp_path):
    path = tmp_path / f"a{suffix}"
    texts = ["a, b", ["c", "d"], 'e "\n']
    save_predictions(path, labels, SCORES, ids=IDS, classes=CLASSES, label_text=texts)
    with path.open(encoding="utf-8", newline="") as file:
        names, *rows = csv.reader(file, delimiter=delimiter)
    assert names == ["document", "rank", "label", "score", "text"]
    assert [(row[0], int(row[1]), row[2], float(row[3])) for row in rows] == ROWS
    assert [row[4] for row in rows] == ['e "\n', "a, b", "c"]


def test_json_lines(labels, tmp_path):
    save_predictions(tmp_path / "a.jsonl", labels, SCORES, ids=IDS, classes=CLASSES)
    records = [json.loads(line) for line in (tmp_path / "a.jsonl").open(encoding="utf-8")]
    assert records == [
        {"id": "d1", "labels": [CLASSES[2], CLASSES[0]], "scores": [0.75, 1e-7]},
        {"id": str(2**70), "labels": [CLASSES[1]], "scores": [-0.5]},
        {"id": "d3", "labels": [], "scores": []},
    ]


def test_annif_suggestions(labels, tmp_path):
    folder = tmp_path / "suggestions"
    texts = [["wool"], ["sheep\tlamb"], []]
    save_predictions(folder, labels, SCORES, ids=IDS, classes=CLASSES, label_text=texts)
    assert sorted(path.name for path in folder.iterdir()) == sorted(f"{i}.annif" for i in TEXT_IDS)
    assert (folder / "d1.annif").read_text(encoding="utf-8").splitlines() == [
        f"<{CLASSES[2]}>\t\t0.7500",
        "<wool>\twool\t0.0000",
    ]
    assert (folder / f"{2**70}.annif").read_text() == "<sheep>\tsheep lamb\t-0.5000\n"
    assert (folder / "d3.annif").read_text() == ""


def test_annif_reads_suggestions_as_subjects(tmp_path):
    """A corpus whose subjects are the suggestions has the same labels."""
    uris = [f"http://example.org/{name}" for name in "abc"]
    (tmp_path / "v.tsv").write_text("".join(f"<{uri}>\t{uri[-1]}\n" for uri in uris))
    folder = tmp_path / "c"
    ids = ["one", "two", "three"]
    save_predictions(folder, LABELS, SCORES, ids=ids, classes=uris)
    for name in ids:
        (folder / f"{name}.annif").rename(folder / f"{name}.tsv")
        (folder / f"{name}.txt").write_text(name)
    data = load_annif(folder, tmp_path / "v.tsv")
    order = [ids.index(uid) for uid in data.uids_train]
    expected = [{label for label in LABELS[row] if label >= 0} for row in order]
    assert [set(data.Y_train[[row]].indices) for row in range(3)] == expected


def test_numbers_stand_for_missing_ids_and_classes(tmp_path):
    save_predictions(tmp_path / "a.csv", LABELS, SCORES, format="trec")
    lines = (tmp_path / "a.csv").read_text().splitlines()
    assert lines == ["0 Q0 2 1 0.75 skxmc", "0 Q0 0 2 1e-07 skxmc", "1 Q0 1 1 -0.5 skxmc"]


def test_nothing_to_write(tmp_path):
    empty = np.empty((0, 5))
    save_predictions(tmp_path / "a.npz", empty.astype(int), empty, classes=CLASSES)
    assert sp.load_npz(tmp_path / "a.npz").shape == (0, 3)
    save_predictions(tmp_path / "a.csv", [[None]], [[0.0]])
    assert (tmp_path / "a.csv").read_text() == "document,rank,label,score\n"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"path": "a.xml"}, "suffix is none of .npz"),
        ({"format": "xml"}, "format is 'xml'"),
        ({"scores": SCORES[:2]}, r"labels has shape \(3, 2\) and scores has shape \(2, 2\)"),
        ({"labels": [[1, 2], [1]]}, "labels must be of shape"),
        ({"scores": [[1, np.nan], [0, 0], [0, 0]]}, r"scores\[0, 1\] is nan"),
        ({"labels": [[3, 0], [1, -1], [0, 1]]}, "labels holds 3, but there are 3 classes"),
        ({"labels": [[1, 1], [1, -1], [0, 1]]}, "row 0 of labels names one label twice"),
        ({"labels": [["cat", None]] * 3}, "row 0 of labels has 'cat', which is not in classes"),
        ({"classes": ["a", "b", "a"]}, "entries 0 and 2 of classes have the same id 'a'"),
        ({"classes": ["a", "b", 1.0]}, r"classes\[2\] is 1.0"),
        ({"classes": ["a", "b", "c d"]}, "labels has 'c d'; TREC separates by blanks"),
        ({"ids": ["a", "b"]}, "ids has 2 entries, but there are 3 documents"),
        ({"ids": ["a", "b", "a"]}, "entries 0 and 2 of ids have the same id 'a'"),
        ({"ids": ["a", "b", "c\nd"]}, "ids has 'c.nd'; TREC separates"),
        ({"ids": ["a", "b", None]}, r"ids\[2\] is None"),
        ({"path": "f", "ids": ["a", "b", "../c"]}, "no name of a file"),
        ({"path": "f", "ids": ["a", "b", "c" * 300]}, "no name of a file"),
        ({"path": "f", "ids": ["a", "b", ".c"]}, "no name of a file"),
        ({"label_text": ["a"]}, "label_text has 1 texts, for 3 labels"),
        ({"label_text": ["a"], "classes": None, "labels": NAMES}, "pass classes, too"),
    ],
)
@pytest.mark.filterwarnings("ignore:invalid value")
def test_wrong_predictions(change, message, tmp_path):
    scores = np.nan_to_num(SCORES, neginf=0)
    given = {"path": "a.trec", "labels": LABELS, "scores": scores, "ids": IDS, "classes": CLASSES}
    given |= change
    given["path"] = tmp_path / given["path"]
    with pytest.raises(ValueError, match=message):
        save_predictions(**given)
    assert list(tmp_path.iterdir()) == []


def test_wrong_types(tmp_path):
    with pytest.raises(TypeError, match="labels has dtype float64"):
        save_predictions(tmp_path / "a.csv", np.zeros((1, 1)), [[0.5]])
    with pytest.raises(TypeError, match="scores has dtype"):
        save_predictions(tmp_path / "a.csv", [[1]], [["a"]])


def test_a_failed_write_leaves_the_old_file(tmp_path):
    save_predictions(tmp_path / "a.csv", LABELS, SCORES)
    before = (tmp_path / "a.csv").read_text()
    with pytest.raises(UnicodeEncodeError):
        save_predictions(tmp_path / "a.csv", [["\ud800"]], [[0.5]])
    assert (tmp_path / "a.csv").read_text() == before
    assert [path.name for path in tmp_path.iterdir()] == ["a.csv"]


@pytest.mark.parametrize(
    ("Y", "classes"),
    [
        (sp.csr_array([[1, 1, 0], [0, 0, 0], [0, 0, 1]]), CLASSES),
        ([["wool", "sheep", "wool"], [], [CLASSES[2]]], None),
    ],
)
def test_qrels(Y, classes, tmp_path):
    save_qrels(tmp_path / "a.qrels", Y, ids=IDS, classes=classes)
    assert (tmp_path / "a.qrels").read_text(encoding="utf-8").splitlines() == [
        "d1 0 wool 1",
        "d1 0 sheep 1",
        f"d3 0 {CLASSES[2]} 1",
    ]
    with pytest.raises(ValueError, match="ids has 1 entries"):
        save_qrels(tmp_path / "a.qrels", Y, ids=["a"], classes=classes)


def test_wrong_qrels(tmp_path):
    with pytest.raises(ValueError, match="labels has 'a b'"):
        save_qrels(tmp_path / "a.qrels", [["a b"]])
    with pytest.raises(ValueError, match="classes has 1 entries, but there are 2"):
        save_qrels(tmp_path / "a.qrels", np.eye(2), classes=["a"])
    save_qrels(tmp_path / "a.qrels", np.eye(2))
    assert (tmp_path / "a.qrels").read_text() == "0 0 0 1\n1 0 1 1\n"


@given(
    rows=st.lists(st.lists(st.integers(0, 8), max_size=4, unique=True), min_size=1, max_size=5),
    number=st.floats(allow_nan=False, allow_infinity=False, width=32),
)
@settings(max_examples=50, deadline=None)
def test_written_scores_read_back_to_the_bit(rows, number):
    labels = np.full((len(rows), 4), -1)
    for row, found in enumerate(rows):
        labels[row, : len(found)] = found
    scores = np.full(labels.shape, number, dtype=np.float32)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.trec"
        save_predictions(path, labels, scores)
        lines = [line.split() for line in path.read_text().splitlines()]
    found = [(int(document), int(name)) for document, _, name, *_ in lines]
    assert found == [(row, label) for row, own in enumerate(rows) for label in own]
    assert all(np.float32(line[4]) == np.float32(number) for line in lines)
