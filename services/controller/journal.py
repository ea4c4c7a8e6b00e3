"""What has happened to what runs: the newest events, and told to whoever listens."""

from __future__ import annotations

import asyncio
from collections import deque

from services.bus.port import Bus
from services.contracts import subjects
from services.contracts.control import Happening
from services.contracts.errors import TurnoutError
from services.contracts.messages import encode

_KEPT = 1000


class Journal:
    """Keeps events and publishes each. `note` returns at once."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._kept: deque[Happening] = deque(maxlen=_KEPT)
        self._telling: set[asyncio.Task[None]] = set()

    @property
    def newest(self) -> tuple[Happening, ...]:
        """The events that are kept, oldest first."""
        return tuple(self._kept)

    def note(self, event: Happening) -> None:
        """Add one."""
        self._kept.append(event)
        task = asyncio.create_task(self._tell(event))
        self._telling.add(task)
        task.add_done_callback(self._telling.discard)

    async def stop(self) -> None:
        """Tell nobody any more."""
        for task in self._telling:
            task.cancel()
        await asyncio.gather(*self._telling, return_exceptions=True)

    async def _tell(self, event: Happening) -> None:
        try:
            await self._bus.publish(subjects.EVENTS, encode(event))
        except TurnoutError:
            return  # the bus is away: the event is kept, and told to whoever asks later
