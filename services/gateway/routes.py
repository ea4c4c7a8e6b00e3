"""The paths of the gateway, and nothing else."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from services.gateway import chat, documents, embeddings, health, models, records, status
from services.gateway.edge import Edge
from services.gateway.exchange import Exchange

Handler = Callable[[Edge, Exchange], Awaitable[None]]


def routes(edge: Edge) -> list[Route]:
    """Every path, the busiest first."""

    def get(path: str, handler: Handler) -> Route:
        return Route(path, Endpoint(edge, path, handler), methods=["GET"])

    def post(path: str, handler: Handler) -> Route:
        return Route(path, Endpoint(edge, path, handler), methods=["POST"])

    return [
        post("/v1/chat/completions", chat.chat),
        post("/v1/embeddings", embeddings.embeddings),
        post("/v1/documents", documents.documents),
        post("/v1/search", documents.search),
        get("/v1/models", models.models),
        get("/v1/models/{id}", models.model),
        get("/v1/decisions/{id}", records.decision),
        get("/v1/status", status.status),
        get("/health/live", health.live),
        get("/health/ready", health.ready),
        get("/metrics", records.metrics),
    ]


class Endpoint:
    """A handler as an ASGI application: no dependency injection between the socket and it."""

    def __init__(self, edge: Edge, path: str, handler: Handler) -> None:
        self._edge = edge
        self._path = path
        self._handler = handler

    async def __call__(self, scope: Scope, _receive: Receive, _send: Send) -> None:
        """Serve one request."""
        exchange = Exchange.of(scope)
        exchange.route = self._path
        await self._handler(self._edge, exchange)
