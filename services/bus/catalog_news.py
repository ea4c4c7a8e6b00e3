"""When to look at the catalog again: at once when a new revision is announced, and now and then all the same.

A key-value watch would fall silent when the bus restarts, and an announcement is missed while the bus is away.
"""

from __future__ import annotations

import asyncio

from services.bus.port import Bus, Incoming, Subscription
from services.contracts import subjects

POLL_S = 2.0


class CatalogNews:
    """Announcements of new revisions, for one reader."""

    def __init__(self, bus: Bus, poll_s: float = POLL_S) -> None:
        self._bus = bus
        self._poll_s = poll_s
        self._changed = asyncio.Event()
        self._subscription: Subscription | None = None

    async def listen(self) -> None:
        """Begin."""
        self._subscription = await self._bus.subscribe(subjects.CATALOG_CHANGED, self._on_change)

    async def stop(self) -> None:
        """End."""
        if self._subscription is not None:
            await self._subscription.stop()

    async def due(self) -> None:
        """Return when it is time to look."""
        try:
            async with asyncio.timeout(self._poll_s):
                await self._changed.wait()
        except TimeoutError:
            pass  # nobody called; look all the same
        self._changed.clear()

    async def _on_change(self, _message: Incoming) -> None:
        self._changed.set()
