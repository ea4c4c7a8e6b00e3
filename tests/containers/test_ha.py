"""Three NATS servers: one may be killed at any time."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from services.bus.nats_bus import Login, connected
from services.contracts import subjects
from services.contracts.errors import TurnoutError
from tests.containers.deployment import TOP, Deployment, deployed, docker, eventually


@pytest.fixture(scope="module")
def several(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    with deployed(
        Path(tmp_path_factory.mktemp("several")),
        "compose.ha.yaml",
        project="turnout-ha",
        COMPOSE_PROFILES="minimal",
        TURNOUT_CATALOG=str(TOP / "compose" / "minimal.yaml"),
    ) as it:
        yield it


def has_all(server: str) -> bool:
    """Whether it has all that the others have: it does not call itself well before every stream has caught up."""
    ask = "import urllib.request as u; print(u.urlopen('http://127.0.0.1:8222/healthz', timeout=5).status)"
    return docker("exec", server, "python3", "-I", "-S", "-c", ask, check=False) == "200"


async def test_a_killed_server_loses_no_record_that_was_acknowledged(several: Deployment) -> None:
    servers = [several.containers(name)[0] for name in ("nats", "nats-2", "nats-3")]
    addresses = [next(iter(s["NetworkSettings"]["Networks"].values()))["IPAddress"] for s in servers]
    url = ",".join(f"nats://{address}:4222" for address in addresses)
    login = Login("gateway", (several.secrets / "nats_gateway").read_text().strip())
    kept: list[str] = []
    failed = 0
    async with connected(url, name="test", login=login) as bus:

        async def write(until: asyncio.Event) -> None:
            nonlocal failed
            number = 0
            while not until.is_set():
                number += 1
                try:
                    await bus.record(subjects.decision(f"ha{number}"), str(number).encode())
                    kept.append(f"ha{number}")
                except TurnoutError:
                    failed += 1
                    await asyncio.sleep(0.05)

        enough = asyncio.Event()
        writing = asyncio.create_task(write(enough))
        while len(kept) < 200:
            await asyncio.sleep(0.01)
        for victim in servers[:2]:  # one after the other: whichever led, and whichever this test talks to
            await asyncio.to_thread(docker, "kill", victim["Id"])
            before = len(kept)
            async with asyncio.timeout(60):
                while len(kept) < before + 200:
                    await asyncio.sleep(0.01)
            await asyncio.to_thread(docker, "start", victim["Id"])
            # It must have caught up before another one goes.
            await asyncio.to_thread(eventually, partial(has_all, victim["Id"]), "it has what the others have")
        enough.set()
        await writing
        for number in kept:
            assert await bus.recall(subjects.decision(number)) == number.removeprefix("ha").encode()
    assert len(kept) >= 600


def test_both_gateways_answer_while_a_server_is_away(several: Deployment) -> None:
    ports = [
        binding["HostPort"]
        for gateway in several.containers("gateway")
        for bindings in gateway["NetworkSettings"]["Ports"].values()
        for binding in bindings
    ]
    assert len(set(ports)) == 2
    (victim,) = several.containers("nats-3")
    docker("kill", victim["Id"])
    for port in ports:
        client = several.client().with_options(base_url=f"http://127.0.0.1:{port}/v1")

        def answered(client: object = client) -> bool:
            answer = client.chat.completions.create(  # type: ignore[attr-defined]
                model="small", messages=[{"role": "user", "content": "Hello"}], max_tokens=4
            )
            return bool(answer.choices)

        eventually(answered, "it answers", 30)
    docker("start", victim["Id"])
