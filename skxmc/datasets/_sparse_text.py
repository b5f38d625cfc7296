"""Reader of targets: sparse text with a header, SciPy matrices, filter pairs."""

from __future__ import annotations

from array import array
from pathlib import Path

import numpy as np
import scipy.sparse as sp

from .._inputs._targets import check_exclude, narrow_indices
from ._files import load_csr, text_lines, without_last_blanks


def find_targets(folder: Path, names: tuple[str, ...]) -> Path:
    """The first of the files `names` that the folder has."""
    for name in names:
        if (folder / name).is_file():
            return folder / name
    raise FileNotFoundError(f"{folder} has none of {', '.join(names)}; put the targets there.")


def read_targets(path: Path) -> sp.csr_array:
    """Targets of sparse text or of a SciPy matrix: what is stored and not zero is 1.

    Raises
    ------
    ValueError
        If a value is NaN, infinite or negative: such files hold scores, not targets.
    """
    Y = load_csr(path) if path.suffix == ".npz" else read_sparse_text(path)
    wrong = np.flatnonzero(~(np.isfinite(Y.data) & (Y.data >= 0)))
    if len(wrong):
        row = int(np.searchsorted(Y.indptr, wrong[0], side="right")) - 1
        raise ValueError(
            f"row {row} of {path} has the value {Y.data[wrong[0]]} for column "
            f"{Y.indices[wrong[0]]}; targets are 1, or 0 for none: correct the row."
        )
    Y.sum_duplicates()
    Y.data[:] = Y.data != 0
    Y.eliminate_zeros()
    return Y


def read_sparse_text(path: Path) -> sp.csr_array:
    """Sparse text: a header ``rows columns``, and a line ``column:value column:value`` a row.

    A row may be empty.
    """
    # scikit-learn's reader of this format leaves out the lines of rows that have no pair.
    lines = text_lines(path)
    try:
        n_rows, n_columns = map(int, next(lines, "").split())
        if min(n_rows, n_columns) < 0:
            raise ValueError
    except ValueError:
        raise ValueError(f"{path} needs numbers of rows and columns in its first line.") from None
    columns, values, ends = array("q"), array("f"), array("q", [0])
    for number, line in enumerate(lines):
        if number >= n_rows and not line.strip():
            continue
        try:
            for pair in line.split():
                column, value = pair.split(":")
                columns.append(int(column))
                values.append(float(value))
        except (ValueError, OverflowError):
            raise ValueError(
                f"row {number} of {path} is not made of pairs column:value; correct it."
            ) from None
        if any(not 0 <= column < n_columns for column in columns[ends[-1] :]):
            raise ValueError(
                f"row {number} of {path} has a column outside of the {n_columns} that the first "
                "line states; correct one of them."
            )
        ends.append(len(columns))
    if len(ends) != n_rows + 1:
        raise ValueError(
            f"{path} has {len(ends) - 1} rows, and {n_rows} by its first line; it may be cut off."
        )
    parts = tuple(map(np.asarray, (values, columns, ends)))
    return narrow_indices(sp.csr_array(parts, shape=(n_rows, n_columns)))


def read_filter(path: Path, shape: tuple[int, int]) -> sp.csr_array:
    """Filter pairs, a row and a label a line; none if there is no such file."""
    lines = without_last_blanks(list(text_lines(path))) if path.is_file() else []
    pairs = []
    for number, line in enumerate(lines, start=1):
        try:
            row, label = map(int, line.split())
        except ValueError:
            raise ValueError(
                f"line {number} of {path} is not a pair of numbers; write a row and a label."
            ) from None
        if not (0 <= row < shape[0] and 0 <= label < shape[1]):
            raise ValueError(
                f"line {number} of {path} is the pair ({row}, {label}), but there are {shape[0]} "
                f"rows and {shape[1]} labels; correct it."
            )
        pairs.append((row, label))
    return check_exclude(pairs, *shape)
