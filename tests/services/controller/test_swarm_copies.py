"""The driver and the keeper of containers together, on a Swarm of the test's own that speaks Docker's API."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import httpx
import pytest

from services.bus.memory import MemoryBus
from services.contracts.errors import ConfigError
from services.contracts.keeper import Instance
from services.controller.container_driver import ContainerDriver
from services.controller.engine import Engine
from services.controller.keeper import copies_from_environment
from services.controller.swarm_copies import SwarmCopies
from tests.services.controller.keeping import keeping

SMALL = Instance("small", "llm_local", "small-1", 2, "abc")
COPY = "turnout_small-1-copy"
STACK = "com.docker.stack.namespace"


def template(component: str, stack: str = "turnout") -> dict[str, Any]:
    return {
        "Name": f"{stack}_{component}",
        "Labels": {STACK: stack, "turnout.template": "true"},
        "TaskTemplate": {
            "ContainerSpec": {
                "Image": "turnout/llm_local@sha256:1234",
                "Env": ["TURNOUT_COMPONENT=small", "TURNOUT_STANDBY=1"],
                "Labels": {STACK: stack},
                "Secrets": [{"SecretID": "s1", "File": {"Name": "nats_small"}}],
            },
            "Networks": [{"Target": "n1", "Aliases": ["small"]}],
            "Resources": {"Limits": {"MemoryBytes": 1 << 30}},
            "RestartPolicy": {"Condition": "any"},
        },
        "Mode": {"Replicated": {"Replicas": 0}},
        "EndpointSpec": {"Mode": "dnsrr", "Ports": [{"TargetPort": 80, "PublishedPort": 80}]},
    }


@dataclass
class FakeSwarm:
    """Services and tasks as dictionaries. `calls` are the requests that change something, in order."""

    services: list[dict[str, Any]] = field(default_factory=list)
    tasks: list[dict[str, Any]] = field(default_factory=list)
    calls: list[str] = field(default_factory=list)
    node_state: str = "ready"
    said: bytes = b""
    electing: int = 0

    def declare(self, spec: dict[str, Any]) -> None:
        self.services.append({"ID": f"service-{len(self.calls)}", "Spec": spec})

    @property
    def specs(self) -> dict[str, dict[str, Any]]:
        return {service["Spec"]["Name"]: service["Spec"] for service in self.services}

    def report(self, state: str, code: int = 0, error: str = "", desired: str = "running") -> None:
        """What the machine of the newest task says of it."""
        status = {"State": state, "Err": error, "ContainerStatus": {"ExitCode": code}}
        self.tasks[-1] |= {"Status": status, "DesiredState": desired}

    async def __call__(self, request: httpx.Request) -> httpx.Response:
        path = request.url.path.removeprefix("/v1.41")
        if self.electing:
            self.electing -= 1
            return httpx.Response(503, json={"message": "the swarm does not have a leader"})
        if request.method != "GET":
            self.calls.append(f"{request.method} {path}")
        if path == "/services":
            return httpx.Response(200, json=[s for s in self.services if _bears(s["Spec"], request)])
        if path == "/services/create":
            self._create(json.loads(request.content))
            return httpx.Response(201, json={})
        if path == "/tasks":
            return httpx.Response(200, json=[t for t in self.tasks if _bears(t["of"], request)])
        if path.endswith("/logs"):
            return httpx.Response(200, content=b"\x02\x00\x00\x00" + len(self.said).to_bytes(4, "big") + self.said)
        if path.startswith("/nodes/"):
            return httpx.Response(200, json={"Status": {"State": self.node_state}})
        return self._remove(path.removeprefix("/services/"))

    def _create(self, spec: dict[str, Any]) -> None:
        self.declare(spec)
        number = len(self.tasks)
        task = {"ID": f"task-{number}", "CreatedAt": f"{number:09}", "NodeID": "node", "of": spec}
        self.tasks.append(task | {"Spec": spec["TaskTemplate"], "ServiceID": self.services[-1]["ID"]})
        self.report("running")

    def _remove(self, name: str) -> httpx.Response:
        if name not in self.specs:
            return httpx.Response(404, json={"message": "no such service"})
        self.services = [service for service in self.services if service["Spec"]["Name"] != name]
        return httpx.Response(200)


def _bears(spec: dict[str, Any], request: httpx.Request) -> bool:
    labels = spec["Labels"]
    return all(
        labels.get(name) == value if equals else name in labels
        for name, equals, value in (
            label.partition("=") for label in json.loads(request.url.params["filters"])["label"]
        )
    )


@asynccontextmanager
async def kept(swarm: FakeSwarm, place_s: float = 60) -> AsyncIterator[ContainerDriver]:
    copies = partial(SwarmCopies, stack="turnout", look_s=0.01, place_s=place_s)
    async with keeping(MemoryBus(), swarm, copies) as driver, asyncio.timeout(10):
        yield driver


@pytest.fixture
def swarm() -> FakeSwarm:
    made = FakeSwarm()
    made.declare(template("small"))
    return made


async def test_an_instance_runs_in_a_service_like_its_template(swarm: FakeSwarm) -> None:
    async with kept(swarm) as driver:
        await driver.start(SMALL)
    made, declared = swarm.specs[COPY], template("small")
    task, like = made["TaskTemplate"], declared["TaskTemplate"]
    assert set(task["ContainerSpec"]["Env"]) == {
        "TURNOUT_COMPONENT=small",
        "TURNOUT_INSTANCE=small-1",
        "TURNOUT_GENERATION=2",
        "TURNOUT_STANDBY=0",
    }
    assert {part: task[part] for part in ("Networks", "Resources")} == {
        part: like[part] for part in ("Networks", "Resources")
    }
    assert {part: task["ContainerSpec"][part] for part in ("Image", "Secrets")} == {
        part: like["ContainerSpec"][part] for part in ("Image", "Secrets")
    }
    assert task["RestartPolicy"] == {"Condition": "none"}, "the controller starts it again"
    assert made["Mode"] == {"Replicated": {"Replicas": 1}}
    assert made["EndpointSpec"] == {"Mode": "dnsrr"}
    assert made["Labels"][STACK] == "turnout", "it is removed with the stack"
    assert "turnout.template" not in made["Labels"]


async def test_an_ending_comes_with_its_code_and_its_last_words(swarm: FakeSwarm) -> None:
    swarm.said = b'{"event": "cannot_start", "level": "error", "reason": "there is no such model"}\n'
    async with kept(swarm) as driver:
        handle = await driver.start(SMALL)
        swarm.report("failed", 78, "task: non-zero exit (78)")
        ending = await handle.ended()
    assert (ending.code, ending.reason) == (78, "there is no such model")
    assert COPY not in swarm.specs


async def test_what_a_machine_rejects_has_ended_with_the_words_of_the_machine(swarm: FakeSwarm) -> None:
    async with kept(swarm) as driver:
        handle = await driver.start(SMALL)
        swarm.report("rejected", error="No such image: turnout/llm_local")
        ending = await handle.ended()
    assert (ending.code, ending.reason) == (1, "No such image: turnout/llm_local")


async def test_one_that_is_let_go_has_ended_when_its_task_has(swarm: FakeSwarm) -> None:
    async with kept(swarm) as driver:
        for how, code in (("terminate", 0), ("kill", -9)):
            handle = await driver.start(SMALL)
            getattr(handle, how)()
            ended = asyncio.create_task(handle.ended())
            while COPY in swarm.specs:
                await asyncio.sleep(0.01)
            assert [kept.name for kept in await driver.running()] == ["small-1"], "it still finishes what it does"
            assert not ended.done()
            swarm.tasks.clear()
            assert (await ended).code == code


async def test_a_new_controller_takes_over_what_runs(swarm: FakeSwarm) -> None:
    async with kept(swarm) as driver:
        await driver.start(SMALL)
    made = swarm.calls.count("POST /services/create")
    async with kept(swarm) as driver:
        assert await driver.running() == (SMALL,)
        handle = await driver.start(SMALL)
        assert swarm.calls.count("POST /services/create") == made
        swarm.report("failed", 1)
        assert (await handle.ended()).code == 1


async def test_the_task_of_an_earlier_service_is_not_taken_for_the_new_one(swarm: FakeSwarm) -> None:
    async with kept(swarm) as driver:
        handle = await driver.start(SMALL)
        swarm.report("failed", 1)
        await handle.ended()
        handle = await driver.start(SMALL)
        made = swarm.tasks.pop()  # the Swarm takes its time, and the failed one is still in its history
        ended = asyncio.create_task(handle.ended())
        await asyncio.sleep(0.1)
        assert not ended.done()
        swarm.tasks.append(made)
        swarm.report("complete")
        assert (await ended).code == 0


async def test_what_no_machine_takes_is_given_up(swarm: FakeSwarm) -> None:
    async with kept(swarm, place_s=0.05) as driver:
        handle = await driver.start(SMALL)
        swarm.report("pending", error="no suitable node (scheduling constraints not satisfied on 1 node)")
        ending = await handle.ended()
    assert ending.code == 1
    assert ending.reason.startswith("no machine takes it: no suitable node")
    assert COPY not in swarm.specs


async def test_what_was_on_a_lost_machine_can_run_again_elsewhere(swarm: FakeSwarm) -> None:
    async with kept(swarm) as driver:
        handle = await driver.start(SMALL)
        swarm.node_state = "down"
        swarm.report("running", desired="shutdown")
        assert (await handle.ended()).reason == "its machine is gone"
        swarm.node_state = "ready"
        handle = await driver.start(SMALL)
        swarm.report("complete")
        assert (await handle.ended()).code == 0
    assert swarm.calls.count("POST /services/create") == 2


async def test_an_election_ends_nothing(swarm: FakeSwarm) -> None:
    async with kept(swarm) as driver:
        handle = await driver.start(SMALL)
        swarm.electing = 5
        while swarm.electing:
            await asyncio.sleep(0.01)
        swarm.report("complete")
        assert (await handle.ended()).code == 0


async def test_what_was_not_declared_cannot_be_had(swarm: FakeSwarm) -> None:
    swarm.declare(template("eyes", stack="somebody-elses"))
    async with kept(swarm) as driver:
        with pytest.raises(OSError, match=r"components\.eyes: the deployment declares no container"):
            await driver.start(Instance("eyes", "vision", "eyes-1"))
    assert swarm.calls == []


async def test_a_template_that_runs_by_itself_is_not_copied(swarm: FakeSwarm) -> None:
    swarm.specs["turnout_small"]["Mode"]["Replicated"]["Replicas"] = 1
    async with kept(swarm) as driver:
        with pytest.raises(OSError, match="deploy with TURNOUT_STARTED=0"):
            await driver.start(SMALL)


async def test_an_orchestrator_that_is_none_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = Engine(transport=httpx.MockTransport(FakeSwarm()))
    monkeypatch.setenv("TURNOUT_ORCHESTRATOR", "swarm")
    assert isinstance(copies_from_environment(engine), SwarmCopies)
    monkeypatch.setenv("TURNOUT_ORCHESTRATOR", "nomad")
    with pytest.raises(ConfigError, match="TURNOUT_ORCHESTRATOR must be"):
        copies_from_environment(engine)
    await engine.close()
