"""Tests that a class of your own keeps a contract of the package."""

from skxmc.testing._indexes import check_index

__all__ = ["check_index"]
