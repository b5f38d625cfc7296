"""Texts longer than the encoder takes: cut, or encoded in parts."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny_models import byte_pairs, save_encoder, tiny_backbone, word_pieces

from skxmc import ViXMLClassifier
from skxmc._backbones._transformers import TransformersBackbone
from skxmc._towers._items import TokenizedTexts
from skxmc._towers._text import TextTower
from skxmc.encoders import TextEncoder

WORDS = "red green blue apple car tree house dog cat bird fast slow".split()


@given(
    st.lists(st.lists(st.integers(0, 9), max_size=30), min_size=1, max_size=8),
    st.integers(1, 12),
)
def test_parts_of_texts_are_few_even_and_in_order(texts, longest):
    parts, owner = TokenizedTexts.from_lists(texts).in_parts(longest)
    assert (np.diff(owner) >= 0).all()
    for number, text in enumerate(texts):
        own = np.flatnonzero(owner == number)
        tokens = [parts.ids[parts.offsets[i] : parts.offsets[i + 1]].tolist() for i in own]
        assert [token for part in tokens for token in part] == text
        assert len(own) == max(1, -(-len(text) // longest))
        lengths = parts.lengths[own]
        assert lengths.max() <= longest
        assert lengths.max() - lengths.min() <= 1


def make_tower(tokenizer, max_length, max_chunks):
    backbone = TransformersBackbone.probe(tiny_backbone(vocabulary=len(tokenizer)), max_length)
    return TextTower(backbone, tokenizer, max_length=max_length, max_chunks=max_chunks)


def test_each_part_is_encoded_as_a_text_by_itself():
    tower = make_tower(word_pieces(WORDS), max_length=6, max_chunks=3)  # four words and two ends
    text = "red green blue apple car tree house dog cat"
    items, owner = tower.chunks([text, "fast bird", ""])
    alone = ["red green blue", "apple car tree", "house dog cat", "fast bird", ""]
    assert owner.tolist() == [0, 0, 0, 1, 2]
    expected = tower.items(alone).tokens
    np.testing.assert_array_equal(items.tokens.ids, expected.ids)
    np.testing.assert_array_equal(items.tokens.offsets, expected.offsets)
    # What is beyond the last part is cut.
    longer, _ = tower.chunks([" ".join([text, "slow bird fast slow apple"])])
    assert longer.tokens.lengths.tolist() == [6, 6, 6]


def test_tokenizers_without_special_tokens():
    tokenizer = byte_pairs("$A")
    tower = make_tower(tokenizer, max_length=4, max_chunks=5)
    whole = tokenizer("a long text", add_special_tokens=False)["input_ids"]
    items, owner = tower.chunks(["a long text", ""])
    assert items.tokens.ids[: len(whole)].tolist() == whole
    assert (items.tokens.lengths[owner == 0] <= 4).all()
    assert np.isfinite(tower.encode(items)).all()


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    return save_encoder(tmp_path_factory.mktemp("encoder"), words=WORDS)


def far_words(n, seed):
    """Texts whose label shows in their last words alone."""
    rng = np.random.RandomState(seed)
    texts, tags = [], []
    for _ in range(n):
        word = WORDS[rng.randint(4)]
        texts.append(" ".join([*rng.choice(WORDS[6:], 6), *[word] * 6]))
        tags.append([word])
    return texts, tags


def test_words_beyond_the_longest_length_count(encoder, tmp_path):
    X, y = far_words(200, 0)
    X_test, y_test = far_words(60, 1)
    right = {}
    for max_chunks in (1, 2):
        clf = ViXMLClassifier(
            TextEncoder(encoder, max_length=8, max_chunks=max_chunks),
            train_encoder="frozen",
            text_features="embedding",
            random_state=0,
            device="cpu",
        ).fit(X, y)
        names, _ = clf.predict_topk(X_test, k=1, return_labels=True)
        right[max_chunks] = np.mean(names[:, 0] == [name for (name,) in y_test])
    assert right[1] < 0.5
    assert right[2] > 0.8
    clf.save(tmp_path / "model")
    again = ViXMLClassifier.load(tmp_path / "model").predict_topk(X_test, k=3)
    np.testing.assert_array_equal(again[0], clf.predict_topk(X_test, k=3)[0])


@pytest.mark.parametrize(("max_chunks", "mode"), [(2, "full"), (0, "frozen"), (1.5, "frozen")])
def test_what_cannot_be_done_is_refused(encoder, max_chunks, mode):
    clf = ViXMLClassifier(TextEncoder(encoder, max_chunks=max_chunks), train_encoder=mode)
    with pytest.raises(ValueError, match="max_chunks"):
        clf.fit(["red", "blue"], [["a"], ["b"]])
