from __future__ import annotations

import asyncio
import threading

import pytest

from services.retrieval.lane import Lane, Priority


async def test_urgent_work_overtakes_what_waits() -> None:
    lane, gate, order = Lane("test"), threading.Event(), list[str]()
    first = asyncio.create_task(lane.run(Priority.INGEST, gate.wait, 10))
    await asyncio.sleep(0)
    rest = [
        asyncio.create_task(lane.run(priority, order.append, priority.name))
        for priority in (Priority.BACKGROUND, Priority.INGEST, Priority.SEARCH)
    ]
    await asyncio.sleep(0)
    gate.set()
    await asyncio.gather(first, *rest)
    assert order == ["SEARCH", "INGEST", "BACKGROUND"]
    await lane.close()


async def test_cancelled_work_is_not_done() -> None:
    lane, gate, order = Lane("test"), threading.Event(), list[str]()
    first = asyncio.create_task(lane.run(Priority.INGEST, gate.wait, 10))
    second = asyncio.create_task(lane.run(Priority.INGEST, order.append, "never"))
    await asyncio.sleep(0)
    second.cancel()
    gate.set()
    await first
    await lane.close()
    assert order == []


async def test_failure_reaches_the_one_who_waits() -> None:
    lane = Lane("test")
    with pytest.raises(ZeroDivisionError):
        await lane.run(Priority.SEARCH, lambda: 1 // 0)
    assert await lane.run(Priority.SEARCH, lambda: 1) == 1
    await lane.close()
