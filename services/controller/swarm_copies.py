"""Copies of the services of a Swarm's stack: a service each, whose one task runs once, on whatever machine fits.

Swarm would start ended tasks again by itself; of a copy it does not, since the controller does: it tells the others at
once, and knows what an ending means.
"""

from __future__ import annotations

import asyncio
import time

import structlog

from services.contracts.errors import ComponentUnavailable, ConfigError
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

log = structlog.get_logger()

_STACK = "com.docker.stack.namespace"
_OVER = frozenset(("complete", "shutdown", "failed", "rejected", "orphaned", "remove"))
_KILLED = 137


class SwarmCopies:
    """See `copies.Copies`. A copy belongs to the stack, and is removed with it."""

    def __init__(self, engine: Engine, stack: str, *, look_s: float = 0.5, place_s: float = 30.0) -> None:
        """Args: how often to look at a task, and for how long one may wait for a machine that takes it."""
        self._engine = engine
        self._stack = stack
        self._look_s = look_s
        self._place_s = place_s
        # Exit codes of instances that are being stopped: a Swarm forgets such tasks with their end.
        self._let: dict[str, int] = {}
        # Tasks whose end nobody can see: they stay in the Swarm for as long as their machine is away.
        self._given_up: set[str] = set()

    async def running(self) -> dict[str, Instance]:
        """See `Copies.running`. One that was let go still has a task for a while, and no service."""
        services, tasks = await self._ours()
        labelled = [service["Spec"]["Labels"] for service in services]
        labelled += [task["Spec"]["ContainerSpec"]["Labels"] for task in tasks if not _over(task)]
        return {found[INSTANCE]: read(found) for found in labelled}

    async def run(self, instance: Instance) -> None:
        """See `Copies.run`."""
        name = f"{self._stack}_{instance.component}"
        declared = [service["Spec"] for service in await self._engine.services({_STACK: self._stack, TEMPLATE: ""})]
        template = next((spec for spec in declared if spec["Name"] == name), None)
        if template is None:
            raise undeclared(instance.component)
        if template["Mode"]["Replicated"]["Replicas"]:
            raise ConfigError(
                f"components.{instance.component}: its service runs by itself: deploy with TURNOUT_STARTED=0"
            )
        await self._engine.create_service(copy(template, instance, self._name(instance.name)))

    async def let(self, name: str, now: bool) -> None:
        """See `Copies.let`. There is no killing in a Swarm: with `now`, too, it has its time to end."""
        self._let[name] = _KILLED if now else 0
        await self._engine.remove_service(self._name(name))

    async def ended(self, name: str) -> Ended:
        """See `Copies.ended`. Asks again and again: a Swarm does not tell of its tasks."""
        homeless_since_s: float | None = None
        while True:
            await asyncio.sleep(self._look_s)
            try:
                service, task = await self._look(name)
                if task is None and service is None:
                    code = self._let.pop(name, None)
                    return Ended(name, 1, "its service was removed") if code is None else Ended(name, code)
                if task is None:
                    continue  # the Swarm is about to make it
                homeless_since_s = (homeless_since_s or time.monotonic()) if _homeless(task) else None
                in_vain = homeless_since_s is not None and time.monotonic() - homeless_since_s > self._place_s
                if _over(task) or in_vain or await self._machine_is_gone(task):
                    return await self._buried(name, task)
            except ComponentUnavailable as error:  # managers may be electing: that ends no task
                log.warning("no_answer", instance=name, reason=error.message)

    async def _buried(self, name: str, task: Json) -> Ended:
        """How it ended, once nothing is left of it that can be removed."""
        ended = await self._how(name, task)
        await self._engine.remove_service(self._name(name))
        self._let.pop(name, None)
        if not _over(task):
            self._given_up.add(task["ID"])
        return ended

    async def _look(self, name: str) -> tuple[Json | None, Json | None]:
        """The service, and its task. Without its service, a task counts while it lives."""
        services, tasks = await self._ours(name)
        service = next(iter(services), None)
        if service is None:
            tasks = [task for task in tasks if not _over(task)]
        else:  # there may still be one of an earlier service of this name
            tasks = [task for task in tasks if task["ServiceID"] == service["ID"]]
        return service, max(tasks, key=lambda task: str(task["CreatedAt"]), default=None)

    async def _ours(self, name: str = "") -> tuple[list[Json], list[Json]]:
        """Services and tasks of copies, of all or of one instance."""
        ours = {_STACK: self._stack, INSTANCE: name}
        services, tasks = await self._engine.services(ours), await self._engine.tasks(ours)
        return services, [task for task in tasks if task["ID"] not in self._given_up]

    async def _machine_is_gone(self, task: Json) -> bool:
        """Whether the Swarm has given this task up and cannot know how it ends."""
        if task["DesiredState"] not in _OVER or not task.get("NodeID"):
            return False
        return bool((await self._engine.node(task["NodeID"]))["Status"]["State"] == "down")

    async def _how(self, name: str, task: Json) -> Ended:
        status = task["Status"]
        why = str(status.get("Err", ""))
        if not _over(task):
            return Ended(name, 1, f"no machine takes it: {why}" if _homeless(task) else "its machine is gone")
        code = int(status.get("ContainerStatus", {}).get("ExitCode", 0)) or int(status["State"] != "complete")
        try:
            lines = await self._engine.last_lines_of_task(task["ID"], LAST_LINES)
        except ComponentUnavailable:
            lines = []
        return Ended(name, code, last_words(lines) or why)

    def _name(self, instance: str) -> str:
        return f"{self._stack}_{instance}-copy"


def copy(template: Json, instance: Instance, name: str) -> Json:
    """The specification of a service like the template. Pure.

    What it publishes is not taken over: two cannot have the same port.
    """
    task = template["TaskTemplate"]
    container = task["ContainerSpec"]
    container = container | {
        "Env": environment(container.get("Env", ()), instance),
        "Labels": labels(container.get("Labels", {}), instance),
    }
    return {
        "Name": name,
        "Labels": labels(template["Labels"], instance),
        "TaskTemplate": task | {"ContainerSpec": container, "RestartPolicy": {"Condition": "none"}},
        "Mode": {"Replicated": {"Replicas": 1}},
        "EndpointSpec": {"Mode": template.get("EndpointSpec", {}).get("Mode", "vip")},
    }


def _over(task: Json) -> bool:
    return task["Status"]["State"] in _OVER


def _homeless(task: Json) -> bool:
    return task["Status"]["State"] == "pending" and bool(task["Status"].get("Err"))
