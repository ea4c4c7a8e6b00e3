"""A wire between one instance and the bus that a test can cut: in two, or so that nothing comes through any more.

`python tests/support/wire.py up CONFIG PORT` is `turnout up`, the bus of one instance (`TURNOUT_TEST_CUT`) at the far
end of the wire (`TURNOUT_TEST_WIRE`); its children are this file, too: `python tests/support/wire.py run KIND`.
"""

from __future__ import annotations

import asyncio
import os
import sys
import threading
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Literal, NoReturn

from services.contracts.errors import TurnoutError
from services.controller.modules import command
from services.controller.screen import Screen
from services.controller.up import Options, up

How = Literal["closed", "silent"]


class Wire:
    """A TCP proxy on a loop of its own. Where it leads stands in a file, which the instance writes as it starts."""

    def __init__(self, target: Path) -> None:
        self._target = target
        self._loop = asyncio.new_event_loop()
        self._flows = asyncio.Event()
        self._flows.set()
        self._refuses = False
        self._ends: set[asyncio.StreamWriter] = set()
        self.port = 0

    @classmethod
    @contextmanager
    def laid(cls, target: Path) -> Iterator[Wire]:
        """One for as long as the block runs."""
        wire = cls(target)
        thread = threading.Thread(target=wire._loop.run_forever, daemon=True)
        thread.start()
        server = wire._call(asyncio.start_server(wire._serve, "127.0.0.1", 0))
        wire.port = server.sockets[0].getsockname()[1]
        try:
            yield wire
        finally:
            wire._call(wire._close(server))
            wire._loop.call_soon_threadsafe(wire._loop.stop)
            thread.join(10)
            wire._loop.close()

    def cut(self, how: How) -> None:
        """`closed`: both ends see it at once, and nobody gets through. `silent`: it takes all, and brings nothing."""
        self._call(self._cut(how))

    def mend(self) -> None:
        """As before. What was on its way in a silent one arrives now."""
        self._call(self._mend())

    def environment(self, instance: str) -> dict[str, str]:
        """For `turnout up`."""
        return {
            "TURNOUT_TEST_CUT": instance,
            "TURNOUT_TEST_WIRE": f"127.0.0.1:{self.port}",
            "TURNOUT_TEST_TARGET": str(self._target),
        }

    def _call(self, work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(10)

    async def _cut(self, how: How) -> None:
        if how == "silent":
            self._flows.clear()
            return
        self._refuses = True
        for end in self._ends:
            end.transport.abort()

    async def _mend(self) -> None:
        self._refuses = False
        self._flows.set()

    async def _close(self, server: asyncio.Server) -> None:
        server.close()
        await self._cut("closed")
        await self._mend()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    async def _serve(self, near: asyncio.StreamReader, back: asyncio.StreamWriter) -> None:
        with suppress(asyncio.CancelledError, OSError), self._held(back):
            if self._refuses:
                return
            await self._flows.wait()
            host, _, port = self._target.read_text().rpartition(":")
            far, forth = await asyncio.open_connection(host, int(port))
            with self._held(forth):
                pumps = [asyncio.create_task(self._pump(*way)) for way in ((near, forth), (far, back))]
                await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
                for pump in pumps:
                    pump.cancel()

    @contextmanager
    def _held(self, end: asyncio.StreamWriter) -> Iterator[None]:
        """A connection that ends with the block, or with a cut."""
        self._ends.add(end)
        try:
            yield
        finally:
            self._ends.discard(end)
            end.transport.abort()

    async def _pump(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        with suppress(OSError, asyncio.CancelledError):
            while data := await source.read(65536):
                await self._flows.wait()
                sink.write(data)
                await sink.drain()


def _run(kind: str) -> NoReturn:
    """Be the component, at the end of the wire if it is the one."""
    if os.environ["TURNOUT_INSTANCE"] == os.environ["TURNOUT_TEST_CUT"]:
        login, _, address = os.environ["TURNOUT_NATS_URL"].rpartition("@")
        Path(os.environ["TURNOUT_TEST_TARGET"]).write_text(address)
        os.environ["TURNOUT_NATS_URL"] = f"{login}@{os.environ['TURNOUT_TEST_WIRE']}"
    os.execv(sys.executable, command(kind))  # noqa: S606 - our own program


def _up(config: str, port: str) -> int:
    def child(kind: str) -> tuple[str, ...]:
        return (sys.executable, "-P", __file__, "run", kind)

    try:
        return up(Options(Path(config), int(port), command=child), Screen())
    except TurnoutError as error:
        sys.stderr.write(f"{error.message}\n")
        return 1


if __name__ == "__main__":
    what, *arguments = sys.argv[1:]
    sys.exit(_up(*arguments) if what == "up" else _run(*arguments))
