"""The least router: gives each task to the one component that does its kind, and keeps what it saw.

For tests of agents; the real router has tests of its own.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field

from services.bus.memory import MemoryBus
from services.bus.port import Incoming
from services.bus.roster import Roster
from services.contracts import subjects
from services.contracts.decision import Decision, Routed
from services.contracts.errors import NoCapableComponent, TurnoutError
from services.contracts.events import ACK_DECODER
from services.contracts.messages import ChatRequest, ReadRequest, SearchRequest, Task, decode_task, encode
from services.worker.service import Service
from tests.support.direct import Direct, serving

KINDS: Mapping[type, str] = {ReadRequest: "read", SearchRequest: "search", ChatRequest: "chat"}


@dataclass
class TinyRouter:
    """Knows one instance for each capability."""

    bus: MemoryBus
    peers: dict[str, Direct]
    seen: list[Task] = field(default_factory=list)
    _running: set[asyncio.Task[None]] = field(default_factory=set)

    async def on_task(self, message: Incoming) -> None:
        running = asyncio.create_task(self._forward(message))
        self._running.add(running)
        running.add_done_callback(self._running.discard)

    async def _forward(self, message: Incoming) -> None:
        task = decode_task(message.data)
        self.seen.append(task)
        capability = KINDS.get(type(task.request), "")
        decision = Decision(task.id, 0.0, task.model, 1)
        peer = self.peers.get(capability)
        if peer is None:
            routed = Routed(decision, NoCapableComponent(f"nobody can {capability}").to_info())
        else:
            subject = subjects.do(peer.component, peer.instance)
            try:
                ack = ACK_DECODER.decode(await self.bus.ask(subject, message.data, task.deadline_s - time.time()))
                routed = Routed(decision, ack.error)
            except TurnoutError as error:
                routed = Routed(decision, error.to_info())
        await self.bus.publish(message.reply, encode(routed))


@dataclass
class Team:
    """A bus with a tiny router and its peers on it."""

    bus: MemoryBus
    roster: Roster
    router: TinyRouter

    @property
    def requests(self) -> list[Task]:
        return self.router.seen


@asynccontextmanager
async def team(**services: Service) -> AsyncIterator[Team]:
    """Run peers by capability: `team(read=..., chat=..., search=...)`."""
    bus = MemoryBus()
    roster = Roster(bus)
    async with AsyncExitStack() as stack:
        peers = {
            capability: await stack.enter_async_context(serving(bus, service, component=f"{capability}-peer"))
            for capability, service in services.items()
        }
        router = TinyRouter(bus, peers)
        await bus.subscribe(subjects.ROUTE, router.on_task, subjects.ROUTE_QUEUE)
        await roster.start()
        stack.push_async_callback(roster.stop)
        async with asyncio.timeout(5):
            while len(roster.ready()) < len(services):
                await roster.changed()
        yield Team(bus, roster, router)
