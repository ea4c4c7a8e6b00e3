"""Events are kept in their order, whatever the bus does meanwhile."""

from __future__ import annotations

import pytest

from services.bus.memory import MemoryBus
from services.contracts import subjects
from services.contracts.control import HAPPENING_DECODER, Happening
from services.contracts.errors import ComponentUnavailable
from services.controller import journal
from services.controller.journal import Journal


async def kept(bus: MemoryBus) -> list[str]:
    return [HAPPENING_DECODER.decode(data).text async for data in bus.replay(subjects.EVENTS)]


class Away(MemoryBus):
    """A bus that stores what it gets and fails all the same, for so many times."""

    failures = 2

    async def record(self, subject: str, data: bytes) -> None:
        await super().record(subject, data)
        if self.failures:
            self.failures -= 1
            raise ComponentUnavailable("the bus failed")


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal, "_AGAIN_S", 0.01)


async def test_events_that_wait_for_the_bus_are_kept_once_and_in_their_order() -> None:
    bus = Away()
    noting = Journal(bus)
    for text in ("one", "two", "three"):
        noting.note(Happening(0.0, "scaling", text))
    await noting.stop()
    assert await kept(bus) == ["one", "two", "three"]


async def test_a_bus_that_stays_away_does_not_hold_up_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal, "_LAST_WORDS_S", 0.05)
    bus = Away()
    bus.failures = 1_000_000
    noting = Journal(bus)
    for text in ("one", "two"):
        noting.note(Happening(0.0, "scaling", text))
    await noting.stop()
    assert await kept(bus) == ["one"]
