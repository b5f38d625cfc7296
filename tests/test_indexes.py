"""Indexes: exactness, order, padding, growth, bytes, errors, recall, threads."""

import copy
import pickle
import subprocess
import sys
import textwrap
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path

import faiss
import joblib
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.exceptions import NotFittedError

from skxmc._runtime import limits
from skxmc._runtime._device import has_fast_bfloat16_cpu, has_fast_int8_cpu
from skxmc.evidence._corpus import Setting
from skxmc.evidence._indexing import build_index, place_index
from skxmc.indexes import (
    HNSW,
    IVF,
    Exact,
    Index,
    Storable,
    _exact,
    make_index,
    sort_candidates,
)
from skxmc.indexes._integers import quantize

ALL = [Exact, HNSW, IVF]


def unit(vectors):
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def clustered(rng, n, d=32, n_clusters=20, noise=0.7):
    centres = rng.normal(size=(n_clusters, d))
    noisy = centres[rng.randint(n_clusters, size=n)] + noise * rng.normal(size=(n, d))
    return unit(noisy).astype(np.float32)


def brute_force(vectors, queries, k):
    """What every exact search has to return, bit by bit."""
    indices = np.full((len(queries), k), -1, dtype=np.int64)
    scores = np.full((len(queries), k), -np.inf, dtype=np.float32)
    for row, query in enumerate(queries):
        products = np.vecdot(vectors, query)
        best = np.lexsort((np.arange(len(vectors)), -products))[:k]
        indices[row, : len(best)] = best
        scores[row, : len(best)] = products[best]
    return indices, scores


def assert_same(found, expected):
    np.testing.assert_array_equal(found[0], expected[0])
    np.testing.assert_array_equal(found[1], expected[1])
    assert found[0].dtype == np.int64
    assert found[1].dtype == np.float32


def recall(found, expected):
    hits = [len(np.intersect1d(a, b)) for a, b in zip(found, expected, strict=True)]
    return sum(hits) / expected.size


# ------------------------------------------------------------------------------------------ exact


@pytest.mark.parametrize("precision", ["auto", "float32", "bfloat16"])
@pytest.mark.parametrize(("n", "k"), [(3, 5), (700, 1), (700, 40), (5000, 100), (5000, 3000)])
def test_exact_equals_brute_force(rng, precision, n, k):
    vectors = clustered(rng, n)
    queries = clustered(rng, 37)
    index = Exact(precision).build(vectors)
    assert_same(index.search(queries, k), brute_force(vectors, queries, k))


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_exact_over_many_blocks(rng, monkeypatch, precision):
    """Blocks of queries and vectors, the last ones shorter; candidates thinned out on the way."""
    monkeypatch.setattr(_exact, "_BLOCK", 4096)
    monkeypatch.setattr(_exact, "_QUERIES", 16)
    monkeypatch.setattr(_exact, "_PENDING", 512)
    vectors = clustered(rng, 3001)
    vectors = vectors[np.argsort(vectors @ vectors[0])]  # the best come last
    queries = np.concatenate((vectors[-1:], clustered(rng, 52)))
    index = Exact(precision).build(vectors)
    for k in (1, 9, 80):
        assert_same(index.search(queries, k), brute_force(vectors, queries, k))


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("pending", [64, 2**21])
def test_ties_go_to_the_lower_index(rng, monkeypatch, precision, pending):
    monkeypatch.setattr(_exact, "_PENDING", pending)
    monkeypatch.setattr(_exact, "_BLOCK", 8192)
    distinct = clustered(rng, 7)
    vectors = distinct[rng.randint(7, size=2003)]
    index = Exact(precision).build(vectors)
    queries = np.concatenate((distinct, np.zeros((1, 32), dtype=np.float32)))
    indices, scores = index.search(queries, 25)
    assert_same((indices, scores), brute_force(vectors, queries, 25))
    np.testing.assert_array_equal(indices[-1], np.arange(25))  # all scores are zero
    assert (np.diff(indices[:-1], axis=1)[np.diff(scores[:-1], axis=1) == 0] > 0).all()


def test_vectors_too_alike_for_bfloat16(rng):
    vectors = unit(1 + 1e-3 * rng.normal(size=(3000, 32))).astype(np.float32)
    index = Exact("bfloat16").build(vectors)
    assert index._shortlist(vectors[:50], 3, index._scorer("bfloat16"), limit=500) is None
    assert_same(index.search(vectors[:50], 3), brute_force(vectors, vectors[:50], 3))


def test_vectors_of_any_length(rng):
    vectors = rng.normal(size=(3000, 16)).astype(np.float32) * rng.gamma(1, size=(3000, 1))
    vectors = vectors.astype(np.float32)
    queries = 100 * rng.normal(size=(20, 16)).astype(np.float32)
    for precision in ("float32", "bfloat16"):
        found = Exact(precision).build(vectors).search(queries, 12)
        assert_same(found, brute_force(vectors, queries, 12))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_exact_for_any_small_integers(data):
    """Small integers make many ties, zeros of both signs and exact sums."""
    n, m, d, k = (data.draw(st.integers(1, high)) for high in (30, 4, 3, 40))
    elements = st.sampled_from(np.array([-2, -1, -0.0, 0, 1, 2], dtype=np.float32))
    vectors = data.draw(arrays(np.float32, (n, d), elements=elements))
    queries = data.draw(arrays(np.float32, (m, d), elements=elements))
    found = Exact("float32").build(vectors).search(queries, k)
    products = queries @ vectors.T
    for row in range(m):
        best = np.lexsort((np.arange(n), -products[row]))[:k]
        np.testing.assert_array_equal(found[0][row, : len(best)], best)
        np.testing.assert_array_equal(found[1][row, : len(best)], products[row, best])


@pytest.mark.parametrize("precision", ["auto", "float32", "bfloat16"])
@pytest.mark.parametrize("size", [1, 3])
def test_a_query_has_one_answer_in_every_batch(rng, monkeypatch, precision, size):
    monkeypatch.setattr(_exact, "_MANY", 9000)  # few are searched in fewer bits as well
    vectors, queries = clustered(rng, 9000), clustered(rng, 40)
    index = Exact(precision).build(vectors)
    together = index.search(queries, 10)
    apart = [index.search(queries[start : start + size], 10) for start in range(0, 40, size)]
    assert_same(together, [np.concatenate(part) for part in zip(*apart, strict=True)])


def test_few_queries_read_fewer_bits_from_the_second_on(rng):
    index = Exact().build(clustered(rng, _exact._MANY // 32))
    few = "int8" if has_fast_int8_cpu() else "float32"
    assert [index._rough_precision(1, 5) for _ in range(3)] == ["float32", few, few]
    assert index._rough_precision(7, 5) == few
    assert index._rough_precision(8, 5) == ("bfloat16" if has_fast_bfloat16_cpu() else "float32")
    assert index._rough_precision(1, 5000) == "float32"  # exact scores of many vectors


@pytest.mark.parametrize("n_queries", [1, 3, 40])
@pytest.mark.parametrize("width", [1, 15, 16, 385, 3001])
def test_scores_of_fewer_bits_are_within_their_bound(rng, n_queries, width):
    """Whatever the kernel that the number of queries calls: it must add up without rounding."""
    vectors = np.abs(rng.normal(size=(500, width))).astype(np.float32)  # sums that only grow
    queries = np.abs(rng.normal(size=(n_queries, width))).astype(np.float32)
    vectors[::7] *= rng.choice([0, 1e-20, 1e3, 1e6], size=(72, 1)).astype(np.float32)
    vectors[::5, 0] = 30 * vectors[::5].max(axis=1)  # one number that leaves few bits to the others
    exact = queries.astype(np.float64) @ vectors.T
    scorers = [_exact._BFloat16Scorer(vectors, "cpu")]
    if has_fast_int8_cpu():
        scorers.append(_exact._Int8Scorer(vectors))
    for scorer in scorers:
        prepared, bounds = scorer.prepare(queries)
        scores = scorer.to_numpy(scorer.scores(prepared, 0, 500))
        assert scores.shape == (n_queries, 500)
        assert (np.abs(scores - exact) <= bounds).all()


def test_integers_bring_rows_back(rng):
    vectors = rng.normal(size=(50, 33)).astype(np.float32)
    vectors[7] = 0
    integers, scales, lost = quantize(vectors)
    assert integers.dtype == np.int8
    assert (np.abs(integers).max(axis=1) == np.where(np.arange(50) == 7, 0, 127)).all()
    rest = vectors - integers * scales[:, None]
    assert (np.abs(rest) <= scales[:, None] * 0.5001).all()
    np.testing.assert_allclose(lost, np.linalg.norm(rest, axis=1), rtol=1e-4)


@pytest.mark.parametrize("size", [1, 3])
@pytest.mark.parametrize("kind", ["clustered", "any length", "ties", "too alike"])
def test_few_queries_of_many_vectors(rng, monkeypatch, size, kind):
    """The way of integers, where there is one."""
    monkeypatch.setattr(_exact, "_MANY", 1)
    vectors = {
        "clustered": lambda: clustered(rng, 4000),
        "any length": lambda: rng.normal(size=(4000, 33)) * rng.gamma(1, size=(4000, 1)),
        "ties": lambda: clustered(rng, 9)[rng.randint(9, size=4000)],
        "too alike": lambda: unit(1 + 1e-3 * rng.normal(size=(4000, 32))),
    }[kind]()
    vectors = vectors.astype(np.float32)
    queries = np.concatenate((vectors[:8], np.zeros_like(vectors[:1])))
    index = Exact().build(vectors)
    index.search(queries[:1], 1)
    for start in range(0, 9, size):
        some = queries[start : start + size]
        assert index._rough_precision(size, 12) == ("int8" if has_fast_int8_cpu() else "float32")
        assert_same(index.search(some, 12), brute_force(vectors, some, 12))


# ---------------------------------------------------------------------------------- sort_candidates


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_sort_candidates(data):
    n, m, k = (data.draw(st.integers(1, high)) for high in (3, 12, 15))
    numbers = st.one_of(st.sampled_from([-1.0, -0.0, 0.0, 0.5]), st.floats(-9, 9, width=32))
    scores = data.draw(arrays(np.float32, (n, m), elements=numbers))
    indices = np.stack([np.random.RandomState(row).permutation(2 * m)[:m] for row in range(n)])
    indices[data.draw(arrays(bool, (n, m)))] = -1
    found_indices, found_scores = sort_candidates(indices, scores, k)
    assert found_indices.shape == found_scores.shape == (n, min(k, m))
    for row in range(n):
        there = indices[row] >= 0
        pairs = zip(-scores[row][there], indices[row][there], strict=True)
        expected = sorted(pairs)[:k]
        missing = min(k, m) - len(expected)
        assert found_indices[row].tolist() == [i for _, i in expected] + [-1] * missing
        assert found_scores[row].tolist() == [-s for s, _ in expected] + [-np.inf] * missing


# ------------------------------------------------------------------------------------- all indexes


@pytest.mark.parametrize("make", ALL)
def test_contract(rng, make):
    vectors, queries = clustered(rng, 300), clustered(rng, 8)
    index = make().build(vectors)
    assert isinstance(index, Index)
    assert len(index) == 300
    indices, scores = index.search(queries, 20)
    assert indices.shape == scores.shape == (8, 20)
    assert indices.dtype == np.int64
    assert scores.dtype == np.float32
    assert (np.diff(scores, axis=1) <= 0).all()
    np.testing.assert_allclose(
        scores, np.take_along_axis(queries @ vectors.T, indices, axis=1), atol=1e-6
    )


@pytest.mark.parametrize("make", ALL)
def test_more_than_there_are(rng, make):
    vectors = clustered(rng, 6)
    indices, scores = make().build(vectors).search(vectors[:2], 9)
    assert sorted(indices[0, :6]) == list(range(6))
    assert (indices[:, 6:] == -1).all()
    assert (scores[:, 6:] == -np.inf).all()
    assert np.isfinite(scores[:, :6]).all()


@pytest.mark.parametrize("make", ALL)
def test_nothing_to_search(rng, make):
    index = make().build(np.empty((0, 32), dtype=np.float32))
    assert len(index) == 0
    indices, scores = index.search(clustered(rng, 2), 3)
    assert (indices == -1).all()
    assert (scores == -np.inf).all()
    index.add(clustered(rng, 5))
    indices, scores = index.search(np.empty((0, 32)), 3)
    assert indices.shape == scores.shape == (0, 3)
    assert sorted(index.search(clustered(rng, 1), 5)[0][0]) == list(range(5))


@pytest.mark.parametrize("make", ALL)
def test_add_continues_the_indices(rng, make):
    vectors = clustered(rng, 200)
    index = make().build(vectors[:150])
    index.search(vectors[:1], 1)
    index.add(vectors[150:180]).add(vectors[180:])
    assert len(index) == 200
    np.testing.assert_array_equal(index.search(vectors, 1)[0][:, 0], np.arange(200))


@pytest.mark.parametrize("make", ALL)
def test_build_replaces(rng, make):
    index = make().build(clustered(rng, 50))
    other = clustered(rng, 40, d=16)
    assert len(index.build(other)) == 40
    np.testing.assert_array_equal(index.search(other, 1)[0][:, 0], np.arange(40))


@pytest.mark.parametrize("make", ALL)
def test_equal_vectors_in_order_of_index(rng, make):
    vectors = np.repeat(clustered(rng, 10), 4, axis=0)
    indices = make().build(vectors).search(vectors[::4], 4)[0]
    np.testing.assert_array_equal(indices, np.arange(40).reshape(10, 4))


@pytest.mark.parametrize("make", ALL)
def test_same_bytes_twice(rng, make):
    vectors = clustered(rng, 500)
    first, second = (make().build(vectors).to_bytes() for _ in range(2))
    np.testing.assert_array_equal(first, second)


PARAMETERS = [
    Exact("float32"),
    HNSW(m=8, ef_construction=30, ef_search=70),
    HNSW(m=8, storage="float16"),
    HNSW(m=8, storage="int8"),
    IVF(nlist=5, nprobe=2),
    IVF(),
]


@pytest.mark.parametrize("index", PARAMETERS, ids=lambda index: index.name)
def test_bytes_through_a_read_only_map(rng, tmp_path, index):
    index = copy.deepcopy(index).build(clustered(rng, 300))
    np.save(tmp_path / "index.npy", index.to_bytes())
    mapped = np.load(tmp_path / "index.npy", mmap_mode="r")
    assert mapped.dtype == np.uint8
    again = Storable.from_bytes(mapped)
    assert type(again) is type(index)
    assert again.get_params() == index.get_params()
    assert len(again) == 300
    queries = clustered(rng, 9)
    assert_same(again.search(queries, 7), index.search(queries, 7))
    more = clustered(rng, 4)
    assert_same(again.add(more).search(queries, 7), index.add(more).search(queries, 7))


def test_exact_does_not_copy_the_map(rng, tmp_path):
    np.save(tmp_path / "index.npy", Exact().build(clustered(rng, 30)).to_bytes())
    mapped = np.load(tmp_path / "index.npy", mmap_mode="r")
    assert np.shares_memory(Storable.from_bytes(mapped)._vectors, mapped)


ANONYMOUS = """
import sys
import numpy as np
from skxmc.indexes import Storable

def anonymous():
    with open("/proc/self/smaps_rollup") as file:
        return next(1024 * int(line.split()[1]) for line in file if line.startswith("Anonymous:"))

queries = np.load(sys.argv[1])
mapped = np.load(sys.argv[2], mmap_mode="r")
kept = []
for _ in range(2):  # what a process allocates once is there before the second
    before = anonymous()
    kept.append(Storable.from_bytes(mapped))
    kept[-1].search(queries, 5)
print(anonymous() - before, len(mapped))
"""


@pytest.mark.skipif(not Path("/proc/self/smaps_rollup").exists(), reason="only Linux tells")
@pytest.mark.skipif(not hasattr(faiss, "ZeroCopyIOReader"), reason="faiss before 1.11 copies")
@pytest.mark.parametrize("make", [partial(HNSW, m=8, ef_construction=20), IVF])
def test_faiss_reads_a_map_where_it_lies(rng, tmp_path, make):
    vectors = rng.normal(size=(20_000, 96)).astype(np.float32)
    np.save(tmp_path / "queries.npy", vectors[:3])
    np.save(tmp_path / "index.npy", make().build(vectors).to_bytes())
    names = [str(tmp_path / f"{name}.npy") for name in ("queries", "index")]
    command = [sys.executable, "-c", ANONYMOUS, *names]
    found = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    private, size = map(int, found.split())
    assert private < size / 2


@pytest.mark.parametrize("index", PARAMETERS, ids=lambda index: index.name)
@pytest.mark.parametrize("built", [False, True])
def test_pickle_deepcopy_joblib(rng, tmp_path, index, built):
    vectors = clustered(rng, 100)
    index = copy.deepcopy(index)
    if built:
        index.build(vectors)
    joblib.dump(index, tmp_path / "index.joblib")
    copies = [
        copy.deepcopy(index),
        pickle.loads(pickle.dumps(index)),
        joblib.load(tmp_path / "index.joblib", mmap_mode="r"),
    ]
    expected = copy.deepcopy(index).build(vectors).search(vectors[:5], 6)
    for again in copies:
        assert len(again) == (100 if built else 0)
        assert_same((again if built else again.build(vectors)).search(vectors[:5], 6), expected)


@pytest.mark.parametrize("make", ALL)
def test_threads_share_an_index(rng, make):
    vectors = clustered(rng, 9000)
    index = make().build(vectors) if make is not HNSW else HNSW(m=8).build(vectors[:999])
    parts = np.split(clustered(rng, 256), 4)
    expected = [index.search(part, 5 + i) for i, part in enumerate(parts)]
    with ThreadPoolExecutor(4) as pool:
        for _ in range(3):
            found = pool.map(index.search, parts, range(5, 9))
            for one, other in zip(found, expected, strict=True):
                assert_same(one, other)


# ------------------------------------------------------------------------------------------- recall


@pytest.mark.parametrize("index", [HNSW(), IVF()], ids=lambda index: index.name)
def test_recall_on_clustered_vectors(rng, index):
    vectors, queries = clustered(rng, 2000, n_clusters=40), clustered(rng, 50, n_clusters=40)
    queries = unit(vectors[::40] + 0.05 * queries).astype(np.float32)
    expected = Exact().build(vectors).search(queries, 50)[0]
    assert recall(index.build(vectors).search(queries, 50)[0], expected) > 0.95


@pytest.mark.parametrize(("storage", "size", "error"), [("float16", 2, 1e-3), ("int8", 1, 0.02)])
def test_short_storage(rng, storage, size, error):
    vectors = clustered(rng, 2000, n_clusters=40)
    queries = unit(vectors[::40] + 0.01 * clustered(rng, 50)).astype(np.float32)
    expected, scores = Exact().build(vectors).search(queries, 50)
    index = HNSW(m=8, storage=storage).build(vectors)
    found = index.search(queries, 50)
    assert recall(found[0], expected) > 0.95
    np.testing.assert_allclose(found[1], scores, atol=error)
    plain = HNSW(m=8).build(vectors)
    saved = plain.to_bytes().nbytes - index.to_bytes().nbytes
    assert saved / 2000 == pytest.approx(32 * (4 - size), abs=1)


@pytest.mark.parametrize("storage", ["float16", "int8"])
def test_short_storage_of_what_comes_later(rng, storage):
    """An index that was empty knows no scales but those of unit vectors."""
    index = HNSW(storage=storage).build(np.empty((0, 32), dtype=np.float32))
    vectors = clustered(rng, 50)
    np.testing.assert_array_equal(index.add(vectors).search(vectors, 1)[0][:, 0], np.arange(50))


@pytest.mark.parametrize("index", PARAMETERS, ids=lambda index: index.name)
def test_vectors_come_back(rng, index):
    vectors = clustered(rng, 300)
    index = copy.deepcopy(index).build(vectors[:200]).add(vectors[200:])
    asked = np.array([299, 0, 7, 7, 200])
    tolerance = {"int8": 0.1, "float16": 1e-3}.get(getattr(index, "storage", "float32"), 0)
    for one in (index, Storable.from_bytes(index.to_bytes())):
        found = one.vectors(asked)
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, vectors[asked], rtol=0, atol=tolerance)


@pytest.mark.parametrize("index", PARAMETERS, ids=lambda index: index.name)
@pytest.mark.parametrize("n", [1, 64, 300])
def test_parts_are_as_good_as_the_whole(rng, monkeypatch, index, n):
    monkeypatch.setattr(limits, "ROWS", 64)
    vectors, asked = clustered(rng, n), []

    def vectors_of(rows):
        asked.append(len(vectors[rows]))
        return vectors[rows]

    index = copy.deepcopy(index).build_in_parts(n, vectors_of)
    assert len(index) == n
    assert max(asked) <= 100
    whole = copy.deepcopy(index).build(vectors)
    assert recall(index.search(vectors, 1)[0], whole.search(vectors, 1)[0]) > 0.97
    if index.name != "hnsw":
        np.testing.assert_array_equal(index.to_bytes(), whole.to_bytes())


def test_all_threads_build(rng):
    vectors = clustered(rng, 300)
    index = HNSW(m=8, n_jobs=-1).build(vectors)
    np.testing.assert_array_equal(index.search(vectors, 1)[0][:, 0], np.arange(300))


def test_effort_buys_recall(rng):
    vectors = clustered(rng, 1500, n_clusters=20)
    expected = Exact().build(vectors).search(vectors[:60], 30)[0]
    for low, high in (
        (HNSW(m=4, ef_construction=8, ef_search=1), HNSW(ef_search=300)),
        (IVF(nlist=60, nprobe=1), IVF(nlist=60, nprobe=60)),
    ):
        found = [
            recall(i.build(vectors).search(vectors[:60], 30)[0], expected) for i in (low, high)
        ]
        assert found[0] < found[1]
        assert found[1] > 0.99


# ----------------------------------------------------------------------------------------- choosing


@pytest.mark.parametrize(("name", "kind"), [("exact", Exact), ("hnsw", HNSW), ("ivf", IVF)])
def test_make_index(name, kind):
    index = make_index(name, 100, 8)
    assert type(index) is kind
    assert index.name == name


def test_make_index_clones_an_example(rng):
    given = HNSW(m=5).build(clustered(rng, 9))
    made = make_index(given, 100, 8)
    assert made is not given
    assert (made.m, len(made), made.dimension) == (5, 0, None)


def test_auto_is_exact_until_it_is_large():
    assert type(make_index("auto", 1000, 384)) is Exact
    large = make_index("auto", 10**9, 384)
    assert isinstance(large, HNSW)
    assert (large.storage, large.n_jobs) == ("int8", -1)
    assert make_index("hnsw", 10**9, 384).storage == "float32"  # as it was asked for


def test_unknown_name():
    with pytest.raises(
        ValueError, match=r"'flat' is not one of the indexes.* 'exact', 'hnsw', 'ivf'.*skxmc"
    ):
        make_index("flat", 100, 8)
    with pytest.raises(TypeError, match="a name or an Index object, got 5"):
        make_index(5, 100, 8)


# ------------------------------------------------------------------------------------------- errors


@pytest.mark.parametrize("make", ALL)
def test_errors(rng, make):
    vectors = clustered(rng, 20)
    with pytest.raises(NotFittedError, match="build"):
        make().search(vectors, 1)
    with pytest.raises(NotFittedError, match="build"):
        make().add(vectors)
    with pytest.raises(NotFittedError, match="build"):
        make().to_bytes()
    index = make().build(vectors)
    with pytest.raises(TypeError, match=r"vectors must be a floating array, got dtype int64"):
        index.build(np.ones((3, 4), dtype=np.int64))
    with pytest.raises(ValueError, match=r"vectors must have shape \(n, d\)"):
        index.build(vectors[0])
    with pytest.raises(ValueError, match="vectors have 31 columns, but the index holds 32"):
        index.add(vectors[:, 1:])
    with pytest.raises(ValueError, match="queries have 31 columns, but the index holds 32"):
        index.search(vectors[:, 1:], 1)
    for wrong in (np.nan, np.inf):
        broken = vectors.copy()
        broken[13, 5] = wrong
        with pytest.raises(ValueError, match=r"queries\[13\] has NaN or infinite"):
            index.search(broken, 1)
    for k in (0, -3):
        with pytest.raises(ValueError, match=f"k must be at least 1, got {k}"):
            index.search(vectors, k)
    for k in (2.0, "2", True):
        with pytest.raises(TypeError, match="k must be an integer"):
            index.search(vectors, k)
    assert len(index) == 20


@pytest.mark.parametrize(
    ("index", "message"),
    [
        (Exact("float16"), "'precision' parameter of Exact must be .*'bfloat16'"),
        (HNSW(m=0), "'m' parameter of HNSW .* Got 0"),
        (HNSW(storage="int4"), "'storage' parameter of HNSW .*'int8'.* Got 'int4'"),
        (HNSW(n_jobs=-2), "'n_jobs' parameter of HNSW .* Got -2"),
        (IVF(nprobe="many"), "'nprobe' parameter of IVF .* Got 'many'"),
    ],
    ids=repr,
)
def test_parameters_are_validated_when_building(rng, index, message):
    vectors = clustered(rng, 20)
    with pytest.raises(ValueError, match=message):
        index.build(vectors)
    with pytest.raises(ValueError, match=message):
        index.build_in_parts(20, vectors.__getitem__)
    assert index.dimension is None


def test_wrong_bytes(rng):
    written = Exact().build(clustered(rng, 5)).to_bytes()
    with pytest.raises(ValueError, match="does not hold an index"):
        Storable.from_bytes(written[64:])
    with pytest.raises(ValueError, match="does not hold an index"):
        Storable.from_bytes(np.zeros(3, dtype=np.uint8))
    with pytest.raises(ValueError, match="'exact', which is not a HNSW"):
        HNSW.from_bytes(written)


# ------------------------------------------------------------------------------ faiss beside torch


@pytest.mark.parametrize("first", ["torch", "faiss"])
def test_faiss_and_torch_in_one_process(first):
    """Both bring an OpenMP runtime; they have to work in turns and at once, in threads too."""
    code = f"""
        import {first}
        import faiss, torch
        from concurrent.futures import ThreadPoolExecutor
        import numpy as np
        from skxmc.indexes import Exact, HNSW, IVF
        torch.set_num_threads(2)
        vectors = np.random.RandomState(0).normal(size=(800, 32)).astype(np.float32)
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        indexes = [HNSW(m=8, n_jobs=2), IVF(), Exact("bfloat16")]
        def work(i):
            index = indexes[i % 3]
            found = index.build(vectors) if len(index) == 0 else index
            layer = torch.nn.Linear(32, 32)
            layer(torch.from_numpy(vectors)).square().mean().backward()
            return found.search(vectors[:100], 1)[0][:, 0]
        for i in range(3):
            work(i)
        with ThreadPoolExecutor(3) as pool:
            for found in pool.map(work, range(6)):
                assert (found == np.arange(100)).mean() > 0.9
        print("done")
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, timeout=300
    )
    assert done.stdout == "done\n", done.stderr


def test_named_indexes_are_searched_on_the_device_of_the_fit(rng):
    vectors = np.eye(40, dtype=np.float32)
    setting = Setting(device="meta")  # a device that every machine has
    assert build_index(setting, 40, vectors.__getitem__).device == "meta"
    given = replace(setting, index=Exact())  # an object says by itself where it is searched
    assert build_index(given, 40, vectors.__getitem__).device == "cpu"
    graph = build_index(replace(setting, index="hnsw"), 40, vectors.__getitem__)
    place_index(graph, "meta")  # which a graph cannot be
    np.testing.assert_array_equal(graph.search(vectors, 1)[0][:, 0], np.arange(40))


def test_an_exact_index_moves_between_devices(rng):
    vectors = rng.normal(size=(9000, 64)).astype(np.float32)
    index = Exact(precision="bfloat16").build(vectors)
    expected = index.search(vectors[:20], 5)
    index.move_to("meta")
    with pytest.raises((NotImplementedError, RuntimeError)):
        index.search(vectors[:20], 5)
    index.move_to("cpu")
    for ours, theirs in zip(index.search(vectors[:20], 5), expected, strict=True):
        np.testing.assert_array_equal(ours, theirs)
