"""Kinds of evidence: which ones are fitted, and the mixture of more than three of them."""

import sys
import textwrap

import numpy as np
import pytest
import scipy.sparse as sp
from sklearn.base import clone

from skxmc import ViXMLClassifier
from skxmc._ranking import _mixture
from skxmc._ranking._mixture import MixedKind, Mixture
from skxmc.evidence import Evidence, LabelVectors, Neighbours, Prototypes, resolve_evidence

PACKAGE = """
import numpy as np
from skxmc.evidence import Evidence


class Popularity(Evidence):
    name = "popularity"

    def fit(self, corpus):
        counts = np.bincount(corpus.Y.indices, minlength=corpus.n_labels)
        self.best_ = np.argsort(-counts, kind="stable")
        self.scores_ = np.log1p(counts[self.best_]).astype(np.float32)
        return True

    def propose(self, documents, k):
        shape = (len(documents), min(k, len(self.best_)))
        labels = np.broadcast_to(self.best_[:k], shape)
        return labels.astype(np.int64), np.broadcast_to(self.scores_[:k], shape)
"""


class Constant(Evidence):
    """Proposes the first labels; takes its time, or reads what others say."""

    name = "constant"

    def __init__(self, weight="auto", extra=None):
        self.weight = weight
        self.extra = extra

    def fit(self, corpus):
        self.seen_ = sorted(corpus.kinds)
        return True

    def propose(self, documents, k):
        labels = np.tile(np.arange(k), (len(documents), 1))
        return labels, np.zeros(labels.shape, dtype=np.float32)


class Follower(Constant):
    name = "follower"
    follows = True


class Namesake(Constant):
    name = "neighbours"


class Taken(Constant):
    name = "index"


class Silent(Constant):
    """Never finds anything to learn from."""

    name = "silent"

    def fit(self, corpus):
        return False


def _names(kinds):
    return [kind.name for kind in kinds]


# -- which kinds are fitted --------------------------------------------------------------------


def test_the_usual_kinds():
    kinds = resolve_evidence(None)
    assert [type(kind) for kind in kinds] == [Prototypes, Neighbours, LabelVectors]
    assert [repr(kind) for kind in kinds] == ["Prototypes()", "Neighbours()", "LabelVectors()"]


@pytest.mark.parametrize(
    ("name", "kind"),
    [("prototypes", Prototypes), ("neighbours", Neighbours), ("label_vectors", LabelVectors)],
)
def test_names_stand_for_default_parameters(name, kind):
    for given in ([name], (name,), name):
        (found,) = resolve_evidence(given)
        assert type(found) is kind
        assert repr(found) == repr(kind())


def test_objects_are_cloned():
    given = Neighbours(n_neighbors=3, weight=0.25)
    given.index_ = "of an earlier fit"
    (found,) = resolve_evidence([given])
    assert found is not given
    assert found.get_params() == given.get_params()
    assert not hasattr(found, "index_")
    (alone,) = resolve_evidence(given)
    assert alone.get_params() == given.get_params()


def test_kinds_that_follow_come_last_and_the_others_stay_in_order():
    given = [LabelVectors(), Follower(), "neighbours", Constant(), "prototypes"]
    assert _names(resolve_evidence(given)) == [
        "neighbours",
        "constant",
        "prototypes",
        "label_vectors",
        "follower",
    ]


@pytest.mark.parametrize(
    "given",
    [["neighbours", "neighbours"], [Neighbours(5), "neighbours"], [Neighbours(), Namesake()]],
    ids=str,
)
def test_two_kinds_of_one_name_are_refused(given):
    with pytest.raises(ValueError, match="two kinds with the name 'neighbours'"):
        resolve_evidence(given)


@pytest.mark.parametrize("given", [[], ()])
def test_no_kind_at_all_is_refused(given):
    with pytest.raises(ValueError, match=r"evidence is empty.*at least one kind"):
        resolve_evidence(given)


@pytest.mark.parametrize("wrong", [3, None, Neighbours, ["prototypes"]], ids=str)
def test_what_is_no_kind_is_named_with_its_place(wrong):
    kind = type(wrong).__name__
    with pytest.raises(TypeError, match=rf"evidence\[1\] is of type {kind}; pass a name or an"):
        resolve_evidence(["prototypes", wrong])


def test_unknown_names_list_the_known_ones():
    known = "'label_vectors', 'lexical_matching', 'neighbours', 'prototypes'"
    with pytest.raises(ValueError, match=rf"'trees' is not one of the evidence.*{known}"):
        resolve_evidence(["trees"])


@pytest.mark.parametrize("weight", [-0.01, 1.01, float("nan"), "automatic", None, [0.5]], ids=str)
def test_weights_out_of_range_are_refused(weight):
    with pytest.raises(ValueError, match="weight of 'neighbours' must be 'auto' or within 0 and 1"):
        resolve_evidence(["prototypes", Neighbours(weight=weight)])


@pytest.mark.parametrize("weight", ["auto", 0, 0.5, 1.0, np.float32(0.5)], ids=str)
def test_weights_within_range_are_taken(weight):
    (found,) = resolve_evidence([Neighbours(weight=weight)])
    assert found.weight == weight


def test_given_weights_of_more_than_one_are_refused():
    given = [Prototypes(weight=0.6), Neighbours(weight=0.6), LabelVectors()]
    with pytest.raises(ValueError, match=r"weights .* sum to 1\.2"):
        resolve_evidence(given)


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A function that installs a package that registers a kind of evidence."""

    def install(entry):
        information = tmp_path / "popular-1.0.dist-info"
        information.mkdir()
        (tmp_path / "popular.py").write_text(textwrap.dedent(PACKAGE), encoding="utf-8")
        (information / "METADATA").write_text(
            "Metadata-Version: 2.1\nName: popular\nVersion: 1.0\n", encoding="utf-8"
        )
        (information / "entry_points.txt").write_text(
            f"[skxmc.evidence]\n{entry}\n", encoding="utf-8"
        )
        monkeypatch.syspath_prepend(str(tmp_path))
        monkeypatch.delitem(sys.modules, "popular", raising=False)

    return install


def test_other_packages_register_kinds(package, tmp_path):
    package("popularity = popular:Popularity")
    clf = ViXMLClassifier("precomputed", evidence=["prototypes", "popularity"], random_state=0)
    clf.fit(np.eye(4), [["a"], ["a", "b"], ["b"], ["a"]])
    kind = clf.evidence_["popularity"]
    assert type(kind).__module__ == "popular"
    assert kind.best_.tolist() == [0, 1]
    clf.save(tmp_path / "model")
    loaded = ViXMLClassifier.load(tmp_path / "model")
    assert type(loaded.evidence_["popularity"]) is type(kind)
    np.testing.assert_array_equal(loaded.evidence_["popularity"].best_, kind.best_)


def test_what_other_packages_register_is_a_kind(package):
    package("popularity = popular:np.ndarray")
    with pytest.raises(TypeError, match="'popularity' names the class ndarray, which is not"):
        resolve_evidence(["popularity"])


# -- in the estimator --------------------------------------------------------------------------

TOPICS = np.arange(60) % 3
X = np.eye(3)[TOPICS] + 0.1 * np.random.RandomState(0).normal(size=(60, 3))
Y = [[f"topic {topic}"] for topic in TOPICS]


def test_a_fit_leaves_the_objects_that_it_was_given():
    given = [Prototypes(), Constant(), Neighbours(n_neighbors=5), LabelVectors(epochs=1)]
    before = [dict(vars(kind)) for kind in given]
    clf = ViXMLClassifier("precomputed", evidence=given, random_state=0).fit(X, Y)
    assert clf.evidence is given
    assert [vars(kind) for kind in given] == before
    for kind in given:
        assert not [name for name in vars(kind) if name.endswith("_")]
        assert clf.evidence_[kind.name] is not kind


def test_kinds_that_follow_see_the_others():
    clf = ViXMLClassifier(
        "precomputed", evidence=[Follower(), Constant(), "prototypes"], random_state=0
    ).fit(X, Y)
    assert clf.evidence_["constant"].seen_ == []
    assert clf.evidence_["follower"].seen_ == ["constant", "prototypes"]


def test_kinds_that_find_nothing_are_left_out():
    clf = ViXMLClassifier("precomputed", evidence=[Silent(), "neighbours"], random_state=0)
    assert list(clf.fit(X, Y).evidence_) == ["neighbours"]
    assert clf.score(X, Y) == 1
    with pytest.raises(ValueError, match="no kind of evidence found anything to learn from"):
        clone(clf).set_params(evidence=[Silent()]).fit(X, Y)


def test_kinds_do_not_take_the_names_of_parameters():
    with pytest.raises(ValueError, match=r"name 'index', which is a parameter of ViXMLClassifier"):
        ViXMLClassifier("precomputed", evidence=[Taken()]).fit(X, Y)


def test_a_given_weight_is_the_share_in_the_mixture():
    evidence = ["prototypes", Neighbours(weight=0.3), Constant(weight=0.1)]
    clf = ViXMLClassifier("precomputed", evidence=evidence, validation=0.4, random_state=0)
    weights = clf.fit(X, Y).ranker_.mixture_.weights_
    assert weights == pytest.approx({"prototypes": 0.6, "neighbours": 0.3, "constant": 0.1})
    assert clf.ranker_.reranker_ is None


# -- a mixture of four to six kinds ------------------------------------------------------------

N_LABELS, N_PROPOSED = 400, 20


def _kinds(n, **given):
    """Half of them with a choice of temperatures, as that many kinds would have."""
    names = [f"kind {number}" for number in range(n)]
    return [
        MixedKind(name, 0.2, 1.0, (1.0, 2.0) if number % 2 else (1.0,), given.get(name))
        for number, name in enumerate(names)
    ]


def _problem(knows, n=300, seed=0):
    """Each kind has the right label first in some share of the documents, else the wrong one.

    All kinds have the same wrong one: those that know little agree.
    """
    rng = np.random.RandomState(seed)
    truth = rng.randint(N_LABELS, size=n)
    wrong = (truth + rng.randint(1, N_LABELS, size=n)) % N_LABELS
    proposals = {}
    for number, share in enumerate(knows):
        labels = np.argsort(rng.rand(n, N_LABELS), axis=1)[:, :N_PROPOSED]
        labels[(labels == truth[:, None]) | (labels == wrong[:, None])] = -1
        labels[:, 0] = np.where(rng.rand(n) < share, truth, wrong)
        scores = -np.sort(-rng.randn(n, N_PROPOSED).astype(np.float32), axis=1)
        scores[labels < 0] = -np.inf
        proposals[f"kind {number}"] = (labels, scores)
    ones = np.ones(n, dtype=np.float32)
    return proposals, sp.csr_array((ones, (np.arange(n), truth)), shape=(n, N_LABELS))


def _fit(kinds, proposals, truth):
    return Mixture(kinds).fit(proposals, truth, propensities=np.ones(N_LABELS))


@pytest.mark.parametrize("n", [4, 5, 6])
@pytest.mark.parametrize("place", [0, 3])
def test_the_kind_that_knows_gets_the_weight(n, place):
    knows = np.full(n, 0.02)
    knows[place] = 0.95
    proposals, truth = _problem(knows)
    mixture = _fit(_kinds(n), proposals, truth)
    assert mixture.weights_[f"kind {place}"] > 0.7
    assert sum(mixture.weights_.values()) == pytest.approx(1)
    assert min(mixture.weights_.values()) >= 0
    best, _ = mixture.predict(proposals, k=1)
    alone, _ = Mixture(_kinds(n)).predict(proposals, k=1)
    right = truth.indices == best[:, 0]
    assert right.mean() > 0.9
    assert right.mean() > (truth.indices == alone[:, 0]).mean()


@pytest.mark.parametrize("n", [4, 6])
def test_kinds_that_know_more_get_more(n):
    knows = np.linspace(0.1, 0.7, n)
    weights = list(_fit(_kinds(n), *_problem(knows, n=1000)).weights_.values())
    assert weights[-1] > weights[-2] > weights[0]


@pytest.mark.parametrize("n", [4, 5, 6])
def test_few_documents_leave_many_kinds_near_their_defaults(n):
    knows = np.linspace(0.1, 0.7, n)
    distances = []
    for n_documents in (20, 1000):
        mixture = _fit(_kinds(n), *_problem(knows, n=n_documents))
        distances.append(sum(abs(weight - 1 / n) for weight in mixture.weights_.values()) / 2)
    assert distances[0] < 0.4 < distances[1]


@pytest.mark.parametrize("n", [4, 6])
def test_the_same_documents_choose_the_same(n):
    proposals, truth = _problem(np.linspace(0.1, 0.6, n))
    first, second = (_fit(_kinds(n), proposals, truth) for _ in range(2))
    assert first.state_dict() == second.state_dict()


def test_given_weights_of_many_kinds_stay():
    given = {"kind 1": 0.25, "kind 4": 0.0}
    mixture = _fit(_kinds(5, **given), *_problem(np.linspace(0.1, 0.6, 5)))
    assert mixture.weights_["kind 1"] == pytest.approx(0.25)
    assert mixture.weights_["kind 4"] == 0
    assert sum(mixture.weights_.values()) == pytest.approx(1)


@pytest.mark.parametrize("seed", range(3))
def test_six_kinds_are_chosen_in_few_evaluations(seed, monkeypatch):
    """A grid would take a thousand settings of each combination of temperatures."""
    calls = []
    judge = _mixture._Judge.__call__
    monkeypatch.setattr(
        _mixture._Judge, "__call__", lambda self, *given: calls.append(1) or judge(self, *given)
    )
    knows = np.random.RandomState(seed).uniform(0.1, 0.7, size=6)
    proposals, truth = _problem(knows, n=1000, seed=seed)
    mixture = _fit(_kinds(6), proposals, truth)
    assert 6 < len(calls) <= 170
    best, _ = mixture.predict(proposals, k=1)
    alone, _ = Mixture(_kinds(6)).predict(proposals, k=1)
    assert (truth.indices == best[:, 0]).mean() > (truth.indices == alone[:, 0]).mean()
