"""Displays: what is drawn equals what the metrics say, on the axes that were asked for."""

import base64
import io
import re
import subprocess
import sys
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from tiny_models import save_encoder

from skxmc import ViXMLClassifier
from skxmc.inspection import (
    CalibrationDisplay,
    FrequencyBinDisplay,
    PrecisionCoverageDisplay,
    PredictionGalleryDisplay,
    TrainingHistoryDisplay,
)
from skxmc.metrics import (
    calibration_error,
    coverage_at_precision,
    macro_f1,
    micro_f1,
    precision_at_k,
    recall_by_frequency_at_k,
)

pytest.importorskip("matplotlib").use("Agg")
plt = pytest.importorskip("matplotlib.pyplot")

N_DOCUMENTS, N_LABELS = 60, 20


@pytest.fixture(autouse=True)
def _close_figures():
    yield
    plt.close("all")


@pytest.fixture
def predictions(rng):
    """Targets, two rankings with scores, and frequencies that fall with the label's number."""
    Y = sp.random_array((N_DOCUMENTS, N_LABELS), density=0.15, rng=rng, format="csr")
    Y.data[:] = 1
    ranked = {}
    for name, skill in {"good": 2.0, "bad": 0.2}.items():
        scores = rng.uniform(size=Y.shape) + skill * Y.toarray() * rng.uniform(size=Y.shape)
        order = np.argsort(-scores, axis=1)[:, :8]
        ranked[name] = (order, np.take_along_axis(scores, order, axis=1).round(2))
    return Y, ranked, np.arange(N_LABELS)[::-1] + 1


@pytest.fixture(scope="module")
def corpus():
    """Embeddings around a centre for each label, and the labels."""
    rng = np.random.RandomState(1)
    Y = np.eye(8)[rng.permutation(np.arange(64) % 8)]
    Y[np.arange(64), rng.randint(8, size=64)] = 1
    X = Y @ rng.normal(size=(8, 12)) + rng.normal(scale=0.4, size=(64, 12))
    return X.astype(np.float32), sp.csr_array(Y)


# Filter pairs of the corpus: the first two labels of every third document.
FIRST_LABELS = sp.csr_array(np.outer(np.arange(64) % 3 == 0, np.arange(8) < 2))


@pytest.fixture(scope="module")
def model(corpus):
    return ViXMLClassifier(encoder="precomputed", random_state=0).fit(*corpus)


@pytest.fixture(scope="module")
def pair(corpus, model):
    """Two models of the same labels."""
    evidence = ["prototypes", "neighbours"]
    other = ViXMLClassifier(encoder="precomputed", evidence=evidence, random_state=0)
    return {"all": model, "without label vectors": other.fit(*corpus)}


def texts_in(axes):
    """Every text in some axes as it comes out: the figure is drawn first."""
    axes = np.atleast_1d(np.asarray(axes, dtype=object)).ravel()
    axes[0].figure.draw_without_rendering()
    return [text.get_text() for ax in axes for text in ax.texts if text.get_text()]


def legend_of(ax):
    return [] if ax.get_legend() is None else [t.get_text() for t in ax.get_legend().get_texts()]


# --- what all displays share ---


def test_matplotlib_is_loaded_only_when_something_is_drawn():
    code = """
import sys
import skxmc, skxmc.inspection
from skxmc.inspection import TrainingHistoryDisplay
display = TrainingHistoryDisplay([{"epoch": 1, "loss": 1.0}])
print([m for m in ("matplotlib", "torch", "transformers") if m in sys.modules])
display.plot()
print("matplotlib" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["[]", "True"]


def test_missing_matplotlib_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    with pytest.raises(ImportError, match=r'pip install "skxmc\[demo\]"'):
        TrainingHistoryDisplay([{"epoch": 1, "loss": 1.0}]).plot()


@pytest.mark.parametrize(
    "draw",
    [
        lambda Y, pred, n, ax: FrequencyBinDisplay.from_predictions(
            Y, pred, frequencies=n, ax=ax, alpha=0.5
        ),
        lambda Y, pred, n, ax: PrecisionCoverageDisplay.from_predictions(Y, pred, ax=ax, alpha=0.5),
        lambda Y, pred, n, ax: TrainingHistoryDisplay([{"epoch": 1, "loss": 1.0}]).plot(
            ax, alpha=0.5
        ),
    ],
)
def test_the_axes_passed_are_used_and_options_reach_matplotlib(draw, predictions):
    Y, ranked, frequencies = predictions
    figure, axes = plt.subplots(1, 2)
    display = draw(Y, ranked["good"], frequencies, axes[1])
    assert display.ax_ is axes[1]
    assert display.figure_ is figure
    assert not axes[0].has_data()
    assert plt.get_fignums() == [figure.number]
    drawn = [*axes[1].lines, *axes[1].patches]
    assert any(artist.get_alpha() == 0.5 for artist in drawn)
    again = display.plot()  # a new figure
    assert again is display
    assert display.figure_ is not figure


def test_an_estimator_that_cannot_be_drawn_is_named(corpus):
    X, Y = corpus
    linear = LogisticRegression().fit(X, np.asarray(Y[:, [0]].todense()).ravel())
    unfitted = ViXMLClassifier(encoder="precomputed")
    for draw in (
        FrequencyBinDisplay.from_estimator,
        PrecisionCoverageDisplay.from_estimator,
        PredictionGalleryDisplay.from_estimator,
        lambda clf, X, Y: TrainingHistoryDisplay.from_estimator(clf),
    ):
        with pytest.raises(TypeError, match="LogisticRegression"):
            draw(linear, X, Y)
        with pytest.raises(NotFittedError):
            draw(unfitted, X, Y)


def test_models_of_other_labels_are_not_compared(corpus, model):
    X, Y = corpus
    fewer = ViXMLClassifier(encoder="precomputed", random_state=0).fit(X, Y[:, :7])
    with pytest.raises(ValueError, match="'fewer' knows other labels"):
        FrequencyBinDisplay.from_estimator({"all": model, "fewer": fewer}, X, Y)
    with pytest.raises(ValueError, match="empty dict"):
        FrequencyBinDisplay.from_estimator({}, X, Y, frequencies=np.ones(8))


# --- FrequencyBinDisplay ---


@pytest.mark.parametrize("bins", ["head-torso-tail", "deciles", [0.5]])
def test_bars_are_as_high_as_the_recall(predictions, bins):
    Y, ranked, frequencies = predictions
    display = FrequencyBinDisplay.from_predictions(
        Y, ranked, frequencies=frequencies, bins=bins, k=3
    )
    cuts = {"head-torso-tail": [0.1, 0.5], "deciles": np.arange(1, 10) / 10}
    cuts = cuts[bins] if isinstance(bins, str) else bins
    for name, pred in ranked.items():
        expected = recall_by_frequency_at_k(Y, pred, frequencies=frequencies, bins=cuts, k=3)
        drawn = [bar.get_height() for bar in display.bars_[name]]
        np.testing.assert_allclose(drawn, expected)
    assert legend_of(display.ax_) == ["good", "bad"]
    ticks = [tick.get_text() for tick in display.ax_.get_xticklabels()]
    assert len(ticks) == len(cuts) + 1
    assert ticks[0].endswith(f"20–{21 - round(cuts[0] * 20)}")
    assert "recall at 3" in display.ax_.get_ylabel()


def test_bars_of_several_models_stand_side_by_side(predictions):
    Y, ranked, frequencies = predictions
    display = FrequencyBinDisplay.from_predictions(Y, ranked, frequencies=frequencies)
    edges = [
        (bar.get_x(), bar.get_x() + bar.get_width())
        for pair in zip(*display.bars_.values(), strict=True)
        for bar in pair
    ]
    assert all(end <= start + 1e-9 for (_, end), (start, _) in pairwise(edges))
    colours = {bars[0].get_facecolor() for bars in display.bars_.values()}
    assert len(colours) == 2


@pytest.mark.parametrize(("metric", "function"), [("micro_f1", micro_f1), ("macro_f1", macro_f1)])
def test_other_metrics_of_a_bin_are_those_of_its_labels(predictions, metric, function):
    Y, ranked, frequencies = predictions
    display = FrequencyBinDisplay.from_predictions(
        Y, ranked["good"], frequencies=frequencies, bins=[0.25], metric=metric, k=4
    )
    best = ranked["good"][0][:, :4]
    indicator = np.zeros(Y.shape, dtype=bool)
    indicator[np.arange(N_DOCUMENTS)[:, None], best] = True
    for number, labels in enumerate([slice(0, 5), slice(5, 20)]):
        expected = function(Y[:, labels], indicator[:, labels])
        assert display.values[None][number] == pytest.approx(expected)


def test_filter_pairs_and_weights_reach_the_bars(predictions, rng):
    Y, ranked, frequencies = predictions
    shared = {
        "frequencies": frequencies,
        "exclude": sp.csr_array(rng.uniform(size=Y.shape) < 0.2),
        "sample_weight": rng.uniform(size=N_DOCUMENTS),
    }
    display = FrequencyBinDisplay.from_predictions(Y, ranked["good"], **shared)
    expected = recall_by_frequency_at_k(Y, ranked["good"], **shared)
    np.testing.assert_allclose(display.values[None], expected)
    plain = recall_by_frequency_at_k(Y, ranked["good"], frequencies=frequencies)
    assert not np.allclose(expected, plain)


def test_a_bin_without_true_labels_says_so():
    display = FrequencyBinDisplay.from_predictions(
        [[0], [0]], [[0], [1]], frequencies=[5, 1], bins=[0.5], k=1
    )
    assert display.values[None][0] == 0.5
    assert np.isnan(display.values[None][1])
    assert texts_in(display.ax_) == ["none\ntrue"]


def test_frequency_bins_of_an_estimator_equal_those_of_its_predictions(corpus, pair):
    X, Y = corpus
    shared = {"k": 2, "exclude": FIRST_LABELS}
    by_estimator = FrequencyBinDisplay.from_estimator(pair, X, Y, **shared)
    found = {name: clf.predict_topk(X, **shared) for name, clf in pair.items()}
    frequencies = np.asarray(Y.sum(axis=0)).ravel()
    by_predictions = FrequencyBinDisplay.from_predictions(
        Y, found, frequencies=frequencies, **shared
    )
    for name in pair:
        np.testing.assert_array_equal(by_estimator.values[name], by_predictions.values[name])
    np.testing.assert_array_equal(by_estimator.ranges, by_predictions.ranges)
    other = FrequencyBinDisplay.from_estimator(pair, X, Y, **shared, frequencies=frequencies[::-1])
    assert not np.array_equal(other.values["all"], by_estimator.values["all"])


def test_wrong_options_of_frequency_bins(predictions):
    Y, ranked, frequencies = predictions
    for wrong, message in (
        ({"metric": "accuracy"}, "macro_f1"),
        ({"bins": "quintiles"}, "deciles"),
        ({"bins": [0.5, 0.2]}, "must rise"),
        ({"frequencies": frequencies[:-1]}, "19 labels"),
    ):
        with pytest.raises(ValueError, match=message):
            FrequencyBinDisplay.from_predictions(
                Y, ranked["good"], **{"frequencies": frequencies, **wrong}
            )


# --- PrecisionCoverageDisplay ---


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 1000),
    wanted=st.sampled_from([0.2, 0.5, 2 / 3, 0.9, 1.0]),
    k=st.integers(1, 3),
    levels=st.sampled_from([5, 100]),  # with ties, and hardly any
)
def test_curve_holds_the_coverage_at_any_precision(seed, wanted, k, levels):
    random = np.random.RandomState(seed)
    Y = sp.csr_array((random.uniform(size=(12, 6)) < 0.4).astype(np.float32))
    scores = random.randint(1, levels + 1, size=Y.shape) / 10
    weight = random.randint(0, 3, size=12).astype(float)
    weight[0] = 1.0
    display = PrecisionCoverageDisplay.from_predictions(
        Y, scores, precision=wanted, k=k, sample_weight=weight
    )
    plt.close("all")
    coverage, precision, thresholds = display.curves[None]
    expected = coverage_at_precision(Y, scores, precision=wanted, k=k, sample_weight=weight)
    assert display.answered[None] == expected
    reached = np.flatnonzero(precision >= wanted - 1e-12)
    if len(reached):
        assert coverage[reached[-1]] == pytest.approx(expected[0])
        assert thresholds[reached[-1]] == expected[1]
    else:
        assert expected == (0.0, np.inf)
    # Each point is the precision of the documents that its threshold answers.
    for point in range(len(coverage)):
        answered = scores.max(axis=1) >= thresholds[point]
        assert coverage[point] == pytest.approx(weight[answered].sum() / weight.sum())
        counted = answered & (np.diff(Y.indptr) > 0)
        right = precision_at_k(Y, scores, k=k, sample_weight=weight * counted)
        share = weight[counted].sum() / weight[answered].sum()  # no label: nothing is right
        assert precision[point] == pytest.approx(np.nan_to_num(right) * share)


def test_what_the_curve_shows(predictions):
    Y, ranked, _ = predictions
    display = PrecisionCoverageDisplay.from_predictions(Y, ranked, precision=0.95)
    for name in ranked:
        line = display.lines_[name]
        np.testing.assert_array_equal(line.get_xdata(), display.curves[name][0])
        np.testing.assert_array_equal(line.get_ydata(), display.curves[name][1])
    share, threshold = coverage_at_precision(Y, ranked["good"], precision=0.95)
    assert 0 < share < 1
    assert (
        legend_of(display.ax_)[0] == f"good: {share:.0%} answered at 0.95 (score ≥ {threshold:.3g})"
    )
    marks = [line.get_xdata()[0] for line in display.ax_.lines if line.get_marker() == "o"]
    assert marks[0] == pytest.approx(share)
    assert legend_of(PrecisionCoverageDisplay.from_predictions(Y, ranked).ax_) == ["good", "bad"]
    assert legend_of(PrecisionCoverageDisplay.from_predictions(Y, ranked["good"]).ax_) == []


def test_a_precision_out_of_reach_is_said():
    scores = np.array([[0.9, 0.1], [0.8, 0.2]])
    display = PrecisionCoverageDisplay.from_predictions([[1], [0]], scores, precision=0.9)
    assert legend_of(display.ax_) == ["0.9 is not reached"]


def test_coverage_of_an_estimator_equals_that_of_its_predictions(corpus, model):
    X, Y = corpus
    shared = {"k": 2, "exclude": FIRST_LABELS}
    by_estimator = PrecisionCoverageDisplay.from_estimator(model, X, Y, precision=0.9, **shared)
    by_predictions = PrecisionCoverageDisplay.from_predictions(
        Y, model.predict_topk(X, **shared), precision=0.9, **shared
    )
    np.testing.assert_array_equal(by_estimator.curves[None], by_predictions.curves[None])
    assert by_estimator.answered == by_predictions.answered
    names = [list(np.flatnonzero(row)) for row in Y.toarray()]
    by_names = PrecisionCoverageDisplay.from_estimator(model, X, names, precision=0.9, **shared)
    assert by_names.answered == by_predictions.answered


def test_coverage_needs_scores():
    with pytest.raises(ValueError, match="without scores"):
        PrecisionCoverageDisplay.from_predictions([[0]], np.array([[0]]))
    with pytest.raises(ValueError, match="precision must lie"):
        PrecisionCoverageDisplay.from_predictions([[0]], np.array([[0.5]]), precision=0)


def test_curves_that_share_an_axes_differ_in_colour(predictions):
    Y, ranked, _ = predictions
    first = PrecisionCoverageDisplay.from_predictions(Y, {"good": ranked["good"]})
    second = PrecisionCoverageDisplay.from_predictions(Y, {"bad": ranked["bad"]}, ax=first.ax_)
    assert first.lines_["good"].get_color() != second.lines_["bad"].get_color()
    assert legend_of(first.ax_) == ["good", "bad"]


# --- TrainingHistoryDisplay ---


def history(n_epochs=4, validation=False, start=1.0):
    entries = [
        {"epoch": epoch, "loss": start / epoch, "learning_rate": 0.1 / epoch, "seconds": 2.0}
        for epoch in range(1, n_epochs + 1)
    ]
    for entry in entries if validation else ():
        score = 0.5 - abs(entry["epoch"] - 3) / 10
        entry.update(precision_at_1=score + 0.1, ndcg_at_5=score - 0.1, validation_score=score)
    return entries


def test_history_is_drawn_by_epoch():
    display = TrainingHistoryDisplay(history()).plot()
    assert [ax.get_ylabel() for ax in display.axes_] == ["training loss", "learning rate"]
    assert display.ax_ is display.axes_[0]
    line = display.lines_[None, "loss"]
    np.testing.assert_allclose(line.get_xdata(), [1, 2, 3, 4])
    np.testing.assert_allclose(line.get_ydata(), [1, 1 / 2, 1 / 3, 1 / 4])
    assert legend_of(display.ax_) == []


def test_validation_figures_of_a_run_and_the_best_epoch():
    display = TrainingHistoryDisplay(history(validation=True)).plot()
    panel = display.axes_[2]
    assert legend_of(panel) == ["P@1", "nDCG@5", "score"]
    rings = [line for line in panel.lines if line.get_markerfacecolor() == "none"]
    assert [ring.get_xdata()[0] for ring in rings] == [3]
    assert len({line.get_color() for line in panel.lines}) == 3


def test_several_runs_are_told_apart():
    runs = {"a": history(validation=True), "b": history(2, validation=True, start=2.0)}
    display = TrainingHistoryDisplay(runs).plot()
    assert legend_of(display.ax_) == ["a", "b"]
    assert set(display.lines_) == {
        (run, figure) for run in "ab" for figure in ("loss", "learning_rate", "validation_score")
    }
    colours = {name: display.lines_[name, "loss"].get_color() for name in runs}
    assert colours["a"] != colours["b"]
    for (name, _), line in display.lines_.items():  # a run keeps its colour in all panels
        assert line.get_color() == colours[name]
    assert len(display.lines_["b", "loss"].get_xdata()) == 2


def test_quantities_choose_the_panels():
    _, axes = plt.subplots(1, 2)
    display = TrainingHistoryDisplay(history(validation=True))
    display.plot(axes[0], quantities="loss")
    assert list(display.axes_) == [axes[0]]
    display.plot(axes, quantities=["seconds", "ndcg_at_5"])
    assert [ax.get_ylabel() for ax in axes] == ["seconds an epoch", "nDCG@5"]
    with pytest.raises(ValueError, match="'recall'"):
        display.plot(quantities=["recall"])
    with pytest.raises(ValueError, match="is empty"):
        display.plot(quantities=[])
    with pytest.raises(ValueError, match="holds 2 axes but there are 1 x 3"):
        display.plot(axes)
    with pytest.raises(ValueError, match="'validation', which no entry"):
        TrainingHistoryDisplay(history()).plot(quantities="validation")


def test_a_single_axes_is_divided_into_panels():
    figure, axes = plt.subplots(2, 1)
    display = TrainingHistoryDisplay(history()).plot(axes[1])
    assert not axes[1].axison
    box = axes[1].get_position()
    for panel in display.axes_:
        assert panel.figure is figure
        inner = panel.get_position()
        assert box.x0 - 1e-9 <= inner.x0 <= inner.x1 <= box.x1 + 1e-9
        assert box.y0 - 1e-9 <= inner.y0 <= inner.y1 <= box.y1 + 1e-9
    with pytest.raises(ValueError, match="cannot be divided"):
        TrainingHistoryDisplay(history()).plot(figure.add_axes((0, 0, 1, 1)))


def test_history_of_estimators(tmp_path, model):
    encoder = save_encoder(tmp_path, words=["red", "green", "car", "apple"])
    texts = [f"{a} {b}" for a in ("red", "green") for b in ("car", "apple")] * 8
    clf = ViXMLClassifier(encoder=encoder, epochs=2, batch_size=16, random_state=0)
    clf.fit(texts, [text.split() for text in texts])
    display = TrainingHistoryDisplay.from_estimator(clf)
    losses = [entry["loss"] for entry in clf.history_]
    np.testing.assert_allclose(display.lines_[None, "loss"].get_ydata(), losses)
    cleaning = make_pipeline(FunctionTransformer(list), clf)
    both = TrainingHistoryDisplay.from_estimator({"a": clf, "b": cleaning}, quantities="loss")
    np.testing.assert_allclose(both.lines_["b", "loss"].get_ydata(), losses)
    with pytest.raises(ValueError, match="not tuned"):
        TrainingHistoryDisplay.from_estimator(model)
    with pytest.raises(ValueError, match="the run 'frozen'"):
        TrainingHistoryDisplay.from_estimator({"tuned": clf, "frozen": model})


# --- PredictionGalleryDisplay ---

NAMES = ["red", "green", "fruit", "vehicle", "fast"]
TEXTS = ["red car", "green apple", ""]
TRUTH = [[0, 3, 4], [1, 2], []]
RANKED = (
    np.array([[3, 0, 2], [2, 0, 1], [4, -1, -1]]),
    np.array([[0.8, 0.4, 0.1], [0.6, 0.2, 0.1], [0.3, -np.inf, -np.inf]]),
)


def gallery(**changes):
    arguments = {
        "texts": TEXTS,
        "label_names": NAMES,
        "k": 3,
        "images": [Image.new("RGB", (8, 4), "red"), None, None],
    }
    arguments |= changes
    return PredictionGalleryDisplay.from_predictions(TRUTH, RANKED, **arguments)


def test_cards_as_html_hold_their_pictures_and_escape_what_they_show():
    names = ["red", "<script>", "fruit", "vehicle", "fast"]
    html = gallery(label_names=names, texts=["a & b", "c", ""]).to_html()
    assert html.count('<div class="skxmc-card">') == 3
    assert "<p>a &amp; b</p>" in html
    assert '<li class="right">✓ vehicle 0.80</li><li class="right">✓ red 0.40</li>' in html
    assert '<li class="wrong">✕ fruit 0.10</li></ol><p>missed: fast</p>' in html
    assert "&lt;script&gt;" in html
    assert "<script" not in html
    [content] = re.findall(r'src="data:image/png;base64,([^"]+)"', html)
    picture = Image.open(io.BytesIO(base64.b64decode(content)))
    assert picture.convert("RGB").getpixel((0, 0)) == (255, 0, 0)
    assert "http" not in html


def test_cards_show_text_labels_scores_and_what_was_missed():
    display = gallery()
    first, second, third = display.axes_.flat
    marked = ["0.80", "✓", "vehicle", "0.40", "✓", "red", "0.10", "✕", "fruit"]
    assert texts_in(first) == ["red car", *marked, "missed: fast"]
    assert "(no text)" in texts_in(third)
    assert not any("missed" in text for text in [*texts_in(second), *texts_in(third)])
    # Bars are as long as the scores, on one scale for all cards.
    widths = [[bar.get_width() for bar in card.patches] for card in display.axes_.flat]
    assert first.patches[0].get_x() + widths[0][0] == pytest.approx(1)
    scale = widths[0][0] / 0.8
    np.testing.assert_allclose(widths[0], np.array([0.8, 0.4, 0.1]) * scale)
    np.testing.assert_allclose(widths[1], np.array([0.6, 0.2, 0.1]) * scale)
    np.testing.assert_allclose(widths[2], [0.3 * scale])
    colours = [bar.get_facecolor() for bar in first.patches]
    assert colours[0] == colours[1] != colours[2]


def test_pictures_stand_in_their_cards():
    display = gallery()
    (first,), (second,) = (card.child_axes for card in display.axes_.flat[:2])
    assert first.images[0].get_array().shape == (4, 8, 3)
    assert not second.images
    assert texts_in(second) == ["no picture"]
    plain = gallery(images=None)
    assert not any(card.child_axes for card in plain.axes_.flat)


def test_gallery_without_scores_has_no_bars():
    display = PredictionGalleryDisplay.from_predictions(
        TRUTH, RANKED[0], texts=TEXTS, label_names=NAMES, k=2
    )
    assert not any(card.patches for card in display.axes_.flat)
    np.testing.assert_array_equal(display.labels, RANKED[0][:, :2])


def test_filter_pairs_are_neither_predicted_nor_missed():
    display = gallery(exclude=np.array([[0, 3], [0, 4]]))
    np.testing.assert_array_equal(display.labels[0], [0, 2, -1])
    assert display.missed[0].tolist() == []


def test_documents_are_chosen_by_row_or_at_random():
    display = gallery(rows=[2, 0])
    assert display.texts == ["", "red car"]
    assert display.pictures[0] is None
    assert display.pictures[1].size == (8, 4)
    assert display.rows.tolist() == [2, 0]
    drawn = [gallery(n_documents=2, random_state=seed).rows.tolist() for seed in range(8)]
    assert drawn[0] == gallery(n_documents=2, random_state=0).rows.tolist()
    assert len({tuple(rows) for rows in drawn}) > 1
    for wrong, message in (([3], "between 0 and 2"), ([], "at least one"), ([0.5], "at least one")):
        with pytest.raises(ValueError, match=message):
            gallery(rows=wrong)
    with pytest.raises(ValueError, match="n_documents"):
        gallery(n_documents=0)


def test_only_pictures_that_are_drawn_are_opened(tmp_path):
    Image.new("RGB", (5, 5)).save(tmp_path / "there.png")
    paths = [str(tmp_path / "there.png"), str(tmp_path / "missing.png"), None]
    assert gallery(images=paths, rows=[0]).pictures[0].size == (5, 5)
    with pytest.raises(ValueError, match=r"images\[1\] is a path but no such file"):
        gallery(images=paths, rows=[1])


def test_wrong_input_of_the_gallery():
    for wrong, message in (
        ({"texts": TEXTS[:2]}, "texts has 2 entries"),
        ({"label_names": NAMES[:4]}, "label_names has 4 entries"),
        ({"images": [None, None]}, "images has length 2"),
        ({"images": np.zeros((3, 4))}, "ready embeddings"),
    ):
        with pytest.raises(ValueError, match=message):
            gallery(**wrong)


def test_long_texts_and_names_are_cut_to_the_card():
    long = "a text of many words that never ends " * 300
    display = gallery(texts=[long, "$x^2$ costs", "w" * 500], label_names=[n * 30 for n in NAMES])
    figure = display.figure_
    for size in ((10, 2), (5, 2)):
        figure.set_size_inches(size)
        figure.canvas.draw()
        renderer = figure.canvas.get_renderer()
        for card in display.axes_.flat:
            box = card.get_window_extent(renderer)
            extents = [text.get_window_extent(renderer) for text in card.texts]
            assert all(extent.x1 <= box.x1 + 1 for extent in extents)
            for i, one in enumerate(extents):
                assert not any(one.shrunk(0.9, 0.6).overlaps(other) for other in extents[i + 1 :])
    title, *_ = texts_in(display.axes_[0, 0])
    first_line, second_line = title.split("\n")
    assert long.startswith(first_line)
    assert second_line.endswith("…")
    second = display.axes_[0, 1]
    assert "$x^2$ costs" in texts_in(second)
    title = next(text for text in second.texts if text.get_text() == "$x^2$ costs")
    assert not title.get_parse_math()


def test_gallery_in_a_subplot_keeps_to_its_place():
    figure, axes = plt.subplots(1, 2, figsize=(12, 4))
    display = gallery(ax=axes[1], n_columns=2)
    assert display.axes_.shape == (2, 2)
    assert display.figure_ is figure
    left = axes[1].get_position().x0
    assert all(card.get_position().x0 >= left - 1e-9 for card in display.axes_.flat)


def test_gallery_of_an_estimator_equals_that_of_its_predictions(corpus, model):
    X, Y = corpus
    rows = [5, 39, 7]
    shared = {"k": 3, "exclude": FIRST_LABELS}
    by_estimator = PredictionGalleryDisplay.from_estimator(model, X, Y, rows=rows, **shared)
    by_predictions = PredictionGalleryDisplay.from_predictions(
        Y, model.predict_topk(X, **shared), texts=[""] * 64, rows=rows, **shared
    )
    assert not set(by_estimator.labels[1]) & {0, 1}
    np.testing.assert_array_equal(by_estimator.labels, by_predictions.labels)
    np.testing.assert_allclose(by_estimator.scores, by_predictions.scores, rtol=1e-5)
    np.testing.assert_array_equal(by_estimator.hits, by_predictions.hits)
    assert by_estimator.texts == ["document 5", "document 39", "document 7"]
    frame = PredictionGalleryDisplay.from_estimator(model, pd.DataFrame(X), Y, rows=rows)
    assert frame.texts == by_estimator.texts
    assert by_estimator.rows.tolist() == rows


def test_gallery_of_texts_and_pictures_in_any_form(tmp_path):
    encoder = save_encoder(tmp_path, words=["red", "green", "car", "apple"])
    texts = [f"{a} {b}" for a in ("red", "green") for b in ("car", "apple")] * 6
    names = [text.split() for text in texts]
    pictures = [Image.new("RGB", (8, 8), text.split()[0]) for text in texts]

    def mean_colour(images):
        return np.array([np.asarray(image).mean(axis=(0, 1)) for image in images]) / 255

    clf = ViXMLClassifier(
        encoder=encoder, image_encoder=mean_colour, train_encoder="frozen", random_state=0
    )
    clf.fit(texts, names, images=pictures)
    arguments = {"rows": [2, 0], "k": 2}
    plain = PredictionGalleryDisplay.from_estimator(clf, texts, names, images=pictures, **arguments)
    assert plain.texts == ["green car", "red car"]
    assert plain.label_names == ["apple", "car", "green", "red"]
    assert [np.asarray(picture)[0, 0].argmax() for picture in plain.pictures] == [1, 0]
    frame = pd.DataFrame({"text": texts, "image": pictures}, index=np.arange(24) + 100)
    by_frame = PredictionGalleryDisplay.from_estimator(
        clf, frame, pd.Series(names, index=frame.index), **arguments
    )
    np.testing.assert_array_equal(by_frame.labels, plain.labels)
    assert by_frame.texts == plain.texts
    assert by_frame.pictures[0].getpixel((0, 0)) == plain.pictures[0].getpixel((0, 0))
    noise = "apple " * 9
    cleaning = make_pipeline(
        FunctionTransformer(lambda X: [text.removeprefix(noise) for text in X]), clf
    )
    noisy = PredictionGalleryDisplay.from_estimator(
        cleaning, [noise + text for text in texts], names, images=pictures, **arguments
    )
    assert noisy.texts == [noise + "green car", noise + "red car"]  # as they were passed
    np.testing.assert_array_equal(noisy.scores, plain.scores)
    with pytest.raises(ValueError, match="images has 3 rows but X has 24"):
        PredictionGalleryDisplay.from_estimator(clf, texts, names, images=pictures[:3])
    with pytest.raises(ValueError, match="Y has 3 rows but X has 24"):
        PredictionGalleryDisplay.from_estimator(clf, texts, names[:3], images=pictures)


# --- calibration ---


@pytest.fixture
def calibrated():
    """Pairs that are right as often as their probability says, and less and more often."""
    rng = np.random.default_rng(0)
    probabilities = np.sort(rng.uniform(size=(3000, 4)).astype(np.float32))[:, ::-1]
    labels = np.tile(np.arange(4), (3000, 1))
    honest = sp.csr_array(rng.uniform(size=labels.shape) < probabilities)
    boastful = sp.csr_array(rng.uniform(size=labels.shape) < probabilities**2)
    return honest, boastful, (labels, probabilities)


def test_calibration_is_the_distance_from_the_diagonal(calibrated):
    honest, boastful, found = calibrated
    assert CalibrationDisplay.from_predictions(honest, found).errors[None] < 0.02
    display = CalibrationDisplay.from_predictions(boastful, found)
    assert display.errors[None] == pytest.approx(np.mean(found[1] - found[1] ** 2), abs=0.02)
    assert display.errors[None] == calibration_error(boastful, found)
    x, y = display.lines_[None].get_data()
    assert (y[3:-3] < x[3:-3]).all()
    assert display.ax_.get_xlim() == display.ax_.get_ylim()


def test_calibration_of_frequent_and_rare_labels(calibrated):
    honest, boastful, found = calibrated
    mixed = sp.csr_array(sp.hstack([honest[:, :2], boastful[:, 2:]]))
    display = CalibrationDisplay.from_predictions(
        mixed, found, by="frequency", frequencies=[50, 40, 2, 1]
    )
    errors = list(display.errors.values())
    assert errors[1] < 0.02 < 0.05 < errors[2]
    with pytest.raises(ValueError, match="by is 'label'"):
        CalibrationDisplay.from_predictions(mixed, found, by="label")
    with pytest.raises(ValueError, match="needs frequencies"):
        CalibrationDisplay.from_predictions(mixed, found, by="frequency")


def test_calibration_of_an_estimator(corpus, model):
    X, Y = corpus
    display = CalibrationDisplay.from_estimator(model, X, Y, k=8, n_bins=4)
    found = model.predict_topk(X, k=8)
    assert display.errors[None] == calibration_error(Y, found, n_bins=4)
    by_frequency = CalibrationDisplay.from_estimator(model, X, Y, by="frequency", ax=display.ax_)
    assert len(by_frequency.lines_) == 3
    assert by_frequency.figure_ is display.figure_
