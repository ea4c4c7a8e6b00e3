"""The bus swallows messages while it restarts: what was asked is answered all the same, once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest

from services.bus import call as call_module
from services.bus.memory import MemoryBus
from services.contracts.events import ENVELOPE_DECODER, Delta, Event, Finished, Usage
from services.contracts.messages import ChatRequest, Message, Task
from services.contracts.price import Price
from services.worker import signs
from services.worker.service import Description
from tests.router.test_graph import Scripted, System, system


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody has to come back here, so that the waiting can be short."""
    monkeypatch.setattr(signs, "_AFTER_S", (0.02, 0.02))
    monkeypatch.setattr(call_module, "_SIGN_WITHIN_S", 0.2)


class Counting:
    """Says the numbers from one to four; each waits for its turn. Goes on behind what was written."""

    def __init__(self) -> None:
        self.turns = asyncio.Semaphore(0)
        self.begun = 0

    async def script(self, task: Task) -> AsyncIterator[Event]:
        assert isinstance(task.request, ChatRequest)
        self.begun += 1
        for word in ["one ", "two ", "three ", "four "][len(task.request.written.split()) :]:
            await self.turns.acquire()
            yield Delta(word)
        yield Finished(Usage(1, 4))


def counting() -> tuple[Counting, Scripted]:
    made = Counting()
    return made, Scripted(Description("m", ("chat", "resume"), price=Price()), made.script)


def losing(bus: MemoryBus, which: Callable[[str, bytes], bool], monkeypatch: pytest.MonkeyPatch) -> asyncio.Event:
    """Lose the next message of a kind; the event tells when."""
    lost, publish = asyncio.Event(), bus.publish

    async def lossy(subject: str, data: bytes) -> None:
        if not lost.is_set() and which(subject, data):
            lost.set()
            return
        await publish(subject, data)

    monkeypatch.setattr(bus, "publish", lossy)
    return lost


def part(number: int) -> Callable[[str, bytes], bool]:
    return lambda subject, data: subject.startswith("_INBOX") and b"delta" in data and _seq(data) == number


def _seq(data: bytes) -> int:
    return ENVELOPE_DECODER.decode(data).seq


async def ask(running: System, *, stream: bool) -> str:
    request = ChatRequest((Message("user", "count"),), stream=stream)
    text, _ = await running.ask(request, auto="small")
    return text


def restarted(bus: MemoryBus, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bus, "unsettled", True)
    bus.returning.tell()


async def test_a_stream_that_lost_a_part_goes_on_behind_what_came(monkeypatch: pytest.MonkeyPatch) -> None:
    numbers, service = counting()
    async with system(small=service) as running:
        lost = losing(running.bus, part(1), monkeypatch)
        asking = asyncio.create_task(ask(running, stream=True))
        numbers.turns.release()
        numbers.turns.release()
        await lost.wait()
        restarted(running.bus, monkeypatch)
        for _ in range(6):
            numbers.turns.release()
        assert await asking == "one two three four "
        assert numbers.begun == 2


async def test_a_plain_request_that_never_arrived_is_sent_again(monkeypatch: pytest.MonkeyPatch) -> None:
    numbers, service = counting()
    async with system(small=service) as running:
        lost = losing(running.bus, part(0), monkeypatch)  # the whole answer
        asking = asyncio.create_task(ask(running, stream=False))
        for _ in range(8):
            numbers.turns.release()
        await lost.wait()
        restarted(running.bus, monkeypatch)
        assert await asking == "one two three four "
        assert numbers.begun == 2


async def test_a_plain_request_that_is_still_worked_on_is_not_sent_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    numbers, service = counting()
    async with system(small=service) as running:
        asking = asyncio.create_task(ask(running, stream=False))
        async with asyncio.timeout(5):
            while not numbers.begun:
                await asyncio.sleep(0.001)
        for _ in range(2):
            restarted(running.bus, monkeypatch)
            await asyncio.sleep(0.3)  # longer than it waits for a sign
        assert not asking.done()
        for _ in range(4):
            numbers.turns.release()
        assert await asking == "one two three four "
        assert numbers.begun == 1
