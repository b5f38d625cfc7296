"""Steps of training never wait for the device: the host works ahead of a GPU.

An operation whose result has a size that depends on numbers, or a number that the host reads, waits
until the device has done all that it was given before.
"""

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from test_trainer import Problem, indicator
from torch.utils._python_dispatch import TorchDispatchMode

from skxmc._backbones._packed import attend_by_runs
from skxmc._backbones._variable_length import _agrees, _ends, can_attend
from skxmc._training._batches import PositiveSampler
from skxmc.evidence._linear_model import LinearModel
from skxmc.evidence._one_vs_all import OneVsAllTraining
from skxmc.objectives import DualEncoder, LinearHead, Prime

# Each makes a result whose size only the device knows, or hands a number to the host.
WAITING = ("_local_scalar_dense", "nonzero", "masked_select", "unique", "is_nonzero", "equal")


class NoWaiting(TorchDispatchMode):
    """Refuses operations that wait."""

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        name = operation.overloadpacket.__name__
        indices = args[1] if name.startswith(("index", "_index_put")) and len(args) > 1 else ()
        masks = [one for one in indices or () if getattr(one, "dtype", None) == torch.bool]
        if name in WAITING or masks:
            raise AssertionError(f"{name} waits for the device")
        return operation(*args, **(kwargs or {}))


def test_waiting_is_noticed():
    x = torch.arange(4.0)
    with NoWaiting():
        x[torch.tensor([0, 2])] *= 2
        torch.where(x > 1, x, 0).sum()
        for wait in (lambda: x[x > 1], lambda: float(x.sum()), x.nonzero, lambda: bool(x[0] > 0)):
            with pytest.raises(AssertionError, match="waits"):
                wait()


@pytest.mark.parametrize("pictures", [False, True])
@pytest.mark.parametrize(
    "objective",
    [
        Prime(),
        Prime(head_loss="binary_cross_entropy", threshold_consistency=0.1),
        DualEncoder(threshold_consistency=0.1),
        LinearHead(),
    ],
    ids=["prime", "prime, all options", "dual encoder", "head"],
)
def test_steps_of_tuning(objective, pictures):
    problem = Problem(pictures=pictures)
    exclude = indicator([0, 1], [5, 6], problem.Y.shape)
    trainer = problem.trainer(objective, exclude=exclude, image_dropout=0.3).prepare().train()
    trainer.tower.sparse_gradients = False  # as for an accelerator
    optimizer, _ = trainer.build_optimizer(4)
    rows = np.arange(32)
    drawn = PositiveSampler(problem.Y, (0.55, 1.5)).draw(rows, trainer.rng)
    before = trainer.tower.backbone.get_input_embeddings().weight.detach().clone()
    with NoWaiting():
        trainer.train_step(rows, drawn, optimizer)
    assert not torch.equal(before, trainer.tower.backbone.get_input_embeddings().weight)


@pytest.mark.parametrize("max_labels", [4, 400])
def test_steps_of_label_vectors(rng, max_labels):
    Y = sp.csr_array(rng.random_sample((64, 40)) < 0.1, dtype=np.float32)
    exclude = indicator([0, 1], [5, 6], Y.shape)
    options = LinearModel(batch_size=16, random_negatives=8, max_labels=max_labels)
    weights = np.zeros((40, 6), dtype=np.float32)
    x = rng.normal(size=(64, 6)).astype(np.float32)
    training = OneVsAllTraining(options, weights, Y, None, exclude, None, rng)
    with NoWaiting():
        for start in range(0, 64, 16):
            rows = np.arange(start, start + 16)
            training._train_batch(rows, x[rows])
    assert training.weights.abs().sum() > 0


def test_one_kernel_is_left_alone_where_it_fails():
    """On a CPU there is none; a device that claims one and lacks it goes on by runs."""
    x = torch.randn(7, 2, 8, dtype=torch.bfloat16)
    assert not can_attend(x, x, x, False, None, attend_by_runs)
    cpu = torch.device("cpu")
    assert not _agrees(cpu, torch.bfloat16, (2, 2), 8, False, None, attend_by_runs)


def test_sequences_of_one_kernel_end_where_runs_do():
    with torch.inference_mode():
        ends = _ends(((2, 1), (3, 4)), torch.device("cpu"))
    assert ends.tolist() == [0, 1, 2, 6, 10, 14]
    assert ends.dtype == torch.int32
    assert not ends.is_inference()  # steps of training use it again
