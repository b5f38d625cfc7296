"""The public test of indexes: it passes ours and a small one, and fails broken ones."""

import numpy as np
import pytest
from sklearn.base import BaseEstimator, clone
from sklearn.model_selection import GridSearchCV

from skxmc.indexes import HNSW, IVF, Exact, Storable, make_index, sort_candidates
from skxmc.testing import check_index


class Plain(Storable):
    """Exact search in numpy."""

    name = "plain"

    def _build(self, vectors):
        self._stored = vectors.copy()

    def _add(self, vectors):
        self._stored = np.concatenate((self._stored, vectors))

    def _search(self, queries, k):
        scores = queries @ self._stored.T
        return sort_candidates(np.broadcast_to(np.arange(len(self)), scores.shape), scores, k)

    def _vectors_at(self, indices):
        return self._stored[indices]

    def _payload(self):
        return self._stored.reshape(-1).view(np.uint8)

    def _restore(self, payload, n, dimension):
        if len(payload) != 4 * n * dimension:
            raise ValueError("the payload has another size")
        self._stored = payload.view(np.float32).reshape(n, dimension)


@pytest.mark.parametrize(
    ("index", "recall", "atol"),
    [
        (Plain(), 1.0, 0),
        (Exact(), 1.0, 0),
        (Exact("bfloat16"), 1.0, 0),
        (HNSW(m=8, ef_construction=50), 0.98, 0),
        (HNSW(m=8, ef_construction=50, storage="float16"), 0.98, 1e-3),
        # Numbers beyond those of the first vectors are cut off.
        (HNSW(m=8, ef_construction=50, storage="int8"), 0.9, 0.2),
        (IVF(), 0.9, 0),
        (IVF(nlist=5), 0.9, 0),
    ],
    ids=repr,
)
def test_contract(index, recall, atol):
    check_index(lambda: clone(index), recall=recall, atol=atol)


class WorstFirst(Plain):
    def _search(self, queries, k):
        indices, scores = super()._search(queries, k)
        return indices[:, ::-1], scores[:, ::-1]


class HigherFirst(Plain):
    """Of equal scores, the higher position comes first."""

    def _search(self, queries, k):
        scores = queries @ self._stored[::-1].T
        order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
        return len(self) - 1 - order, np.take_along_axis(scores, order, axis=1)


class OtherScores(Plain):
    def _search(self, queries, k):
        indices, scores = super()._search(queries, k)
        return indices, scores / 2


class ForgetsAdded(Plain):
    def _add(self, vectors):
        pass


class CannotFindAdded(Plain):
    """It stores vectors that are added, and does not search them."""

    def _build(self, vectors):
        super()._build(vectors)
        self._n_searched = len(vectors)

    def _search(self, queries, k):
        scores = queries @ self._stored.T
        indices = np.broadcast_to(np.arange(len(self)), scores.shape)
        return sort_candidates(np.where(indices < self._n_searched, indices, -1), scores, k)


class LeavesGaps(Plain):
    """Positions of what is left stay as they were."""

    def _remove(self, kept):
        gone = np.setdiff1d(np.arange(len(self)), kept)
        self._stored = self._stored.copy()
        self._stored[gone] = 0


class KeepsRemoved(Plain):
    def _remove(self, kept):
        self._stored = self._stored[: len(kept)]


class ChangesParameters(Plain):
    def __init__(self, width="auto"):
        self.width = width

    def _build(self, vectors):
        super()._build(vectors)
        self.width = vectors.shape[1]


class LosesBytes(Plain):
    def _restore(self, payload, n, dimension):
        super()._restore(payload, n, dimension)
        self._stored = self._stored[::-1]


class SharesCopies(Plain):
    def __deepcopy__(self, memo):
        return self


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (WorstFirst, "the best do not come first"),
        (HigherFirst, "of equal scores,"),
        (OtherScores, "scores differ by .* from the inner products"),
        (ForgetsAdded, "after add"),
        (CannotFindAdded, "after add"),
        (LeavesGaps, r"after remove, vectors\(\)"),
        (KeepsRemoved, r"after remove, vectors\(\) differ"),
        (ChangesParameters, "build changes a parameter"),
        (LosesBytes, "after pickle, a search finds something else"),
        (SharesCopies, "after (changes of a copy|deepcopy)"),
        (lambda: IVF(nlist=40, nprobe=1), "recall is"),
        (lambda: HNSW(storage="int8"), r"vectors\(\) differ"),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_broken_indexes_fail(kind, message):
    with pytest.raises(AssertionError, match=message):
        check_index(kind)


# ------------------------------------------------------------------------------------ scikit-learn


class Searching(BaseEstimator):
    """An estimator with an index in it; its score is the recall of the first neighbour."""

    def __init__(self, index="auto"):
        self.index = index

    def fit(self, X, y=None):
        self.index_ = make_index(self.index, *X.shape).build(X)
        return self

    def score(self, X, y=None):
        return (self.index_.vectors(self.index_.search(X, 1)[0][:, 0]) * X).sum()


def test_nested_search_reaches_parameters_of_an_index(rng):
    X = rng.normal(size=(60, 8))
    search = GridSearchCV(Searching(HNSW()), {"index__m": [4, 16], "index__ef_search": [1, 50]})
    search.fit(X)
    assert search.best_estimator_.index_.get_params() == search.best_estimator_.index.get_params()
    assert search.best_params_.keys() == {"index__m", "index__ef_search"}
    assert not np.isnan(search.cv_results_["mean_test_score"]).any()


def test_parameters_and_repr():
    index = HNSW().set_params(m=np.int64(16))
    assert repr(index.set_params(m=16)) == "HNSW(m=16)"
    with pytest.raises(ValueError, match="Invalid parameter 'k'"):
        index.set_params(k=3)
    assert "HNSW" in index._repr_html_()


def test_numbers_of_numpy_are_parameters(rng):
    vectors = rng.normal(size=(40, 8))
    for index in (
        HNSW(np.int64(4), np.int64(20), np.int32(30), np.int64(1)),
        IVF(nlist=np.int64(3), nprobe=np.int64(2)),
    ):
        again = Storable.from_bytes(index.build(vectors).to_bytes())
        np.testing.assert_array_equal(again.search(vectors, 3)[0], index.search(vectors, 3)[0])


def test_a_new_index_keeps_its_device_in_a_pickle(rng):
    import pickle

    assert pickle.loads(pickle.dumps(Exact(device="cuda"))).device == "cuda"
    built = Exact(device="meta").build(rng.normal(size=(4, 3)))
    assert pickle.loads(pickle.dumps(built)).device == "cpu"


# ----------------------------------------------------------------------------------------- removal


def test_removal_does_not_round_a_second_time(rng):
    vectors = rng.normal(size=(300, 24)).astype(np.float32)
    index = HNSW(m=8, storage="int8").build(vectors)
    ids = np.argsort(-np.abs(vectors).max(axis=1))[:50]  # those that set the scales
    expected = np.delete(index.vectors(np.arange(300)), ids, axis=0)
    for _ in range(3):
        index.remove(ids[:0])
    index.remove(ids)
    np.testing.assert_array_equal(index.vectors(np.arange(250)), expected)


def test_removal_from_a_read_only_map(rng, tmp_path):
    vectors = rng.normal(size=(50, 8)).astype(np.float32)
    for make in (Exact, HNSW, IVF):
        np.save(tmp_path / "index.npy", make().build(vectors).to_bytes())
        index = Storable.from_bytes(np.load(tmp_path / "index.npy", mmap_mode="r"))
        index.remove(np.arange(0, 50, 2))
        np.testing.assert_array_equal(index.vectors(np.arange(25)), vectors[1::2])


@pytest.mark.parametrize("make", [Exact, HNSW, IVF])
def test_wrong_removals_name_the_entry(rng, make):
    index = make().build(rng.normal(size=(9, 4)))
    with pytest.raises(ValueError, match=r"ids\[1\] is 9, but the index holds 9 vectors"):
        index.remove([0, 9])
    with pytest.raises(ValueError, match=r"ids\[2\] is 4, which comes twice"):
        index.remove([4, 2, 4])
    with pytest.raises(TypeError, match=r"got dtype bool; np\.flatnonzero"):
        index.remove(np.ones(9, dtype=bool))
    with pytest.raises(ValueError, match=r"ids must have shape \(n,\), got \(1, 1\)"):
        index.remove([[3]])
    with pytest.raises(ValueError, match=r"indices\[0\] is -1"):
        index.vectors(np.array([-1]))
    assert len(index) == 9
