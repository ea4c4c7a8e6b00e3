"""`python -m router`: one router replica."""

from __future__ import annotations

import asyncio

import structlog

from router.service import RouterService
from services.bus.catalog_news import CatalogNews
from services.bus.nats_bus import NatsBus
from services.contracts.beat import DEAD_AFTER_S
from services.contracts.errors import TurnoutError
from services.worker.identity import Identity
from services.worker.process import read_snapshot, run

log = structlog.get_logger()


async def _body(identity: Identity, bus: NatsBus, stop: asyncio.Event) -> None:
    snapshot = await read_snapshot(bus, patience_s=identity.patience_s)
    service = RouterService(bus, snapshot, instance=identity.instance, generation=identity.generation)
    await service.start(DEAD_AFTER_S)  # whoever lives has spoken by then
    news = CatalogNews(bus)
    await news.listen()
    following = asyncio.create_task(_follow_catalog(bus, service, news))
    await stop.wait()
    following.cancel()
    await service.drain(identity.drain_s)


async def _follow_catalog(bus: NatsBus, service: RouterService, news: CatalogNews) -> None:
    """Take up new revisions."""
    while True:
        await news.due()
        try:
            snapshot = await read_snapshot(bus)
        except TurnoutError as error:
            log.warning("catalog_unreadable", error=error.message)
            continue
        if snapshot.revision != service.revision:
            await service.use(snapshot)
            log.info("catalog_changed", revision=snapshot.revision)


if __name__ == "__main__":
    run("router", _body)
