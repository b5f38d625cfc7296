"""The display of explanations: what is drawn is what was explained."""

import numpy as np
import pytest
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from skxmc import ViXMLClassifier
from skxmc.inspection import Explanation, ExplanationDisplay, NearDocument

pytest.importorskip("matplotlib").use("Agg")
plt = pytest.importorskip("matplotlib.pyplot")


@pytest.fixture(autouse=True)
def _close_figures():
    yield
    plt.close("all")


@pytest.fixture(scope="module")
def model():
    ids = ["x", "y", "z"]
    clf = ViXMLClassifier("precomputed", random_state=0)
    return clf.fit(np.eye(3), [["a"], ["b"], ["a", "c"]], document_ids=ids)


EXPLANATIONS = [
    Explanation(
        "$fruit$",
        0.75,
        {"label_vectors": 0.7, "neighbours": 0.3},
        [NearDocument(4, None, 0.91), NearDocument(2, "id-2", 0.5)],
        [("apple", 1.25), ("the", 0.01)],
        -0.5,
    ),
    Explanation("car", 0.1, {"label_vectors": 0.0, "neighbours": 1.0}),
]


def texts_in(ax):
    """Every text as it comes out: the figure is drawn first."""
    ax.figure.draw_without_rendering()
    return [text.get_text() for text in ax.texts]


def test_bars_are_the_shares():
    display = ExplanationDisplay(EXPLANATIONS).plot()
    widths = [bar.get_width() for bar in display.ax_.patches]
    starts = [bar.get_x() for bar in display.ax_.patches]
    np.testing.assert_allclose(widths, [0.7, 0.3, 0.0, 1.0])
    np.testing.assert_allclose(starts, [0.0, 0.7, 0.0, 0.0])
    assert len({bar.get_facecolor() for bar in display.ax_.patches}) == 2
    legend = [text.get_text() for text in display.ax_.get_legend().get_texts()]
    assert legend == ["label vectors", "neighbours"]
    heights = [bar.get_y() for bar in display.ax_.patches]
    assert heights[0] == heights[1] < heights[2] == heights[3]


def test_notes_name_documents_words_and_pictures():
    texts = texts_in(ExplanationDisplay(EXPLANATIONS, title="a text").plot().ax_)
    assert texts == [
        "a text",
        "$fruit$",
        "probability 0.75",
        "70 %",
        "30 %",
        "near: row 4 (0.91), id-2 (0.50)",
        "words: apple +1.2 · picture: -0.5",
        "car",
        "probability 0.10",
        "100 %",
    ]


def test_names_take_the_place_of_labels_and_rows():
    names = {"$fruit$": "things to eat", "car": "vehicles"}
    documents = [f"text {row}" for row in range(5)]
    display = ExplanationDisplay(EXPLANATIONS, label_names=names, document_names=documents)
    texts = texts_in(display.plot().ax_)
    assert {"things to eat", "vehicles", "near: text 4 (0.91), text 2 (0.50)"} <= set(texts)


def test_from_estimator_explains_one_document(model):
    X = np.eye(3)
    _, own = plt.subplots()
    display = ExplanationDisplay.from_estimator(model, X, row=1, k=2, ax=own, alpha=0.5)
    assert display.ax_ is own
    assert display.figure_ is own.figure
    assert display.explanations == model.explain(X[[1]], k=2)[0]
    assert display.title == "document 1"
    assert "near: y (1.00)" in texts_in(own)
    assert {bar.get_alpha() for bar in own.patches} == {0.5}
    named = ExplanationDisplay.from_estimator(model, X, labels=["c"], label_names=["A", "B", "C"])
    assert [one.label for one in named.explanations] == ["c"]
    assert "C" in texts_in(named.ax_)


def test_pipelines_are_walked_through(model):
    pipeline = make_pipeline(FunctionTransformer(np.flip, validate=False), model)
    display = ExplanationDisplay.from_estimator(pipeline, np.eye(3), row=1, k=1)
    assert display.explanations[0].label == "b"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"row": 3}, "row must lie between 0 and 2, got 3"),
        ({"label_names": ["a"]}, "label_names has 1 entries but there must be 3"),
        ({"labels": []}, "explanations is empty"),
        ({"images": [None]}, "images has 1 rows but X has 3"),
    ],
)
def test_wrong_arguments(model, arguments, message):
    with pytest.raises(ValueError, match=message):
        ExplanationDisplay.from_estimator(model, np.eye(3), **arguments)
