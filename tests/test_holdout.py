"""Held-out documents and their near-duplicates; blocks of features; devices."""

import numpy as np
import pytest
import scipy.sparse as sp
import torch

from skxmc import ViXMLClassifier
from skxmc._features._blocks import Features, block_scales
from skxmc._features._whitening import ImageWhitener
from skxmc._inputs._images import ImageFeatures
from skxmc._ranking import _holdout
from skxmc._ranking._holdout import count_folds, fold_documents, hold_out, without_rows
from skxmc._runtime import limits
from skxmc._runtime._device import has_fast_bfloat16_cpu, resolve_device, resolve_precision
from skxmc.metrics import precision_at_k
from skxmc.model_selection import Validation


def unit(vectors):
    vectors = np.asarray(vectors, dtype=np.float64)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors.astype(np.float32)


def one_label_each(n, n_labels=7):
    ones = np.ones(n, dtype=np.float32)
    return sp.csr_array((ones, (np.arange(n), np.arange(n) % n_labels)), shape=(n, n_labels))


def everybody(n):
    return np.ones(n, dtype=bool)


def twins(rng, n_groups, size, d=24):
    """Groups of near-equal vectors, far from those of other groups; and the group of each."""
    group = rng.permutation(np.repeat(np.arange(n_groups), size))
    centres = rng.normal(size=(n_groups, d))
    return Features(unit(centres[group] + 0.03 * rng.normal(size=(len(group), d)))), group


# -------------------------------------------------------------------------------------- holding out


def test_near_duplicates_are_held_out_together(rng):
    features, group = twins(rng, 100, 6)
    cosines = features.text @ features.text.T
    (held,) = hold_out(features.text, everybody(600), 0.1, rng)
    assert held.dtype == np.int64
    assert (np.diff(held) > 0).all()
    assert 60 <= len(held) < 60 + 6  # the last group may go beyond the share
    rest = np.setdiff1d(np.arange(600), held)
    assert cosines[np.ix_(held, rest)].max() <= _holdout.NEAR_DUPLICATE
    assert not np.intersect1d(group[held], group[rest]).size


def test_share_is_met_without_duplicates(rng):
    features = Features(unit(rng.normal(size=(500, 64))))
    (held,) = hold_out(features.text, everybody(500), 0.2, rng)
    assert len(held) == 100


def test_drawing_follows_the_random_state(rng):
    features = Features(unit(rng.normal(size=(300, 32))))
    first, second, third = (
        hold_out(features.text, everybody(300), 0.1, np.random.RandomState(seed))[0]
        for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(first, second)
    assert first.tolist() != third.tolist()
    assert first.max() > 150  # not the first ones


def test_too_few_documents_hold_out_nothing(rng):
    features = Features(unit(rng.normal(size=(39, 8))))
    assert hold_out(features.text, everybody(39), 0.5, rng) == []
    assert hold_out(features.text[:1], everybody(1), 0.5, rng) == []


def test_share_is_of_usable_documents(rng):
    features = Features(unit(rng.normal(size=(400, 64))))
    (held,) = hold_out(features.text, np.arange(400) % 2 == 1, 0.2, rng)
    assert len(held) == 40
    assert (held % 2 == 1).all()


def test_number_is_bounded(rng, monkeypatch):
    monkeypatch.setattr(_holdout, "MAX_HELD_OUT", 25)
    features = Features(unit(rng.normal(size=(400, 64))))
    (held,) = hold_out(features.text, everybody(400), 0.5, rng)
    assert len(held) == 25


@pytest.mark.parametrize("n", [30, 100])
def test_something_is_always_left_to_learn_from(n, rng):
    """All documents alike, or nearly all of them wanted."""
    alike = Features(np.tile(unit(rng.normal(size=(1, 8))), (n, 1)))
    for features in (alike, Features(unit(rng.normal(size=(n, 64))))):
        assert sum(map(len, hold_out(features.text, everybody(n), 0.99, rng))) < n


def test_parts_share_no_document_and_no_near_duplicate(rng):
    features, group = twins(rng, 100, 6)
    folds = hold_out(features.text, everybody(600), 0.2, rng, 3)
    assert [120 <= len(fold) < 126 for fold in folds] == [True] * 3
    assert len(np.unique(np.concatenate(folds))) == sum(map(len, folds))
    for fold in folds:
        assert not np.intersect1d(group[fold], group[np.setdiff1d(np.arange(600), fold)]).size


def test_parts_end_where_documents_do(rng):
    features = Features(unit(rng.normal(size=(100, 64))))
    folds = hold_out(features.text, everybody(100), 0.4, rng, 3)
    assert [len(fold) for fold in folds] == [40, 40]  # 20 are left, less the one that always is
    first, _ = hold_out(features.text, everybody(100), 0.4, np.random.RandomState(5), 2)
    (same,) = hold_out(features.text, everybody(100), 0.4, np.random.RandomState(5))
    np.testing.assert_array_equal(first, same)


@pytest.mark.parametrize(
    ("n", "expected"), [(100, 5), (1999, 5), (2000, 5), (14_682, 3), (28_925, 2), (10**6, 1)]
)
def test_parts_hold_enough_documents(n, expected):
    assert count_folds(n, 0.1) == expected


def test_few_documents_are_cut_into_parts_with_their_near_duplicates(rng):
    features, group = twins(rng, 60, 4)
    usable = np.arange(240) % 8 > 0
    folds = fold_documents(features.text, usable, rng)
    assert len(folds) == 5
    np.testing.assert_array_equal(np.sort(np.concatenate(folds)), np.flatnonzero(usable))
    sizes = [len(fold) for fold in folds]
    assert max(sizes) - min(sizes) <= 4
    assert sum(len(np.unique(group[fold])) for fold in folds) == len(np.unique(group[usable]))


def test_a_crowd_of_near_duplicates_is_cut_through(rng):
    """Documents of one label are all alike: each part has some of every label."""
    features, group = twins(rng, 4, 60)
    folds = fold_documents(features.text, everybody(240), rng)
    assert all(len(np.unique(group[fold])) == 4 for fold in folds)


def test_too_few_documents_are_not_cut(rng):
    features = Features(unit(rng.normal(size=(19, 8))))
    assert fold_documents(features.text, everybody(19), rng) == []


@pytest.mark.parametrize(
    ("validation", "n", "expected"),
    [
        (None, 2400, 5 * 240),  # tenths, as five of them are fewer than 4,000 documents
        (None, 400, 400),  # fifths
        (Validation(folds=1), 400, 40),
        (Validation(folds=2), 2400, 480),
        (Validation(folds=3), 300, 300),  # few documents are cut into so many parts
        (Validation(fraction=0.25), 400, 100),
        (Validation(fraction=0.25, folds=3), 400, 300),
        (0.25, 400, 100),
    ],
)
def test_documents_that_choose(validation, n, expected, rng):
    X, Y = unit(rng.normal(size=(n, 32))), one_label_each(n)
    clf = ViXMLClassifier(
        "precomputed", evidence=["neighbours"], validation=validation, random_state=0
    )
    judged = clf.fit(X, Y).ranker_.judged_
    assert len(judged) == pytest.approx(expected, abs=2)


def test_each_part_is_judged_by_evidence_that_has_not_seen_it(rng):
    """Labels are noise: neighbours that know a document itself would give them all."""
    X = unit(rng.normal(size=(2000, 32)))
    Y = one_label_each(2000, 200)[rng.permutation(2000)]
    clf = ViXMLClassifier("precomputed", evidence=["neighbours"], random_state=0).fit(X, Y)
    assert len(clf.ranker_.judged_) == 1000
    assert clf.ranker_.held_out_precision_ < 0.05
    assert precision_at_k(Y, clf.predict_topk(X, k=1), k=1) > 0.9


@pytest.mark.parametrize(
    ("validation", "message"),
    [
        ({"folds": 0}, "folds of validation must be 'auto' or an int of at least 1, got 0"),
        ({"folds": True}, "must be 'auto' or an int of at least 1, got True"),
        ({"folds": 2.5}, "must be 'auto' or an int of at least 1, got 2.5"),
        ({"folds": 4, "fraction": 0.3}, r"4 folds of 0.3 of the documents.*at most 0.25"),
    ],
)
def test_wrong_folds(validation, message, rng):
    clf = ViXMLClassifier("precomputed", validation=Validation(**validation))
    with pytest.raises(ValueError, match=message):
        clf.fit(unit(rng.normal(size=(50, 8))), one_label_each(50))


def test_folds_of_a_tuned_encoder_are_refused_before_any_work():
    clf = ViXMLClassifier("no such folder", validation=Validation(folds=2))
    with pytest.raises(ValueError, match="folds=2 of validation needs train_encoder='frozen'"):
        clf.fit(["one", "two"], [["a"], ["b"]])


def test_folds_are_refused_where_evidence_is_learned_once(monkeypatch, rng):
    monkeypatch.setattr(limits, "MAX_REBUILT", 49)
    X, Y = unit(rng.normal(size=(50, 8))), one_label_each(50)
    with pytest.raises(ValueError, match="above 49 documents or labels; there are 50 and 7"):
        ViXMLClassifier("precomputed", validation=Validation(folds=2)).fit(X, Y)
    clf = ViXMLClassifier("precomputed", evidence=["neighbours"], validation=0.5)
    assert len(clf.fit(X, Y).ranker_.judged_) == 25


def test_rows_are_emptied():
    Y = one_label_each(6, n_labels=3)
    before = Y.toarray()
    emptied = without_rows(Y, np.array([1, 4]))
    expected = before.copy()
    expected[[1, 4]] = 0
    np.testing.assert_array_equal(emptied.toarray(), expected)
    assert emptied.nnz == 4  # no explicit zeros
    assert emptied.dtype == np.float32
    np.testing.assert_array_equal(Y.toarray(), before)
    assert without_rows(Y, np.empty(0, dtype=np.int64)).nnz == 6


# ----------------------------------------------------------------------------------------- features


def test_blocks_are_taken_together(rng):
    features = Features(
        unit(rng.normal(size=(5, 4))),
        rng.normal(size=(5, 3)).astype(np.float32),
        sp.csr_array(rng.random_sample((5, 6)).astype(np.float32)),
    )
    assert len(features) == 5
    taken = features.take(np.array([4, 0]))
    np.testing.assert_array_equal(taken.text, features.text[[4, 0]])
    np.testing.assert_array_equal(taken.pictures, features.pictures[[4, 0]])
    np.testing.assert_array_equal(taken.words.toarray(), features.words.toarray()[[4, 0]])
    assert [block.shape for block in features.dense()] == [(5, 4), (5, 3)]
    text_only = Features(features.text).take(slice(1, 3))
    assert text_only.pictures is None
    assert text_only.words is None
    assert text_only.joined().shape == (2, 4)


def test_joined_blocks_have_unit_norm(rng):
    embeddings = unit(rng.normal(size=(4, 5)))
    images = 0.5 * unit(rng.normal(size=(4, 3)))
    images[1] = 0
    joined = Features(embeddings, images).joined()
    np.testing.assert_allclose(np.linalg.norm(joined, axis=1), 1, atol=1e-6)
    np.testing.assert_allclose(joined[1], [*embeddings[1], 0, 0, 0], atol=1e-6)
    cosine = joined[0] @ joined[2]
    expected = (embeddings[0] @ embeddings[2] + images[0] @ images[2]) / 1.25
    assert cosine == pytest.approx(expected, abs=1e-6)


def test_whitened_pictures_vary_alike_in_all_directions(rng):
    spread = np.array([30.0, 5.0, 1.0, 1.0, 1.0, 1.0])
    vectors = (10 + rng.normal(size=(2000, 6)) * spread).astype(np.float32)
    images = ImageFeatures(vectors, np.arange(2000, dtype=np.int32)[:, np.newaxis])
    white = ImageWhitener().fit(images).transform(images)
    np.testing.assert_allclose(np.linalg.norm(white.vectors, axis=1), 1, atol=1e-5)
    np.testing.assert_array_equal(white.index, images.index)
    assert white.vectors.dtype == np.float32
    np.testing.assert_allclose(np.cov(white.vectors.T), np.eye(6) / 6, atol=0.03)
    few = ImageWhitener(n_components=2).fit(images).transform(images)
    assert few.dimension == 2


@pytest.mark.parametrize("n", [1, 2])
def test_whitening_of_hardly_any_pictures(rng, n):
    images = ImageFeatures(rng.normal(size=(n, 6)).astype(np.float32), np.zeros((3, 1), np.int32))
    white = ImageWhitener().fit(images).transform(images)
    assert np.isfinite(white.vectors).all()


def test_scales_of_blocks():
    """By hand: rows are 5 and 5 long in the first block, 0 in the second, 1 and 3 in the third."""
    centred = np.array([[3.0, 4.0, 0.0, 1.0], [-3.0, -4.0, 0.0, -3.0]])
    scales = block_scales(centred, (2, 1, 1))
    np.testing.assert_allclose(scales, np.sqrt(3) * np.array([5, 5, 1, 2]))
    np.testing.assert_allclose(block_scales(centred), [np.linalg.norm(centred, axis=1).mean()] * 4)


def test_no_block_of_a_picture_hides_another(rng):
    small, large = rng.normal(size=(400, 3)), 1000 + 1000 * rng.normal(size=(400, 30))
    vectors = np.hstack([small, large]).astype(np.float32)
    index = np.arange(400, dtype=np.int32)[:, np.newaxis]
    blocks = ImageFeatures(vectors, index, (3, 30))
    assert blocks.take([2, 1]).widths == (3, 30)

    def share_of_small(images):
        """Of what the first three directions see of a picture."""
        components = ImageWhitener(n_components=3).fit(images).components_
        seen = components * vectors.std(axis=0)[:, np.newaxis]
        return (seen[:3] ** 2).sum() / (seen**2).sum()

    assert share_of_small(blocks) > 0.9
    assert share_of_small(ImageFeatures(vectors, index)) < 0.01


# ------------------------------------------------------------------------------------------ devices


def test_devices_by_name():
    assert resolve_device("cpu") == torch.device("cpu")
    assert resolve_device("auto").type in ("cpu", "cuda", "mps", "xpu")
    with pytest.raises(ValueError, match=r"device='abacus' cannot be used here .* pass 'auto'"):
        resolve_device("abacus")


def test_unavailable_device_is_an_error():
    if torch.cuda.is_available():
        pytest.skip("this machine has CUDA")
    with pytest.raises(ValueError, match="device='cuda' cannot be used here"):
        resolve_device("cuda")


def test_precision_by_name():
    cpu = torch.device("cpu")
    assert resolve_precision("float32", cpu) is torch.float32
    assert resolve_precision("bfloat16", cpu) is torch.bfloat16
    fast = torch.bfloat16 if has_fast_bfloat16_cpu() else torch.float32
    assert resolve_precision("auto", cpu) is fast
    assert resolve_precision("auto", torch.device("mps")) is torch.float32
