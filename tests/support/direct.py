"""Runs a `Service` behind the real worker runtime and asks it directly, without a router between."""

from __future__ import annotations

import asyncio
import itertools
import secrets
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from services.bus.port import Bus, Inbox
from services.contracts import subjects
from services.contracts.errors import from_info
from services.contracts.events import (
    ACK_DECODER,
    ENVELOPE_DECODER,
    Delta,
    Event,
    Failed,
    Finished,
)
from services.contracts.messages import ChatRequest, Message, Request, Sampling, Task, encode
from services.worker.runtime import Worker
from services.worker.service import Service

_numbers = itertools.count(1)


def chat(text: str, *, stream: bool = False, **sampling: object) -> ChatRequest:
    """A one-turn chat request."""
    return ChatRequest((Message("user", text),), stream=stream, sampling=Sampling(**sampling))  # type: ignore[arg-type]


@dataclass
class Direct:
    """A worker under test."""

    bus: Bus
    worker: Worker
    component: str
    instance: str

    def task(self, request: Request, *, timeout_s: float = 60.0) -> tuple[Task, Inbox]:
        """A task for this worker, and the inbox where its events arrive."""
        name = secrets.token_hex(8)
        inbox = self.bus.inbox()
        return Task(name, name, self.component, request, inbox.subject, time.time() + timeout_s), inbox

    async def at_rest(self, timeout_s: float = 10.0) -> None:
        """Wait until it has put away everything: its last event leaves a little before that."""
        async with asyncio.timeout(timeout_s):
            while self.worker.beat().in_use:
                await asyncio.sleep(0)

    async def events(self, request: Request, *, timeout_s: float = 60.0) -> AsyncIterator[Event]:
        """All events of one request.

        Raises:
            TurnoutError: what the worker refused it with, or failed with.
        """
        task, inbox = self.task(request, timeout_s=timeout_s)
        async for event in self.follow(task, inbox):
            yield event

    async def follow(self, task: Task, inbox: Inbox) -> AsyncIterator[Event]:
        """Send a task and yield its events."""
        subject = subjects.do(self.component, self.instance)
        asking = asyncio.create_task(self.bus.ask(subject, encode(task), max(1.0, task.deadline_s - time.time() + 5)))
        try:
            ack = ACK_DECODER.decode(await asking)
            if ack.error is not None:
                raise from_info(ack.error)
            expected = 0
            while True:
                envelope = ENVELOPE_DECODER.decode(await inbox.next())
                assert envelope.seq == expected
                expected += 1
                for event in envelope.events:
                    if isinstance(event, Failed):
                        raise from_info(event.error)
                    yield event
                    if isinstance(event, Finished):
                        return
        finally:
            inbox.close()

    async def text(self, request: Request, *, timeout_s: float = 60.0) -> tuple[str, Finished]:
        """The whole text of a chat answer, and its end."""
        parts: list[str] = []
        async for event in self.events(request, timeout_s=timeout_s):
            if isinstance(event, Delta):
                parts.append(event.text)
            elif isinstance(event, Finished):
                return "".join(parts), event
        raise AssertionError("the answer never finished")


@asynccontextmanager
async def serving(
    bus: Bus, service: Service, *, component: str = "under-test", slots: int = 4, queue_max: int = 32
) -> AsyncIterator[Direct]:
    """Run `service` in a worker of its own while the block runs."""
    instance = f"{component}-{next(_numbers)}"
    worker = Worker(bus, service, component=component, kind="test", instance=instance, slots=slots, queue_max=queue_max)
    await worker.start()
    try:
        yield Direct(bus, worker, component, instance)
    finally:
        await worker.drain(1.0)
