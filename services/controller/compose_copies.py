"""Copies of the containers of a Compose project, on the engine of one machine."""

from __future__ import annotations

from services.contracts.errors import TurnoutError
from services.contracts.keeper import Ended, Instance
from services.controller.copies import (
    INSTANCE,
    LAST_LINES,
    TEMPLATE,
    environment,
    labels,
    last_words,
    read,
    undeclared,
)
from services.controller.engine import Engine, Json

_PROJECT, _SERVICE = "com.docker.compose.project", "com.docker.compose.service"
_NUMBER, _FIRST_NUMBER = "com.docker.compose.container-number", 1000  # above those that Compose gives
_COPIED = ("Image", "Cmd", "Entrypoint", "User", "WorkingDir", "Healthcheck", "StopSignal", "StopTimeout")


class ComposeCopies:
    """See `copies.Copies`. A copy belongs to the project: Compose takes it down with the rest."""

    def __init__(self, engine: Engine, project: str) -> None:
        self._engine = engine
        self._project = project

    async def running(self) -> dict[str, Instance]:
        """See `Copies.running`."""
        return {c["Labels"][INSTANCE]: read(c["Labels"]) for c in await self._ours()}

    async def run(self, instance: Instance) -> None:
        """See `Copies.run`."""
        named = {_PROJECT: self._project, _SERVICE: instance.component, TEMPLATE: ""}
        declared = [c for c in await self._engine.containers(named) if INSTANCE not in c["Labels"]]
        if not declared:
            raise undeclared(instance.component)
        number = max((int(c["Labels"][_NUMBER]) for c in await self._ours()), default=_FIRST_NUMBER) + 1
        body, others = copy(await self._engine.inspect(declared[0]["Id"]), instance, number)
        container = await self._engine.create(self._name(instance.name), body)
        try:
            for network in others:
                await self._engine.join(container, network)
            await self._engine.start(container)
        except TurnoutError:
            await self._engine.remove(container)
            raise

    async def let(self, name: str, now: bool) -> None:
        """See `Copies.let`."""
        await self._engine.signal(self._name(name), "SIGKILL" if now else "SIGTERM")

    async def ended(self, name: str) -> Ended:
        """See `Copies.ended`."""
        container = self._name(name)
        code = await self._engine.wait(container)
        lines = await self._engine.last_lines(container, LAST_LINES)
        await self._engine.remove(container)
        return Ended(name, code, last_words(lines))

    async def _ours(self) -> list[Json]:
        return await self._engine.containers({_PROJECT: self._project, INSTANCE: ""})

    def _name(self, instance: str) -> str:
        return f"{self._project}.{instance}"  # with a dash it could be one of Compose's own


def copy(template: Json, instance: Instance, number: int) -> tuple[Json, list[str]]:
    """The body that makes a container like the template, and the networks it joins after that. Pure."""
    config, networks = template["Config"], list(template["NetworkSettings"]["Networks"])
    body: Json = {key: config[key] for key in _COPIED if config.get(key) is not None}
    body["Env"] = environment(config["Env"], instance)
    body["Labels"] = labels(config["Labels"], instance) | {_NUMBER: str(number)}
    # Who restarts it is the controller, which tells the others at once that it is gone.
    body["HostConfig"] = template["HostConfig"] | {"RestartPolicy": {"Name": "no"}}
    body["NetworkingConfig"] = {"EndpointsConfig": {name: {} for name in networks[:1]}}
    return body, networks[1:]
