"""Ready embeddings of labels beside those of documents."""

import pickle

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone

from skxmc import ViXMLClassifier
from skxmc.encoders import Precomputed
from skxmc.evidence import Prototypes

IDS = ["a", "b", "c", "d"]
CENTRES = np.eye(4, 6, dtype=np.float32)
# No document has the label d.
Y = [[IDS[row % 3]] for row in range(30)]


@pytest.fixture
def X(rng):
    centres = CENTRES[[row % 3 for row in range(30)]]
    return (centres + 0.2 * rng.normal(size=centres.shape)).astype(np.float32)


def fit(X, embeddings, **params):
    model = ViXMLClassifier(Precomputed(embeddings), label_text=IDS, random_state=0, **params)
    return model.fit(X, Y)


def test_labels_without_documents_are_found(X):
    model = fit(X, CENTRES)
    labels, _ = model.predict_topk(CENTRES, k=1, return_labels=True)
    assert labels.ravel().tolist() == IDS
    plain = ViXMLClassifier("precomputed", label_text=IDS, random_state=0).fit(X, Y)
    assert plain.predict_topk(CENTRES, k=1, return_labels=True)[0][3, 0] != "d"


@pytest.mark.parametrize(
    "form",
    [
        lambda rows: dict(zip(reversed(IDS), rows[::-1].tolist(), strict=True)),
        lambda rows: pd.Series(list(rows), index=IDS),
        lambda rows: rows.tolist(),
    ],
)
def test_forms_mean_the_same(X, form):
    expected = fit(X, CENTRES).predict_topk(X, k=4)
    found = fit(X, form(CENTRES)).predict_topk(X, k=4)
    np.testing.assert_array_equal(found[0], expected[0])


def test_prototypes_of_labels_alone(X):
    model = fit(X, 3 * CENTRES, evidence=[Prototypes(centroids=False)])
    index = model.evidence_["prototypes"].index_
    np.testing.assert_allclose(index.vectors(np.arange(4)), CENTRES, atol=1e-6)


def test_a_mapping_may_leave_labels_out(X):
    model = fit(X, {"d": CENTRES[3]})
    labels, _ = model.predict_topk(CENTRES, k=1, return_labels=True)
    assert labels.ravel().tolist() == IDS


def test_saved_pickled_and_cloned(X, tmp_path):
    model = fit(X, {"d": CENTRES[3]})
    expected = model.predict_topk(CENTRES, k=2)
    model.save(tmp_path / "model")
    loaded = ViXMLClassifier.load(tmp_path / "model", device="cpu")
    for other in (loaded, pickle.loads(pickle.dumps(model)), clone(model).fit(X, Y)):
        np.testing.assert_array_equal(other.predict_topk(CENTRES, k=2)[0], expected[0])
    assert loaded.encoder.label_embeddings is None


def test_new_labels_bring_their_embeddings(X):
    model = ViXMLClassifier("precomputed", random_state=0).fit(X, Y)
    new = np.eye(6, dtype=np.float32)[[4, 5]]
    model.add_labels(["e"], label_embeddings=new[:1])
    model.add_labels(["f"], label_embeddings={"f": new[1]})
    labels, _ = model.predict_topk(new, k=1, return_labels=True)
    assert labels.ravel().tolist() == ["e", "f"]
    with pytest.raises(ValueError, match="pass label_embeddings"):
        model.add_labels(["g"])


@pytest.mark.parametrize(
    ("embeddings", "message"),
    [
        (np.eye(3), r"has shape \(3, 3\), and there are 4 labels and embeddings of length 6"),
        ({"x": np.ones(6)}, "has the key 'x', which is no label"),
        ({"d": np.ones(5)}, r"label_embeddings\['d'\] has shape \(5,\)"),
        ({"d": np.full(6, np.nan)}, "NaN or infinity in the row of 'd'"),
    ],
)
def test_wrong_embeddings(X, embeddings, message):
    with pytest.raises(ValueError, match=message):
        fit(X, embeddings)
