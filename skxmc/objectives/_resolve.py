"""An objective from its name."""

from __future__ import annotations

from sklearn.base import clone

from .._runtime._plugins import find_plugin
from ._objective import Objective

# Name -> class of this package.
OBJECTIVES = {
    "dual_encoder": "skxmc.objectives._dual_encoder:DualEncoder",
    "linear_head": "skxmc.objectives._linear_head:LinearHead",
    "prime": "skxmc.objectives._prime:Prime",
}


def resolve_objective(spec: str | Objective) -> Objective:
    """Make an objective that can be built: its parameters are checked.

    Parameters
    ----------
    spec : str or Objective
        "prime", "dual_encoder", "linear_head", or a name that another package registers under the
        entry points ``skxmc.objectives``: an objective with default parameters. Or an objective.

    Returns
    -------
    Objective
        A new one, or a clone of the one that was passed.

    Raises
    ------
    TypeError
        If `spec` is neither, or the registered class is no Objective.
    ValueError
        If there is no such name; the message lists those there are. Or if a parameter of the
        objective is wrong.

    Examples
    --------
    >>> from skxmc.objectives import Prime, resolve_objective
    >>> resolve_objective("linear_head")
    LinearHead()
    >>> resolve_objective(Prime(n_negatives=5))
    Prime(n_negatives=5)
    """
    if isinstance(spec, Objective):
        objective = clone(spec)
        objective._validate_params()
        return objective
    if not isinstance(spec, str):
        got = f"the class {spec.__name__}" if isinstance(spec, type) else repr(spec)
        raise TypeError(
            f"objective must be a name or an Objective, such as Prime(), got {got}; derive a class "
            "from skxmc.objectives.Objective to write one."
        )
    found = find_plugin("objectives", spec, OBJECTIVES)
    if not issubclass(found, Objective):
        raise TypeError(
            f"objective={spec!r} names the class {found.__name__}, which is not derived from "
            "skxmc.objectives.Objective."
        )
    return found()
