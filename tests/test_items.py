"""Ragged tokens, items with images, packs: nothing is lost, doubled or mixed up."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from skxmc._inputs._images import ImageFeatures
from skxmc._towers._items import Items, TokenizedTexts, make_packs


def make_items(rng, n, *, images=True, slots=False, longest=9, n_distinct=5, width=3, dimension=4):
    """Items whose tokens are all different, so that a mix-up shows."""
    lengths = rng.randint(1, longest + 1, size=n)
    ids = rng.permutation(int(lengths.sum()))
    sequences = np.split(ids, np.cumsum(lengths)[:-1]) if n else []
    tokens = TokenizedTexts.from_lists([part.tolist() for part in sequences])
    if not images:
        return Items(tokens)
    index = rng.randint(n_distinct, size=(n, width)).astype(np.int32)
    index[np.arange(width) >= rng.randint(width + 1, size=n)[:, np.newaxis]] = -1
    vectors = rng.normal(size=(n_distinct, dimension)).astype(np.float32)
    images = ImageFeatures(vectors, index)
    return Items(tokens, images, rng.randint(lengths + 1).astype(np.int64) if slots else None)


def test_texts_are_trimmed_at_both_ends():
    texts = TokenizedTexts.from_lists([[1, 2, 3, 4], [5], [6, 7, 8]])
    trimmed = texts.trimmed(np.array([1, 0, 2]), np.array([2, 1, 0]))
    assert trimmed.ids.tolist() == [2, 8]
    assert trimmed.offsets.tolist() == [0, 1, 1, 2]


def contents(items):
    """Each item as its sequence of tokens and image vectors."""
    tokens = items.tokens
    sequences = [tokens.ids[a:b].tolist() for a, b in pairwise(tokens.offsets)]
    if items.images is not None:
        for i, (sequence, row) in enumerate(zip(sequences, items.images.index, strict=True)):
            slot = 0 if items.image_slots is None else items.image_slots[i]
            sequence[slot:slot] = items.images.vectors[row[row >= 0]].tolist()
    return sequences


def n_images(sequence):
    return sum(isinstance(place, list) for place in sequence)


def unpacked(pack):
    """The sequences of a pack, read from its tensors alone."""
    n_text = len(pack.token_ids)
    order = torch.arange(n_text) if pack.order is None else pack.order
    assert len(order) == len(pack.positions)
    row = 0
    for count, length in pack.runs:
        for _ in range(count):
            places = order[row : row + length]
            assert pack.positions[row : row + length].tolist() == list(range(length))
            yield [
                pack.token_ids[place].item()
                if place < n_text
                else pack.image_vectors[place - n_text].tolist()
                for place in places
            ]
            row += length
    assert row == len(order)


# ----------------------------------------------------------------------------------------- ragged


def test_tokens_are_ragged_int32():
    tokens = TokenizedTexts.from_lists([[5, 6], [7], [], [8, 9, 10]])
    assert tokens.ids.dtype == np.int32
    assert tokens.offsets.dtype == np.int64
    assert tokens.ids.tolist() == [5, 6, 7, 8, 9, 10]
    assert tokens.offsets.tolist() == [0, 2, 3, 3, 6]
    assert tokens.lengths.tolist() == [2, 1, 0, 3]
    assert len(tokens) == 4


def test_no_texts_at_all():
    tokens = TokenizedTexts.from_lists([])
    assert len(tokens) == 0
    assert tokens.ids.dtype == np.int32
    packs, order = make_packs(Items(tokens), np.empty(0, dtype=np.int64), 10)
    assert list(packs) == []
    assert len(order) == 0


# ------------------------------------------------------------------------------------------ items


@settings(max_examples=60, deadline=None)
@given(
    n=st.integers(0, 12),
    images=st.booleans(),
    slots=st.booleans(),
    seed=st.integers(0, 999),
    data=st.data(),
)
def test_take_is_indexing(n, images, slots, seed, data):
    items = make_items(np.random.RandomState(seed), n, images=images, slots=slots)
    rows = data.draw(st.lists(st.integers(0, n - 1), max_size=20)) if n else []
    taken = items.take(np.array(rows, dtype=np.int64))
    everything = contents(items)
    assert contents(taken) == [everything[row] for row in rows]
    assert taken.tokens.ids.dtype == np.int32
    assert taken.image_counts().tolist() == [n_images(everything[row]) for row in rows]


@settings(max_examples=60, deadline=None)
@given(
    n=st.integers(0, 6),
    m=st.integers(0, 6),
    first=st.booleans(),
    second=st.booleans(),
    slots=st.tuples(st.booleans(), st.booleans()),
    widths=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    seed=st.integers(0, 999),
)
def test_addition_is_concatenation(n, m, first, second, slots, widths, seed):
    """Also where one side has no images, another number of columns, or its images elsewhere."""
    rng = np.random.RandomState(seed)
    left = make_items(rng, n, images=first, slots=slots[0], width=widths[0])
    right = make_items(rng, m, images=second, slots=slots[1], width=widths[1])
    both = left + right
    assert len(both) == n + m
    assert contents(both) == contents(left) + contents(right)
    assert (both.images is None) == (not first and not second)
    if both.images is not None:
        assert both.images.index.dtype == np.int32
        assert both.images.vectors.dtype == np.float32


def test_representatives_are_the_first_of_equal_items():
    tokens = TokenizedTexts.from_lists([[1, 2], [3], [1, 2], [1, 2], [1, 2], [3]])
    assert Items(tokens).representatives().tolist() == [0, 1, 0, 0, 0, 1]
    index = np.array([[0, 1], [-1, -1], [0, 1], [0, -1], [1, 0], [-1, -1]], dtype=np.int32)
    images = ImageFeatures(np.eye(2, dtype=np.float32), index)
    assert Items(tokens, images).representatives().tolist() == [0, 1, 0, 3, 4, 1]


def test_representatives_tell_places_of_images_apart():
    tokens = TokenizedTexts.from_lists([[1, 2], [1, 2], [1, 2]])
    images = ImageFeatures(np.eye(2, dtype=np.float32), np.zeros((3, 1), dtype=np.int32))
    assert Items(tokens, images, np.array([0, 2, 0])).representatives().tolist() == [0, 1, 0]


def test_representatives_tell_splits_of_the_same_tokens_apart():
    tokens = TokenizedTexts.from_lists([[1], [2, 3], [1, 2], [3]])
    assert Items(tokens).representatives().tolist() == [0, 1, 2, 3]


@settings(max_examples=60, deadline=None)
@given(
    texts=st.lists(st.lists(st.integers(0, 9), max_size=4), max_size=8),
    heads=st.lists(st.lists(st.integers(10, 19), max_size=3), min_size=2, max_size=2),
    tails=st.lists(st.lists(st.integers(20, 29), max_size=3), min_size=2, max_size=2),
    data=st.data(),
)
def test_constant_tokens_stand_around_texts(texts, heads, tails, data):
    n = len(texts)
    kinds = np.array(data.draw(st.lists(st.integers(0, 1), min_size=n, max_size=n)), dtype=int)
    arrays = [[np.array(part, dtype=np.int32) for part in parts] for parts in (heads, tails)]
    got = TokenizedTexts.from_lists(texts).surrounded(*arrays, kinds)
    assert got.ids.dtype == np.int32
    assert contents(Items(got)) == [
        heads[kind] + text + tails[kind] for text, kind in zip(texts, kinds, strict=True)
    ]


# ------------------------------------------------------------------------------------------ packs


@settings(max_examples=150, deadline=None)
@given(
    n=st.integers(1, 25),
    images=st.booleans(),
    slots=st.booleans(),
    chunk_tokens=st.integers(1, 80),
    seed=st.integers(0, 9999),
    data=st.data(),
)
def test_packs_hold_every_selected_item_once(n, images, slots, chunk_tokens, seed, data):
    items = make_items(np.random.RandomState(seed), n, images=images, slots=slots)
    selected = np.array(data.draw(st.permutations(range(n)))[: data.draw(st.integers(1, n))])
    packs, order = make_packs(items, selected, chunk_tokens)
    packs = list(packs)
    everything = contents(items)
    found = [sequence for pack in packs for sequence in unpacked(pack)]
    # The order says which item each sequence is: documents can be put back in their places.
    assert found == [everything[item] for item in selected[order]]
    assert sorted(order.tolist()) == list(range(len(selected)))
    lengths = [len(sequence) for sequence in found]
    assert lengths == sorted(lengths)
    counts = [count for pack in packs for count in pack.image_counts.tolist()]
    assert counts == [n_images(sequence) for sequence in found]
    for pack in packs:
        assert len(pack.positions) == sum(count * length for count, length in pack.runs)
        assert len(pack.positions) <= chunk_tokens or pack.n_items == 1
        assert (pack.order is None) == (pack.image_vectors is None)
        assert (pack.order is None) == (not pack.image_counts.any())
    # No pack could have taken the first item of the next as well.
    for pack, following in pairwise(packs):
        first = following.runs[0][1]
        assert len(pack.positions) + first > chunk_tokens


def test_pack_is_moved_as_a_whole():
    items = make_items(np.random.RandomState(0), 6)
    (pack,), _ = make_packs(items, np.arange(6), 1000)
    moved = pack.to(torch.device("meta"))
    assert moved.runs == pack.runs
    for name in ("token_ids", "positions", "image_counts", "order", "image_vectors"):
        assert getattr(moved, name).device.type == "meta"
        assert getattr(moved, name).shape == getattr(pack, name).shape


def test_pack_has_the_types_that_embedding_tables_take():
    items = make_items(np.random.RandomState(0), 6)
    (pack,), order = make_packs(items, np.arange(6), 1000)
    for tensor in (pack.token_ids, pack.positions, pack.order, pack.image_counts):
        assert tensor.dtype == torch.int64
    assert pack.image_vectors.dtype == torch.float32
    assert order.dtype == np.int64


@pytest.mark.parametrize("chunk_tokens", [1, 7, 1000])
def test_there_is_one_run_a_length(chunk_tokens):
    """Attention is called once a run, so there should be few."""
    items = make_items(np.random.RandomState(1), 40, longest=4)
    packs, _ = make_packs(items, np.arange(40), chunk_tokens)
    for pack in packs:
        lengths = [length for _, length in pack.runs]
        assert lengths == sorted(set(lengths))
