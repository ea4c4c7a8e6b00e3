"""Who is taken for dead, and when."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest

from services.bus.memory import MemoryBus
from services.bus.roster import Roster
from services.contracts import subjects
from services.contracts.beat import BEAT_INTERVAL_S, Beat
from services.contracts.errors import ComponentUnavailable
from services.contracts.messages import encode
from services.worker.announcer import Announcer

LOOK_S = 0.1


@dataclass
class Clock:
    now_s: float = 100.0

    def __call__(self) -> float:
        return self.now_s


@dataclass
class Watched:
    bus: MemoryBus
    roster: Roster
    clock: Clock

    def pass_time(self, seconds: float) -> None:
        for _ in range(round(seconds / LOOK_S)):
            self.clock.now_s += LOOK_S
            self.roster._look(LOOK_S)

    def lives(self) -> bool:
        return self.roster.get("small-1") is not None


def beat() -> Beat:
    return Beat("small", "k", "small-1", 1, 1, "h", "ready")


@pytest.fixture
async def watched() -> AsyncIterator[Watched]:
    bus, clock = MemoryBus(), Clock()
    roster = Roster(bus, clock)
    await bus.subscribe(subjects.BEATS, roster._on_beat)
    await bus.publish(subjects.beat("small", "small-1"), encode(beat()))
    async with asyncio.timeout(5):
        await roster.changed()
    yield Watched(bus, roster, clock)
    await bus.close()


async def test_an_instance_that_falls_silent_is_found_within_two_seconds(watched: Watched) -> None:
    gone = watched.roster.watch("small-1")
    watched.pass_time(1.4)
    assert watched.lives()
    watched.pass_time(0.4)  # in the worst case it stopped right after a beat
    assert not watched.lives()
    assert gone.done()


async def test_a_beat_in_time_keeps_it_alive(watched: Watched) -> None:
    for _ in range(5):
        watched.pass_time(3 * BEAT_INTERVAL_S)
        await watched.bus.publish(subjects.beat("small", "small-1"), encode(beat()))
        await asyncio.sleep(0.01)
    assert watched.lives()


async def test_nobody_dies_while_we_have_no_bus(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watched.bus, "connected", False)
    watched.pass_time(10)
    assert watched.lives()
    monkeypatch.setattr(watched.bus, "connected", True)
    watched.pass_time(1.4)
    assert watched.lives()
    watched.pass_time(0.4)
    assert not watched.lives()


async def test_nobody_dies_of_our_own_standstill(watched: Watched) -> None:
    watched.clock.now_s += 30
    watched.roster._look(30)
    assert watched.lives()


async def test_a_beat_that_cannot_be_sent_is_not_the_last(monkeypatch: pytest.MonkeyPatch) -> None:
    bus = MemoryBus()
    heard: asyncio.Queue[object] = asyncio.Queue()
    announcer = Announcer(bus, beat)
    await announcer.start()
    failing = asyncio.Event()

    async def away(_subject: str, _data: bytes) -> None:
        failing.set()
        raise ComponentUnavailable("the bus failed: OutboundBufferLimitError")

    with monkeypatch.context() as patched:
        patched.setattr(bus, "publish", away)
        announcer.poke()
        async with asyncio.timeout(5):
            await failing.wait()
    await bus.subscribe(subjects.BEATS, heard.put)
    async with asyncio.timeout(5):
        await heard.get()
    await announcer.farewell()
