"""A client that leaves frees what worked for it, within 100 ms."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator

import pytest

from services.bus.nats_bus import NatsBus
from services.bus.port import Bus
from services.contracts.events import Delta, Event, Finished, Usage
from services.contracts.messages import Task
from tests.services.gateway.support import Front, Scripted, chat, front

LIMIT_S = 0.1


async def _send(gate: Front, **more: object) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    reader, writer = await gate.raw()
    body = json.dumps(chat(**more)).encode()  # type: ignore[arg-type]
    writer.write(b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
    return reader, writer


async def _free(gate: Front) -> None:
    async with asyncio.timeout(5):
        while gate.edge.metrics.in_flight or any(worker.beat().in_use for worker in gate.workers.values()):
            await asyncio.sleep(0.001)


async def _stuck(task: Task) -> AsyncIterator[Event]:
    await asyncio.Event().wait()
    yield Delta("never")


async def _endless(task: Task) -> AsyncIterator[Event]:
    while True:
        yield Delta("x")
        await asyncio.sleep(0.01)


@pytest.mark.parametrize("stream", [False, True])
async def test_before_the_first_token(bus: NatsBus, stream: bool) -> None:
    worker = Scripted(_stuck)
    async with front({"small": worker}, bus=bus) as gate:
        _, writer = await _send(gate, stream=stream)
        await asyncio.wait_for(worker.started.wait(), 5)
        left_s = time.perf_counter()
        writer.close()
        await asyncio.wait_for(worker.freed.wait(), 5)
        assert worker.freed_s - left_s < LIMIT_S
        await _free(gate)
        assert 'status="499"' in gate.edge.metrics.render().decode()


async def test_in_the_middle_of_the_stream(bus: NatsBus) -> None:
    worker = Scripted(_endless)
    async with front({"small": worker}, bus=bus) as gate:
        reader, writer = await _send(gate, stream=True)
        await asyncio.wait_for(reader.readuntil(b'"content":"x"'), 5)
        left_s = time.perf_counter()
        writer.close()
        await asyncio.wait_for(worker.freed.wait(), 5)
        assert worker.freed_s - left_s < LIMIT_S
        await _free(gate)


async def test_while_waiting_in_the_queue(bus: NatsBus) -> None:
    go = asyncio.Event()

    async def play(task: Task) -> AsyncIterator[Event]:
        await go.wait()
        yield Finished(Usage(1, 1))

    worker = Scripted(play, slots=1)
    async with front({"small": worker}, bus=bus) as gate:
        held = asyncio.create_task(gate.ask())
        await asyncio.wait_for(worker.started.wait(), 5)
        _, writer = await _send(gate)
        async with asyncio.timeout(5):
            while gate.workers["small"].beat().queued != 1:
                await asyncio.sleep(0.001)
        left_s = time.perf_counter()
        writer.close()
        async with asyncio.timeout(5):
            while gate.workers["small"].beat().queued:
                await asyncio.sleep(0.001)
        assert time.perf_counter() - left_s < LIMIT_S
        go.set()
        assert (await held).status_code == 200
        await _free(gate)


async def test_while_the_router_thinks() -> None:
    async with front() as gate:
        held = asyncio.Event()

        async def hold() -> None:
            held.set()
            await asyncio.Event().wait()

        gate.router.hold = hold
        _, writer = await _send(gate)
        await asyncio.wait_for(held.wait(), 5)
        writer.close()
        await _free(gate)
        record = await gate.edge.decisions.read(gate.router.tasks[0].id, "")
    assert record.error is not None
    assert record.error.code == "cancelled"


async def test_while_still_sending_its_body() -> None:
    async with front() as gate:
        _, writer = await gate.raw()
        writer.write(b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{")
        async with asyncio.timeout(5):
            while not gate.edge.metrics.in_flight:
                await asyncio.sleep(0.001)
        writer.close()
        await _free(gate)
        assert gate.router.tasks == []


async def test_the_next_request_gets_the_slot(bus: Bus) -> None:
    worker = Scripted(_stuck, slots=1)
    async with front({"small": worker}, bus=bus) as gate:
        _, writer = await _send(gate)
        await asyncio.wait_for(worker.started.wait(), 5)
        worker.started.clear()
        writer.close()
        await asyncio.wait_for(worker.freed.wait(), 5)
        _, second = await _send(gate)
        await asyncio.wait_for(worker.started.wait(), 5)
        second.close()
        await _free(gate)
