"""Data sets of texts, pictures and very many labels."""

from skxmc.datasets._base import get_data_home
from skxmc.datasets._folder import load_xmc_folder
from skxmc.datasets._fontawesome import load_fontawesome

__all__ = ["get_data_home", "load_fontawesome", "load_xmc_folder"]
