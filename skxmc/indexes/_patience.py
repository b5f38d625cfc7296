"""Pauses until a server that was lost is there again."""

from __future__ import annotations

import logging
import time

logger = logging.getLogger(__name__)

# Seconds that a server has to come back, and the longest pause between two attempts.
_PATIENCE, _PAUSE = 60.0, 1.0


class Patience:
    """For the attempts of one question.

    Parameters
    ----------
    server : str
        Its name, for messages.
    """

    def __init__(self, server: str) -> None:
        self._server = server
        self._lost_at: float | None = None

    def __bool__(self) -> bool:
        """Whether the server was lost before."""
        return self._lost_at is not None

    def wait(self, error: Exception) -> None:
        """Pause before the next attempt; raise the error where it has taken too long."""
        now = time.monotonic()
        if self._lost_at is None:
            self._lost_at = now
        waited = now - self._lost_at
        if waited > _PATIENCE:
            raise error
        logger.warning("the connection to %s was lost and is made again", self._server)
        time.sleep(min(_PAUSE, waited / 2))
