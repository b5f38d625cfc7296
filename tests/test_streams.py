"""Streams: prequential scores, and river's conventions with its evaluator and its detector."""

import numpy as np
import pytest
from sklearn.base import clone
from test_updating import NEW, OLD, WORDS, texts_of
from tiny_models import save_encoder

from skxmc import ViXMLClassifier
from skxmc.metrics import make_topk_scorer
from skxmc.model_selection import as_river, prequential_score

pytestmark = pytest.mark.filterwarnings("ignore:.*a refit on all:UserWarning")
X, Y = np.vstack([OLD[0][:200], NEW[0][:130]]), OLD[1][:200] + NEW[1][:130]


@pytest.fixture(scope="module")
def model():
    return ViXMLClassifier("precomputed", evidence=["prototypes", "neighbours"], random_state=0)


def test_it_is_predict_then_score_then_learn(model):
    result = prequential_score(model, X, Y, block_size=50, first=100, window=100)
    own, scores = clone(model).fit(X[:100], Y[:100]), []
    for start in range(100, 330, 50):
        rows = slice(start, min(330, start + 50))
        scores.append(own.score(X[rows], Y[rows]))
        own.partial_fit(X[rows], Y[rows])
    np.testing.assert_array_equal(result.block_scores, scores)
    assert result.ends.tolist() == [150, 200, 250, 300, 330]
    assert result.score == pytest.approx(np.average(scores, weights=[50, 50, 50, 50, 30]))
    expected = [scores[0], *(np.mean(scores[i - 1 : i + 1]) for i in (1, 2, 3))]
    np.testing.assert_allclose(result.window_scores[:4], expected)
    assert result.window_scores[4] == pytest.approx(np.average(scores[3:], weights=[50, 30]))
    assert result.estimator.n_documents_added_ == 230
    assert not hasattr(model, "ranker_")


def test_learning_is_better_than_none(model):
    fitted = clone(model).fit(X[:200], Y[:200])
    learned = prequential_score(fitted, X[200:], Y[200:], block_size=20)
    static = prequential_score(
        fitted, X[200:], Y[200:], block_size=20, update=lambda clf, rows, score: None
    )
    assert learned.ends[-1] == 130
    assert learned.score > static.score + 0.05
    assert fitted.n_documents_added_ == static.estimator.n_documents_added_ == 0


def test_a_scorer_and_an_update_of_ones_own(model):
    seen = []

    def refit(clf, rows, score):
        seen.append((rows.start, rows.stop, score))
        clf.fit(X[: rows.stop], Y[: rows.stop])

    scorer = make_topk_scorer("precision", k=2)
    result = prequential_score(
        model, X[:200], Y[:200], block_size=60, first=80, scoring=scorer, update=refit
    )
    assert [rows[:2] for rows in seen] == [(80, 140), (140, 200)]
    assert [rows[2] for rows in seen] == result.block_scores.tolist()
    assert result.block_scores[0] == scorer(clone(model).fit(X[:80], Y[:80]), X[80:140], Y[80:140])
    assert result.estimator.ranker_.n_fitted_ == 200


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"block_size": 0}, "block_size must be an int of at least 1, got 0"),
        ({"window": 1.5}, r"window must be an int of at least 1, got 1\.5"),
        ({"first": 330}, "X has 330 documents, and 330 are for the first fit"),
        ({"images": [None]}, "images has 1 rows but X has 330 documents"),
    ],
)
def test_what_it_refuses(model, options, message):
    with pytest.raises(ValueError, match=message):
        prequential_score(model, X, Y, **options)


# --- river ---


@pytest.fixture(scope="module")
def texts(tmp_path_factory):
    encoder = save_encoder(tmp_path_factory.mktemp("encoder"), words=WORDS)
    texts, names = texts_of(200, WORDS, 0)
    kinds = ["prototypes", "neighbours"]
    clf = ViXMLClassifier(encoder, train_encoder="frozen", evidence=kinds, random_state=0)
    return clf, texts, names


def test_rivers_evaluator_takes_the_adapter(texts):
    evaluate = pytest.importorskip("river.evaluate")
    from river import metrics

    clf, texts, names = texts
    model = as_river(clf, text="title", block_size=40, k=3)
    assert model.predict_one({"title": texts[0]}) == {}
    assert model.predict_proba_one({"title": texts[0]}) == {}
    stream = [
        ({"title": text}, {word: word in own for word in WORDS})
        for text, own in zip(texts, names, strict=True)
    ]
    metric = metrics.multioutput.MicroAverage(metrics.F1())
    evaluate.progressive_val_score(stream, model, metric)
    assert metric.get() > 0.7
    assert model.model_.n_documents_added_ == 160
    best = model.predict_proba_one({"title": texts[0]})
    labels, scores = model.model_.predict_topk([texts[0]], k=3, return_labels=True)
    assert list(best) == labels[0].tolist()
    assert [own[True] for own in best.values()] == pytest.approx(scores[0].tolist())
    given = model.predict_one({"title": texts[0]})
    assert {label for label, right in given.items() if right} == {*names[0]}
    assert given["never seen"] is False
    assert not hasattr(clf, "ranker_")
    fresh = model.clone()
    fresh.learn_one({"title": "red car"}, {"red", "car"})
    assert fresh.predict_one({"title": "red car"}) == {}


def test_a_detector_of_drift_asks_for_a_refit(model):
    drift = pytest.importorskip("river.drift")
    detector, refits = drift.ADWIN(), []

    def update(clf, rows, score):
        found = clf.predict_topk(X[rows], k=1, return_labels=True)[0][:, 0]
        for name, own in zip(found, Y[rows], strict=True):
            detector.update(name in own)
            if detector.drift_detected:
                refits.append(rows.start)
        if refits and refits[-1] == rows.start:
            clf.fit(X[: rows.stop], Y[: rows.stop])

    fitted = clone(model).fit(X[:100], Y[:100])
    result = prequential_score(fitted, X, Y, block_size=10, update=update)
    assert refits
    assert refits[0] >= 200  # the labels that are new come then
    assert result.estimator.ranker_.n_fitted_ > 200
