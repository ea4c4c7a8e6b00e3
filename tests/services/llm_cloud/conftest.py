"""A real upstream over a real socket, and the component in front of it."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import pytest

from services.bus.memory import MemoryBus
from services.contracts.catalog import LlmCloud
from services.llm_cloud.breaker import Breaker
from services.llm_cloud.service import CloudService
from services.worker.service import Surroundings
from tests.support.direct import Direct, serving
from tests.support.upstream import Upstream, running_upstream

PRICE = {"input_usd_per_mtok": 1.0, "output_usd_per_mtok": 2.0}
_numbers = itertools.count(1)


class Clock:
    """A clock that moves only when told, and on which waiting takes no time."""

    def __init__(self) -> None:
        self.now_s = 1000.0
        self.waited_s: list[float] = []

    def __call__(self) -> float:
        return self.now_s

    async def sleep(self, duration_s: float) -> None:
        self.waited_s.append(duration_s)
        self.now_s += duration_s


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    with running_upstream() as server:
        yield server


@pytest.fixture
def clock() -> Clock:
    return Clock()


Cloud = Callable[..., AbstractAsyncContextManager[Direct]]


@pytest.fixture
def cloud(upstream: Upstream, clock: Clock) -> Cloud:
    """Runs the component against `upstream`; keyword arguments are those of the catalog section."""

    @asynccontextmanager
    async def run(
        *, base_dir: str = ".", slots: int = 4, bus: MemoryBus | None = None, **spec: Any
    ) -> AsyncIterator[Direct]:
        section = {"kind": "llm_cloud", "model": "test-model", "base_url": upstream.base_url, "price": PRICE, **spec}
        bus = bus or MemoryBus()
        around = Surroundings(bus, "cloud", f"cloud-{next(_numbers)}", base_dir)
        service = CloudService(LlmCloud(**section), around, breaker=Breaker(clock), sleep=clock.sleep)
        async with serving(bus, service, component="cloud", slots=slots) as direct:
            yield direct

    return run
