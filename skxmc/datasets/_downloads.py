"""Downloads from addresses that strangers wrote, each within limits."""

from __future__ import annotations

import ipaddress
import socket
import ssl
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .._runtime._optional import import_optional

if TYPE_CHECKING:
    import httpx

_TEMPORARY = (408, 425, 429, 500, 502, 503, 504)
_REDIRECTS = (301, 302, 303, 307, 308)
_LONGEST_PAUSE = 60.0  # seconds, whatever a server asks for
_NAT64 = ipaddress.ip_network("64:ff9b::/96")


@dataclass(frozen=True)
class DownloadLimits:
    """Limits of the download of pictures.

    Parameters
    ----------
    max_bytes : int, default=16777216
        Size of the largest picture, in bytes.
    seconds : float, default=30
        Time limit of one attempt in seconds, from the look-up of the name to the last byte.
    redirects : int, default=5
        How many redirects are followed.
    retries : int, default=3
        Attempts after an error that may be temporary: a lost connection, a time-out, or the status
        408, 425, 429, 500, 502, 503 and 504.
    pause : float, default=1
        Seconds before the first retry, doubled for each further one. A server that sends
        ``Retry-After`` is given that time, but at most a minute.
    connections : int, default=8
        How many pictures are downloaded at a time.
    allow_private : bool, default=False
        Whether an address may lead to this machine or into a private network. By default it may
        not, and neither may a redirect.

    Examples
    --------
    >>> from skxmc.datasets import DownloadLimits
    >>> DownloadLimits(seconds=10).connections
    8
    """

    max_bytes: int = 2**24
    seconds: float = 30.0
    redirects: int = 5
    retries: int = 3
    pause: float = 1.0
    connections: int = 8
    allow_private: bool = False

    def __post_init__(self) -> None:
        for name in ("max_bytes", "seconds", "connections"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} is {getattr(self, name)!r}; pass a number above 0.")
        for name in ("redirects", "retries", "pause"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"{name} is {getattr(self, name)!r}; pass 0 or more.")


class DownloadError(Exception):
    """A picture that could not be downloaded.

    Attributes
    ----------
    reason : str
        A short reason, for statistics.
    temporary : bool
        Whether a later try may succeed.
    pause : float
        Seconds that the server asks to wait.
    """

    def __init__(self, reason: str, *, temporary: bool = False, pause: float = 0.0) -> None:
        super().__init__(reason)
        self.reason = reason
        self.temporary = temporary
        self.pause = pause


class Downloader:
    """Downloads what addresses lead to; several threads may do so at a time.

    Parameters
    ----------
    limits : DownloadLimits
    agent : str
        User agent of the requests.
    """

    def __init__(self, limits: DownloadLimits, agent: str) -> None:
        self.limits = limits
        self._httpx = import_optional("httpx", "images")
        self._core = import_optional("httpcore", "images")
        self._headers = [
            (b"User-Agent", agent.encode()),
            (b"Accept", b"image/*"),
            # Packed bytes may unpack to any number of bytes; pictures are packed already.
            (b"Accept-Encoding", b"identity"),
        ]
        self._clock = _Clock()
        self._stopped = threading.Event()
        self._pool = self._core.ConnectionPool(
            max_connections=limits.connections,
            max_keepalive_connections=limits.connections,
            keepalive_expiry=5.0,
            network_backend=_guarded_backend(self._core, self._clock, limits.allow_private),
        )

    def __enter__(self) -> Downloader:
        return self

    def __exit__(self, *exception: object) -> None:
        self.stop()
        self._pool.close()

    def stop(self) -> None:
        """Make all that wait for a retry give up."""
        self._stopped.set()

    def fetch(self, address: str) -> bytes:
        """The bytes that an address leads to.

        Raises
        ------
        DownloadError
            If there are none, or a limit forbids it.
        """
        pause = self.limits.pause
        for attempt in range(self.limits.retries + 1):
            try:
                return self._fetch_once(address)
            except DownloadError as error:
                if not error.temporary or attempt == self.limits.retries:
                    raise
                if self._stopped.wait(min(max(pause, error.pause), _LONGEST_PAUSE)):
                    raise
            pause *= 2
        raise AssertionError("the last attempt returns or raises")

    def _fetch_once(self, address: str) -> bytes:
        core = self._core
        self._clock.start(self.limits.seconds)
        try:
            url = self._parse(address)
            for _ in range(self.limits.redirects + 1):
                content = self._ask(url)
                if isinstance(content, bytes):
                    return content
                url = self._parse(str(url.join(content)))
            raise DownloadError("too many redirects")
        except core.TimeoutException:
            raise DownloadError("too slow", temporary=True) from None
        except (core.NetworkError, core.RemoteProtocolError, ssl.SSLError, OSError):
            raise DownloadError("no connection", temporary=True) from None
        except (self._httpx.InvalidURL, core.ProtocolError, ValueError):
            raise DownloadError("not an address") from None

    def _parse(self, address: str) -> httpx.URL:
        url = self._httpx.URL(address)
        if url.scheme not in ("http", "https") or not url.host:
            raise DownloadError("not an http address")
        return url

    def _ask(self, url: httpx.URL) -> bytes | str:
        """The content of one address, or the place that it leads to."""
        core = self._core
        seconds = self._clock.left()
        target = core.URL(
            scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path
        )
        options = {"timeout": dict.fromkeys(("connect", "read", "write"), seconds)}
        # `stream` closes the connection of an answer that is not read to its end.
        headers = [(b"Host", url.netloc), *self._headers]
        with self._pool.stream("GET", target, headers=headers, extensions=options) as response:
            given = {name.lower(): value.decode("latin-1") for name, value in response.headers}
            if response.status in _REDIRECTS and b"location" in given:
                return given[b"location"]
            if response.status != 200:
                raise _bad_status(response.status, given)
            if given.get(b"content-encoding", "identity").lower() != "identity":
                raise DownloadError("packed by the server")
            return self._read(response, given.get(b"content-length", ""))

    def _read(self, response: Any, length: str) -> bytes:
        limit = self.limits.max_bytes
        if length.isdecimal() and int(length) > limit:
            raise DownloadError("too large")
        content = bytearray()
        for chunk in response.iter_stream():
            content += chunk
            if len(content) > limit:
                raise DownloadError("too large")
        return bytes(content)


def _bad_status(status: int, headers: dict[bytes, str]) -> DownloadError:
    pause = headers.get(b"retry-after", "")
    return DownloadError(
        f"status {status}",
        temporary=status in _TEMPORARY,
        pause=float(pause) if pause.isdecimal() else 0.0,
    )


class _Clock(threading.local):
    """When the try of this thread must be over."""

    end = 0.0

    def start(self, seconds: float) -> None:
        self.end = time.monotonic() + seconds

    def left(self) -> float:
        return self.end - time.monotonic()


def is_public(address: str) -> bool:
    """Whether an IP address is one of the public internet.

    IPv6 addresses that stand for one of IPv4 are as public as that one.
    """
    ip = ipaddress.ip_address(address)
    if isinstance(ip, ipaddress.IPv6Address):
        inner = ip.ipv4_mapped or ip.sixtofour
        if ip in _NAT64:
            inner = ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
        if ip.teredo is not None:
            return False
        ip = inner or ip
    return ip.is_global and not ip.is_multicast


def _guarded_backend(core: Any, clock: _Clock, allow_private: bool) -> Any:
    """Connections that end in time, and that lead to no private network.

    A name is looked up once, and the connection goes to the address that was checked: a second
    look-up could find another one.
    """

    class Stream(core.NetworkStream):
        def __init__(self, inner: Any) -> None:
            self.inner = inner

        def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
            return self.inner.read(max_bytes, _left())

        def write(self, buffer: bytes, timeout: float | None = None) -> None:
            self.inner.write(buffer, _left())

        def close(self) -> None:
            self.inner.close()

        def start_tls(
            self, ssl_context: Any, server_hostname: Any = None, timeout: Any = None
        ) -> Stream:
            return Stream(self.inner.start_tls(ssl_context, server_hostname, _left()))

        def get_extra_info(self, info: str) -> Any:
            return self.inner.get_extra_info(info)

    class Backend(core.SyncBackend):
        def connect_tcp(
            self, host: str, port: int, timeout: Any = None, *options: Any, **more: Any
        ):
            places = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            addresses = list(dict.fromkeys(str(place[0]) for *_, place in places))
            if not allow_private and not all(map(is_public, addresses)):
                raise DownloadError("private network")
            for address in addresses[:-1]:
                try:
                    return Stream(super().connect_tcp(address, port, _left(), *options, **more))
                except (core.ConnectError, core.ConnectTimeout):
                    continue
            return Stream(super().connect_tcp(addresses[-1], port, _left(), *options, **more))

    def _left() -> float:
        """Seconds that are left; each read gets no more, so that drops of bytes end as well."""
        seconds = clock.left()
        if seconds <= 0:
            raise core.ReadTimeout("the time of the whole picture is over")
        return seconds

    return Backend()
