"""Who may change what runs, and what an order must look like. The controller is a listener of the test's own."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from services.bus.memory import MemoryBus
from services.bus.port import Incoming
from services.contracts import subjects
from services.contracts.control import COMMAND_DECODER, Apply, Command, Done, Happening, Rollback, ScaleTo
from services.contracts.errors import Conflict
from services.contracts.messages import encode
from tests.services.gateway.support import catalog, front


@asynccontextmanager
async def controller(bus: MemoryBus, done: Done) -> AsyncIterator[list[Command]]:
    heard: list[Command] = []

    async def on_command(message: Incoming) -> None:
        heard.append(COMMAND_DECODER.decode(message.data))
        await bus.publish(message.reply, encode(done))

    subscription = await bus.subscribe(subjects.CONTROLLER, on_command)
    yield heard
    await subscription.stop()


async def test_a_catalog_goes_to_the_controller_as_it_came() -> None:
    bus = MemoryBus()
    async with controller(bus, Done(7, ("~ a",), 2.0, 1.5)) as heard, front(bus=bus) as gate, gate.http() as client:
        answer = await client.put(
            "/admin/catalog", content="components: {}", headers={"if-match": '"6"', "x-turnout-file": "new.yaml"}
        )
    assert answer.json() == {"revision": 7, "changes": ["~ a"], "swap_s": 2.0, "load_s": 1.5}
    assert heard == [Apply("components: {}", "new.yaml", 6)]


async def test_a_catalog_may_be_larger_than_a_request_so_that_it_can_put_that_limit_right() -> None:
    bus, text = MemoryBus(), "components: {}  #" + 500_000 * "x"
    gate_with = front(bus=bus, snapshot=catalog(max_body_bytes=1024))
    async with controller(bus, Done(7)) as heard, gate_with as gate, gate.http() as client:
        assert (await client.put("/admin/catalog", content=text)).status_code == 200
        assert (await client.post("/admin/rollback", content=b"{}" + b" " * 1024)).status_code == 413
    assert heard == [Apply(text)]


async def test_scale_and_roll_back_are_orders_too() -> None:
    bus = MemoryBus()
    async with controller(bus, Done(7)) as heard, front(bus=bus) as gate, gate.http() as client:
        assert (await client.post("/admin/scale", json={"component": "small", "count": 3})).status_code == 200
        assert (await client.post("/admin/rollback", json={"revision": 4})).status_code == 200
        assert (await client.post("/admin/rollback", json={})).status_code == 200
    assert heard == [ScaleTo("small", 3), Rollback(4), Rollback(None)]


async def test_a_refusal_keeps_its_status() -> None:
    bus = MemoryBus()
    refusing = controller(bus, Done(error=Conflict("revision 9 is in force").to_info()))
    async with refusing, front(bus=bus) as gate, gate.http() as client:
        answer = await client.put("/admin/catalog", content="x")
    assert (answer.status_code, answer.json()["error"]["code"]) == (409, "conflict")


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/admin/scale", {"component": "small"}),
        ("/admin/scale", {"component": "small", "count": -1}),
        ("/admin/scale", {"component": "small", "count": True}),
        ("/admin/scale", {"component": 1, "count": 1}),
        ("/admin/rollback", {"revision": "4"}),
        ("/admin/rollback", {"to": 4}),
    ],
)
async def test_a_malformed_order_reaches_nobody(path: str, body: dict[str, object]) -> None:
    bus = MemoryBus()
    async with controller(bus, Done()) as heard, front(bus=bus) as gate, gate.http() as client:
        assert (await client.post(path, json=body)).status_code == 400
    assert heard == []


async def test_without_a_controller_the_answer_says_what_to_do() -> None:
    async with front() as gate, gate.http() as client:
        answer = await client.put("/admin/catalog", content="x")
    assert answer.status_code == 404
    assert "turnout up" in answer.json()["error"]["message"]


async def test_events_of_the_past_are_listed_and_those_that_follow_are_told_once() -> None:
    bus = MemoryBus()
    past, coming = (Happening(at_s, "scaling", f"at {at_s}") for at_s in (1.0, 2.0))
    await bus.record(subjects.event("a"), encode(past))
    await bus.record(subjects.event("b"), b"of another version")
    async with front(bus=bus) as gate, gate.http() as client:
        listed = (await client.get("/admin/events")).json()["events"]
        assert [event["text"] for event in listed] == ["at 1.0"]
        async with client.stream("GET", "/admin/events?follow=1") as answer:
            lines = answer.aiter_lines()
            assert json.loads((await anext(lines)).removeprefix("data: "))["text"] == "at 1.0"
            for name, event in (("a", past), ("c", coming), ("c", coming), ("d", Happening(3.0, "scaling", "last"))):
                await bus.record(subjects.event(name), encode(event))
            texts = []
            async for line in lines:
                if line.startswith("data: "):
                    texts.append(json.loads(line.removeprefix("data: "))["text"])
                if "last" in texts:
                    break
    assert texts == ["at 2.0", "last"]


@pytest.mark.parametrize(
    "headers",
    [{"host": "evil.example"}, {"x-forwarded-for": "8.8.8.8"}, {"forwarded": "for=8.8.8.8"}, {"origin": "http://x"}],
)
async def test_without_admin_keys_only_programs_on_this_machine_may(headers: dict[str, str]) -> None:
    async with front() as gate, gate.http() as client:
        assert (await client.get("/admin/catalog")).status_code == 200
        assert (await client.get("/admin/catalog", headers=headers)).status_code == 401


async def test_an_admin_key_is_asked_for_where_there_is_one(tmp_path: Path) -> None:
    (tmp_path / "admins").write_text("root\n")
    (tmp_path / "keys").write_text("user\n")
    keys = {"file": str(tmp_path / "keys")}
    locked = catalog(keys=keys, admin_keys={"file": str(tmp_path / "admins")})
    async with front(snapshot=locked) as gate, gate.http() as client:
        for key, status in (("user", 401), ("root", 200), ("x", 401)):
            answer = await client.get("/admin/catalog", headers={"authorization": f"Bearer {key}"})
            assert answer.status_code == status, key
