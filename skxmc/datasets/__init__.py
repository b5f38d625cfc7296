"""Data sets of texts, pictures and very many labels."""

from ._base import get_data_home
from ._folder import load_xmc_folder
from ._fontawesome import load_fontawesome
from ._repository import load_xmc_repository

__all__ = ["get_data_home", "load_fontawesome", "load_xmc_folder", "load_xmc_repository"]
