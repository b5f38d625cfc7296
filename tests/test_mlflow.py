"""Models of MLflow: written without a pickle, and loaded by the package's own loader."""

import io

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from tiny_models import save_encoder

from skxmc import ViXMLClassifier
from skxmc.mlflow import _load_pyfunc, save_model

RNG = np.random.RandomState(0)
VECTORS = RNG.normal(size=(60, 6)).astype(np.float32)
TAGS = [[f"tag {np.argmax(row)}", f"tag {np.argmin(row)}"] for row in VECTORS]


def mean_colour(pictures):
    return np.stack([np.asarray(picture).mean(axis=(0, 1)) for picture in pictures])


@pytest.fixture(scope="module")
def model():
    return ViXMLClassifier("precomputed", random_state=0).fit(VECTORS, TAGS)


def test_the_loader_needs_no_mlflow(model, tmp_path):
    model.save(tmp_path / "model")
    loaded = _load_pyfunc(str(tmp_path / "model"))
    frame = pd.DataFrame({"text": VECTORS[:5].tolist()}, index=list("abcde"))
    found = loaded.predict(frame, {"k": 2})
    labels, scores = model.predict_topk(VECTORS[:5], 2, return_labels=True)
    assert found["labels"].tolist() == labels.tolist()
    np.testing.assert_allclose(np.array(found["scores"].tolist()), scores, atol=1e-6)
    assert found.index.tolist() == list("abcde")
    assert {len(own) for own in loaded.predict(frame)["labels"]} == {len(model.classes_)}
    assert len(loaded.predict(frame.iloc[:0])) == 0
    with pytest.raises(ValueError, match="k must be at least 1"):
        loaded.predict(frame, {"k": 0})


def test_pictures_in_a_table(tmp_path):
    def png(value):
        stream = io.BytesIO()
        Image.new("RGB", (4, 4), (value, 0, 255 - value)).save(stream, "PNG")
        return stream.getvalue()

    words = "red green blue apple car".split()
    texts = [words[row % 5] for row in range(40)]
    images = [png(6 * row) for row in range(40)]
    from skxmc.encoders import ImageEncoder

    clf = ViXMLClassifier(
        save_encoder(tmp_path, words=words),
        train_encoder="frozen",
        image_encoder=ImageEncoder(mean_colour),
        random_state=0,
    ).fit(texts, [[text] for text in texts], images=images)
    from skxmc.mlflow import _Loaded

    frame = pd.DataFrame({"text": texts[:4], "image": [images[0], None, np.nan, images[3]]})
    found = _Loaded(clf).predict(frame, {"k": 1})
    given = [images[0], None, None, images[3]]
    expected = clf.predict_topk(texts[:4], 1, images=given, return_labels=True)[0]
    assert found["labels"].tolist() == expected.tolist()


def test_round_trip(model, tmp_path):
    pyfunc = pytest.importorskip("mlflow.pyfunc")
    save_model(model, tmp_path / "saved", metadata={"from": "test"})
    assert not list((tmp_path / "saved").rglob("*.pkl"))
    loaded = pyfunc.load_model(str(tmp_path / "saved"))
    frame = pd.DataFrame({"text": VECTORS[:5].tolist()})
    found = loaded.predict(frame, params={"k": 3})
    expected = model.predict_topk(VECTORS[:5], 3, return_labels=True)[0]
    assert found["labels"].tolist() == expected.tolist()
    assert "k" in str(loaded.metadata.signature.params)
    with pytest.raises(Exception, match="text"):
        loaded.predict(pd.DataFrame({"other": ["a"]}))
