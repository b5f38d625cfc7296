"""Data sets of texts, pictures and very many labels."""

from skxmc.datasets._base import get_data_home
from skxmc.datasets._folder import load_xmc_folder
from skxmc.datasets._fontawesome import load_fontawesome
from skxmc.datasets._repository import load_xmc_repository

__all__ = ["get_data_home", "load_fontawesome", "load_xmc_folder", "load_xmc_repository"]
