"""Objectives as plug-ins: one written in a test, names, parameters, and what goes wrong."""

import sys
import textwrap

import numpy as np
import pytest
import scipy.sparse as sp
import torch
import torch.nn.functional as F
from sklearn.base import clone
from test_checkpoint import PowerCut, assert_same
from test_trainer import NAMES, Interrupted, Problem, modules_of, precision_at_1, weights
from tiny_models import WIDTH

from skxmc._features._centroids import label_centroids
from skxmc._runtime import limits
from skxmc._runtime._plugins import find_plugin
from skxmc._towers._decoder import DecoderTower
from skxmc._towers._tower import Tower
from skxmc._training import _checkpoint
from skxmc._training._batches import HardNegativeSchedule
from skxmc._training._checkpoint import Checkpoint
from skxmc._training._options import TrainingOptions
from skxmc._training._trainer import TowerTrainer
from skxmc.objectives import (
    BinaryCrossEntropyLoss,
    DecoupledSoftmaxLoss,
    DualEncoder,
    DynamicMarginTripletLoss,
    HeadLoss,
    LinearHead,
    Objective,
    Prime,
    PrototypeRegularizer,
    ThresholdConsistentLoss,
    Training,
    resolve_objective,
)

# --------------------------------------------------------------------------- one of a stranger's


class InfoNCE(Objective):
    """Each document against the labels of the batch, with a learned temperature."""

    def __init__(self, temperature=0.1):
        self.temperature = temperature

    def build(self, problem):
        super().build(problem)
        self.scale_ = torch.nn.Linear(1, 1, bias=False).to(problem.device)
        torch.nn.init.constant_(self.scale_.weight, 1 / self.temperature)

    def modules(self):
        return {"scale": self.scale_}

    def compute_loss(self, embeddings, batch):
        embeddings = F.normalize(embeddings, dim=1)
        scores = embeddings[batch.documents] @ embeddings[batch.labels].T * self.scale_.weight
        others = batch.target if batch.exclude is None else batch.target | batch.exclude
        others = others.scatter(1, batch.columns[:, None], False)
        return F.cross_entropy(scores.masked_fill(others, -torch.inf), batch.columns)


def test_a_strangers_objective_trains():
    problem = Problem(180, spread=0.1)
    trainer = problem.trainer(InfoNCE(), epochs=16, learning_rate=5e-3).prepare()
    before = precision_at_1(trainer, trainer.documents, problem.topics)
    trainer.fit()
    assert before < 0.6
    assert precision_at_1(trainer, trainer.documents, problem.topics) > 0.9
    assert trainer.history[-1]["loss"] < 0.5 * trainer.history[0]["loss"]
    assert trainer.objective.scale_.weight.item() != pytest.approx(10)
    labels, lengths = trainer.encode_labels()
    assert trainer.prototypes(labels, lengths) is labels


def test_its_loss_is_that_of_the_formula():
    problem = Problem(40)
    excluded = 1 - problem.Y.toarray()
    excluded[:, 6:] = 0
    trainer = problem.trainer(InfoNCE(0.5), exclude=sp.csr_array(excluded)).prepare()
    rows = np.array([3, 1, 30, 8])
    drawn = problem.topics[rows]
    documents = trainer.bank[rows]
    labels = trainer.encode_labels()[0]
    expected = 0.0
    for row, document, own in zip(rows, documents, drawn, strict=True):
        scores = 2 * labels[np.unique(drawn)] @ document
        is_negative = (problem.Y[[row]].toarray()[0] == 0) & (excluded[row] == 0)
        rivals = scores[is_negative[np.unique(drawn)]]
        score = 2 * labels[own] @ document
        expected += np.log(np.exp(score) + np.exp(rivals).sum()) - score
    optimizer = torch.optim.SGD(trainer.tower.parameters(), lr=0.0)
    loss = trainer.train_step(rows, drawn, optimizer)
    assert loss.item() == pytest.approx(expected / 4, rel=1e-4)


@pytest.mark.parametrize("step", [1, 4, 8])
def test_it_resumes_to_the_same_bits(tmp_path, monkeypatch, step):
    monkeypatch.setattr(_checkpoint, "SECONDS", 0.0)
    monkeypatch.setattr(_checkpoint, "PATIENCE", 0)

    def make(checkpoint):
        schedule = HardNegativeSchedule(start=1, update=2, size=8)
        return Problem(96).trainer(InfoNCE(), epochs=3, schedule=schedule, checkpoint=checkpoint)

    uncut = make(None).fit()
    cut = make(Checkpoint(tmp_path / "state.pt"))
    Interrupted(cut.tower, step, PowerCut)
    with pytest.raises(PowerCut):
        cut.fit()
    assert_same(make(Checkpoint(tmp_path / "state.pt")).fit(), uncut)


class Counter(InfoNCE):
    """Keeps something beside parameters."""

    # A matrix like this one decays otherwise.
    undecayed = ("scale.wei",)

    def build(self, problem):
        super().build(problem)
        self.n_epochs_, self.modes_, self.ended_ = 0, [], False

    def compute_loss(self, embeddings, batch):
        self.modes_.append(self.scale_.training)
        return super().compute_loss(embeddings, batch)

    def after_epoch(self, bank):
        self.n_epochs_ += 1
        self.modes_.append(self.scale_.training)

    def after_training(self):
        self.ended_ = True

    def state_dict(self):
        return {"n_epochs": self.n_epochs_}

    def load_state_dict(self, state):
        self.n_epochs_ = state["n_epochs"]


def test_hooks_modes_and_state(tmp_path, monkeypatch):
    monkeypatch.setattr(_checkpoint, "SECONDS", 0.0)
    monkeypatch.setattr(_checkpoint, "PATIENCE", 0)

    def make():
        checkpoint = Checkpoint(tmp_path / "state.pt")
        return Problem(64).trainer(Counter(), epochs=3, checkpoint=checkpoint)

    cut = make()
    Interrupted(cut.tower, 6, PowerCut)  # two batches an epoch: in the last step of all
    with pytest.raises(PowerCut):
        cut.fit()
    assert cut.objective.modes_ == [True, True, False] * 2 + [True]
    assert not cut.objective.ended_
    resumed = make().fit()
    assert resumed.objective.modes_ == [True, False]
    assert resumed.objective.n_epochs_ == 3
    assert resumed.objective.ended_


@pytest.mark.parametrize(("objective", "decay"), [(InfoNCE(), 0.05), (Counter(), 0.0)], ids=str)
def test_modules_learn_at_the_rate_of_new_parts(objective, decay):
    trainer = Problem(24).trainer(
        clone(objective), head_learning_rate=7e-4, weight_decay=0.05, warmup_steps=0
    )
    optimizer, _ = trainer.prepare().build_optimizer(10)
    (group,) = (
        group
        for group in optimizer.param_groups
        if any(p is trainer.objective.scale_.weight for p in group["params"])
    )
    assert (group["lr"], group["weight_decay"]) == (7e-4, decay)


# ------------------------------------------------------------------------------------ parameters


OBJECTIVES = [
    (Prime, {"margin": (0.2, 0.4), "n_negatives": 3, "head_loss": BinaryCrossEntropyLoss()}),
    (DualEncoder, {"margin": (0.2, 0.4), "n_negatives": 3}),
    (LinearHead, {"loss": DecoupledSoftmaxLoss(exponent=1.0)}),
    (InfoNCE, {"temperature": 0.2}),
    (Training, {"warmup_steps": 3, "max_grad_norm": None}),
    (DynamicMarginTripletLoss, {"temperature": None}),
    (PrototypeRegularizer, {"margin": 0.2}),
    (ThresholdConsistentLoss, {"negative_margin": 0.3}),
]


@pytest.mark.parametrize(("kind", "params"), OBJECTIVES)
def test_parameters_are_those_of_an_estimator(kind, params):
    made = kind(**params)
    found = made.get_params(deep=False)
    assert params.items() <= found.items()
    copy = clone(made)
    assert copy is not made
    assert repr(copy) == repr(made)
    assert kind().set_params(**params).get_params(deep=False) == found
    with pytest.raises(ValueError, match="Invalid parameter 'nonsense'"):
        made.set_params(nonsense=1)


def test_a_clone_has_nothing_that_was_built():
    trainer = Problem(24).trainer(Prime()).prepare()
    assert set(vars(clone(trainer.objective))) == set(Prime().get_params())


def test_losses_are_reached_by_nested_names():
    objective = Prime(head_loss=DecoupledSoftmaxLoss())
    objective.set_params(head_loss__exponent=1.0)
    assert objective.get_params()["head_loss__exponent"] == 1.0
    assert clone(objective).head_loss.exponent == 1.0


@pytest.mark.parametrize(
    ("objective", "message"),
    [
        (Prime(n_negatives=0), "'n_negatives' parameter of Prime"),
        (Prime(head_loss="hinge"), "'head_loss' parameter of Prime"),
        (Prime(free_vectors="zeros"), "'free_vectors' parameter of Prime"),
        (Prime(margin=(0.3, 0.1)), "margin of Prime must be two numbers"),
        (Prime(regularization=-1), "'regularization' parameter of Prime"),
        (DualEncoder(margin=(0.1, 0.2, 0.3)), "margin of DualEncoder must be two numbers"),
        (DualEncoder(margin=("low", "high")), "margin of DualEncoder must be two numbers"),
        (DualEncoder(margin=0.1), "'margin' parameter of DualEncoder"),
        (Prime(positives="hard"), "'positives' parameter of Prime"),
        (Prime(threshold_consistency=-1), "'threshold_consistency' parameter of Prime"),
        (
            Prime(threshold_consistency=ThresholdConsistentLoss(weight=-1)),
            "'weight' parameter of ThresholdConsistentLoss",
        ),
        (LinearHead(loss=DynamicMarginTripletLoss()), "'loss' parameter of LinearHead"),
        (LinearHead(loss=DecoupledSoftmaxLoss(-1)), "'exponent' parameter of DecoupledSoftmaxLoss"),
    ],
    ids=str,
)
def test_wrong_parameters_are_named(objective, message):
    with pytest.raises(ValueError, match=message):
        Problem(24).trainer(objective).fit()


@pytest.mark.parametrize("kind", [Prime, DualEncoder])
def test_threshold_consistency_adds_its_loss(kind):
    """A weight as a number and as an object's are the same; without one nothing changes."""

    def losses(**params):
        trainer = Problem(24).trainer(kind(**params), max_steps=3)
        trainer.fit()
        return [entry["loss"] for entry in trainer.history]

    plain, given = losses(), losses(threshold_consistency=0.5)
    assert losses(threshold_consistency=ThresholdConsistentLoss(weight=0.0)) == plain
    assert losses(threshold_consistency=ThresholdConsistentLoss(weight=0.5)) == given
    assert given[0] > plain[0]


@pytest.mark.parametrize("kind", [Prime, DualEncoder])
def test_positives_may_be_drawn_at_random(kind):
    """Documents of one label each have no choice; with several the losses differ."""

    def losses(positives):
        trainer = Problem(24).trainer(kind(positives=positives), max_steps=3)
        trainer.fit()
        return [entry["loss"] for entry in trainer.history]

    assert losses("random") == losses("random")
    assert losses("random") != losses("drawn")


def test_the_schedule_of_hard_batches_may_be_given():
    given = HardNegativeSchedule.of((4, 2, (8, 12)))
    assert given == HardNegativeSchedule(start=4, update=2, doubling=(8, 12))
    assert [epoch for epoch in range(9) if given.is_due(epoch)] == [4, 6, 8]
    assert given.cluster_size(12) == 64
    assert HardNegativeSchedule.of(True) is None
    assert HardNegativeSchedule.of(False).start is None
    for wrong in ((4, 2), (4, 0, ()), (-1, 2, ()), ("4", 2, ()), (4, 2, 8)):
        with pytest.raises(ValueError, match="hard_negatives of Training must be a bool or a tu"):
            HardNegativeSchedule.of(wrong)


def test_without_label_texts_the_error_names_the_objective():
    problem = Problem(24)

    def trainer(objective):
        documents = problem.tower.items(problem.texts)
        options, rng = TrainingOptions(epochs=1), np.random.RandomState(0)
        return TowerTrainer(problem.tower, documents, None, problem.Y, objective, options, rng)

    with pytest.raises(ValueError, match="DualEncoder needs the labels' texts"):
        trainer(DualEncoder())
    assert trainer(LinearHead()).encode_labels() == (None, None)


# -- free vectors -----------------------------------------------------------------------------


def test_free_vectors_start_as_the_tower_says():
    assert (Tower.free_vectors, DecoderTower.free_vectors) == ("random", "labels")
    problem = Problem(24)

    def start(free_vectors, of_tower):
        problem.tower.free_vectors = of_tower
        torch.manual_seed(0)
        trainer = problem.trainer(Prime(head_weight=0.0, free_vectors=free_vectors)).prepare()
        return trainer.objective.network_.free_vectors.weight.detach().numpy()

    labels = problem.tower.encode(problem.tower.items(NAMES))
    np.testing.assert_allclose(start("labels", "random"), labels, atol=1e-5)
    np.testing.assert_array_equal(start("auto", "labels"), start("labels", "random"))
    np.testing.assert_array_equal(start("auto", "random"), start("random", "labels"))
    assert np.abs(start("random", "labels")).max() <= (6 / (12 + WIDTH)) ** 0.5


def test_free_vectors_that_labels_share_start_at_their_mean(monkeypatch):
    monkeypatch.setattr(limits, "MAX_FREE_VECTORS", 5)
    problem = Problem(24)
    objective = Prime(head_weight=0.0, free_vectors="labels")
    network = problem.trainer(objective).prepare().objective.network_
    labels = problem.tower.encode(problem.tower.items(NAMES))
    clusters = network.clusters.numpy()
    members = sp.csr_array((np.ones(12), (np.arange(12), clusters)))
    start = network.free_vectors.weight.detach()
    np.testing.assert_allclose(start, label_centroids(labels, members), atol=1e-5)


# -- losses of the head -----------------------------------------------------------------------


def test_exponent_weighs_documents_with_many_labels():
    Y = sp.csr_array(np.array([[1, 1, 1, 1], [0, 1, 0, 0]], dtype=np.float32))
    for exponent, expected in (0.0, [1, 1, 1, 1, 1]), (0.5, [0.5] * 4 + [1]), (1, [0.25] * 4 + [1]):
        found = DecoupledSoftmaxLoss(exponent).positive_weights(Y)
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, expected)
    np.testing.assert_array_equal(BinaryCrossEntropyLoss().positive_weights(Y), 1)


class SquaredError(HeadLoss):
    """Scores should be 10 where a label is right, and 0 elsewhere."""

    def __call__(self, scores, bias, targets):
        truth = torch.zeros_like(scores)
        truth[targets.positives] = 10
        return (scores + bias - truth).square().sum()


@pytest.mark.parametrize("objective", [LinearHead(loss=SquaredError()), Prime(head_weight=0.01)])
def test_a_strangers_head_loss_trains(objective):
    if isinstance(objective, Prime):
        objective.set_params(head_loss=SquaredError())
    trainer = Problem(96).trainer(clone(objective), epochs=8).fit()
    assert trainer.history[-1]["loss"] < 0.9 * trainer.history[0]["loss"]


@pytest.mark.parametrize(
    ("name", "loss"),
    [
        ("decoupled_softmax", DecoupledSoftmaxLoss()),
        ("binary_cross_entropy", BinaryCrossEntropyLoss()),
    ],
)
def test_names_of_head_losses_are_their_objects(name, loss):
    found = [
        weights(*modules_of(Problem(48).trainer(objective, epochs=1).fit()))
        for objective in (Prime(head_loss=name), Prime(head_loss=loss))
    ]
    assert all(torch.equal(found[0][key], found[1][key]) for key in found[0])


# ----------------------------------------------------------------------------------------- names


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Function that puts a package with entry points on the path."""

    def install(name, code, entries):
        folder = tmp_path / name
        information = folder / f"{name}-1.0.dist-info"
        information.mkdir(parents=True)
        (folder / f"{name}.py").write_text(textwrap.dedent(code), encoding="utf-8")
        (information / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n", encoding="utf-8"
        )
        (information / "entry_points.txt").write_text(
            f"[skxmc.objectives]\n{entries}\n", encoding="utf-8"
        )
        monkeypatch.syspath_prepend(str(folder))
        monkeypatch.delitem(sys.modules, name, raising=False)

    return install


@pytest.mark.parametrize(
    ("name", "kind"), [("prime", Prime), ("dual_encoder", DualEncoder), ("linear_head", LinearHead)]
)
def test_names_of_this_package(name, kind):
    found = resolve_objective(name)
    assert type(found) is kind
    assert repr(found) == repr(kind())
    assert resolve_objective(name) is not found


def test_an_object_is_cloned():
    given = Prime(n_negatives=3)
    found = resolve_objective(given)
    assert found is not given
    assert found.get_params() == given.get_params()


STRANGER = """
    from skxmc.objectives import DualEncoder

    class Stranger(DualEncoder):
        '''Of another package.'''

    class Foreign:
        '''No objective.'''

    number = 3
"""


def test_another_package_registers_a_name(install):
    with pytest.raises(ValueError, match="'stranger' is not one of the objectives"):
        resolve_objective("stranger")
    install("strangers_package", STRANGER, "stranger = strangers_package:Stranger")
    found = resolve_objective("stranger")
    assert type(found).__module__ == "strangers_package"
    trainer = Problem(24).trainer(found, epochs=1).fit()
    assert np.isfinite(trainer.history[0]["loss"])


def test_the_names_of_this_package_cannot_be_taken(install):
    install("strangers_package", STRANGER, "prime = strangers_package:Stranger")
    assert type(resolve_objective("prime")) is Prime


def test_unknown_names_list_the_known_ones(install):
    install("strangers_package", STRANGER, "stranger = strangers_package:Stranger")
    names = "'dual_encoder', 'linear_head', 'prime', 'stranger'"
    with pytest.raises(ValueError, match=f"'primed' is not one of the objectives.* {names};"):
        resolve_objective("primed")


@pytest.mark.parametrize(
    ("entry", "error", "message"),
    [
        ("strangers_package:Missing", ImportError, "cannot be imported .*uninstall"),
        ("no_such_module_here:Stranger", ImportError, "'no_such_module_here:Stranger'.* cannot"),
        ("strangers_package:number", ValueError, "names 'int', not a class"),
        ("strangers_package:Foreign", TypeError, "the class Foreign, which is not derived from"),
    ],
)
def test_broken_entry_points_are_named(install, entry, error, message):
    install("strangers_package", STRANGER, f"stranger = {entry}")
    with pytest.raises(error, match=message):
        resolve_objective("stranger")


def test_a_name_of_two_packages_is_refused(install):
    install("first_package", STRANGER, "stranger = first_package:Stranger")
    install("second_package", STRANGER, "stranger = second_package:Stranger")
    with pytest.raises(ValueError, match="first_package:Stranger and second_package:Stranger"):
        resolve_objective("stranger")


def test_wrong_parameters_are_found_before_any_work():
    for objective in Prime(n_negatives=0), LinearHead(loss=DecoupledSoftmaxLoss(-1)):
        with pytest.raises(ValueError, match="parameter of"):
            resolve_objective(objective)


@pytest.mark.parametrize("spec", [None, 3, Prime, DynamicMarginTripletLoss()], ids=str)
def test_neither_name_nor_objective(spec):
    with pytest.raises(TypeError, match="objective must be a name or an Objective, such as Prime"):
        resolve_objective(spec)


def test_plugins_are_classes_or_where_they_are():
    known = {"a": Prime, "b": "skxmc.objectives._dual_encoder:DualEncoder"}
    assert find_plugin("anything", "a", known) is Prime
    assert find_plugin("anything", "b", known) is DualEncoder
    with pytest.raises(ValueError, match="'c' is not one of the anything, which are 'a', 'b'"):
        find_plugin("anything", "c", known)
