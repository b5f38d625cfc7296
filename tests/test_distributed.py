"""Several processes fit one model, equal to what one process fits."""

import os
import subprocess
import sys
from pathlib import Path

import distributed_jobs as jobs
import numpy as np
import pytest
import torch
from tiny_models import save_encoder, save_language_model

import skxmc
from skxmc import ViXMLClassifier
from skxmc._runtime import group
from skxmc.objectives import decoupled_softmax

pytestmark = pytest.mark.distributed

ROOT = Path(__file__).resolve().parents[1]


def launch(folder: Path, n: int, *names: str, restarts: int = 0) -> dict[str, list[dict]]:
    """Start n processes; what each of them found in each job."""
    paths = [str(ROOT), str(ROOT / "tests"), os.environ.get("PYTHONPATH", "")]
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(paths),
        "OMP_NUM_THREADS": "1",
        "CUDA_VISIBLE_DEVICES": "",
        "PYTHONFAULTHANDLER": "1",  # says where a process was aborted
        # Else a restart may read what the processes before have left in the store.
        "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1",
    }
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command += [f"--nproc-per-node={n}", f"--max-restarts={restarts}"]
    command += [str(ROOT / "tests" / "distributed_jobs.py"), str(folder), *names]
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=600, check=False
    )
    assert done.returncode == 0, done.stderr[-20_000:]
    return {
        name: [dict(np.load(folder / f"{name}-{rank}.npz")) for rank in range(n)] for name in names
    }


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("distributed")
    jobs.save_tower(folder / "tower", save_encoder(folder, words=jobs.WORDS))
    save_language_model(folder / "decoder")
    return folder


@pytest.fixture(scope="module")
def alone(folder):
    """What one process finds."""
    return {name: getattr(jobs, name)(folder) for name in TOGETHER}


@pytest.fixture(scope="module")
def by_two(folder):
    return launch(folder, 2, *TOGETHER, "agreed", "not_finite", "failures")


@pytest.fixture(scope="module")
def after_restarts(folder):
    return launch(folder, 2, "restarted", restarts=2)["restarted"]


@pytest.fixture(scope="module")
def by_three(folder, after_restarts):
    return launch(folder, 3, "tuned", "label_vectors", "resumed")


TOGETHER = ("tuned", "frozen", "label_vectors", "few_items")


def assert_close(found, expected, rtol=1e-5):
    assert np.linalg.norm(found - expected) < rtol * np.linalg.norm(expected)


def assert_same_labels(found, expected):
    """Labels whose scores are equal but for rounding may change places."""
    assert np.mean(found == expected) > 0.98


def assert_same(found, expected):
    """The same model but for rounding."""
    assert_close(found["weights"], expected["weights"])
    np.testing.assert_allclose(found["losses"], expected["losses"], rtol=1e-4)
    assert_same_labels(found["labels"], expected["labels"])
    np.testing.assert_allclose(found["scores"], expected["scores"], atol=1e-3)


@pytest.fixture
def found(request, n):
    return request.getfixturevalue({2: "by_two", 3: "by_three"}[n])


@pytest.mark.parametrize("n", [2, 3])
def test_a_tuned_model_is_that_of_one_process(n, found, alone):
    assert len(alone["tuned"]["losses"]) * 2 == jobs.STEPS
    assert_same(found["tuned"][0], alone["tuned"])


@pytest.mark.parametrize("name", ["tuned", "agreed", "few_items", "frozen"])
def test_all_processes_have_the_same_model(name, by_two):
    first, second = by_two[name]
    for part in first:
        if part in ("scores", "new", "kept"):  # files are mapped elsewhere than arrays were made
            np.testing.assert_allclose(second[part], first[part], atol=1e-5)
        elif part == "labels":
            assert_same_labels(second[part], first[part])
        else:
            np.testing.assert_array_equal(second[part], first[part])


def test_three_processes_have_the_same_weights(by_three):
    for other in by_three["tuned"][1:]:
        np.testing.assert_array_equal(other["weights"], by_three["tuned"][0]["weights"])


def test_a_process_may_have_nothing_to_encode(by_two, alone):
    assert_same(by_two["few_items"][0], alone["few_items"])


def test_a_frozen_encoder_is_asked_once_for_each_text(by_two, alone):
    for found in by_two["frozen"]:
        assert_same_labels(found["labels"], alone["frozen"]["labels"])
        np.testing.assert_allclose(found["new"], alone["frozen"]["new"], atol=1e-4)
        np.testing.assert_allclose(found["kept"], found["new"], atol=1e-5)


@pytest.mark.parametrize("n", [2, 3])
def test_label_vectors_in_parts_are_those_of_one_process(n, found, alone):
    for name, expected in alone["label_vectors"].items():
        # In float16 a weight that rounds otherwise is off by a thousandth.
        rtol = 1e-2 if name == "short" else 1e-5
        assert_close(found["label_vectors"][0][name], expected, rtol)


def test_a_loss_that_is_not_finite_in_one_process_stops_all(by_two):
    for found in by_two["not_finite"]:
        assert "the loss is nan in epoch 2, step 1" in str(found["error"])
        assert found["calls"] == 3


def test_what_goes_wrong_in_one_process_is_known_in_all(by_two):
    first, second = by_two["failures"]
    for found in (first, second):
        assert "given different documents" in str(found["data"])
        assert "not all processes see the folder" in str(found["unseen"])
    assert str(first["first"]) == "no space is left"
    assert str(second["first"]) == "the first process stopped: OSError: no space is left"


def test_a_killed_and_an_interrupted_process_stop_all_and_training_goes_on(after_restarts, by_two):
    for found in after_restarts:
        assert found["attempt"] == 2  # torchrun has started all of them twice more
        assert found["steps"] == 3  # three were done before the first stop, two before the second
        assert_same(found, by_two["tuned"][0])


def test_another_number_of_processes_goes_on(by_three, alone):
    for found in by_three["resumed"]:
        assert found["steps"] == jobs.STEPS - 3
        assert_same(found, alone["tuned"])


# -- one process ----------------------------------------------------------------------------------


def test_a_launcher_without_a_group_is_an_error(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(RuntimeError, match=r"skxmc\.distributed\.processes\(\)"):
        ViXMLClassifier("precomputed").fit(np.eye(4), [[0], [1], [0], [1]])


def test_an_environment_that_describes_no_group_is_an_error(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    for name in ("RANK", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    with (
        pytest.raises(RuntimeError, match="RANK and MASTER_ADDR and MASTER_PORT are not set"),
        skxmc.distributed.processes(),
    ):
        pass


@pytest.mark.parametrize("timeout", [0, -1.0, float("nan")])
def test_a_timeout_is_positive(timeout):
    with (
        pytest.raises(ValueError, match="timeout must be"),
        skxmc.distributed.processes(timeout=timeout),
    ):
        pass


def test_one_process_makes_no_group():
    with skxmc.distributed.processes():
        assert (skxmc.distributed.rank(), skxmc.distributed.size()) == (0, 1)
        assert not group.is_started()


@pytest.mark.parametrize("n", [2, 3])
def test_shares_are_of_about_the_same_length(n, monkeypatch, rng):
    monkeypatch.setattr(group, "size", lambda: n)
    lengths = rng.randint(1, 60, size=100)
    shares = group.shares(lengths)
    np.testing.assert_array_equal(np.sort(np.concatenate(shares)), np.arange(100))
    sums = [lengths[share].sum() for share in shares]
    assert max(sums) - min(sums) <= lengths.max()
    rows = np.concatenate([np.arange(100)[part] for part in group.ranges(100)])
    np.testing.assert_array_equal(rows, np.arange(100))


def test_softmax_of_some_labels_with_sums_of_all():
    """Two parts of the labels, whose sums and maxima are given, make the whole."""
    generator = torch.Generator().manual_seed(0)
    scores = torch.randn(5, 9, generator=generator)
    rows, columns = torch.tensor([0, 1, 1, 3]), torch.tensor([2, 4, 8, 0])
    weights = torch.tensor([1.0, 0.5, 0.5, 2.0])
    losses, gradient, factors = decoupled_softmax(scores.clone(), (rows, columns), weights)
    own = columns < 4
    masked = scores.clone()
    masked[rows, columns] = -1e4
    pulls = torch.zeros(5).index_add_(
        0,
        rows[~own],
        torch.sigmoid(masked.logsumexp(1)[rows[~own]] - scores[rows[~own], columns[~own]])
        * weights[~own],
    )
    others = iter([masked[:, 4:].amax(1), None, pulls])

    def reduce(tensor, operation):
        other = next(others)
        if operation == "max":
            return torch.maximum(tensor, other)
        if other is None:
            other = (masked[:, 4:] - masked.amax(1)[:, None]).exp().sum(1)
        return tensor + other

    part = decoupled_softmax(
        scores[:, :4].clone(), (rows[own], columns[own]), weights[own], None, reduce
    )
    torch.testing.assert_close(part[0], losses[own])
    torch.testing.assert_close(part[1], gradient[:, :4])
    torch.testing.assert_close(part[2], factors)
