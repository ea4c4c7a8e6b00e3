"""`GET /v1/models` and `GET /v1/models/{id}`: the router as `auto`, and every component under its own name."""

from __future__ import annotations

from typing import Literal

import msgspec

from services.contracts.beat import Beat
from services.contracts.catalog import Snapshot
from services.contracts.errors import ModelNotFound
from services.contracts.price import Price
from services.gateway.asking import AUTO
from services.gateway.edge import Edge
from services.gateway.exchange import Exchange


class ModelDetails(msgspec.Struct, frozen=True):
    """What a component can do, from the beats of its instances; empty while none lives."""

    kind: str
    ready: int
    instances: int
    state: str
    model: str = ""
    detail: str = ""
    capabilities: tuple[str, ...] = ()
    context_tokens: int | None = None
    local: bool | None = None
    price: Price | None = None


class ModelOut(msgspec.Struct, frozen=True):
    """The router, or a component."""

    id: str
    created: int
    turnout: ModelDetails
    object: Literal["model"] = "model"
    owned_by: Literal["turnout"] = "turnout"


class ModelsOut(msgspec.Struct, frozen=True):
    """All of them."""

    data: list[ModelOut]
    object: Literal["list"] = "list"


async def models(edge: Edge, exchange: Exchange) -> None:
    """List them."""
    await exchange.respond_json(ModelsOut(_all(exchange.state.snapshot, edge.roster.all(), int(edge.started_s))))


async def model(edge: Edge, exchange: Exchange) -> None:
    """Show one."""
    wanted = exchange.scope["path_params"]["id"]
    for found in _all(exchange.state.snapshot, edge.roster.all(), int(edge.started_s)):
        if found.id == wanted:
            await exchange.respond_json(found)
            return
    raise ModelNotFound("no model of that name; GET /v1/models lists those that exist", param="model")


def _all(snapshot: Snapshot, beats: list[Beat], created_s: int) -> list[ModelOut]:
    router = ModelOut(AUTO, created_s, _details("router", [b for b in beats if b.kind == "router"]))
    return [router] + [
        ModelOut(name, created_s, _details(spec.kind, [b for b in beats if b.component == name]))
        for name, spec in snapshot.catalog.components.items()
        if spec.enabled
    ]


def _details(kind: str, beats: list[Beat]) -> ModelDetails:
    ready = [beat for beat in beats if beat.state == "ready"]
    shown = next(iter(ready or beats), None)
    if shown is None:
        return ModelDetails(kind, 0, 0, "absent")
    return ModelDetails(
        kind,
        len(ready),
        len(beats),
        shown.state,
        shown.model,
        shown.detail,
        shown.capabilities,
        shown.context_tokens,
        shown.local,
        shown.price,
    )
