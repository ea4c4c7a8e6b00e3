"""Who is alive: the view of all instances that beats give. Router, gateway and controller each keep one."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import msgspec
import structlog

from services.bus.port import Bus, Incoming, Subscription
from services.contracts import subjects
from services.contracts.beat import BEAT_DECODER, DEAD_AFTER_S, Beat
from services.contracts.errors import TurnoutError

log = structlog.get_logger()

_SWEEP_S = 0.1


class Roster:
    """Instances by component. One task owns it; readers take what they see within one step of the event loop."""

    def __init__(self, bus: Bus, clock_s: Callable[[], float] = time.monotonic) -> None:
        self._bus = bus
        self._clock_s = clock_s
        self._beats: dict[str, Beat] = {}
        self._heard_s: dict[str, float] = {}
        self._waiters: dict[str, set[asyncio.Future[None]]] = {}
        self._subscriptions: list[Subscription] = []
        self._sweeper: asyncio.Task[None] | None = None
        self._changed = asyncio.Event()
        self._heard = asyncio.Event()

    async def start(self) -> None:
        """Listen, and ask everyone to speak up."""
        self._subscriptions.append(await self._bus.subscribe(subjects.BEATS, self._on_beat))
        self._subscriptions.append(await self._bus.subscribe(subjects.GONE, self._on_gone))
        await self._bus.publish(subjects.WHO, b"")
        self._sweeper = asyncio.create_task(self._sweep())

    async def stop(self) -> None:
        """Stop listening."""
        if self._sweeper is not None:
            self._sweeper.cancel()
            await asyncio.gather(self._sweeper, return_exceptions=True)
        for subscription in self._subscriptions:
            await subscription.stop()

    def all(self) -> list[Beat]:
        """Every instance that lives, whatever its state."""
        return list(self._beats.values())

    def get(self, instance: str) -> Beat | None:
        """The last beat of an instance, or None if it is gone."""
        return self._beats.get(instance)

    def ready(self, component: str | None = None) -> list[Beat]:
        """The instances that take work."""
        return [b for b in self._beats.values() if b.state == "ready" and component in (None, b.component)]

    def watch(self, instance: str) -> asyncio.Future[None]:
        """A future that is done when the instance is gone. Cancel it when it is of no more use."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if instance not in self._beats:
            future.set_result(None)
            return future
        waiters = self._waiters.setdefault(instance, set())
        waiters.add(future)
        future.add_done_callback(waiters.discard)
        return future

    async def changed(self) -> None:
        """Return at the next beat that differs in more than its counters, or at the next death."""
        await self._changed.wait()

    async def heard(self) -> None:
        """Return at the next beat, whatever it says, or at the next death."""
        await self._heard.wait()

    async def _on_beat(self, message: Incoming) -> None:
        try:
            beat = BEAT_DECODER.decode(message.data)
        except msgspec.DecodeError as error:
            log.warning("bad_beat", subject=message.subject, error=str(error))
            return
        before = self._beats.get(beat.instance)
        if before is not None and (before.pid, before.started_s) != (beat.pid, beat.started_s):
            self._remove(beat.instance)  # the same name, but a new process: what the old one was doing is lost
            before = None
        self._beats[beat.instance] = beat
        self._heard_s[beat.instance] = self._clock_s()
        self._announce(changed=before is None or before.state != beat.state)

    async def _on_gone(self, message: Incoming) -> None:
        self._remove(message.subject.rpartition(".")[2])

    async def _sweep(self) -> None:
        away = False
        while True:
            slept_s = -self._clock_s()
            await asyncio.sleep(_SWEEP_S)
            slept_s += self._clock_s()
            self._look(slept_s)
            if away and self._bus.connected:
                await self._ask_all()
            away = not self._bus.connected

    def _look(self, since_s: float) -> None:
        """Remove those that have been silent for too long. `since_s`: since the last look."""
        # While this process stood still or had no bus it heard nobody: that is not their silence.
        deaf_s = since_s if not self._bus.connected else max(0.0, since_s - _SWEEP_S)
        for instance in self._heard_s:
            self._heard_s[instance] += deaf_s
        silent_since = self._clock_s() - DEAD_AFTER_S
        for instance in [i for i, heard in self._heard_s.items() if heard < silent_since]:
            log.warning("instance_silent", instance=instance)
            self._remove(instance)

    async def _ask_all(self) -> None:
        try:
            await self._bus.publish(subjects.WHO, b"")
        except TurnoutError:
            return  # it is away again; they will speak up by themselves

    def _remove(self, instance: str) -> None:
        self._heard_s.pop(instance, None)
        if self._beats.pop(instance, None) is None:
            return
        for future in self._waiters.pop(instance, set()):
            if not future.done():
                future.set_result(None)
        self._announce(changed=True)

    def _announce(self, *, changed: bool) -> None:
        self._heard.set()
        self._heard = asyncio.Event()
        if changed:
            self._changed.set()
            self._changed = asyncio.Event()
