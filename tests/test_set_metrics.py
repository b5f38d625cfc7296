"""Metrics of predicted sets and of single labels, by hand and against scikit-learn."""

import sys

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import (
    average_precision_score,
    label_ranking_average_precision_score,
    precision_recall_fscore_support,
)

from skxmc._runtime._optional import import_optional
from skxmc.metrics import label_report, macro_f1, map_at_k, micro_f1, set_report

CLASSES = ["ant", "bee", "cat", "dog"]
TRUTH = np.array([[1, 1, 0, 0], [0, 1, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0], [1, 0, 0, 0]])
PREDICTED = np.array([[1, 0, 1, 0], [0, 1, 0, 0], [0, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, 0]])
# Hits of the documents: 1 of 2 predicted and 2 true; 1 of 1 and 1; nothing for nothing; a wrong
# label for nothing; nothing for one label.
EXPECTED = {
    "true_positives": 2,
    "false_positives": 2,
    "false_negatives": 2,
    "samples_precision": (1 / 2 + 1 + 1 + 0 + 0) / 5,
    "samples_recall": (1 / 2 + 1 + 1 + 0 + 0) / 5,
    "samples_f1": (1 / 2 + 1 + 1 + 0 + 0) / 5,
    "macro_precision": (1 + 1 + 0) / 3,
    "macro_recall": (1 / 2 + 1 / 2 + 0) / 3,
    "macro_f1": (2 / 3 + 2 / 3 + 0) / 3,
    "micro_precision": 2 / 4,
    "micro_recall": 2 / 4,
    "micro_f1": 2 / 4,
    "n_documents": 5,
    "n_empty_predictions": 2,
    "n_empty_truths": 2,
}


def names_of(indicator):
    return [[CLASSES[label] for label in np.flatnonzero(row)] for row in indicator]


FORMS = {
    "dense": np.asarray,
    "float": lambda indicator: indicator * 1.0,
    "bool": lambda indicator: indicator > 0,
    "csr": sp.csr_array,
    "csc_matrix": sp.csc_matrix,
    "names": names_of,
    "sets": lambda indicator: [set(row) for row in names_of(indicator)],
    "tuples": lambda indicator: list(map(tuple, names_of(indicator))),
    "series": lambda indicator: pd.Series(names_of(indicator), index=[4, 4, 4, 4, 4]),
    "frame": lambda indicator: pd.DataFrame(indicator, columns=CLASSES)[CLASSES[::-1]],
}


@pytest.mark.parametrize("truth", FORMS)
@pytest.mark.parametrize("predicted", FORMS)
def test_by_hand(truth, predicted):
    report = set_report(FORMS[truth](TRUTH), FORMS[predicted](PREDICTED), classes=CLASSES)
    assert list(report) == list(EXPECTED)
    assert report == pytest.approx(EXPECTED)
    assert {type(report[name]) for name in EXPECTED if EXPECTED[name] in (2, 5)} == {int}


def test_filter_pairs_and_weights():
    # The last document loses its only label and is left out; the first loses a hit.
    report = set_report(TRUTH, sp.csr_array(PREDICTED), exclude=[[4, 0], [0, 0], [0, 2]])
    assert report["n_documents"] == 4
    assert report["n_empty_predictions"] == 2
    assert report["n_empty_truths"] == 2
    assert (report["true_positives"], report["false_negatives"]) == (1, 1)
    assert report["samples_f1"] == (0 + 1 + 1 + 0) / 4
    weight = [2, 0, 1, 1, 3]
    repeated = np.repeat(np.arange(5), weight)
    weighted = set_report(TRUTH, PREDICTED, sample_weight=weight)
    assert weighted == pytest.approx(set_report(TRUTH[repeated], PREDICTED[repeated]))


def test_nothing_to_average():
    report = set_report(sp.csr_array((2, 3)), sp.csr_array((2, 3)))
    assert report["samples_f1"] == 1
    assert report["n_empty_predictions"] == report["n_empty_truths"] == 2
    assert np.isnan([report["macro_f1"], report["micro_precision"], report["micro_recall"]]).all()
    report = set_report(sp.csr_array(np.eye(2)), sp.csr_array((2, 2)))
    assert report["micro_precision"] == report["macro_precision"] == report["samples_f1"] == 0
    assert np.isnan(set_report(np.eye(2), np.eye(2), sample_weight=[0, 0])["samples_f1"])


@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_equals_scikit_learn(data):
    rng = np.random.RandomState(data.draw(st.integers(0, 2**31 - 1)))
    shape = data.draw(st.integers(1, 8)), data.draw(st.integers(2, 6))
    truth, predicted = rng.rand(2, *shape) < data.draw(st.sampled_from([0.1, 0.4]))
    weight = rng.rand(shape[0]) + 0.1
    report = set_report(truth, predicted, sample_weight=weight)
    present = np.flatnonzero((truth | predicted).any(axis=0))
    if not len(present):
        return
    nothing_for_nothing = weight[~(truth | predicted).any(axis=1)].sum() / weight.sum()
    for average in ("samples", "macro", "micro"):
        expected = precision_recall_fscore_support(
            truth,
            predicted,
            labels=present,
            average=average,
            zero_division=0,
            sample_weight=weight,
        )[:3]
        names = [f"{average}_{name}" for name in ("precision", "recall", "f1")]
        extra = nothing_for_nothing if average == "samples" else 0
        np.testing.assert_allclose([report[name] for name in names], np.add(expected, extra))
    assert report["micro_f1"] == micro_f1(truth, predicted, sample_weight=weight)
    assert report["macro_f1"] == macro_f1(truth, predicted, sample_weight=weight)
    table = label_report(truth, predicted, sample_weight=weight, min_support=0)
    for name in ("precision", "recall", "f1"):
        assert table[name].mean() == pytest.approx(report[f"macro_{name}"])
    for name in ("true_positives", "false_positives", "false_negatives"):
        assert table[name].sum() == pytest.approx(report[name])


@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_average_precision_equals_scikit_learn(data):
    rng = np.random.RandomState(data.draw(st.integers(0, 2**31 - 1)))
    shape = data.draw(st.integers(2, 9)), data.draw(st.integers(2, 5))
    truth = rng.rand(*shape) < 0.4
    scores = rng.randint(1, data.draw(st.sampled_from([4, 100])), size=shape) / 100  # with ties
    weight = rng.rand(shape[0]) + 0.1
    ranked = np.argsort(-scores, axis=1)
    for form in (scores, sp.csr_array(scores), (ranked, np.take_along_axis(scores, ranked, 1))):
        found = label_report(truth, form, k=1, sample_weight=weight)["average_precision"]
        for label, value in found.items():
            expected = average_precision_score(
                truth[:, label], scores[:, label], sample_weight=weight
            )
            assert value == pytest.approx(expected)
    # Over whole rankings, documents instead of labels are averaged.
    distinct = np.argsort(rng.rand(*shape), axis=1) + 1.0
    labelled = truth.any(axis=1)
    if labelled.any():
        expected = label_ranking_average_precision_score(truth[labelled], distinct[labelled])
        assert map_at_k(truth, distinct, k=shape[1]) == pytest.approx(expected)


def test_label_report_by_hand():
    table = label_report(names_of(TRUTH), names_of(PREDICTED), classes=CLASSES, min_support=0)
    assert table.index.tolist() == CLASSES
    assert table.columns.tolist() == [
        *("support", "true_positives", "false_positives", "false_negatives"),
        *("precision", "recall", "f1", "average_precision"),
    ]
    expected = [
        [2, 1, 0, 1, 1, 1 / 2, 2 / 3, np.nan],
        [2, 1, 0, 1, 1, 1 / 2, 2 / 3, np.nan],
        [0, 0, 2, 0, 0, 0, 0, np.nan],
        [0, 0, 0, 0, np.nan, np.nan, np.nan, np.nan],
    ]
    np.testing.assert_allclose(table.to_numpy(dtype=float), expected)
    assert (table.dtypes.iloc[:4] == np.int64).all()
    assert label_report(TRUTH, PREDICTED).index.tolist() == [0, 1]
    more = label_report(
        [*names_of(TRUTH), ["yak"] * 3], [*names_of(PREDICTED), []], classes=CLASSES
    )
    assert more["support"].to_dict() == {"ant": 2, "bee": 2, "yak": 1}


def test_label_report_of_rankings():
    truth = [["ant"], ["ant", "bee"], ["bee"]]
    found = (
        np.array([["ant", "bee"], ["bee", "ant"], ["ant", None]], dtype=object),
        np.array([[0.9, 0.5], [0.8, 0.2], [0.4, -np.inf]]),
    )
    table = label_report(truth, found, k=1, classes=CLASSES)
    # ant: right at .9, wrong at .4, right at .2; bee: right at .8, wrong at .5, then not found.
    assert table["average_precision"].tolist() == pytest.approx([(1 + 2 / 3) / 2, 1 / 2])
    assert table["true_positives"].tolist() == [1, 1]
    assert label_report(truth, found, k=2, classes=CLASSES)["true_positives"].tolist() == [2, 1]
    assert label_report(truth, found, classes=CLASSES)["true_positives"].tolist() == [2, 1]
    table = label_report(truth, found, k=1, classes=CLASSES, exclude=[[2, 0], [0, 1]])
    assert table["average_precision"].tolist() == pytest.approx([1, 1 / 2])
    assert label_report(truth, found[0], k=1, classes=CLASSES)["average_precision"].isna().all()


def test_label_report_in_blocks(rng, monkeypatch):
    truth, scores = rng.rand(30, 12) < 0.3, rng.randint(5, size=(30, 12)) / 4
    expected = label_report(truth, scores, k=2)
    monkeypatch.setattr("skxmc.metrics._label_report._BLOCK_ENTRIES", 64)
    pd.testing.assert_frame_equal(label_report(truth, scores, k=2), expected)


def test_texts_of_labels():
    given = {"y_true": names_of(TRUTH), "y_pred": names_of(PREDICTED), "classes": CLASSES}
    texts = ["an ant", "a bee", "a cat", "a dog"]
    table = label_report(**given, label_text=texts, min_support=0)
    assert table.columns[0] == "text"
    assert table["text"].tolist() == texts
    table = label_report(**given, label_text={"bee": "a bee"})
    assert [None if pd.isna(text) else text for text in table["text"]] == [None, "a bee"]
    assert label_report(**given, label_text=pd.Series(texts))["text"].tolist() == texts[:2]
    for wrong, error in ((texts * 2, ValueError), ("a text", TypeError), (set(texts), TypeError)):
        with pytest.raises(error, match="label_text"):
            label_report(**given, label_text=wrong)


@pytest.mark.parametrize("report", [set_report, label_report])
@pytest.mark.parametrize("make", [np.asarray, sp.csr_array], ids=["dense", "sparse"])
def test_scores_are_no_sets(report, make):
    with pytest.raises(ValueError, match=r"y_pred holds 0\.25, which is a score"):
        report(np.eye(2), make(np.array([[0.0, 1.0], [0.25, 0.5]])))


@pytest.mark.parametrize(
    ("y_true", "y_pred", "error", "message"),
    [
        (TRUTH, PREDICTED[:2], ValueError, "y_pred has 2 rows but y_true has 5"),
        ([["ant"]], [["ant", "ant"]], ValueError, r"y_pred\[0\] predicts the label 0 more than"),
        ([["ant"], [1]], [["ant"], []], TypeError, r"y_true\[1\] holds the label name 1"),
        ([["ant"]], [["ant", 1]], TypeError, r"y_pred\[0\] names the label 1"),
    ],
)
def test_wrong_inputs(y_true, y_pred, error, message):
    for report in (set_report, label_report):
        with pytest.raises(error, match=message):
            report(y_true, y_pred, classes=CLASSES)


def test_wrong_k():
    with pytest.raises(TypeError, match="k must be an int"):
        label_report(TRUTH, PREDICTED, k=[1, 2])


def test_without_pandas(monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ImportError, match=r"skxmc\[demo\]"):
        import_optional("pandas", "demo")
    with pytest.raises(ImportError, match=r"skxmc\[demo\]"):
        label_report(TRUTH, PREDICTED)
    assert set_report(TRUTH, PREDICTED) == pytest.approx(EXPECTED)
