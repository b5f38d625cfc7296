"""What `memory` keeps may be damaged: that is noticed, and computed again."""

import logging
import random

import joblib
import numpy as np
import pytest
import torch
from fuzz.damage import HOW, damage
from small_models import LABELS, PICTURES, TEXTS, save_vit
from tiny_models import save_encoder

from skxmc import ViXMLClassifier
from skxmc._training._checkpoint import Checkpoint

EACH = 12  # damages of each kind of file


class Only(random.Random):
    """Random numbers, but for the way of the damage."""

    how = "bit"

    def choice(self, options):
        return self.how


def damages(data):
    """Twelve of each way in which bytes get lost, that are no longer what they were."""
    rng = Only(0)
    for rng.how in HOW:
        for _ in range(EACH // len(HOW)):
            changed = damage(data, rng)
            if changed != data:
                yield changed


@pytest.mark.parametrize("mmap_mode", [None, "r"])
def test_damaged_vectors_of_texts_and_pictures_are_computed_again(mmap_mode, tmp_path, caplog):
    encoder, seen = save_encoder(tmp_path / "encoder"), save_vit(tmp_path / "vit")
    memory = joblib.Memory(tmp_path / "memory", verbose=0, mmap_mode=mmap_mode)
    model = ViXMLClassifier(
        encoder,
        image_encoder=seen,
        train_encoder="frozen",
        evidence=["prototypes"],
        memory=memory,
        random_state=0,
    )
    expected = model.fit(TEXTS, LABELS, images=PICTURES).transform(TEXTS, images=PICTURES)
    files = sorted((tmp_path / "memory").rglob("output.pkl"))
    assert len(files) >= 2
    for path in files:
        whole = path.read_bytes()
        for changed in damages(whole):
            path.write_bytes(changed)
            with caplog.at_level(logging.CRITICAL):
                found = model.fit(TEXTS, LABELS, images=PICTURES)
            np.testing.assert_array_equal(found.transform(TEXTS, images=PICTURES), expected)
            path.unlink(missing_ok=True)
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(whole)


def test_damaged_checkpoints_are_noticed(tmp_path, caplog):
    checkpoint = Checkpoint(tmp_path / "state.pt")
    state = {"weights": torch.arange(1000.0), "rng": np.random.RandomState(0).get_state()}
    checkpoint.save(state)
    torch.testing.assert_close(checkpoint.load()["weights"], state["weights"])
    whole = checkpoint.path.read_bytes()
    for changed in damages(whole):
        checkpoint.path.write_bytes(changed)
        assert checkpoint.load() is None
    assert "its bytes are not those that were written" in caplog.text
    checkpoint.path.write_bytes(whole)
    assert checkpoint.load() is not None
