"""`GET /v1/decisions/{id}` and `GET /metrics`: what has happened, read back."""

from __future__ import annotations

from services.gateway.edge import Edge
from services.gateway.exchange import Exchange
from services.gateway.metrics import CONTENT_TYPE


async def decision(edge: Edge, exchange: Exchange) -> None:
    """Show how one request was decided and what it took. Only to the tenant that made it."""
    found = await edge.decisions.read(exchange.scope["path_params"]["id"], exchange.tenant)
    await exchange.respond_json(found)


async def metrics(edge: Edge, exchange: Exchange) -> None:
    """Show the counts, for Prometheus."""
    await exchange.respond(200, edge.metrics.render(), ((b"content-type", CONTENT_TYPE),))
