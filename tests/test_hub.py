"""Models that go to the hub and come back, and what they say of themselves."""

import os
import subprocess
import sys
import textwrap

import numpy as np
import pytest
from hub import serve_hub

from skxmc import ViXMLClassifier

RNG = np.random.RandomState(0)
VECTORS = RNG.normal(size=(60, 6)).astype(np.float32)
TAGS = [[f"tag {np.argmax(row)}", f"a|b {np.argmin(row)}"] for row in VECTORS]
TAGS[0] = []


@pytest.fixture(scope="module")
def clf():
    return ViXMLClassifier(encoder="precomputed", random_state=0).fit(VECTORS, TAGS)


def run(code, url, place, *arguments):
    """Run a program to which the server is the hub; the address is read when it starts."""
    env = {
        **os.environ,
        "HF_ENDPOINT": url,
        "HF_HOME": str(place),
        "HF_HUB_OFFLINE": "0",
        "HF_HUB_DISABLE_XET": "1",
        "HF_TOKEN": "hf_test",
    }
    command = [sys.executable, "-c", textwrap.dedent(code), *map(str, arguments)]
    done = subprocess.run(command, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


PUSH = """
    import sys
    from skxmc import ViXMLClassifier

    clf = ViXMLClassifier.load(sys.argv[1])
    print(clf.push_to_hub("user/model", metrics={"P@1": 0.5}, description="Tags for vectors."))
"""
PULL = """
    import sys
    import numpy as np
    from skxmc import ViXMLClassifier

    clf = ViXMLClassifier.from_pretrained("user/model", device="cpu")
    np.save(sys.argv[2], clf.predict_topk(np.load(sys.argv[1]), k=3)[0])
"""


def test_to_the_hub_and_back(clf, tmp_path):
    np.save(tmp_path / "vectors.npy", VECTORS)
    clf.save(tmp_path / "model")
    with serve_hub() as hub:
        hub.files["part-of-an-older-model.bin"] = b"old"
        url = run(PUSH, hub.url, tmp_path / "home", tmp_path / "model").strip()
        assert "/commit/" in url
        assert {"README.md", "skxmc.json"} <= set(hub.files)
        assert "part-of-an-older-model.bin" not in hub.files
        card = hub.files["README.md"].decode()
        assert "| P@1 | 0.5000 |" in card
        assert "Tags for vectors." in card
        places = tmp_path / "vectors.npy", tmp_path / "found.npy"
        run(PULL, hub.url, tmp_path / "home", *places)
        found = np.load(tmp_path / "found.npy")
        np.testing.assert_array_equal(found, clf.predict_topk(VECTORS, k=3)[0])
        # A newer model takes the place of the one that was downloaded before.
        newer = ViXMLClassifier(encoder="precomputed", random_state=0).fit(VECTORS[:40], TAGS[:40])
        newer.save(tmp_path / "model")
        run(PUSH, hub.url, tmp_path / "home", tmp_path / "model")
        run(PULL, hub.url, tmp_path / "home", *places)
    found = np.load(tmp_path / "found.npy")
    np.testing.assert_array_equal(found, newer.predict_topk(VECTORS, k=3)[0])


def test_a_folder_is_loaded_as_it_is(clf, tmp_path):
    clf.save(tmp_path / "model")
    again = ViXMLClassifier.from_pretrained(tmp_path / "model", device="cpu")
    np.testing.assert_array_equal(
        again.predict_topk(VECTORS, k=3)[0], clf.predict_topk(VECTORS, k=3)[0]
    )


def test_a_card_says_what_is_in_the_model(clf):
    card = clf.model_card(repo_id="me/icons")
    assert card.startswith("---\nlibrary_name: skxmc\n")
    assert 'from_pretrained("me/icons")' in card.replace("'", '"')
    assert "| documents | 60, of which 1 have no label |" in card
    assert f"| labels | {len(clf.classes_)}, of which 0 have no document |" in card
    assert "a\\|b" in card  # a bar would end the cell
    for kind in clf.evidence_:
        assert f"| {kind} |" in card
    assert f"{clf.threshold_:.3f}" in card
    assert "None were given." in card
    assert repr(clf) in card


def test_unfitted_models_have_no_card():
    with pytest.raises(ValueError, match="not fitted"):
        ViXMLClassifier(encoder="precomputed").model_card()
