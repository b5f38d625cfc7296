"""Scorers in scikit-learn's searches, with and without metadata routing."""

import pickle
import warnings

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from scipy.stats import uniform
from sklearn import config_context
from sklearn.base import BaseEstimator, TransformerMixin, clone
from sklearn.exceptions import UnsetMetadataPassedError
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.model_selection import (
    GridSearchCV,
    HalvingGridSearchCV,
    KFold,
    RandomizedSearchCV,
    cross_validate,
)
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer
from tiny_models import save_encoder

from skxmc import ViXMLClassifier
from skxmc.evidence import Neighbours, Prototypes
from skxmc.metrics import label_propensities, make_topk_scorer, xmc_report, xmc_scores
from skxmc.model_selection import LabelStratifiedKFold

N_SAMPLES, N_LABELS = 60, 6
TAGS = np.array(["ant", "bee", "cat", "dog", "eel", "fox"], dtype=object)
CV = LabelStratifiedKFold(3)
GRID = {"neighbours__n_neighbors": [1, 40]}


class _CountingClassifier(ViXMLClassifier):
    """Notes what predict_topk is asked for."""

    calls: list[dict] = []

    def predict_topk(self, X, k=5, *, images=None, exclude=None, return_labels=False):
        self.calls.append({"X": X, "k": k, "images": images, "exclude": exclude})
        return super().predict_topk(
            X, k, images=images, exclude=exclude, return_labels=return_labels
        )


@pytest.fixture
def calls():
    _CountingClassifier.calls.clear()
    return _CountingClassifier.calls


def _classifier(kind=ViXMLClassifier, **parameters):
    parameters = {"encoder": "precomputed", "train_encoder": "frozen", **parameters}
    return kind(evidence=[Prototypes(), Neighbours()], random_state=0, **parameters)


@pytest.fixture(scope="module")
def problem():
    """Embeddings that tell the first label, pictures that tell the second."""
    rng = np.random.RandomState(0)
    first, second = rng.randint(3, size=N_SAMPLES), rng.randint(3, 6, size=N_SAMPLES)
    X = np.eye(3)[first] + 0.5 * rng.randn(N_SAMPLES, 3)
    images = np.eye(3)[second - 3] + 0.2 * rng.randn(N_SAMPLES, 3)
    Y = np.eye(N_LABELS)[first] + np.eye(N_LABELS)[second]
    Y[::7, :3] = 0
    return X.astype(np.float32), sp.csr_array(Y), images.astype(np.float32)


def _names(Y):
    return [TAGS[row.nonzero()[0]].tolist() for row in Y.toarray()]


@pytest.fixture(scope="module")
def model(problem):
    X, Y, _ = problem
    return _classifier().fit(X[:40], Y[:40])


@pytest.fixture(scope="module")
def picture_model(problem):
    X, Y, images = problem
    return _classifier().fit(X[:40], Y[:40], images=images[:40])


# --- what is computed ---


def test_figures_are_those_of_the_report(problem, model):
    X, Y, _ = problem
    weight = np.linspace(0, 1, 20)
    metrics = ("recall", "psndcg", "macro_f1", "recall_tail", "precision")
    scorer = xmc_scores(ks=(1, 4), metrics=metrics, propensity="wikipedia")
    figures = scorer(model, X[40:], Y[40:], sample_weight=weight)
    indices, _ = model.predict_topk(X[40:], k=4)
    report = xmc_report(
        Y[40:],
        indices,
        k=(1, 4),
        propensities=label_propensities(Y[:40], preset="wikipedia"),
        frequencies=np.bincount(Y[:40].indices, minlength=N_LABELS),
        sample_weight=weight,
    )
    assert list(figures) == [f"{metric}_at_{k}" for metric in metrics for k in (1, 4)]
    assert figures == {key: report[key] for key in figures}
    assert all(type(figure) is float for figure in figures.values())
    for key, figure in figures.items():
        metric, k = key.split("_at_")
        single = make_topk_scorer(metric, k=int(k), propensity="wikipedia")
        assert single(model, X[40:], Y[40:], sample_weight=weight) == pytest.approx(figure)


def test_constants_of_propensities(problem, model):
    X, Y, _ = problem
    found = [
        make_topk_scorer("psp", k=2, propensity=propensity)(model, X[40:], Y[40:])
        for propensity in ("amazon", (0.6, 2.6), [0.6, 2.6], "default", (0.55, 1.5))
    ]
    assert found[0] == found[1] == found[2] != found[3] == found[4]


def test_propensities_come_from_the_training_fold(problem):
    X, Y, _ = problem
    names = _names(Y)
    results = cross_validate(
        _classifier(), X, names, cv=CV, scoring=make_topk_scorer("psp", k=2), return_estimator=True
    )
    for (train, test), fitted, score in zip(
        CV.split(X, Y), results["estimator"], results["test_score"], strict=True
    ):
        labelled = train[np.diff(Y[train].indptr) > 0]
        propensities = label_propensities(Y[labelled])
        assert abs(propensities - label_propensities(Y)).min() > 1e-3
        indices, _ = fitted.predict_topk(X[test], k=2)
        expected = xmc_report(Y[test], indices, k=2, propensities=propensities)
        assert score == pytest.approx(expected["psprecision_at_2"], rel=1e-12)


def test_more_predictions_than_labels(problem, calls):
    X, Y, _ = problem
    model = _classifier(_CountingClassifier).fit(X[:40], Y[:40])
    figures = xmc_scores(ks=(2, 9), metrics="p")(model, X[40:], Y[40:])
    assert [call["k"] for call in calls] == [N_LABELS]
    assert figures["precision_at_9"] == pytest.approx(np.diff(Y[40:].indptr).mean() / 9)


def test_filter_pairs_are_neither_predicted_nor_true(problem, calls):
    X, Y, _ = problem
    model = _classifier(_CountingClassifier).fit(X[:40], Y[:40])
    scorer = xmc_scores(ks=1, metrics=("precision", "recall"))
    best, _ = model.predict_topk(X[40:], k=1)
    exclude = sp.csr_array((np.ones(20, bool), (np.arange(20), best[:, 0])), shape=(20, N_LABELS))
    figures = scorer(model, X[40:], Y[40:], exclude=exclude)
    indices, _ = model.predict_topk(X[40:], k=1, exclude=exclude)
    assert (indices != best).all()
    report = xmc_report(Y[40:], indices, k=1, exclude=exclude)
    assert figures == {key: report[key] for key in figures}
    assert figures == scorer(model, X[40:], Y[40:], exclude=exclude.toarray())
    assert figures != scorer(model, X[40:], Y[40:])
    pairs = np.column_stack([np.arange(20), best[:, 0]])
    with pytest.raises(TypeError, match="exclude must be a sparse or bool matrix"):
        scorer(model, X[40:], Y[40:], exclude=pairs)


# --- names ---


def test_names_score_as_the_indicator_does(problem):
    X, Y, _ = problem
    scorer = xmc_scores(metrics=("precision", "recall", "psprecision", "macro_f1"), ks=(1, 2))
    by_indicator = scorer(_classifier().fit(X[:40], Y[:40]), X[40:], Y[40:])
    names = _names(Y)
    assert scorer(_classifier().fit(X[:40], names[:40]), X[40:], names[40:]) == by_indicator


def test_columns_of_tables_score_as_names_do(problem):
    X, Y, _ = problem
    scorer = xmc_scores(metrics=("precision", "recall", "label_coverage"), ks=(1, 2))
    names = _names(Y)
    model = _classifier().fit(X[:40], names[:40])
    frame = pd.DataFrame(Y.toarray(), columns=TAGS)[TAGS[[4, 2, 0, 5, 1, 3]]]
    assert scorer(model, X[40:], frame[40:]) == scorer(model, X[40:], names[40:])
    found = model.predict_topk(X[40:], k=2, return_labels=True)
    report = xmc_report(names[40:], found, k=(1, 2), classes=model.classes_)
    figures = scorer(model, X[40:], names[40:])
    assert figures == pytest.approx({key: report[key] for key in figures})
    assert model.score(X[40:], frame[40:]) == pytest.approx(figures["precision_at_1"])


def test_two_labels(problem):
    X, Y, _ = problem
    Y = Y[:, :2]
    rows = np.flatnonzero(Y.sum(axis=1) > 0)
    model = _classifier().fit(X[rows], Y[rows])
    figures = xmc_scores(ks=(1, 2), metrics=("recall", "rp"))(model, X[rows], Y[rows])
    assert figures["recall_at_2"] == figures["rp_at_2"] == 1
    assert figures["rp_at_1"] > 0.5


def test_unseen_names_are_never_found(problem):
    X, Y, _ = problem
    scorer = xmc_scores(metrics=("precision", "recall", "psprecision"), ks=(1, 2))
    # The last label has no document in training.
    train = np.flatnonzero(Y[:, [5]].toarray().ravel() == 0)
    test = np.setdiff1d(np.arange(N_SAMPLES), train)
    assert len(test) > 5
    names = _names(Y)
    model = _classifier().fit(X[train], [names[row] for row in train])
    assert model.classes_.tolist() == TAGS[:5].tolist()
    exclude = sp.csr_array((len(test), 5), dtype=bool)
    figures = scorer(model, X[test], [names[row] for row in test], exclude=exclude)
    indices, _ = model.predict_topk(X[test], k=2)
    labelled = train[np.diff(Y[train].indptr) > 0]
    propensities = label_propensities(Y[labelled])
    report = xmc_report(Y[test], indices, k=(1, 2), propensities=propensities)
    assert figures == {key: report[key] for key in figures}
    # "fox" alone: the document counts, and nothing is right.
    assert scorer(model, X[:1], [["fox"]])["precision_at_1"] == 0
    assert model.score(X[:1], [["fox"]], exclude=sp.csr_array((1, 5), dtype=bool)) == 0
    assert np.isnan(scorer(model, X[:1], [[]])["precision_at_1"])


def test_names_for_a_model_of_columns(problem, model):
    X, Y, _ = problem
    with pytest.raises(TypeError, match=r"y names the label '\w+', but the labels"):
        xmc_scores()(model, X, _names(Y))


# --- searches ---


def test_grid_search_with_all_figures(problem, calls):
    X, Y, _ = problem
    scorer = xmc_scores(ks=(1, 3), metrics=("precision", "ndcg", "psp"))
    search = GridSearchCV(
        _classifier(_CountingClassifier), GRID, scoring=scorer, refit="psprecision_at_3", cv=CV
    ).fit(X, Y)
    assert [call["k"] for call in calls] == [3] * (3 * 2)  # once for each fold and candidate
    assert search.multimetric_
    keys = [f"{name}_at_{k}" for name in ("precision", "ndcg", "psprecision") for k in (1, 3)]
    for key in keys:
        scores = [search.cv_results_[f"split{split}_test_{key}"] for split in range(3)]
        np.testing.assert_allclose(search.cv_results_[f"mean_test_{key}"], np.mean(scores, 0))
    best = search.cv_results_["mean_test_psprecision_at_3"]
    assert search.best_score_ == best.max() > best.min()
    ((name, values),) = GRID.items()
    assert search.best_params_ == {name: values[best.argmax()]}
    assert search.score(X, Y) == scorer(search.best_estimator_, X, Y)["psprecision_at_3"]


def test_randomized_search_with_one_figure(problem):
    X, Y, _ = problem
    search = RandomizedSearchCV(
        _classifier(),
        {"neighbours__weight": uniform()},
        n_iter=2,
        scoring=make_topk_scorer("ndcg", k=2),
        cv=CV,
        random_state=0,
    ).fit(X, Y)
    assert 0 < search.best_score_ <= 1
    assert search.score(X, Y) == make_topk_scorer("n", k=2)(search.best_estimator_, X, Y)


@pytest.mark.parametrize(
    "resource",
    [
        {"resource": "n_samples", "min_resources": 30},
        {"resource": "neighbours__n_neighbors", "min_resources": 5, "max_resources": 10},
    ],
    ids=["documents", "parameter"],
)
def test_halving_search_takes_one_figure(problem, resource):
    X, Y, _ = problem
    search = HalvingGridSearchCV(
        _classifier(),
        {"prototypes__centroids": [True, False]},
        scoring=make_topk_scorer("psp", k=2),
        cv=CV,
        factor=2,
        error_score="raise",
        **resource,
    ).fit(X, _names(Y))
    assert search.n_iterations_ == 2
    assert 0 < search.best_score_ <= 1


def test_cross_validation_with_lists_and_several_processes(problem):
    X, Y, _ = problem
    scorer = xmc_scores(ks=(1, 2))
    options = {"cv": CV, "scoring": scorer, "return_train_score": True}
    one = cross_validate(_classifier(), X, _names(Y), **options)
    two = cross_validate(_classifier(), X, _names(Y), n_jobs=2, **options)
    for key in ("test_precision_at_1", "test_psprecision_at_2", "train_ndcg_at_2"):
        np.testing.assert_array_equal(one[key], two[key])
        assert one[key].shape == (3,)
    assert one["train_precision_at_1"].mean() > one["test_precision_at_1"].mean()


def test_search_within_cross_validation(problem):
    X, Y, _ = problem
    search = GridSearchCV(_classifier(), GRID, scoring=make_topk_scorer(k=2), cv=CV)
    scores = cross_validate(
        search, X, _names(Y), cv=CV, scoring=xmc_scores(ks=2, metrics="p"), error_score="raise"
    )
    assert (scores["test_precision_at_2"] > 0.3).all()


def test_as_many_labels_as_documents(calls):
    rng = np.random.RandomState(0)
    n = 12
    X = rng.randn(n, 4).astype(np.float32)
    Y = sp.csr_array(np.eye(n) + np.roll(np.eye(n), 1, axis=1))
    texts = [f"label {label}" for label in range(n)]
    exclude = sp.csr_array(np.roll(np.eye(n), 2, axis=1).astype(bool))
    with config_context(enable_metadata_routing=True):
        search = GridSearchCV(
            _classifier(_CountingClassifier, label_text=texts).set_fit_request(exclude=True),
            GRID,
            scoring=xmc_scores(ks=1).set_score_request(exclude=True),
            refit="ndcg_at_1",
            cv=KFold(3),
            error_score="raise",
        ).fit(X, Y, exclude=exclude)
    assert search.best_estimator_.label_text == texts
    for call, (_, test) in zip(calls, [*KFold(3).split(X)] * 2, strict=True):
        np.testing.assert_array_equal(call["X"], X[test])
        np.testing.assert_array_equal(call["exclude"].toarray(), exclude[test].toarray())


# --- pictures and routing ---


def test_pictures_are_routed(problem, calls):
    X, Y, images = problem
    with config_context(enable_metadata_routing=True):
        scorer = xmc_scores(ks=(1, 2), metrics="precision").set_score_request(images=True)
        search = GridSearchCV(
            _classifier(_CountingClassifier).set_fit_request(images=True),
            GRID,
            scoring=scorer,
            refit="precision_at_2",
            cv=CV,
            error_score="raise",
        ).fit(X, Y, images=images)
        assert len(calls) == 3 * 2
        for call, (_, test) in zip(calls, [*CV.split(X, Y)] * 2, strict=True):
            np.testing.assert_array_equal(call["images"], images[test])
        assert search.score(X, Y, images=images) > search.best_score_ > 0.5
        results = cross_validate(
            search.estimator, X, _names(Y), params={"images": images}, scoring=scorer, cv=CV
        )
        assert results["test_precision_at_2"].mean() > 0.5


def test_alias_of_a_request(problem, calls):
    X, Y, images = problem
    with config_context(enable_metadata_routing=True):
        GridSearchCV(
            _classifier(_CountingClassifier).set_fit_request(images="pictures"),
            {},
            scoring=make_topk_scorer().set_score_request(images="pictures"),
            cv=CV,
            error_score="raise",
        ).fit(X, Y, pictures=images)
    assert [call["images"].shape[0] for call in calls] == [20, 20, 20]


def test_forgotten_request_is_an_error_before_anything_is_fitted(problem, calls):
    X, Y, images = problem
    with config_context(enable_metadata_routing=True):
        clf = _classifier(_CountingClassifier).set_fit_request(images=True)
        # A request for one thing does not silence the question about another.
        for scorer in (xmc_scores(), make_topk_scorer().set_score_request(exclude=True)):
            search = GridSearchCV(clf, GRID, scoring=scorer, refit=False, cv=CV)
            with pytest.raises(UnsetMetadataPassedError, match=r"images.*requested.*set_score"):
                search.fit(X, Y, images=images)
            with pytest.raises(UnsetMetadataPassedError, match="images"):
                cross_validate(clf, X, _names(Y), params={"images": images}, scoring=scorer, cv=CV)
    assert not calls


@pytest.mark.parametrize("scorer", [xmc_scores(), make_topk_scorer("psp", k=3)], ids=repr)
def test_without_routing_pictures_are_missed(problem, scorer):
    X, Y, images = problem
    search = GridSearchCV(
        _classifier(), {}, scoring=scorer, cv=CV, error_score="raise", refit=False
    )
    with pytest.raises(ValueError, match=r"fitted with pictures.*enable_metadata_routing"):
        search.fit(X, Y, images=images)
    # scikit-learn turns the error into a warning and no score unless it is asked not to.
    with pytest.warns(UserWarning, match="fitted with pictures"):
        search.set_params(error_score=np.nan).fit(X, Y, images=images)
    assert np.isnan(search.cv_results_["mean_test_score"]).all()


def test_pictures_to_a_scorer_called_by_hand(problem, picture_model):
    X, Y, images = problem
    scorer = make_topk_scorer(k=2)
    with pytest.raises(ValueError, match="the scorer gets none"):
        scorer(picture_model, X[40:], Y[40:])
    with_pictures = scorer(picture_model, X[40:], Y[40:], images=images[40:])
    with config_context(enable_metadata_routing=True):
        blind = make_topk_scorer(k=2).set_score_request(images=False)
    with pytest.warns(UserWarning, match="gets none now"):
        assert blind(picture_model, X[40:], Y[40:]) < with_pictures
    missing = np.full_like(images[40:], np.nan)
    assert scorer(picture_model, X[40:], Y[40:], images=missing) < with_pictures


def test_pictures_to_a_model_without(problem, model):
    X, Y, images = problem
    with pytest.raises(ValueError, match="fitted without pictures"):
        xmc_scores()(model, X[40:], Y[40:], images=images[40:])


def test_metadata_of_a_wrong_length(problem, picture_model):
    X, Y, images = problem
    scorer = xmc_scores()
    with pytest.raises(ValueError, match="images has length 19 but there are 20 rows"):
        scorer(picture_model, X[40:], Y[40:], images=images[41:])
    with pytest.raises(ValueError, match="exclude has shape"):
        scorer(picture_model, X[40:], Y[40:], images=images[40:], exclude=sp.csr_array((19, 6)))
    with pytest.raises(ValueError, match="y has 19 rows"):
        scorer(picture_model, X[40:], Y[41:], images=images[40:])
    with pytest.raises(ValueError, match="sample_weight"):
        scorer(picture_model, X[40:], Y[40:], images=images[40:], sample_weight=np.ones(19))
    with config_context(enable_metadata_routing=True):
        search = GridSearchCV(
            _classifier().set_fit_request(images=True),
            {},
            scoring=xmc_scores().set_score_request(images=True),
            refit=False,
            cv=CV,
        )
        with pytest.raises(ValueError, match="images has length 59 but there are 40 rows"):
            search.fit(X, Y, images=images[1:])


def _mean_colour(pictures):
    return np.stack([np.asarray(picture, dtype=np.float32).mean((0, 1)) for picture in pictures])


@pytest.mark.parametrize("routing", [False, True])
def test_pictures_in_a_column(tmp_path, routing):
    rng = np.random.RandomState(0)
    words, colours = rng.choice(["bus", "pear", "dog"], 24), rng.randint(3, size=24)
    pictures = [np.full((4, 4, 3), 220 * np.eye(3)[colour], np.uint8) for colour in colours]
    frame = pd.DataFrame({"text": words, "image": pictures})
    y = [[word, f"colour {colour}"] for word, colour in zip(words, colours, strict=True)]
    encoder = save_encoder(tmp_path, words=("bus", "pear", "dog"))
    clf = _classifier(encoder=encoder, image_encoder=_mean_colour, text_features="embedding")
    with config_context(enable_metadata_routing=routing), warnings.catch_warnings():
        warnings.simplefilter("error")
        search = GridSearchCV(
            clf,
            {"neighbours__n_neighbors": [5]},
            scoring=xmc_scores(ks=2, metrics="p"),
            refit="precision_at_2",
            cv=LabelStratifiedKFold(2),
            error_score="raise",
        ).fit(frame, y)
        assert search.best_score_ > 0.8
        with pytest.raises(ValueError, match="the scorer gets none"):
            search.score(frame[["text"]], y)


# --- pipelines ---


class _Shift(TransformerMixin, BaseEstimator):
    """Adds something to X; `offset` has one number for each document."""

    def fit(self, X, y=None):
        return self

    def fit_transform(self, X, y=None, offset=None):
        return self.transform(X, offset)

    def transform(self, X, offset=None):
        return X if offset is None else X + offset[:, np.newaxis]


def test_leading_steps_transform_first(problem):
    X, Y, _ = problem
    scorer = xmc_scores(ks=2)
    # Shifts, as the length of a row is of no account.
    down = FunctionTransformer(lambda X: X - 1)
    pipe = Pipeline(
        [
            ("up", FunctionTransformer(lambda X: X + 3)),
            ("nothing", "passthrough"),
            ("rest", make_pipeline(down, down, _classifier())),
        ]
    ).fit(X[:40], Y[:40])
    expected = scorer(_classifier().fit(X[:40] + 1, Y[:40]), X[40:] + 1, Y[40:])
    assert scorer(pipe, X[40:], Y[40:]) == expected
    bare = _classifier().fit(X[:40] + 1, Y[:40])
    pipe.steps[-1] = ("rest", bare)
    assert scorer(pipe, X[40:] - 2, Y[40:]) == expected
    assert scorer(pipe, X[40:], Y[40:]) != expected


def test_pipeline_in_a_search_with_pictures(problem):
    X, Y, images = problem
    with config_context(enable_metadata_routing=True):
        pipe = Pipeline(
            [
                ("scale", FunctionTransformer(np.sqrt)),
                ("xmc", _classifier().set_fit_request(images=True)),
            ]
        )
        scorer = xmc_scores(ks=2, metrics="p").set_score_request(images=True)
        options = {"scoring": scorer, "refit": "precision_at_2", "cv": CV, "error_score": "raise"}
        search = GridSearchCV(pipe, {"xmc__neighbours__n_neighbors": [1, 40]}, **options)
        search.fit(np.square(X), Y, images=images)
        reference = GridSearchCV(pipe.named_steps["xmc"], GRID, **options)
        reference.fit(np.abs(X), Y, images=images)
    np.testing.assert_array_equal(
        search.cv_results_["mean_test_precision_at_2"],
        reference.cv_results_["mean_test_precision_at_2"],
    )


def test_metadata_of_a_leading_step(problem):
    X, Y, _ = problem
    offset = 10 * np.arange(N_SAMPLES, dtype=np.float32)
    moved = X - offset[:, np.newaxis]
    plain = make_topk_scorer(k=2)
    with config_context(enable_metadata_routing=True):
        pipe = make_pipeline(_Shift().set_transform_request(offset=True), _classifier())
        scorer = make_topk_scorer(k=2).set_score_request(offset=True)
        pipe.fit(moved[:40], Y[:40], offset=offset[:40])
        expected = plain(_classifier().fit(X[:40], Y[:40]), X[40:], Y[40:])
        assert scorer(pipe, moved[40:], Y[40:], offset=offset[40:]) == pytest.approx(expected)
        assert plain(pipe, moved[40:], Y[40:]) < expected
        search = GridSearchCV(pipe, {}, scoring=scorer, cv=CV, error_score="raise")
        reference = GridSearchCV(_classifier(), {}, scoring=plain, cv=CV, error_score="raise")
        search.fit(moved, Y, offset=offset)
        assert search.best_score_ == pytest.approx(reference.fit(X, Y).best_score_)
        with pytest.raises(TypeError, match=r"offest.*not routed"):
            scorer(pipe, moved[40:], Y[40:], offest=offset[40:])
        silent = make_pipeline(_Shift(), pipe[-1])
        with pytest.raises(UnsetMetadataPassedError, match="offset"):
            scorer(silent, moved[40:], Y[40:], offset=offset[40:])
    with pytest.raises(TypeError, match="enable_metadata_routing=True"):
        scorer(pipe, moved[40:], Y[40:], offset=offset[40:])


# --- the objects ---


SCORERS = [
    xmc_scores(),
    xmc_scores(ks=[1, 5], metrics=["p", "psn"], propensity=(0.5, 0.4)),
    make_topk_scorer("psp", k=3, propensity="amazon"),
]


def test_repr_can_be_evaluated():
    assert repr(SCORERS[0]) == (
        "xmc_scores(ks=(1, 3, 5), metrics=('precision', 'ndcg', 'recall', 'psprecision'))"
    )
    assert repr(SCORERS[1]) == (
        "xmc_scores(ks=(1, 5), metrics=('precision', 'psndcg'), propensity=(0.5, 0.4))"
    )
    assert repr(SCORERS[2]) == "make_topk_scorer('psprecision', k=3, propensity='amazon')"
    names = {"xmc_scores": xmc_scores, "make_topk_scorer": make_topk_scorer}
    for scorer in SCORERS:
        assert repr(eval(repr(scorer), names)) == repr(scorer)


@pytest.mark.parametrize("scorer", SCORERS, ids=repr)
def test_copies_are_equal_and_independent(problem, picture_model, scorer):
    X, Y, images = problem
    with config_context(enable_metadata_routing=True):
        original = clone(scorer, safe=False).set_score_request(images=True)
        search = clone(GridSearchCV(_classifier(), {}, scoring=original))
        for copy in (
            clone(original, safe=False),
            pickle.loads(pickle.dumps(original)),
            search.scoring,
        ):
            assert repr(copy) == repr(scorer)
            assert copy.get_metadata_routing().score.requests["images"] is True
            copy.set_score_request(images=False)
            expected = original(picture_model, X[40:], Y[40:], images=images[40:])
            assert copy(picture_model, X[40:], Y[40:], images=images[40:]) == expected
        assert original.get_metadata_routing().score.requests == {
            "images": True,
            "exclude": None,
            "sample_weight": None,
        }
        assert scorer.get_metadata_routing().score.requests["images"] is None


def test_requests_need_routing():
    with pytest.raises(RuntimeError, match="enable_metadata_routing=True"):
        xmc_scores().set_score_request(images=True)
    with config_context(enable_metadata_routing=True):
        scorer = xmc_scores()
        with pytest.raises(ValueError, match="images"):
            scorer.set_score_request(images="not a name")
        assert scorer.get_metadata_routing().score.requests["images"] is None


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: xmc_scores(ks=(1, 0)), ValueError, "k must be at least 1"),
        (lambda: xmc_scores(ks=1.5), TypeError, "k must be"),
        (lambda: xmc_scores(ks=()), TypeError, "k must be"),
        (lambda: xmc_scores(metrics=["accuracy"]), ValueError, "'accuracy'; choose from"),
        (lambda: xmc_scores(metrics=[]), ValueError, "metrics is empty"),
        (lambda: xmc_scores(propensity="web"), ValueError, "propensity is 'web'"),
        (lambda: xmc_scores(propensity=(1, 2, 3)), ValueError, "two positive numbers"),
        (lambda: xmc_scores(propensity=(0, 1)), ValueError, "two positive numbers"),
        (lambda: make_topk_scorer(k=(1, 3)), TypeError, "xmc_scores takes several"),
        (lambda: make_topk_scorer(["p", "n"]), TypeError, "xmc_scores takes several"),
    ],
)
def test_wrong_parameters(make, error, message):
    with pytest.raises(error, match=message):
        make()


class _Ranker:
    """The least that a scorer asks of an estimator."""

    classes_ = np.arange(N_LABELS)

    def predict_topk(self, X, k=5):
        return np.tile(np.arange(k), (len(X), 1)), np.zeros((len(X), k))


def test_other_estimators(problem):
    X, Y, _ = problem
    expected = Y[:, [0]].toarray().mean()
    assert make_topk_scorer()(_Ranker(), X, Y) == pytest.approx(expected)
    for metric in ("psp", "recall_head"):
        with pytest.raises(TypeError, match="_Ranker does not know the labels of its training"):
            make_topk_scorer(metric)(_Ranker(), X, Y)
    with pytest.raises(TypeError, match="KFold does not lead to a predict_topk"):
        make_topk_scorer()(KFold(), X, Y)
