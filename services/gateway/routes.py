"""The paths of the gateway, and nothing else."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from services.gateway import (
    admin,
    chat,
    documents,
    embeddings,
    feedback,
    health,
    models,
    openapi,
    records,
    responses,
    status,
)
from services.gateway.edge import Edge
from services.gateway.exchange import Exchange

Handler = Callable[[Edge, Exchange], Awaitable[None]]


def routes(edge: Edge) -> list[Route]:
    """Every path, the busiest first."""

    def route(path: str, **handlers: Handler) -> Route:
        return Route(path, Endpoint(edge, path, handlers), methods=list(handlers))

    def get(path: str, handler: Handler) -> Route:
        return route(path, GET=handler)

    def post(path: str, handler: Handler) -> Route:
        return route(path, POST=handler)

    return [
        post("/v1/chat/completions", chat.chat),
        post("/v1/responses", responses.responses),
        post("/v1/embeddings", embeddings.embeddings),
        post("/v1/documents", documents.documents),
        post("/v1/search", documents.search),
        get("/v1/models", models.models),
        get("/v1/models/{id}", models.model),
        get("/v1/decisions/{id}", records.decision),
        post("/v1/feedback", feedback.feedback),
        get("/v1/status", status.status),
        get("/health/live", health.live),
        get("/health/ready", health.ready),
        get("/metrics", records.metrics),
        get("/openapi.json", openapi.openapi),
        route("/admin/catalog", GET=admin.catalog, PUT=admin.apply),
        get("/admin/history", admin.history),
        post("/admin/rollback", admin.rollback),
        post("/admin/scale", admin.scale),
        get("/admin/events", admin.events),
        get("/admin/decisions", records.log),
        get("/admin/shadows", records.compared),
    ]


class Endpoint:
    """The handlers of a path as an ASGI application: no dependency injection between the socket and them."""

    def __init__(self, edge: Edge, path: str, handlers: dict[str, Handler]) -> None:
        self._edge = edge
        self._path = path
        self._handlers = {"HEAD": handlers["GET"], **handlers} if "GET" in handlers else handlers

    async def __call__(self, scope: Scope, _receive: Receive, _send: Send) -> None:
        """Serve one request."""
        exchange = Exchange.of(scope)
        exchange.route = self._path
        await self._handlers[scope["method"]](self._edge, exchange)
