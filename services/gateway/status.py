"""`GET /v1/status`: the catalog in force and every instance that lives, for `turnout status`."""

from __future__ import annotations

import time
from typing import Any

import msgspec

from services.bus.call import ROUTER
from services.gateway.edge import Edge
from services.gateway.exchange import Exchange
from services.gateway.generations import generations
from services.gateway.health import missing


class StatusOut(msgspec.Struct, frozen=True):
    """Times are seconds since the epoch. An instance is its last beat; generations are what its instances add up to."""

    revision: int
    now_s: float
    started_s: float
    in_flight: int
    missing: dict[str, str]
    components: list[dict[str, Any]]
    processes: list[dict[str, Any]]


async def status(edge: Edge, exchange: Exchange) -> None:
    """Show everything that is known of the system. The catalog holds the places of secrets, never a secret."""
    snapshot = exchange.state.snapshot
    beats, now_s = edge.roster.all(), time.time()
    living = generations(beats, now_s)

    def instances(component: str) -> list[dict[str, Any]]:
        own = sorted((b for b in beats if b.component == component), key=lambda b: b.instance)
        return [msgspec.structs.asdict(beat) for beat in own]

    await exchange.respond_json(
        StatusOut(
            revision=snapshot.revision,
            now_s=now_s,
            started_s=edge.started_s,
            in_flight=edge.metrics.in_flight,
            missing=missing(snapshot, beats),
            components=[
                {
                    "name": name,
                    **spec.model_dump(mode="json"),
                    "instances": instances(name),
                    "generations": [it for it in living if it.component == name],
                }
                for name, spec in snapshot.catalog.components.items()
            ],
            processes=instances(ROUTER) + instances("gateway"),
        )
    )
