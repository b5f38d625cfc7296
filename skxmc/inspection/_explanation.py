"""Why a document gets a label: what ``explain`` of the estimators returns."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class NearDocument:
    """A training document that is near to another one.

    Parameters
    ----------
    row : int
        Its row in the X that ``fit`` was given.
    id : str, int or None
        Its id; None if ``fit`` was given no `document_ids`.
    cosine : float
        How near it is, at most 1.
    """

    row: int
    id: str | int | None
    cosine: float


@dataclass(frozen=True)
class Explanation:
    """Why a document gets a label.

    Parameters
    ----------
    label : str or int
        The label, as in ``classes_``.
    probability : float
        Probability that it is right, as from ``predict_topk``.
    evidence : dict of str to float
        Share of each kind of evidence in what the mixture gives the label. The shares sum to 1;
        all are 0 for a label that no evidence supports.
    documents : list of NearDocument
        The nearest training documents that have the label; empty without neighbours among the
        evidence, or if no training document has it.
    words : list of tuple (str, float)
        Words of the document that speak most for the label, and how much; empty if the model sees
        no words. A number x multiplies the odds of the label by exp(x), in the evidence that weighs
        most among those that see words.
    picture : float or None
        How much the document's pictures support the label, in the same unit; None without
        pictures.
    matches : list of tuple (str, float)
        Words of the document that are most like the label, as
        :class:`~skxmc.evidence.TokenMatching` reads them in their sentence, and what each adds to
        the label's score, in the same unit; empty without that evidence.
    """

    label: str | int
    probability: float
    evidence: dict[str, float]
    documents: list[NearDocument] = field(default_factory=list)
    words: list[tuple[str, float]] = field(default_factory=list)
    picture: float | None = None
    matches: list[tuple[str, float]] = field(default_factory=list)
