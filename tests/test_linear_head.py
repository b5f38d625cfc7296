"""The linear head that is trained together with a tower."""

import numpy as np
import pytest
import scipy.sparse as sp
import torch
import torch.nn.functional as F
from test_trainer import NAMES, Problem

from skxmc import ViXMLClassifier
from skxmc._runtime import limits
from skxmc._training._options import TrainingOptions
from skxmc._training._trainer import TowerTrainer
from skxmc.objectives import DecoupledSoftmaxLoss, LinearHead, Prime, _label_head
from skxmc.objectives._label_head import LabelHead

LOSSES = ["decoupled_softmax", "binary_cross_entropy"]


def trainer_of(problem, *, loss=LOSSES[0], exclude=None, seed=0, labels=None, **options):
    options = {"epochs": 20, "batch_size": 32, "learning_rate": 2e-3, **options}
    options = {"head_learning_rate": 1e-2, **options}
    return TowerTrainer(
        problem.tower,
        problem.tower.items(problem.texts, problem.images),
        labels,
        problem.Y,
        LinearHead(loss),
        TrainingOptions(**options),
        np.random.RandomState(seed),
        exclude=exclude,
    )


def obvious_loss(scores, positive, excluded, loss):
    """The formulas, one pair at a time."""
    total = torch.zeros(())
    for row in range(len(scores)):
        columns = np.flatnonzero(positive[row])
        others = torch.from_numpy(np.flatnonzero(~positive[row] & ~excluded[row]))
        if loss == "binary_cross_entropy":
            total = total - F.logsigmoid(scores[row, columns]).sum()
            total = total - F.logsigmoid(-scores[row, others]).sum()
            continue
        for column in columns:
            rivals = torch.cat([scores[row, column : column + 1], scores[row, others]])
            share = torch.logsumexp(rivals, dim=0) - scores[row, column]
            total = total + share / len(columns) ** 0.5
    return total / len(scores)


@pytest.mark.parametrize("with_texts", [False, True])
@pytest.mark.parametrize("with_excluded", [False, True])
@pytest.mark.parametrize("loss", LOSSES)
def test_loss_and_gradients_are_those_of_the_formula(loss, with_excluded, with_texts):
    problem = Problem(40)
    positive = problem.Y.toarray() > 0
    excluded = with_excluded & ~positive & (np.random.RandomState(0).rand(*positive.shape) < 0.3)
    labels = problem.tower.items(NAMES) if with_texts else None
    exclude = sp.csr_array(excluded.astype(np.float32))
    trainer = trainer_of(problem, loss=loss, exclude=exclude, labels=labels)
    trainer.prepare()
    rows = np.array([3, 1, 30, 8])
    drawn = np.array([5, 2, 5, 0])
    # The text of a label that was drawn is a document of this label.
    own = np.eye(problem.Y.shape[1], dtype=bool)[[0, 2, 5] if with_texts else []]
    positive = np.vstack([positive[rows], own])
    excluded = np.vstack([excluded[rows], np.zeros_like(own)])
    embeddings = torch.randn(len(positive), 32, requires_grad=True)
    head = trainer.objective.head_
    ids, batch = trainer.objective.batch(rows, drawn)
    assert ids.tolist() == [3, 1, 30, 8, *([40, 42, 45] if with_texts else [])]
    batch.documents, batch.labels = torch.arange(4), torch.arange(4, len(positive))
    got = trainer.objective.compute_loss(embeddings, batch)
    inputs = [embeddings, head.weight]
    found = torch.autograd.grad(got, inputs)
    scores = 10 * F.normalize(embeddings, dim=1) @ head.weight.T
    if loss == "binary_cross_entropy":
        scores = scores + head.bias
    expected = obvious_loss(scores, positive, excluded, loss)
    torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-5)
    for one, other in zip(found, torch.autograd.grad(expected, inputs), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("loss", LOSSES)
def test_training_ranks_labels_without_texts(loss):
    problem = Problem(96)
    trainer = trainer_of(problem, loss=loss).fit()
    best = (problem.tower.encode(trainer.documents) @ trainer.prototypes().T).argmax(axis=1)
    assert np.mean((best == problem.topics) | (best == problem.topics // 2)) > 0.9
    assert trainer.history[-1]["loss"] < 0.7 * trainer.history[0]["loss"]
    assert trainer.encode_labels() == (None, None)


def test_many_labels_are_trained_against_some(monkeypatch):
    """Beyond a number of labels a batch has its positives and random labels only."""
    monkeypatch.setattr(limits, "MAX_ALL_NEGATIVES", 5)
    monkeypatch.setattr(_label_head, "RANDOM_NEGATIVES", 3)
    problem = Problem(40)
    trainer = trainer_of(problem, epochs=1).prepare()
    rows = np.array([0, 7])
    _, batch = trainer.objective.batch(rows, None)
    labels = batch.targets.labels.numpy()
    true = np.unique(problem.Y[rows].indices)
    assert np.isin(true, labels).all()
    assert len(labels) <= len(true) + 3
    pairs = zip(*map(torch.Tensor.numpy, batch.targets.positives), strict=True)
    found = {(rows[row], labels[column]) for row, column in pairs}
    assert found == {(row, label) for row in rows for label in problem.Y[[row]].indices}
    trainer.fit()
    assert np.isfinite(trainer.prototypes()).all()


def test_vectors_start_from_texts_and_documents():
    problem = Problem(40)
    trainer = trainer_of(problem)
    trainer.prepare()
    label = problem.Y[[0]].indices[0]
    centroid = trainer.bank[problem.Y[:, [label]].nonzero()[0]].mean(axis=0)
    start = trainer.objective.head_.weight.detach().numpy()[label]
    np.testing.assert_allclose(start, centroid / np.linalg.norm(centroid), atol=1e-5)


@pytest.mark.parametrize("loss", LOSSES)
def test_head_beside_prototypes_adds_its_loss(loss):
    """The head's loss counts documents only, against all labels; the rest stays as it is."""
    problem = Problem(40)
    positive = problem.Y.toarray() > 0
    excluded = ~positive & (np.random.RandomState(0).rand(*positive.shape) < 0.3)
    exclude = sp.csr_array(excluded.astype(np.float32))
    trainer = problem.trainer(Prime(head_weight=0.25, head_loss=loss), exclude=exclude)
    trainer.prepare()
    rows = np.array([3, 1, 30, 8])
    _, batch = trainer.objective.batch(rows, np.array([5, 2, 5, 0]))
    batch.documents, batch.labels = torch.arange(4), torch.arange(4, 7)
    embeddings = torch.randn(7, 32)
    state = trainer.generator.get_state()
    both = trainer.objective.compute_loss(embeddings, batch)
    head = trainer.objective.head_
    batch.head = None
    trainer.generator.set_state(state)
    alone = trainer.objective.compute_loss(embeddings, batch)
    scores = 10 * F.normalize(embeddings[:4], dim=1) @ head.weight.T
    if loss == "binary_cross_entropy":
        scores = scores + head.bias
    expected = 0.25 * obvious_loss(scores, positive[rows], excluded[rows], loss)
    torch.testing.assert_close(both - alone, expected, rtol=1e-4, atol=1e-4)


def test_head_beside_prototypes_is_trained_and_may_be_left_out(monkeypatch):
    problem = Problem(96)
    trainer = problem.trainer(Prime(head_weight=0.1), epochs=1)
    trainer.prepare()
    start = trainer.objective.head_.weight.detach().clone()
    trainer.fit()
    assert not torch.equal(trainer.objective.head_.weight, start)
    assert problem.trainer(Prime(head_weight=0), epochs=1).fit().objective.head_ is None
    monkeypatch.setattr(limits, "MAX_ALL_NEGATIVES", 11)  # as with more labels than that
    assert problem.trainer(Prime(head_weight=1), epochs=1).fit().objective.head_ is None


def test_head_scores_in_the_given_precision():
    head = LabelHead(np.eye(3, dtype=np.float32), DecoupledSoftmaxLoss(), scale=4.0)
    queries = torch.tensor([[1.0, 0.5, 0.0]])
    assert head(queries).tolist() == [[4.0, 2.0, 0.0]]
    assert head(queries, torch.tensor([1]), torch.bfloat16).dtype == torch.bfloat16


@pytest.mark.parametrize("loss", LOSSES)
def test_estimator_tunes_without_label_texts(tmp_path, loss):
    """Labels that are column numbers: the head learns them, and a saved model is the same."""
    problem = Problem(96)
    problem.tower.backbone.model.save_pretrained(tmp_path / "tower")
    problem.tower.tokenizer.save_pretrained(tmp_path / "tower")
    clf = ViXMLClassifier(
        str(tmp_path / "tower"),
        objective=LinearHead(loss),
        epochs=6,
        batch_size=32,
        learning_rate=2e-3,
        random_state=0,
    )
    clf.fit(problem.texts, problem.Y)
    assert clf.score(problem.texts, problem.Y) > 0.8
    clf.save(tmp_path / "model")
    again = ViXMLClassifier.load(tmp_path / "model")
    for one, other in zip(
        clf.predict_topk(problem.texts, k=3), again.predict_topk(problem.texts, k=3), strict=True
    ):
        np.testing.assert_array_equal(one, other)


def test_without_texts_the_error_names_the_linear_head(tmp_path):
    problem = Problem(20)
    problem.tower.backbone.model.save_pretrained(tmp_path)
    problem.tower.tokenizer.save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=r"objective=LinearHead\(\)"):
        ViXMLClassifier(str(tmp_path), epochs=1).fit(problem.texts, problem.Y)
