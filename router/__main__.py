"""`python -m router`: one router replica."""

from __future__ import annotations

import asyncio

import structlog

from router.service import RouterService
from services.bus.nats_bus import NatsBus
from services.contracts.errors import TurnoutError
from services.worker.process import Identity, read_snapshot, run

log = structlog.get_logger()

_CATALOG_POLL_S = 2.0


async def _body(identity: Identity, bus: NatsBus, stop: asyncio.Event) -> None:
    service = RouterService(bus, await read_snapshot(bus), instance=identity.instance, generation=identity.generation)
    await service.start()
    following = asyncio.create_task(_follow_catalog(bus, service))
    await stop.wait()
    following.cancel()
    await service.drain(identity.drain_s)


async def _follow_catalog(bus: NatsBus, service: RouterService) -> None:
    """Take up new revisions. Polled: a key-value watch falls silent when the server restarts."""
    while True:
        await asyncio.sleep(_CATALOG_POLL_S)
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
