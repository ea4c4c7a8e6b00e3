"""Keeps containers for the controller: `python -m services.controller.keeper`. Nothing else reaches the engine.

It takes three wishes from the bus, where only the controller may say them: run an instance, let one go, say what runs.
An instance runs in a copy of what the deployment declared for its component and labelled `turnout.template`: the same
image, command, networks, secrets and limits, under another name. So through the keeper nothing can be had from the
engine that was not declared, and nothing be touched that it did not make itself.
"""

from __future__ import annotations

import asyncio
import os

import msgspec
import structlog

from services.bus.nats_bus import NatsBus
from services.bus.port import Bus, Incoming, Subscription
from services.contracts import subjects
from services.contracts.beat import BEAT_INTERVAL_S
from services.contracts.errors import ConfigError, TurnoutError
from services.contracts.keeper import WISH_DECODER, Answer, Ended, Keep, Let, Wish
from services.contracts.messages import encode
from services.controller.compose_copies import ComposeCopies
from services.controller.copies import Copies
from services.controller.engine import SOCKET, Engine
from services.controller.swarm_copies import SwarmCopies
from services.worker import health
from services.worker.identity import Identity
from services.worker.process import run

log = structlog.get_logger()


class Keeper:
    """Carries out the controller's wishes, for one deployment."""

    def __init__(self, bus: Bus, copies: Copies) -> None:
        self._bus = bus
        self._copies = copies
        self._watching: dict[str, asyncio.Task[None]] = {}
        self._listening: Subscription | None = None

    async def start(self) -> None:
        """Take up what an earlier keeper left, then listen."""
        for name in await self._copies.running():
            self._watch(name)
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
        running = await self._copies.running()
        if isinstance(wish, Keep):
            name = wish.instance.name
            if name not in running:
                await self._copies.run(wish.instance)
                log.info("started", instance=name)
                self._watch(name)
            elif name not in self._watching or self._watching[name].done():
                self._watch(name)  # sight of it was lost
        elif isinstance(wish, Let):
            if wish.name in running:
                await self._copies.let(wish.name, wish.now)
        else:
            return Answer(running=tuple(running.values()))
        return Answer()

    def _watch(self, name: str) -> None:
        self._watching[name] = asyncio.create_task(self._until_ended(name))

    async def _until_ended(self, name: str) -> None:
        try:
            ended = await self._copies.ended(name)
        except TurnoutError as error:
            log.warning("lost_sight", instance=name, reason=error.message)
            ended = Ended(name, 1)
        log.info("ended", instance=name, code=ended.code)
        await self._bus.publish(subjects.ended(name), encode(ended))


def copies_from_environment(engine: Engine) -> Copies:
    """What `TURNOUT_ORCHESTRATOR` (`compose` or `swarm`) and `TURNOUT_PROJECT` (its project or stack) name.

    Raises:
        ConfigError: there is no such orchestrator.
    """
    orchestrator = os.environ.get("TURNOUT_ORCHESTRATOR", "compose")
    project = os.environ.get("TURNOUT_PROJECT", "turnout")
    if orchestrator == "compose":
        return ComposeCopies(engine, project)
    if orchestrator == "swarm":
        return SwarmCopies(engine, project)
    raise ConfigError(f"TURNOUT_ORCHESTRATOR must be `compose` or `swarm`, not {orchestrator[:20]!r}")


async def body(_identity: Identity, bus: NatsBus, stop: asyncio.Event) -> None:
    """Keep until asked to stop. `TURNOUT_ENGINE` is the engine's socket."""
    engine = Engine(os.environ.get("TURNOUT_ENGINE", SOCKET))
    keeper = Keeper(bus, copies_from_environment(engine))
    await keeper.start()
    stopping = asyncio.create_task(stop.wait())
    while not stopping.done():
        health.note("ready")
        await asyncio.wait([stopping], timeout=BEAT_INTERVAL_S)
    await keeper.stop()
    await engine.close()


if __name__ == "__main__":
    run("keeper", body)
