"""`python -m router`: one router replica."""

from __future__ import annotations

import asyncio

import structlog

from router.service import RouterService
from services.bus.nats_bus import NatsBus
from services.bus.port import Incoming
from services.contracts import subjects
from services.contracts.errors import TurnoutError
from services.worker.identity import Identity
from services.worker.process import read_snapshot, run

log = structlog.get_logger()

_CATALOG_POLL_S = 2.0


async def _body(identity: Identity, bus: NatsBus, stop: asyncio.Event) -> None:
    service = RouterService(bus, await read_snapshot(bus), instance=identity.instance, generation=identity.generation)
    await service.start()
    changed = asyncio.Event()

    async def on_change(_message: Incoming) -> None:
        changed.set()

    await bus.subscribe(subjects.CATALOG_CHANGED, on_change)
    following = asyncio.create_task(_follow_catalog(bus, service, changed))
    await stop.wait()
    following.cancel()
    await service.drain(identity.drain_s)


async def _follow_catalog(bus: NatsBus, service: RouterService, changed: asyncio.Event) -> None:
    """Take up new revisions: when told, and now and then in case that was not heard while the bus was away."""
    while True:
        try:
            async with asyncio.timeout(_CATALOG_POLL_S):
                await changed.wait()
        except TimeoutError:
            pass  # nobody called; look all the same
        changed.clear()
        try:
            snapshot = await read_snapshot(bus)
        except TurnoutError as error:
            log.warning("catalog_unreadable", error=error.message)
            continue
        if snapshot.revision != service.revision:
            service.use(snapshot)
            log.info("catalog_changed", revision=snapshot.revision)


if __name__ == "__main__":
    run("router", _body)
