"""What training has come to, on disk: a training that is cut off goes on, an ended one is kept."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import threading
import time
from pathlib import Path
from typing import Any

import joblib
import torch

from .._runtime import group
from .._runtime._memory import check_memory

logger = logging.getLogger(__name__)

# Least seconds between two writings, and how many times what one takes: no more than a twentieth of
# the time goes into them.
SECONDS = 60.0
PATIENCE = 20

# Bytes of a hash at the end of a file, and of those that are hashed at a time.
_DIGEST, _BLOCK = 32, 2**20


class Checkpoint:
    """A file with the state of a training, written again and again while it runs.

    A file is replaced as a whole, so that there is a good one at any time. What cannot be written
    or read is reported, and training goes on without. Of several processes, which all have the same
    state, the first one writes and reads it for all.

    Parameters
    ----------
    path : Path
        Its folder is made when needed.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._written = time.monotonic()
        self._took = 0.0

    @classmethod
    def of(cls, memory: Any, *inputs: Any) -> Checkpoint | None:
        """Where a ``memory`` (folder or joblib.Memory) keeps the training with these inputs.

        It is in the store of joblib, so that ``memory.clear()`` and ``memory.reduce_size()`` count
        it in. None if there is no memory, or one that is not in a folder.
        """
        memory = check_memory(memory)
        store = getattr(memory, "store_backend", None)
        if store is None or memory.backend != "local":
            return None
        key = joblib.hash(inputs, coerce_mmap=True)
        return cls(Path(store.location, "skxmc", "training", key, "state.pt"))

    def is_due(self) -> bool:
        """Whether it is time to write, for this process."""
        if group.rank() > 0:
            return False
        passed = time.monotonic() - self._written
        return passed >= max(SECONDS, PATIENCE * self._took)

    def save(self, state: dict[str, Any]) -> None:
        """Write a state, in place of the one before."""
        if group.rank() > 0:
            return
        started = time.monotonic()
        # Candidates of a search that tune the same may run side by side.
        new = self.path.with_name(f"{self.path.name}.{os.getpid()}.{threading.get_ident()}")
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with new.open("wb") as file:
                torch.save(state, file)
            with new.open("rb+") as file:
                digest = hashlib.file_digest(file, "sha256").digest()
                file.write(digest)  # torch does not compare checksums; behind the end of its own
                file.flush()
                os.fsync(file.fileno())
            new.replace(self.path)
        except (OSError, RuntimeError) as error:  # torch makes the latter of a full disk
            logger.warning("the state of training cannot be kept in %s (%s)", self.path, error)
        finally:
            with contextlib.suppress(OSError):
                new.unlink(missing_ok=True)
        self._written = time.monotonic()
        self._took = self._written - started

    def load(self) -> dict[str, Any] | None:
        """The state that was written last; None if there is none that can be read."""
        return group.first(self._read)

    def _read(self) -> dict[str, Any] | None:
        if not self.path.is_file():
            return None
        try:
            self._check_digest()
            # Not of weights alone: states of random generators are no tensors. Like all of joblib's
            # store, the file is the user's own.
            return torch.load(self.path, map_location="cpu", weights_only=False)
        except Exception as error:  # whatever a broken pickle raises
            logger.warning("%s cannot be read (%s); training starts at 0", self.path, error)
            return None

    def _check_digest(self) -> None:
        """Raise ValueError if the file has other bytes than were written."""
        with self.path.open("rb") as file:
            content, size = hashlib.sha256(), self.path.stat().st_size - _DIGEST
            while size > 0 and (block := file.read(min(size, _BLOCK))):
                content.update(block)
                size -= len(block)
            if file.read() != content.digest():
                raise ValueError("its bytes are not those that were written")
