"""Tells the world that a process lives: a beat twice a second, one at each change of state, one when somebody asks."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import structlog

from services.bus.port import Bus, Incoming, Subscription
from services.contracts import subjects
from services.contracts.beat import BEAT_INTERVAL_S, Beat
from services.contracts.errors import TurnoutError
from services.contracts.messages import encode
from services.worker import health

log = structlog.get_logger()

_LEAST_GAP_S = 0.02


class Announcer:
    """Publishes what `current()` returns. `poke()` after a change makes it known at once, at most 50 times a second."""

    def __init__(self, bus: Bus, current: Callable[[], Beat]) -> None:
        self._bus = bus
        self._current = current
        self._poked = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._subscription: Subscription | None = None

    async def start(self) -> None:
        """Say the first beat and go on."""
        self._subscription = await self._bus.subscribe(subjects.WHO, self._on_who)
        await self.announce()
        self._task = asyncio.create_task(self._go_on())

    def poke(self) -> None:
        """Something changed."""
        self._poked.set()

    async def announce(self) -> None:
        """Send a beat now."""
        beat = self._current()
        await self._bus.publish(subjects.beat(beat.component, beat.instance), encode(beat))
        health.note(beat.state)

    async def farewell(self) -> None:
        """Stop, and say that this instance is gone."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        if self._subscription is not None:
            await self._subscription.stop()
        beat = self._current()
        await self._bus.publish(subjects.gone(beat.component, beat.instance), b"")

    async def _on_who(self, _message: Incoming) -> None:
        self.poke()

    async def _go_on(self) -> None:
        while True:
            await asyncio.sleep(_LEAST_GAP_S)
            try:
                async with asyncio.timeout(BEAT_INTERVAL_S - _LEAST_GAP_S):
                    await self._poked.wait()
            except TimeoutError:
                pass  # nothing changed: this is the regular beat
            self._poked.clear()
            try:
                await self.announce()
            except TurnoutError as error:
                log.warning("beat_not_sent", reason=error.message)  # the next one may be: silence would be a death
