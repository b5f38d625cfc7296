"""Pipelines that pass on what ranks labels."""

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.dummy import DummyClassifier
from sklearn.model_selection import GridSearchCV, KFold
from sklearn.preprocessing import FunctionTransformer, Normalizer

from skxmc import ViXMLClassifier
from skxmc.metrics import xmc_scores
from skxmc.pipeline import XMCPipeline, make_pipeline

RNG = np.random.RandomState(0)
X = RNG.normal(size=(60, 6)).astype(np.float32)
TAGS = [[f"tag {np.argmax(row)}", f"tag {np.argmin(row)}"] for row in X]


@pytest.fixture(scope="module")
def fitted():
    clf = ViXMLClassifier(encoder="precomputed", random_state=0)
    return make_pipeline(FunctionTransformer(np.negative), "passthrough", Normalizer(), clf).fit(
        X, TAGS
    )


def test_last_step_ranks_what_the_others_prepare(fitted):
    prepared = Normalizer().transform(-X[:7])
    clf = fitted[-1]
    names = fitted.predict_topk(X[:7], 2, return_labels=True)
    for got, expected in zip(names, clf.predict_topk(prepared, 2, return_labels=True), strict=True):
        np.testing.assert_array_equal(got, expected)
    for method in ("explain", "nearest"):
        got, expected = getattr(fitted, method)(X[:3]), getattr(clf, method)(prepared[:3])
        assert repr(got) == repr(expected)
    assert (fitted.predict(X[:7]) != clf.predict(prepared)).nnz == 0


def test_methods_are_those_of_the_last_step():
    pipe = XMCPipeline([("scale", Normalizer()), ("dummy", DummyClassifier())])
    assert not hasattr(pipe, "predict_topk")
    assert hasattr(make_pipeline(ViXMLClassifier()), "predict_topk")


def test_it_is_cloned_and_searched(fitted):
    assert isinstance(clone(fitted), XMCPipeline)
    rows = np.array([tuple(row) for row in TAGS], dtype=object)
    search = GridSearchCV(
        clone(fitted),
        {"vixmlclassifier__text_features": ["both"]},
        cv=KFold(2),
        error_score="raise",
    ).fit(X, rows)
    assert search.best_estimator_.predict_topk(X[:2], k=1)[0].shape == (2, 1)


def test_scorers_find_the_last_step(fitted):
    scorer = xmc_scores(ks=(1,), metrics=["precision", "psprecision"])
    figures = scorer(fitted, X, TAGS)
    assert figures == scorer(fitted[-1], fitted[:-1].transform(X), TAGS)
