"""Work that goes on beside its owner and ends with it. Somebody must hold on to it: asyncio does so but weakly."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine


class Background:
    """Tasks under way. `start` returns at once."""

    def __init__(self, most: int | None = None) -> None:
        """Args: `most` at once; who starts more has asked `full` before."""
        self._most = most
        self._running: set[asyncio.Task[None]] = set()

    @property
    def full(self) -> bool:
        """Whether as many are under way as may be."""
        return self._most is not None and len(self._running) >= self._most

    def start(self, work: Coroutine[object, object, None]) -> None:
        """Begin one."""
        task = asyncio.create_task(work)
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    async def settled(self) -> None:
        """Return when those that are under way have ended."""
        await asyncio.gather(*self._running, return_exceptions=True)

    async def stop(self) -> None:
        """Give up what is under way."""
        for task in self._running:
            task.cancel()
        await self.settled()
