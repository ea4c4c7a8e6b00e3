"""`POST /v1/feedback`, the verdicts that need nobody, and the log that holds them all."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from services.bus.memory import MemoryBus
from services.bus.nats_bus import NatsBus
from services.contracts import subjects
from services.contracts.errors import UpstreamError
from services.contracts.events import Delta, Event, Finished, Usage
from services.contracts.feedback import FEEDBACK_DECODER, Feedback
from services.contracts.messages import Task
from services.gateway import edge as edges
from services.gateway.retries import Retries
from tests.services.gateway.support import Scripted, catalog, chat, front


async def recorded(bus: MemoryBus | NatsBus, id_: str, source: str = "client") -> list[Feedback]:
    return [FEEDBACK_DECODER.decode(data) async for data in bus.replay(subjects.feedback(id_, source))]


async def test_a_verdict_is_heard_by_whoever_learns_and_stands_in_the_log(bus: NatsBus) -> None:
    heard: asyncio.Queue[Any] = asyncio.Queue()
    await bus.subscribe(subjects.FEEDBACK, heard.put)
    async with front(bus=bus) as gate, gate.http() as client:
        id_ = (await gate.ask()).headers["x-turnout-decision-id"]
        answer = await client.post("/v1/feedback", json={"decision_id": id_, "quality": 0.25})
        await gate.edge.decisions.finish()
        log = (await client.get("/admin/decisions")).text
    assert answer.status_code == 200
    assert answer.json() == {"decision_id": id_, "component": "small", "model": "", "quality": 0.25}
    verdict = FEEDBACK_DECODER.decode((await asyncio.wait_for(heard.get(), 5)).data)
    assert (verdict.decision_id, verdict.quality, verdict.steps, verdict.source) == (id_, 0.25, ("small",), "client")
    lines = [json.loads(line) for line in log.splitlines()]
    assert [line["quality"] for line in lines if line["id"] == id_] == [0.25]


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({}, "decision_id"),
        ({"decision_id": "x", "quality": 1}, "decision_id"),
        ({"decision_id": "0" * 32}, "quality"),
        ({"decision_id": "0" * 32, "quality": 1.01}, "quality"),
        ({"decision_id": "0" * 32, "quality": -0.1}, "quality"),
        ({"decision_id": "0" * 32, "quality": True}, "quality"),
        ({"decision_id": "0" * 32, "quality": "1"}, "quality"),
        ({"decision_id": "0" * 32, "quality": 1, "more": 1}, "more"),
    ],
)
async def test_a_verdict_that_makes_no_sense_is_refused_by_name(body: dict[str, Any], param: str) -> None:
    async with front() as gate, gate.http() as client:
        answer = await client.post("/v1/feedback", json=body)
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == param


async def test_what_is_no_verdict_at_all_is_refused() -> None:
    async with front() as gate, gate.http() as client:
        statuses = [
            (await client.post("/v1/feedback", content=content)).status_code
            for content in (b"", b"[]", b'{"quality": NaN}', b"\xff", b'{"a":' * 50, b" " * 5000)
        ]
        unknown = await client.post("/v1/feedback", json={"decision_id": "0" * 32, "quality": 1})
    assert statuses == [400, 400, 400, 400, 400, 413]
    assert unknown.status_code == 404
    assert unknown.json()["error"]["param"] == "decision_id"


async def test_only_who_asked_may_judge(tmp_path: Path) -> None:
    (tmp_path / "keys").write_text("a\nb\n")
    async with front(snapshot=catalog(keys={"file": str(tmp_path / "keys")})) as gate, gate.http() as client:

        async def post(path: str, key: str, body: dict[str, Any]) -> httpx.Response:
            headers = {"authorization": f"Bearer {key}"} if key else {}
            return await client.post(path, json=body, headers=headers)

        id_ = (await post("/v1/chat/completions", "a", chat())).headers["x-turnout-decision-id"]
        verdict = {"decision_id": id_, "quality": 1}
        assert (await post("/v1/feedback", "", verdict)).status_code == 401
        assert (await post("/v1/feedback", "b", verdict)).status_code == 404
        assert (await post("/v1/feedback", "a", verdict)).status_code == 200


async def test_a_request_without_an_answer_cannot_be_judged() -> None:
    async def fails(task: Task) -> AsyncIterator[Event]:
        raise UpstreamError("no")
        yield Delta()

    async with front({"small": Scripted(play=fails)}) as gate, gate.http() as client:
        id_ = (await gate.ask()).headers["x-turnout-decision-id"]
        answer = await client.post("/v1/feedback", json={"decision_id": id_, "quality": 1})
    assert answer.status_code == 400


def says(text: str, reason: str = "stop") -> Scripted:
    async def play(task: Task) -> AsyncIterator[Event]:
        yield Delta(text)
        yield Finished(Usage(5, 3), reason)  # type: ignore[arg-type]

    return Scripted(play=play, capabilities=("chat", "json"))


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("text", "reason", "expected"), [("{}", "stop", []), ("{", "stop", [0.0]), ("{", "length", []), ("", "stop", [0.0])]
)
async def test_an_answer_in_the_wrong_form_is_a_verdict_of_its_own(
    text: str, reason: str, expected: list[float], stream: bool
) -> None:
    bus = MemoryBus()
    async with front({"small": says(text, reason)}, bus=bus) as gate:
        answer = await gate.ask(response_format={"type": "json_object"}, stream=stream)
        id_ = answer.headers["x-turnout-decision-id"]
    assert [verdict.quality for verdict in await recorded(bus, id_, "schema")] == expected


@pytest.mark.parametrize("judged", [False, True])
async def test_the_log_marks_a_misfit_and_gives_the_quality_that_a_client_told(judged: bool) -> None:
    bus = MemoryBus()
    async with front({"small": says("{")}, bus=bus) as gate, gate.http() as client:
        id_ = (await gate.ask(response_format={"type": "json_object"})).headers["x-turnout-decision-id"]
        if judged:
            await client.post("/v1/feedback", json={"decision_id": id_, "quality": 1})
        await gate.edge.decisions.finish()
        await gate.edge.signals.finish()
        line = json.loads((await client.get("/admin/decisions")).text)
    assert line["id"] == id_
    assert line["misfit"] is True
    assert line.get("quality") == (1.0 if judged else None)


class Clock:
    now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


@pytest.mark.parametrize("stream", [False, True])
async def test_asked_again_after_reading_is_a_verdict_of_its_own(monkeypatch: pytest.MonkeyPatch, stream: bool) -> None:
    clock, bus = Clock(), MemoryBus()
    monkeypatch.setattr(edges, "Retries", lambda _: Retries(clock))
    async with front({"small": Scripted(), "big": Scripted()}, bus=bus) as gate:
        gate.router.prior_quality = 0.7

        async def ask(text: str, model: str = "auto") -> str:
            answer = await gate.ask(text, model=model, stream=stream, user="ann")
            clock.now_s += 30
            return answer.headers["x-turnout-decision-id"]

        for number in range(10):
            await ask(f"other {number}", "big")
        first = await ask("why?")
        again = await ask("why?", "big")
        clock.now_s += 1000
        await ask("something else")
        await gate.edge.signals.finish()
        told = [[v.quality < 0.7 for v in await recorded(bus, id_, "retried")] for id_ in (first, again)]
    assert told == [[True], []]


async def test_the_catalog_turns_it_off(monkeypatch: pytest.MonkeyPatch) -> None:
    held = Retries(Clock())
    monkeypatch.setattr(edges, "Retries", lambda _: held)
    rules = catalog()
    off = rules.catalog.router.model_copy(update={"retry_window_s": 0.0})
    snapshot = rules.model_copy(update={"catalog": rules.catalog.model_copy(update={"router": off})})
    async with front(snapshot=snapshot) as gate:
        await gate.ask()
    assert not held._questions
