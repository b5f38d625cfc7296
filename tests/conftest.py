"""Fixtures shared by the tests, and how processes share the cores."""

import os
from pathlib import Path
from typing import Any

# Read once, when numpy and torch are imported. Threads of all cores in each process of pytest-xdist
# would wait for each other.
workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
if workers > 1:
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // workers)))

import numpy as np  # noqa: E402
import pytest  # noqa: E402
from sklearn.base import BaseEstimator  # noqa: E402


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Slow tests come first: no process has a long one left when the others are done."""
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)


def parameters_of(estimator: BaseEstimator) -> dict[str, Any]:
    """All parameters, nested ones too; objects, which differ in clones, are their classes."""

    def plain(value: Any) -> Any:
        if isinstance(value, list | tuple):
            return [plain(part) for part in value]
        return type(value) if isinstance(value, BaseEstimator) else value

    return {name: plain(value) for name, value in estimator.get_params().items()}


@pytest.fixture(scope="session")
def shared() -> Path:
    """Folder of golden numbers and data sets beside the repository; skips where it is missing."""
    folder = Path(__file__).resolve().parents[2] / "shared"
    if not folder.is_dir():
        pytest.skip(f"{folder} does not exist")
    return folder


@pytest.fixture
def rng() -> np.random.RandomState:
    """Random numbers that are the same in every run."""
    return np.random.RandomState(0)
