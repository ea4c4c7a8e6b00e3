"""The router's process on a bus, with real workers around scripted services."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from router.service import RouterService
from services.bus.call import Call
from services.bus.memory import MemoryBus
from services.bus.roster import Roster
from services.contracts import subjects
from services.contracts.catalog import Catalog, Snapshot
from services.contracts.decision import Decision
from services.contracts.errors import (
    BudgetExceeded,
    ComponentTimeout,
    ComponentUnavailable,
    ContextLengthExceeded,
    InvalidRequest,
    ModelNotFound,
    NoCapableComponent,
    Unsupported,
    UpstreamError,
)
from services.contracts.events import Delta, Event, Finished, Found, Passage, ScreenLine, ScreenRead, Usage
from services.contracts.feedback import Feedback
from services.contracts.messages import (
    Blob,
    ChatRequest,
    Image,
    ImagePart,
    Message,
    ReadRequest,
    Request,
    SearchRequest,
    Task,
    TextPart,
    Wishes,
    encode,
)
from services.contracts.price import Price
from services.worker.runtime import Worker
from services.worker.service import Description, Job

Script = Callable[[Task], AsyncIterator[Event]]


@dataclass
class Scripted:
    """A service that does what a test says, and remembers what it was asked."""

    description: Description
    script: Script
    asked: list[Task] = field(default_factory=list)

    async def start(self) -> None: ...

    def describe(self) -> Description:
        return self.description

    async def run(self, task: Task, job: Job) -> AsyncIterator[Event]:
        self.asked.append(task)
        async for event in self.script(task):
            yield event

    async def stop(self) -> None: ...


async def says_hello(task: Task) -> AsyncIterator[Event]:
    yield Delta("hel")
    yield Delta("lo")
    yield Finished(Usage(3, 2))


def failing(error: Exception) -> Script:
    async def script(task: Task) -> AsyncIterator[Event]:
        raise error
        yield Delta()  # makes it a generator

    return script


def model(script: Script = says_hello, *, price: float = 0.0, local: bool = True) -> Scripted:
    return Scripted(Description("m", ("chat",), local=local, price=Price(price, price)), script)


CATALOG: dict[str, dict[str, object]] = {
    "small": {"kind": "llm_local", "source": "file:x", "sha256": "0" * 64, "quality": 0.7},
    "cloud": {"kind": "llm_cloud", "model": "m", "quality": 0.95},
    "eyes": {"kind": "vision"},
    "docs": {"kind": "retrieval"},
}


@dataclass
class System:
    bus: MemoryBus
    roster: Roster
    workers: dict[str, Worker]
    router: RouterService

    def call(self, request: Request, *, auto: str = "auto", seconds: float = 20.0, **wishes: Any) -> Call:
        name = secrets.token_hex(8)
        return Call(
            self.bus,
            self.roster,
            Task(name, name, auto, request, "", time.time() + seconds, Wishes(**wishes)),
        )

    async def ask(self, request: Request, **how: Any) -> tuple[str, Decision]:
        call = self.call(request, **how)
        text = ""
        async for event in call.events():
            if isinstance(event, Delta):
                text += event.text
        routed = await call.routed()
        assert routed is not None
        return text, routed.decision


def catalog(components: dict[str, dict[str, object]] | None = None, **router: object) -> Snapshot:
    return Snapshot(revision=7, catalog=Catalog.model_validate({"router": router, "components": components or CATALOG}))


@asynccontextmanager
async def system(
    snapshot: Snapshot | None = None, *, bus: MemoryBus | None = None, **services: Scripted
) -> AsyncIterator[System]:
    """A router and one worker for each service; `small2` is a second instance of `small`."""
    bus = bus or MemoryBus()
    snapshot = snapshot or catalog()
    async with AsyncExitStack() as stack:
        workers = {}
        for name, service in services.items():
            component = name.rstrip("2")
            kind = str(CATALOG[component]["kind"])
            worker = Worker(bus, service, component=component, kind=kind, instance=f"{name}-1", slots=4)
            await worker.start()
            stack.push_async_callback(worker.drain, 1.0)
            workers[name] = worker
        router = RouterService(bus, snapshot, instance="router-1")
        await router.start()
        stack.push_async_callback(router.drain, 1.0)
        roster = Roster(bus)
        await roster.start()
        stack.push_async_callback(roster.stop)
        async with asyncio.timeout(5):
            while len(roster.ready()) < len(services) + 1 or len(router._roster.ready()) < len(services) + 1:
                await asyncio.sleep(0)
        yield System(bus, roster, workers, router)


def question(text: str, *, stream: bool = False) -> ChatRequest:
    return ChatRequest((Message("user", text),), stream=stream)


async def test_answer_comes_from_the_cheapest_good_enough_and_the_decision_says_why() -> None:
    async with system(small=model(), cloud=model(price=5.0)) as it:
        text, decision = await it.ask(question("hi", stream=True))
    assert text == "hello"
    assert decision.component == "small"
    assert decision.revision == 7
    assert {c.steps: c.rejected for c in decision.candidates} == {("small",): None, ("cloud",): "dearer"}
    assert [a.component for a in decision.attempts] == ["small"]
    assert decision.prediction


async def test_exploration_is_logged_with_its_propensities() -> None:
    async with system(catalog(explore=1.0), small=model(), cloud=model(price=5.0)) as it:
        decisions = [(await it.ask(question("hi")))[1] for _ in range(40)]
        pinned = (await it.ask(question("hi"), auto="small"))[1]
        strict = (await it.ask(question("hi"), strict=True))[1]
    assert {d.component for d in decisions} == {"small", "cloud"}
    assert all(d.propensities == {"small": 0.5, "cloud": 0.5} for d in decisions)
    assert {d.component for d in decisions if d.explored} == {"cloud"}
    assert {d.predicted_quality for d in decisions if d.explored} == {0.95}
    assert pinned.propensities == strict.propensities == {}


async def test_a_component_that_took_over_was_not_drawn() -> None:
    broken = model(failing(UpstreamError("500")), price=5.0)
    async with system(catalog(explore=1.0), small=model(), cloud=broken) as it:
        decisions = [(await it.ask(question("hi")))[1] for _ in range(12)]
    assert {d.component for d in decisions} == {"small"}
    assert {bool(d.propensities) for d in decisions if len(d.attempts) == 1} == {True}
    assert {bool(d.propensities) for d in decisions if len(d.attempts) > 1} == {False}


async def test_without_exploration_chance_has_no_say() -> None:
    async with system(small=model(), cloud=model(price=5.0)) as it:
        _, decision = await it.ask(question("hi"))
    assert decision.propensities == {}
    assert decision.predicted_quality == 0.7
    assert decision.prior_quality is None  # the operator has set it


async def test_follow_up_goes_to_the_instance_that_has_read_the_conversation() -> None:
    said = (
        Message("user", "Tell me a long story. " * 200),
        Message("assistant", "Once. " * 200),
        Message("user", "And?"),
    )
    async with system(catalog(quality=0.5), small=model(), small2=model()) as it:
        first, follow_up = it.call(ChatRequest(said[:1])).task, ChatRequest(said)
        reader = next(b for b in it.router._roster.ready("small") if b.instance == "small2-1")
        it.router._router._sessions.remember(first, reader)
        _, decision = await it.ask(follow_up)
        assert decision.instance == "small2-1"
        held = it.router._router._sessions.held(it.call(ChatRequest((*said, *said[1:]))).task)
    assert held is not None
    assert held.instance == "small2-1"


LEARNT: dict[str, dict[str, object]] = {
    "small": {"kind": "llm_cloud", "model": "s", "tier": "medium"},
    "cloud": {"kind": "llm_cloud", "model": "m", "quality": 0.95},
}


async def test_feedback_turns_the_routing_and_outlives_the_router() -> None:
    bus, prompt = MemoryBus(), question("What is the capital of France?")
    small, cloud = model(), model(price=5.0)
    async with system(catalog(LEARNT, quality=0.5), bus=bus, small=small, cloud=cloud) as it:
        before = (await it.ask(prompt))[1]
        assert before.component == "small"
        assert before.prior_quality is not None
        for number in range(60):
            verdict = Feedback(f"d{number}", 0.0, ("small",), "m", time.time(), before.prior_quality)
            await bus.record(subjects.feedback(verdict.decision_id, "client"), encode(verdict))
        await bus.record(subjects.feedback("x", "client"), b"not feedback")
        async with asyncio.timeout(5):
            while (after := (await it.ask(prompt))[1]).component == "small":
                await asyncio.sleep(0)
    assert after.component == "cloud"
    async with system(catalog(LEARNT, quality=0.5), bus=bus, small=small, cloud=cloud) as it:
        again = (await it.ask(prompt))[1]
    assert again.component == "cloud"
    small_now = next(c for c in again.candidates if c.steps == ("small",))
    assert small_now.quality is not None
    assert small_now.quality < before.prior_quality


async def test_failure_before_the_first_byte_moves_to_the_next_candidate() -> None:
    async with system(small=model(failing(UpstreamError("500"))), cloud=model(price=5.0)) as it:
        text, decision = await it.ask(question("hi", stream=True))
    assert text == "hello"
    assert [(a.component, a.error.code if a.error else None) for a in decision.attempts] == [
        ("small", "upstream_error"),
        ("cloud", None),
    ]


async def test_overloaded_instance_moves_to_its_twin() -> None:
    async with system(small=model(failing(ComponentUnavailable("x"))), small2=model()) as it:
        _, decision = await it.ask(question("hi"), auto="small")
    assert decision.instance in ("small2-1", "small-1")
    assert decision.component == "small"


async def test_request_that_is_wrong_is_not_tried_elsewhere() -> None:
    cloud = model(price=5.0)
    async with system(small=model(failing(InvalidRequest("bad schema"))), cloud=cloud) as it:
        with pytest.raises(InvalidRequest, match="bad schema"):
            await it.ask(question("hi"))
    assert not cloud.asked


async def test_context_that_is_too_small_goes_to_a_larger_one_else_says_so() -> None:
    cloud = model(price=5.0, local=False)
    async with system(small=model(failing(ContextLengthExceeded("9 > 8"))), cloud=cloud) as it:
        assert (await it.ask(question("hi")))[1].component == "cloud"
        with pytest.raises(ContextLengthExceeded):
            await it.ask(question("hi"), auto="small")
        with pytest.raises(ContextLengthExceeded):
            await it.ask(question("hi"), privacy="local")


async def test_privacy_local_never_reaches_the_cloud() -> None:
    cloud = model(price=5.0, local=False)
    async with system(small=model(failing(UpstreamError("x"))), cloud=cloud) as it:
        with pytest.raises(UpstreamError):
            await it.ask(question("hi"), privacy="local", quality=0.99)
    assert not cloud.asked


async def test_nobody_good_enough_degrades_or_refuses_when_strict() -> None:
    async with system(small=model()) as it:
        _, decision = await it.ask(question("hi"), quality=0.9)
        assert "below the floor" in (decision.degraded or "")
        with pytest.raises(NoCapableComponent, match="strict"):
            await it.ask(question("hi"), quality=0.9, strict=True)


async def test_refusals_say_whose_move_it_is() -> None:
    async with system(small=model(), cloud=model(price=5.0)) as it:
        with pytest.raises(ModelNotFound, match="known: auto, cloud"):
            await it.ask(question("hi"), auto="nope")
        with pytest.raises(BudgetExceeded):
            await it.ask(question("hi"), auto="cloud", max_cost_usd=0.0)
        with pytest.raises(ComponentUnavailable, match="eyes is not ready"):
            await it.ask(question("hi"), auto="eyes")
        with pytest.raises(Unsupported, match="small cannot see images"):
            await it.ask(screenshot(), auto="small")
        with pytest.raises(NoCapableComponent):
            await it.ask(SearchRequest("x"))


async def test_what_none_of_all_components_can_do_is_refused_for_good_and_not_to_be_tried_again() -> None:
    two = catalog({name: CATALOG[name] for name in ("small", "cloud")})
    async with system(two, small=model(), cloud=model(local=False)) as it:
        with pytest.raises(Unsupported, match=r"no component here can do this; .*small: cannot do search"):
            await it.ask(SearchRequest("x"))
    async with system(two, small=model()) as it:  # the one that is away may be able to
        with pytest.raises(NoCapableComponent):
            await it.ask(SearchRequest("x"))


async def test_a_prompt_too_long_for_the_component_named_says_so_in_a_sentence() -> None:
    small = Scripted(Description("m", ("chat",), context_tokens=64), says_hello)
    async with system(small=small) as it:
        with pytest.raises(ContextLengthExceeded) as refused:
            await it.ask(question("x" * 1000), auto="small")
    assert str(refused.value) == "the prompt is too long for small: its context of 64 tokens is too small"


def screenshot() -> ChatRequest:
    image = Image(Blob("0" * 64, 3, b"abc"), "image/png", 10, 20)
    return ChatRequest((Message("user", (TextPart("What does it say?"), ImagePart(image))),))


async def test_image_is_read_then_answered_and_the_decision_shows_both() -> None:
    async def reads(task: Task) -> AsyncIterator[Event]:
        assert isinstance(task.request, ReadRequest)
        yield ScreenRead((ScreenLine("Total: 42 EUR", 1, 2, 3, 4, 0.99),), 10, 20)
        yield Finished(Usage())

    eyes = Scripted(Description("ocr", ("read", "answer")), reads)
    small = model()
    async with system(small=small, eyes=eyes) as it:
        _, decision = await it.ask(screenshot())
    request = small.asked[0].request
    assert isinstance(request, ChatRequest)
    assert "Total: 42 EUR" in request.messages[0].text
    assert not request.images
    chosen = next(c for c in decision.candidates if c.rejected is None)
    assert chosen.steps == ("eyes", "small")
    assert [(s.name, s.component) for s in decision.steps] == [("read", "eyes")]


async def test_documents_that_bear_on_the_question_come_before_the_model() -> None:
    async def finds(task: Task) -> AsyncIterator[Event]:
        assert isinstance(task.request, SearchRequest)
        yield Found((Passage("Refunds take 14 days.", "policy.md", 0.03, 0.9, 0.97), Passage("x", "y", 0.01, 0.7, 0.1)))
        yield Finished(Usage())

    docs = Scripted(Description("d", ("search", "answer"), facts={"documents": 3.0}), finds)
    small = model()
    async with system(small=small, docs=docs) as it:
        call = it.call(question("How long do refunds take?"))
        async for _ in call.events():
            pass
        routed = await call.routed()
    assert routed is not None
    assert [p.source for p in routed.sources] == ["policy.md"]
    request = small.asked[0].request
    assert isinstance(request, ChatRequest)
    assert "[1] (policy.md) Refunds take 14 days." in request.question


async def test_worker_that_dies_before_it_answers_is_replaced_by_another() -> None:
    reached = asyncio.Event()

    async def hangs(task: Task) -> AsyncIterator[Event]:
        reached.set()
        await asyncio.Event().wait()
        yield Delta()

    async with system(small=model(hangs), cloud=model(price=5.0)) as it:
        asking = asyncio.create_task(it.ask(question("hi", stream=True)))
        await reached.wait()
        await it.bus.publish(subjects.gone("small", "small-1"), b"")
        text, decision = await asyncio.wait_for(asking, 10)
    assert text == "hello"
    assert [a.component for a in decision.attempts] == ["small", "cloud"]


async def test_leaving_early_cancels_the_work_wherever_it_is() -> None:
    freed = asyncio.Event()

    async def endless(task: Task) -> AsyncIterator[Event]:
        try:
            yield Delta("a")
            await asyncio.Event().wait()
        finally:
            freed.set()

    async with system(small=model(endless)) as it:
        events = it.call(question("hi", stream=True)).events()
        async for event in events:
            if isinstance(event, Delta):
                break
        await events.aclose()  # type: ignore[attr-defined]  # it is an async generator
        await asyncio.wait_for(freed.wait(), 5)


async def test_deadline_ends_the_waiting() -> None:
    async def hangs(task: Task) -> AsyncIterator[Event]:
        await asyncio.Event().wait()
        yield Delta()

    async with system(small=model(hangs)) as it:
        with pytest.raises(ComponentTimeout):
            await it.ask(question("hi"), seconds=0.3)
