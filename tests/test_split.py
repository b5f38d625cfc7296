"""Splitters that spread labels over folds."""

import gzip
import json
import pickle
import warnings

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.base import BaseEstimator, clone
from sklearn.model_selection import GridSearchCV, KFold, cross_val_score

from skxmc.model_selection import LabelStratifiedKFold, LabelStratifiedShuffleSplit


def _random_labels(seed, n_samples, n_labels, per_row=4):
    """Labels with a long tail; some rows have none."""
    rng = np.random.RandomState(seed)
    weights = 1 / np.arange(1, n_labels + 1)
    rows = np.repeat(np.arange(n_samples), rng.randint(per_row + 1, size=n_samples))
    columns = rng.choice(n_labels, size=len(rows), p=weights / weights.sum())
    Y = sp.csr_array((np.ones(len(rows)), (rows, columns)), shape=(n_samples, n_labels))
    Y.data[:] = 1
    return Y


def _counts(Y, splits):
    """Documents of each label in each test part, (n_splits, n_labels)."""
    return np.stack([np.asarray(Y[test].sum(axis=0)).ravel() for _, test in splits])


@st.composite
def problems(draw):
    n_splits = draw(st.integers(2, 7))
    n_samples = draw(st.integers(n_splits, 60))
    seed, n_labels = draw(st.integers(0, 10**6)), draw(st.integers(1, 40))
    return n_splits, _random_labels(seed, n_samples, n_labels), seed


# --- folds ---


@settings(max_examples=60, deadline=None)
@given(problems(), st.booleans())
def test_folds_are_a_partition_into_equal_parts(problem, shuffle):
    n_splits, Y, seed = problem
    n_samples = Y.shape[0]
    splitter = LabelStratifiedKFold(
        n_splits, shuffle=shuffle, random_state=seed if shuffle else None
    )
    splits = list(splitter.split(np.zeros(n_samples), Y))
    assert len(splits) == splitter.get_n_splits() == n_splits
    for train, test in splits:
        np.testing.assert_array_equal(np.sort(np.concatenate([train, test])), np.arange(n_samples))
    tests = [test for _, test in splits]
    np.testing.assert_array_equal(np.sort(np.concatenate(tests)), np.arange(n_samples))
    assert np.ptp([len(test) for test in tests]) <= 1
    for (_, test), (_, again) in zip(splits, splitter.split(np.zeros(n_samples), Y), strict=True):
        np.testing.assert_array_equal(test, again)


@settings(max_examples=60, deadline=None)
@given(problems())
def test_rarest_label_of_several_documents_is_spread_evenly(problem):
    n_splits, Y, seed = problem
    frequency = np.asarray(Y.sum(axis=0)).ravel()
    several = np.flatnonzero(frequency > 1)
    if len(several):
        rarest = several[np.argmin(frequency[several])]
        splitter = LabelStratifiedKFold(n_splits, shuffle=True, random_state=seed)
        counts = _counts(Y, splitter.split(np.zeros(Y.shape[0]), Y))[:, rarest]
        assert np.ptp(counts) <= 1


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 8), min_size=7, max_size=80), st.integers(2, 7))
def test_with_one_label_a_document_all_labels_are_spread_evenly(labels, n_splits):
    Y = sp.csr_array(np.eye(9)[labels])
    counts = _counts(Y, LabelStratifiedKFold(n_splits).split(labels, Y))
    assert np.ptp(counts, axis=0).max() <= 1


@pytest.mark.parametrize("seed", range(5))
def test_labels_are_in_all_training_parts_and_nearly_all_test_parts(seed):
    Y = _random_labels(seed, 600, 150)
    frequency = np.asarray(Y.sum(axis=0)).ravel()
    counts = _counts(Y, LabelStratifiedKFold(5).split(np.zeros(600), Y))
    random = _counts(Y, KFold(5, shuffle=True, random_state=seed).split(np.zeros(600)))
    assert (counts < frequency)[:, frequency >= 2].all()
    enough = frequency >= 5
    assert (counts[:, enough] == 0).mean() < 0.03
    assert (random[:, enough] == 0).mean() > 0.1


def test_shuffled_folds_depend_on_the_seed():
    Y = _random_labels(0, 60, 20)
    folds = [
        next(LabelStratifiedKFold(3, shuffle=True, random_state=seed).split(Y, Y))[1]
        for seed in (0, 0, 1)
    ]
    np.testing.assert_array_equal(folds[0], folds[1])
    assert set(folds[0]) != set(folds[2])


def test_ties_are_broken_by_the_next_rarest_label():
    # Documents 2 and 3 follow "b" and "c" once "a", rarer than both, has left them free.
    Y = [["a", "b"], ["a", "c"], ["b", "x"], ["c", "x"], ["x", "b"], ["x", "c"], ["x"], ["x"]]
    for _, test in LabelStratifiedKFold(2).split(Y, Y):
        names = [name for row in test for name in Y[row]]
        assert names.count("a") == 1
        assert {names.count("b"), names.count("c")} == {1, 2}
        assert names.count("x") == 3


@pytest.fixture(scope="module")
def icon_tags(shared):
    with gzip.open(shared / "data/icons/train.jsonl.gz", "rt", encoding="utf-8") as lines:
        rows = [json.loads(line)["labels"] for line in lines]
    starts = np.cumsum([0, *map(len, rows)])
    columns = np.concatenate(rows)
    return sp.csr_array((np.ones(len(columns)), columns, starts))


def test_icons_are_spread_better_than_by_random_folds(icon_tags):
    n_samples = icon_tags.shape[0]
    frequency = np.asarray(icon_tags.sum(axis=0)).ravel()
    found = {}
    for splitter in (LabelStratifiedKFold, KFold):
        folds = splitter(5, shuffle=True, random_state=0).split(np.zeros(n_samples), icon_tags)
        found[splitter] = _counts(icon_tags, folds)
    ours, random = found[LabelStratifiedKFold], found[KFold]
    enough = frequency >= 5
    assert (random[:, enough] == 0).mean() > 0.1
    assert (ours[:, enough] == 0).mean() < 0.01
    # A label whose documents are all in one fold is unknown when this fold is predicted.
    assert (random == frequency).any(axis=0)[frequency >= 2].sum() > 300
    assert (ours == frequency).any(axis=0)[frequency >= 2].sum() < 5
    assert np.ptp(ours, axis=0).mean() < 0.5 * np.ptp(random, axis=0).mean()


# --- random splits ---


@settings(max_examples=60, deadline=None)
@given(problems(), st.one_of(st.floats(0.05, 0.95), st.integers(1, 5)))
def test_random_splits_have_the_wanted_size(problem, test_size):
    _, Y, seed = problem
    n_samples = Y.shape[0]
    n_test = test_size if isinstance(test_size, int) else int(np.ceil(test_size * n_samples))
    splitter = LabelStratifiedShuffleSplit(3, test_size=test_size, random_state=seed)
    if n_test >= n_samples:
        with pytest.raises(ValueError, match="test_size"):
            next(splitter.split(np.zeros(n_samples), Y))
        return
    splits = list(splitter.split(np.zeros(n_samples), Y))
    assert len(splits) == splitter.get_n_splits() == 3
    for train, test in splits:
        assert len(test) == n_test
        np.testing.assert_array_equal(np.sort(np.concatenate([train, test])), np.arange(n_samples))
    for (_, test), (_, again) in zip(splits, splitter.split(np.zeros(n_samples), Y), strict=True):
        np.testing.assert_array_equal(test, again)


@pytest.mark.parametrize("test_size", [0.1, 0.3, 0.75])
def test_random_splits_give_labels_of_any_frequency_their_share(test_size):
    Y = _random_labels(0, 400, 100)
    frequency = np.asarray(Y.sum(axis=0)).ravel()
    splitter = LabelStratifiedShuffleSplit(120, test_size=test_size, random_state=0)
    counts = _counts(Y, splitter.split(np.zeros(400), Y))
    rng = np.random.RandomState(0)
    random = _counts(Y, [(None, rng.permutation(400)[: int(400 * test_size)]) for _ in range(120)])
    for lowest, highest in [(1, 1), (2, 3), (4, 9), (10, 400)]:
        chosen = (frequency >= lowest) & (frequency <= highest)
        share = counts[:, chosen].sum() / (120 * frequency[chosen].sum())
        assert share == pytest.approx(test_size, rel=0.12)
    enough = frequency >= 8
    assert counts[:, enough].std(axis=0).mean() < 0.45 * random[:, enough].std(axis=0).mean()


def test_documents_of_the_rarest_label_are_not_favoured():
    y = [["rare"]] * 2 + [["common"]] * 28
    splitter = LabelStratifiedShuffleSplit(400, test_size=0.1, random_state=0)
    n_rare = sum((test < 2).sum() for _, test in splitter.split(y, y))
    assert n_rare / 800 == pytest.approx(0.1, abs=0.03)


def test_random_splits_differ_from_each_other():
    Y = _random_labels(0, 60, 20)
    tests = [test for _, test in LabelStratifiedShuffleSplit(4, test_size=9).split(Y, Y)]
    assert len({tuple(test) for test in tests}) == 4


# --- inputs and conventions ---


SPLITTERS = [
    LabelStratifiedKFold(3),
    LabelStratifiedKFold(3, shuffle=True, random_state=1),
    LabelStratifiedShuffleSplit(3, test_size=0.3, random_state=1),
]


@pytest.mark.parametrize("splitter", SPLITTERS, ids=repr)
def test_all_forms_of_targets_give_the_same_splits(splitter):
    Y = _random_labels(3, 40, 12)
    Y = Y[:, np.asarray(Y.sum(axis=0)).ravel() > 0]
    expected = list(splitter.split(np.zeros((40, 2)), Y))
    names = [[f"tag {label:02d}" for label in row.nonzero()[0]] for row in Y.toarray()]
    for X, y in [
        ([""] * 40, Y.toarray()),
        (pd.DataFrame({"text": [""] * 40}), Y.toarray().astype(bool)),
        (sp.csr_array((40, 3)), sp.csc_matrix(Y)),
        (np.zeros(40), names),
        (np.zeros(40), pd.Series(names, index=range(100, 140))),
    ]:
        for (train, test), (other_train, other_test) in zip(
            expected, splitter.split(X, y), strict=True
        ):
            np.testing.assert_array_equal(train, other_train)
            np.testing.assert_array_equal(test, other_test)


@pytest.mark.parametrize("splitter", SPLITTERS, ids=repr)
def test_targets_stay_as_they_are(splitter):
    Y = _random_labels(3, 40, 12)
    before = Y.copy()
    list(splitter.split(Y, Y))
    np.testing.assert_array_equal(Y.indices, before.indices)
    np.testing.assert_array_equal(Y.indptr, before.indptr)


@pytest.mark.parametrize("splitter", SPLITTERS, ids=repr)
def test_conventions_of_splitters(splitter):
    Y = _random_labels(3, 40, 12)
    expected = [test for _, test in splitter.split(Y, Y)]
    for copy in (clone(splitter, safe=False), pickle.loads(pickle.dumps(splitter))):
        assert repr(copy) == repr(splitter)
        for test, (_, other) in zip(expected, copy.split(Y, Y), strict=True):
            np.testing.assert_array_equal(test, other)
    with pytest.warns(UserWarning, match="groups are ignored"):
        list(splitter.split(Y, Y, groups=np.zeros(40)))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        list(splitter.split(Y, Y))


def test_repr_shows_all_parameters():
    assert repr(SPLITTERS[1]) == "LabelStratifiedKFold(n_splits=3, random_state=1, shuffle=True)"
    assert (
        repr(SPLITTERS[2])
        == "LabelStratifiedShuffleSplit(n_splits=3, random_state=1, test_size=0.3)"
    )


class _ShareOfFirstLabel(BaseEstimator):
    """Learns the share of documents with label 0; its score says how far other documents are."""

    def __init__(self, shift=0.0):
        self.shift = shift

    def fit(self, X, y):
        self.share_ = self._share(y) + self.shift
        return self

    def score(self, X, y):
        return -abs(self._share(y) - self.share_)

    @staticmethod
    def _share(y):
        return np.mean(["a" in row for row in y]) if isinstance(y, list) else y[:, [0]].mean()


@pytest.mark.parametrize("form", ["sparse", "lists"])
def test_splitter_in_a_grid_search(form):
    y = [["a"]] * 6 + [["b"]] * 18
    Y = sp.csr_array(np.array([[row == ["a"], row == ["b"]] for row in y], dtype=float))
    X = np.zeros((24, 1))
    search = GridSearchCV(
        _ShareOfFirstLabel(), {"shift": [0.5, 0.0]}, cv=LabelStratifiedKFold(3)
    ).fit(X, Y if form == "sparse" else y)
    assert search.best_params_ == {"shift": 0.0}
    assert search.best_score_ == 0
    # Without stratification the folds are blocks of one label only.
    assert cross_val_score(_ShareOfFirstLabel(), X, y, cv=KFold(3)).mean() < -0.3


def test_labels_of_a_single_document_do_not_matter():
    Y = _random_labels(1, 50, 10)
    single = sp.csr_array(np.eye(50))
    for (_, test), (_, other) in zip(
        LabelStratifiedKFold(4).split(Y, Y),
        LabelStratifiedKFold(4).split(Y, sp.csr_array(sp.hstack([single, Y]))),
        strict=True,
    ):
        np.testing.assert_array_equal(test, other)


@pytest.mark.parametrize(
    ("parameters", "error", "message"),
    [
        ({"n_splits": 1}, ValueError, "at least 2"),
        ({"n_splits": 2.0}, TypeError, "n_splits must be an int"),
        ({"shuffle": 1}, TypeError, "shuffle"),
        ({"random_state": 0}, ValueError, "shuffle=True"),
    ],
)
def test_wrong_parameters(parameters, error, message):
    with pytest.raises(error, match=message):
        LabelStratifiedKFold(**parameters)


@pytest.mark.parametrize("test_size", [0, 40, 0.0, 1.0, -0.1, True, "half", None])
def test_wrong_test_size(test_size):
    Y = _random_labels(1, 40, 10)
    with pytest.raises(ValueError, match="test_size is"):
        next(LabelStratifiedShuffleSplit(test_size=test_size).split(Y, Y))


@pytest.mark.parametrize("splitter", SPLITTERS, ids=repr)
def test_wrong_targets(splitter):
    X = np.zeros(40)
    with pytest.raises(ValueError, match="y is None"):
        next(splitter.split(X, None))
    with pytest.raises(ValueError, match="inconsistent numbers"):
        next(splitter.split(X, _random_labels(1, 30, 10)))
    with pytest.raises(ValueError, match="one-dimensional"):
        next(splitter.split(X, ["a", "b"] * 20))
    with pytest.raises(ValueError, match=r"y\[0, 0\] is 2"):
        next(splitter.split(X, np.full((40, 3), 2)))


def test_fewer_documents_than_folds():
    with pytest.raises(ValueError, match="n_splits is 5 but there are 3"):
        next(LabelStratifiedKFold(5).split([0, 0, 0], [["a"], ["b"], ["a"]]))
