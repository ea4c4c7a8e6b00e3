"""The ASGI application: FastAPI's routing inside our own ordered list of middlewares."""

from __future__ import annotations

from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.types import ASGIApp, Receive, Scope, Send

from services.gateway.edge import Edge
from services.gateway.middleware import compose
from services.gateway.routes import routes


class _App(FastAPI):
    """FastAPI without its own middleware stack: its error pages and exit stacks have nothing to do here."""

    def __init__(self, edge: Edge) -> None:
        self._edge = edge
        super().__init__(
            title="Turnout",
            routes=list(routes(edge)),
            openapi_url=None,
            docs_url=None,
            redoc_url=None,
            redirect_slashes=False,
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        # FastAPI's own would look for telemetry in the environment at every request: 60 microseconds.
        await Starlette.__call__(self, scope, receive, send)

    def build_middleware_stack(self) -> ASGIApp:
        return compose(self.router, self._edge)


def build_app(edge: Edge) -> ASGIApp:
    """The application on these parts."""
    return _App(edge)
