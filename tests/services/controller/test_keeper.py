"""The driver and the keeper of containers together, on an engine of the test's own that speaks Docker's API."""

from __future__ import annotations

import asyncio
import json
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Any

import httpx
import msgspec
import pytest

from services.bus.memory import MemoryBus
from services.contracts import subjects
from services.contracts.keeper import ANSWER_DECODER, Instance
from services.controller.compose_copies import ComposeCopies
from services.controller.container_driver import ContainerDriver
from tests.services.controller.keeping import keeping

SMALL = Instance("small", "llm_local", "small-1", 2, "abc")


def template(service: str, project: str = "turnout") -> dict[str, Any]:
    labels = {
        "com.docker.compose.project": project,
        "com.docker.compose.service": service,
        "com.docker.compose.container-number": "1",
        "turnout.template": "true",
    }
    return {
        "Id": f"{project}-{service}",
        "Config": {
            "Image": "turnout/llm_local",
            "Hostname": "0123456789ab",
            "User": "10001:10001",
            "Env": ["TURNOUT_COMPONENT=small", "TURNOUT_STANDBY=1"],
            "Labels": labels,
        },
        "HostConfig": {"Memory": 1 << 30, "CapDrop": ["ALL"], "RestartPolicy": {"Name": "unless-stopped"}},
        "NetworkSettings": {"Networks": {"turnout_bus": {"IPAddress": ""}, "turnout_egress": {}}},
        "state": "created",
    }


@dataclass
class FakeEngine:
    """Containers as dictionaries. `calls` are the requests that change something, in order."""

    containers: dict[str, dict[str, Any]] = field(default_factory=dict)
    calls: list[str] = field(default_factory=list)
    ends: dict[str, asyncio.Future[int]] = field(default_factory=dict)
    said: bytes = b""

    def add(self, container: dict[str, Any]) -> None:
        self.containers[container["Id"]] = container

    async def __call__(self, request: httpx.Request) -> httpx.Response:
        path = request.url.path.removeprefix("/v1.41")
        if request.method != "GET":
            self.calls.append(f"{request.method} {path}")
        if path == "/containers/json":
            wanted = json.loads(request.url.params["filters"])["label"]
            return httpx.Response(200, json=[self._row(c) for c in self.containers.values() if _bears(c, wanted)])
        if path == "/containers/create":
            made = json.loads(request.content)
            container = {"Id": request.url.params["name"], "Config": made, "HostConfig": made["HostConfig"]}
            self.add(container | {"state": "created"})
            return httpx.Response(201, json={"Id": container["Id"]})
        if path.startswith("/networks/"):
            return httpx.Response(200)
        id_, _, verb = path.removeprefix("/containers/").partition("/")
        return await self._one(id_, verb or request.method.lower(), request)

    async def _one(self, id_: str, verb: str, request: httpx.Request) -> httpx.Response:
        container = self.containers.get(id_)
        if container is None:
            return httpx.Response(404, json={"message": "no such container"})
        if verb == "start":
            container["state"] = "running"
            self.ends[id_] = asyncio.get_running_loop().create_future()
        elif verb == "wait":
            return httpx.Response(200, json={"StatusCode": await asyncio.shield(self.ends[id_])})
        elif verb == "kill":
            self.end(id_, 137 if request.url.params["signal"] == "SIGKILL" else 0)
        elif verb == "logs":
            return httpx.Response(200, content=b"\x02\x00\x00\x00" + len(self.said).to_bytes(4, "big") + self.said)
        elif verb == "delete":
            del self.containers[id_]
        elif verb == "json":
            return httpx.Response(200, json=container)
        return httpx.Response(204)

    def end(self, id_: str, code: int) -> None:
        self.containers[id_]["state"] = "exited"
        self.ends[id_].set_result(code)

    @staticmethod
    def _row(container: dict[str, Any]) -> dict[str, Any]:
        return {"Id": container["Id"], "Labels": container["Config"]["Labels"], "State": container["state"]}


def _bears(container: dict[str, Any], wanted: list[str]) -> bool:
    labels = container["Config"]["Labels"]
    return all(
        labels.get(name) == value if equals else name in labels
        for name, equals, value in (label.partition("=") for label in wanted)
    )


def kept(bus: MemoryBus, engine: FakeEngine) -> AbstractAsyncContextManager[ContainerDriver]:
    return keeping(bus, engine, lambda client: ComposeCopies(client, "turnout"))


@pytest.fixture
def engine() -> FakeEngine:
    made = FakeEngine()
    made.add(template("small"))
    return made


async def test_an_instance_runs_in_a_copy_of_its_template(engine: FakeEngine) -> None:
    async with kept(MemoryBus(), engine) as driver:
        await driver.start(SMALL)
    made = engine.containers["turnout.small-1"]
    config = made["Config"]
    assert (config["Image"], config["User"]) == ("turnout/llm_local", "10001:10001")
    assert "Hostname" not in config
    assert {"TURNOUT_COMPONENT=small", "TURNOUT_INSTANCE=small-1", "TURNOUT_GENERATION=2", "TURNOUT_STANDBY=0"} == set(
        config["Env"]
    )
    assert made["HostConfig"] == {"Memory": 1 << 30, "CapDrop": ["ALL"], "RestartPolicy": {"Name": "no"}}
    assert config["Labels"]["com.docker.compose.service"] == "small", "Compose takes it down with the rest"
    assert "turnout.template" not in config["Labels"]
    assert "POST /networks/turnout_egress/connect" in engine.calls
    assert made["state"] == "running"


async def test_an_ending_comes_with_its_code_and_its_last_words(engine: FakeEngine) -> None:
    engine.said = b'{"event": "cannot_start", "level": "error", "reason": "there is no such model"}\n'
    async with kept(MemoryBus(), engine) as driver:
        handle = await driver.start(SMALL)
        engine.end("turnout.small-1", 78)
        async with asyncio.timeout(5):
            ending = await handle.ended()
    assert (ending.code, ending.reason) == (78, "there is no such model")
    assert "turnout.small-1" not in engine.containers


async def test_terminate_asks_and_kill_insists(engine: FakeEngine) -> None:
    async with kept(MemoryBus(), engine) as driver, asyncio.timeout(5):
        handle = await driver.start(SMALL)
        handle.terminate()
        assert (await handle.ended()).code == 0
        handle = await driver.start(SMALL)
        handle.kill()
        assert (await handle.ended()).how == "killed by SIGKILL"


async def test_a_new_controller_takes_over_what_runs(engine: FakeEngine) -> None:
    bus = MemoryBus()
    async with kept(bus, engine) as driver:
        await driver.start(SMALL)
    calls = len(engine.calls)
    async with kept(bus, engine) as driver, asyncio.timeout(5):
        assert await driver.running() == (SMALL,)
        handle = await driver.start(SMALL)
        assert not [call for call in engine.calls[calls:] if "create" in call]
        engine.end("turnout.small-1", 1)
        assert (await handle.ended()).code == 1


async def test_what_was_not_declared_cannot_be_had(engine: FakeEngine) -> None:
    engine.add(template("eyes", project="somebody-else"))
    async with kept(MemoryBus(), engine) as driver:
        with pytest.raises(OSError, match=r"components\.eyes: the deployment declares no container"):
            await driver.start(Instance("eyes", "vision", "eyes-1"))
    assert engine.calls == []


async def test_the_gateway_and_the_router_are_kept_by_the_deployment(engine: FakeEngine) -> None:
    async with kept(MemoryBus(), engine) as driver, asyncio.timeout(5):
        handle = await driver.start(Instance("gateway", "gateway", "gateway-1"))
        handle.terminate()
        assert (await handle.ended()).code == 0
    assert engine.calls == []


async def test_nonsense_is_answered_and_without_a_keeper_nothing_starts(engine: FakeEngine) -> None:
    bus = MemoryBus()
    async with kept(bus, engine):
        answer = ANSWER_DECODER.decode(await bus.ask(subjects.KEEPER, msgspec.msgpack.encode([1]), 5))
        assert answer.error == "the wish is not readable"
    driver = ContainerDriver(MemoryBus(), lambda _text, _level: None)
    with pytest.raises(OSError, match="does not answer"):
        await driver.start(SMALL)
