"""Copies of a share of a component's requests for its new generation: what comes of them counts, and reaches nobody.

Requests to the old instances pass over the bus, so that they can be heard there: routers and workers know nothing of
it. A copy is plain, of the lowest priority, and has an id of its own.
"""

from __future__ import annotations

import asyncio
import itertools
import random
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack

import msgspec

from services.bus.port import Bus, Incoming
from services.contracts import subjects
from services.contracts.catalog import Canary
from services.contracts.errors import Overloaded, TurnoutError, from_info
from services.contracts.events import ACK_DECODER, ENVELOPE_DECODER, Event, Finished
from services.contracts.keeper import Instance
from services.contracts.messages import ChatRequest, Task, decode_task, encode
from services.controller.trial import Evidence, Trial, ended_well
from services.worker.background import Background

MAX_AT_ONCE = 8


class Shadowing:
    """The copies for the new instances of one component."""

    def __init__(self, bus: Bus, instances: Sequence[Instance], share: float, note: Callable[[Evidence], None]) -> None:
        """Args: who gets the copies, of which share of the requests, and who hears what came of them."""
        self._bus = bus
        self.component = next(iter(instances)).component
        self._names = frozenset(instance.name for instance in instances)
        self._turns = itertools.cycle(sorted(self._names))
        self._share = share
        self._note = note
        self._copies = Background(MAX_AT_ONCE)

    async def on_task(self, message: Incoming) -> None:
        """Hear a request to an instance."""
        to = message.subject.rpartition(".")[2]
        if to in self._names or self._copies.full:
            return
        try:
            task = decode_task(message.data)
        except msgspec.DecodeError:
            return
        if random.random() >= self._share or not _can_be_copied(task):  # noqa: S311 - no secret
            return
        self._copies.start(self._copy(task))

    async def stop(self) -> None:
        """Give up what is under way."""
        await self._copies.stop()

    async def _copy(self, task: Task) -> None:
        instance = next(self._turns)
        inbox = self._bus.inbox()
        last: Event | None
        began_s = time.monotonic()
        try:
            copy = encode(_copied(task, inbox.subject))
            left_s = max(0.001, task.deadline_s - time.time())
            async with asyncio.timeout(left_s):
                ack = ACK_DECODER.decode(await self._bus.ask(subjects.do(self.component, instance), copy, left_s))
                if ack.error is not None:
                    raise from_info(ack.error)
                last = ENVELOPE_DECODER.decode(await inbox.next()).events[-1]
        except Overloaded:
            return  # the lowest priority is no shame
        except (TurnoutError, TimeoutError, msgspec.DecodeError):
            last = None
        finally:
            inbox.close()
        if not isinstance(last, Finished):
            self._note(Evidence(self.component, instance, None))
            return
        time_ms = (time.monotonic() - began_s) * 1000
        whole = ended_well(last.reason, last.usage.output_tokens)
        self._note(Evidence(self.component, instance, time_ms, float(whole), f"shadow of {task.root}"))


def _copied(task: Task, inbox: str) -> Task:
    """The same request for somebody who listens here."""
    name = f"shadow{secrets.token_hex(12)}"
    request = task.request
    if isinstance(request, ChatRequest):
        request = msgspec.structs.replace(request, stream=False)
    wishes = msgspec.structs.replace(task.wishes, priority="low")
    return msgspec.structs.replace(task, id=name, root=name, request=request, wishes=wishes, inbox=inbox)


def _can_be_copied(task: Task) -> bool:
    """Whether it is a client's whole question, with no part in the store that is emptied with its answer."""
    request = task.request
    if not isinstance(request, ChatRequest) or request.written or task.root.startswith("probe"):
        return False
    return all(image.blob.ref is None for image in request.images)


async def hear(bus: Bus, trial: Trial, rules: Mapping[str, Canary]) -> AsyncExitStack:
    """Let a trial hear what becomes of the requests, and have copies made where its rules say so.

    Until the stack is closed, which is the caller's.
    """
    shadows = [
        Shadowing(bus, [i for i in trial.rollout.starting if i.component == name], canary.share, trial.note)
        for name, canary in rules.items()
        if canary.shadow
    ]
    heard = [(subjects.DECISIONS, trial.on_decision), (subjects.FEEDBACK, trial.on_feedback)]
    heard += [(subjects.do(shadow.component, "*"), shadow.on_task) for shadow in shadows]
    async with AsyncExitStack() as stack:
        for shadow in shadows:
            stack.push_async_callback(shadow.stop)
        for subject, handler in heard:
            stack.push_async_callback((await bus.subscribe(subject, handler)).stop)
        return stack.pop_all()
