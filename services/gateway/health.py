"""`/health/live`: this process answers. `/health/ready`: everything that must serve does."""

from __future__ import annotations

from typing import Literal

import msgspec

from services.bus.call import ROUTER
from services.contracts.beat import Beat
from services.contracts.catalog import Snapshot
from services.gateway.edge import Edge
from services.gateway.exchange import Exchange


class Health(msgspec.Struct, frozen=True):
    """It is."""

    status: Literal["live", "ready"]


class NotReady(msgspec.Struct, frozen=True):
    """What should serve but does not, by name, with the state it is in."""

    missing: dict[str, str]
    status: Literal["not ready"] = "not ready"


_SERVING = frozenset(("ready", "unconfigured"))
"""A component without its key is as ready as it can be."""


async def live(_edge: Edge, exchange: Exchange) -> None:
    """Say that the process is up."""
    await exchange.respond_json(Health("live"))


async def ready(edge: Edge, exchange: Exchange) -> None:
    """200 when everything serves, else 503 with what is missing and why."""
    absent = missing(exchange.state.snapshot, edge.roster.all())
    if absent:
        await exchange.respond_json(NotReady(absent), 503)
        return
    await exchange.respond_json(Health("ready"))


def missing(snapshot: Snapshot, beats: list[Beat]) -> dict[str, str]:
    """What does not serve but should, by name, with the state it is in. Pure."""
    needed = [ROUTER] + [
        name for name, spec in snapshot.catalog.components.items() if spec.enabled and spec.replicas.min > 0
    ]
    absent: dict[str, str] = {}
    for name in needed:
        own = [beat for beat in beats if beat.component == name]
        serving = {"ready"} if name == ROUTER else _SERVING
        if any(beat.state in serving for beat in own):
            continue
        absent[name] = " ".join(filter(None, (own[0].state, own[0].detail))) if own else "absent"
    return absent
