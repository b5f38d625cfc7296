"""A saved model as a web service: predictions over HTTP, in batches of waiting requests.

Needs the extra ``serve``. ``skxmc serve FOLDER`` is the same on the command line.
"""

from ._app import create_app, run_server
from ._limits import Limits
from ._model import load_model

__all__ = ["Limits", "create_app", "load_model", "run_server"]
