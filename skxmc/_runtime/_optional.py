"""Imports of packages that may be missing, with a message that says what to install."""

from __future__ import annotations

from importlib import import_module
from types import ModuleType

# One module, two packages that bring it: the CPU build is a dependency of skxmc, the GPU build
# may take its place.
_FAISS = "pip install faiss-cpu (or faiss-gpu, which takes its place)"


def import_optional(module: str, extra: str | None = None) -> ModuleType:
    """Import `module`, or say how to get it.

    Parameters
    ----------
    module : str
        Name of the module, such as ``"open_clip"``.
    extra : str or None, default=None
        The extra of skxmc that brings the module; None if skxmc itself depends on it.

    Returns
    -------
    module : ModuleType

    Raises
    ------
    ImportError
        If the module cannot be imported. The message names the command that helps.
    """
    try:
        return import_module(module)
    except ImportError as error:
        top = module.partition(".")[0]
        advice = 'pip install "skxmc"' if extra is None else f'pip install "skxmc[{extra}]"'
        if top == "faiss":
            advice = _FAISS if extra is None else f"{_FAISS}, or {advice}"
        if isinstance(error, ModuleNotFoundError) and error.name in (module, top, None):
            problem = "is not installed"
        else:  # it is there, but something that it needs is not
            problem = f"cannot be imported ({error})"
        raise ImportError(
            f"the module {module!r} {problem}; install it with: {advice}", name=module
        ) from error
