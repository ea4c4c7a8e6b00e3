"""Keeps instances running: starts them, starts them again when they die, tells everyone at once that they are gone.

One task owns each instance from its start to its end; the supervisor itself only starts and stops these tasks.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass

from msgspec.structs import replace

from services.contracts.keeper import Instance
from services.controller.backoff import Backoff
from services.controller.process_driver import Driver, Ending, Handle
from services.worker.process import EXIT_CONFIG

_ASK_AGAIN_S = 1.0


@dataclass(frozen=True, slots=True)
class Refusal:
    """An instance that cannot run as it is configured; it is not started again."""

    instance: Instance
    reason: str


class _Kept:
    """One instance and the task that owns it."""

    def __init__(self, instance: Instance) -> None:
        self.instance = instance
        self.handle: Handle | None = None
        self.task: asyncio.Task[None] | None = None
        self.endings: list[Ending] = []
        self._leave = asyncio.Event()

    @property
    def leaving(self) -> bool:
        """Whether it is to end for good."""
        return self._leave.is_set()

    def retire(self) -> None:
        """Do not start it again once it has ended."""
        self._leave.set()

    def leave(self) -> None:
        """Ask it to end for good."""
        self.retire()
        if self.handle is not None:
            self.handle.terminate()

    async def pause(self, delay_s: float) -> None:
        """Wait before the next start, but not when there will be none."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(delay_s):
                await self._leave.wait()


class Supervisor:
    """The actual state of things, and its only writer.

    Attributes:
        refusals: instances that ended with `EXIT_CONFIG`, as they come.
    """

    def __init__(
        self,
        driver: Driver,
        *,
        announce_gone: Callable[[Instance], Awaitable[None]],
        say: Callable[[str, str], None],
        chance: Callable[[], float] = random.random,
    ) -> None:
        """Args: where to run, how to tell others of a death, where to say (text, level), and a source of 0..1."""
        self._driver = driver
        self._announce_gone = announce_gone
        self._say = say
        self._chance = chance
        self._kept: dict[str, _Kept] = {}
        self.refusals: asyncio.Queue[Refusal] = asyncio.Queue()

    @property
    def running(self) -> tuple[Instance, ...]:
        """What is being kept running, whether it lives this very moment or not."""
        return tuple(kept.instance for kept in self._kept.values() if not kept.leaving)

    @property
    def lives(self) -> dict[str, int]:
        """How often each instance that lives now has ended before, by name: with its name, that is one life."""
        return {name: len(kept.endings) for name, kept in self._kept.items() if kept.handle is not None}

    @property
    def leaving(self) -> tuple[str, ...]:
        """Names of those that are on their way out."""
        return tuple(name for name, kept in self._kept.items() if kept.leaving)

    def start(self, instances: Iterable[Instance]) -> None:
        """Keep these running from now on."""
        for instance in instances:
            kept = self._kept[instance.name] = _Kept(instance)
            kept.task = asyncio.create_task(self._keep(kept))

    def endings(self, name: str) -> tuple[Ending, ...]:
        """How an instance has ended so far; it is started again after each."""
        return tuple(self._kept[name].endings) if name in self._kept else ()

    def promote(self, name: str) -> None:
        """End the stand-by of an instance: started again, it is one like all others."""
        kept = self._kept[name]
        kept.instance = replace(kept.instance, standby=False)

    async def retire(self, name: str, limit_s: float, grace_s: float, ask: Callable[[], Awaitable[None]]) -> None:
        """Ask one to leave by itself, and wait until it has; after `limit_s` it is stopped.

        Args:
            ask: tells it. Called once its end is no longer taken for a death.
        """
        kept = self._kept.get(name)
        if kept is None or kept.task is None:
            return
        kept.retire()
        give_up_s = time.monotonic() + limit_s
        while not kept.task.done() and time.monotonic() < give_up_s:
            await ask()  # again and again: one that is only just starting does not hear it yet
            await asyncio.wait([kept.task], timeout=_ASK_AGAIN_S)
        if not kept.task.done():
            await self._stop([kept], grace_s)
        self._kept.pop(name, None)

    async def stop_some(self, names: Iterable[str], grace_s: float) -> None:
        """End these now."""
        await self._stop([self._kept[name] for name in names if name in self._kept], grace_s)

    def kill_one(self, name: str) -> None:
        """End one now. It is started again, as after any death."""
        kept = self._kept.get(name)
        if kept is not None and kept.handle is not None:
            kept.handle.kill()

    async def stop(self, grace_s: float) -> None:
        """Ask everything to end, at once; kill what still lives after `grace_s`."""
        await self._stop(list(self._kept.values()), grace_s)

    def kill(self) -> None:
        """End everything now. `stop`, if it waits, returns soon after."""
        for kept in self._kept.values():
            kept.leave()
            if kept.handle is not None:
                kept.handle.kill()

    async def _stop(self, leaving: list[_Kept], grace_s: float) -> None:
        for kept in leaving:
            kept.leave()
        tasks = [kept.task for kept in leaving if kept.task is not None]
        if not tasks:
            return
        _, alive = await asyncio.wait(tasks, timeout=grace_s)
        if alive:
            for kept in leaving:
                if kept.handle is not None:
                    self._say(f"{kept.instance.name} did not stop in {grace_s:g} s and is killed", "warning")
                    kept.handle.kill()
            await asyncio.wait(alive)
        for kept in leaving:
            self._kept.pop(kept.instance.name, None)

    async def _keep(self, kept: _Kept) -> None:
        """The life of one instance, through all its deaths."""
        backoff = Backoff()
        while not kept.leaving:
            started_s = time.monotonic()
            ending = await self._live_once(kept)
            kept.endings.append(ending)
            if kept.leaving:
                return
            if ending.code == EXIT_CONFIG:
                if not kept.instance.standby:  # else who had it started looks at its ending
                    self.refusals.put_nowait(Refusal(kept.instance, ending.reason))
                return
            backoff = backoff.died(time.monotonic() - started_s)
            delay_s = backoff.delay_s(self._chance())
            words = f": {ending.reason}" if ending.reason and ending.code > 0 else ""
            again = f"starting it again in {delay_s:.1f} s"
            self._say(f"{kept.instance.name} died ({ending.how}{words}); {again}", "warning")
            await kept.pause(delay_s)

    async def _live_once(self, kept: _Kept) -> Ending:
        try:
            handle = await self._driver.start(kept.instance)
        except OSError as error:
            return Ending(1, f"cannot be started: {error.strerror or error}")
        kept.handle = handle
        if kept.leaving:
            handle.terminate()  # asked to leave while it was being started
        ending = await handle.ended()
        kept.handle = None
        await self._announce_gone(kept.instance)
        return ending
