"""Documents made of labels: what they hold, with whom they are joined, what is kept."""

import numpy as np
import pytest

from skxmc import ViXMLClassifier
from skxmc.datasets import documents_from_labels

LABELS = {
    "s1": ["wool", "the fleece of sheep"],
    "s2": "sheep",
    "t1": ["oak", "a tree with acorns", "quercus"],
    "t2": "acorn",
}
OWN = [["s1"], ["s1"], ["s2"], ["t1"], ["t1"], ["t1"], ["t2"]]
TEXTS = ["wool", "the fleece of sheep", "sheep", "oak", "a tree with acorns", "quercus", "acorn"]
LABEL_OF = {text: label for text, [label] in zip(TEXTS, OWN, strict=True)}


def bag_of_words(texts):
    """Vectors in which texts that share a word are near."""
    words = ["wool", "fleece", "sheep", "oak", "tree", "acorn", "acorns", "quercus"]
    vectors = [[word in text.split() for word in words] for text in texts]
    return np.array(vectors, dtype=np.float32) + np.float32([0.01, 0, 0, 0, 0, 0, 0, 0])


def test_each_text_is_a_document_of_its_label():
    assert documents_from_labels(LABELS, join=None) == (TEXTS, OWN)


@pytest.mark.parametrize("join", ["random", "similar"])
@pytest.mark.parametrize("n_joined", [1, 3])
def test_joined_documents_have_both_labels(join, n_joined):
    X, y = documents_from_labels(
        LABELS, join=join, n_joined=n_joined, embed=bag_of_words, random_state=0
    )
    n = len(TEXTS)
    assert len(X) == len(y) == n * (1 + n_joined)
    assert (X[:n], y[:n]) == (TEXTS, OWN)
    for text, (first, second) in zip(X[n:], y[n:], strict=True):
        parts = text.split(". ")
        assert len(parts) == 2
        assert {LABEL_OF[part] for part in parts} == {first, second}
        assert first != second


def test_partners_come_before_and_behind():
    X, y = documents_from_labels(LABELS, n_joined=200, random_state=0)
    first = [
        LABEL_OF[text.split(". ")[0]] == own[0] for text, own in zip(X[7:], y[7:], strict=True)
    ]
    assert 0.46 < np.mean(first) < 0.54


def test_all_texts_of_other_labels_may_be_partners():
    X, y = documents_from_labels(LABELS, n_joined=300, random_state=0)
    partners = {part for text in X[7:] for part in text.split(". ")}
    assert partners == set(TEXTS)
    of_sheep = [own[1] for own in y[7:] if own[0] == "s2"]
    counts = {label: of_sheep.count(label) / len(of_sheep) for label in ("s1", "t1", "t2")}
    # Texts are drawn, so that labels with more of them are drawn more often.
    assert counts["t1"] > counts["s1"] > counts["t2"] > 0


def test_similar_labels_are_partners(monkeypatch):
    monkeypatch.setattr("skxmc.datasets._label_documents._PARTNERS", 1)
    X, y = documents_from_labels(LABELS, join="similar", embed=bag_of_words, n_joined=5)
    partner = {}
    for first, second in y[7:]:
        partner.setdefault(first, set()).add(second)
    assert partner["s1"] == {"s2"}  # both have the word sheep
    assert partner["s2"] == {"s1"}
    assert len(X) == 42


def test_draws_are_those_of_the_seed():
    assert documents_from_labels(LABELS, random_state=3) == documents_from_labels(
        LABELS, random_state=3
    )
    assert documents_from_labels(LABELS, random_state=3) != documents_from_labels(
        LABELS, random_state=4
    )


def test_generated_sentences_come_back_to_their_label():
    asked = []

    def generate(texts):
        asked.append(texts)
        return [f"we shear {texts[0]}", "the oak", "  "]

    X, y = documents_from_labels(
        LABELS, join=None, generate=generate, round_trip=1, embed=bag_of_words
    )
    assert asked == [["wool", "the fleece of sheep"], ["sheep"], LABELS["t1"], ["acorn"]]
    # "the oak" is kept for the label t1 alone, and "we shear oak" says oak.
    assert list(zip(X[7:], y[7:], strict=True)) == [
        ("we shear wool", ["s1"]),
        ("we shear sheep", ["s2"]),
        ("we shear oak", ["t1"]),
        ("the oak", ["t1"]),
        ("we shear acorn", ["t2"]),
    ]
    X, _ = documents_from_labels(LABELS, join=None, generate=generate, round_trip=None)
    assert len(X) == 7 + 8


def test_a_single_sentence_is_one():
    X, _ = documents_from_labels(
        LABELS, join=None, generate=lambda texts: f"about {texts[0]}", round_trip=None
    )
    assert X[7:] == ["about wool", "about sheep", "about oak", "about acorn"]


def test_documents_without_labels_come_last():
    X, y = documents_from_labels(LABELS, unlabelled=["we are hiring", "apply now"], random_state=0)
    assert X[-2:] == ["we are hiring", "apply now"]
    assert y[-2:] == [[], []]


def test_a_single_label_has_no_partner():
    assert documents_from_labels(["oak"]) == (["oak"], [["oak"]])


def test_numbers_are_ids():
    _, y = documents_from_labels({7: "oak", 9: "elm"}, join=None)
    assert y == [[7], [9]]


def test_a_model_learns_from_them(tmp_path):
    from tiny_models import save_encoder

    words = ["wool", "fleece", "sheep", "oak", "tree", "acorn", "quercus", "hiring"]
    encoder = save_encoder(tmp_path, words=words)
    X, y = documents_from_labels(LABELS, n_joined=6, unlabelled=["we are hiring"] * 5)
    model = ViXMLClassifier(
        encoder, train_encoder="frozen", label_text=LABELS, random_state=0, device="cpu"
    ).fit(X, y)
    found, _ = model.predict_topk(["quercus", "wool"], k=1, return_labels=True)
    assert found.ravel().tolist() == ["t1", "s1"]


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"join": "nearest"}, ValueError, "join must be 'random', 'similar' or None"),
        ({"n_joined": 0}, ValueError, "n_joined must be an int of at least 1"),
        ({"round_trip": 1.5}, ValueError, "round_trip must be an int of at least 1"),
        ({"unlabelled": "we are hiring"}, TypeError, "unlabelled is a single text"),
        ({"join": "similar"}, ValueError, r"compare texts; pass embed=, such as TextEncoder\(\)"),
        ({"generate": lambda texts: ["a"]}, ValueError, "pass embed="),
        (
            {"generate": lambda texts: [3], "round_trip": None},
            TypeError,
            "generate gave 3 of type int for the label",
        ),
        (
            {"join": "similar", "embed": lambda texts: np.zeros(3)},
            ValueError,
            "embed gave an array of shape",
        ),
    ],
)
def test_wrong_arguments(arguments, error, message):
    with pytest.raises(error, match=message):
        documents_from_labels(LABELS, **arguments)


def test_without_labels():
    with pytest.raises(ValueError, match="label_text is None"):
        documents_from_labels(None)
