"""Truth and predictions of any form give the metrics the same value, or one clear error."""

import numpy as np
import pandas as pd
import polars as pl
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st

from skxmc._inputs._targets import encode_targets, labels_to_names
from skxmc.inspection import (
    FrequencyBinDisplay,
    PrecisionCoverageDisplay,
    PredictionGalleryDisplay,
)
from skxmc.metrics import (
    coverage_at_precision,
    label_coverage_at_k,
    label_propensities,
    label_report,
    macro_f1,
    macro_precision_at_k,
    micro_f1,
    ndcg_at_k,
    precision_at_k,
    psprecision_at_k,
    recall_at_k,
    recall_by_frequency_at_k,
    rp_at_k,
    set_report,
    xmc_report,
)

CLASSES = np.array(["ant", "bee", "cat", "dog"], dtype=object)
TRUTH = np.array([[1, 0, 1, 0], [0, 1, 0, 0], [0, 0, 0, 0], [0, 1, 1, 1]])
RANKED = np.array([[2, 1], [1, -1], [0, 3], [0, 3]])
# Hits: cat; bee; none, as nothing is true; dog. So precision at 1 is 2/3, at 2 it is 3/6.


def names_of(rows, classes=CLASSES):
    return [[classes[label] for label in row if label >= 0] for row in rows]


TRUE_NAMES = names_of([np.flatnonzero(row) for row in TRUTH])


def shuffled_frame(library, values):
    order = [3, 1, 0, 2]
    return library.DataFrame({CLASSES[label]: values[:, label] for label in order})


TRUTHS = {
    "dense": TRUTH,
    "bool": TRUTH > 0,
    "csr": sp.csr_array(TRUTH),
    "coo_matrix": sp.coo_matrix(TRUTH * 1.0),
    "names": TRUE_NAMES,
    "sets": [set(row) for row in TRUE_NAMES],
    "tuples": tuple(tuple(row) for row in TRUE_NAMES),
    "series": pd.Series(TRUE_NAMES, index=[7, 7, 1, 0]),
    "polars series": pl.Series(TRUE_NAMES),
    "frame": shuffled_frame(pd, TRUTH),
    "bool frame": shuffled_frame(pd, TRUTH > 0),
    "polars frame": shuffled_frame(pl, TRUTH),
    "numbered frame": pd.DataFrame(TRUTH),
}
SCORES = np.full(TRUTH.shape, -np.inf)
for row, labels in enumerate(RANKED):
    for rank, label in enumerate(labels[labels >= 0]):
        SCORES[row, label] = 0.9 - 0.5 * rank
STORED = sp.csr_array(np.where(SCORES > 0, SCORES, 0))
RANK_SCORES = np.where(RANKED >= 0, [0.9, 0.4], -np.inf)
PREDICTIONS = {
    "indices": RANKED,
    "indices and scores": (RANKED, RANK_SCORES),
    "index frame": pd.DataFrame(RANKED),
    "names": names_of(RANKED),
    "name array": labels_to_names(RANKED, CLASSES),
    "names and scores": (labels_to_names(RANKED, CLASSES), RANK_SCORES),
    "name frame": pd.DataFrame(labels_to_names(RANKED, CLASSES)),
    "name series": pd.Series(names_of(RANKED), index=[9, 9, 9, 9]),
    "index lists": [[2, 1], [1], [0, 3], [0, 3]],
    "dense scores": SCORES,
    "csr scores": STORED,
    "score frame": shuffled_frame(pd, SCORES),
    "polars score frame": shuffled_frame(pl, SCORES),
}


@pytest.mark.parametrize("truth", TRUTHS)
@pytest.mark.parametrize("form", PREDICTIONS)
@pytest.mark.parametrize("classes", [CLASSES, CLASSES.tolist(), pd.Index(CLASSES)], ids=type)
def test_every_form_gives_the_value_by_hand(truth, form, classes):
    arguments = {"classes": classes, "k": [1, 2]}
    y_true, y_pred = TRUTHS[truth], PREDICTIONS[form]
    assert precision_at_k(y_true, y_pred, **arguments) == pytest.approx([2 / 3, 1 / 2])
    assert recall_at_k(y_true, y_pred, **arguments) == pytest.approx([1 / 2, 11 / 18])
    assert rp_at_k(y_true, y_pred, **arguments) == pytest.approx([2 / 3, (1 / 2 + 1 + 1 / 2) / 3])
    assert micro_f1(y_true, y_pred, **arguments) == pytest.approx([4 / 10, 6 / 13])
    assert label_coverage_at_k(y_true, y_pred, **arguments) == pytest.approx([2 / 4, 3 / 4])


@pytest.mark.parametrize("classes", [np.array([10, 20, 30, 40]), np.array([3, 2, 1, 0])])
def test_ints_as_names(classes):
    names = names_of([np.flatnonzero(row) for row in TRUTH], classes.tolist())
    frame = pd.DataFrame(TRUTH, columns=classes)[classes[[2, 0, 3, 1]]]
    predicted = [
        names_of(RANKED, classes.tolist()),
        names_of(RANKED, classes),
        RANKED,
        labels_to_names(RANKED, classes),
        pd.DataFrame(SCORES, columns=classes)[classes[::-1]],
    ]
    for y_true in (names, TRUTH, frame):
        for y_pred in predicted:
            value = precision_at_k(y_true, y_pred, k=[1, 2], classes=classes)
            assert value == pytest.approx([2 / 3, 1 / 2])


def test_names_in_every_function():
    names, ranked = TRUE_NAMES, names_of(RANKED)
    pair = (labels_to_names(RANKED, CLASSES), RANK_SCORES)
    given = {"classes": CLASSES}
    propensities = label_propensities(names, **given)
    np.testing.assert_array_equal(propensities, label_propensities(TRUTH))
    np.testing.assert_array_equal(
        label_propensities(shuffled_frame(pd, TRUTH), **given), propensities
    )
    frequencies = TRUTH.sum(axis=0)
    shared = {"propensities": propensities, "frequencies": frequencies}
    # One figure has nothing to average, and NaN equals NaN here.
    np.testing.assert_equal(
        xmc_report(names, ranked, **shared, **given), xmc_report(TRUTH, RANKED, **shared)
    )
    for metric, arguments in (
        (psprecision_at_k, {"propensities": propensities}),
        (recall_by_frequency_at_k, {"frequencies": frequencies}),
        (macro_f1, {}),
        (macro_precision_at_k, {}),
        (ndcg_at_k, {}),
    ):
        np.testing.assert_array_equal(
            metric(names, ranked, **arguments, **given), metric(TRUTH, RANKED, **arguments)
        )
    assert coverage_at_precision(names, pair, precision=0.5, **given) == coverage_at_precision(
        TRUTH, (RANKED, RANK_SCORES), precision=0.5
    )


def test_unknown_names_are_never_found():
    truth = [["ant", "yak"], ["zebu"], ["bee"]]
    indices = np.array([[0, 1], [2, 3], [1, 0]])
    given = {"classes": CLASSES}
    for y_pred in (indices, names_of(indices), np.eye(4)[[0, 2, 1]]):
        assert precision_at_k(truth, y_pred, k=1, **given) == pytest.approx(2 / 3)
        assert recall_at_k(truth, y_pred, k=1, **given) == pytest.approx(1 / 2)
        assert label_coverage_at_k(truth, y_pred, k=1, **given) == 2 / 4
    frame = pd.DataFrame({"yak": [1, 0, 0], "bee": [0, 0, 1], "ant": [1, 0, 0], "zebu": [0, 1, 0]})
    assert precision_at_k(frame, indices, k=1, **given) == pytest.approx(2 / 3)
    # In predictions they take a rank and are wrong.
    assert precision_at_k([["ant"]], [["yak", "ant"]], k=[1, 2], **given).tolist() == [0, 0.5]
    scores = pd.DataFrame({"yak": [0.9], "ant": [0.5]})
    assert precision_at_k([["ant"]], scores, k=[1, 2], **given).tolist() == [0, 0.5]
    # Filter pairs are over the known labels.
    exclude = sp.csr_array(np.eye(3, 4, dtype=bool))
    assert recall_at_k(truth, indices, k=1, exclude=exclude, **given) == pytest.approx(1 / 3)
    # As rare as a label can be: the smallest propensity, no training document.
    propensities = np.array([0.5, 1, 1, 0.25])
    value = psprecision_at_k(truth, indices, k=1, propensities=propensities, **given)
    assert value == pytest.approx((2 + 0 + 1) / (4 + 4 + 1))
    frequencies = np.array([5, 4, 3, 2])
    recall = recall_by_frequency_at_k(
        truth, indices, k=1, frequencies=frequencies, bins=[0.5], **given
    )
    assert recall.tolist() == [1, 0]


@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_no_form_changes_a_value(data):
    n_labels = data.draw(st.integers(2, 6))
    n = data.draw(st.integers(1, 6))
    rng = np.random.RandomState(data.draw(st.integers(0, 2**31 - 1)))
    classes = np.array([f"label {number}" for number in range(n_labels)], dtype=object)
    truth = rng.rand(n, n_labels) < 0.4
    ranked = np.argsort(rng.rand(n, n_labels), axis=1)[:, : rng.randint(1, n_labels + 1)]
    scores = np.full(truth.shape, -np.inf)
    np.put_along_axis(scores, ranked, np.linspace(1, 0.1, ranked.shape[1])[None], axis=1)
    columns = rng.permutation(classes)
    frame = pd.DataFrame(truth, columns=classes)[columns]
    lists = names_of([np.flatnonzero(row) for row in truth], classes)
    given = {"classes": classes, "k": range(1, n_labels + 2)}
    expected = recall_at_k(truth, scores, k=range(1, n_labels + 2))
    for y_true in (truth, truth.astype(int), sp.csc_array(truth), frame, lists):
        for y_pred in (
            scores,
            sp.csr_array(np.where(scores > 0, scores, 0)),
            names_of(ranked, classes),
            labels_to_names(ranked, classes),
            (labels_to_names(ranked, classes), np.tile(-np.arange(ranked.shape[1]), (n, 1))),
            pd.DataFrame(scores, columns=classes)[columns],
        ):
            np.testing.assert_allclose(recall_at_k(y_true, y_pred, **given), expected)


# --- indicators that look like label indices ---


@pytest.mark.parametrize("n_labels", [2, 3, 5])
def test_int_indicators_are_recognised(n_labels):
    T = np.eye(n_labels, dtype=int)
    T[0] = 1  # a row that repeats a number is no row of label indices
    for y_pred in (T, T.tolist(), T.astype(bool), sp.csr_array(T), pd.DataFrame(T)):
        assert precision_at_k(T, y_pred, k=1) == 1
        assert micro_f1(T, y_pred) == 1
        assert set_report(T, y_pred)["micro_f1"] == 1
    for y_true in (T.tolist(), pd.DataFrame(T), T.astype(float)):
        assert precision_at_k(y_true, T, k=1) == 1
    assert label_propensities(T.tolist()).shape == (n_labels,)


def test_what_an_indicator_lacks_is_not_predicted():
    truth = np.array([[0, 1, 0], [1, 0, 0]])
    predicted = np.array([[1, 0, 0], [1, 0, 0]])
    for form in (predicted, predicted > 0, sp.csr_array(predicted), pd.DataFrame(predicted > 0)):
        assert recall_at_k(truth, form, k=3) == 1 / 2
    assert recall_at_k(truth, predicted * 1.0, k=3) == 1  # float: scores of all labels


@pytest.mark.parametrize("k", [1, 2, None])
def test_two_readings_are_refused(k):
    T = np.array([[0, 1], [1, 0]])
    for y_pred in (T, T.tolist(), T.astype(np.int8)):
        with pytest.raises(ValueError, match="y_pred holds ints 0 and 1 over two labels"):
            micro_f1(T, y_pred, k=k)
    with pytest.raises(ValueError, match="y_true holds rows of 0 and 1 over two labels"):
        micro_f1(T.tolist(), T.astype(float), k=k)
    with pytest.raises(ValueError, match="Y holds rows of 0 and 1 over two labels"):
        label_propensities(T.tolist())
    for y_pred in (T > 0, sp.csr_array(T), (T, np.array([[0.4, 0.9], [0.4, 0.9]]))):
        assert micro_f1(T, y_pred, k=1) == 1
    names = labels_to_names(1 - T, np.array([0, 1]))
    assert precision_at_k(T, names, k=1, classes=[0, 1]) == 1
    # Over more labels, rows of two are label indices.
    assert precision_at_k(T.tolist(), np.eye(3)[[0, 2]], k=1) == 1 / 2
    assert precision_at_k(np.eye(3)[:2], T, k=1) == 1
    assert precision_at_k([[0, 1], [1, 0]], [[0, 2], [1, 2]], k=1) == 1


def test_nested_lists_over_two_labels_are_refused_as_targets():
    rows = [[0, 1], [1, 0]]
    for classes in (None, np.array([0, 1])):
        with pytest.raises(ValueError, match=r"looks like an indicator.*np.asarray\(y\)"):
            encode_targets(rows, 2, classes=classes)
    found, _ = encode_targets(rows, 2, classes=np.array([0, 1, 2]))
    assert found.toarray().tolist() == [[1, 1, 0], [1, 1, 0]]
    assert encode_targets([[0, 1], [1]], 2)[0].toarray().tolist() == [[1, 1], [0, 1]]


# --- tables ---


def test_columns_of_targets_are_found_by_name():
    frame = pd.DataFrame({"dog": [1, 0], "ant": [0, 1]})
    found, classes = encode_targets(frame, 2, classes=CLASSES)
    assert classes is CLASSES
    assert found.toarray().tolist() == [[0, 0, 0, 1], [1, 0, 0, 0]]
    # Without a common name columns count by their position.
    other = pd.DataFrame(TRUTH, columns=list("wxyz"))
    assert encode_targets(other, 4, classes=CLASSES)[0].toarray().tolist() == TRUTH.tolist()
    # Numbers of columns that are not the very names are numbers of default.
    years = pd.DataFrame(TRUTH, columns=[1, 2, 3, 4])
    found, _ = encode_targets(years, 4, classes=np.arange(4))
    assert found.toarray().tolist() == TRUTH.tolist()
    frame["yak"] = 1
    found, _ = encode_targets(frame, 2, classes=CLASSES, unseen="ignore")
    assert found.toarray().tolist() == [[0, 0, 0, 1], [1, 0, 0, 0]]
    with pytest.raises(ValueError, match="y has a column 'yak', which is not in the fitted"):
        encode_targets(frame, 2, classes=CLASSES)
    with pytest.raises(ValueError, match="y_true has more than one column 'dog'"):
        precision_at_k(frame[["dog", "dog"]], RANKED[:2], classes=CLASSES)


# --- errors ---


@pytest.mark.parametrize(
    ("y_true", "y_pred", "arguments", "error", "message"),
    [
        ([["ant"]], [[0]], {}, ValueError, r"y_true\[0\] holds 'ant'; .*classes="),
        (TRUTH, labels_to_names(RANKED, CLASSES), {}, TypeError, "such as 'cat'; pass classes="),
        ([[0]], RANKED[:1], {"classes": CLASSES}, TypeError, "y_true names the label 0"),
        ([["ant"]], [["ant"]], {"classes": [1, 2]}, TypeError, r"y_pred\[0\] names .* like 1"),
        (
            [["ant"]],
            [["ant", 1]],
            {"classes": CLASSES},
            TypeError,
            r"y_pred\[0\] names the label 1",
        ),
        ([["ant"]], [["ant"], ["bee"]], {"classes": CLASSES}, ValueError, "y_pred has 2 rows"),
        ([["ant"]], [[0.5]], {"classes": CLASSES}, TypeError, r"y_pred\[0\] holds 0.5 of type"),
        ([["ant"]], [{"ant"}], {"classes": CLASSES}, TypeError, r"y_pred\[0\] is a set"),
        ([["ant"], None], [[0]], {"classes": CLASSES}, ValueError, r"y_true\[1\] is missing"),
        (
            [["ant"], [None]],
            [[0]],
            {"classes": CLASSES},
            ValueError,
            r"y_true\[1\] holds a missing",
        ),
        ([["ant"]], [[4]], {"classes": CLASSES}, ValueError, r"y_pred\[0, 0\] is the label 4"),
        ([[1, 0]], [[0]], {"classes": [0, 1]}, ValueError, "y_true looks like an indicator"),
        (TRUTH[:, :3], RANKED, {"classes": CLASSES}, ValueError, "y_true has 3 columns but the"),
        (TRUTH, SCORES[:, :3], {"classes": CLASSES}, ValueError, "y_pred has 3 columns but"),
        (TRUTH, RANKED, {"classes": "ant"}, TypeError, "classes is of type str"),
        (TRUTH, RANKED, {"classes": []}, ValueError, "classes is empty"),
        (TRUTH, RANKED, {"classes": ["a", 1, "b", "c"]}, TypeError, r"classes\[1\] is 1 of type"),
        (TRUE_NAMES, RANKED, {"classes": ["ant"] * 4}, ValueError, "'ant' more than once"),
        ([["ant"]], np.array([0, 1]), {"classes": CLASSES}, TypeError, "y_pred is an array of"),
        (
            [["ant"]],
            pd.DataFrame({"ant": [2]}),
            {"classes": CLASSES},
            ValueError,
            r"y_pred\[0, 0\] is 2",
        ),
    ],
)
def test_wrong_inputs(y_true, y_pred, arguments, error, message):
    with pytest.raises(error, match=message):
        precision_at_k(y_true, y_pred, k=1, **arguments)


def test_classes_and_propensities_must_be_over_the_same_labels():
    with pytest.raises(ValueError, match="classes holds 4 labels, but propensities or"):
        psprecision_at_k(TRUTH, RANKED, propensities=np.ones(3), classes=CLASSES)
    with pytest.raises(ValueError, match="'yak', which is not in the fitted classes"):
        label_propensities([["yak"]], classes=CLASSES)


# --- displays ---


def test_displays_take_names():
    pair = (RANKED, RANK_SCORES)
    named = (labels_to_names(RANKED, CLASSES), RANK_SCORES)
    frequencies = TRUTH.sum(axis=0)
    given = {"classes": CLASSES}
    one = FrequencyBinDisplay.from_predictions(TRUTH, pair, frequencies=frequencies, k=2)
    two = FrequencyBinDisplay.from_predictions(
        [*TRUE_NAMES[:3], ["bee", "cat", "dog"]], named, frequencies=frequencies, k=2, **given
    )
    np.testing.assert_array_equal(one.values[None], two.values[None])
    one = PrecisionCoverageDisplay.from_predictions(TRUTH, pair)
    two = PrecisionCoverageDisplay.from_predictions(TRUE_NAMES, named, **given)
    np.testing.assert_array_equal(one.curves[None], two.curves[None])
    truth = [["ant", "yak"], *TRUE_NAMES[1:]]
    gallery = PredictionGalleryDisplay.from_predictions(
        truth, named, texts=list("abcd"), rows=[0, 1], k=2, **given
    )
    assert gallery.label_names == [*CLASSES, "yak"]
    assert [missed.tolist() for missed in gallery.missed] == [[0, 4], []]
    renamed = PredictionGalleryDisplay.from_predictions(
        truth, named, texts=list("abcd"), k=2, label_names=list("ABCD"), **given
    )
    assert renamed.label_names == [*"ABCD", "yak"]


def test_label_report_takes_names():
    pytest.importorskip("pandas")
    one = label_report(TRUTH, STORED, k=2)
    two = label_report(TRUE_NAMES, shuffled_frame(pd, SCORES), k=2, classes=CLASSES)
    np.testing.assert_array_equal(one.to_numpy(), two.to_numpy())
    assert two.index.tolist() == ["bee", "cat", "ant", "dog"]
