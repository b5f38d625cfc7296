"""Indexes in databases: contract, models, what folders may name, and servers that are killed."""

import copy
import gc
import json
import os
import pickle
import signal
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse as sp
from sklearn.base import clone

from skxmc import ViXMLClassifier
from skxmc.indexes import Exact, PgVectorIndex, QdrantIndex, Storable, _postgres
from skxmc.indexes._database import Table
from skxmc.indexes._runs import Runs
from skxmc.testing import check_index

pytest_plugins = ("databases",)

KINDS = {"postgres": PgVectorIndex, "qdrant": QdrantIndex}
KILLS = int(os.environ.get("SKXMC_KILLS", "1"))


@pytest.fixture(params=KINDS)
def kind(request):
    """A class whose database is there."""
    request.getfixturevalue(request.param)
    return KINDS[request.param]


def unit(rng, *shape):
    vectors = rng.normal(size=shape)
    return (vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)).astype(np.float32)


def topics(rng, n, centres):
    """Documents with the number of their topic and of a smaller one within it."""
    numbers = rng.randint(len(centres), size=(n, 2))
    vectors = centres[numbers[:, 0]] + 0.5 * centres[numbers[:, 1]] + 0.1 * unit(rng, n, 24)
    return vectors.astype(np.float32), [[f"topic {a}", f"part {b}"] for a, b in numbers]


@pytest.fixture(scope="module")
def documents():
    rng = np.random.RandomState(0)
    centres = unit(rng, 30, 24)
    return (*topics(rng, 1200, centres), topics(rng, 100, centres)[0])


# --- the index -----------------------------------------------------------------------------------


def test_contract(kind):
    check_index(kind, recall=0.98)


def test_more_queries_than_a_batch_and_long_lists(kind, rng):
    vectors, queries = unit(rng, 1500, 16), unit(rng, 300, 16)
    index, exact = kind().build(vectors), Exact().build(vectors)
    for k in (5, 400):
        found, expected = index.search(queries, k), exact.search(queries, k)
        hits = [len(np.intersect1d(*pair)) for pair in zip(found[0], expected[0], strict=True)]
        assert np.mean(hits) / k > 0.98
        np.testing.assert_allclose(found[1][:, 0], expected[1][:, 0], atol=1e-5)


def test_copies_share_a_table(kind, rng):
    vectors = unit(rng, 60, 8)
    index = kind().build(vectors[:50])
    one, other = copy.deepcopy(index), pickle.loads(pickle.dumps(index))
    one.add(vectors[50:55])
    other.remove([0, 1]).add(vectors[55:])
    for own, expected in (
        (index, vectors[:50]),
        (one, vectors[:55]),
        (other, np.concatenate([vectors[2:50], vectors[55:]])),
    ):
        np.testing.assert_array_equal(own.vectors(np.arange(len(own))), expected)
        best = own.search(vectors, 3)[0]
        np.testing.assert_array_equal(best, Exact().build(expected).search(vectors, 3)[0])
    assert index.table_name == one.table_name == other.table_name


def test_purge_deletes_what_others_hold(kind, rng):
    vectors = unit(rng, 40, 8)
    index = kind().build(vectors)
    before = index.to_bytes()
    index.remove(np.arange(10))
    Storable.from_bytes(before)
    index.purge()
    with pytest.raises(LookupError, match=r"has 30 of them"):
        Storable.from_bytes(before)
    assert len(Storable.from_bytes(index.to_bytes())) == 30
    np.testing.assert_array_equal(index.vectors(np.arange(30)), vectors[10:])
    assert (index.search(vectors, 1)[0][10:, 0] == np.arange(30)).all()


def test_insertions_may_be_repeated(kind, rng):
    vectors = unit(rng, 20, 8)
    index = kind().build(vectors)
    index._table_insert(index._table, np.arange(20), vectors)
    assert index._table_count(index._table, 8, Runs([0], [2**40])) == 20


def test_tables_go_with_their_last_index_unless_they_are_kept(kind, rng):
    def there(name):
        table = Table(index._table.address, name, index._table_drop)
        table.keep()
        return index._table_count(table, 8, Runs([0], [9])) == 9

    index = kind().build(unit(rng, 9, 8))
    first, copied = index.table_name, copy.deepcopy(index)
    index.build(unit(rng, 9, 8))
    assert there(first)
    del copied
    gc.collect()
    assert not there(first)
    kept = kind().build(unit(rng, 9, 8))
    kept.to_bytes()
    name = kept.table_name
    del kept
    gc.collect()
    assert there(name)
    dropped = copy.deepcopy(index).drop()
    assert len(dropped) == 0
    assert not there(index.table_name)


def test_halves_for_wide_vectors(postgres, rng):
    vectors = unit(rng, 30, 2048)
    index = PgVectorIndex().build(vectors)
    stored = index.vectors(np.arange(30))
    np.testing.assert_array_equal(stored, vectors.astype(np.float16).astype(np.float32))
    found = Storable.from_bytes(index.to_bytes()).search(vectors, 1)
    np.testing.assert_array_equal(found[0][:, 0], np.arange(30))
    PgVectorIndex().build(unit(rng, 2, 4000))
    with pytest.raises(ValueError, match="4001 columns, and pgvector indexes at most 4000"):
        PgVectorIndex().build(unit(rng, 2, 4001))


def test_parameters_of_pgvector(rng):
    with pytest.raises(ValueError, match="ef_construction=20 is below"):
        PgVectorIndex(m=16, ef_construction=20).build(unit(rng, 2, 4))
    with pytest.raises(ValueError, match="'ef_search' parameter"):
        PgVectorIndex(ef_search=2000).build(unit(rng, 2, 4))


# --- the address ---------------------------------------------------------------------------------


def test_without_an_address(monkeypatch, rng):
    for kind, module, name in (
        (PgVectorIndex, "psycopg", "SKXMC_PGVECTOR_DSN"),
        (QdrantIndex, "qdrant_client", "SKXMC_QDRANT_URL"),
    ):
        pytest.importorskip(module)
        monkeypatch.delenv(name, raising=False)
        with pytest.raises(ConnectionError, match=f"set the environment variable {name}"):
            kind().build(unit(rng, 3, 4))


def test_nobody_answers(monkeypatch, rng):
    pytest.importorskip("psycopg")
    monkeypatch.setenv("SKXMC_PGVECTOR_DSN", "host=127.0.0.1 port=1 user=nobody password=secret")
    with pytest.raises(ConnectionError, match="SKXMC_PGVECTOR_DSN") as caught:
        PgVectorIndex().build(unit(rng, 3, 4))
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"table": "pg_class"}, "not the name of a table of skxmc"),
        ({"table": 'skxmc_"; DROP TABLE x; --'}, "not the name of a table of skxmc"),
        ({"table": None}, "not the name of a table of skxmc"),
        ({"rows": [[0, 8]]}, "names 8 rows of 9"),
        ({"rows": [[0, 5], [4, 4]]}, "rows come twice"),
        ({"rows": [[0, 10], [20, -1]]}, "out of range"),
        ({"rows": [[0, 2**70]]}, "no pairs of numbers"),
        ({"rows": [["0", "x"]]}, "no pairs of numbers"),
        ({"rows": 7}, "no pairs of numbers"),
        ({"host": "elsewhere"}, None),
    ],
    ids=repr,
)
def test_what_bytes_may_name(kind, rng, change, message):
    index = kind().build(unit(rng, 9, 8))
    content = json.loads(index._payload().tobytes()) | change
    payload = np.frombuffer(json.dumps(content).encode(), np.uint8)
    other = kind()
    if message is None:  # there is no place for an address
        other._restore(payload, 9, 8)
        assert other._table.name == index.table_name
        return
    with pytest.raises(ValueError, match=message):
        other._restore(payload, 9, 8)
    with pytest.raises(ValueError, match="names no table"):
        other._restore(payload[:-3], 9, 8)


def test_another_table_than_was_saved(kind, rng):
    index = kind().build(unit(rng, 9, 8))
    written = index.to_bytes()
    other = kind()
    with pytest.raises(LookupError, match="has 0 of them"):
        other._restore(index._payload(), 9, 7)
    index.drop()
    with pytest.raises(LookupError, match=r"has 0 of them; let it name") as caught:
        Storable.from_bytes(written)
    assert "postgres:" not in str(caught.value)


# --- models --------------------------------------------------------------------------------------


def searched_exactly(clf):
    """A copy that has learned the same, and searches the same vectors without a database."""
    other = copy.deepcopy(clf).set_params(index="exact")
    for evidence in other.evidence_.values():
        if hasattr(evidence, "index_"):
            index = evidence.index_
            evidence.index_ = Exact().build(index.vectors(np.arange(len(index))))
    return other


def test_model(kind, documents, tmp_path):
    X, Y, queries = documents
    clf = ViXMLClassifier("precomputed", index=kind.name, random_state=0).fit(X, Y)
    exact = searched_exactly(clf)
    labels, scores = clf.predict_topk(queries, 2)
    expected = exact.predict_topk(queries, 2)[0]
    np.testing.assert_array_equal(labels[:, 0], expected[:, 0])
    assert (labels == expected).mean() > 0.99  # of scores that are nearly equal, either is first
    first = np.ones(100, bool), (np.arange(100), labels[:, 0])
    given = sp.csr_array(first, shape=(100, len(clf.classes_)))
    for options in ({"exclude": given}, {"only": clf.classes_[:5]}):
        found = clf.predict_topk(queries, 1, **options)[0]
        np.testing.assert_array_equal(found, exact.predict_topk(queries, 1, **options)[0])
    clf.save(tmp_path / "model")
    sizes = {path.name: path.stat().st_size for path in Path(tmp_path / "model").iterdir()}
    assert sizes["neighbours.index"] < 1000
    again = ViXMLClassifier.load(tmp_path / "model")
    np.testing.assert_array_equal(again.predict_topk(queries, 2)[0], labels)
    np.testing.assert_allclose(again.predict_topk(queries, 2)[1], scores, atol=1e-6)
    # What changes is the one model, and not those that were saved before.
    for model in (clf, exact):
        model.partial_fit(queries[:40], [["more"]] * 40).remove_labels(["topic 3"])
    np.testing.assert_array_equal(
        clf.predict_topk(queries, 1)[0], exact.predict_topk(queries, 1)[0]
    )
    np.testing.assert_array_equal(again.predict_topk(queries, 2)[0], labels)
    assert clone(clf).index == kind.name


def test_documents_are_forgotten_for_good(kind, documents, tmp_path):
    X, Y, queries = documents
    clf = ViXMLClassifier("precomputed", index=kind(), random_state=0).fit(X[:300], Y[:300])
    clf.remove_documents(range(100))
    clf.save(tmp_path / "model")
    index = clf.evidence_["neighbours"].index_.purge()
    assert index._table_count(index._table, 24, Runs([0], [2**50])) == 200
    again = ViXMLClassifier.load(tmp_path / "model")
    np.testing.assert_array_equal(
        again.predict_topk(queries, 3)[0], clf.predict_topk(queries, 3)[0]
    )


# --- servers that die ----------------------------------------------------------------------------


class Killing(PgVectorIndex):
    """Its server process is killed with SIGKILL in the middle of some searches."""

    name = "killing"
    left = 0

    def _set_search(self, connection, k):
        super()._set_search(connection, k)
        if Killing.left:
            Killing.left -= 1
            os.kill(connection.info.backend_pid, signal.SIGKILL)


@pytest.mark.slow
def test_a_server_process_is_killed_during_predictions(postgres, documents):
    X, Y, queries = documents
    clf = ViXMLClassifier("precomputed", index=Killing(), random_state=0).fit(X, Y)
    labels, scores = clf.predict_topk(queries, 3)
    for _ in range(KILLS):
        Killing.left = 2
        found = clf.predict_topk(queries, 3)
        assert Killing.left == 0
        np.testing.assert_array_equal(found[0], labels)
        np.testing.assert_array_equal(found[1], scores)


@pytest.mark.slow
def test_a_server_process_is_killed_before_each_change(postgres, rng, monkeypatch):
    vectors = unit(rng, 300, 8)
    expected = PgVectorIndex().build(vectors[:200]).add(vectors[200:]).remove([5, 7])
    connect, killed = _postgres._connect, []

    def connect_and_kill(address):
        connection = connect(address)
        if len(killed) % 2 == 0:
            os.kill(connection.info.backend_pid, signal.SIGKILL)
        killed.append(connection)
        return connection

    monkeypatch.setattr(_postgres, "_connect", connect_and_kill)
    for _ in range(KILLS):
        index = PgVectorIndex().build(vectors[:200]).add(vectors[200:]).remove([5, 7]).purge()
        for found, right in zip(index.search(vectors, 5), expected.search(vectors, 5), strict=True):
            np.testing.assert_array_equal(found, right)
        assert index._table_count(index._table, 8, Runs([0], [2**53])) == 298
        index.drop()
    assert len(killed) > 10
