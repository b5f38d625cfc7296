"""Losses: golden numbers, formulas written out by hand, what carries no gradient, odd rows."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from skxmc.objectives import (
    DynamicMarginTripletLoss,
    PrototypeRegularizer,
    ThresholdConsistentLoss,
)
from skxmc.objectives._triplet_loss import draw_positives


def similarities(rng, n, m, requires_grad=True):
    values = torch.tensor(rng.uniform(-1, 1, (n, m)), dtype=torch.float32)
    return values.requires_grad_(requires_grad)


def diagonal_target(rng, n, m, share=0.1):
    """Targets with a positive on the diagonal and a few more."""
    target = torch.from_numpy(rng.random_sample((n, m)) < share)
    target[torch.arange(n), torch.arange(n)] = True
    return target


# ----------------------------------------------------------------------------------------- golden


@pytest.mark.parametrize(("number", "temperature"), [(0, 0.1), (1, None)])
def test_triplet_loss_is_golden(shared, number, temperature):
    golden = np.load(shared / "golden" / f"triplet_loss_{number}.npz")
    similarity = torch.from_numpy(golden["similarity"]).requires_grad_()
    loss = DynamicMarginTripletLoss(
        int(golden["n_negatives"]),
        (float(golden["margin_min"]), float(golden["margin_max"])),
        temperature,
    )
    target = torch.from_numpy(golden["target"]) > 0
    value = loss(similarity, target, torch.arange(len(similarity)))
    value.backward()
    assert value.item() == pytest.approx(float(golden["expected_loss"]), abs=1e-5)
    np.testing.assert_allclose(similarity.grad.numpy(), golden["expected_grad"], atol=1e-5)
    assert np.abs(golden["expected_grad"]).max() > 1e-3


def test_prototype_regularizer_is_golden(shared):
    golden = np.load(shared / "golden" / "prototype_regularizer_0.npz")
    text = torch.from_numpy(golden["similarity_text"]).requires_grad_()
    prototype = torch.from_numpy(golden["similarity_prototype"]).requires_grad_()
    regularizer = PrototypeRegularizer(int(golden["n_negatives"]), float(golden["margin"]))
    target = torch.from_numpy(golden["target"]) > 0
    value = regularizer(text, prototype, target, torch.arange(len(text)))
    value.backward()
    assert value.item() == pytest.approx(float(golden["expected_loss"]), abs=1e-5)
    np.testing.assert_allclose(text.grad.numpy(), golden["expected_grad_text"], atol=1e-5)
    np.testing.assert_allclose(prototype.grad.numpy(), golden["expected_grad_prototype"], atol=1e-5)
    assert np.abs(golden["expected_grad_prototype"]).max() > 1e-3


# --------------------------------------------------------------------------------------- formulas


def loss_by_hand(similarity, target, positives, exclude, n_negatives, margin, temperature):
    """The formula of the docstring, row by row."""
    total = 0.0
    for row, positive in enumerate(positives):
        p = similarity[row, positive]
        rest = similarity[row][~(target[row] | exclude[row])]
        n = np.sort(rest)[::-1][:n_negatives]
        hinge = np.maximum(0, n - p + np.clip(np.abs(p - n), *margin))
        violated = hinge > 0
        weights = np.exp(n[violated] / temperature)
        if violated.any():
            total += (weights / weights.sum()) @ hinge[violated]
    return total / len(similarity)


@settings(max_examples=60, deadline=None)
@given(
    n=st.integers(1, 9),
    extra=st.integers(0, 9),
    n_negatives=st.integers(1, 12),
    excluded=st.sampled_from([0.0, 0.3, 1.0]),
    seed=st.integers(0, 999),
)
def test_triplet_loss_is_its_formula(n, extra, n_negatives, excluded, seed):
    """Rows with fewer negatives than asked for, and with none, included."""
    rng = np.random.RandomState(seed)
    similarity = similarities(rng, n, n + extra)
    target = diagonal_target(rng, n, n + extra, share=0.3)
    exclude = torch.from_numpy(rng.random_sample(target.shape) < excluded) & ~target
    positives = draw_positives(target, torch.Generator().manual_seed(seed))
    value = DynamicMarginTripletLoss(n_negatives)(similarity, target, positives, exclude)
    value.backward()
    assert torch.isfinite(similarity.grad).all()
    expected = loss_by_hand(
        similarity.detach().numpy().astype(np.float64),
        target.numpy(),
        positives.numpy(),
        exclude.numpy(),
        n_negatives,
        (0.1, 0.3),
        0.1,
    )
    assert value.item() == pytest.approx(expected, abs=1e-5)


def test_margin_follows_the_distance_within_its_bounds():
    loss = DynamicMarginTripletLoss(1)
    target = torch.tensor([[True, False]])

    def value(positive, negative):
        return loss(torch.tensor([[positive, negative]]), target, torch.tensor([0])).item()

    assert value(0.50, 0.48) == pytest.approx(0.08)  # distance 0.02: margin 0.1
    assert value(0.50, 0.70) == pytest.approx(0.40)  # wrong way round by 0.2: margin 0.2
    assert value(0.10, 0.70) == pytest.approx(0.90)  # by 0.6: margin 0.3
    assert value(0.70, 0.50) == pytest.approx(0.0, abs=1e-6)  # right by 0.2, and more is not asked


def test_margin_has_no_gradient():
    similarity = torch.tensor([[0.5, 0.7]], requires_grad=True)
    loss = DynamicMarginTripletLoss(1)
    loss(similarity, torch.tensor([[True, False]]), torch.tensor([0])).backward()
    np.testing.assert_allclose(similarity.grad.numpy(), [[-1.0, 1.0]])


def test_regularizer_by_hand():
    text = torch.tensor([[0.6, 0.2, 0.1], [0.0, 0.9, 0.5]])
    prototype = torch.tensor([[0.55, 0.4, 0.3], [0.1, 0.5, 0.2]])
    target = torch.tensor([[True, False, False], [False, True, False]])
    value = PrototypeRegularizer(1)(text, prototype, target, torch.tensor([0, 1]))
    positives = np.array([0.6 - 0.55 + 0.1, 0.9 - 0.5 + 0.1])  # both above zero
    negatives = np.array([0.4 - 0.2 + 0.1])  # the other row's hardest, 0.2 - 0.5 + 0.1, is not
    assert value.item() == pytest.approx((positives.mean() + negatives.mean()) / 2)


def test_regularizer_is_zero_where_prototypes_are_better():
    text = torch.tensor([[0.2, 0.8]], requires_grad=True)
    prototype = torch.tensor([[0.9, 0.1]], requires_grad=True)
    value = PrototypeRegularizer()(
        text, prototype, torch.tensor([[True, False]]), torch.tensor([0])
    )
    value.backward()
    assert value.item() == 0.0
    assert not text.grad.any()
    assert not prototype.grad.any()


def test_threshold_consistent_loss_is_its_formula(rng):
    similarity = similarities(rng, 7, 9)
    target = diagonal_target(rng, 7, 9, share=0.3)
    exclude = torch.from_numpy(rng.random_sample((7, 9)) < 0.3) & ~target
    value = ThresholdConsistentLoss(0.4, -0.1)(similarity, target, exclude)
    value.backward()
    s, right = similarity.detach().numpy().astype(np.float64), target.numpy()
    wrong = ~right & ~exclude.numpy()
    low, high = right & (s <= 0.4), wrong & (s >= -0.1)
    expected = (0.4 - s[low]).mean() + (s[high] + 0.1).mean()
    assert value.item() == pytest.approx(expected, abs=1e-6)
    # Each violating pair pulls alike, and no other pair does.
    gradient = np.where(low, -1 / low.sum(), 0) + np.where(high, 1 / high.sum(), 0)
    np.testing.assert_allclose(similarity.grad.numpy(), gradient, atol=1e-7)


def test_threshold_consistent_loss_of_empty_sides():
    similarity = torch.tensor([[0.95, 0.2]], requires_grad=True)
    value = ThresholdConsistentLoss()(similarity, torch.tensor([[True, False]]))
    value.backward()
    assert value.item() == 0
    assert not similarity.grad.any()


# -------------------------------------------------------------------------- what must not matter


def test_excluded_pairs_and_other_positives_do_not_matter(rng):
    n, m = 6, 15
    similarity, prototype = similarities(rng, n, m), similarities(rng, n, m)
    target = diagonal_target(rng, n, m, share=0.2)
    exclude = torch.from_numpy(rng.random_sample((n, m)) < 0.3) & ~target
    positives = torch.arange(n)
    hidden = exclude | target
    hidden[positives, positives] = False
    value = DynamicMarginTripletLoss()(similarity, target, positives, exclude)
    value = value + PrototypeRegularizer()(similarity, prototype, target, positives, exclude)
    value.backward()
    assert hidden.sum() > 10
    assert not similarity.grad[hidden].any()
    assert not prototype.grad[hidden].any()
    assert similarity.grad[~hidden].any()

    def changed(matrix):
        return torch.where(hidden, torch.full_like(matrix, 5.0), matrix)

    again = DynamicMarginTripletLoss()(changed(similarity), target, positives, exclude)
    again = again + PrototypeRegularizer()(
        changed(similarity), changed(prototype), target, positives, exclude
    )
    assert again.item() == value.item()


@pytest.mark.parametrize("temperature", [0.1, None])
def test_rows_without_negatives_have_no_loss(temperature):
    similarity = torch.tensor([[0.1, 0.9], [0.3, 0.2]], requires_grad=True)
    target = torch.ones(2, 2, dtype=torch.bool)
    value = DynamicMarginTripletLoss(temperature=temperature)(
        similarity, target, torch.tensor([0, 1])
    )
    value = value + 0 * similarity.sum()
    value.backward()
    assert value.item() == 0.0
    assert not similarity.grad.any()


@pytest.mark.parametrize("temperature", [0.1, None])
def test_nan_is_not_hidden(temperature):
    """A loss of 0 on broken similarities would let training go on with broken weights."""
    similarity = torch.full((3, 4), torch.nan)
    target = torch.eye(3, 4, dtype=torch.bool)
    value = DynamicMarginTripletLoss(temperature=temperature)(similarity, target, torch.arange(3))
    assert not torch.isfinite(value)


# ------------------------------------------------------------------------------ drawing positives


def test_positives_are_drawn_evenly_among_targets():
    target = torch.zeros(3000, 5, dtype=torch.bool)
    target[:, [0, 2, 3]] = True
    drawn = draw_positives(target, torch.Generator().manual_seed(0))
    counts = np.bincount(drawn.numpy(), minlength=5)
    assert counts[1] == counts[4] == 0
    # Three standard deviations of a share of a third of 3,000 are 77.
    np.testing.assert_allclose(counts[[0, 2, 3]], 1000, atol=77)


def test_drawing_needs_only_the_generator():
    target = torch.ones(50, 20, dtype=torch.bool)
    first = draw_positives(target, torch.Generator().manual_seed(3))
    torch.rand(7)
    again = draw_positives(target, torch.Generator().manual_seed(3))
    assert torch.equal(first, again)


def test_rows_without_positives_draw_column_zero():
    assert draw_positives(torch.zeros(4, 3, dtype=torch.bool)).tolist() == [0, 0, 0, 0]
