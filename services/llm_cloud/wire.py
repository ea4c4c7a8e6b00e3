"""One HTTP/1.1 connection: a request out, a response in, as little Python as possible between.

`httpcore`, which `httpx` uses below, took 1.2 to 5 ms of CPU a request here, most of it in its pool: it polls every
idle socket for every request. This connection hears from the event loop when its peer leaves, so nothing is polled.
It raises `httpx`'s exceptions, so that what stands above need not know who carries the bytes.
"""

from __future__ import annotations

import asyncio
from typing import cast

import httptools
import httpx

MAX_HEAD_BYTES = 64 * 1024
_PAUSE_ABOVE_BYTES = 512 * 1024
_PIECE_BYTES = 128 * 1024
_CONTINUE, _OK = 100, 200

Headers = list[tuple[bytes, bytes]]


class Connection(asyncio.Protocol):
    """A connection and the one exchange that is on it.

    Attributes:
        closed: the peer or we have left.
        heard: something of the current response has arrived.
        idle_since_s: loop time at which it was last put aside.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._transport: asyncio.Transport | None = None
        self._parser = httptools.HttpResponseParser(self)
        self._waiter: asyncio.Future[None] | None = None
        self._writable: asyncio.Future[None] | None = None
        self._error: httpx.TransportError | None = None
        self._busy = False
        self.closed = False
        self.idle_since_s = 0.0
        self._reset()

    def _reset(self) -> None:
        self.heard = False
        self._status = 0
        self._headers: Headers = []
        self._head_bytes = 0
        self._head_done = False
        self._framed = False
        self._complete = False
        self._keep = False
        self._chunks: list[bytes] = []
        self._buffered_bytes = 0
        self._paused = False

    # What the user calls.

    async def send(self, head: bytes, body: bytes, timeout_s: float) -> None:
        """Write a request. Stops early when the peer has already answered.

        Raises:
            httpx.WriteError: the connection is gone.
            httpx.WriteTimeout: the peer took nothing for `timeout_s`.
        """
        transport = self._transport
        if transport is None or self.closed:
            raise httpx.WriteError("the connection is closed")
        self._reset()
        self._busy = True
        if len(body) <= _PIECE_BYTES:
            transport.write(head + body)
            return
        transport.write(head)
        for start in range(0, len(body), _PIECE_BYTES):
            if self._head_done or self.closed:
                self._keep = False
                return
            transport.write(body[start : start + _PIECE_BYTES])
            if self._writable is not None:
                await self._wait_writable(self._writable, timeout_s)

    async def head(self, timeout_s: float) -> tuple[int, Headers]:
        """Status and headers of the response.

        Raises:
            httpx.ReadTimeout: nothing for `timeout_s`.
            httpx.RemoteProtocolError, httpx.ReadError: not HTTP, or the connection broke.
        """
        while not self._head_done:
            if self._error is not None:
                raise self._error
            await self._wait(timeout_s)
        return self._status, self._headers

    async def read(self, timeout_s: float) -> bytes:
        """What has arrived of the body, empty at its end. Raises as `head` does."""
        while not self._chunks:
            if self._complete:
                return b""
            if self._error is not None:
                raise self._error
            await self._wait(timeout_s)
        chunks, self._chunks = self._chunks, []
        self._buffered_bytes = 0
        if self._paused and self._transport is not None:
            self._paused = False
            self._transport.resume_reading()
        return chunks[0] if len(chunks) == 1 else b"".join(chunks)

    def release(self) -> bool:
        """End the exchange; whether the connection can carry another. If not, it is closed at once."""
        if self._complete and self._keep and not self.closed and self._error is None:
            self._busy = False
            self._chunks = []
            return True
        self.abort()
        return False

    def abort(self) -> None:
        """Close without a word: the peer's next write fails, so it stops working for nobody."""
        self.closed = True
        if self._transport is not None:
            self._transport.abort()

    # What the event loop calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Connected."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Bytes arrived."""
        if not self._busy or self._complete:
            self._fail(httpx.RemoteProtocolError("bytes that nobody asked for"))
            return
        self.heard = True
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self._fail(httpx.RemoteProtocolError("not an HTTP response"))
            return
        if not self._head_done:
            self._head_bytes += len(data)
            if self._head_bytes > MAX_HEAD_BYTES:
                self._fail(httpx.RemoteProtocolError(f"headers larger than {MAX_HEAD_BYTES} bytes"))
                return
            if self._error is None:
                return
        elif self._buffered_bytes > _PAUSE_ABOVE_BYTES and not self._paused and self._transport is not None:
            self._paused = True
            self._transport.pause_reading()
        self._wake()

    def eof_received(self) -> None:
        """The peer says no more. `connection_lost` follows, but a request must not slip in between."""
        self.closed = True

    def connection_lost(self, exc: Exception | None) -> None:
        """The end, from either side."""
        self.closed = True
        if self._head_done and not self._complete and not self._framed and exc is None:
            self._complete = True  # a body without a length ends with its connection
        if not self._complete and self._error is None:
            self._error = (
                httpx.ReadError("the connection broke")
                if exc
                else httpx.RemoteProtocolError("the connection was closed before the answer was complete")
            )
        if self._writable is not None and not self._writable.done():
            self._writable.set_result(None)
        self._wake()

    def pause_writing(self) -> None:
        """The peer reads slower than we write."""
        self._writable = self._loop.create_future()

    def resume_writing(self) -> None:
        """It has caught up."""
        if self._writable is not None and not self._writable.done():
            self._writable.set_result(None)
        self._writable = None

    # What the HTTP parser calls.

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header."""
        self._headers.append((name, value))
        if len(name) in (14, 17) and name.lower() in (b"content-length", b"transfer-encoding"):
            self._framed = True

    def on_headers_complete(self) -> None:
        """The head is whole; interim responses (1xx) are none."""
        status = self._parser.get_status_code()
        if _CONTINUE <= status < _OK:
            self._headers, self._framed = [], False
            return
        self._status = status
        self._head_done = True
        self._keep = self._parser.should_keep_alive()

    def on_body(self, body: bytes) -> None:
        """A piece of the body."""
        self._chunks.append(body)
        self._buffered_bytes += len(body)

    def on_message_complete(self) -> None:
        """The response is whole."""
        if self._head_done:
            if self._complete:
                self._keep = False  # a second response to one request
            self._complete = True

    # Waiting.

    def _fail(self, error: httpx.TransportError) -> None:
        if self._error is None:
            self._error = error
        self.abort()
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def _wait(self, timeout_s: float) -> None:
        self._waiter = waiter = self._loop.create_future()
        alarm = self._loop.call_later(timeout_s, _expire, waiter, httpx.ReadTimeout(f"silent for {timeout_s:g} s"))
        try:
            await waiter
        finally:
            alarm.cancel()
            self._waiter = None

    async def _wait_writable(self, writable: asyncio.Future[None], timeout_s: float) -> None:
        try:
            async with asyncio.timeout(timeout_s):
                await asyncio.shield(writable)
        except TimeoutError as error:
            raise httpx.WriteTimeout(f"nothing was taken for {timeout_s:g} s") from error


def _expire(waiter: asyncio.Future[None], error: httpx.TransportError) -> None:
    if not waiter.done():
        waiter.set_exception(error)
