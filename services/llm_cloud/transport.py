"""Carries HTTP requests behind `httpx`'s transport seam: our own pool, or `httpx`'s where a proxy stands between.

Idle connections are taken last-in, first-out, so that few stay warm and the rest age out.
"""

from __future__ import annotations

import asyncio
import ipaddress
import ssl
import urllib.request
from collections.abc import AsyncIterator

import httpx
import structlog

from services.contracts.errors import ConfigError
from services.llm_cloud.wire import Connection

log = structlog.get_logger()

IDLE_S = 30.0  # load balancers close idle connections after 60 s; to be first avoids the race

_Origin = tuple[str, str, int]
_PORTS = {"http": 80, "https": 443}


class Dropped(httpx.RemoteProtocolError):
    """The peer closed a kept connection instead of answering on it.

    Most likely it ended the idle connection while the request was on its way; but it may as well have begun to work and
    died, and nothing on the wire tells the two apart. A POST whose fate is unknown is not sent again beneath the back
    of whoever sent it: it may be paid for twice. `retries` decides, as for any failure before the first byte.

    Source: RFC 9110, section 9.2.2; RFC 9112, section 9.3.1.
    """


class DirectTransport(httpx.AsyncBaseTransport):
    """HTTP/1.1 with keep-alive. The number of connections is bounded by whoever bounds the requests."""

    def __init__(self, tls: ssl.SSLContext | None, max_idle: int) -> None:
        self._tls = tls
        self._max_idle = max_idle
        self._idle: dict[_Origin, list[Connection]] = {}

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """See `httpx.AsyncBaseTransport`. Needs the `timeout` extension.

        Raises:
            Dropped: a connection that had served before ended without a byte of an answer.
            httpx.TransportError: by kind.
        """
        timeout_s: dict[str, float] = request.extensions["timeout"]
        url = request.url
        origin = (url.scheme, url.raw_host.decode("ascii"), url.port or _PORTS[url.scheme])
        lines = [b"%b %b HTTP/1.1" % (request.method.encode("ascii"), url.raw_path)]
        lines += [b"%b: %b" % header for header in request.headers.raw]
        head = b"\r\n".join((*lines, b"\r\n"))
        reused = self._take(origin)
        connection = reused or await self._connect(origin, timeout_s["connect"])
        try:
            await connection.send(head, request.content, timeout_s["write"])
            status, headers = await connection.head(timeout_s["read"])
        except BaseException as error:
            connection.abort()
            broken = isinstance(error, httpx.ReadError | httpx.WriteError | httpx.RemoteProtocolError)
            if broken and reused is not None and not connection.heard:
                raise Dropped("it closed the connection instead of answering") from error
            raise
        return httpx.Response(
            status, headers=headers, stream=_Body(connection, self, origin, timeout_s["read"]), request=request
        )

    async def aclose(self) -> None:
        """Close what is idle."""
        for connections in self._idle.values():
            for connection in connections:
                connection.abort()
        self._idle.clear()

    def put_aside(self, origin: _Origin, connection: Connection) -> None:
        """Keep a connection for the next request."""
        now_s = asyncio.get_running_loop().time()
        idle = self._idle.setdefault(origin, [])
        connection.idle_since_s = now_s
        idle.append(connection)
        # The oldest is first: it alone needs looking at.
        while idle and (idle[0].closed or len(idle) > self._max_idle or now_s - idle[0].idle_since_s > IDLE_S):
            idle.pop(0).abort()

    def _take(self, origin: _Origin) -> Connection | None:
        """An idle connection that the peer has not closed. One that it has never saw a byte of what is to be sent."""
        idle = self._idle.get(origin)
        now_s = asyncio.get_running_loop().time()
        while idle:
            connection = idle.pop()
            if not connection.closed and now_s - connection.idle_since_s <= IDLE_S:
                return connection
            connection.abort()
        return None

    async def _connect(self, origin: _Origin, timeout_s: float) -> Connection:
        scheme, host, port = origin
        loop = asyncio.get_running_loop()
        tls = self._tls if scheme == "https" else None
        try:
            async with asyncio.timeout(timeout_s):
                _, connection = await loop.create_connection(
                    lambda: Connection(loop),
                    host,
                    port,
                    ssl=tls,
                    server_hostname=host if tls is not None else None,
                )
        except TimeoutError as error:
            raise httpx.ConnectTimeout(f"no connection within {timeout_s:g} s") from error
        except OSError as error:  # includes ssl.SSLError and socket.gaierror
            raise httpx.ConnectError(_plainly(error)) from error
        return connection


class _Body(httpx.AsyncByteStream):
    """The body of a response. Closing it early closes the connection at once."""

    def __init__(self, connection: Connection, owner: DirectTransport, origin: _Origin, timeout_s: float) -> None:
        self._connection: Connection | None = connection
        self._owner = owner
        self._origin = origin
        self._timeout_s = timeout_s

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        if self._connection is not None and (data := await self._connection.read(self._timeout_s)):
            return data
        raise StopAsyncIteration

    async def aclose(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None and connection.release():
            self._owner.put_aside(self._origin, connection)


def make_transport(base_url: httpx.URL, max_connections: int) -> httpx.AsyncBaseTransport:
    """The way to `base_url`: through the proxy that the environment names for it, else direct.

    Raises:
        ConfigError: the environment names a proxy that cannot be used.
    """
    proxy = _proxy_for(base_url)
    # Reading the trusted certificates takes 0.1 s and more: only who needs them pays.
    tls = httpx.create_ssl_context() if base_url.scheme == "https" or proxy is not None else None
    if proxy is None:
        return DirectTransport(tls, max_connections)
    log.info("proxy_used", host=base_url.host)
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=max_connections, keepalive_expiry=IDLE_S)
    try:
        return httpx.AsyncHTTPTransport(verify=tls or True, limits=limits, proxy=proxy, trust_env=False)
    except (ImportError, ValueError, httpx.InvalidURL) as error:
        raise ConfigError("the environment names a proxy that cannot be used: only http:// and https:// can") from error


def _proxy_for(url: httpx.URL) -> str | None:
    """The user's usual environment (`HTTPS_PROXY`, `NO_PROXY`, ...); a server on this machine needs none."""
    if url.host == "localhost" or _is_loopback(url.host) or urllib.request.proxy_bypass(url.host):
        return None
    found = urllib.request.getproxies()
    proxy = found.get(url.scheme) or found.get("all")
    return proxy if proxy is None or "://" in proxy else f"http://{proxy}"


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _plainly(error: OSError) -> str:
    """What went wrong with a connection, in words without addresses."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted: {error.verify_message}"
    if isinstance(error, ssl.SSLError):
        return "TLS failed"
    return error.strerror or type(error).__name__
