"""The controller of a deployment whose containers somebody else keeps."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from services.bus.memory import MemoryBus
from services.bus.port import Incoming
from services.bus.roster import Roster
from services.contracts import subjects
from services.contracts.beat import Beat, State
from services.contracts.catalog import Catalog, Snapshot
from services.contracts.catalog_file import parse
from services.contracts.control import DONE_DECODER, HAPPENING_DECODER, Apply, Command, Done, Rollback, ScaleTo
from services.contracts.messages import encode
from services.controller.declared import Declared

ONE = "components: {eyes: {kind: vision, max_pixels: 10000, swap: {start_s: 2, drain_s: 0}}}"
OTHER = ONE.replace("10000", "20000")
DEARER = ONE.replace("max_pixels", "price: {request_usd: 1}, max_pixels")
MORE = ONE.replace("components: {", "components: {tools: {kind: tool_agent}, ")


@dataclass
class Kept:
    """Containers of one component: each that is told to leave is started again."""

    bus: MemoryBus
    comes_back: Callable[[], State] = lambda: "ready"
    left: list[str] = field(default_factory=list)
    _starts: int = 0
    _starting: list[asyncio.Task[None]] = field(default_factory=list)

    async def start(self, host: str) -> None:
        self._starts += 1
        started = Beat("eyes", "vision", f"eyes-{host}", 1, 1, host, self.comes_back(), started_s=float(self._starts))

        async def again() -> None:
            await listening.stop()
            await self.bus.publish(subjects.gone("eyes", started.instance), b"")
            await self.start(host)

        async def on_order(_message: Incoming) -> None:
            self.left.append(host)
            self._starting.append(asyncio.create_task(again()))

        listening = await self.bus.subscribe(subjects.order(started.instance), on_order)
        await self.bus.publish(subjects.beat("eyes", started.instance), encode(started))


@asynccontextmanager
async def holding(bus: MemoryBus, text: str) -> AsyncIterator[Declared]:
    roster = Roster(bus)
    await roster.start()
    declared = Declared(bus, roster, Path("/data"))
    await declared.begin(parse(text))
    working = asyncio.create_task(declared.run())
    try:
        yield declared
    finally:
        working.cancel()
        await roster.stop()


async def order(bus: MemoryBus, command: Command) -> Done:
    return DONE_DECODER.decode(await bus.ask(subjects.CONTROLLER, encode(command), 10))


async def in_force(bus: MemoryBus) -> Catalog:
    found = await bus.kv_get(subjects.CATALOG_BUCKET, subjects.CATALOG_KEY)
    assert found is not None
    return Snapshot.model_validate_json(found[0]).catalog


async def test_the_catalog_of_the_deployment_is_in_force_from_the_start_and_once() -> None:
    bus = MemoryBus()
    async with holding(bus, ONE) as declared:
        assert await in_force(bus) == parse(ONE)
        first = declared.revision
    async with holding(bus, ONE) as declared:
        assert declared.revision == first


async def test_what_was_applied_outlives_the_controller_until_the_file_changes() -> None:
    bus = MemoryBus()
    async with holding(bus, ONE):
        assert (await order(bus, Apply(DEARER))).error is None
    async with holding(bus, ONE):
        assert await in_force(bus) == parse(DEARER)
    async with holding(bus, OTHER):
        assert await in_force(bus) == parse(OTHER)


async def test_a_price_changes_without_touching_a_container() -> None:
    bus = MemoryBus()
    kept = Kept(bus)
    priced = ONE.replace("max_pixels", "price: {request_usd: 2}, max_pixels")
    async with holding(bus, priced):
        await kept.start("a")
        done = await order(bus, Apply(DEARER))
    assert done.error is None
    assert done.changes
    assert kept.left == []
    assert await in_force(bus) == parse(DEARER)


async def test_a_changed_component_is_rolled_one_container_after_the_other() -> None:
    bus = MemoryBus()
    kept = Kept(bus)
    async with holding(bus, ONE):
        await kept.start("a")
        await kept.start("b")
        done = await order(bus, Apply(OTHER))
    events = [HAPPENING_DECODER.decode(data) async for data in bus.replay(subjects.EVENTS)]
    assert done.error is None
    assert sorted(kept.left) == ["a", "b"]
    assert [e.what for e in events[-6:]] == ["applying", "draining", "serving", "draining", "serving", "applied"]
    assert await in_force(bus) == parse(OTHER)


async def test_when_the_first_does_not_come_back_well_the_old_catalog_is_in_force_again() -> None:
    bus = MemoryBus()
    kept = Kept(bus)
    async with holding(bus, ONE) as declared:
        await kept.start("a")
        await kept.start("b")
        kept.comes_back = lambda: "failed"
        done = await order(bus, Apply(OTHER))
        assert done.error is not None
        assert done.error.code == "component_unavailable"
        assert await in_force(bus) == parse(ONE)
        assert done.revision == declared.revision
    assert len(kept.left) == 1, "the second still serves"


async def test_components_come_and_go_with_their_services_only() -> None:
    bus = MemoryBus()
    async with holding(bus, ONE):
        done = await order(bus, Apply(MORE))
        scaled = await order(bus, ScaleTo("eyes", 3))
    assert done.error is not None
    assert "components.tools" in done.error.message
    assert scaled.error is not None
    assert "--scale" in scaled.error.message
    assert await in_force(bus) == parse(ONE)


async def test_an_order_for_an_older_revision_and_one_that_is_no_order_are_refused() -> None:
    bus = MemoryBus()
    async with holding(bus, ONE) as declared:
        late = await order(bus, Apply(DEARER, after=declared.revision + 1))
        nonsense = DONE_DECODER.decode(await bus.ask(subjects.CONTROLLER, msgspec.msgpack.encode(1), 10))
    assert late.error is not None
    assert late.error.code == "conflict"
    assert nonsense.error is not None
    assert nonsense.error.code == "invalid_request"


async def test_a_rollback_takes_the_one_before() -> None:
    bus = MemoryBus()
    async with holding(bus, ONE):
        assert (await order(bus, Apply(DEARER))).error is None
        done = await order(bus, Rollback())
    assert done.error is None
    assert await in_force(bus) == parse(ONE)
