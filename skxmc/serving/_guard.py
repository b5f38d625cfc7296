"""What stands before all routes: who may ask, how large and how slow a request may be."""

from __future__ import annotations

import asyncio
import hmac
import json
import logging
import time
import traceback
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any

from ._limits import Limits
from ._metrics import Metrics

logger = logging.getLogger("skxmc.serving")

# What anybody may see: the page itself, and whether the service is up.
OPEN_PATHS = ("/", "/health")

_HEADERS = ((b"x-content-type-options", b"nosniff"), (b"cache-control", b"no-store"))

# Of a body that is too large so many times the limit are read before the answer, for so many
# seconds at most.
_DROPPED, _DROPPING = 4, 5.0

Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]


class _Refused(Exception):
    def __init__(self, status: int, message: str, headers: Iterable[tuple[bytes, bytes]] = ()):
        super().__init__(message)
        self.status = status
        self.headers = list(headers)


class Guard:
    """ASGI middleware.

    Parameters
    ----------
    app : callable
        The ASGI application behind it.
    limits : Limits
    metrics : Metrics
    token : str or None
        What callers send as ``Authorization: Bearer``; None lets all in.
    hosts : sequence of str or None
        Host names that the service answers to. On a loopback address they keep a web page from
        reading answers under its own name, if that name leads here.
    paths : sequence of str
        Paths that metrics name; callers could invent others without end.
    """

    def __init__(
        self,
        app: Callable[..., Awaitable[None]],
        *,
        limits: Limits,
        metrics: Metrics,
        token: str | None,
        hosts: Sequence[str] | None,
        paths: Sequence[str],
    ) -> None:
        self._app = app
        self._limits = limits
        self._metrics = metrics
        self._token = None if token is None else token.encode()
        self._hosts = hosts
        self._paths = frozenset(paths)

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started, status = time.perf_counter(), None

        async def watched(message: dict[str, Any]) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message = {**message, "headers": [*message["headers"], *_HEADERS]}
            await send(message)

        try:
            try:
                self._check_head(scope)
                receive = await self._read_body(scope, receive)
            except _Refused as error:
                await _send_problem(watched, error)
            else:
                await self._app(scope, receive, watched)
        except Exception as error:  # whose message may hold what callers write
            frames = "".join(traceback.format_tb(error.__traceback__))
            logger.error("a request failed with %s at\n%s", type(error).__name__, frames)
            if status is None:
                problem = _Refused(500, "the service failed; its log says where.")
                await _send_problem(watched, problem)
        finally:
            self._count(scope, status or 500, time.perf_counter() - started)

    def _check_head(self, scope: dict[str, Any]) -> None:
        headers = dict(scope["headers"])
        if self._hosts is not None:
            host = _host_name(headers.get(b"host", b"").decode("latin-1"))
            if host not in self._hosts:
                raise _Refused(400, "the service is not reached under this name of a host.")
        if self._token is None or scope["path"] in OPEN_PATHS:
            return
        kind, _, given = headers.get(b"authorization", b"").partition(b" ")
        right = hmac.compare_digest(given.strip(), self._token)
        if kind.lower() != b"bearer" or not right:
            challenge = (b"www-authenticate", b"Bearer")
            raise _Refused(
                401, "the token is missing or wrong; send Authorization: Bearer TOKEN.", [challenge]
            )

    async def _read_body(self, scope: dict[str, Any], receive: Receive) -> Receive:
        """Read the whole body, so that what is too large or too slow never reaches a parser."""
        too_large = _Refused(
            413, f"the body has more than {self._limits.body_bytes} bytes; send less at a time."
        )
        length = dict(scope["headers"]).get(b"content-length", b"")
        if length.isdigit() and int(length[:20]) > self._limits.body_bytes:
            await self._drop_rest(receive)
            raise too_large
        body, more = bytearray(), True
        try:
            async with asyncio.timeout(self._limits.seconds):
                while more:
                    message = await receive()
                    if message["type"] != "http.request":  # the caller has gone
                        return _replay(message, receive)
                    body += message.get("body", b"")
                    more = message.get("more_body", False)
                    if len(body) > self._limits.body_bytes:
                        if more:
                            await self._drop_rest(receive)
                        raise too_large
        except TimeoutError:
            raise _Refused(
                408, f"the body has not arrived in {self._limits.seconds:g} s; send it faster."
            ) from None
        whole = {"type": "http.request", "body": bytes(body), "more_body": False}
        return _replay(whole, receive)

    async def _drop_rest(self, receive: Receive) -> None:
        """Read some of a body and keep nothing: who still sends may not hear an answer."""
        left = _DROPPED * self._limits.body_bytes
        try:
            async with asyncio.timeout(min(_DROPPING, self._limits.seconds)):
                while left > 0:
                    message = await receive()
                    left -= len(message.get("body", b""))
                    if message["type"] != "http.request" or not message.get("more_body", False):
                        return
        except TimeoutError:
            return

    def _count(self, scope: dict[str, Any], status: int, seconds: float) -> None:
        route = scope["path"] if scope["path"] in self._paths else "other"
        self._metrics.requests.labels(route, str(status)).inc()
        self._metrics.seconds.labels(route).observe(seconds)
        # No query and no body: they are what callers write.
        logger.debug("%s %s %d %.0f ms", scope["method"], route, status, 1e3 * seconds)


def _replay(first: dict[str, Any], receive: Receive) -> Receive:
    waiting = [first]

    async def replayed() -> dict[str, Any]:
        return waiting.pop() if waiting else await receive()

    return replayed


def _host_name(host: str) -> str:
    """The name without the port; an address of version 6 stands in brackets."""
    if host.startswith("["):
        return host[: host.find("]") + 1].lower()
    return host.partition(":")[0].lower()


async def _send_problem(send: Send, error: _Refused) -> None:
    body = json.dumps({"error": str(error)}).encode()
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
        *error.headers,
    ]
    if error.status in (408, 413):  # the rest of the body is not read
        headers.append((b"connection", b"close"))
    await send({"type": "http.response.start", "status": error.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
