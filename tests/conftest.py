"""Fixtures shared by the tests."""

from pathlib import Path

import numpy as np
import pytest


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
