"""The outermost span of a request: under the caller's own, if it sent a `traceparent`, and above all that follows."""

from __future__ import annotations

from opentelemetry.trace import SpanKind
from starlette.types import ASGIApp, Receive, Scope, Send

from services.contracts.errors import TurnoutError
from services.gateway.edge import Edge
from services.gateway.exchange import Exchange
from services.worker import tracing

_HEADER = b"traceparent"


def trace(app: ASGIApp, _edge: Edge) -> ASGIApp:
    """A middleware that puts work (not looks at the state of things) into a span; none at all where nobody collects."""
    if not tracing.on():
        return app

    async def run(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] != "POST":
            await app(scope, receive, send)
            return
        exchange = Exchange.of(scope)
        given = (exchange.header(_HEADER) or b"").decode("latin-1")
        with tracing.span("POST", given, SpanKind.SERVER) as (span, traceparent):
            others = [header for header in scope["headers"] if header[0] != _HEADER]
            scope["headers"] = [*others, (_HEADER, traceparent.encode())]
            try:
                await app(scope, receive, send)
            except TurnoutError as error:
                tracing.note_error(span, error)
                raise
            finally:
                span.update_name(f"POST {exchange.route}")
                span.set_attributes({"turnout.request": exchange.id, "turnout.component": exchange.component})

    return run
