"""What every request passes, in one ordered list of plain ASGI middlewares.

`BaseHTTPMiddleware` is never used: it hides disconnects and costs a task a request.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import Callable

import structlog
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Receive, Scope, Send

from services.contracts.errors import (
    Cancelled,
    ComponentUnavailable,
    InternalError,
    NotAuthorized,
    NotFound,
    Overloaded,
    TurnoutError,
)
from services.gateway.edge import Edge
from services.gateway.exchange import Exchange, Header
from services.gateway.gone import ClientGone
from services.gateway.state import State, key_digest
from services.gateway.trace import trace

log = structlog.get_logger()

MAX_HEADERS = 128
MAX_HEADER_BYTES = 64 * 1024
_GONE = 499
_SERVER_ERROR = 500
_NOT_FOUND, _NOT_ALLOWED = 404, 405
_SHOWN_CHARS = 64
# What a client asks for whose base URL lacks it.
_WITHOUT_V1 = ("/chat/completions", "/responses", "/embeddings", "/models")
_OPEN_PREFIX = "/health/"
_ADMIN_PREFIX = "/admin/"
_HERE = frozenset(("localhost", "127.0.0.1", "[::1]"))
_FORWARDED = frozenset((b"forwarded", b"x-forwarded-for", b"x-real-ip", b"origin"))

Middleware = Callable[[ASGIApp, Edge], ASGIApp]


class HeadersTooLarge(TurnoutError):
    """More headers than anyone needs."""

    status = 431
    code = "headers_too_large"
    type = "invalid_request_error"


class MethodNotAllowed(TurnoutError):
    """The path exists, but not for this method."""

    status = 405
    code = "method_not_allowed"
    type = "invalid_request_error"


def compose(app: ASGIApp, edge: Edge) -> ASGIApp:
    """`app` behind the whole list, its first member outermost."""
    for middleware in reversed(ORDER):
        app = middleware(app, edge)
    return app


def identify(app: ASGIApp, edge: Edge) -> ASGIApp:
    """Give the request its id and the configuration it lives by."""

    async def run(scope: Scope, receive: Receive, send: Send) -> None:
        Exchange(secrets.token_hex(16), edge.live.current, scope, receive, send).attach()
        await app(scope, receive, send)

    return run


def measure(app: ASGIApp, edge: Edge) -> ASGIApp:
    """Count it and time it."""

    async def run(scope: Scope, receive: Receive, send: Send) -> None:
        exchange = Exchange.of(scope)
        edge.metrics.begin()
        try:
            await app(scope, receive, send)
        finally:
            edge.metrics.end(
                exchange.route,
                exchange.component,
                exchange.status or _GONE,
                exchange.elapsed_s,
                exchange.first_token_s,
            )

    return run


def render_errors(app: ASGIApp, _edge: Edge) -> ASGIApp:
    """Turn whatever fails into OpenAI's error object. The only place that does."""

    async def run(scope: Scope, receive: Receive, send: Send) -> None:
        exchange = Exchange.of(scope)
        try:
            await app(scope, receive, send)
        except ClientGone:
            exchange.status = _GONE
        except TurnoutError as error:
            await _render(exchange, error)
        except HTTPException as error:
            refusal, headers = _unrouted(error, scope["path"])
            await exchange.respond_error(refusal, headers)
        except asyncio.CancelledError:
            log.info("request_cut_off", id=exchange.id, path=scope["path"], reason="the gateway is stopping")
            if not exchange.status:
                with contextlib.suppress(asyncio.CancelledError):
                    await exchange.respond_error(ComponentUnavailable("the gateway is stopping"))
            raise
        except Exception:  # the boundary: a defect of ours must cost one request only
            log.exception("request_failed", id=exchange.id, path=scope["path"])
            await _render(exchange, InternalError(f"the gateway failed; its log has the details under {exchange.id}"))

    return run


def limit_headers(app: ASGIApp, _edge: Edge) -> ASGIApp:
    """Refuse heads of absurd size."""

    async def run(scope: Scope, receive: Receive, send: Send) -> None:
        headers = scope["headers"]
        if len(headers) > MAX_HEADERS or sum(len(key) + len(value) for key, value in headers) > MAX_HEADER_BYTES:
            raise HeadersTooLarge(f"at most {MAX_HEADERS} headers of {MAX_HEADER_BYTES} bytes in all")
        await app(scope, receive, send)

    return run


def authorize(app: ASGIApp, _edge: Edge) -> ASGIApp:
    """Let in who has a key, where keys are configured, and note whose it is."""

    async def run(scope: Scope, receive: Receive, send: Send) -> None:
        exchange = Exchange.of(scope)
        tenants = exchange.state.tenants
        if scope["path"].startswith(_ADMIN_PREFIX):
            if exchange.state.admins is not None:
                tenants = exchange.state.admins
            elif not _from_here(scope):
                raise NotAuthorized(
                    "no admin keys are configured (gateway.admin_keys), so only this machine may do that"
                )
        if tenants is not None and not scope["path"].startswith(_OPEN_PREFIX):
            scheme, _, key = (exchange.header(b"authorization") or b"").partition(b" ")
            if scheme.lower() != b"bearer" or not key:
                raise NotAuthorized("no API key: send the header 'Authorization: Bearer KEY'")
            digest = key_digest(key.strip())
            tenant = tenants.get(digest)
            if tenant is None:
                raise NotAuthorized(_why_not(exchange.state, digest))
            exchange.tenant = tenant
        await app(scope, receive, send)

    return run


def admit(app: ASGIApp, edge: Edge) -> ASGIApp:
    """Refuse work beyond what may run at once; looking at the state of things stays possible."""

    async def run(scope: Scope, receive: Receive, send: Send) -> None:
        limit = Exchange.of(scope).state.gateway.max_in_flight
        if scope["method"] == "POST" and edge.metrics.in_flight > limit:
            raise Overloaded(f"{limit} requests are being served (gateway.max_in_flight)", retry_after_s=1.0)
        await app(scope, receive, send)

    return run


ORDER: tuple[Middleware, ...] = (identify, measure, render_errors, limit_headers, authorize, admit, trace)


def _why_not(state: State, digest: bytes) -> str:
    """Why a key does not open a door: who has one of ours may know that it is the other one."""
    if state.admins is not None and digest in state.admins:
        return "this key opens /admin/ alone (gateway.admin_keys); here one of gateway.keys is needed"
    if state.tenants is not None and digest in state.tenants:
        return "this key does not open /admin/; one of gateway.admin_keys does"
    return "incorrect API key"


def _from_here(scope: Scope) -> bool:
    """Whether the caller is a program on this machine: no proxy's client, and no page in a browser."""
    peer = (scope.get("client") or ("", 0))[0]
    headers = dict(scope["headers"])
    host = headers.get(b"host", b"").decode("latin-1")
    name = host if host.endswith("]") else host.rpartition(":")[0] or host
    return peer in ("127.0.0.1", "::1") and name.lower() in _HERE and not _FORWARDED & headers.keys()


async def _render(exchange: Exchange, error: TurnoutError) -> None:
    if isinstance(error, Cancelled):  # not by this client, which is still here
        error = ComponentUnavailable("the request was cancelled inside the system", retry_after_s=1.0)
    if exchange.status:
        exchange.status = error.status  # too late to tell the client; the counters shall know
        return
    if error.status >= _SERVER_ERROR:
        log.info("request_refused", id=exchange.id, code=error.code, reason=error.message)
    headers: tuple[Header, ...] = ((b"www-authenticate", b"Bearer"),) if isinstance(error, NotAuthorized) else ()
    await exchange.respond_error(error, headers)


def _unrouted(error: HTTPException, path: str) -> tuple[TurnoutError, tuple[Header, ...]]:
    if error.status_code == _NOT_ALLOWED:
        allowed = (error.headers or {}).get("Allow", "")
        return MethodNotAllowed(f"this path takes {allowed}"), ((b"allow", allowed.encode()),)
    if error.status_code == _NOT_FOUND:
        shown = path[:_SHOWN_CHARS].encode("ascii", "backslashreplace").decode()
        hint = "GET /openapi.json describes every path there is"
        if path.startswith(_WITHOUT_V1):
            hint = "the base URL of an OpenAI client ends with /v1"
        return NotFound(f"there is nothing at {shown}; {hint}"), ()
    return InternalError("the request could not be routed"), ()
