"""Tests that a class of your own keeps a contract of the package."""

from ._indexes import check_index

__all__ = ["check_index"]
