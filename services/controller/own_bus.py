"""The embedded bus of `turnout up`: a nats-server that is put back in its place when it dies."""

from __future__ import annotations

import asyncio
import functools
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from services.bus.embedded import Embedded, embedded_server
from services.contracts.errors import TurnoutError
from services.controller.backoff import Backoff
from services.controller.waiting import first_of
from services.worker.parent import die_with_parent


class OwnBus:
    """A server at one address for as long as the block runs.

    Attributes:
        url: stays the same through restarts, so that every process finds the way back by itself.
    """

    def __init__(self, state_dir: Path, say: Callable[[str, str], None]) -> None:
        self._state_dir = state_dir
        self._say = say
        self._ready: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._leave = asyncio.Event()
        self.server: Embedded | None = None

    @classmethod
    @asynccontextmanager
    async def running(cls, state_dir: Path, say: Callable[[str, str], None]) -> AsyncIterator[OwnBus]:
        """Run one while the block runs.

        Raises:
            ConfigError: there is no nats-server, or it cannot run.
        """
        self = cls(state_dir, say)
        keeper = asyncio.create_task(self._keep())
        try:
            futures: list[asyncio.Future[Any]] = [keeper, self._ready]
            await asyncio.wait(futures, return_when=asyncio.FIRST_COMPLETED)
            if keeper.done():
                keeper.result()
            yield self
        finally:
            self._leave.set()
            await asyncio.wait([keeper])

    @property
    def url(self) -> str:
        """Where it listens, with its password."""
        return self._ready.result()

    async def _keep(self) -> None:
        backoff = Backoff()
        port, password = 0, ""
        loop = asyncio.get_running_loop()
        while not self._leave.is_set():
            started_s = loop.time()
            try:
                async with embedded_server(
                    self._state_dir,
                    port=port,
                    password=password,
                    preexec_fn=functools.partial(die_with_parent, os.getpid()),
                ) as self.server:
                    address = urlsplit(self.server.url)
                    port, password = address.port or 0, address.password or ""
                    if not self._ready.done():
                        self._ready.set_result(self.server.url)
                    await self._await_end(self.server)
            except TurnoutError as error:
                if not self._ready.done():
                    raise
                self._say(f"the bus cannot be started: {error.message}", "error")
            if self._leave.is_set():
                return
            backoff = backoff.died(loop.time() - started_s)
            delay_s = backoff.delay_s(0.5)
            self._say(f"the bus (nats-server) died; starting it again in {delay_s:.1f} s", "error")
            await self._first(asyncio.sleep(delay_s))

    async def _await_end(self, server: Embedded) -> None:
        """Return when the server has died or is of no more use."""
        await self._first(server.process.wait())

    async def _first(self, other: Awaitable[object]) -> None:
        """Wait for `other`, but not beyond the end of the block."""
        await first_of(other, self._leave.wait())
