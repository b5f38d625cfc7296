"""Tuning that was cut off goes on to the same bits; what has ended is not trained again."""

import logging
import os
import subprocess
import sys
import textwrap
import threading
from importlib.util import find_spec

import joblib
import numpy as np
import pytest
import torch
from sklearn.base import clone
from test_trainer import Interrupted, Problem, assert_equal_weights, modules_of, weights
from tiny_models import save_encoder, save_language_model

from skxmc import DecoderXMCClassifier, ViXMLClassifier
from skxmc._backbones._lora import add_adapters
from skxmc._training import _checkpoint
from skxmc._training._batches import HardNegativeSchedule
from skxmc._training._checkpoint import Checkpoint
from skxmc.encoders import LoRA
from skxmc.evidence import Neighbours
from skxmc.objectives import DualEncoder, LinearHead, Prime

# Three batches an epoch; clusters from the second epoch on, made every other epoch.
SCHEDULE = HardNegativeSchedule(start=1, update=2, size=8)
OPTIONS = {"epochs": 4, "batch_size": 32, "schedule": SCHEDULE}


@pytest.fixture
def always(monkeypatch):
    """States are written after every step."""
    monkeypatch.setattr(_checkpoint, "SECONDS", 0.0)
    monkeypatch.setattr(_checkpoint, "PATIENCE", 0)


@pytest.fixture
def file(tmp_path, always):
    return tmp_path / "folder" / "state.pt"


class PowerCut(Exception):
    """Ends training as if the process were gone."""


class Score:
    """A figure that is best after the second epoch."""

    def __call__(self, trainer):
        return {"validation_score": -abs(len(trainer.history) - 1.0)}


def make(file, *, objective=None, adapters=False, pictures=True, **options):
    """A trainer and its problem, the same each time."""
    problem = Problem(96, pictures=pictures)
    if adapters:
        add_adapters(problem.tower.backbone.model, rank=4, dropout=0.2, seed=0)
    checkpoint = None if file is None else Checkpoint(file)
    objective = Prime() if objective is None else clone(objective)
    return problem.trainer(objective, **{**OPTIONS, **options}, checkpoint=checkpoint)


def assert_same(first, second):
    assert_equal_weights(weights(*modules_of(first)), weights(*modules_of(second)))
    np.testing.assert_array_equal(first.bank, second.bank)
    prototypes = [one.prototypes(*one.encode_labels()) for one in (first, second)]
    np.testing.assert_array_equal(*prototypes)
    timeless = [
        [{k: v for k, v in entry.items() if "second" not in k} for entry in one.history]
        for one in (first, second)
    ]
    assert timeless[0] == timeless[1]
    for one, two in zip(first.rng.get_state()[1:], second.rng.get_state()[1:], strict=True):
        np.testing.assert_array_equal(one, two)


# -------------------------------------------------------------------------------------- trainer


@pytest.mark.parametrize("step", [2, 4, 5, 9])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"adapters": True, "pictures": False},
        {"objective": DualEncoder()},
        {"objective": LinearHead()},
        {"validate": Score(), "patience": 1},
        {"max_steps": 11},
    ],
    ids=["full", "adapters", "text alone", "linear head", "early stopping", "bounded"],
)
def test_training_goes_on_to_the_same_bits(file, options, step):
    uncut = make(None, **options).fit()
    cut = make(file, **options)
    Interrupted(cut.tower, step, PowerCut)
    with pytest.raises(PowerCut):
        cut.fit()
    resumed = make(file, **options)
    torch.manual_seed(99)  # what else draws from torch must not matter
    assert_same(resumed.fit(), uncut)


def test_training_can_be_cut_off_again_and_again(file):
    uncut = make(None).fit()
    for _ in range(11):  # the second step of each is never done
        trainer = make(file)
        Interrupted(trainer.tower, 2, PowerCut)
        with pytest.raises(PowerCut):
            trainer.fit()
    assert_same(make(file).fit(), uncut)


def test_what_has_ended_is_not_trained_again(file, caplog):
    first = make(file).fit()
    again = make(file)
    Interrupted(again.tower, 1, PowerCut)
    with caplog.at_level(logging.INFO, "skxmc"):
        assert_same(again.fit(), first)
    assert "training is taken from" in caplog.text
    state = torch.load(file, weights_only=False)
    assert "run" not in state  # moments and the rest are needed no more


def test_an_interrupt_is_no_end(file):
    uncut = make(None).fit()
    trainer = make(file)

    def interrupt(module, args):
        if module.training and len(trainer.history) == 2:
            raise KeyboardInterrupt

    handle = trainer.tower.register_forward_pre_hook(interrupt)
    trainer.fit()
    assert len(trainer.history) == 2
    handle.remove()
    assert_same(make(file).fit(), uncut)


def test_time_between_writings(tmp_path, monkeypatch):
    checkpoint = Checkpoint(tmp_path / "state.pt")
    assert not checkpoint.is_due()  # a minute has not passed
    monkeypatch.setattr(_checkpoint, "SECONDS", 0.0)
    assert checkpoint.is_due()
    checkpoint.save({"a": torch.zeros(1_000_000)})
    assert not checkpoint.is_due()  # nor has twenty times what the writing took


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 half of a file", b"\x80\x04."])
def test_a_broken_file_is_reported_and_replaced(file, content, caplog):
    file.parent.mkdir()
    file.write_bytes(content)
    trainer = make(file).fit()
    assert f"{file} cannot be read" in caplog.text
    assert_same(trainer, make(None).fit())
    assert Checkpoint(file).load()["history"] == trainer.history


def test_what_cannot_be_written_is_reported(file, caplog):
    file.parent.write_text("a file where the folder should be")
    trainer = make(file, epochs=1).fit()
    assert f"cannot be kept in {file}" in caplog.text
    assert_same(trainer, make(None, epochs=1).fit())


def test_a_full_disk_leaves_the_state_before(file, caplog):
    """/dev/full takes nothing, like a full disk."""
    checkpoint = Checkpoint(file)
    checkpoint.save({"step": 1})
    new = file.with_name(f"{file.name}.{os.getpid()}.{threading.get_ident()}")
    new.symlink_to("/dev/full")
    checkpoint.save({"step": torch.zeros(1_000_000)})
    assert "cannot be kept" in caplog.text
    assert checkpoint.load() == {"step": 1}
    assert [path.name for path in file.parent.iterdir()] == [file.name]


# ------------------------------------------------------------------------------------ estimators


TEXTS = [f"{size} {thing}" for thing in ("apple", "pear", "car", "van") for size in ("big", "wee")]
TEXTS = [f"{text} {number}" for text in TEXTS for number in ("one", "two", "three")]
TAGS = [text.split()[:2] for text in TEXTS]


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    return str(save_encoder(tmp_path_factory.mktemp("encoder"), "bert"))


@pytest.fixture(scope="module")
def language_model(tmp_path_factory):
    return str(save_language_model(tmp_path_factory.mktemp("model"), "llama"))


def states(folder):
    return sorted(folder.rglob("state.pt"))


def small(encoder, memory, **params):
    defaults = {"epochs": 2, "batch_size": 8, "random_state": 0, "precision": "float32"}
    return ViXMLClassifier(encoder, memory=memory, **{**defaults, **params})


def assert_equal_predictions(first, second):
    for one, two in zip(
        first.predict_topk(TEXTS, k=4), second.predict_topk(TEXTS, k=4), strict=True
    ):
        np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize("form", [str, joblib.Memory])
def test_memory_keeps_tuning(encoder, tmp_path, form, caplog):
    without = small(encoder, None).fit(TEXTS, TAGS)
    memory = str(tmp_path) if form is str else joblib.Memory(tmp_path, verbose=0)
    first = small(encoder, memory).fit(TEXTS, TAGS)
    with caplog.at_level(logging.INFO, "skxmc"):
        second = small(encoder, memory).fit(TEXTS, TAGS)
    assert "training is taken from" in caplog.text
    assert_equal_predictions(first, without)
    assert_equal_predictions(second, first)
    assert second.history_ == first.history_
    assert len(states(tmp_path)) == 1


@pytest.mark.parametrize("mode", ["full", "lora"])
@pytest.mark.parametrize("objective", [Prime(), LinearHead()], ids=["prime", "linear_head"])
def test_language_models_are_kept_too(language_model, tmp_path, mode, objective):
    clf = DecoderXMCClassifier(
        language_model,
        train_encoder=mode,
        objective=objective,
        adapter=LoRA(rank=2, dropout=0.1) if mode == "lora" else None,
        epochs=1,
        batch_size=8,
        precision="float32",
        memory=str(tmp_path),
        random_state=0,
    )
    first = clone(clf).fit(TEXTS, TAGS)
    assert len(states(tmp_path)) == 1
    assert_equal_predictions(clone(clf).fit(TEXTS, TAGS), first)
    assert len(states(tmp_path)) == 1


def test_a_training_is_found_by_what_it_depends_on(encoder, tmp_path):
    memory = str(tmp_path)
    small(encoder, memory).fit(TEXTS, TAGS)
    # What comes after tuning, or only shows it.
    later = [
        {"evidence": [Neighbours(n_neighbors=5)]},
        {"threshold": 0.2},
        {"text_features": "tfidf"},
    ]
    if find_spec("openvino") is not None:
        later.append({"backend": "openvino"})
    for params in later:
        small(encoder, memory, **params).fit(TEXTS, TAGS)
        assert len(states(tmp_path)) == 1
    others = [{"learning_rate": 1e-4}, {"random_state": 1}, {"train_encoder": "lora"}]
    for number, params in enumerate(others):
        small(encoder, memory, **params).fit(TEXTS, TAGS)
        assert len(states(tmp_path)) == 2 + number
    small(encoder, memory).fit(TEXTS[:-1], TAGS[:-1])
    small(encoder, memory).fit(TEXTS, [tags[:1] for tags in TAGS[:-1]] + TAGS[-1:])
    assert len(states(tmp_path)) == 6


def test_an_ended_training_with_a_random_state_instance(encoder, tmp_path):
    """What comes after tuning draws on from where tuning has left off."""
    fits = [
        small(encoder, str(tmp_path), random_state=np.random.RandomState(3)).fit(TEXTS, TAGS)
        for _ in range(2)
    ]
    assert len(states(tmp_path)) == 1
    assert_equal_predictions(*fits)


def test_nothing_is_kept_without_seed_or_for_frozen_encoders(encoder, tmp_path):
    small(encoder, str(tmp_path), random_state=None).fit(TEXTS, TAGS)
    small(encoder, str(tmp_path), train_encoder="frozen").fit(TEXTS, TAGS)
    small(encoder, joblib.Memory(None)).fit(TEXTS, TAGS)
    assert states(tmp_path) == []


class Elsewhere:
    """Keeps nothing, but is all that scikit-learn asks of a memory."""

    def cache(self, function, **options):
        return function


def test_memory_that_is_no_folder(encoder):
    fitted = small(encoder, Elsewhere()).fit(TEXTS, TAGS)
    assert_equal_predictions(fitted, small(encoder, None).fit(TEXTS, TAGS))
    assert Checkpoint.of(Elsewhere()) is None


def test_memory_can_be_cleared_and_reduced(encoder, tmp_path):
    memory = joblib.Memory(tmp_path, verbose=0)
    small(encoder, memory).fit(TEXTS, TAGS)
    memory.reduce_size(bytes_limit=1)
    assert states(tmp_path) == []
    small(encoder, memory).fit(TEXTS, TAGS)
    assert len(states(tmp_path)) == 1
    memory.clear(warn=False)
    assert states(tmp_path) == []


def test_a_killed_process_is_gone_on_from(encoder, tmp_path):
    """The process is killed for good while it trains; the next one ends with the same bits."""
    params = {"epochs": 3, "learning_rate": 1e-3}
    code = f"""
        import os, signal
        from skxmc import ViXMLClassifier
        from skxmc._training import _checkpoint
        from test_checkpoint import TAGS, TEXTS, small

        _checkpoint.SECONDS = _checkpoint.PATIENCE = 0

        class Killed(_checkpoint.Checkpoint):
            number = 0

            def save(self, state):
                super().save(state)
                Killed.number += 1
                if Killed.number == 4:
                    os.kill(os.getpid(), signal.SIGKILL)

        _checkpoint.Checkpoint = Killed
        small({encoder!r}, {str(tmp_path)!r}, **{params!r}).fit(TEXTS, TAGS)
    """
    line = [sys.executable, "-c", textwrap.dedent(code)]
    done = subprocess.run(line, cwd=__file__.rsplit("/", 1)[0], check=False)
    assert done.returncode == -9
    (state,) = states(tmp_path)
    run = torch.load(state, weights_only=False)["run"]
    assert 3 * run["epoch"] + len(run["losses"]) == 4
    resumed = small(encoder, str(tmp_path), **params).fit(TEXTS, TAGS)
    assert [entry["epoch"] for entry in resumed.history_] == [1, 2, 3]
    assert_equal_predictions(resumed, small(encoder, None, **params).fit(TEXTS, TAGS))
