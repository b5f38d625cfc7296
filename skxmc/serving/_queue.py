"""A bounded queue of requests, and the one thread that answers them in batches."""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any


class QueueFullError(Exception):
    """There is no room for a request.

    Parameters
    ----------
    retry_after : int
        Seconds after which there may be room.
    """

    def __init__(self, retry_after: int) -> None:
        super().__init__(f"too many documents are waiting; try again in {retry_after} s")
        self.retry_after = retry_after


class QueueClosedError(Exception):
    """The service stops and takes nothing new."""


@dataclass(eq=False)
class Job:
    """Documents of one request.

    Attributes
    ----------
    content : Any
        What the model gets.
    size : int
        Number of documents.
    n_bytes : int
        What it holds in memory.
    future : Future
        Gets the answer.
    """

    content: Any
    size: int
    n_bytes: int
    future: Future = field(default_factory=Future)


@dataclass(eq=False)
class Task:
    """A change of the model, made between two batches."""

    change: Callable[[], Any]
    future: Future = field(default_factory=Future)


class BatchQueue:
    """Gathers jobs while the model computes, and hands all of them over as the next batch.

    No job waits for company: a batch is what has come in during the one before.

    Parameters
    ----------
    answer : callable
        ``answer(contents)`` gives a list with one answer for each content; an answer that is an
        exception is raised to its caller.
    max_batch : int
        Documents of a batch; a larger job is a batch of its own.
    max_documents, max_bytes : int
        What may wait.
    """

    def __init__(
        self,
        answer: Callable[[list[Any]], list[Any]],
        *,
        max_batch: int,
        max_documents: int,
        max_bytes: int,
    ) -> None:
        self._answer = answer
        self._max_batch = max_batch
        self._max_documents = max_documents
        self._max_bytes = max_bytes
        self._waiting: deque[Job | Task] = deque()
        self._n_documents = 0
        self._n_bytes = 0
        self._closed = False
        self._seconds_per_document = 0.0  # a running mean
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._work, name="skxmc-predict", daemon=True)
        self._thread.start()

    @property
    def n_waiting(self) -> int:
        """Documents that wait."""
        return self._n_documents

    def submit(self, content: Any, size: int, n_bytes: int) -> Future:
        """Add a job.

        Raises
        ------
        QueueFullError
            If too much waits already. An empty queue takes any job.
        QueueClosedError
            If the queue has been closed.
        """
        job = Job(content, size, n_bytes)
        with self._changed:
            self._check_open()
            full = (
                self._n_documents + size > self._max_documents
                or self._n_bytes + n_bytes > self._max_bytes
            )
            if full and self._n_documents:
                raise QueueFullError(self._retry_after())
            self._n_documents += size
            self._n_bytes += n_bytes
            self._waiting.append(job)
            self._changed.notify()
        return job.future

    def run(self, change: Callable[[], Any]) -> Future:
        """Call a function between two batches.

        Raises
        ------
        QueueClosedError
            If the queue has been closed.
        """
        task = Task(change)
        with self._changed:
            self._check_open()
            self._waiting.append(task)
            self._changed.notify()
        return task.future

    def close(self) -> None:
        """Take nothing new, finish what waits, and end the thread."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join()

    def _check_open(self) -> None:
        if self._closed:
            raise QueueClosedError("the service is stopping")

    def _retry_after(self) -> int:
        seconds = self._n_documents * self._seconds_per_document
        return min(max(1, math.ceil(seconds)), 60)

    def _work(self) -> None:
        while True:
            with self._changed:
                while not self._waiting and not self._closed:
                    self._changed.wait()
                if not self._waiting:
                    return
                batch = self._gather()
            if isinstance(batch, Task):
                self._run_task(batch)
            else:
                self._run_batch(batch)

    def _gather(self) -> list[Job] | Task:
        """What comes next: a task, or jobs up to the next task or the size of a batch."""
        first = self._waiting[0]
        if isinstance(first, Task):
            self._waiting.popleft()
            return first
        batch: list[Job] = []
        size = 0
        while self._waiting and isinstance(self._waiting[0], Job):
            job = self._waiting[0]
            if batch and size + job.size > self._max_batch:
                break
            self._waiting.popleft()
            self._n_documents -= job.size
            self._n_bytes -= job.n_bytes
            if job.future.set_running_or_notify_cancel():  # else its caller has given up
                batch.append(job)
                size += job.size
        return batch

    def _run_task(self, task: Task) -> None:
        if not task.future.set_running_or_notify_cancel():
            return
        try:
            task.future.set_result(task.change())
        except Exception as error:
            task.future.set_exception(error)

    def _run_batch(self, batch: list[Job]) -> None:
        if not batch:
            return
        started = time.perf_counter()
        try:
            answers = self._answer([job.content for job in batch])
        except Exception as error:
            answers = [error] * len(batch)
        for job, found in zip(batch, answers, strict=True):
            if isinstance(found, Exception):
                job.future.set_exception(found)
            else:
                job.future.set_result(found)
        each = (time.perf_counter() - started) / max(1, sum(job.size for job in batch))
        self._seconds_per_document += 0.2 * (each - self._seconds_per_document)
