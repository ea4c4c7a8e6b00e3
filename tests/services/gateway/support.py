"""A gateway on a real socket, with a scripted router and scripted components behind it."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx
from openai import AsyncOpenAI

from services.bus.memory import MemoryBus
from services.bus.port import Bus, Incoming
from services.bus.roster import Roster
from services.contracts import subjects
from services.contracts.beat import Beat, Capability
from services.contracts.catalog import Catalog, Snapshot
from services.contracts.decision import Attempt, Candidate, Decision, Routed
from services.contracts.errors import NoCapableComponent, TurnoutError
from services.contracts.events import ACK_DECODER, Delta, Event, Finished, Usage
from services.contracts.messages import ChatRequest, Task, decode_task, encode
from services.gateway.app import build_app
from services.gateway.edge import Edge, edge
from services.gateway.server import listen, serving, url_of
from services.gateway.state import State
from services.worker.announcer import Announcer
from services.worker.runtime import Worker
from services.worker.service import Description, Job

Play = Callable[[Task], AsyncIterator[Event]]


async def echo(task: Task) -> AsyncIterator[Event]:
    """Say the question back, word by word."""
    assert isinstance(task.request, ChatRequest)
    for word in task.request.question.split():
        yield Delta(f"{word} ")
    yield Finished(Usage(input_tokens=5, output_tokens=3, cached_tokens=2, cost_usd=0.00025))


@dataclass
class Scripted:
    """A component that plays what the test says."""

    play: Play = echo
    capabilities: tuple[Capability, ...] = ("chat",)
    slots: int = 4
    facts: dict[str, float] = field(default_factory=dict)
    started: asyncio.Event = field(default_factory=asyncio.Event)
    freed: asyncio.Event = field(default_factory=asyncio.Event)
    freed_s: float = 0.0

    async def start(self) -> None: ...

    def describe(self) -> Description:
        return Description("scripted-1", self.capabilities, price=None, facts=self.facts, context_tokens=4096)

    async def run(self, task: Task, job: Job) -> AsyncIterator[Event]:
        try:
            self.started.set()
            async for event in self.play(task):
                yield event
        finally:
            self.freed_s = time.perf_counter()
            self.freed.set()

    async def stop(self) -> None: ...


class Router:
    """Sends each task to the pinned component or the first there is, and says how it decided."""

    def __init__(self, bus: Bus, components: dict[str, str]) -> None:
        self.bus = bus
        self.components = components
        self.tasks: list[Task] = []
        self.refuse: TurnoutError | None = None
        self.degraded: str | None = None
        self.prior_quality: float | None = None
        self.hold: Callable[[], Awaitable[None]] | None = None
        self._running: set[asyncio.Task[None]] = set()
        self._announcer = Announcer(bus, self._beat)

    async def die(self) -> None:
        """Be gone for everyone, now."""
        await self._announcer.farewell()

    def _beat(self) -> Beat:
        return Beat("router", "router", "router-1", 1, os.getpid(), "here", "ready")

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Router]:
        subscription = await self.bus.subscribe(subjects.ROUTE, self._on_task, subjects.ROUTE_QUEUE)
        await self._announcer.start()
        try:
            yield self
        finally:
            for task in tuple(self._running):
                task.cancel()
            await asyncio.gather(*self._running, return_exceptions=True)
            await subscription.stop()
            await self._announcer.farewell()

    async def _on_task(self, message: Incoming) -> None:
        task = asyncio.create_task(self._route(decode_task(message.data), message.reply))
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    async def _route(self, task: Task, reply: str) -> None:
        self.tasks.append(task)
        if self.hold is not None:
            await self.hold()
        name = next(iter(self.components)) if task.model == "auto" else task.model
        error: TurnoutError | None = self.refuse
        if error is None and name not in self.components:
            error = NoCapableComponent("nobody can", retry_after_s=2.2)
        failure = None if error is None else error.to_info()
        began_s = time.time()
        if failure is None:
            subject = subjects.do(name, self.components[name])
            ack = ACK_DECODER.decode(
                await self.bus.ask(subject, encode(task), max(0.01, task.deadline_s - time.time()))
            )
            failure = ack.error
        decision = Decision(
            task.root,
            time.time(),
            task.model,
            7,
            component=name,
            instance=self.components.get(name, ""),
            candidates=(
                Candidate(("other",), 0.2, 0.5, 0.0, 1.0, rejected="below the quality floor"),
                Candidate((name,), 0.9, 0.00125, 0.0, 1.0),
            ),
            attempts=(Attempt(name, self.components.get(name, ""), began_s, time.time()),),
            degraded=self.degraded,
            prior_quality=self.prior_quality,
        )
        await self.bus.publish(reply, encode(Routed(decision, failure)))


@dataclass
class Front:
    """A running gateway and what stands behind it."""

    url: str
    edge: Edge
    bus: Bus
    router: Router
    workers: dict[str, Worker]

    def openai(self, key: str = "none", **options: Any) -> Any:
        """The official client, untyped: the tests give it plain dicts, as its users do."""
        options = {"max_retries": 0, "timeout": 20.0, **options}
        return AsyncOpenAI(base_url=f"{self.url}/v1", api_key=key, **options)

    def http(self, **options: Any) -> httpx.AsyncClient:
        """A plain client."""
        return httpx.AsyncClient(base_url=self.url, timeout=20.0, trust_env=False, **options)

    async def ask(self, text: str = "hello", **more: Any) -> httpx.Response:
        """A plain request to chat."""
        async with self.http() as client:
            return await client.post("/v1/chat/completions", json=chat(text, **more))

    async def raw(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A naked connection."""
        host, port = self.url.removeprefix("http://").split(":")
        return await asyncio.open_connection(host, int(port))


def chat(text: str = "hello", **more: Any) -> dict[str, Any]:
    """The body of a one-turn chat."""
    return {"model": "auto", "messages": [{"role": "user", "content": text}], **more}


def catalog(**gateway: Any) -> Snapshot:
    """A catalog with two language models and a document index."""
    return Snapshot(
        revision=1,
        catalog=Catalog.model_validate(
            {
                "gateway": {"port": 0, **gateway},
                "components": {
                    "small": {"kind": "llm_cloud", "model": "x"},
                    "big": {"kind": "llm_cloud", "model": "y", "replicas": {"min": 0}},
                    "off": {"kind": "llm_cloud", "model": "z", "enabled": False},
                    "docs": {"kind": "retrieval", "replicas": {"min": 0}},
                },
            }
        ),
    )


@asynccontextmanager
async def front(
    components: dict[str, Scripted] | None = None,
    *,
    bus: Bus | None = None,
    snapshot: Snapshot | None = None,
    drain_s: float = 1.0,
) -> AsyncIterator[Front]:
    """Run a gateway on a free port."""
    bus = bus or MemoryBus()
    components = {"small": Scripted()} if components is None else components
    snapshot = snapshot or catalog()
    state = State.of(snapshot)
    async with AsyncExitStack() as stack:
        roster = Roster(bus)
        await roster.start()
        stack.push_async_callback(roster.stop)
        workers: dict[str, Worker] = {}
        for name, service in components.items():
            worker = Worker(
                bus, service, component=name, kind="test", instance=f"{name}-1", slots=service.slots, queue_max=8
            )
            await worker.start()
            stack.push_async_callback(worker.drain, 0.2)
            workers[name] = worker
        router = await stack.enter_async_context(Router(bus, {name: f"{name}-1" for name in components}).running())
        await bus.flush()
        async with asyncio.timeout(5):
            while len(roster.ready()) < len(components) + 1:
                await asyncio.sleep(0.001)  # beats arrive one by one
        parts = await stack.enter_async_context(edge(bus, roster, state))
        listener = listen(snapshot.catalog.gateway)
        url = url_of(listener)
        await stack.enter_async_context(serving(build_app(parts), listener, parts.live, drain_s))
        yield Front(url, parts, bus, router, workers)
