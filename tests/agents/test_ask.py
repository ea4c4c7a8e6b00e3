from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import aclosing

import msgspec
import pytest

from agents.ask import MAX_DEPTH, MAX_STEP_CHARS, Ask, sub_task
from services.contracts.errors import InvalidRequest, NoCapableComponent, Unsupported, UpstreamError
from services.contracts.events import Delta, Event, Finished, Step, ToolCallDelta, Usage
from services.contracts.messages import ChatRequest, SearchRequest, Task, ToolCall, Wishes
from services.worker.service import Description, Job
from tests.support.direct import chat
from tests.support.routing import Team, team


class Talker:
    """Answers with some words and a tool call; certain questions go wrong."""

    def __init__(self) -> None:
        self.freed = asyncio.Event()

    async def start(self) -> None: ...

    def describe(self) -> Description:
        return Description("talker", ("chat",), price=None)

    async def run(self, task: Task, job: Job) -> AsyncIterator[Event]:
        assert isinstance(task.request, ChatRequest)
        if task.request.question == "refuse":
            raise Unsupported("not that")
        try:
            yield Delta("four ")
            if task.request.question == "break":
                job.spent = Usage(5, 1, cost_usd=0.25)
                raise UpstreamError("broke off")
            if task.request.question == "wait":
                await asyncio.Event().wait()
            yield Delta("words", tool_calls=(ToolCallDelta(0, "c1", "add", '{"a":'),))
            yield Delta(tool_calls=(ToolCallDelta(0, arguments="1}"),))
            yield Finished(Usage(10, 4, cost_usd=0.5), steps=(Step("beneath", "in", "out", 1.0),))
        finally:
            self.freed.set()

    async def stop(self) -> None: ...


def parent(**changes: object) -> Task:
    task = Task("root-7", "root", "auto", chat("top"), "inbox", time.time() + 30, tenant="t", traceparent="00-a-b-01")
    return msgspec.structs.replace(task, **changes)


def ask_of(peers: Team, task: Task | None = None) -> tuple[Ask, Job]:
    job = Job(task or parent())
    return Ask(peers.bus, peers.roster, job), job


def test_sub_task_descends_and_asks_for_no_more_than_its_parent() -> None:
    top = parent(wishes=Wishes(quality=0.8, max_cost_usd=1.0, privacy="local", strict=True), depth=2)
    task = sub_task(top, 3, SearchRequest("q"), "docs", Usage(cost_usd=0.75), timeout_s=3600)
    assert (task.id, task.root, task.depth, task.model) == ("root-7-3", "root", 3, "docs")
    assert (task.tenant, task.traceparent, task.deadline_s) == (top.tenant, top.traceparent, top.deadline_s)
    assert task.wishes == Wishes(quality=0.8, max_cost_usd=0.25, privacy="local", strict=True)


def test_own_timeout_and_quality_hold_for_one_question() -> None:
    task = sub_task(parent(), 1, SearchRequest("q"), "auto", Usage(), quality=0.0, timeout_s=2)
    assert task.deadline_s <= time.time() + 2
    assert task.wishes.quality == 0.0


def test_too_deep_is_refused() -> None:
    assert sub_task(parent(depth=MAX_DEPTH - 1), 1, SearchRequest("q"), "auto", Usage()).depth == MAX_DEPTH
    with pytest.raises(InvalidRequest):
        sub_task(parent(depth=MAX_DEPTH), 1, SearchRequest("q"), "auto", Usage())


async def test_answer_is_put_together_and_leaves_its_trace_and_cost() -> None:
    async with team(chat=Talker()) as peers:
        ask, job = ask_of(peers)
        reply = await ask.chat(chat("x" * 5000), name="think")
        await ask.chat(chat("again"))
    assert reply.text == "four words"
    assert reply.tool_calls == (ToolCall("c1", "add", '{"a":1}'),)
    assert reply.started.component == "chat-peer"
    assert job.spent == ask.spent == Usage(20, 8, cost_usd=1.0)
    assert [step.name for step in ask.steps] == ["beneath", "think", "beneath", "chat"]
    step = ask.steps[1]
    assert (step.component, step.output, step.error) == ("chat-peer", 'four words\nadd({"a":1})', None)
    assert len(step.input) == MAX_STEP_CHARS
    assert [task.id for task in peers.requests] == ["root-7-1", "root-7-2"]


async def test_stream_comes_piece_by_piece_with_the_trace_complete_at_its_end() -> None:
    async with team(chat=Talker()) as peers:
        ask, _ = ask_of(peers)
        pieces: list[str] = []
        async for event in ask.chat_stream(chat("go"), name="say"):
            if isinstance(event, Delta):
                pieces.append(event.text)
                assert not ask.steps
            else:
                assert [step.name for step in ask.steps] == ["beneath", "say"]
    assert pieces == ["four ", "words", ""]


async def test_refusals_are_steps_too() -> None:
    async with team(chat=Talker()) as peers:
        ask, _ = ask_of(peers)
        with pytest.raises(Unsupported):
            await ask.chat(chat("refuse"))
        with pytest.raises(NoCapableComponent):
            await ask.search("anything")
    assert [step.error for step in ask.steps] == ["unsupported: not that", "no_capable_component: nobody can search"]


async def test_what_a_broken_answer_spent_is_counted() -> None:
    async with team(chat=Talker()) as peers:
        ask, job = ask_of(peers)
        with pytest.raises(UpstreamError):
            async for _ in ask.chat_stream(chat("break")):
                pass
    assert job.spent == Usage(5, 1, cost_usd=0.25)
    assert ask.steps[0].output == "four "
    assert ask.steps[0].error is not None


async def test_stream_closed_early_stops_the_work_behind_it() -> None:
    talker = Talker()
    async with team(chat=talker) as peers:
        ask, _ = ask_of(peers)
        async with aclosing(ask.chat_stream(chat("wait"))) as events:
            assert isinstance(await anext(events), Delta)
        await asyncio.wait_for(talker.freed.wait(), 5)
    assert ask.steps[0].error == "given up"


async def test_own_work_can_be_a_step() -> None:
    async with team() as peers:
        ask, _ = ask_of(peers)
        with ask.step("add", "1+1") as note:
            note.output = "2"
        with pytest.raises(ZeroDivisionError), ask.step("divide", "1/0"):
            _ = 1 / 0
    assert [(s.name, s.output, s.error) for s in ask.steps] == [
        ("add", "2", None),
        ("divide", "", "internal_error: ZeroDivisionError"),
    ]
