"""Models that were saved in each format of folders open for ever, and predict the same."""

import json
import shutil

import numpy as np
import pytest
from saved_formats import EXPECTED, PLACE, inputs

from skxmc import ViXMLClassifier
from skxmc._folders._manifest import FORMAT, METADATA

KEPT = sorted(path.parent for path in PLACE.rglob(METADATA))


def test_every_format_is_kept():
    formats = {json.loads((path / METADATA).read_text("utf-8"))["format"] for path in KEPT}
    assert formats == set(range(1, FORMAT + 1))


@pytest.mark.parametrize("folder", KEPT, ids=lambda path: f"{path.parent.name}-{path.name}")
def test_models_of_each_format_predict_the_same(folder, tmp_path):
    expected = json.loads((folder.parent / f"{folder.name}.{EXPECTED}").read_text("utf-8"))
    copied = shutil.copytree(folder, tmp_path / "model")  # some checkouts may not be written to
    model = ViXMLClassifier.load(copied, device="cpu", verify=True)
    labels, scores = model.predict_topk(inputs(folder.name), k=3)
    np.testing.assert_allclose(scores, expected["scores"], rtol=1e-2, atol=1e-3)
    # Labels whose scores are nearly equal may change places on another CPU.
    clear = np.diff(expected["scores"], axis=1).max(axis=1) < -1e-2
    assert clear.sum() > 10
    np.testing.assert_array_equal(np.asarray(labels)[clear], np.array(expected["labels"])[clear])
