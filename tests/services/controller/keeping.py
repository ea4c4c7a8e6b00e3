"""The driver and the keeper of containers together, on an engine of the test's own."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager

import httpx

from services.bus.memory import MemoryBus
from services.controller.container_driver import ContainerDriver
from services.controller.copies import Copies
from services.controller.engine import Engine
from services.controller.keeper import Keeper


@asynccontextmanager
async def keeping(
    bus: MemoryBus,
    answer: Callable[[httpx.Request], Coroutine[None, None, httpx.Response]],
    copies: Callable[[Engine], Copies],
) -> AsyncIterator[ContainerDriver]:
    """The driver, while the block runs. `answer` is the engine; `copies` are made on it."""
    client = Engine(transport=httpx.MockTransport(answer))
    keeper = Keeper(bus, copies(client))
    await keeper.start()
    driver = ContainerDriver(bus, lambda _text, _level: None)
    await driver.listen()
    try:
        yield driver
    finally:
        await driver.stop()
        await keeper.stop()
        await client.close()
