"""Callables as image encoders, and their keys in a cache."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import joblib
from joblib.func_inspect import get_func_code

from ._picture_model import PictureModel

if TYPE_CHECKING:
    from PIL.Image import Image


class CallableModel(PictureModel):
    """What a user hands in.

    Parameters
    ----------
    function : callable
        From a list of RGB images to an array of shape (n_images, dimension).
    """

    thread_safe = False

    def __init__(self, function: Callable[[list[Image]], Any]) -> None:
        self.function = function

    def prepare(self, images: list[Image]) -> list[Image]:
        """The images as they are."""
        return images

    def forward(self, prepared: list[Image]) -> list[Any]:
        """What the callable returns, as one block."""
        return [self.function(prepared)]


def callable_fingerprint(function: Any) -> str:
    """Key of a callable: its own ``fingerprint``, or its code and its state."""
    given = getattr(function, "fingerprint", None)
    if isinstance(given, str):
        return given
    if isinstance(function, partial):
        inner, state = function.func, [function.args, function.keywords]
        return joblib.hash([callable_fingerprint(inner), state])
    if inspect.isfunction(function):
        cells = [cell.cell_contents for cell in function.__closure__ or ()]
        code, state = get_func_code(function)[0], [function.__defaults__, cells]
    elif inspect.ismethod(function):
        code, state = get_func_code(function.__func__)[0], function.__self__
    else:
        code, state = get_func_code(type(function).__call__)[0], function
    try:
        return joblib.hash([code, state])
    except Exception as error:  # whatever pickle raises for an object that it cannot take
        raise ValueError(
            "memory is given, but the callable image_encoder cannot be hashed for the cache "
            f"({error}); give it an attribute `fingerprint` of type str that names its state."
        ) from error
