"""Runs instances as containers, through the keeper. The contract is that of processes: see `process_driver.Driver`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import msgspec

from services.bus.port import Bus, Incoming, Subscription
from services.contracts import subjects
from services.contracts.errors import TurnoutError
from services.contracts.keeper import ANSWER_DECODER, ENDED_DECODER, Answer, Ended, Instance, Keep, Let, Running, Wish
from services.contracts.messages import encode
from services.controller.modules import GATEWAY, ROUTER
from services.controller.process_driver import Ending, Handle
from services.worker.background import Background

DECLARED = frozenset((GATEWAY, ROUTER))
"""Kinds that the deployment itself keeps: they follow the catalog without being exchanged."""

_ANSWER_S = 60.0
_LOOK_S = 5.0
_SIGNALLED = 128


class ContainerDriver:
    """Asks for containers, and hears how they end."""

    def __init__(self, bus: Bus, say: Callable[[str, str], None]) -> None:
        """Args: the bus, and where to say (text, level)."""
        self._bus = bus
        self._say = say
        self._awaited: dict[str, asyncio.Future[Ending]] = {}
        self._looking: asyncio.Task[None] | None = None
        self._listening: Subscription | None = None
        self._asking = Background()

    async def listen(self) -> None:
        """Hear of endings from now on."""
        self._listening = await self._bus.subscribe(subjects.KEPT_ENDED, self._on_ended)
        self._looking = asyncio.create_task(self._look())

    async def stop(self) -> None:
        """Leave the containers running."""
        if self._listening is not None:
            await self._listening.stop()
        if self._looking is not None:
            self._looking.cancel()
        await self._asking.stop()

    async def running(self) -> tuple[Instance, ...]:
        """What runs already, from before this controller.

        Raises:
            TurnoutError: the keeper does not answer.
        """
        return (await self._ask(Running())).running

    async def start(self, instance: Instance) -> Handle:
        """See `process_driver.Driver.start`. One that runs already is taken over."""
        ended: asyncio.Future[Ending] = asyncio.get_running_loop().create_future()
        if instance.kind in DECLARED:
            return Container(instance.name, ended, lambda _now: _end(ended))
        self._awaited[instance.name] = ended
        try:
            answer = await self._ask(Keep(instance))
        except TurnoutError as error:
            raise OSError(f"the keeper of containers does not answer: {error.message}") from error
        if answer.error:
            raise OSError(answer.error)
        return Container(instance.name, ended, lambda now: self._let(instance.name, now))

    def _let(self, name: str, now: bool) -> None:
        self._asking.start(self._tell(Let(name, now)))

    async def _tell(self, wish: Wish) -> None:
        try:
            answer = await self._ask(wish)
        except TurnoutError as error:
            answer = Answer(error.message)
        if answer.error:
            self._say(f"the keeper of containers: {answer.error}", "warning")

    async def _ask(self, wish: Wish) -> Answer:
        return ANSWER_DECODER.decode(await self._bus.ask(subjects.KEEPER, encode(wish), _ANSWER_S))

    async def _on_ended(self, message: Incoming) -> None:
        try:
            self._note(ENDED_DECODER.decode(message.data))
        except msgspec.DecodeError:
            self._say("an ending that is not readable", "warning")

    def _note(self, ended: Ended) -> None:
        waiting = self._awaited.pop(ended.name, None)
        if waiting is not None and not waiting.done():
            code = _SIGNALLED - ended.code if ended.code > _SIGNALLED else ended.code
            waiting.set_result(Ending(code, ended.reason))

    async def _look(self) -> None:
        """Notice what ended while nobody told: the keeper was away, or the bus."""
        while True:
            before = set(self._awaited)
            await asyncio.sleep(_LOOK_S)
            try:
                present = {kept.name for kept in (await self._ask(Running())).running}
            except TurnoutError:
                continue  # it is not the container that is gone
            for name in before - present:
                self._note(Ended(name, 1, "it is gone, and nobody saw how"))


def _end(waiting: asyncio.Future[Ending]) -> None:
    if not waiting.done():
        waiting.set_result(Ending(0))


class Container:
    """See `process_driver.Handle`."""

    def __init__(self, name: str, ended: asyncio.Future[Ending], let: Callable[[bool], object]) -> None:
        self._name = name
        self._ended = ended
        self._let = let

    async def ended(self) -> Ending:
        """See `Handle.ended`."""
        return await asyncio.shield(self._ended)

    def terminate(self) -> None:
        """See `Handle.terminate`."""
        self._let(False)

    def kill(self) -> None:
        """See `Handle.kill`."""
        self._let(True)
