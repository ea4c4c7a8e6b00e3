"""One HTTP request and its answer, as the middlewares and the handler share it."""

from __future__ import annotations

import math
import time
from typing import Any

import msgspec
from starlette.types import Message, Receive, Scope, Send

from services.contracts.errors import TurnoutError
from services.gateway.state import State

Header = tuple[bytes, bytes]
JSON_TYPE: Header = (b"content-type", b"application/json")
UNROUTED = "other"
_SCOPE_KEY = "turnout"
RETRY_STATUSES = frozenset((429, 503))
TIMED_OUT = 504


class Exchange:
    """The state of one request. Owned by the task that serves it.

    Attributes:
        id: 32 hex digits; names the request, its task and its decision.
        state: the configuration this request lives by from start to end.
        tenant: who asks; empty where no keys are configured.
        body_bytes: length of the body that was read.
        route: template of the path; never the path itself.
        component: who answered, as far as known.
        status: of the answer; 0 while none has begun, 499 when the client left.
        complete: the last byte of the answer has been handed to the server.
        routed: a task of this request has been sent, so a decision exists under its id.
    """

    __slots__ = (
        "_send",
        "body_bytes",
        "complete",
        "component",
        "cost_usd",
        "first_token_s",
        "id",
        "receive",
        "route",
        "routed",
        "scope",
        "started_s",
        "state",
        "status",
        "tenant",
    )

    def __init__(self, id_: str, state: State, scope: Scope, receive: Receive, send: Send) -> None:
        self.id = id_
        self.state = state
        self.scope = scope
        self.receive = receive
        self._send = send
        self.tenant = ""
        self.body_bytes = 0
        self.complete = False
        self.route = UNROUTED
        self.component = ""
        self.cost_usd: float | None = None
        self.first_token_s: float | None = None
        self.routed = False
        self.started_s = time.perf_counter()
        self.status = 0

    @classmethod
    def of(cls, scope: Scope) -> Exchange:
        """The exchange of an ASGI scope."""
        exchange: Exchange = scope[_SCOPE_KEY]
        return exchange

    def attach(self) -> None:
        """Make `of` find it."""
        self.scope[_SCOPE_KEY] = self

    @property
    def elapsed_s(self) -> float:
        """Time since the request arrived."""
        return time.perf_counter() - self.started_s

    def header(self, name: bytes) -> bytes | None:
        """The first request header of that lower-case name."""
        for key, value in self.scope["headers"]:
            if key == name:
                return bytes(value)
        return None

    def answer_headers(self) -> list[Header]:
        """The headers that every answer carries, as far as their values are known."""
        headers: list[Header] = [(b"x-request-id", self.id.encode())]
        if self.routed:
            headers.append((b"x-turnout-decision-id", self.id.encode()))
        if self.component:
            headers.append((b"x-turnout-component", self.component.encode("ascii", "replace")))
        if self.cost_usd is not None:
            headers.append((b"x-turnout-cost-usd", f"{self.cost_usd:.10f}".encode()))
        return headers

    async def begin(self, status: int, headers: list[Header]) -> None:
        """Send the status and the headers."""
        self.status = status
        await self._send(
            {"type": "http.response.start", "status": status, "headers": [*headers, *self.answer_headers()]}
        )

    async def write(self, body: bytes, *, more: bool) -> None:
        """Send a piece of the body."""
        self.complete = not more
        message: Message = {"type": "http.response.body", "body": body, "more_body": more}
        await self._send(message)

    async def respond(self, status: int, body: bytes, headers: tuple[Header, ...] = (JSON_TYPE,)) -> None:
        """Send a whole answer."""
        await self.begin(status, [*headers, (b"content-length", str(len(body)).encode())])
        await self.write(body, more=False)

    async def respond_json(self, content: Any, status: int = 200) -> None:
        """Send any msgspec-encodable object as JSON."""
        await self.respond(status, ENCODER.encode(content))

    async def respond_error(self, error: TurnoutError, extra: tuple[Header, ...] = ()) -> None:
        """Send OpenAI's error object with the error's status."""
        headers = [JSON_TYPE, *extra]
        if error.status in RETRY_STATUSES:
            headers.append((b"retry-after", str(retry_after_s(error)).encode()))
        if error.status == TIMED_OUT:  # the time the caller gave is over; OpenAI's SDK would take it twice again
            headers.append((b"x-should-retry", b"false"))
        await self.respond(error.status, error_json(error), tuple(headers))


class ErrorOut(msgspec.Struct):
    """What went wrong, as OpenAI says it."""

    message: str
    type: str
    param: str | None
    code: str


class ErrorBody(msgspec.Struct):
    """OpenAI's error object: the body of every error."""

    error: ErrorOut


ENCODER = msgspec.json.Encoder()


def error_json(error: TurnoutError) -> bytes:
    """The error in OpenAI's form. Only what the error says of itself: no traceback, no repr."""
    return ENCODER.encode(ErrorBody(error_out(error)))


def error_out(error: TurnoutError) -> ErrorOut:
    """What the error says of itself."""
    return ErrorOut(error.message, error.type, error.param, error.code)


def retry_after_s(error: TurnoutError) -> int:
    """Whole seconds for the `Retry-After` header, at least 1.

    Source: RFC 9110, section 10.2.3.
    """
    return max(1, math.ceil(error.retry_after_s or 0))
