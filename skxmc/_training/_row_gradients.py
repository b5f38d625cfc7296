"""Gradients of tables of which a batch touches few rows."""

from __future__ import annotations

import torch


class RowGradients:
    """Makes gradients of rows dense, in memory that is kept from step to step.

    An optimizer with moments moves every row at every step, so it wants dense gradients; a fresh
    array of zeros for each step takes as long as a product of matrices. Here only those rows are
    emptied that the step before has written.
    """

    def __init__(self) -> None:
        self._kept: dict[torch.nn.Parameter, tuple[torch.Tensor, torch.Tensor]] = {}

    def make_dense(self, table: torch.nn.Parameter) -> None:
        """Give a table a dense gradient in place of one of rows; any other stays."""
        rows = table.grad
        if rows is None or not rows.is_sparse:
            return
        if table in self._kept:
            dense, written = self._kept[table]
            dense.index_fill_(0, written, 0)
        else:
            dense = torch.zeros_like(table, memory_format=torch.contiguous_format)
        table.grad = dense.add_(rows)
        self._kept[table] = dense, rows._indices()[0]
