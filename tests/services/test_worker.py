from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from services.bus.memory import MemoryBus
from services.contracts import subjects
from services.contracts.errors import InternalError, Leaving, Overloaded, UpstreamError
from services.contracts.events import Delta, Event, Finished, Started, Usage
from services.contracts.messages import ChatRequest, Priority, Task
from services.worker.service import Description, Job
from services.worker.slots import Slots
from tests.support.direct import chat, serving


class Echo:
    """Says the question back, word by word; some words have effects."""

    def __init__(self) -> None:
        self.go_on = asyncio.Event()
        self.entered = asyncio.Event()
        self.freed = asyncio.Event()

    async def start(self) -> None: ...

    def describe(self) -> Description:
        return Description("echo-1", ("chat",))

    async def run(self, task: Task, job: Job) -> AsyncIterator[Event]:
        assert isinstance(task.request, ChatRequest)
        self.entered.set()
        try:
            for word in task.request.question.split():
                if word == "wait":
                    await self.go_on.wait()
                elif word == "break":
                    raise RuntimeError("secret detail")
                elif word == "refuse":
                    raise UpstreamError("upstream said 500")
                yield Delta(f"{word} ")
            yield Finished(Usage(input_tokens=1, output_tokens=2))
        finally:
            self.freed.set()

    async def stop(self) -> None: ...


async def test_streamed_answer_arrives_in_order_and_names_who_answers() -> None:
    async with serving(MemoryBus(), Echo()) as direct:
        events = [event async for event in direct.events(chat("a b c", stream=True))]
    assert isinstance(events[0], Started)
    assert events[0].model == "echo-1"
    assert [e.text for e in events if isinstance(e, Delta)] == ["a ", "b ", "c "]
    assert isinstance(events[-1], Finished)


async def test_plain_answer_is_one_delta() -> None:
    async with serving(MemoryBus(), Echo()) as direct:
        events = [event async for event in direct.events(chat("a b c"))]
    assert [e.text for e in events if isinstance(e, Delta)] == ["a b c "]


async def test_failure_before_the_first_event_goes_to_the_router() -> None:
    async with serving(MemoryBus(), Echo()) as direct:
        with pytest.raises(UpstreamError, match="500"):
            await direct.text(chat("refuse", stream=True))


async def test_plain_answer_that_fails_halfway_is_still_the_routers_to_retry() -> None:
    async with serving(MemoryBus(), Echo()) as direct:
        task, inbox = direct.task(chat("a b refuse"))
        with pytest.raises(UpstreamError):
            async for _ in direct.follow(task, inbox):
                pytest.fail("nothing may reach the inbox")


async def test_unexpected_exception_tells_the_client_nothing_of_its_text() -> None:
    async with serving(MemoryBus(), Echo()) as direct:
        with pytest.raises(InternalError) as caught:
            await direct.text(chat("break"))
    assert "secret" not in str(caught.value)


async def test_cancel_frees_the_slot_at_once() -> None:
    bus, echo = MemoryBus(), Echo()
    async with serving(bus, echo, slots=1) as direct:
        task, inbox = direct.task(chat("a wait", stream=True))
        follower = asyncio.ensure_future(anext(direct.follow(task, inbox)))
        await asyncio.wait_for(follower, 5)
        assert direct.worker.beat().in_use == 1
        await bus.publish(subjects.cancel(task.root), task.id.encode())
        await asyncio.wait_for(echo.freed.wait(), 5)
        async with asyncio.timeout(5):
            while direct.worker.beat().in_use:
                await asyncio.sleep(0)
        echo.freed.clear()
        assert (await direct.text(chat("b")))[0] == "b "


async def test_the_beat_tells_how_long_requests_wait_for_a_slot() -> None:
    clock_s = 100.0
    slots = Slots(1, 4, lambda: clock_s)
    async with slots.slot(200.0):
        waiting = asyncio.create_task(_through(slots))
        await asyncio.sleep(0)
        assert (slots.in_use, slots.queued, slots.waited_s) == (1, 1, 0.0)
        clock_s += 10
    await waiting
    assert slots.waited_s == pytest.approx(2.0)  # a fifth of the newest
    assert slots.service_s == pytest.approx(8.0)  # 10 s, then none
    assert slots.in_use == 0


@pytest.mark.parametrize("hand_back", [True, False])
async def test_one_that_leaves_finishes_what_runs_and_what_waits_goes_back_if_others_serve(hand_back: bool) -> None:
    echo = Echo()
    async with serving(MemoryBus(), echo, slots=1) as direct:
        running = asyncio.create_task(direct.text(chat("wait a")))
        await asyncio.wait_for(echo.entered.wait(), 5)
        waiting = asyncio.create_task(direct.text(chat("b")))
        async with asyncio.timeout(5):
            while not direct.worker.beat().queued:
                await asyncio.sleep(0)
        leaving = asyncio.create_task(direct.worker.drain(10.0, hand_back=hand_back))
        if hand_back:
            with pytest.raises(Leaving, match="leaves"):
                await asyncio.wait_for(waiting, 5)
        echo.go_on.set()
        assert (await running)[0] == "wait a "
        if not hand_back:
            assert (await waiting)[0] == "b "
        await leaving


async def _through(slots: Slots) -> None:
    async with slots.slot(200.0):
        pass


async def test_the_highest_priority_goes_first_and_within_it_the_nearest_deadline() -> None:
    slots = Slots(1, 8, lambda: 0.0)
    done: list[str] = []

    async def wait(name: str, deadline_s: float, priority: Priority) -> None:
        async with slots.slot(deadline_s, priority):
            done.append(name)

    line: tuple[tuple[str, float, Priority], ...] = (
        ("low", 1.0, "low"),
        ("late", 20.0, "normal"),
        ("soon", 10.0, "normal"),
        ("high", 30.0, "high"),
    )
    async with slots.slot(10.0):
        waiting = [asyncio.create_task(wait(*place)) for place in line]
        await asyncio.sleep(0)
        assert slots.queued == len(line)
    await asyncio.gather(*waiting)
    assert done == ["high", "soon", "late", "low"]


async def test_a_full_queue_makes_room_for_a_higher_priority_and_for_no_other() -> None:
    slots = Slots(1, 1, lambda: 0.0)

    async def wait(priority: Priority) -> str:
        async with slots.slot(100.0, priority):
            return priority

    async with slots.slot(100.0):
        low = asyncio.create_task(wait("low"))
        await asyncio.sleep(0)
        with pytest.raises(Overloaded):
            await wait("low")
        high = asyncio.create_task(wait("high"))
        with pytest.raises(Overloaded):
            await low
        assert slots.queued == 1
        with pytest.raises(Overloaded):
            await wait("normal")
    assert await high == "high"
    assert (slots.in_use, slots.queued) == (0, 0)


async def test_full_queue_refuses_with_a_time_to_retry() -> None:
    bus, echo = MemoryBus(), Echo()
    async with serving(bus, echo, slots=1, queue_max=0) as direct:
        held = asyncio.create_task(direct.text(chat("wait")))
        await echo.entered.wait()
        with pytest.raises(Overloaded) as caught:
            await direct.text(chat("b"))
        assert caught.value.retry_after_s is not None
        echo.go_on.set()
        await held
