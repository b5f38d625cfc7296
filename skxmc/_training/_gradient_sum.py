"""Gradients of one step, of which each process has a part."""

from __future__ import annotations

import torch

from .._runtime import group


class GradientSum:
    """Adds up the gradients of all processes, in one message a step.

    Afterwards they are equal to the bit everywhere, and so are the steps that are made of them.
    The sum is kept in memory of its own, of which the gradients become views.
    """

    def __init__(self) -> None:
        self._flat: torch.Tensor | None = None

    def __call__(
        self,
        trained: dict[str, torch.nn.Parameter],
        loss: torch.Tensor,
    ) -> torch.Tensor:
        """Give parameters the gradients of all processes.

        Parameters
        ----------
        trained : dict of str to Parameter
            Gradients of the tower, whose names begin with "tower.", are of the items of this
            process alone. Those of the objective are whole in each process, and differ by
            rounding: of these the mean is taken.
        loss : Tensor of shape ()
            It is whole, too. If it is not finite in one process, it is not in any.

        Returns
        -------
        loss : Tensor of shape ()
        """
        own = [part for name, part in trained.items() if name.startswith("tower.")]
        repeated = [part for name, part in trained.items() if not name.startswith("tower.")]
        parameters = [*own, *repeated]
        views, given, mean = self._views(parameters, sum(p.numel() for p in repeated))
        for view, parameter in zip(views, parameters, strict=True):
            if parameter.grad is None:
                view.zero_()
            else:
                view.copy_(parameter.grad)
        there = [parameter.grad is not None for parameter in parameters]
        given.copy_(torch.tensor(there, dtype=torch.float32))
        mean[-1] = loss
        group.reduce(self._flat)
        mean /= group.size()
        # What no process has used gets no gradient, and the optimizer leaves it as it is.
        for view, parameter, used in zip(views, parameters, given.tolist(), strict=True):
            parameter.grad = view.to(parameter.dtype) if used else None
        return mean[-1].clone()

    def _views(
        self, parameters: list[torch.nn.Parameter], n_repeated: int
    ) -> tuple[list[torch.Tensor], torch.Tensor, torch.Tensor]:
        """Views of the memory: of each gradient, of who has one, and of all that is averaged."""
        sizes = [parameter.numel() for parameter in parameters]
        n = len(parameters) + sum(sizes) + 1
        if self._flat is None or len(self._flat) != n:
            self._flat = torch.empty(n, device=parameters[0].device)
        given, *parts, _ = self._flat.split([len(parameters), *sizes, 1])
        views = [part.view(p.shape) for part, p in zip(parts, parameters, strict=True)]
        return views, given, self._flat[n - 1 - n_repeated :]
