"""A router that comes new among others."""

from __future__ import annotations

import asyncio

from router.service import RouterService
from services.bus.memory import MemoryBus
from services.bus.port import Incoming
from services.contracts import subjects
from services.contracts.beat import Beat
from services.contracts.catalog import Catalog, Snapshot
from services.contracts.messages import encode

SNAPSHOT = Snapshot(catalog=Catalog.model_validate({"components": {"eyes": {"kind": "vision"}}}))


async def test_it_takes_no_task_before_it_knows_what_runs() -> None:
    bus = MemoryBus()
    spoken = asyncio.Event()

    async def asked_who(_message: Incoming) -> None:
        await spoken.wait()
        await bus.publish(subjects.beat("eyes", "eyes-1"), encode(Beat("eyes", "vision", "eyes-1", 1, 1, "h", "ready")))

    await bus.subscribe(subjects.WHO, asked_who)
    router = RouterService(bus, SNAPSHOT, instance="router-1")
    starting = asyncio.create_task(router.start(listen_s=30))
    done, _ = await asyncio.wait([starting], timeout=0.1)
    assert not done
    spoken.set()
    async with asyncio.timeout(5):
        await starting
    assert router.beat().state == "ready"
    await router.drain(0)


async def test_it_does_not_wait_for_ever_for_what_is_not_there() -> None:
    router = RouterService(MemoryBus(), SNAPSHOT, instance="router-1")
    async with asyncio.timeout(5):
        await router.start(listen_s=0.05)
    assert router.beat().state == "ready"
    await router.drain(0)
