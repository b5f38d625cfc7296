"""What belongs to a text encoder beside its name: prompts, widths, objects, tables, functions."""

import json
import pickle

import numpy as np
import pytest
from safetensors.numpy import save_file
from tiny_models import WIDTH, save_encoder, word_pieces

from skxmc import DecoderXMCClassifier, ViXMLClassifier, estimate_memory
from skxmc._features._blocks import unit_rows
from skxmc._towers._text import load_text_tower
from skxmc.encoders import TextEncoder
from skxmc.evidence import Prototypes, TokenMatching

WORDS = ["red", "blue", "green", "apple", "car", "query", "passage", "about"]
X, Y = (
    ["red apple", "blue car", "green", "red car"] * 6,
    [["red"], ["blue"], ["green"], ["car"]] * 6,
)
SETTINGS = {"random_state": 0, "device": "cpu", "precision": "float32"}


def sentence_transformer(path, **options):
    from sentence_transformers import SentenceTransformer

    return SentenceTransformer(path, device="cpu", **options)


def embed(tower, texts, **options):
    return tower.encode(tower.items(texts, **options))


@pytest.fixture
def plain(tmp_path):
    return save_encoder(tmp_path / "plain", words=WORDS)


@pytest.fixture
def prompted(plain, tmp_path):
    """A folder whose default prompt is that of queries."""
    prompts = {"query": "query about ", "passage": "passage: "}
    model = sentence_transformer(plain, prompts=prompts, default_prompt_name="query")
    model.save(str(tmp_path / "prompted"))
    return str(tmp_path / "prompted")


# --- prompts ---


def test_the_default_prompt_of_a_folder_is_used(prompted):
    tower = load_text_tower(prompted)
    expected = unit_rows(sentence_transformer(prompted).encode(X[:4]))
    np.testing.assert_allclose(embed(tower, X[:4]), expected, atol=1e-5)
    np.testing.assert_allclose(embed(tower, X[:4], of_labels=True), expected, atol=1e-5)
    without = load_text_tower(prompted, prompt=None)
    expected = unit_rows(sentence_transformer(prompted).encode(X[:4], prompt=""))
    np.testing.assert_allclose(embed(without, X[:4]), expected, atol=1e-5)
    assert not np.allclose(embed(tower, X[:4]), expected, atol=1e-3)


@pytest.mark.parametrize("given", ["passage", "passage: "])
def test_labels_have_a_prompt_of_their_own(prompted, given):
    tower = load_text_tower(prompted, label_prompt=given)
    model = sentence_transformer(prompted)
    expected = unit_rows(model.encode(X[:4], prompt="passage: "))
    np.testing.assert_allclose(embed(tower, X[:4], of_labels=True), expected, atol=1e-5)
    assert tower.settings() != load_text_tower(prompted).settings()


@pytest.mark.parametrize("mode", ["frozen", "full"])
def test_an_estimator_uses_and_saves_prompts(prompted, mode, tmp_path):
    encoder = TextEncoder(prompted, label_prompt="passage")
    model = ViXMLClassifier(encoder, train_encoder=mode, epochs=1, **SETTINGS).fit(X, Y)
    model.save(tmp_path / "model")
    loaded = ViXMLClassifier.load(tmp_path / "model", device="cpu")
    assert (loaded.tower_.prompt, loaded.tower_.label_prompt) == ("query about ", "passage: ")
    np.testing.assert_allclose(loaded.transform(X), model.transform(X), atol=1e-5)
    if mode == "frozen":
        expected = unit_rows(sentence_transformer(prompted).encode(X))
        np.testing.assert_allclose(model.transform(X), expected, atol=1e-5)
        names = model.featurizer_.label_features([["red"]], None, tuned=False).text
        expected = sentence_transformer(prompted).encode(["red"], prompt="passage: ")
        np.testing.assert_allclose(names, unit_rows(expected), atol=1e-5)
        model.add_labels(["apple"])


def test_a_cache_knows_prompts(plain, tmp_path):
    def fit(**params):
        encoder = TextEncoder(plain, **params)
        model = ViXMLClassifier(
            encoder, train_encoder="frozen", memory=tmp_path / "memory", **SETTINGS
        )
        prototypes = model.fit(X, Y).evidence_["prototypes"].index_
        return prototypes.vectors(np.arange(4))

    first = fit()
    assert not np.allclose(fit(label_prompt="about "), first, atol=1e-3)
    np.testing.assert_array_equal(fit(), first)


def test_prompts_are_no_words_of_a_text(prompted):
    evidence = [Prototypes(), TokenMatching()]
    model = ViXMLClassifier(prompted, train_encoder="frozen", evidence=evidence, **SETTINGS)
    model.fit(X, Y)
    tokens = model.tower_.encode_tokens(["red apple", ""])
    assert np.diff(tokens.offsets).tolist() == [2, 0]
    assert model.tower_.token_spans("red apple").tolist() == [[0, 3], [4, 9]]
    [[one]] = model.explain(["red apple"], k=1)
    assert {word for word, _ in one.matches} <= {"red", "apple"}


def test_a_pooling_without_its_prompt_is_refused(prompted):
    folder = prompted + "/1_Pooling/config.json"
    with open(folder) as file:
        config = json.load(file)
    with open(folder, "w") as file:
        json.dump({**config, "include_prompt": False}, file)
    with pytest.raises(ValueError, match=r"leaves its prompt out .* prompt=None"):
        load_text_tower(prompted)
    load_text_tower(prompted, prompt=None, label_prompt=None)


# --- widths, poolings and routes ---


@pytest.mark.parametrize("where", ["folder", "parameter"])
def test_embeddings_are_truncated(plain, tmp_path, where):
    model = sentence_transformer(plain, truncate_dim=8)
    model.save(str(tmp_path / "short"))
    if where == "folder":
        config = tmp_path / "short" / "config_sentence_transformers.json"
        content = json.loads(config.read_text())
        config.write_text(json.dumps({**content, "truncate_dim": 8}))
        loaded = sentence_transformer(str(tmp_path / "short"))
        if loaded.truncate_dim != 8:
            pytest.skip("this version of sentence-transformers does not keep it")
        encoder = TextEncoder(str(tmp_path / "short"))
    else:
        encoder = TextEncoder(plain, dimension=8)
    clf = ViXMLClassifier(encoder, train_encoder="frozen", **SETTINGS).fit(X, Y)
    expected = unit_rows(model.encode(X))
    assert expected.shape[1] == clf.tower_.dimension == 8
    np.testing.assert_allclose(clf.transform(X), expected, atol=1e-5)
    clf.save(tmp_path / "model")
    loaded = ViXMLClassifier.load(tmp_path / "model", device="cpu")
    np.testing.assert_allclose(loaded.transform(X), expected, atol=1e-5)


def test_truncated_embeddings_are_tuned(plain):
    clf = ViXMLClassifier(TextEncoder(plain, dimension=8), epochs=1, **SETTINGS).fit(X, Y)
    assert clf.transform(X).shape[1] == 8


def test_the_route_of_documents_is_taken(tmp_path):
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Router

    sides = [
        sentence_transformer(save_encoder(tmp_path / name, words=WORDS, seed=seed))
        for seed, name in enumerate(("query", "document"))
    ]
    router = Router.for_query_document(
        query_modules=list(sides[0]), document_modules=list(sides[1])
    )
    model = SentenceTransformer(modules=[router], device="cpu")
    tower = load_text_tower(model)
    expected = unit_rows(model.encode_document(X[:4]))
    np.testing.assert_allclose(embed(tower, X[:4]), expected, atol=1e-5)


# --- objects ---


@pytest.mark.parametrize("mode", ["frozen", "full", "lora"])
def test_a_loaded_model_is_taken_and_left_alone(plain, mode, tmp_path):
    model = sentence_transformer(plain)
    before = model.encode(X[:4])
    clf = ViXMLClassifier(model, train_encoder=mode, epochs=1, **SETTINGS).fit(X, Y)
    np.testing.assert_array_equal(model.encode(X[:4]), before)
    if mode == "frozen":
        np.testing.assert_allclose(clf.transform(X[:4]), unit_rows(before), atol=1e-5)
    with pytest.warns(UserWarning, match="encoder is not saved"):
        clf.save(tmp_path / "model")
    loaded = ViXMLClassifier.load(tmp_path / "model", device="cpu")
    np.testing.assert_allclose(loaded.transform(X), clf.transform(X), atol=1e-5)
    pickled = pickle.loads(pickle.dumps(clf))
    np.testing.assert_allclose(pickled.transform(X), clf.transform(X), atol=1e-5)


def letters(texts):
    """Counts of letters: an encoder without weights."""
    return np.array([[text.count(letter) for letter in "abcdegln"] for text in texts]) + 0.1


class Counts:
    def encode(self, texts):
        return letters(texts)


@pytest.mark.parametrize("encoder", [letters, Counts(), TextEncoder(letters)])
def test_a_function_is_an_encoder(encoder):
    clf = ViXMLClassifier(encoder, train_encoder="frozen", **SETTINGS).fit(X, Y)
    np.testing.assert_allclose(
        clf.transform(X[:3]), unit_rows(letters(X[:3]).astype(np.float32)), atol=1e-6
    )
    assert clf.predict_topk(X[:4], k=1, return_labels=True)[0].shape == (4, 1)
    assert clf.predict_topk([], k=1)[0].shape == (0, 1)
    clf.add_labels(["apple"])
    pickled = pickle.loads(pickle.dumps(clf))
    np.testing.assert_array_equal(pickled.transform(X), clf.transform(X))


def test_what_a_function_cannot_do_is_said(tmp_path):
    clf = ViXMLClassifier(letters, train_encoder="frozen", **SETTINGS).fit(X, Y)
    with (
        pytest.warns(UserWarning, match="encoder is not saved"),
        pytest.raises(ValueError, match=r"encoder is a callable.*joblib\.dump"),
    ):
        clf.save(tmp_path / "model")
    assert not (tmp_path / "model").exists()
    with pytest.raises(ValueError, match="train_encoder='full' tunes a transformer"):
        ViXMLClassifier(letters, **SETTINGS).fit(X, Y)
    with pytest.raises(ValueError, match="backend='openvino' computes transformers"):
        ViXMLClassifier(letters, train_encoder="frozen", backend="openvino", **SETTINGS).fit(X, Y)
    with pytest.raises(TypeError, match="only ViXMLClassifier takes objects that encode texts"):
        DecoderXMCClassifier(letters, train_encoder="frozen").fit(X, Y)
    with pytest.raises(ValueError, match="this one is an object; pass its name"):
        estimate_memory(ViXMLClassifier(letters), X, Y)
    matching = ViXMLClassifier(letters, train_encoder="frozen", evidence=["token_matching"])
    with pytest.raises(ValueError, match="gives no vectors of single words"):
        matching.fit(X, Y)


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (
            lambda texts: np.zeros(len(texts)),
            r"shape \(24,\) for 24 texts|shape \(1,\) for 1 texts",
        ),
        (lambda texts: np.full((len(texts), 3), np.nan), "a vector with NaN or infinity for"),
    ],
)
def test_what_a_function_gives_is_checked(function, message):
    with pytest.raises(ValueError, match=message):
        ViXMLClassifier(function, train_encoder="frozen", **SETTINGS).fit(X, Y)


# --- tables of word vectors ---


def table_of(tokenizer):
    return np.random.RandomState(0).normal(size=(len(tokenizer), 6)).astype(np.float32)


def mean_by_hand(table, tokenizer, texts, weights=None, skipped=()):
    rows = []
    for text in texts:
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
        ids = [i for i in ids if i not in skipped]
        own = table[ids] if weights is None else table[ids] * weights[ids, None]
        rows.append(own.mean(axis=0) if ids else np.zeros(table.shape[1]))
    return unit_rows(np.float32(rows))


def save_model2vec(folder, tokenizer, **arrays):
    folder.mkdir()
    tokenizer.backend_tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "config.json").write_text(json.dumps({"model_type": "model2vec", "normalize": True}))
    save_file(arrays, folder / "model.safetensors")


@pytest.mark.parametrize("form", ["plain", "weighted"])
def test_tables_of_model2vec(form, tmp_path):
    tokenizer = word_pieces(WORDS)
    arrays = {"embeddings": table_of(tokenizer)}
    table, weights = arrays["embeddings"], None
    if form == "weighted":  # and several tokens share a row
        mapping = np.arange(len(tokenizer)) // 2
        weights = np.random.RandomState(1).rand(len(tokenizer)).astype(np.float32)
        arrays = {"embeddings": table[: mapping.max() + 1], "mapping": mapping, "weights": weights}
        table = arrays["embeddings"][mapping]
    save_model2vec(tmp_path / "table", tokenizer, **arrays)
    texts = [*X[:4], "", "é red"]
    clf = ViXMLClassifier(str(tmp_path / "table"), train_encoder="frozen", **SETTINGS).fit(X, Y)
    unknown = {tokenizer.unk_token_id}
    expected = mean_by_hand(table, tokenizer, texts, weights, unknown)
    np.testing.assert_allclose(clf.transform(texts), expected, atol=1e-5)
    clf.save(tmp_path / "model")
    loaded = ViXMLClassifier.load(tmp_path / "model", device="cpu")
    np.testing.assert_allclose(loaded.transform(texts), expected, atol=1e-5)
    pickled = pickle.loads(pickle.dumps(clf))
    np.testing.assert_array_equal(pickled.transform(texts), clf.transform(texts))
    with pytest.raises(ValueError, match="train_encoder='lora' tunes a transformer"):
        ViXMLClassifier(str(tmp_path / "table"), train_encoder="lora").fit(X, Y)


def test_a_folder_of_model2vec_that_lacks_a_file(tmp_path):
    save_model2vec(tmp_path / "table", word_pieces(WORDS), embeddings=np.eye(3, dtype=np.float32))
    (tmp_path / "table" / "tokenizer.json").unlink()
    with pytest.raises(ValueError, match=r"lacks tokenizer\.json"):
        ViXMLClassifier(str(tmp_path / "table"), train_encoder="frozen").fit(X, Y)


def test_static_embeddings_of_sentence_transformers(tmp_path):
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import StaticEmbedding

    tokenizer = word_pieces(WORDS)
    static = StaticEmbedding(tokenizer.backend_tokenizer, embedding_weights=table_of(tokenizer))
    model = SentenceTransformer(modules=[static], device="cpu")
    model.save(str(tmp_path / "static"))
    expected = unit_rows(model.encode(X[:4]))
    for encoder in (model, str(tmp_path / "static")):
        clf = ViXMLClassifier(encoder, train_encoder="frozen", **SETTINGS).fit(X, Y)
        np.testing.assert_allclose(clf.transform(X[:4]), expected, atol=1e-5)


def test_an_encoder_encodes_by_itself(plain):
    expected = unit_rows(sentence_transformer(plain).encode(X[:4]))
    np.testing.assert_allclose(TextEncoder(plain).encode(X[:4]), expected, atol=1e-5)
    np.testing.assert_allclose(
        TextEncoder(letters).encode(X[:4]), unit_rows(letters(X[:4]).astype(np.float32)), atol=1e-6
    )


def test_widths_come_from_a_pass(plain):
    tower = load_text_tower(plain)
    assert tower.backbone.width == tower.dimension == WIDTH
