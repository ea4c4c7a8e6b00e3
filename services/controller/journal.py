"""What has happened to what runs: kept in a stream of the bus, where gateways read it, and heard by whoever listens."""

from __future__ import annotations

import asyncio
import secrets
from collections import deque
from contextlib import suppress

from services.bus.port import Bus
from services.contracts import subjects
from services.contracts.control import Happening
from services.contracts.errors import ComponentTimeout, ComponentUnavailable
from services.contracts.messages import encode

_WAITING = 1000
_AGAIN_S = 0.5
_LAST_WORDS_S = 0.5


class Journal:
    """Writes events one after the other. `note` returns at once; while the bus is away, the newest 1,000 wait."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._waiting: deque[Happening] = deque(maxlen=_WAITING)
        self._writing: asyncio.Task[None] | None = None

    def note(self, event: Happening) -> None:
        """Add one."""
        self._waiting.append(event)
        if self._writing is None or self._writing.done():
            self._writing = asyncio.create_task(self._write())

    async def stop(self) -> None:
        """Write what still waits, if that takes no longer than a moment."""
        if self._writing is not None:
            await asyncio.wait([self._writing], timeout=_LAST_WORDS_S)
            self._writing.cancel()
            with suppress(asyncio.CancelledError):
                await self._writing

    async def _write(self) -> None:
        while self._waiting:
            event = self._waiting.popleft()
            subject = subjects.event(secrets.token_hex(8))  # its own: written twice, it is kept once
            while True:
                try:
                    await self._bus.record(subject, encode(event))
                    break
                except (ComponentUnavailable, ComponentTimeout):
                    await asyncio.sleep(_AGAIN_S)
