"""The service as an ASGI application, and the command that runs it."""

from __future__ import annotations

import ipaddress
import logging
import os
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from .._estimator._persistence import skxmc_version
from .._runtime._optional import import_optional
from ._guard import Guard
from ._journal import DocumentLog, LabelJournal
from ._limits import Limits
from ._metrics import Metrics
from ._model import FixedModel, ModelSource
from ._predict import RequestError, first_sentence
from ._queue import QueueFullError
from ._service import Service

if TYPE_CHECKING:
    from fastapi import FastAPI, Request

logger = logging.getLogger("skxmc.serving")

LOOPBACK = ("localhost", "127.0.0.1", "[::1]")

# Connections at a time; each may hold a request of the largest size.
CONNECTIONS = 256


def create_app(
    model: Any,
    *,
    limits: Limits | None = None,
    token: str | None = None,
    hosts: Sequence[str] | None = None,
    new_labels: str | os.PathLike | None = None,
    feedback: str | os.PathLike | None = None,
    reload_seconds: float | None = 2.0,
    load_options: dict[str, Any] | None = None,
) -> FastAPI:
    """Make a web service of a model.

    One thread calls the model, with all documents that have come in since its last call. A model
    of a folder is replaced as a whole when a newer one is saved there. Each request is answered by
    one of the two models.

    Parameters
    ----------
    model : path-like, or fitted estimator
        The folder that ``save`` wrote, or the model itself, which the service then owns.
    limits : Limits, default=None
        What callers may send; None means ``Limits()``.
    token : str, default=None
        If given, callers send it as ``Authorization: Bearer TOKEN``. The page and ``/health`` are
        open.
    hosts : sequence of str, default=None
        Host names that the service answers to; None accepts all.
    new_labels : path-like, default=None
        File that keeps the labels which ``POST /labels`` adds and ``POST /labels/remove`` removes,
        a line each. Every model that is loaded follows it, and other processes with the same file
        as well. None changes no labels.
    feedback : path-like, default=None
        File that keeps the documents which ``POST /documents`` brings, with the labels that
        a caller has confirmed: a line of JSON each, which ``skxmc update`` learns from. The page
        then has boxes to confirm labels. None takes no documents.
    reload_seconds : float or None, default=2.0
        How often to look for a newer save in the folder; None never looks.
    load_options : dict, default=None
        Arguments of ``load``, such as ``{"device": "cpu"}``.

    Returns
    -------
    app : fastapi.FastAPI
        For any ASGI server, with one worker process: each process loads its own model. Its
        lifespan ends the service after it has answered the waiting requests.

    Raises
    ------
    ImportError
        If the extra ``serve`` is not installed.
    FileNotFoundError
        If there is no model in the folder, or no folder for `new_labels` or `feedback`.
    ValueError
        If the model is damaged, or has no encoder; if a line of `new_labels` is no label.

    Examples
    --------
    >>> from skxmc import ViXMLClassifier
    >>> from skxmc.serving import create_app
    >>> texts = ["red apple", "green apple", "red car", "fast car", "green tree"]
    >>> tags = [["fruit", "red"], ["fruit"], ["vehicle", "red"], ["vehicle"], ["plant"]]
    >>> clf = ViXMLClassifier(train_encoder="frozen", random_state=0).fit(texts, tags)
    >>> app = create_app(clf)
    >>> sorted(app.openapi()["paths"])
    ['/documents', '/health', '/labels', '/labels/remove', '/metrics', '/predict', '/predict/form']
    """
    fastapi = import_optional("fastapi", "serve")
    import_optional("python_multipart", "serve")
    limits = Limits() if limits is None else limits
    if token is not None and not (token and token.isascii() and token.isprintable()):
        raise ValueError("token must be of printable ASCII characters; pass another one.")
    metrics = Metrics()
    journal = None if new_labels is None else LabelJournal(new_labels)
    documents = None if feedback is None else DocumentLog(feedback)
    if isinstance(model, str | os.PathLike):
        options = dict(load_options or {})
        source: Any = ModelSource(model, reload_seconds, options, metrics.count_reload, journal)
    else:
        source = FixedModel(model, journal)
    service = Service(source, limits, metrics, journal, documents)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        yield
        await run_in_threadpool(service.close)
        logger.info("all that waited is answered; stopped")

    from fastapi.concurrency import run_in_threadpool

    from ._routes import router

    app = fastapi.FastAPI(
        title="skxmc",
        summary="Labels for texts and pictures.",
        version=skxmc_version(),
        lifespan=lifespan,
        docs_url=None,  # they would load scripts of other hosts
        redoc_url=None,
    )
    app.state.service = service
    app.include_router(router)
    _handle_problems(app)
    app.add_middleware(
        Guard,
        limits=limits,
        metrics=metrics,
        token=token,
        hosts=hosts,
        paths=["/", "/openapi.json", *app.openapi()["paths"]],
    )
    return app


def run_server(
    model: Any,
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    limits: Limits | None = None,
    **options: Any,
) -> None:
    """Run the service until a signal stops it; waiting requests are answered before it ends.

    Parameters
    ----------
    model : path-like, or fitted estimator
        As for :func:`create_app`.
    host : str, default="127.0.0.1"
        Address to listen on. On a loopback address only requests to ``localhost`` and its
        addresses are answered, unless `hosts` are given.
    port : int, default=8000
        Port to listen on.
    limits : Limits, default=None
        As for :func:`create_app`.
    **options : dict
        As for :func:`create_app`.

    Raises
    ------
    ImportError
        If the extra ``serve`` is not installed.
    OSError
        If the address cannot be listened on.
    """
    uvicorn = import_optional("uvicorn", "serve")
    limits = Limits() if limits is None else limits
    if is_loopback(host):
        options.setdefault("hosts", LOOPBACK)
    with listen(host, port) as listener:
        app = create_app(model, limits=limits, **options)
        config = uvicorn.Config(
            app,
            access_log=False,  # its lines hold what callers search for
            log_config=None,
            server_header=False,
            limit_concurrency=CONNECTIONS,
            timeout_graceful_shutdown=int(limits.seconds) + 1,
        )
        listener.listen()  # who comes from now on waits for an answer
        port = listener.getsockname()[1]
        if options.get("token") is None and not is_loopback(host):
            logger.warning("anybody who reaches %s may ask: there is no token", host)
        labels = len(app.state.service.current.labels)
        logger.info("serving %d labels at http://%s:%d", labels, host, port)
        uvicorn.Server(config).run(sockets=[listener])


def listen(host: str, port: int) -> socket.socket:
    """A socket that is bound already, so that a port in use shows before a model is loaded."""
    family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    found = socket.socket(family, kind, protocol)
    try:
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        found.bind(address)
    except OSError as error:
        found.close()
        raise OSError(
            f"cannot listen on {host} at port {port} ({error.strerror}); pass another one."
        ) from None
    return found


def is_loopback(host: str) -> bool:
    """Whether an address is reached from this machine alone."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


def _handle_problems(app: FastAPI) -> None:
    """Every error is one sentence in the same form."""
    from fastapi.exceptions import RequestValidationError
    from fastapi.responses import JSONResponse
    from starlette.exceptions import HTTPException

    def problem(status: int, message: str, headers: Any = None) -> JSONResponse:
        clean = message.encode("utf-8", "replace").decode()
        return JSONResponse({"error": clean}, status_code=status, headers=headers)

    async def refused(request: Request, error: RequestError) -> JSONResponse:
        return problem(error.status, str(error))

    async def full(request: Request, error: QueueFullError) -> JSONResponse:
        return problem(429, first_sentence(str(error)), {"retry-after": str(error.retry_after)})

    async def invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"][1:] if first["type"] != "json_invalid")
        message = first_sentence(first["msg"])
        return problem(422, f"{place}: {message}" if place else message)

    async def http(request: Request, error: HTTPException) -> JSONResponse:
        return problem(error.status_code, first_sentence(str(error.detail)), error.headers)

    handlers: dict[type[Exception], Any] = {
        RequestError: refused,
        QueueFullError: full,
        RequestValidationError: invalid,
        HTTPException: http,
    }
    for kind, handler in handlers.items():
        app.add_exception_handler(kind, handler)
