"""Listens, serves, and ends in order: uvicorn under our own signals and limits."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import os
import socket
from collections.abc import AsyncIterator, Iterator

import uvicorn
from starlette.types import ASGIApp

from services.contracts.catalog import Gateway
from services.contracts.errors import ConfigError
from services.gateway.protocol import guarded
from services.gateway.state import Live

_BACKLOG = 2048
_KEEP_ALIVE_S = 75
_CANCELLED_S = 1.0
_MAX_PORT = 65_535


def listen(gateway: Gateway) -> socket.socket:
    """A listening socket where the catalog says, unless `TURNOUT_HOST` and `TURNOUT_PORT` say otherwise.

    Raises:
        ConfigError: the address is not ours to take.
    """
    host = os.environ.get("TURNOUT_HOST") or gateway.host
    given = os.environ.get("TURNOUT_PORT")
    if given and not (given.isascii() and given.isdigit() and int(given) <= _MAX_PORT):
        raise ConfigError(f"TURNOUT_PORT must be a number from 0 to {_MAX_PORT}, not {given[:20]!r}")
    port = int(given) if given else gateway.port
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        return socket.create_server((str(address[0]), port), family=family, backlog=_BACKLOG)
    except (OSError, UnicodeError) as error:
        if isinstance(error, OSError) and error.errno == errno.EADDRINUSE:
            reason = "is taken: stop what uses it, or choose another with TURNOUT_PORT or gateway.port"
        else:
            reason = f"cannot be used ({error}): choose another with TURNOUT_PORT/TURNOUT_HOST or gateway.port/host"
        raise ConfigError(f"port {port} on {host} {reason}") from error


def url_of(listener: socket.socket) -> str:
    """Where clients reach it."""
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


class _NotCutOff(logging.Filter):
    """Requests that outlast the drain are cancelled, as they should be. uvicorn calls that an exception in the app."""

    def filter(self, record: logging.LogRecord) -> bool:
        return not (record.exc_info and isinstance(record.exc_info[1], asyncio.CancelledError))


class _Server(uvicorn.Server):
    """uvicorn's server, its signals left to the process and its start made known."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.listening = asyncio.Event()
        self._ending = asyncio.Event()

    def end(self) -> None:
        """Take nothing new, and finish."""
        self.should_exit = True
        self._ending.set()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def main_loop(self) -> None:
        """Keep the `Date` header current until the end; uvicorn's own loop wakes ten times a second for that."""
        while not await self.on_tick(0):
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(1.0):
                    await self._ending.wait()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.listening.set()


_NOT_CUT_OFF = _NotCutOff()


@contextlib.asynccontextmanager
async def serving(app: ASGIApp, listener: socket.socket, live: Live, drain_s: float) -> AsyncIterator[None]:
    """Serve while the block runs; then take nothing new and give what runs `drain_s` to end."""
    config = uvicorn.Config(
        app,
        http=guarded(live),
        ws="none",
        lifespan="off",
        log_config=None,
        log_level="error",  # strangers must not be able to fill the log
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_keep_alive=_KEEP_ALIVE_S,
        timeout_graceful_shutdown=drain_s,  # type: ignore[arg-type]  # goes to asyncio.wait_for, which takes floats
        backlog=_BACKLOG,
    )
    logging.getLogger("uvicorn.error").addFilter(_NOT_CUT_OFF)
    server = _Server(config)
    running = asyncio.create_task(server.serve([listener]))
    listening = asyncio.create_task(server.listening.wait())
    try:
        await asyncio.wait([running, listening], return_when=asyncio.FIRST_COMPLETED)
        if running.done():
            await running
        yield
    finally:
        listening.cancel()
        server.end()
        await running
        if left := tuple(server.server_state.tasks):
            await asyncio.wait(left, timeout=_CANCELLED_S)  # cancelled by uvicorn: let them say so
