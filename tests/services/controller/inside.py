"""A controller whose instances are workers in this very process, on a bus in memory: quick, with no fake between."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import yaml

from services.bus.memory import MemoryBus
from services.bus.roster import Roster
from services.contracts import subjects
from services.contracts.beat import Beat
from services.contracts.catalog import Catalog, Snapshot
from services.contracts.control import HAPPENING_DECODER, Apply, Command, Done, Happening
from services.contracts.decision import Decision
from services.contracts.errors import ConfigError, ErrorInfo, TurnoutError, UpstreamError
from services.contracts.events import Event, Finished, Usage
from services.contracts.feedback import Feedback, Source
from services.contracts.keeper import Instance
from services.contracts.messages import ChatRequest, Message, Task, encode
from services.controller.controller import Controller
from services.controller.modules import GATEWAY, ROUTER
from services.controller.process_driver import Ending
from services.controller.reconciler import plan, wanted
from services.controller.rollout import Parts
from services.controller.supervisor import Supervisor
from services.worker.identity import Identity
from services.worker.orders import Orders
from services.worker.process import EXIT_CONFIG, read_snapshot
from services.worker.runtime import Worker
from services.worker.service import Description, Job

REFUSING = 13
"""`max_steps` of a component that will not start."""
FAILING = 44
"""`max_steps` of a component that answers nothing."""


class Idle:
    """A service that is never asked."""

    def __init__(self, steps: int) -> None:
        self.steps = steps

    async def start(self) -> None:
        if self.steps == REFUSING:
            raise ConfigError("max_steps: an unlucky number")

    def describe(self) -> Description:
        return Description(f"steps-{self.steps}", ("chat",))

    async def run(self, task: Task, job: Job) -> AsyncIterator[Event]:
        if self.steps == FAILING:
            raise UpstreamError("it fails")
        yield Finished(Usage(3, 2))

    async def stop(self) -> None: ...


class InsideHandle:
    """One worker, as the supervisor holds it."""

    def __init__(self, bus: MemoryBus, instance: Instance) -> None:
        self._stop: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._life = asyncio.create_task(self._live(bus, instance))

    async def ended(self) -> Ending:
        return await self._life

    def terminate(self) -> None:
        if not self._stop.done():
            self._stop.set_result(0)

    def kill(self) -> None:
        if not self._stop.done():
            self._stop.set_result(-9)

    async def _live(self, bus: MemoryBus, instance: Instance) -> Ending:
        bucket = subjects.STANDBY_BUCKET if instance.standby else subjects.CATALOG_BUCKET
        steps = 0
        if instance.kind not in (GATEWAY, ROUTER):
            snapshot = await read_snapshot(bus, bucket)  # type: ignore[arg-type]  # it needs no more than this bus has
            steps = snapshot.catalog.components[instance.component].max_steps  # type: ignore[union-attr]  # an agent
        worker = Worker(
            bus,
            Idle(steps),
            component=instance.component,
            kind=instance.kind,
            instance=instance.name,
            generation=instance.generation,
            standby=instance.standby,
        )
        identity = Identity("", instance.component, instance.name, instance.generation, 0.0, instance.standby)
        orders = Orders(bus, worker, identity, 0)
        await orders.listen()
        try:
            await worker.start()
        except TurnoutError as error:
            await orders.stop()
            await worker.drain(0.0)
            return Ending(EXIT_CONFIG, error.message)
        leaving = asyncio.create_task(orders.to_leave())
        ends: tuple[asyncio.Future[Any], ...] = (leaving, self._stop)
        await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        leaving.cancel()
        await orders.stop()
        await worker.drain(0.0)
        return Ending(self._stop.result() if self._stop.done() else 0)


@dataclass
class InsideDriver:
    """Starts workers here."""

    bus: MemoryBus
    handles: dict[str, InsideHandle] = field(default_factory=dict)

    async def start(self, instance: Instance) -> InsideHandle:
        handle = self.handles[instance.name] = InsideHandle(self.bus, instance)
        return handle


@dataclass
class Inside:
    """A controller at work."""

    bus: MemoryBus
    controller: Controller
    supervisor: Supervisor
    roster: Roster
    driver: InsideDriver
    _decisions: itertools.count[int] = field(default_factory=itertools.count)

    async def apply(self, **components: Mapping[str, Any]) -> Done:
        return await self.order(Apply(text(**components)))

    async def order(self, command: Command) -> Done:
        async with asyncio.timeout(10):
            return await self.controller.submit(command)

    async def events(self) -> tuple[Happening, ...]:
        return tuple([HAPPENING_DECODER.decode(data) async for data in self.bus.replay(subjects.EVENTS)])

    def beats(self, component: str = "one") -> list[Beat]:
        return sorted((b for b in self.roster.all() if b.component == component), key=lambda beat: beat.instance)

    async def until(self, what: str) -> Happening:
        """The first event of a kind; waits for it."""
        async with asyncio.timeout(10):
            while True:
                found = [event for event in await self.events() if event.what == what]
                if found:
                    return found[0]
                await asyncio.sleep(0.01)

    async def until_left(self, *names: str) -> None:
        async with asyncio.timeout(10):
            while {beat.instance for beat in self.roster.all()} & set(names):
                await asyncio.sleep(0.01)

    async def judged(self, decision_id: str, quality: float, source: Source = "client") -> None:
        """Publish a verdict on an answer, as a gateway does."""
        verdict = Feedback(decision_id, quality, ("one",), "m", 0.0, source=source)
        await self.bus.publish(subjects.feedback(decision_id, source), encode(verdict))

    async def answered(self, instance: str, ms: float = 100.0, *, failed: bool = False, reason: str = "stop") -> str:
        """Publish the record of a request, as a gateway does; returns its id."""
        name = f"{next(self._decisions):032x}"
        error = ErrorInfo("component_unavailable", "it died") if failed else None
        decision = Decision(
            name,
            0.0,
            "one",
            1,
            "one",
            instance,
            usage=Usage(3, 2),
            error=error,
            finish_reason="error" if failed else reason,
            total_ms=ms,
        )
        await self.bus.publish(subjects.decision(name), encode(decision))
        return name

    async def asked(self, instance: str) -> None:
        """Send a request to an instance, as a router does, and publish its record."""
        name = f"{next(self._decisions):032x}"
        task = Task(name, name, "auto", ChatRequest((Message("user", "hi"),)), "nowhere", time.time() + 10)
        await self.bus.ask(subjects.do("one", instance), encode(task), 5)
        await self.answered(instance)

    async def stored(self) -> Snapshot:
        return await read_snapshot(self.bus)  # type: ignore[arg-type]  # it needs no more than this bus has


def text(**components: Mapping[str, Any]) -> str:
    """A configuration of tool agents."""
    sections = {name: {"kind": "tool_agent", **fields} for name, fields in components.items()}
    return yaml.safe_dump({"components": sections}, sort_keys=False)


@asynccontextmanager
async def inside(**components: Mapping[str, Any]) -> AsyncIterator[Inside]:
    """A controller with this in force, everything serving."""
    bus = MemoryBus()
    snapshot = Snapshot(catalog=Catalog.model_validate(yaml.safe_load(text(**components))))
    revision = await bus.kv_put(subjects.CATALOG_BUCKET, subjects.CATALOG_KEY, snapshot.model_dump_json().encode())
    snapshot = snapshot.model_copy(update={"revision": revision})
    roster = Roster(bus)
    await roster.start()
    driver = InsideDriver(bus)

    async def announce_gone(instance: Instance) -> None:
        await bus.publish(subjects.gone(instance.component, instance.name), b"")

    def tell(what: str, said: str, instance: Instance) -> None:
        controller.happened(what, said, instance)

    supervisor = Supervisor(driver, announce_gone=announce_gone, say=lambda _text, _level: None, chance=lambda: 0.5)
    controller = Controller(Parts(bus, roster, supervisor, tell), snapshot)
    supervisor.start(plan(wanted(snapshot), ()).start)
    await controller.listen()
    running = asyncio.create_task(controller.run())
    try:
        async with asyncio.timeout(10):
            while len(roster.ready()) < len(supervisor.running):
                await roster.changed()
        yield Inside(bus, controller, supervisor, roster, driver)
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await controller.stop()
        await supervisor.stop(1.0)
        await roster.stop()
