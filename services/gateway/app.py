"""The ASGI application: FastAPI's routing inside our own ordered list of middlewares."""

from __future__ import annotations

from fastapi import FastAPI
from starlette.types import ASGIApp

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

    def build_middleware_stack(self) -> ASGIApp:
        return compose(self.router, self._edge)


def build_app(edge: Edge) -> ASGIApp:
    """The application on these parts."""
    return _App(edge)
