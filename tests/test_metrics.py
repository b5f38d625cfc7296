"""Ranking metrics against golden numbers, an obvious loop, scikit-learn and their own laws."""

import subprocess
import sys

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import f1_score, precision_score

from skxmc import metrics
from skxmc.metrics import (
    calibration_error,
    coverage_at_precision,
    hit_at_k,
    label_coverage_at_k,
    label_propensities,
    macro_f1,
    macro_precision_at_k,
    map_at_k,
    micro_f1,
    mrr_at_k,
    ndcg_at_k,
    precision_at_k,
    precision_coverage_area,
    psndcg_at_k,
    psprecision_at_k,
    psrecall_at_k,
    recall_at_k,
    recall_by_frequency_at_k,
    rp_at_k,
    xmc_report,
)

PLAIN = [precision_at_k, recall_at_k, ndcg_at_k, hit_at_k, mrr_at_k, map_at_k, rp_at_k]
PROPENSITY_SCORED = [psprecision_at_k, psndcg_at_k, psrecall_at_k]
OF_LABELS = [micro_f1, macro_f1, macro_precision_at_k, label_coverage_at_k]
AT_K = [*PLAIN, *PROPENSITY_SCORED, *OF_LABELS]


def with_propensities(metric, n_labels=12):
    """Return the metric's extra arguments: propensities that differ between labels."""
    if metric in PROPENSITY_SCORED:
        return {"propensities": 1 / (1 + np.arange(n_labels) / 4)}
    return {}


def random_problem(rng, n=30, n_labels=12):
    """Truth and dense scores with many ties; some rows without labels."""
    truth = sp.csr_array((rng.rand(n, n_labels) < 0.2).astype(np.float32))
    scores = rng.randint(0, 6, size=(n, n_labels)) / 4 + 0.25
    return truth, scores


def by_hand(name, truth, ranked, k, inverse):
    """Compute a metric as its definition reads, one document after the other."""
    total, best_total, count = 0.0, 0.0, 0
    for true, predicted in zip(truth.toarray(), ranked, strict=True):
        true = set(np.flatnonzero(true))
        if not true:
            continue
        count += 1
        hits = [label in true for label in predicted[:k]] + [False] * (k - len(predicted[:k]))
        discount = [1 / np.log2(rank + 2) for rank in range(k)]
        ideal = sum(discount[: min(k, len(true))])
        gains = [inverse[label] * h for label, h in zip(predicted[:k], hits, strict=False)]
        best = sorted((inverse[label] for label in true), reverse=True)[:k]
        if name == "precision":
            total += sum(hits) / k
        elif name == "recall":
            total += sum(hits) / len(true)
        elif name == "rp":
            total += sum(hits) / min(k, len(true))
        elif name == "hit":
            total += any(hits)
        elif name == "mrr":
            total += max([h / (rank + 1) for rank, h in enumerate(hits)])
        elif name == "map":
            precisions = [sum(hits[: rank + 1]) / (rank + 1) * hits[rank] for rank in range(k)]
            total += sum(precisions) / min(k, len(true))
        elif name == "ndcg":
            total += sum(d * h for d, h in zip(discount, hits, strict=True)) / ideal
        elif name == "psprecision":
            total += sum(gains)
            best_total += sum(best)
        elif name == "psrecall":
            total += sum(gains) / len(true)
            best_total += sum(best) / len(true)
        elif name == "psndcg":
            total += sum(d * g for d, g in zip(discount, gains, strict=False)) / ideal
            best_total += sum(d * b for d, b in zip(discount, best, strict=False)) / ideal
    return total / (best_total if name.startswith("ps") else count)


def ranked_labels(scores):
    return [sorted(range(len(row)), key=lambda label: (-row[label], label)) for row in scores]


@pytest.mark.parametrize("number", [0, 1])
def test_golden(shared, number):
    golden = np.load(shared / "golden" / f"ranking_metrics_{number}.npz")

    def csr(name):
        parts = tuple(golden[f"{name}_{part}"] for part in ("data", "indices", "indptr"))
        return sp.csr_array(parts, shape=tuple(golden[f"{name}_shape"]))

    propensities = label_propensities(csr("y_train"), a=float(golden["A"]), b=float(golden["B"]))
    np.testing.assert_allclose(1 / propensities, golden["inverse_propensity"], rtol=1e-12)
    arguments = {"k": range(1, 6)}
    for name, metric in {
        "precision": precision_at_k,
        "ndcg": ndcg_at_k,
        "recall": recall_at_k,
        "hits": hit_at_k,
    }.items():
        value = metric(csr("y_true"), csr("y_score"), **arguments)
        np.testing.assert_allclose(value, golden[f"expected_{name}"], atol=1e-6, err_msg=name)
    arguments["propensities"] = propensities
    for name, metric in {
        "psprecision": psprecision_at_k,
        "psndcg": psndcg_at_k,
        "psrecall": psrecall_at_k,
    }.items():
        value = metric(csr("y_true"), csr("y_score"), **arguments)
        np.testing.assert_allclose(value, golden[f"expected_{name}"], atol=1e-6, err_msg=name)


@pytest.mark.parametrize("metric", PLAIN + PROPENSITY_SCORED, ids=lambda m: m.__name__)
@pytest.mark.parametrize("k", [1, 2, 5, 12, 15])
def test_equals_loop(rng, metric, k):
    truth, scores = random_problem(rng)
    arguments = with_propensities(metric)
    inverse = 1 / arguments.get("propensities", np.ones(12))
    name = metric.__name__.removesuffix("_at_k")
    expected = by_hand(name, truth, ranked_labels(scores), k, inverse)
    value = metric(truth, scores, k=k, **arguments)
    assert isinstance(value, float)
    assert value == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("metric", AT_K, ids=lambda m: m.__name__)
def test_same_value_for_every_input_form(rng, metric):
    truth, scores = random_problem(rng)
    arguments = {"k": [1, 3], **with_propensities(metric)}
    expected = metric(truth, scores, **arguments)
    shuffled = np.argsort(rng.rand(*scores.shape), axis=1)
    best_first = np.array(ranked_labels(scores))
    predictions = {
        "float32": scores.astype(np.float32),
        "csr": sp.csr_array(scores),
        "coo_matrix": sp.coo_matrix(scores),
        "indices": best_first,
        "int32 indices": best_first.astype(np.int32),
        "lists of indices": best_first.tolist(),
        "padded indices": np.pad(best_first[:, :3], ((0, 0), (0, 2)), constant_values=-1),
        "sorted pair": (best_first, np.take_along_axis(scores, best_first, axis=1)),
        "shuffled pair": (shuffled, np.take_along_axis(scores, shuffled, axis=1)),
    }
    for name, prediction in predictions.items():
        np.testing.assert_array_equal(metric(truth, prediction, **arguments), expected, name)
    rows = [np.flatnonzero(row).tolist() for row in truth.toarray()]
    truths = {
        "dense float": truth.toarray(),
        "dense bool": truth.toarray() > 0,
        "csc_matrix": sp.csc_matrix(truth),
        "lists": rows,
        "sets": [set(row) for row in rows],
        "object array": np.array([*rows, None], dtype=object)[:-1],
    }
    for name, form in truths.items():
        np.testing.assert_array_equal(metric(form, scores, **arguments), expected, name)


@pytest.mark.parametrize("metric", AT_K, ids=lambda m: m.__name__)
@given(data=st.data())
@settings(max_examples=25, deadline=None)
def test_laws(metric, data):
    rng = np.random.RandomState(data.draw(st.integers(0, 2**31 - 1)))
    truth, scores = random_problem(rng, n=data.draw(st.integers(1, 8)))
    truth = sp.csr_array(truth.toarray() + np.eye(*truth.shape) > 0)  # a label in every row
    arguments = with_propensities(metric)
    values = metric(truth, scores, k=range(1, 14), **arguments)
    assert ((values >= 0) & (values <= 1 + 1e-12)).all()
    if metric in (recall_at_k, hit_at_k, mrr_at_k, label_coverage_at_k):
        assert (np.diff(values) >= -1e-12).all()
    # The order of the documents does not matter.
    order = rng.permutation(len(scores))
    np.testing.assert_allclose(
        metric(truth[order], scores[order], k=range(1, 14), **arguments), values, atol=1e-12
    )
    # Weights are counts.
    weights = rng.randint(0, 3, size=len(scores))
    if weights.any():
        repeated = np.repeat(np.arange(len(scores)), weights)
        np.testing.assert_allclose(
            metric(truth, scores, k=[1, 4], sample_weight=weights, **arguments),
            metric(truth[repeated], scores[repeated], k=[1, 4], **arguments),
            atol=1e-12,
        )
    # Nothing is better than the truth itself, best gains first.
    gain = 1 / arguments["propensities"] if arguments else np.ones(truth.shape[1])
    perfect = metric(truth, truth.multiply(gain), k=range(1, 14), **arguments)
    if metric not in OF_LABELS:
        assert (perfect >= values - 1e-12).all()
    if metric in (ndcg_at_k, rp_at_k, map_at_k, mrr_at_k, hit_at_k, *PROPENSITY_SCORED):
        np.testing.assert_allclose(perfect, 1)


def test_ties_go_to_the_lower_label():
    truth = np.array([[0, 0, 1, 0, 0]])
    scores = np.array([[0.5, 0.5, 0.5, 0.9, 0.5]])
    assert precision_at_k(truth, scores, k=[1, 2, 3, 4]).tolist() == [0, 0, 0, 1 / 4]
    pair = (np.array([[4, 2, 3, 1, 0]]), np.array([[0.5, 0.5, 0.9, 0.5, 0.5]]))
    assert precision_at_k(truth, pair, k=[1, 2, 3, 4]).tolist() == [0, 0, 0, 1 / 4]


def test_fewer_predictions_than_k_count_as_wrong():
    truth = [[0, 1], [2]]
    predictions = np.array([[1, -1, -1], [2, 0, -1]])
    assert precision_at_k(truth, predictions, k=3) == pytest.approx(1 / 3)
    assert precision_at_k(truth, predictions, k=10) == pytest.approx(1 / 10)
    assert recall_at_k(truth, predictions, k=10) == pytest.approx(3 / 4)


def test_padding_and_minus_infinity_are_passed_over():
    truth = sp.csr_array([[0, 1, 0]])
    assert precision_at_k(truth, np.array([[-1, 1, 0]]), k=1) == 1
    scores = np.array([[-np.inf, 0.1, -np.inf]])
    assert micro_f1(truth, scores, k=3) == 1
    pair = (np.array([[0, -1, 1]]), np.array([[-np.inf, 9.0, 0.1]]))
    assert micro_f1(truth, pair, k=3) == 1


def test_rows_without_truth():
    truth = sp.csr_array([[1, 0, 0], [0, 0, 0]])
    predictions = np.array([[0], [1]])
    assert precision_at_k(truth, predictions, k=1) == 1
    assert micro_f1(truth, predictions, k=1) == pytest.approx(2 / 3)
    assert np.isnan(precision_at_k(truth[1:], predictions[1:], k=1))
    assert np.isnan(psprecision_at_k(truth[1:], predictions[1:], k=1, propensities=np.ones(3)))


def test_explicit_zeros_are_predictions():
    scores = sp.csr_array((np.array([0.0]), np.array([1]), np.array([0, 1])), shape=(1, 3))
    assert precision_at_k(np.array([[0, 1, 0]]), scores, k=1) == 1
    assert np.isnan(micro_f1(np.array([[0, 0, 0]]), scores))  # zero is not predicted as a set


@pytest.mark.parametrize("metric", AT_K, ids=lambda m: m.__name__)
def test_exclude_equals_a_problem_without_the_pairs(rng, metric):
    truth, scores = random_problem(rng)
    arguments = {"k": [1, 3, 12], **with_propensities(metric)}
    pairs = np.argwhere(rng.rand(*scores.shape) < 0.15)
    dropped_truth, dropped_scores = truth.toarray(), scores.copy()
    dropped_truth[tuple(pairs.T)] = 0
    dropped_scores[tuple(pairs.T)] = -np.inf
    emptied = (truth.sum(axis=1) > 0) & (dropped_truth.sum(axis=1) == 0)
    assert emptied.any()
    expected = metric(dropped_truth[~emptied], dropped_scores[~emptied], **arguments)
    excluded = np.zeros(scores.shape, dtype=bool)
    excluded[tuple(pairs.T)] = True
    indices = np.array(ranked_labels(scores))
    for exclude in (pairs, excluded, sp.csc_array(excluded), sp.coo_matrix(excluded * 2.0)):
        for form in (scores, sp.csr_array(scores), indices, (indices, -np.argsort(indices * 0.0))):
            value = metric(truth, form, exclude=exclude, **arguments)
            np.testing.assert_allclose(value, expected, atol=1e-12)


def test_many_blocks_and_one_long_row(rng, monkeypatch):
    monkeypatch.setattr("skxmc.metrics._topk._BLOCK_ENTRIES", 64)
    truth, scores = random_problem(rng, n=50, n_labels=40)
    keep = rng.rand(*scores.shape) < 0.2
    keep[17] = True
    keep[20] = False
    sparse = sp.csr_array(scores * keep)
    expected = [
        by_hand(
            "precision",
            truth,
            [
                [label for label in row if stored[label]]
                for row, stored in zip(r, keep, strict=True)
            ],
            5,
            np.ones(40),
        )
        for r in [ranked_labels(scores)]
    ]
    assert precision_at_k(truth, sparse, k=5) == pytest.approx(expected[0])
    dense = np.where(keep, scores, -np.inf)
    assert precision_at_k(truth, dense, k=5) == pytest.approx(expected[0])


def test_inputs_stay_as_they_are(rng):
    truth, scores = random_problem(rng)
    unsorted = sp.csr_array(scores)
    unsorted.indices = unsorted.indices.reshape(scores.shape)[:, ::-1].ravel().copy()
    unsorted.data = unsorted.data.reshape(scores.shape)[:, ::-1].ravel().copy()
    unsorted.has_sorted_indices = False
    pair = (np.array(ranked_labels(scores)), np.sort(scores, axis=1)[:, ::-1].copy())
    for array in (truth.data, unsorted.indices, unsorted.data, *pair):
        array.setflags(write=False)
    exclude = sp.csr_array(np.eye(*scores.shape))
    expected = precision_at_k(truth, scores, exclude=exclude)
    assert precision_at_k(truth, unsorted, exclude=exclude) == expected
    assert precision_at_k(truth, pair, exclude=exclude) == expected


def test_label_propensities():
    Y = sp.csr_array([[1, 0, 1], [1, 0, 0], [1, 1, 0], [1, 0, 0]])
    frequency = np.array([4, 1, 1])
    for preset, a, b in (("default", 0.55, 1.5), ("amazon", 0.6, 2.6), ("wikipedia", 0.5, 0.4)):
        expected = 1 / (1 + (np.log(4) - 1) * (b + 1) ** a * (frequency + b) ** -a)
        np.testing.assert_allclose(label_propensities(Y, preset=preset), expected)
        np.testing.assert_allclose(label_propensities(Y, a=a, b=b), expected)
    with_rare = label_propensities(sp.hstack([Y, sp.csr_array((4, 1))]))
    assert with_rare[3] < with_rare[1] < with_rare[0] < 1  # no document at all: least likely seen
    assert label_propensities(Y[:2]).tolist() == [1, 1, 1]  # ln 2 < 1
    with pytest.raises(ValueError, match="preset is 'amazn'"):
        label_propensities(Y, preset="amazn")
    with pytest.raises(ValueError, match="together with a or b"):
        label_propensities(Y, preset="amazon", a=0.5)
    with pytest.raises(ValueError, match="must be positive"):
        label_propensities(Y, b=-1)


def test_f1_and_macro_precision_equal_scikit_learn(rng):
    truth, _ = random_problem(rng)
    predicted = rng.rand(*truth.shape) < 0.25
    predicted[:, 3] = False  # true but never predicted
    truth.data[truth.indices == 5] = 0  # predicted but never true
    truth.eliminate_zeros()
    weight = rng.rand(30)
    arguments = {"zero_division": np.nan, "sample_weight": weight}
    for ours, average in ((micro_f1, "micro"), (macro_f1, "macro")):
        expected = f1_score(truth.toarray(), predicted, average=average, **arguments)
        for form in (predicted, predicted.astype(float), sp.csr_array(predicted)):
            assert ours(truth, form, sample_weight=weight) == pytest.approx(expected)
    rows = [np.flatnonzero(row).tolist() for row in predicted]
    assert micro_f1(truth, rows) == pytest.approx(f1_score(truth, predicted, average="micro"))
    top = np.zeros(truth.shape, dtype=bool)
    indices = np.argsort(rng.rand(*truth.shape), axis=1)[:, :2]
    np.put_along_axis(top, indices, True, axis=1)
    expected = precision_score(truth.toarray(), top, average="macro", zero_division=0)
    assert top.any(axis=0).all()
    assert macro_precision_at_k(truth, indices, k=2) == pytest.approx(expected)
    assert macro_f1(truth, indices, k=2) == pytest.approx(
        f1_score(truth.toarray(), top, average="macro")
    )


def test_f1_of_everything_that_is_predicted():
    truth, indices = [[0, 1], [2]], np.array([[0, 3], [2, -1]])
    assert micro_f1(truth, indices) == pytest.approx(4 / 6)
    assert micro_f1(truth, (indices, indices / 2)) == pytest.approx(4 / 6)
    assert macro_f1(truth, indices) == pytest.approx(2 / 4)
    for predicted in (indices, sp.csr_array([[1, 0, 0, 1], [0, 0, 1, 0]])):
        assert micro_f1(truth, predicted, exclude=[[0, 3]]) == pytest.approx(4 / 5)
        assert micro_f1(truth, predicted, exclude=[[0, 0], [0, 1]]) == 1  # only row 1 is left
    assert np.isnan(macro_f1([[], []], [[], []]))
    assert np.isnan(macro_precision_at_k([[], []], [[], []]))


def test_labels_without_truth_and_prediction_are_left_out():
    truth = sp.csr_array(([1.0], ([0], [0])), shape=(1, 1000))
    assert macro_f1(truth, [[0]], k=1) == 1
    assert macro_precision_at_k(truth, [[0, 7]], k=2) == 1 / 2
    assert macro_precision_at_k(truth, [[7]], k=1) == 0


def test_label_coverage():
    truth = [[0, 1], [1, 2], [3], []]
    predictions = np.array([[1, 0], [1, 3], [2, 3], [4, 0]])
    # At 1 only label 1 is found; at 2 labels 0, 1 and 3. Label 2 is predicted where it is not true.
    assert label_coverage_at_k(truth, predictions, k=[1, 2, 9]).tolist() == [1 / 4, 3 / 4, 3 / 4]
    without_first = {"exclude": [[0, 0]]}
    assert label_coverage_at_k(truth, predictions, k=2, **without_first) == 2 / 3
    assert label_coverage_at_k(truth, predictions, k=2, sample_weight=[0, 1, 2, 5]) == 2 / 3
    assert np.isnan(label_coverage_at_k([[]], [[0]]))


def test_recall_by_frequency():
    truth = [[0, 2], [0, 3], [1, 9]]
    predictions = np.array([[0, 5], [3, 0], [4, 1]])
    frequencies = np.array([50, 40, 30, 20, 10, 9, 8, 7, 6, 5])
    recall = recall_by_frequency_at_k(truth, predictions, k=[1, 2], frequencies=frequencies)
    np.testing.assert_allclose(recall, [[1 / 2, 1 / 3, 0], [1, 2 / 3, 0]])
    deciles = np.arange(1, 10) / 10
    recall = recall_by_frequency_at_k(
        truth, predictions, k=2, frequencies=frequencies, bins=deciles
    )
    np.testing.assert_allclose(recall, [1, 1, 0, 1, *[np.nan] * 5, 0])
    one_bin = recall_by_frequency_at_k(truth, predictions, k=2, frequencies=frequencies, bins=())
    np.testing.assert_allclose(one_bin, micro_f1(truth, predictions, k=2))  # as many true as said
    with pytest.raises(ValueError, match="bins must rise"):
        recall_by_frequency_at_k(truth, predictions, frequencies=frequencies, bins=[0.5, 0.1])
    with pytest.raises(ValueError, match="one finite number for each"):
        recall_by_frequency_at_k(truth, predictions, frequencies=frequencies * np.nan)


def test_precision_coverage_area():
    truth = [[0], [1], [0], [3]]
    indices = np.array([[0], [1], [2], [3]])
    scores = np.array([[0.9], [0.8], [0.3], [0.1]])
    precisions = [1, 1, 2 / 3, 3 / 4]
    area = precision_coverage_area(truth, (indices, scores))
    assert area == pytest.approx(np.mean(precisions))
    # Equal scores are answered together, so their order does not matter.
    scores[:] = 0.5
    for order in ([0, 1, 2, 3], [2, 3, 1, 0]):
        found = indices[order], scores
        assert precision_coverage_area([truth[i] for i in order], found) == pytest.approx(3 / 4)
    # Documents of weight 0 do not matter, and those without labels are wrong.
    weight = np.array([1, 1, 0, 0])
    assert precision_coverage_area(truth, (indices, scores), sample_weight=weight) == 1
    assert precision_coverage_area([[0], []], (indices[:2], scores[:2])) == pytest.approx(1 / 2)
    with pytest.raises(ValueError, match="indices without scores"):
        precision_coverage_area(truth, indices)


def test_coverage_at_precision():
    truth = [[0], [0], [0], [0], []]
    indices = np.array([[0], [1], [0], [0], [1]])
    scores = np.array([[0.9], [0.8], [0.8], [0.7], [0.1]])
    assert coverage_at_precision(truth, (indices, scores), precision=1) == (1 / 5, 0.9)
    assert coverage_at_precision(truth, (indices, scores), precision=0.7) == (4 / 5, 0.7)
    assert coverage_at_precision(truth, (indices, scores), precision=0.6) == (1, 0.1)
    nothing = coverage_at_precision(truth, (1 - indices, scores), precision=1)
    assert nothing == (0, np.inf)
    # 0.8 stands for two documents, of which one is wrong: both or none.
    assert coverage_at_precision(truth[:3], (indices[:3], scores[:3]), precision=0.5)[0] == 1
    assert coverage_at_precision(truth[:3], (indices[:3], scores[:3]), precision=0.9)[0] == 1 / 3
    with pytest.raises(ValueError, match="indices without scores"):
        coverage_at_precision(truth, indices, precision=0.5)
    with pytest.raises(ValueError, match="precision must lie"):
        coverage_at_precision(truth, (indices, scores), precision=0)


@given(seed=st.integers(0, 2**31 - 1), precision=st.sampled_from([0.2, 1 / 3, 0.5, 0.75, 1]))
@settings(max_examples=40, deadline=None)
def test_coverage_is_the_best_threshold(seed, precision):
    rng = np.random.RandomState(seed)
    truth, scores = random_problem(rng, n=12)
    coverage, threshold = coverage_at_precision(truth, scores, precision=precision, k=[1, 2])
    for position, k in enumerate([1, 2]):
        top = np.array(ranked_labels(scores))[:, :k]
        right = np.take_along_axis(truth.toarray(), top, axis=1).mean(axis=1)
        best = scores.max(axis=1)
        options = [(best >= t).mean() for t in best if right[best >= t].mean() >= precision - 1e-9]
        assert coverage[position] == pytest.approx(max(options, default=0))
        assert coverage[position] == pytest.approx((best >= threshold[position]).mean())


def test_report_equals_the_single_metrics(rng):
    truth, scores = random_problem(rng)
    frequencies = rng.permutation(12)
    arguments = {"exclude": np.array([[0, 1], [3, 2]]), "sample_weight": rng.rand(30)}
    propensities = with_propensities(psndcg_at_k)["propensities"]
    report = xmc_report(
        truth, scores, k=[1, 4], propensities=propensities, frequencies=frequencies, **arguments
    )
    expected = {}
    for metric in AT_K:
        name = metric.__name__.removesuffix("_at_k")
        values = metric(truth, scores, k=[1, 4], **with_propensities(metric), **arguments)
        expected |= {f"{name}_at_1": values[0], f"{name}_at_4": values[1]}
    for k in (1, 4):
        recall = recall_by_frequency_at_k(truth, scores, k=k, frequencies=frequencies, **arguments)
        for part, value in zip(("head", "torso", "tail"), recall, strict=True):
            expected[f"recall_{part}_at_{k}"] = value
    assert report == pytest.approx(expected)
    assert all(type(value) is float for value in report.values())
    assert not any(key.startswith(("ps", "recall_head")) for key in xmc_report(truth, scores))


def test_report_as_frame(rng):
    pytest.importorskip("pandas")
    truth, scores = random_problem(rng)
    frame = xmc_report(truth, scores, k=(1, 3), as_frame=True)
    assert frame.columns.tolist() == [1, 3]
    assert frame.loc["ndcg", 3] == ndcg_at_k(truth, scores, k=3)


@pytest.mark.parametrize(
    ("y_true", "y_pred", "arguments", "message"),
    [
        ([[0]], [[2, 2]], {}, r"y_pred\[0\] predicts the label 2 more than once"),
        ([[0]], np.array([[0, 1, 0]]), {}, "pass it as bool, float or sparse"),
        (np.eye(3), [[0], [1]], {}, "y_pred has 2 rows but y_true has 3"),
        (np.eye(3), np.eye(3, 4), {}, "y_pred has 4 columns but there are 3 labels"),
        (np.eye(3), [[0], [1], [3]], {}, r"y_pred\[2, 0\] is the label 3"),
        (np.eye(3), [[0], [1], [-2]], {}, r"y_pred\[2, 0\] is the label -2"),
        (np.eye(3), np.full((3, 3), np.nan), {}, "NaN score in row 0"),
        (np.eye(2), sp.csr_array([[0, 1], [np.nan, 1]]), {}, "NaN score in row 1"),
        (
            np.eye(2),
            sp.csr_array(([1, 1], [0, 0], [0, 2, 2]), shape=(2, 2)),
            {},
            r"y_pred\[0\] predicts the label 0 more than once",
        ),
        (np.eye(2), (np.eye(2, dtype=int), np.ones((2, 1))), {}, "indices of shape"),
        (np.array([[1, 2]]), [[0]], {}, r"y_true\[0, 1\] is 2, but an indicator"),
        ([["cat"]], [[0]], {}, r"y_true\[0\] holds 'cat'"),
        ([[0], [5]], np.eye(2), {}, r"y_true\[1\] holds the label 5 but there are 2 labels"),
        ([0, 1], [[0], [1]], {}, "y_true is one-dimensional"),
        (np.eye(2), [[0], [1]], {"k": 0}, "k must be at least 1"),
        (np.eye(2), [[0], [1]], {"sample_weight": [1]}, "sample_weight has shape"),
        (np.eye(2), [[0], [1]], {"sample_weight": [1, -1]}, r"sample_weight\[1\] is -1"),
        (np.eye(2), [[0], [1]], {"exclude": [[2, 0]]}, r"exclude\[0\] is the pair \(2, 0\)"),
    ],
)
def test_wrong_values(y_true, y_pred, arguments, message):
    with pytest.raises(ValueError, match=message):
        precision_at_k(y_true, y_pred, **arguments)


@pytest.mark.parametrize(
    ("y_pred", "arguments", "message"),
    [
        ([[0.5, 0.2]], {}, r"y_pred\[0\] does not hold label indices"),
        (np.array([["a", "b"]]), {}, "y_pred holds label names such as 'a'; pass classes="),
        ([["a"]], {}, r"y_pred\[0\] does not hold label indices only.*classes="),
        (np.ones((1, 2), dtype=complex), {}, "y_pred is an array of shape"),
        (np.array([0, 1]), {}, "y_pred is an array of shape"),
        ([[0]], {"k": 1.5}, "k must be an int"),
        ([[0]], {"k": True}, "k must be an int"),
        ([[0]], {"k": []}, "k must be an int"),
    ],
)
def test_wrong_types(y_pred, arguments, message):
    with pytest.raises(TypeError, match=message):
        precision_at_k(np.array([[1, 0]]), y_pred, **arguments)


def test_wrong_propensities():
    for propensities, message in (
        (np.array([0.5, 1.5]), r"propensities\[1\] is 1.5"),
        (np.array([0.5, np.nan]), r"propensities\[1\] is nan"),
        (np.ones((1, 2)), r"propensities has shape \(1, 2\)"),
        (np.ones(3), "y_true has 2 columns but there are 3 labels"),
    ):
        with pytest.raises(ValueError, match=message):
            psprecision_at_k(np.eye(2), np.eye(2), k=1, propensities=propensities)


def test_large_label_space_stays_sparse(rng):
    """Ten billion cells: only possible without a dense matrix."""
    n, n_labels = 10_000, 1_000_000
    truth = sp.csr_array(
        (np.ones(n * 3), rng.randint(n_labels, size=n * 3), np.arange(0, 3 * n + 1, 3)),
        shape=(n, n_labels),
    )
    truth.sum_duplicates()
    truth.data[:] = 1
    propensities = label_propensities(truth)
    report = xmc_report(truth, truth, propensities=propensities)
    assert report["ndcg_at_5"] == pytest.approx(1)
    assert report["recall_at_3"] == pytest.approx(1)


def test_everything_is_public():
    assert {metric.__name__ for metric in AT_K} <= set(metrics.__all__)
    for name in metrics.__all__:
        assert getattr(metrics, name).__doc__


def test_needs_no_deep_learning_framework():
    code = (
        "import sys, skxmc.metrics; "
        "assert not {'torch', 'faiss', 'transformers', 'pandas'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_nothing_predicted_with_filter_pairs():
    Y = sp.csr_array(np.eye(3, dtype=np.float32))
    assert metrics.micro_f1(Y, sp.csr_array((3, 3)), exclude=sp.csr_array(np.eye(3, k=1))) == 0


# --- calibration ---


def test_calibration_error_by_hand():
    labels = np.array([[0, 1], [2, 0]])
    probabilities = np.array([[0.9, 0.2], [0.8, 0.1]])
    truth = sp.csr_array(np.array([[1, 0, 0], [0, 0, 0]]))
    # Bins {.1, .2} and {.8, .9}: mean .15 of which none is right, and .85 of which a half is.
    expected = (0.15 + 0.35) / 2
    assert calibration_error(truth, (labels, probabilities), n_bins=2) == pytest.approx(expected)
    # The second document counts three times.
    weighted = calibration_error(truth, (labels, probabilities), n_bins=1, sample_weight=[1, 3])
    assert weighted == pytest.approx((0.9 + 0.2 + 3 * 0.9) / 8 - 1 / 8)


def test_calibration_error_of_all_forms_of_predictions():
    rng = np.random.default_rng(3)
    dense = rng.uniform(size=(40, 6))
    truth = sp.csr_array(rng.uniform(size=dense.shape) < dense)
    order = np.argsort(-dense, axis=1)
    ranked = order, np.take_along_axis(dense, order, axis=1)
    errors = [calibration_error(truth, found) for found in (dense, sp.csr_array(dense), ranked)]
    np.testing.assert_allclose(errors, errors[0])


def test_calibration_error_needs_probabilities():
    truth = sp.csr_array(np.eye(3))
    with pytest.raises(ValueError, match="has no probabilities"):
        calibration_error(truth, np.array([[0], [1], [2]]))
    with pytest.raises(ValueError, match="holds 1 scores that are not within 0 and 1"):
        calibration_error(truth, np.array([[0.1, 0.2, 1.5]] * 1 + [[0.1, 0.2, 0.3]] * 2))
    with pytest.raises(ValueError, match="n_bins is 0"):
        calibration_error(truth, np.full((3, 3), 0.5), n_bins=0)
