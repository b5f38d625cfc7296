"""From what a user passes as `evidence` to the kinds that are fitted."""

from __future__ import annotations

from collections.abc import Sequence

from sklearn.base import clone

from .._runtime._plugins import find_plugin
from ._evidence import Evidence
from ._label_vectors import LabelVectors
from ._neighbours import Neighbours
from ._prototypes import Prototypes

KINDS = {"prototypes": Prototypes, "neighbours": Neighbours, "label_vectors": LabelVectors}


def resolve_evidence(evidence: Sequence[Evidence | str] | None) -> list[Evidence]:
    """Unfitted kinds of evidence, those first that do not look at the others.

    Parameters
    ----------
    evidence : sequence of Evidence or str, or None
        Objects are cloned. A name is that of a kind here, or of one that an installed package
        registers under the entry-point group ``skxmc.evidence``. None takes prototypes,
        neighbours and label vectors.

    Returns
    -------
    kinds : list of Evidence

    Raises
    ------
    TypeError
        If an entry is neither a name nor an `Evidence`.
    ValueError
        If there is no kind, two share a name, a name is not known, or a weight is out of range.
    """
    given = list(KINDS) if evidence is None else evidence
    if isinstance(given, str | Evidence):
        given = [given]
    kinds = []
    for position, kind in enumerate(given):
        if isinstance(kind, str):
            kind = find_plugin("evidence", kind, KINDS)()
        if not isinstance(kind, Evidence):
            raise TypeError(
                f"evidence[{position}] is of type {type(kind).__name__}; pass a name or an object "
                "of a class from skxmc.evidence, such as Prototypes()."
            )
        kinds.append(clone(kind))
    if not kinds:
        raise ValueError(
            "evidence is empty, which leaves nothing to rank labels by; pass at least one kind, "
            "or None for the usual ones."
        )
    for kind in kinds:
        _check(kind, [other.name for other in kinds])
    return sorted(kinds, key=lambda kind: kind.follows)


def _check(kind: Evidence, names: list[str]) -> None:
    if names.count(kind.name) > 1:
        raise ValueError(
            f"evidence holds two kinds with the name {kind.name!r}; keep one of them, or give the "
            "class of the other another `name`."
        )
    if kind.weight != "auto" and not 0 <= kind.weight <= 1:
        raise ValueError(
            f"the weight of {kind.name!r} must be 'auto' or within 0 and 1, got {kind.weight!r}."
        )
