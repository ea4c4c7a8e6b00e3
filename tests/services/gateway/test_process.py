"""The real process on a real bus: it announces itself, serves, drains, and says clearly what it cannot do."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import pytest

from services.bus.nats_bus import NatsBus
from services.bus.roster import Roster
from services.contracts import subjects
from services.contracts.catalog import Catalog, Gateway
from services.contracts.errors import ConfigError
from services.contracts.events import Delta, Event, Finished, Usage
from services.contracts.messages import Task
from services.gateway.server import listen
from tests.services.gateway.support import Router, Scripted, catalog, chat, front
from tests.support.direct import serving
from tests.support.nats import NatsServer


@asynccontextmanager
async def gateway_process(server: NatsServer, **env: str) -> AsyncIterator[asyncio.subprocess.Process]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "services.gateway",
        env={
            **os.environ,
            "TURNOUT_NATS_URL": server.url,
            "TURNOUT_COMPONENT": "gateway",
            "TURNOUT_DRAIN_S": "2",
            **env,
        },
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def _url(roster: Roster) -> str:
    async with asyncio.timeout(20):
        while not (beats := roster.ready("gateway")):
            await asyncio.sleep(0.01)
    return beats[0].model


@pytest.fixture
async def roster(bus: NatsBus) -> AsyncIterator[Roster]:
    snapshot = catalog()
    await bus.kv_put(subjects.CATALOG_BUCKET, subjects.CATALOG_KEY, snapshot.model_dump_json().encode())
    made = Roster(bus)
    await made.start()
    yield made
    await made.stop()


async def test_it_serves_finishes_what_runs_on_sigterm_and_leaves(
    nats_server: NatsServer, bus: NatsBus, roster: Roster
) -> None:
    go = asyncio.Event()

    async def play(task: Task) -> AsyncIterator[Event]:
        yield Delta("one ")
        await go.wait()
        yield Delta("two")
        yield Finished(Usage(1, 2))

    async with (
        serving(bus, Scripted(play), component="small") as worker,
        Router(bus, {"small": worker.instance}).running(),
        gateway_process(nats_server, TURNOUT_PORT="0") as process,
    ):
        url = await _url(roster)
        async with (
            httpx.AsyncClient(base_url=url, trust_env=False, timeout=20) as client,
            client.stream("POST", "/v1/chat/completions", json=chat(stream=True)) as response,
        ):
            lines = response.aiter_lines()
            assert '"role"' in await anext(lines)
            process.send_signal(signal.SIGTERM)
            async with asyncio.timeout(5):
                while roster.ready("gateway"):
                    await asyncio.sleep(0.01)
            with pytest.raises(httpx.ConnectError):
                async with asyncio.timeout(5):
                    while True:
                        async with httpx.AsyncClient(trust_env=False) as other:
                            await other.get(f"{url}/health/live")
            go.set()
            rest = [line async for line in lines]
        assert any('"two"' in line for line in rest)
        assert "data: [DONE]" in rest
        assert await asyncio.wait_for(process.wait(), 5) == 0


async def test_a_request_that_outlasts_the_drain_is_a_line_in_the_log_and_no_traceback(
    nats_server: NatsServer, roster: Roster
) -> None:
    async with gateway_process(nats_server, TURNOUT_DRAIN_S="0.1", TURNOUT_PORT="0") as process:
        url = await _url(roster)
        async with httpx.AsyncClient(timeout=20) as client, client.stream("GET", f"{url}/admin/events?follow=1"):
            process.send_signal(signal.SIGTERM)
            _, said = await asyncio.wait_for(process.communicate(), 20)
    assert b"request_cut_off" in said
    assert b"/admin/events" in said
    assert b"Traceback" not in said


async def test_a_taken_port_is_a_clear_error(nats_server: NatsServer, roster: Roster) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        async with gateway_process(nats_server, TURNOUT_PORT=port) as process:
            _, stderr = await asyncio.wait_for(process.communicate(), 20)
    assert process.returncode == 78
    assert f"port {port}".encode() in stderr
    assert b"TURNOUT_PORT" in stderr
    assert b"Traceback" not in stderr


@pytest.mark.parametrize("port", ["abc", "-1", "70000", "80 80", "٣"])
def test_an_impossible_port_is_a_clear_error(monkeypatch: pytest.MonkeyPatch, port: str) -> None:
    monkeypatch.setenv("TURNOUT_PORT", port)
    with pytest.raises(ConfigError, match="TURNOUT_PORT"):
        listen(Gateway())


def test_an_unknown_host_is_a_clear_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TURNOUT_HOST", "no such host.invalid")
    with pytest.raises(ConfigError, match="TURNOUT_HOST"):
        listen(Gateway(port=0))


async def test_what_outlasts_the_drain_ends_with_an_error_event() -> None:
    async def play(task: Task) -> AsyncIterator[Event]:
        yield Delta("one")
        await asyncio.Event().wait()

    worker = Scripted(play)
    received = bytearray()
    async with front({"small": worker}, drain_s=0.1) as gate:
        reader, writer = await gate.raw()
        body = json.dumps(chat(stream=True)).encode()
        writer.write(b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        received += await asyncio.wait_for(reader.readuntil(b'"content":"one"'), 5)
    received += await asyncio.wait_for(reader.read(), 5)
    writer.close()
    assert b"component_unavailable" in received
    assert b"[DONE]" not in received
    assert received.endswith(b"0\r\n\r\n")
    await asyncio.wait_for(worker.freed.wait(), 5)


def test_the_default_catalog_binds_to_this_machine_only() -> None:
    assert Catalog.model_validate({"components": {"a": {"kind": "vision"}}}).gateway.host == "127.0.0.1"
