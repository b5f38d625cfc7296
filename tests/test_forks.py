"""Threads, forked and spawned processes answer as one that is alone."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from tiny_models import tiny_tower

from skxmc._towers._long_texts import shorten

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.slow
@pytest.mark.parametrize("way", ["thread", "fork", "spawn"])
def test_answers_are_those_of_a_process_that_is_alone(way):
    if way == "fork" and not hasattr(os, "fork"):
        pytest.skip("this system forks nothing")
    paths = f"{ROOT}:{ROOT / 'tests'}"
    # Two threads, whatever the tests have: those of OpenMP are what a forked process lacks.
    environment = {**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "2"}
    run = subprocess.run(
        [sys.executable, "-m", "forked", way], env=environment, capture_output=True, text=True
    )
    assert run.returncode == 0, run.stderr[-3000:]
    count = 32 if way == "thread" else 4
    assert run.stdout.splitlines()[-1] == f"{way} {count}"


@pytest.mark.parametrize("architecture", ["bert", "roberta"])
@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize(
    "text",
    [
        "red apple " * 3000,
        "red\n" + " " * 30000 + "apple " * 9,
        "x" * 30000 + " red",
        "red " + "y" * 30000,
        "\u00e9\u4e2d\ud55c " * 5000,
        "a" * 5 + "." * 20000,
    ],
    ids=["words", "blanks", "one word", "a word and another", "scripts", "dots"],
)
def test_long_texts_are_cut_before_they_are_tokenized(text, side, architecture):
    tower = tiny_tower(architecture, words=["red", "apple"])
    tower.tokenizer.truncation_side = side
    whole = tower.tokenizer([text], truncation=True, max_length=tower.max_length)["input_ids"][0]
    tokens = tower.tokenize([text, "red"])
    assert tokens.ids[: tokens.lengths[0]].tolist() == whole


def test_only_a_beginning_is_tokenized():
    seen = []

    def tokenize(texts):
        seen.extend(map(len, texts))
        return [[len(word) for word in text.split()[:5]] for text in texts]

    text = "one three " * 10**5
    (cut,) = shorten([text], tokenize, 5)
    assert text.startswith(cut)
    assert max(seen) == len(cut) < 1000
    assert shorten(["short"], tokenize, 5) == ["short"]
