"""What a service accepts."""

from __future__ import annotations

from dataclasses import dataclass, fields
from numbers import Real

_DAY = 86_400  # seconds


@dataclass(frozen=True)
class Limits:
    """What a service accepts from its callers.

    Parameters
    ----------
    body_bytes : int, default=8 MiB
        Size of a request.
    pixels : int, default=25,000,000
        Width times height of a picture.
    characters : int, default=100,000
        Length of a text.
    documents : int, default=64
        Documents of a request.
    k : int, default=100
        Labels of a document.
    explained : int, default=100
        Documents times labels of a request that come with reasons.
    named : int, default=1000
        Labels that a request excludes, and that it allows.
    seconds : float, default=30
        How long a request may take to arrive, and then to be answered.
    waiting_documents : int, default=256
        Documents that wait for the model. A request that would exceed it is refused with status
        429.
    waiting_bytes : int, default=256 MiB
        Texts and pictures that wait, likewise.
    batch_documents : int, default=64
        Documents that the model gets at once.

    Examples
    --------
    >>> from skxmc.serving import Limits
    >>> Limits(documents=8).documents
    8
    >>> Limits(k=0)
    Traceback (most recent call last):
        ...
    ValueError: the limit k must be a number of at least 1, got 0.
    """

    body_bytes: int = 8 * 2**20
    pixels: int = 25_000_000
    characters: int = 100_000
    documents: int = 64
    k: int = 100
    explained: int = 100
    named: int = 1000
    seconds: float = 30.0
    waiting_documents: int = 256
    waiting_bytes: int = 256 * 2**20
    batch_documents: int = 64

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name == "seconds":
                valid = isinstance(value, Real) and 0 < float(value) <= _DAY
                wanted = f"above 0 and at most {_DAY}"
            else:
                valid = isinstance(value, int) and value >= 1
                wanted = "of at least 1"
            if isinstance(value, bool) or not valid:
                raise ValueError(
                    f"the limit {field.name} must be a number {wanted}, got {value!r}."
                )
