"""From what a user passes as `evidence` to the kinds that are fitted."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Integral, Real

from sklearn.base import clone

from .._runtime._plugins import find_plugin
from ._evidence import Evidence
from ._label_vectors import LabelVectors
from ._lexical_matching import LexicalMatching
from ._neighbours import Neighbours
from ._prototypes import Prototypes
from ._token_matching import TokenMatching

USUAL = {"prototypes": Prototypes, "neighbours": Neighbours, "label_vectors": LabelVectors}
KINDS = {**USUAL, "token_matching": TokenMatching, "lexical_matching": LexicalMatching}


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
        If an entry is neither a name nor an `Evidence`, or the registered class is none.
    ValueError
        If there is no kind, two share a name, a name is not known, a weight or `replay` is out of
        range, or the weights that are given have a sum above 1.
    """
    given = list(USUAL) if evidence is None else evidence
    if isinstance(given, str | Evidence):
        given = [given]
    kinds = []
    for position, kind in enumerate(given):
        if isinstance(kind, str):
            kind = _by_name(kind)
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
    given_weights = [kind.weight for kind in kinds if kind.weight != "auto"]
    if sum(given_weights) > 1 + 1e-6:
        raise ValueError(
            f"the weights that evidence gives, {given_weights}, sum to {sum(given_weights):.4g}; "
            "they are shares of the mixture, so lower them, or leave some of them at 'auto'."
        )
    return sorted(kinds, key=lambda kind: kind.follows)


def _by_name(name: str) -> Evidence:
    found = find_plugin("evidence", name, KINDS)
    if not issubclass(found, Evidence):
        raise TypeError(
            f"evidence {name!r} names the class {found.__name__}, which is not derived from "
            "skxmc.evidence.Evidence."
        )
    return found()


def _check(kind: Evidence, names: list[str]) -> None:
    if names.count(kind.name) > 1:
        raise ValueError(
            f"evidence holds two kinds with the name {kind.name!r}; keep one of them, or give the "
            "class of the other another `name`."
        )
    weight = kind.weight
    if weight != "auto" and not (isinstance(weight, Real) and 0 <= weight <= 1):
        raise ValueError(
            f"the weight of {kind.name!r} must be 'auto' or within 0 and 1, got {weight!r}."
        )
    replay = kind.replay
    if isinstance(replay, bool) or not isinstance(replay, Integral) or replay < 0:
        raise ValueError(
            f"replay of {kind.name!r} must be a number of documents, 0 or more, got {replay!r}."
        )
