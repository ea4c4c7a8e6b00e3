"""The component as the process that it is in production, on a real bus."""

from __future__ import annotations

import asyncio
import os
import signal
import sys

import pytest

from services.bus.nats_bus import NatsBus
from services.bus.roster import Roster
from services.contracts import subjects
from services.contracts.beat import Beat
from services.contracts.catalog import Catalog, Snapshot
from services.contracts.events import Delta, Finished
from services.worker.runtime import Worker
from tests.support.direct import Direct, chat
from tests.support.nats import NatsServer
from tests.support.upstream import Upstream


async def heard_of(roster: Roster, instance: str, state: str) -> Beat:
    async with asyncio.timeout(30):
        while (beat := roster.get(instance)) is None or beat.state != state:
            await roster.changed()
    return beat


async def test_it_serves_over_the_bus_and_ends_when_asked(
    bus: NatsBus, nats_server: NatsServer, upstream: Upstream
) -> None:
    section = {"kind": "llm_cloud", "model": "test-model", "base_url": upstream.base_url}
    locked = {**section, "key": {"env": "TURNOUT_TEST_NO_SUCH_KEY"}}
    catalog = Catalog.model_validate({"components": {"cloud": section, "locked": locked}})
    snapshot = Snapshot(catalog=catalog).model_dump_json().encode()
    await bus.kv_put(subjects.CATALOG_BUCKET, subjects.CATALOG_KEY, snapshot)
    roster = Roster(bus)
    await roster.start()
    processes = []
    try:
        for name in ("cloud", "locked"):
            identity = {"TURNOUT_COMPONENT": name, "TURNOUT_INSTANCE": f"{name}-p", "TURNOUT_NATS_URL": nats_server.url}
            processes.append(
                await asyncio.create_subprocess_exec(
                    sys.executable, "-m", "services.llm_cloud", env={**os.environ, **identity}
                )
            )
        assert (await heard_of(roster, "locked-p", "unconfigured")).detail.endswith("is not set")
        await heard_of(roster, "cloud-p", "ready")
        direct = Direct(bus, _elsewhere(), "cloud", "cloud-p")
        for stream in (False, True):
            events = [event async for event in direct.events(chat("go", stream=stream))]
            assert "".join(e.text for e in events if isinstance(e, Delta)) == "All is well here."
            assert isinstance(events[-1], Finished)
        for process in processes:
            process.send_signal(signal.SIGTERM)
        assert [await asyncio.wait_for(process.wait(), 10) for process in processes] == [0, 0]
    finally:
        for process in processes:
            if process.returncode is None:
                process.kill()
                await process.wait()
        await roster.stop()


def _elsewhere() -> Worker:
    """`Direct` is given the worker it asks; this one lives in another process."""
    return object.__new__(Worker)


@pytest.mark.parametrize("arguments", [[], ["--chunk-ms", "1", "--first-ms", "1"]])
async def test_the_benchmarks_upstream_speaks_the_protocol(arguments: list[str]) -> None:
    mock = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "evals.bench.mock_upstream", *arguments, stdout=asyncio.subprocess.PIPE
    )
    try:
        assert mock.stdout is not None
        url = (await asyncio.wait_for(mock.stdout.readline(), 20)).decode().strip()
        from openai import AsyncOpenAI  # noqa: PLC0415 - a slow import that only this test needs

        async with AsyncOpenAI(base_url=url, api_key="none", max_retries=0, timeout=20) as client:
            ask = {"model": "mock-1", "messages": [{"role": "user", "content": "go"}]}
            plain = await client.chat.completions.create(**ask)  # type: ignore[call-overload]
            stream = await client.chat.completions.create(**ask, stream=True)  # type: ignore[call-overload]
            chunks = [chunk async for chunk in stream]
        assert plain.usage.completion_tokens == 14
        assert len(chunks) == 16
        text = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
        assert text.strip() == plain.choices[0].message.content
        assert chunks[-1].usage.total_tokens == 26
    finally:
        if mock.returncode is None:
            mock.terminate()
        assert await asyncio.wait_for(mock.wait(), 10) == 0
