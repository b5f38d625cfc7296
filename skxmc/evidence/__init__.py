"""Kinds of evidence: each proposes labels for a document, and all of them are mixed.

:class:`Evidence` is the contract; a kind of your own is one class that fulfils it. Nothing here
loads PyTorch before something is fitted.
"""

from ._corpus import Corpus, Documents, LabelledDocuments, Removal, Setting, Size, Update
from ._evidence import Evidence
from ._label_vectors import LabelVectors
from ._lexical_matching import LexicalMatching
from ._neighbours import Neighbours
from ._prototypes import Prototypes
from ._reasons import Reasons
from ._resolve import resolve_evidence
from ._token_matching import TokenMatching

__all__ = [
    "Corpus",
    "Documents",
    "Evidence",
    "LabelVectors",
    "LabelledDocuments",
    "LexicalMatching",
    "Neighbours",
    "Prototypes",
    "Reasons",
    "Removal",
    "Setting",
    "Size",
    "TokenMatching",
    "Update",
    "resolve_evidence",
]
