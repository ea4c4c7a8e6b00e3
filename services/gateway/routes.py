"""The paths of the gateway, and nothing else."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from services.gateway import admin, chat, documents, embeddings, health, models, openapi, records, status
from services.gateway.edge import Edge
from services.gateway.exchange import Exchange

Handler = Callable[[Edge, Exchange], Awaitable[None]]


def routes(edge: Edge) -> list[Route]:
    """Every path, the busiest first."""

    def get(path: str, handler: Handler) -> Route:
        return Route(path, Endpoint(edge, path, handler), methods=["GET"])

    def put(path: str, handler: Handler) -> Route:
        return Route(path, Endpoint(edge, path, handler), methods=["PUT"])

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
        get("/openapi.json", openapi.openapi),
        get("/admin/catalog", admin.catalog),
        put("/admin/catalog", admin.apply),
        get("/admin/history", admin.history),
        post("/admin/rollback", admin.rollback),
        post("/admin/scale", admin.scale),
        get("/admin/events", admin.events),
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
