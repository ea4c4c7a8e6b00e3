"""Shadow mode: both answers are kept, and the client notices nothing of the second one."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from pydantic import ValidationError

from services.bus.memory import MemoryBus
from services.bus.nats_bus import NatsBus
from services.bus.port import Bus
from services.contracts.catalog import Catalog, Snapshot
from services.contracts.errors import UpstreamError
from services.contracts.events import Delta, Event, Finished, Usage
from services.contracts.messages import ChatRequest, Task
from services.gateway.shadows import MAX_AT_ONCE, MAX_CHARS
from tests.services.gateway.support import Front, Scripted, front

COMPONENTS = {"small": {"kind": "llm_cloud", "model": "x"}, "big": {"kind": "llm_cloud", "model": "y"}}


def shadowing(share: float = 1.0) -> Snapshot:
    router = {"shadow": {"component": "big", "share": share}}
    content = {"gateway": {"port": 0}, "router": router, "components": COMPONENTS}
    return Snapshot(revision=1, catalog=Catalog.model_validate(content))


def says(text: str) -> Scripted:
    async def play(task: Task) -> AsyncIterator[Event]:
        yield Delta(text)
        yield Finished(Usage(7, 2, cost_usd=0.5))

    return Scripted(play=play)


async def kept(gate: Front) -> list[dict[str, Any]]:
    await gate.edge.shadows.settled()
    async with gate.http() as client:
        answer = await client.get("/admin/shadows")
    assert answer.headers["content-type"] == "application/x-ndjson"
    return [json.loads(line) for line in answer.text.splitlines()]


@pytest.mark.parametrize("stream", [False, True])
async def test_both_answers_are_kept_and_the_client_pays_for_its_own(bus: NatsBus, stream: bool) -> None:
    big = says("a better one")
    async with front({"small": Scripted(), "big": big}, bus=bus, snapshot=shadowing()) as gate:
        answer = await gate.ask("one two", stream=stream)
        id_ = answer.headers["x-turnout-decision-id"]
        pair = next(one for one in await kept(gate) if one["id"] == id_)
        decision = await gate.edge.decisions.read(id_, "")
        metrics = gate.edge.metrics.render().decode()
    assert pair["question"] == "one two"
    assert (pair["answer"]["component"], pair["answer"]["text"]) == ("small", "one two ")
    assert (pair["shadow"]["component"], pair["shadow"]["text"]) == ("big", "a better one")
    assert pair["shadow"]["usage"]["cost_usd"] == 0.5
    assert decision.usage.cost_usd == 0.00025
    assert 'turnout_cost_usd_total{component="big"} 0.5' in metrics
    copy = gate.router.tasks[-1]
    assert isinstance(copy.request, ChatRequest)
    assert (copy.model, copy.wishes.priority, copy.request.stream) == ("big", "low", False)
    assert copy.root != id_


async def test_the_client_has_its_answer_before_the_copy_is_answered() -> None:
    go = asyncio.Event()

    async def waits(task: Task) -> AsyncIterator[Event]:
        await go.wait()
        yield Delta("late")
        yield Finished(Usage())

    async with front({"small": Scripted(), "big": Scripted(play=waits)}, snapshot=shadowing()) as gate:
        assert (await gate.ask()).status_code == 200
        go.set()
        assert [one["shadow"]["text"] for one in await kept(gate)] == ["late"]


async def test_a_copy_that_fails_is_kept_with_its_error_and_told_to_nobody() -> None:
    async def fails(task: Task) -> AsyncIterator[Event]:
        raise UpstreamError("no")
        yield Delta()

    async with front({"small": Scripted(), "big": Scripted(play=fails)}, snapshot=shadowing()) as gate:
        assert (await gate.ask()).status_code == 200
        assert [one["shadow"]["error"]["code"] for one in await kept(gate)] == ["upstream_error"]


async def test_so_many_at_once_and_no_more() -> None:
    go = asyncio.Event()

    async def waits(task: Task) -> AsyncIterator[Event]:
        await go.wait()
        yield Finished(Usage())

    big = Scripted(play=waits, slots=64)
    async with front({"small": Scripted(slots=64), "big": big}, snapshot=shadowing()) as gate:
        for _ in range(MAX_AT_ONCE + 3):
            assert (await gate.ask()).status_code == 200
        go.set()
        assert len(await kept(gate)) == MAX_AT_ONCE


async def test_a_share_is_a_share_and_one_who_answers_itself_is_not_asked_again() -> None:
    bus: Bus = MemoryBus()
    async with front({"small": Scripted(), "big": says("x")}, bus=bus, snapshot=shadowing(0.3)) as gate:
        for _ in range(60):
            await gate.ask()
            await gate.edge.shadows.settled()
        some = len(await kept(gate))
    assert 5 <= some <= 35
    async with front({"big": says("x")}, snapshot=shadowing()) as gate:
        await gate.ask()
        assert await kept(gate) == []


async def test_a_very_long_answer_is_cut_and_says_so() -> None:
    async with front({"small": says("y" * (MAX_CHARS + 1)), "big": says("x")}, snapshot=shadowing()) as gate:
        await gate.ask()
        (pair,) = await kept(gate)
    assert len(pair["answer"]["text"]) == MAX_CHARS
    assert pair["answer"]["cut"] is True
    assert "cut" not in pair["shadow"]


def test_a_shadow_that_nobody_throws_is_refused() -> None:
    router = {"shadow": {"component": "nobody", "share": 0.5}}
    with pytest.raises(ValidationError, match="there is no component 'nobody'"):
        Catalog.model_validate({"router": router, "components": COMPONENTS})
