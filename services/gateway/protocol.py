"""uvicorn's HTTP protocol with the time and size limits that it lacks for heads and for clients that do not read.

A connection whose request head is not complete in time is closed with 408, one whose head is too large with 431. A
client that leaves our bytes unread for `WRITE_STALL_S` is cut off, and with it the work done for it.
"""

from __future__ import annotations

import asyncio
import socket
from typing import Any, cast

from typing_extensions import override
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from services.contracts.errors import InvalidRequest, TurnoutError
from services.gateway.body import RequestTimeout
from services.gateway.exchange import error_json
from services.gateway.joined import JoinedWrites
from services.gateway.middleware import MAX_HEADER_BYTES, HeadersTooLarge
from services.gateway.state import Live

WRITE_STALL_S = 30.0
_DISCARDED_BYTES = 64 * 1024 * 1024
"""A refused body is read on and dropped, so that its sender can hear the refusal; but not without end."""
_PHRASES = {400: b"Bad Request", 408: b"Request Timeout", 431: b"Request Header Fields Too Large"}


class GuardedProtocol(HttpToolsProtocol):
    """One connection."""

    live: Live  # set by `guarded`

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._head_alarm: asyncio.TimerHandle | None = None
        self._stall_alarm: asyncio.TimerHandle | None = None
        self._in_head = False
        self._received = 0

    @override
    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as in uvicorn
        super().connection_made(JoinedWrites(transport, self.loop))
        raw = cast("socket.socket | None", transport.get_extra_info("socket"))
        if raw is not None and raw.family != socket.AF_UNIX:
            raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._await_head()

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        self._head_done()
        self.resume_writing()
        super().connection_lost(exc)

    @override
    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._received += len(data)
        if self.transport.is_closing():
            return
        if self._in_head and self._received > MAX_HEADER_BYTES:
            self._refuse(HeadersTooLarge(f"at most {MAX_HEADER_BYTES} bytes of headers"))
        elif self._received > self.live.current.gateway.max_body_bytes + _DISCARDED_BYTES:
            self.transport.abort()
        elif self._in_head or self._between_requests():
            self._await_head()
        else:
            self._head_done()

    @override
    def on_message_begin(self) -> None:
        self._in_head = True
        self._received = 0
        super().on_message_begin()

    @override
    def on_headers_complete(self) -> None:
        self._in_head = False
        super().on_headers_complete()

    @override
    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self.timeout_keep_alive_task is not None:
            self._head_done()

    @override
    def send_400_response(self, msg: str) -> None:
        self._refuse(InvalidRequest(msg))

    @override
    def pause_writing(self) -> None:
        super().pause_writing()
        if self._stall_alarm is None:
            self._stall_alarm = self.loop.call_later(WRITE_STALL_S, self.transport.abort)

    @override
    def resume_writing(self) -> None:
        if self._stall_alarm is not None:
            self._stall_alarm.cancel()
            self._stall_alarm = None
        super().resume_writing()

    def _between_requests(self) -> bool:
        """Bytes came, but they did not begin a request, and they have switched off the keep-alive timer."""
        idle = self.cycle is None or self.cycle.response_complete
        return idle and self.timeout_keep_alive_task is None

    def _await_head(self) -> None:
        if self._head_alarm is None:
            timeout_s = self.live.current.gateway.header_timeout_s
            self._head_alarm = self.loop.call_later(timeout_s, self._head_is_late)

    def _head_done(self) -> None:
        if self._head_alarm is not None:
            self._head_alarm.cancel()
            self._head_alarm = None

    def _head_is_late(self) -> None:
        self._head_alarm = None
        if not self.transport.is_closing():
            self._refuse(RequestTimeout("the request's headers took too long to arrive"))

    def _refuse(self, error: TurnoutError) -> None:
        """Answer outside of ASGI: no request exists that an application could be given."""
        body = error_json(error)
        head = b"HTTP/1.1 %d %s\r\ncontent-type: application/json\r\ncontent-length: %d\r\nconnection: close\r\n\r\n"
        if self.cycle is None or self.cycle.response_complete:  # else an earlier answer is still being written
            self.transport.write(head % (error.status, _PHRASES[error.status], len(body)) + body)
        self.transport.close()


def guarded(live: Live) -> type[GuardedProtocol]:
    """The protocol with the limits of `live`, as a class: uvicorn makes the instances."""
    return type("GatewayProtocol", (GuardedProtocol,), {"live": live})
