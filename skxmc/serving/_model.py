"""The model that a service answers with, and its replacement by a newer save."""

from __future__ import annotations

import logging
import os
import threading
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from .._decoder import DecoderXMCClassifier
from .._estimator._parameters import resolve_image_encoder
from .._folders._manifest import METADATA
from .._folders._strict_json import parse_json
from .._vixml import ViXMLClassifier
from ._journal import Entry, LabelJournal

logger = logging.getLogger("skxmc.serving")

_ESTIMATORS = {kind.__name__: kind for kind in (ViXMLClassifier, DecoderXMCClassifier)}
_LAST = chr(0x10FFFF)  # sorts behind all that begins alike


def load_model(folder: str | os.PathLike, **options: Any) -> Any:
    """Load a saved model, whichever estimator it is.

    Parameters
    ----------
    folder : path-like
        What ``save`` wrote.
    **options : dict
        As of ``ViXMLClassifier.load``: device, image_encoder, base, trust_remote_code.

    Returns
    -------
    model : ViXMLClassifier or DecoderXMCClassifier
        The fitted estimator.

    Raises
    ------
    FileNotFoundError
        If the folder or one of its files is missing.
    ValueError
        If a file is damaged.

    Examples
    --------
    >>> from skxmc.serving import load_model
    >>> load_model("no-such-folder")
    Traceback (most recent call last):
        ...
    FileNotFoundError: there is no folder 'no-such-folder'; pass one that save wrote.
    """
    try:
        name = parse_json((Path(folder).expanduser() / METADATA).read_bytes())["class"]
    except (OSError, ValueError, KeyError, TypeError):
        name = None  # load itself says what is wrong
    return _ESTIMATORS.get(name, ViXMLClassifier).load(folder, **options)


@dataclass(frozen=True, eq=False)
class Label:
    """A label as callers see it."""

    id: str | int
    text: str


class ServedModel:
    """A fitted model with what is asked of it beside predictions.

    Parameters
    ----------
    model : estimator
        Fitted, with an encoder.
    """

    def __init__(self, model: Any) -> None:
        if model.tower_ is None:
            raise ValueError(
                "the model was fitted with encoder='precomputed', and a service gets texts; serve "
                "a model that has an encoder."
            )
        self.model = model
        self.loaded = datetime.now(UTC)
        # Pictures that a model of ready vectors would need cannot be made here.
        self.takes_pictures = model.image_encoder_ is not None
        self.expects_pictures = model.featurizer_.whitener is not None
        self.max_images = resolve_image_encoder(model.image_encoder).max_images
        self._read_labels()

    def _read_labels(self) -> None:
        ids = self.model.classes_.tolist()
        given = self.model.label_texts_
        texts = [str(name) for name in ids] if given is None else [own[0] for own in given]
        labels = [Label(name, text) for name, text in zip(ids, texts, strict=True)]
        columns = {name: column for column, name in enumerate(ids)}
        order = sorted((text.casefold(), column) for column, text in enumerate(texts))
        # Set last and at once: others may be reading.
        self._tables = labels, columns, order

    @property
    def labels(self) -> Sequence[Label]:
        """The labels in the order of their columns."""
        return self._tables[0]

    def columns(self, ids: Sequence[str | int]) -> list[int]:
        """Columns of labels.

        Raises
        ------
        ValueError
            If there is no such label.
        """
        known = self._tables[1]
        unknown = next((name for name in ids if name not in known), None)
        if unknown is not None:
            raise ValueError(f"the model has no label {unknown!r}")
        return [known[name] for name in ids]

    def search(self, prefix: str, offset: int, limit: int) -> tuple[int, list[Label]]:
        """Labels whose text begins so, whatever the case: how many, and a page of them."""
        labels, _, order = self._tables
        prefix = prefix.casefold()
        start = bisect_left(order, (prefix,))
        stop = bisect_right(order, (prefix + _LAST,)) if prefix else len(order)
        page = order[start + offset : min(start + offset + limit, stop)]
        return stop - start, [labels[column] for _, column in page]

    def add_label(self, name: str | int, text: str) -> Label:
        """Make a label known; only the thread that predicts may call it."""
        self.model.add_labels([name], label_text=[text])
        self._read_labels()
        return self.labels[-1]

    def remove_label(self, name: str | int) -> None:
        """Make a label unknown; only the thread that predicts may call it."""
        self.model.remove_labels([name])
        self._read_labels()

    def follow(self, entries: Sequence[Entry]) -> None:
        """Make labels known and unknown as the last entry of each says.

        Those that the model cannot have are left out.
        """
        known = set(self._tables[1])
        kind = type(next(iter(known)))
        latest = dict(entries)
        gone = [name for name, text in latest.items() if text is None and name in known]
        if gone:
            self.model.remove_labels(gone)
            self._read_labels()
        new = {
            name: text for name, text in latest.items() if text is not None and name not in known
        }
        fitting = {name: text for name, text in new.items() if type(name) is kind}
        if len(fitting) < len(new):
            count = len(new) - len(fitting)
            logger.warning("%d added labels are not of the type of the model's labels", count)
        if fitting:
            self.model.add_labels(list(fitting), label_text=list(fitting.values()))
            self._read_labels()


class ModelSource:
    """The model of a folder, replaced as a whole when a new one is saved there.

    Parameters
    ----------
    folder : path-like
        What ``save`` wrote.
    seconds : float or None
        How often to look; None never looks.
    options : dict
        Arguments of ``load``.
    on_reload : callable
        ``on_reload(worked)`` is called after each attempt.
    journal : LabelJournal or None
        Labels that each model gets.
    """

    def __init__(
        self,
        folder: str | os.PathLike,
        seconds: float | None,
        options: dict[str, Any],
        on_reload: Callable[[bool], None] = lambda worked: None,
        journal: LabelJournal | None = None,
    ) -> None:
        self._journal = journal
        self.on_look: Callable[[], None] = lambda: None
        self._folder = Path(folder).expanduser()
        self._options = options
        self._on_reload = on_reload
        self._stop = threading.Event()
        while True:
            stamp = self._stamp()
            self.current = self._load()
            if self._stamp() == stamp:
                break
        self._seen = stamp
        self._thread = None
        if seconds is not None:
            self._thread = threading.Thread(
                target=self._watch, args=(seconds,), name="skxmc-reload", daemon=True
            )
            self._thread.start()

    def close(self) -> None:
        """Stop looking."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()

    def _watch(self, seconds: float) -> None:
        while not self._stop.wait(seconds):
            self.check()
            self.on_look()

    def check(self) -> bool:
        """Look once; whether there is a new model now.

        A save changes names: the folder may be missing for a moment, and files may be those of the
        next model while one is being read. So the folder must look the same before and after.
        """
        stamp = self._stamp()
        if stamp is None or stamp == self._seen:
            return False
        try:
            found = self._load()
        except Exception as error:
            if self._stamp() == stamp:  # it is not a save that goes on
                self._seen = stamp
                logger.warning("the new model cannot be loaded (%s)", type(error).__name__)
                self._on_reload(False)
            return False
        if self._stamp() != stamp:
            return False
        self._seen = stamp
        self.current = found
        logger.info("loaded a new model with %d labels", len(found.labels))
        self._on_reload(True)
        return True

    def _stamp(self) -> tuple[int, ...] | None:
        try:
            found = (self._folder / METADATA).stat()
        except OSError:
            return None
        return found.st_ino, found.st_mtime_ns, found.st_size

    def _load(self) -> ServedModel:
        return prepare(load_model(self._folder, **self._options), self._journal)


class FixedModel:
    """A model that is in memory already; nothing replaces it."""

    on_look: Callable[[], None]

    def __init__(self, model: Any, journal: LabelJournal | None = None) -> None:
        self.current = prepare(model, journal)

    def close(self) -> None:
        """Nothing to stop."""


def prepare(model: Any, journal: LabelJournal | None) -> ServedModel:
    """A model with the labels that callers have added, warmed up.

    It predicts once: kernels, memory maps and caches are made before the first caller waits.
    """
    served = ServedModel(model)
    if journal is not None:
        served.follow(journal.read())
    images = [None] if served.expects_pictures else None
    served.model.predict_topk(["warm-up"], k=1, images=images)
    return served
