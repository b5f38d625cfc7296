"""Data sets of texts, pictures and very many labels: readers, and writers of predictions."""

from ._annif import load_annif
from ._base import get_data_home
from ._downloads import DownloadLimits
from ._fetching import fetch_image_vectors
from ._folder import load_xmc_folder
from ._fontawesome import load_fontawesome
from ._image_vectors import image_vectors
from ._label_documents import documents_from_labels
from ._pecos import load_pecos
from ._predictions import save_predictions, save_qrels
from ._repository import load_xmc_repository
from ._svmlight import load_svmlight_xmc
from ._table import load_table
from ._tags import split_tags

__all__ = [
    "DownloadLimits",
    "documents_from_labels",
    "fetch_image_vectors",
    "get_data_home",
    "image_vectors",
    "load_annif",
    "load_fontawesome",
    "load_pecos",
    "load_svmlight_xmc",
    "load_table",
    "load_xmc_folder",
    "load_xmc_repository",
    "save_predictions",
    "save_qrels",
    "split_tags",
]
