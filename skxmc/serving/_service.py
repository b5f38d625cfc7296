"""Checks of requests, and the way to the model and back."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from ._journal import DocumentLog, LabelJournal
from ._limits import Limits
from ._metrics import Metrics
from ._model import Label, ServedModel
from ._pictures import check_picture, decode_base64
from ._predict import Answer, Query, RequestError, answer_all, first_sentence
from ._queue import BatchQueue, QueueClosedError, QueueFullError


class Service:
    """What the routes call.

    Parameters
    ----------
    source : ModelSource or FixedModel
        Gives the current model.
    limits : Limits
    metrics : Metrics
    journal : LabelJournal or None
        Keeps labels that callers add and remove; None lets them do neither.
    feedback : DocumentLog or None
        Keeps documents whose labels callers confirm; None takes none.
    """

    def __init__(
        self,
        source: Any,
        limits: Limits,
        metrics: Metrics,
        journal: LabelJournal | None,
        feedback: DocumentLog | None,
    ) -> None:
        self.source = source
        self.limits = limits
        self.metrics = metrics
        self.journal = journal
        self.feedback = feedback
        self.queue = BatchQueue(
            self._answer,
            max_batch=limits.batch_documents,
            max_documents=limits.waiting_documents,
            max_bytes=limits.waiting_bytes,
        )
        metrics.waiting.set_function(lambda: self.queue.n_waiting)
        source.on_look = self._look_for_labels

    @property
    def current(self) -> ServedModel:
        """The model that answers now."""
        return self.source.current

    def close(self) -> None:
        """Finish what waits."""
        self.source.close()
        self.queue.close()

    # -- checks -------------------------------------------------------------------------------

    def check_json(self, body: Any) -> Query:
        """The query of a `PredictRequest`.

        Raises
        ------
        RequestError
            If it is beyond the limits, or holds something else than pictures.
        """
        texts, images = body.texts, body.images
        if images is None:
            images = [None] * len(texts)
        if len(images) != len(texts):
            raise RequestError(
                f"images has {len(images)} entries and texts has {len(texts)}; send one for each "
                "text, null for none."
            )
        pictures = []
        for row, entry in enumerate(images):
            group = [] if entry is None else [entry] if isinstance(entry, str) else entry
            self._check_count(len(group), row)
            pictures.append([decode_base64(text, f"images[{row}]") for text in group])
        query = Query(texts, pictures, body.k, body.exclude, body.only, body.explain)
        return self.check(query)

    def check(self, query: Query) -> Query:
        """The same query, if it keeps to the limits.

        Raises
        ------
        RequestError
            If it does not.
        """
        limits = self.limits
        if len(query.texts) > limits.documents:
            raise RequestError(
                f"texts has {len(query.texts)} documents, and at most {limits.documents} are "
                "taken; send them in parts."
            )
        if query.k > limits.k:
            raise RequestError(f"k is {query.k}, and at most {limits.k} labels are given.")
        if query.explain and len(query.texts) * query.k > limits.explained:
            raise RequestError(
                f"explain asks for {len(query.texts) * query.k} reasons, and at most "
                f"{limits.explained} are given; send fewer documents, or a lower k."
            )
        for argument, named in (("exclude", query.exclude), ("only", query.only)):
            if len(named) > limits.named:
                raise RequestError(
                    f"{argument} has {len(named)} labels, and at most {limits.named} are taken."
                )
        for row, text in enumerate(query.texts):
            if len(text) > limits.characters:
                raise RequestError(
                    f"texts[{row}] has {len(text)} characters, and at most {limits.characters} are "
                    "taken; send a shorter text."
                )
            if not _is_unicode(text):
                raise RequestError(f"texts[{row}] holds half of a surrogate pair; leave it out.")
        for row, pictures in enumerate(query.images):
            self._check_count(len(pictures), row)
            for content in pictures:
                check_picture(content, limits.pixels, f"images[{row}]")
        return query

    def _check_count(self, count: int, row: int) -> None:
        most = self.current.max_images
        if count and not self.current.takes_pictures:
            raise RequestError("the model was fitted without pictures; send texts alone.")
        if count > most:
            raise RequestError(
                f"images[{row}] holds {count} pictures, and the model takes at most {most}."
            )

    # -- the model ----------------------------------------------------------------------------

    def _answer(self, queries: Sequence[Query]) -> list[Answer | Exception]:
        started = time.perf_counter()
        answers = answer_all(self.current, queries)
        size = sum(len(query.texts) for query in queries)
        self.metrics.batches.observe(size)
        self.metrics.documents.inc(size)
        self.metrics.predict_seconds.observe(time.perf_counter() - started)
        return answers

    async def ask(self, query: Query) -> Answer:
        """Wait for the answer to a query.

        Raises
        ------
        RequestError
            If there is none; it holds the status of the response.
        QueueFullError
            If too much waits already.
        """
        return await self._wait(lambda: self.queue.submit(query, len(query.texts), query.n_bytes))

    async def add_label(self, name: str | int, text: str) -> Label:
        """Make a label known, and keep it for the models to come.

        Raises
        ------
        RequestError
            If it may not be added.
        """
        return await self._change_labels(name, text, lambda: self.current.add_label(name, text))

    async def remove_label(self, name: str | int) -> None:
        """Make a label unknown, to the models to come as well.

        Raises
        ------
        RequestError
            If there is none, or it may not be removed.
        """
        await self._change_labels(name, None, lambda: self.current.remove_label(name))

    async def _change_labels(self, name: str | int, text: str | None, change: Any) -> Any:
        journal = self.journal
        if journal is None:
            raise RequestError(
                "this service changes no labels; start it with --new-labels FILE.", 403
            )

        def run() -> Any:
            try:
                self.current.follow(journal.read())  # of other processes
                found = change()
                journal.append(name, text)
                return found
            except TypeError as error:
                raise RequestError(first_sentence(str(error))) from None
            except ValueError as error:
                raise RequestError(first_sentence(str(error)), 409) from None

        return await self._wait(lambda: self.queue.run(run))

    def keep_document(self, text: str, labels: Sequence[str | int]) -> None:
        """Keep a document whose labels a caller has confirmed.

        Raises
        ------
        RequestError
            If this service takes none, or a label is not known.
        """
        if self.feedback is None:
            raise RequestError(
                "this service takes no documents; start it with --feedback FILE.", 403
            )
        self.check(Query([text], [[]], 1, labels))
        try:
            self.current.columns(labels)
        except ValueError as error:
            raise RequestError(f"{error}.", 409) from None
        self.feedback.append(text, labels)

    def _look_for_labels(self) -> None:
        """Take over the labels that another process has added or removed."""
        journal = self.journal
        if journal is None or not journal.has_grown():
            return
        with suppress(QueueClosedError):
            self.queue.run(lambda: self.current.follow(journal.read()))

    async def _wait(self, start: Any) -> Any:
        try:
            future = asyncio.wrap_future(start())
            return await asyncio.wait_for(future, self.limits.seconds)
        except (RequestError, QueueFullError):
            raise
        except QueueClosedError as error:
            raise RequestError(f"{error}; try again later.", 503) from None
        except TimeoutError:
            raise RequestError(
                f"there is no answer within {self.limits.seconds:g} s; send less, or try again "
                "later.",
                503,
            ) from None
        except Exception:  # its place is in the log, without what the caller wrote
            raise RequestError("the prediction failed; the log of the service says where.", 500) \
                from None  # fmt: skip


def _is_unicode(text: str) -> bool:
    """Whether a text can be written in UTF-8; JSON may hold other ones."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
