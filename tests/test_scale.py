"""Many labels or documents: what is built once, kept short or left out, at sizes patched down."""

import inspect

import numpy as np
import pytest
import scipy.sparse as sp
from rounding import assert_alike

from skxmc import ViXMLClassifier
from skxmc._features._blocks import row_norms, unit_rows
from skxmc._ranking._ranker import Ranker
from skxmc._runtime import limits
from skxmc.evidence import LabelVectors, Prototypes
from skxmc.evidence._hard_negatives import HardNegatives
from skxmc.indexes import HNSW, _choose

N, N_LABELS = 400, 30


@pytest.fixture(scope="module")
def problem():
    """Embeddings near the centres of their labels."""
    rng = np.random.RandomState(0)
    centres = rng.normal(size=(N_LABELS, 32))
    Y = np.zeros((N, N_LABELS), dtype=np.float32)
    Y[np.arange(N), rng.randint(N_LABELS, size=N)] = 1
    Y[rng.rand(N, N_LABELS) < 0.02] = 1
    Y[7] = 0  # a document without labels
    X = Y @ centres + 0.5 * rng.normal(size=(N, 32))
    return X.astype(np.float32), sp.csr_array(Y)


@pytest.fixture
def large(monkeypatch):
    """The sizes above are large."""
    monkeypatch.setattr(limits, "MAX_REBUILT", 100)
    monkeypatch.setattr(limits, "MAX_WORD_VECTORS", 20)
    monkeypatch.setattr(limits, "MAX_DENSE_LABELS", 20)
    monkeypatch.setattr(_choose, "_AUTO_EXACT", 0)
    parameters = inspect.signature(LabelVectors.__init__).parameters
    assert parameters["max_labels"].default == limits.MAX_FULL_SOFTMAX
    given = {name: one.default for name, one in parameters.items() if name != "self"}
    defaults = tuple({**given, "max_labels": 20}.values())
    monkeypatch.setattr(LabelVectors.__init__, "__defaults__", defaults)


def _fit(problem, **parameters):
    return ViXMLClassifier("precomputed", random_state=0, **parameters).fit(*problem)


@pytest.mark.usefixtures("large")
def test_everything_is_built_once(problem, monkeypatch, tmp_path):
    built = []
    collect = Ranker._collect
    monkeypatch.setattr(
        Ranker, "_collect", lambda self, *arguments: built.append(1) or collect(self, *arguments)
    )
    X, Y = problem
    clf = _fit(problem)
    ranker = clf.ranker_
    prototypes, neighbours, label_vectors = clf.evidence_.values()
    assert len(built) == 1
    assert isinstance(prototypes.index_, HNSW)
    assert prototypes.index_.storage == neighbours.index_.storage == "int8"
    assert label_vectors.model_.max_labels == 20
    assert label_vectors.model_.weights_.dtype == np.float16
    # Held-out documents are neighbours in the end, and so is the one without labels.
    assert len(neighbours.index_) == ranker.Y_.shape[0] == N
    assert ranker.Y_.nnz == Y.nnz
    nearest = neighbours.index_.search(unit_rows(X), 1)[0][:, 0]
    labelled = np.flatnonzero(np.diff(Y.indptr))
    same = [(ranker.Y_[[nearest[row]]] != Y[[row]]).nnz == 0 for row in labelled]
    assert np.mean(same) > 0.97
    indices, scores = clf.predict_topk(X, k=3)
    assert np.mean(Y.toarray()[labelled, indices[labelled, 0]]) > 0.9
    clf.save(tmp_path / "model")
    again = ViXMLClassifier.load(tmp_path / "model")
    assert again.evidence_["label_vectors"].model_.weights_.dtype == np.float16
    assert_alike(again.predict_topk(X, k=3), (indices, scores))


def test_large_is_about_as_good(problem, request):
    X, Y = problem
    known = (X[:300], Y[:300])
    small = _fit(known).score(X[300:], Y[300:])
    request.getfixturevalue("large")
    assert _fit(known).score(X[300:], Y[300:]) > small - 0.05


@pytest.mark.usefixtures("large")
@pytest.mark.parametrize(
    "parameters",
    [
        {"evidence": [Prototypes(centroids=False), "neighbours", "label_vectors"]},
        {"evidence": ["prototypes", "label_vectors"]},
        {"evidence": ["prototypes", "neighbours"]},
        {"index": "exact"},
        {"index": "ivf"},
        {"max_steps": 1},
        {"validation": 0.01},
    ],
    ids=str,
)
def test_switches_of_large_models(problem, parameters):
    X, Y = problem
    clf = _fit(problem, **parameters)
    assert clf.score(X, Y) > 0.7


@pytest.mark.usefixtures("large")
def test_excluded_pairs_of_large_models(problem):
    X, Y = problem
    exclude = sp.csr_array((np.ones(N, bool), (np.arange(N), np.arange(N) % N_LABELS)), Y.shape)
    clf = ViXMLClassifier("precomputed", random_state=0).fit(X, Y, exclude=exclude)
    indices, _ = clf.predict_topk(X, k=3, exclude=exclude)
    assert not (indices == (np.arange(N) % N_LABELS)[:, None]).any()


def test_hard_negatives_are_searched_once():
    asked = []

    def search(rows):
        asked.extend(rows.tolist())
        return np.stack([rows, -np.ones_like(rows)], axis=1)

    negatives = HardNegatives(search, 10)
    for rows in ([1, 5], [2, 5, 9], [1, 2]):
        found = negatives(np.array(rows))
        assert found.tolist() == [[row, -1] for row in rows]
    assert asked == [1, 5, 2, 9]


def test_norms_in_parts(rng, monkeypatch):
    vectors = rng.normal(size=(50, 7)).astype(np.float32)
    vectors[3] = 0
    whole = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    for rows in (7, 100):
        monkeypatch.setattr(limits, "ROWS", rows)
        np.testing.assert_array_equal(unit_rows(vectors), whole)
    assert row_norms(vectors[:0]).shape == (0, 1)
    assert unit_rows(vectors, overwrite=True) is vectors
    np.testing.assert_array_equal(vectors, whole)
