"""Keeps containers for the controller: `python -m services.controller.keeper`. Nothing else reaches the engine.

It takes three wishes from the bus, where only the controller may say them: run an instance, let one go, say what runs.
An instance runs in a copy of the container that the deployment declared for its component and labelled
`turnout.template`: the same image, command, networks, secrets and limits, under another name. So through the keeper
nothing can be had from the engine that was not declared, and no container be touched that it did not make itself.
"""

from __future__ import annotations

import asyncio
import os
from typing import Any

import msgspec
import structlog

from services.bus.nats_bus import NatsBus
from services.bus.port import Bus, Incoming, Subscription
from services.contracts import subjects
from services.contracts.beat import BEAT_INTERVAL_S
from services.contracts.errors import NotFound, TurnoutError
from services.contracts.keeper import WISH_DECODER, Answer, Ended, Instance, Keep, Let, Wish
from services.contracts.messages import encode
from services.controller.engine import SOCKET, Engine, Json
from services.controller.lines import read_line
from services.worker import health
from services.worker.identity import Identity
from services.worker.process import run

log = structlog.get_logger()

_LAST_LINES = 20
_PROJECT, _SERVICE = "com.docker.compose.project", "com.docker.compose.service"
_TEMPLATE, _INSTANCE = "turnout.template", "turnout.instance"
_NUMBER, _FIRST_NUMBER = "com.docker.compose.container-number", 1000  # above those that Compose gives
_COPIED = ("Image", "Cmd", "Entrypoint", "User", "WorkingDir", "Healthcheck", "StopSignal", "StopTimeout")


class Keeper:
    """Carries out the controller's wishes, for one Compose project."""

    def __init__(self, bus: Bus, engine: Engine, project: str) -> None:
        self._bus = bus
        self._engine = engine
        self._project = project
        self._watching: dict[str, asyncio.Task[None]] = {}
        self._listening: Subscription | None = None

    async def start(self) -> None:
        """Take up what an earlier keeper left, then listen."""
        for name, container in (await self._running()).items():
            self._watch(name, container["Id"])
        self._listening = await self._bus.subscribe(subjects.KEEPER, self._on_wish)

    async def stop(self) -> None:
        """Leave the containers to themselves."""
        if self._listening is not None:
            await self._listening.stop()
        for task in self._watching.values():
            task.cancel()
        await asyncio.gather(*self._watching.values(), return_exceptions=True)

    async def _on_wish(self, message: Incoming) -> None:
        try:
            answer = await self._grant(WISH_DECODER.decode(message.data))
        except msgspec.DecodeError:
            answer = Answer("the wish is not readable")
        except TurnoutError as error:
            log.warning("wish_refused", reason=error.message)
            answer = Answer(error.message)
        if message.reply:
            await self._bus.publish(message.reply, encode(answer))

    async def _grant(self, wish: Wish) -> Answer:
        running = await self._running()
        if isinstance(wish, Keep):
            if wish.instance.name not in running:
                await self._run(wish.instance)
        elif isinstance(wish, Let):
            if wish.name in running:
                await self._engine.signal(running[wish.name]["Id"], "SIGKILL" if wish.now else "SIGTERM")
        else:
            return Answer(running=tuple(_kept(container["Labels"]) for container in running.values()))
        return Answer()

    async def _running(self) -> dict[str, Json]:
        """Our own containers that run, by the name of their instance."""
        found = await self._engine.find({_PROJECT: self._project, _INSTANCE: ""})
        return {c["Labels"][_INSTANCE]: c for c in found if c["State"] in {"running", "restarting", "paused"}}

    async def _run(self, instance: Instance) -> None:
        templates = await self._engine.find({_PROJECT: self._project, _SERVICE: instance.component, _TEMPLATE: ""})
        declared = [c for c in templates if _INSTANCE not in c["Labels"]]
        if not declared:
            raise NotFound(f"components.{instance.component}: the deployment declares no container for it")
        ours = await self._engine.find({_PROJECT: self._project, _INSTANCE: ""})
        for old in ours:
            if old["Labels"][_INSTANCE] == instance.name:
                await self._engine.remove(old["Id"])  # its end has been told
        number = max((int(c["Labels"][_NUMBER]) for c in ours), default=_FIRST_NUMBER) + 1
        template = await self._engine.inspect(declared[0]["Id"])
        body, others = copy(template, instance, number)
        name = f"{self._project}.{instance.name}"  # with a dash it could be one of Compose's own
        container = await self._engine.create(name, body)
        for network in others:
            await self._engine.join(container, network)
        await self._engine.start(container)
        log.info("started", instance=instance.name, container=name)
        self._watch(instance.name, container)

    def _watch(self, name: str, container: str) -> None:
        self._watching[name] = asyncio.create_task(self._until_ended(name, container))

    async def _until_ended(self, name: str, container: str) -> None:
        try:
            code = await self._engine.wait(container)
            lines = await self._engine.last_lines(container, _LAST_LINES)
            await self._engine.remove(container)
        except TurnoutError as error:
            log.warning("lost_sight", instance=name, reason=error.message)
            code, lines = 1, []
        log.info("ended", instance=name, code=code)
        await self._bus.publish(subjects.ended(name), encode(Ended(name, code, _last_words(lines))))


def copy(template: Json, instance: Instance, number: int) -> tuple[Json, list[str]]:
    """The body that makes a container like the template, and the networks it joins after that. Pure."""
    config, networks = template["Config"], list(template["NetworkSettings"]["Networks"])
    own = {
        "TURNOUT_INSTANCE": instance.name,
        "TURNOUT_GENERATION": str(instance.generation),
        "TURNOUT_STANDBY": "1" if instance.standby else "0",
    }
    body: Json = {key: config[key] for key in _COPIED if config.get(key) is not None}
    body["Env"] = [e for e in config["Env"] if e.partition("=")[0] not in own] + [f"{k}={v}" for k, v in own.items()]
    labels = {name: value for name, value in config["Labels"].items() if name != _TEMPLATE}
    body["Labels"] = labels | {
        _NUMBER: str(number),
        **{f"turnout.{field}": str(value) for field, value in _described(instance).items()},
    }
    # Who restarts it is the controller, which tells the others at once that it is gone.
    body["HostConfig"] = template["HostConfig"] | {"RestartPolicy": {"Name": "no"}}
    body["NetworkingConfig"] = {"EndpointsConfig": {name: {} for name in networks[:1]}}
    return body, networks[1:]


def _described(instance: Instance) -> dict[str, Any]:
    return {
        "instance": instance.name,
        "component": instance.component,
        "kind": instance.kind,
        "generation": instance.generation,
        "fingerprint": instance.fingerprint,
    }


def _kept(labels: dict[str, str]) -> Instance:
    found = {name: labels[f"turnout.{name}"] for name in ("component", "kind", "instance", "generation", "fingerprint")}
    generation = int(found["generation"])
    return Instance(found["component"], found["kind"], found["instance"], generation, found["fingerprint"])


def _last_words(lines: list[str]) -> str:
    read = [read_line(line) for line in lines if line.strip()]
    reasons = [line.reason for line in read if line.reason]
    return (reasons or [line.text for line in read] or [""])[-1]


async def body(_identity: Identity, bus: NatsBus, stop: asyncio.Event) -> None:
    """Keep until asked to stop. `TURNOUT_PROJECT` is the Compose project, `TURNOUT_ENGINE` the engine's socket."""
    engine = Engine(os.environ.get("TURNOUT_ENGINE", SOCKET))
    keeper = Keeper(bus, engine, os.environ.get("TURNOUT_PROJECT", "turnout"))
    await keeper.start()
    stopping = asyncio.create_task(stop.wait())
    while not stopping.done():
        health.note("ready")
        await asyncio.wait([stopping], timeout=BEAT_INTERVAL_S)
    await keeper.stop()
    await engine.close()


if __name__ == "__main__":
    run("keeper", body)
