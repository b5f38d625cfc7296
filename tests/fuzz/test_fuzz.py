"""A sample of what ``python -m tests.fuzz`` does for as long as one likes."""

import random
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_models import SmallModels

from fuzz.arguments import ARGUMENTS
from fuzz.damage import MODELS, Victim

DAMAGES, EDITS = 30, 30  # of each model


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    return SmallModels(tmp_path_factory.mktemp("models"))


@pytest.mark.slow
@pytest.mark.parametrize("kind", MODELS)
def test_damaged_and_edited_models_are_refused_or_unchanged(kind, models, tmp_path):
    victim, rng = Victim(models[kind], tmp_path / "model"), random.Random(kind)
    found = Counter(victim.damage(number, rng) for number in range(DAMAGES))
    assert found["refused"] > 0.8 * DAMAGES
    assert Counter(victim.edit(rng, sealed=False) for _ in range(EDITS))["refused"] > 0.8 * EDITS
    taken = Counter(victim.edit(rng, sealed=True) for _ in range(EDITS))
    assert taken["refused"] > 0
    assert victim.damage(0, _Nothing()) == "same"


class _Nothing(random.Random):
    """Random numbers by which damage changes nothing."""

    def choice(self, options):
        return "zero"

    def randrange(self, stop, *rest):
        return stop  # behind the last byte


@pytest.mark.parametrize("name", ARGUMENTS)
@given(rng=st.randoms(use_true_random=False))
@settings(max_examples=150, deadline=None)
def test_arguments_are_taken_or_refused_clearly(name, rng):
    ARGUMENTS[name](rng)
