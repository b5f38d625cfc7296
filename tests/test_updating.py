"""Documents and labels that come after the fit, labels that go, and labels that are renamed."""

import copy
import pickle
import warnings

import numpy as np
import pytest
import scipy.sparse as sp
from plugins.popularity import Popularity
from rounding import assert_alike
from sklearn.base import clone
from tiny_models import save_encoder

from skxmc import DecoderXMCClassifier, ViXMLClassifier, estimate_memory
from skxmc.evidence import Evidence, LabelVectors, Neighbours, Prototypes, TokenMatching
from skxmc.indexes import HNSW, IVF

N_LABELS, WIDTH = 40, 16
WORDS = "red green blue apple car tree house dog cat bird".split()
# Of the precomputed documents, the first fit sees this many labels only.
KNOWN = 25


def sample(n, n_labels, seed):
    """Documents near the sum of the centres of their labels, and the names of these."""
    centres = np.random.RandomState(99).randn(N_LABELS, WIDTH)
    rng = np.random.RandomState(seed)
    labels = [rng.choice(n_labels, size=rng.randint(1, 3), replace=False) for _ in range(n)]
    X = np.stack([centres[own].sum(axis=0) for own in labels]) + 0.7 * rng.randn(n, WIDTH)
    return X.astype(np.float32), [[f"l{label:02}" for label in own] for own in labels]


OLD, NEW, TEST = sample(600, KNOWN, 0), sample(500, N_LABELS, 1), sample(300, N_LABELS, 2)
OLD_TEST = sample(300, KNOWN, 3)


@pytest.fixture(scope="module")
def fitted():
    """Fitted on the old documents; tests take copies."""
    return ViXMLClassifier("precomputed", random_state=0).fit(*OLD)


@pytest.fixture(scope="module")
def updated(fitted):
    """The same with the new documents."""
    return copy.deepcopy(fitted).partial_fit(*NEW)


def state_of(model):
    """All that predictions are made of, as bytes."""
    return pickle.dumps((model.ranker_.state_dict(), model.classes_, model.threshold_))


# --- documents ---


@pytest.mark.parametrize("kind", [ViXMLClassifier, DecoderXMCClassifier])
def test_on_an_unfitted_estimator_it_is_fit(kind):
    X, y = OLD[0][:80], OLD[1][:80]
    model = kind("precomputed", random_state=0)
    assert model.partial_fit(X, y) is model
    assert_alike(model.predict_topk(X), clone(model).fit(X, y).predict_topk(X))
    assert model.n_documents_added_ == 0


def test_new_labels_are_found_and_old_ones_kept(fitted, updated):
    assert fitted.score(*TEST) < 0.75
    assert updated.score(*TEST) > 0.9
    assert updated.score(*OLD_TEST) > fitted.score(*OLD_TEST) - 0.01
    refit = ViXMLClassifier("precomputed", random_state=0)
    refit.fit(np.vstack([OLD[0], NEW[0]]), OLD[1] + NEW[1])
    assert updated.score(*TEST) > refit.score(*TEST) - 0.03


def test_it_counts(fitted, updated):
    assert (updated.n_documents_added_, fitted.n_documents_added_) == (500, 0)
    assert len(updated.classes_) == N_LABELS
    assert updated.classes_[:KNOWN].tolist() == fitted.classes_.tolist()
    assert updated.ranker_.Y_.shape == (1100, N_LABELS)
    names = [name for own in OLD[1] + NEW[1] for name in own]
    counts = [names.count(name) for name in updated.classes_]
    np.testing.assert_array_equal(updated.ranker_.counts_, counts)


def test_ten_calls_are_close_to_one(fitted, updated):
    ten = copy.deepcopy(fitted)
    for part in np.array_split(np.arange(500), 10):
        ten.partial_fit(NEW[0][part], [NEW[1][row] for row in part])
    assert abs(ten.score(*TEST) - updated.score(*TEST)) <= 0.01
    assert ten.n_documents_added_ == 500
    # Counts, neighbours and prototypes are the same; only label vectors are trained.
    order = [ten.classes_.tolist().index(name) for name in updated.classes_]
    ages = [np.argsort(model.ranker_.rows_) for model in (updated, ten)]
    for name, rows in ("neighbours", ages), ("prototypes", [np.arange(N_LABELS), order]):
        one, other = (
            model.evidence_[name].index_.vectors(own)
            for model, own in zip((updated, ten), rows, strict=True)
        )
        np.testing.assert_allclose(other, one, atol=1e-5)


@pytest.mark.parametrize("index", ["exact", HNSW(), IVF()])
def test_prototypes_are_those_of_a_fit_on_all_documents(index):
    kinds = [Prototypes()]
    model = ViXMLClassifier("precomputed", evidence=kinds, index=index, random_state=0)
    model.fit(OLD[0], OLD[1])
    known = [row for row, own in enumerate(NEW[1]) if {*own} <= {*model.classes_}]
    X, y = NEW[0][known], [NEW[1][row] for row in known]
    model.partial_fit(X, y)
    whole = clone(model).fit(np.vstack([OLD[0], X]), OLD[1] + y)
    one, other = (m.evidence_["prototypes"].index_ for m in (model, whole))
    rows = np.arange(KNOWN)
    np.testing.assert_allclose(one.vectors(rows), other.vectors(rows), atol=1e-5)
    assert type(one) is type(other)


def test_neighbours_are_the_new_documents():
    model = ViXMLClassifier("precomputed", evidence=[Neighbours(n_neighbors=1)])
    model.fit(np.eye(4)[:3], [["a"], ["b"], ["c"]]).partial_fit(np.eye(4)[3:], [["new"]])
    found, _ = model.predict_topk(np.eye(4), k=1, return_labels=True)
    assert found[:, 0].tolist() == ["a", "b", "c", "new"]


@pytest.mark.parametrize("form", [np.asarray, sp.csr_matrix, sp.csc_array])
def test_indicators(form):
    rng = np.random.RandomState(0)
    X, Y = rng.randn(60, 8), (rng.rand(60, 6) < 0.3).astype(int)
    model = ViXMLClassifier("precomputed", random_state=0).fit(X[:40], form(Y[:40]))
    model.partial_fit(X[40:], form(Y[40:]))
    np.testing.assert_array_equal(model.ranker_.Y_.toarray(), Y)
    with pytest.raises(ValueError, match="y has 7 columns but the model was fitted on 6"):
        model.partial_fit(X[40:], form(np.hstack([Y, Y[:, :1]])[40:]))
    with pytest.raises(ValueError, match="19 rows"):
        model.partial_fit(X[40:], form(Y[41:]))
    with pytest.raises(ValueError, match="features"):
        model.partial_fit(X[40:, :5], form(Y[40:]))
    assert model.n_documents_added_ == 20


def test_names_that_are_numbers():
    model = ViXMLClassifier("precomputed", random_state=0).fit(np.eye(5)[:3], [[30], [10], [20]])
    model.partial_fit(np.eye(5)[3:], [[40, 10], [5]])
    assert model.classes_.tolist() == [10, 20, 30, 40, 5]
    assert model.classes_.dtype == np.int64
    with pytest.raises(TypeError, match="names the label 'x'"):
        model.partial_fit(np.eye(5)[3:], [["x"], ["y"]])


def test_excluded_pairs_and_documents_without_labels():
    X, y = OLD[0][:100], [*OLD[1][:98], [], []]
    model = ViXMLClassifier("precomputed", random_state=0).fit(X, y)
    n_labels, none = len(model.classes_), model.evidence_["label_vectors"].none_.copy()
    a, b = model.classes_[:2]
    # The first loses its only label, which says nothing; the last two have none.
    exclude = np.array([[0, 0], [1, 0]])
    model.partial_fit(NEW[0][:4], [[a], [a, b], [], []], exclude=exclude)
    assert model.n_documents_added_ == 3
    added = model.ranker_.Y_[[100, 101, 102]].toarray()
    np.testing.assert_array_equal(np.nonzero(added), [[0], [1]])
    assert model.ranker_.n_empty_ == 4
    assert model.ranker_.replay_.exclude[[100]].indices.tolist() == [0]
    assert not np.array_equal(none, model.evidence_["label_vectors"].none_)
    assert len(model.classes_) == n_labels


def test_a_model_without_such_documents_takes_them_too(fitted):
    model = copy.deepcopy(fitted).partial_fit(NEW[0][:5], [[]] * 5)
    assert model.evidence_["label_vectors"].none_ is None
    assert model.ranker_.n_empty_ == 5
    assert model.score(*OLD_TEST) > fitted.score(*OLD_TEST) - 0.02


def test_a_warning_says_when_a_refit_is_due(fitted):
    model = copy.deepcopy(fitted)
    known = [row for row, own in enumerate(NEW[1]) if {*own} <= {*model.classes_}]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.partial_fit(NEW[0][known], [NEW[1][row] for row in known])
    # Labels that the model does not know are never right: such documents are of another kind.
    other = np.setdiff1d(np.arange(500), known)
    with pytest.warns(UserWarning, match="best label was right for .* that the fit held out"):
        copy.deepcopy(fitted).partial_fit(NEW[0][other], [NEW[1][row] for row in other])
    n = len(known) + 500
    with pytest.warns(UserWarning, match=f"{n} documents were added .* fitted on 600; a refit"):
        model.partial_fit(*NEW)
    model.fit(OLD[0][:50], OLD[1][:50])
    assert model.n_documents_added_ == 0


def test_updates_are_equal_for_a_given_random_state(fitted, updated):
    again = copy.deepcopy(fitted).partial_fit(*NEW)
    assert_alike(again.predict_topk(TEST[0]), updated.predict_topk(TEST[0]))


# --- an error changes nothing ---


class Breaking(Evidence):
    """Raises what `error` names, once a document is added or a label removed."""

    name = "breaking"
    follows = True  # the others have learned by then

    def __init__(self, error="ZeroDivisionError", weight=0.0):
        self.error, self.weight = error, weight

    def fit(self, corpus):
        return True

    def propose(self, documents, k):
        shape = (len(documents), 1)
        return np.zeros(shape, dtype=np.int64), np.zeros(shape, dtype=np.float32)

    def update(self, update):
        assert update.kinds["neighbours"].index_ is not None
        raise {"ZeroDivisionError": ZeroDivisionError, "KeyboardInterrupt": KeyboardInterrupt}[
            self.error
        ]

    def remove_labels(self, kept):
        raise ZeroDivisionError


@pytest.mark.parametrize("error", [ZeroDivisionError, KeyboardInterrupt])
@pytest.mark.parametrize("index", ["exact", HNSW()])
def test_an_interruption_leaves_the_model_whole(error, index):
    kinds = [Prototypes(), Neighbours(), LabelVectors(epochs=1), Breaking(error.__name__)]
    model = ViXMLClassifier("precomputed", evidence=kinds, index=index, random_state=0)
    model.fit(OLD[0][:80], OLD[1][:80])
    before, found = state_of(model), model.predict_topk(TEST[0])
    with pytest.raises(error):
        model.partial_fit(*NEW)
    assert state_of(model) == before
    with pytest.raises(ZeroDivisionError):
        model.remove_labels([model.classes_[0]])
    assert state_of(model) == before
    assert_alike(model.predict_topk(TEST[0]), found)


def test_an_interrupt_of_training_leaves_the_model_whole(fitted, monkeypatch):
    from skxmc.evidence._one_vs_all import OneVsAllTraining

    def interrupt(self, features):
        self.weights.zero_()
        raise KeyboardInterrupt

    model = copy.deepcopy(fitted)
    before = state_of(model)
    monkeypatch.setattr(OneVsAllTraining, "run_epoch", interrupt)
    with pytest.raises(KeyboardInterrupt):
        model.partial_fit(*NEW)
    assert state_of(model) == before


# --- kinds of evidence from elsewhere ---


def test_kinds_without_an_update_work_as_before():
    kinds = [Prototypes(), Popularity()]
    model = ViXMLClassifier("precomputed", evidence=kinds, random_state=0)
    model.fit(OLD[0][:80], OLD[1][:80])
    with pytest.warns(UserWarning, match="a refit on all of them is due"):
        model.partial_fit(*NEW)
    assert len(model.evidence_["popularity"].counts_) == N_LABELS
    before = state_of(model)
    with pytest.raises(ValueError, match="'popularity' does not say how to remove labels"):
        model.remove_labels(["l01"])
    assert state_of(model) == before


# --- texts ---


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    return save_encoder(tmp_path_factory.mktemp("encoder"), words=WORDS)


def texts_of(n, words, seed):
    rng = np.random.RandomState(seed)
    drawn = [rng.choice(words, size=2, replace=False).tolist() for _ in range(n)]
    return [" ".join(own) for own in drawn], drawn


@pytest.mark.parametrize(
    "params",
    [{"train_encoder": "frozen"}, {"epochs": 1, "max_steps": 2, "batch_size": 16}],
    ids=["frozen", "full"],
)
def test_texts_and_new_labels_with_texts(encoder, params, tmp_path):
    model = ViXMLClassifier(encoder, random_state=0, **params)
    model.fit(*texts_of(60, WORDS[:6], 0))
    texts, names = texts_of(40, WORDS, 1)
    names = [["pet" if name == "dog" else name for name in own] for own in names]
    model.partial_fit(texts, names, label_text={"pet": "dog", "red": "is not read"})
    assert {"pet", "cat", "bird"} <= {*model.classes_}
    found, _ = model.predict_topk(["dog"], k=1, return_labels=True)
    assert found[0, 0] == "pet"
    model.save(tmp_path / "model")
    loaded = ViXMLClassifier.load(tmp_path / "model")
    more = texts_of(20, WORDS, 2)
    model.partial_fit(*more), loaded.partial_fit(*more)
    (labels, scores), (others, theirs) = (m.predict_topk(texts) for m in (model, loaded))
    np.testing.assert_array_equal(labels[:, 0], others[:, 0])
    np.testing.assert_allclose(scores, theirs, rtol=1e-3, atol=1e-4)


def test_many_labels_have_hard_negatives(encoder):
    """Prototypes see whole documents, whatever label vectors see of them."""
    kinds = [Prototypes(), LabelVectors(max_labels=4, random_negatives=2, epochs=2)]
    model = ViXMLClassifier(
        encoder, train_encoder="frozen", evidence=kinds, text_features="tfidf", random_state=0
    )
    model.fit(*texts_of(60, WORDS[:6], 0)).partial_fit(*texts_of(40, WORDS, 1))
    assert model.score(*texts_of(40, WORDS, 2)) > 0.8


def test_label_text_is_checked(fitted):
    model = ViXMLClassifier("precomputed")
    with pytest.raises(ValueError, match="label_text names new labels of a fitted model"):
        model.partial_fit(*OLD, label_text={"l00": "zero"})
    with pytest.raises(TypeError, match="label_text is of type list; pass a mapping"):
        fitted.partial_fit(*NEW, label_text=["a"])


# --- documents that go ---


def vectors_of(model, name):
    index = model.evidence_[name].index_
    return index.vectors(np.arange(len(index)))


@pytest.mark.parametrize("index", ["exact", HNSW(), IVF()])
def test_removed_documents_leave_evidence_as_without_them(index):
    kinds = ["prototypes", "neighbours"]
    params = {"evidence": kinds, "index": index, "random_state": 0}
    model = ViXMLClassifier("precomputed", **params).fit(*OLD)
    gone = np.random.RandomState(5).choice(600, size=150, replace=False)
    kept = np.setdiff1d(np.arange(600), gone)
    assert model.remove_documents(gone) is model
    without = clone(model).fit(OLD[0][kept], [OLD[1][row] for row in kept])
    assert model.classes_.tolist() == without.classes_.tolist()
    np.testing.assert_array_equal(model.ranker_.counts_, without.ranker_.counts_)
    np.testing.assert_array_equal(model.ranker_.rows_, kept)
    for name in kinds:
        np.testing.assert_allclose(vectors_of(model, name), vectors_of(without, name), atol=2e-3)
    # Numbers stay, and are counted on.
    nearest, _ = model.nearest(OLD[0][kept[:5]], n=1)
    assert nearest[:, 0].tolist() == kept[:5].tolist()
    model.partial_fit(NEW[0][:3], OLD[1][:3])
    assert model.ranker_.rows_[-3:].tolist() == [600, 601, 602]
    assert model.nearest(NEW[0][[1]], n=1)[0].tolist() == [[601]]


def test_the_sample_follows(fitted):
    model = copy.deepcopy(fitted).remove_documents(range(0, 600, 2))
    sample_of_it = model.ranker_.replay_
    assert sample_of_it.numbers.tolist() == list(range(1, 600, 2))
    assert sample_of_it.rows.tolist() == list(range(300))
    unit = OLD[0][1::2] / np.linalg.norm(OLD[0][1::2], axis=1, keepdims=True)
    np.testing.assert_allclose(sample_of_it.blocks["text"], unit, atol=2e-3)
    model.partial_fit(NEW[0][:50], NEW[1][:50])
    assert model.score(*OLD_TEST) > fitted.score(*OLD_TEST) - 0.03


def test_documents_go_by_their_ids(tmp_path):
    ids = [f"d{row}" for row in range(99)] + ["d0"]
    y = [*OLD[1][:50], [], *OLD[1][51:100]]
    model = ViXMLClassifier("precomputed", random_state=0)
    model.fit(OLD[0][:100], y, document_ids=ids)
    model.remove_documents("d0").remove_documents(["d7", "d50"])
    assert len(model.document_ids_) == len(model.ranker_.rows_) == 96
    assert not {"d0", "d7", "d50"} & {*model.document_ids_}
    found, _ = model.nearest(OLD[0][[0, 7, 8, 60]], n=1)
    assert found[0, 0] not in ("d0", "d7")
    assert found[2:, 0].tolist() == ["d8", "d60"]
    model.save(tmp_path / "model")
    loaded = ViXMLClassifier.load(tmp_path / "model")
    loaded.partial_fit(NEW[0][:2], OLD[1][:2], document_ids=["n0", "n1"])
    assert loaded.nearest(NEW[0][[1]], n=1)[0].tolist() == [["n1"]]


def test_documents_that_cannot_be_removed(fitted):
    model = copy.deepcopy(fitted)
    before = state_of(model)
    with pytest.raises(ValueError, match=r"ids holds 2 documents \(600, 700\), which the model"):
        model.remove_documents([3, 600, 700])
    with pytest.raises(ValueError, match="all documents"):
        model.remove_documents(range(600))
    model.remove_documents([])
    assert state_of(model) == before
    model.remove_documents(3)
    with pytest.raises(ValueError, match=r"1 document \(3\)"):
        model.remove_documents([3])
    kinds = [Prototypes(), Popularity()]
    other = ViXMLClassifier("precomputed", evidence=kinds, random_state=0).fit(*OLD)
    with pytest.raises(ValueError, match="'popularity' does not say how to remove documents"):
        other.remove_documents(0)


def test_a_label_that_lost_its_documents_learns_from_new_ones(fitted):
    model = copy.deepcopy(fitted)
    column = model.classes_.tolist().index("l00")
    model.remove_documents([row for row, own in enumerate(OLD[1]) if "l00" in own])
    kind = model.evidence_["label_vectors"]
    assert kind.counts_[column] == 0
    np.testing.assert_array_less(kind.counts_, model.ranker_.counts_ + 1e-9)
    before = kind.model_.vectors()[column].copy()
    rows = [row for row, own in enumerate(NEW[1]) if own == ["l00"]]
    model.partial_fit(NEW[0][rows], [["l00"]] * len(rows))
    assert np.abs(model.evidence_["label_vectors"].model_.vectors()[column] - before).max() > 0.01


def test_what_is_new_keeps_its_share_when_documents_go(fitted):
    """As many documents go as come: a label's vector still follows the new ones."""
    model = copy.deepcopy(fitted)
    before = model.evidence_["label_vectors"].counts_.copy()
    model.partial_fit(*NEW, max_documents=600)
    left = model.evidence_["label_vectors"].counts_
    assert model.ranker_.Y_.shape[0] == 600
    assert (left[:KNOWN] < before).all()
    assert (left[KNOWN:] == 0).all()


def test_labels_without_documents_stay_with_their_texts(encoder):
    texts, names = texts_of(80, WORDS, 0)
    model = ViXMLClassifier(encoder, train_encoder="frozen", random_state=0).fit(texts, names)
    holders = [row for row, own in enumerate(names) if "dog" in own]
    model.remove_documents(holders)
    column = model.classes_.tolist().index("dog")
    assert model.ranker_.counts_[column] == 0
    added = ViXMLClassifier(encoder, train_encoder="frozen", random_state=0)
    rest = [row for row in range(80) if row not in holders]
    added.fit([texts[row] for row in rest], [names[row] for row in rest]).add_labels(["dog"])
    one, other = (m.evidence_["label_vectors"].model_.weights_ for m in (model, added))
    assert one[column] @ other[-1] > 0.8 * np.linalg.norm(one[column]) * np.linalg.norm(other[-1])
    assert "dog" in model.predict_topk(["dog"], k=3, return_labels=True)[0]


def test_token_matching_forgets_documents_too(encoder):
    texts, names = texts_of(80, WORDS, 0)
    kinds = [Prototypes(), TokenMatching()]
    model = ViXMLClassifier(encoder, train_encoder="frozen", evidence=kinds, random_state=0)
    model.fit(texts, names)
    before = vectors_of(model, "token_matching")
    model.remove_documents([row for row, own in enumerate(names) if "dog" in own])
    column, after = model.classes_.tolist().index("dog"), vectors_of(model, "token_matching")
    text = model.transform(["dog"])[0]
    np.testing.assert_allclose(after[column], text, atol=1e-3)
    others = np.arange(len(after)) != column
    np.testing.assert_array_equal(after[others], before[others])


@pytest.mark.parametrize("ids", [False, True])
def test_the_oldest_documents_are_forgotten(fitted, ids):
    model = ViXMLClassifier("precomputed", random_state=0)
    names = [f"d{row}" for row in range(400)] if ids else None
    with pytest.raises(ValueError, match=r"max_documents must be .* got 0"):
        model.partial_fit(OLD[0][:300], OLD[1][:300], max_documents=0)
    part = names and names[:300]
    model.partial_fit(OLD[0][:300], OLD[1][:300], document_ids=part, max_documents=250)
    model.partial_fit(
        OLD[0][300:400], OLD[1][300:400], document_ids=names and names[300:], max_documents=250
    )
    assert model.ranker_.Y_.shape[0] == 250
    if ids:
        assert model.document_ids_.tolist() == names[150:]
    else:
        assert sorted(model.ranker_.rows_) == list(range(150, 400))
    assert len(model.ranker_.replay_.rows) == 250
    assert model.n_documents_added_ == 100


# --- what held-out documents choose ---


def test_probabilities_and_threshold_follow_where_there_are_enough_documents(fitted, updated):
    few = copy.deepcopy(fitted).partial_fit(NEW[0][:400], NEW[1][:400])
    assert few.threshold_ == fitted.threshold_
    assert updated.threshold_ != fitted.threshold_
    # All documents of the fit, each once, and a fifth of the new ones.
    assert updated.ranker_.calibrator_.n_documents_ == 600 + 100
    assert few.ranker_.calibrator_.n_documents_ == 600
    again = ViXMLClassifier("precomputed", threshold=0.4, random_state=0).fit(*OLD)
    assert again.partial_fit(*NEW).threshold_ == 0.4


def test_the_sample_has_the_size_that_is_asked_for():
    kinds = ["prototypes", "neighbours", LabelVectors(replay=0)]
    model = ViXMLClassifier("precomputed", evidence=kinds, random_state=0).fit(*OLD)
    model.partial_fit(NEW[0][:50], NEW[1][:50])
    assert len(model.ranker_.replay_.rows) == 0
    small, usual = (
        estimate_memory(ViXMLClassifier("precomputed", evidence=[kind]), *OLD).features
        for kind in (kinds[-1], "label_vectors")
    )
    assert usual - small == 600 * WIDTH * 2
    with pytest.raises(ValueError, match=r"replay of .label_vectors. must be .* got -1"):
        ViXMLClassifier("precomputed", evidence=[LabelVectors(replay=-1)]).fit(*OLD)


# --- labels that go, and names ---


def test_removed_labels_are_never_proposed(updated):
    model = copy.deepcopy(updated)
    gone = ["l03", "l30", "l39"]
    kept = [name for name in updated.classes_ if name not in gone]
    assert model.remove_labels(gone) is model
    assert model.classes_.tolist() == kept
    found, _ = model.predict_topk(TEST[0], k=len(kept), return_labels=True)
    assert not {*gone} & {*found.ravel()}
    assert model.predict(TEST[0]).shape == (300, len(kept))
    np.testing.assert_array_equal(
        model.ranker_.counts_,
        updated.ranker_.counts_[np.isin(updated.classes_.tolist(), kept)],
    )
    # What is left is ranked as if the others were excluded.
    expected, _ = updated.predict_topk(TEST[0], k=1, exclude=gone, return_labels=True)
    assert np.mean(found[:, :1] == expected) > 0.99
    model.partial_fit(NEW[0][:50], [["l03"]] * 50)  # and they may come back
    assert model.classes_[-1] == "l03"


def test_labels_that_cannot_be_removed(fitted):
    model = copy.deepcopy(fitted)
    names = ["l01", *(f"x{number}" for number in range(7))]
    with pytest.raises(ValueError, match=r"names holds 7 names \('x0', 'x1', 'x2', 'x3', 'x4', "):
        model.remove_labels(names)
    with pytest.raises(ValueError, match="all labels"):
        model.remove_labels(fitted.classes_)
    before = state_of(model)
    model.remove_labels([])
    assert state_of(model) == before


def test_thresholds_of_labels_follow():
    model = ViXMLClassifier("precomputed", threshold="per-label", random_state=0).fit(*OLD)
    threshold = model.threshold_.copy()
    assert threshold.shape == (KNOWN,)
    model.remove_labels("l00")
    np.testing.assert_array_equal(model.threshold_, threshold[1:])
    model.partial_fit(*NEW)
    assert model.threshold_.shape == (N_LABELS,)
    assert model.predict(TEST[0]).shape == (300, N_LABELS)


def test_renamed_labels(updated):
    model = copy.deepcopy(updated)
    assert model.rename_labels({"l00": "l01", "l01": "l00", "l39": "last"}) is model
    assert model.classes_[:2].tolist() == ["l01", "l00"]
    assert "last" in model.classes_
    np.testing.assert_array_equal(model.predict_topk(TEST[0])[0], updated.predict_topk(TEST[0])[0])
    model.partial_fit(NEW[0][:2], [["last"], ["l00"]])
    assert len(model.classes_) == N_LABELS


@pytest.mark.parametrize(
    ("names", "error", "message"),
    [
        ({"l00": "l01"}, ValueError, r"1 name \('l01'\) to two labels"),
        ({"zzz": "a"}, ValueError, r"names holds 1 name \('zzz'\), which the model does not know"),
        ({"l00": 3}, TypeError, "gives 'l00' the name 3 of type int"),
        (["l00"], TypeError, "names is of type list"),
    ],
)
def test_names_that_cannot_be_given(fitted, names, error, message):
    model = copy.deepcopy(fitted)
    with pytest.raises(error, match=message):
        model.rename_labels(names)
    assert model.classes_.tolist() == fitted.classes_.tolist()


# --- saving ---


def test_saved_and_pickled_models_keep_everything(updated, tmp_path):
    model = copy.deepcopy(updated).remove_labels("l07").rename_labels({"l08": "eight"})
    model.save(tmp_path / "model")
    loaded = ViXMLClassifier.load(tmp_path / "model")
    more = sample(60, N_LABELS, 7)
    copies = [model, loaded, pickle.loads(pickle.dumps(model))]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # a refit may be due
        found = [one.partial_fit(*more).predict_topk(TEST[0]) for one in copies]
    for one, (labels, scores) in zip(copies[1:], found[1:], strict=True):
        assert one.n_documents_added_ == 560
        assert one.classes_.tolist() == model.classes_.tolist()
        np.testing.assert_array_equal(labels[:, 0], found[0][0][:, 0])
        np.testing.assert_allclose(scores, found[0][1], rtol=1e-3, atol=1e-4)


# --- the sample of old documents ---


def test_the_sample_is_bounded_and_does_not_depend_on_the_calls():
    kinds = ["prototypes", "neighbours", LabelVectors(replay=100)]
    one = ViXMLClassifier("precomputed", evidence=kinds, random_state=0).fit(*OLD)
    ten = copy.deepcopy(one)
    one.partial_fit(*NEW)
    for part in np.array_split(np.arange(500), 10):
        ten.partial_fit(NEW[0][part], [NEW[1][row] for row in part])
    sample_of_one, sample_of_ten = one.ranker_.replay_, ten.ranker_.replay_
    assert sorted(sample_of_one.numbers) == sorted(sample_of_ten.numbers)
    assert len(sample_of_one.rows) == 100
    # About as many of the new documents as their share.
    assert 30 < np.count_nonzero(sample_of_one.rows >= 600) < 62
    everything = np.vstack([OLD[0], NEW[0]])
    everything /= np.linalg.norm(everything, axis=1, keepdims=True)
    np.testing.assert_allclose(
        sample_of_ten.blocks["text"], everything[sample_of_ten.numbers], atol=2e-3
    )
