"""From requests to predictions: one call of the model for all that has gathered."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..inspection import Explanation
from ._model import Label, ServedModel

logger = logging.getLogger("skxmc.serving")


class RequestError(Exception):
    """A request that cannot be answered, in one sentence.

    Parameters
    ----------
    message : str
        What is wrong and what to do, for the caller.
    status : int, default=422
        Status of the response.
    """

    def __init__(self, message: str, status: int = 422) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True, eq=False)
class Query:
    """Documents of one request.

    Attributes
    ----------
    texts : list of str
    images : list of list of bytes
        The pictures of each document.
    k : int
        Labels of a document.
    exclude : list of str or int
        Ids of labels that are not wanted.
    only : list of str or int
        Ids of labels that may come back; empty for all.
    explain : bool
        Whether reasons are wanted.
    """

    texts: list[str]
    images: list[list[bytes]]
    k: int
    exclude: Sequence[str | int] = field(default_factory=list)
    only: Sequence[str | int] = field(default_factory=list)
    explain: bool = False

    @property
    def n_bytes(self) -> int:
        """About what it holds in memory."""
        return sum(map(len, self.texts)) + sum(
            len(picture) for pictures in self.images for picture in pictures
        )


Ranking = list[tuple[Label, float]]


@dataclass(frozen=True, eq=False)
class Answer:
    """Labels of each document, best first, and of which model; reasons where they are wanted."""

    rankings: list[Ranking]
    model: ServedModel
    reasons: list[list[Explanation]] | None = None


def answer_all(served: ServedModel, queries: Sequence[Query]) -> list[Answer | Exception]:
    """Predict for all queries with as few calls as give each what it would get alone.

    Parameters
    ----------
    served : ServedModel
    queries : sequence of Query

    Returns
    -------
    answers : list of Answer or Exception
        A query that cannot be answered gets its exception, and the others their answers.
    """
    answers: list[Any] = [None] * len(queries)
    groups: dict[tuple[int, ...], list[int]] = {}  # of the same allowed labels
    excluded: dict[int, list[int]] = {}
    for number, query in enumerate(queries):
        try:
            excluded[number] = _columns(served, query.exclude, "exclude")
            only = _columns(served, query.only, "only")
            _check_pictures(served, query)
        except RequestError as error:
            answers[number] = error
        else:
            groups.setdefault(tuple(sorted(set(only))), []).append(number)
    for columns_of_all, numbers in groups.items():
        parts = [queries[number] for number in numbers]
        columns = [excluded[number] for number in numbers]
        found = _answer_group(served, parts, columns, columns_of_all)
        for number, answer in zip(numbers, found, strict=True):
            answers[number] = answer
    return answers


def _columns(served: ServedModel, ids: Sequence[str | int], argument: str) -> list[int]:
    """Columns of labels that a request names."""
    try:
        return served.columns(ids)
    except ValueError as error:
        raise RequestError(f"{argument}: {error}; leave it out.") from error


def _check_pictures(served: ServedModel, query: Query) -> None:
    if any(query.images) and not served.takes_pictures:
        raise RequestError("the model was fitted without pictures; send texts alone.")


def _answer_group(
    served: ServedModel, queries: list[Query], columns: list[list[int]], only: tuple[int, ...]
) -> list[Answer | Exception]:
    """One call for all; where it fails, one for each, so that only the cause of it fails."""
    try:
        return _predict(served, queries, columns, only)
    except Exception as error:
        if len(queries) > 1:
            pairs = zip(queries, columns, strict=True)
            return [_answer_group(served, [query], [own], only)[0] for query, own in pairs]
        return [_explain(error, queries[0])]


def _explain(error: Exception, query: Query) -> Exception:
    """What a caller gets; messages about documents are the caller's own, and are not logged."""
    if isinstance(error, ValueError) and any(query.images):
        return RequestError(first_sentence(str(error)))
    frames = "".join(traceback.format_tb(error.__traceback__))
    logger.error("a prediction failed with %s at\n%s", type(error).__name__, frames)
    return error


def first_sentence(message: str) -> str:
    """A message as one line that ends in a full stop."""
    line = " ".join(message.split())
    return line if line.endswith(".") else f"{line}."


def _predict(
    served: ServedModel, queries: list[Query], columns: list[list[int]], only: tuple[int, ...]
) -> list[Answer | Exception]:
    texts = [text for query in queries for text in query.texts]
    if not texts:
        return [Answer([], served) for _ in queries]
    images = None
    if served.expects_pictures:
        images = [pictures or None for query in queries for pictures in query.images]
    pairs, row = [], 0
    for query, own in zip(queries, columns, strict=True):
        pairs += [(row + document, c) for document in range(len(query.texts)) for c in own]
        row += len(query.texts)
    exclude = np.array(pairs, dtype=np.int64).reshape(-1, 2) if pairs else None
    k = min(max(query.k for query in queries), len(served.labels))
    allowed = np.isin(np.arange(len(served.labels)), only) if only else None
    found, scores = served.model.predict_topk(
        texts, k, images=images, exclude=exclude, only=allowed
    )
    answers: list[Answer | Exception] = []
    row = 0
    for query in queries:
        rows = range(row, row + len(query.texts))
        rankings = [_ranking(served, found[i, : query.k], scores[i, : query.k]) for i in rows]
        reasons = _reasons(served, query, rankings) if query.explain else None
        answers.append(Answer(rankings, served, reasons))
        row += len(query.texts)
    return answers


def _reasons(served: ServedModel, query: Query, rankings: list[Ranking]) -> list[list[Explanation]]:
    images = None
    if served.expects_pictures:
        images = [pictures or None for pictures in query.images]
    names = [[label.id for label, _ in ranking] for ranking in rankings]
    return served.model.explain(query.texts, names, images=images)


def _ranking(served: ServedModel, found: np.ndarray, scores: np.ndarray) -> Ranking:
    pairs = zip(found.tolist(), scores.tolist(), strict=True)
    return [(served.labels[label], score) for label, score in pairs if label >= 0]
