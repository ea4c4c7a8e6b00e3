"""`GET /v1/decisions/{id}`, `GET /admin/decisions`, `GET /admin/shadows` and `GET /metrics`: what has happened."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

import msgspec

from services.contracts import subjects
from services.contracts.decision import DECISION_DECODER
from services.contracts.feedback import FEEDBACK_DECODER
from services.contracts.shadow import SHADOW_DECODER
from services.gateway.edge import Edge
from services.gateway.exchange import ENCODER, Exchange, Header
from services.gateway.gone import while_connected
from services.gateway.metrics import CONTENT_TYPE

_LINES: Header = (b"content-type", b"application/x-ndjson")
_LINES_AT_ONCE = 64


async def decision(edge: Edge, exchange: Exchange) -> None:
    """Show how one request was decided and what it took. Only to the tenant that made it."""
    found = await edge.decisions.read(exchange.scope["path_params"]["id"], exchange.tenant)
    await exchange.respond_json(found)


async def metrics(edge: Edge, exchange: Exchange) -> None:
    """Show the counts, for Prometheus."""
    await exchange.respond(200, edge.metrics.render(), ((b"content-type", CONTENT_TYPE),))


async def log(edge: Edge, exchange: Exchange) -> None:
    """Show every decision that is kept, one a line, oldest first, with the `quality` and `misfit` that were told."""
    told = await _verdicts(edge)

    def line(data: bytes) -> bytes:
        decision = msgspec.to_builtins(DECISION_DECODER.decode(data))
        return ENCODER.encode(decision | told.get(decision["id"], {}))

    await _lines(edge, exchange, subjects.DECISIONS, line)


async def compared(edge: Edge, exchange: Exchange) -> None:
    """Show every pair of answers that shadow mode has kept, one a line, oldest first."""
    await _lines(edge, exchange, subjects.SHADOWS, lambda data: ENCODER.encode(SHADOW_DECODER.decode(data)))


async def _lines(edge: Edge, exchange: Exchange, subject: str, line: Callable[[bytes], bytes]) -> None:
    """Send a stream of records as JSON lines."""
    async with while_connected(exchange):
        await exchange.begin(200, [_LINES])
        lines: list[bytes] = []
        async for data in edge.bus.replay(subject):
            with suppress(msgspec.DecodeError):  # of an older version
                lines.append(line(data) + b"\n")
            if len(lines) >= _LINES_AT_ONCE:
                await exchange.write(b"".join(lines), more=True)
                lines.clear()
        await exchange.write(b"".join(lines), more=False)


async def _verdicts(edge: Edge) -> dict[str, dict[str, float | bool]]:
    """The quality of each decision that a client has judged, and which answers were not in the form asked for.

    A misfit is worth nothing, but it is not shown as a quality: those that fit would have none, and whoever averages
    what is known would think the worst of a component that misfits once in a hundred answers.
    """
    found: dict[str, dict[str, float | bool]] = {}
    async for data in edge.bus.replay(subjects.FEEDBACK):
        with suppress(msgspec.DecodeError):
            verdict = FEEDBACK_DECODER.decode(data)
            if verdict.source == "client":
                found.setdefault(verdict.decision_id, {})["quality"] = verdict.quality
            elif verdict.source == "schema":
                found.setdefault(verdict.decision_id, {})["misfit"] = True
    return found
