"""Callbacks of scikit-learn in fit, figures on documents of one's own, and what is logged."""

import logging

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.model_selection import KFold, cross_validate
from tiny_models import save_encoder

from skxmc import ViXMLClassifier
from skxmc.evidence import Neighbours
from skxmc.metrics import make_topk_scorer, xmc_scores
from skxmc.model_selection import Validation, ValidationMonitor

WORDS = "red green blue apple car tree house dog cat bird fast slow".split()
RNG = np.random.RandomState(0)
TEXTS = [" ".join(WORDS[word] for word in row) for row in RNG.randint(len(WORDS), size=(60, 3))]
TAGS = [sorted({*text.split()}) for text in TEXTS]

callback = pytest.importorskip("sklearn.callback", reason="scikit-learn before 1.9")


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    return save_encoder(tmp_path_factory.mktemp("encoder"), words=WORDS)


def make(encoder, **params):
    options = {
        "epochs": 3,
        "random_state": 0,
        "device": "cpu",
        "precision": "float32",
        "evidence": ["prototypes", Neighbours(5)],
    }
    return ViXMLClassifier(encoder, **options | params)


class Recorder:
    """Writes down what it is told."""

    def __init__(self, stop_after=None, interrupt_after=None):
        self.seen, self.stop_after, self.models = [], stop_after, []

    def setup(self, estimator, context):
        self.seen.append("setup")

    def teardown(self, estimator, context):
        self.seen.append("teardown")

    def on_fit_task_begin(self, estimator, context, *, X=None, y=None):
        assert X is TEXTS
        assert y is TAGS
        self.seen.append(("begin", context.task_name))

    def on_fit_task_end(self, estimator, context, *, fitted_estimator=None, metadata=None):
        self.seen.append(("end", context.task_name))
        self.models.append(fitted_estimator.predict_topk(TEXTS[:5], k=3))
        n_epochs = self.seen.count(("end", "epoch"))
        return self.stop_after is not None and n_epochs >= self.stop_after


EPOCH = [("begin", "epoch"), ("end", "epoch")]


@pytest.mark.parametrize("mode", ["full", "lora"])
def test_each_epoch_is_a_task_and_shows_a_model(encoder, mode):
    recorder = Recorder()
    watched = make(encoder, train_encoder=mode).set_callbacks(recorder).fit(TEXTS, TAGS)
    whole = ("begin", "fit"), ("end", "fit")
    assert recorder.seen == ["setup", whole[0], *EPOCH * 3, whole[1], "teardown"]
    # Looking on changes nothing, and the last epoch's model is the one that fit returns.
    alone = make(encoder, train_encoder=mode).fit(TEXTS, TAGS)
    for labels, scores in (watched.predict_topk(TEXTS[:5], k=3), recorder.models[-2]):
        np.testing.assert_array_equal(labels, alone.predict_topk(TEXTS[:5], k=3)[0])
        np.testing.assert_allclose(scores, alone.predict_topk(TEXTS[:5], k=3)[1], atol=1e-5)
    assert not np.array_equal(recorder.models[0][1], recorder.models[-1][1])


def test_a_frozen_fit_is_one_task(encoder):
    recorder = Recorder()
    make(encoder, train_encoder="frozen").set_callbacks(recorder).fit(TEXTS, TAGS)
    assert recorder.seen == ["setup", ("begin", "fit"), ("end", "fit"), "teardown"]


def test_callbacks_are_torn_down_after_an_error(encoder):
    recorder = Recorder()
    clf = make(encoder).set_callbacks(recorder)
    with pytest.raises(ValueError, match="y has 2 rows"):
        clf.fit(TEXTS, TAGS[:2])
    assert recorder.seen == []  # input is checked before anybody hears of it
    clf.set_params(learning_rate=1e30)
    with pytest.raises(FloatingPointError):
        clf.fit(TEXTS, TAGS)
    assert recorder.seen[-1] == "teardown"


def test_a_callback_ends_tuning_and_the_checkpoint_is_not_that_of_a_whole_fit(encoder, tmp_path):
    params = {"memory": str(tmp_path / "memory")}
    stopped = make(encoder, **params).set_callbacks(Recorder(stop_after=2)).fit(TEXTS, TAGS)
    assert len(stopped.history_) == 2
    whole = make(encoder, **params).fit(TEXTS, TAGS)
    assert len(whole.history_) == 3
    np.testing.assert_array_equal(
        whole.predict_topk(TEXTS, k=3)[0],
        make(encoder).fit(TEXTS, TAGS).predict_topk(TEXTS, k=3)[0],
    )


def test_scikit_learns_own_callbacks(encoder):
    monitor = callback.ScoringMonitor(scoring={"first": make_topk_scorer("precision", k=1)})
    make(encoder).set_callbacks(monitor).fit(TEXTS, TAGS)
    scores = [row["first"] for row in monitor.get_logs().data if row["task_name"] == "epoch"]
    assert len(scores) == 3
    assert all(0 <= score <= 1 for score in scores)


def test_figures_on_own_documents(encoder):
    told = []
    monitor = ValidationMonitor(
        TEXTS[50:], TAGS[50:], report=lambda epoch, figures: told.append((epoch, figures))
    )
    clf = make(encoder).set_callbacks(monitor).fit(TEXTS[:50], TAGS[:50])
    assert [entry["epoch"] for entry in monitor.log_] == [1, 2, 3]
    assert told == [(entry["epoch"], {"score": entry["score"]}) for entry in monitor.log_]
    assert monitor.log_[-1]["score"] == clf.score(TEXTS[50:], TAGS[50:])


@pytest.mark.parametrize(
    ("options", "n_epochs"), [({"report": lambda epoch, _: epoch == 2}, 2), ({"patience": 1}, None)]
)
def test_own_documents_end_tuning(encoder, options, n_epochs):
    monitor = ValidationMonitor(TEXTS[50:], TAGS[50:], **options)
    clf = (
        make(encoder, epochs=8, learning_rate=1e-9)
        .set_callbacks(monitor)
        .fit(TEXTS[:50], TAGS[:50])
    )
    scores = [entry["score"] for entry in monitor.log_]
    if n_epochs is None:  # the first epoch that is no better than the best before
        best = np.maximum.accumulate(scores)
        n_epochs = 2 + int(np.argmax(np.diff(best) == 0))
    assert len(scores) == len(clf.history_) == n_epochs


def test_several_figures_and_what_belongs_to_documents(encoder):
    exclude = np.zeros((10, len(WORDS)), dtype=bool)
    monitor = ValidationMonitor(TEXTS[50:], TAGS[50:], exclude=exclude, scoring=xmc_scores())
    make(encoder, epochs=1).set_callbacks(monitor).fit(TEXTS[:50], TAGS[:50])
    assert len(monitor.log_[0]) > 2
    with pytest.raises(ValueError, match="patience must be None or an int"):
        ValidationMonitor(TEXTS, TAGS, patience=0)


def test_clones_take_callbacks_along_and_pickles_work(encoder):
    monitor = ValidationMonitor(TEXTS[50:], TAGS[50:])
    clf = make(encoder, epochs=1).set_callbacks(monitor)
    found = cross_validate(clone(clf), TEXTS, np.array(TAGS, dtype=object), cv=KFold(2))
    assert np.isfinite(found["test_score"]).all()


def test_stages_are_logged(encoder, caplog):
    with caplog.at_level(logging.INFO, logger="skxmc"):
        make(encoder, validation=Validation(fraction=0.2)).fit(TEXTS, TAGS)
    messages = [record.getMessage() for record in caplog.records]
    for start in ("encoding of 60 documents: ", "tuning: ", "learning of prototypes: "):
        assert any(message.startswith(start) for message in messages), start


def test_a_long_training_says_so_at_once(encoder, caplog, monkeypatch):
    monkeypatch.setattr("skxmc._training._trainer.LONG", 0)
    with caplog.at_level(logging.WARNING, logger="skxmc"):
        make(encoder, epochs=2, batch_size=8).fit(TEXTS, TAGS)
    messages = [record.getMessage() for record in caplog.records]
    assert sum("train_encoder='frozen'" in message for message in messages) == 1
