"""What the controller tells one instance while it runs: serve, leave, and that prices have changed."""

from __future__ import annotations

import asyncio

import msgspec
import structlog
from pydantic import ValidationError

from services.bus.catalog_news import CatalogNews
from services.bus.port import Bus, Incoming, Subscription
from services.contracts import subjects
from services.contracts.catalog import Snapshot
from services.contracts.control import ORDER_DECODER, Order
from services.contracts.errors import TurnoutError
from services.worker.identity import Identity
from services.worker.runtime import Worker

log = structlog.get_logger()


class Orders:
    """Carries out the orders to one worker."""

    def __init__(self, bus: Bus, worker: Worker, identity: Identity, revision: int) -> None:
        self._bus = bus
        self._worker = worker
        self._identity = identity
        self._revision = 0 if identity.standby else revision
        self._leave: asyncio.Future[Order] = asyncio.get_running_loop().create_future()
        self._news = CatalogNews(bus)
        self._listening: Subscription | None = None
        self._following: asyncio.Task[None] | None = None

    async def listen(self) -> None:
        """Begin."""
        self._listening = await self._bus.subscribe(subjects.order(self._identity.instance), self._on_order)
        await self._news.listen()
        self._following = asyncio.create_task(self._follow())

    async def stop(self) -> None:
        """End."""
        if self._following is not None:
            self._following.cancel()
        if self._listening is not None:
            await self._listening.stop()
        await self._news.stop()

    async def to_leave(self) -> Order:
        """Return when this instance is to leave, and how."""
        return await asyncio.shield(self._leave)

    async def _on_order(self, message: Incoming) -> None:
        try:
            order = ORDER_DECODER.decode(message.data)
        except msgspec.DecodeError as error:
            log.warning("bad_order", error=str(error))
            return
        if order.do == "serve":
            await self._worker.serve(order.share)
        elif not self._leave.done():
            self._leave.set_result(order)

    async def _follow(self) -> None:
        """Look at each new revision."""
        while True:
            await self._news.due()
            try:
                await self._look()
            except (TurnoutError, ValidationError) as error:
                log.warning("catalog_unreadable", error=str(error))

    async def _look(self) -> None:
        found = await self._bus.kv_get(subjects.CATALOG_BUCKET, subjects.CATALOG_KEY)
        if found is None or found[1] == self._revision:
            return
        self._revision = found[1]
        spec = Snapshot.model_validate_json(found[0]).catalog.components.get(self._identity.component)
        if spec is not None and spec.price is not None:
            self._worker.reprice(spec.price.to_price())
