"""Instances die while they answer, and are started again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from router import coming
from services.contracts import subjects
from services.contracts.errors import ComponentUnavailable
from services.contracts.events import Delta, Event, Finished, Usage
from services.contracts.messages import ChatRequest, Task
from services.contracts.price import Price
from services.worker.runtime import Worker
from services.worker.service import Description
from tests.router.test_graph import Scripted, System, failing, model, question, system

RESUMING = Description("m", ("chat", "resume"), price=Price())
DEAR = Description("m", ("chat", "resume"), price=Price(1.0, 1.0))


class Dying:
    """Says one word, and then nothing more."""

    def __init__(self) -> None:
        self.said = asyncio.Event()

    async def script(self, task: Task) -> AsyncIterator[Event]:
        yield Delta("one ")
        self.said.set()
        await asyncio.Event().wait()


async def goes_on(task: Task) -> AsyncIterator[Event]:
    assert isinstance(task.request, ChatRequest)
    assert task.request.written == "one "
    yield Delta("two")
    yield Finished(Usage(1, 1))


async def kill(running: System) -> None:
    """The only instance of `small` is gone, as its supervisor would say."""
    running.workers["small"]._announcer._task.cancel()  # type: ignore[union-attr]  # it has been started
    await running.bus.publish(subjects.gone("small", "small-1"), b"")


async def away(running: System) -> Worker:
    """The first instance of `small` loses its connection: nobody hears it, and it hears nobody."""
    worker = running.workers["small"]
    worker._announcer._task.cancel()  # type: ignore[union-attr]  # it has been started
    for subscription in worker._subscriptions:
        await subscription.stop()
    return worker


async def start_again(running: System, service: Scripted) -> Worker:
    worker = Worker(running.bus, service, component="small", kind="llm_local", instance="small-1", slots=4)
    worker._started_s += 1
    await worker.start()
    return worker


async def test_a_stream_whose_only_instance_dies_goes_on_once_that_is_started_again() -> None:
    dying = Dying()
    async with system(small=Scripted(RESUMING, dying.script)) as running:
        asking = asyncio.create_task(running.ask(question("count", stream=True), auto="small"))
        await dying.said.wait()
        await asyncio.sleep(0.05)  # the word has come
        await away(running)
        await kill(running)
        await asyncio.sleep(0.2)
        assert not asking.done()
        again = await start_again(running, Scripted(RESUMING, goes_on))
        text, _ = await asyncio.wait_for(asking, 10)
        await again.drain(0.1)
    assert text == "one two"


async def test_it_ends_when_what_is_started_is_another_model() -> None:
    dying = Dying()
    async with system(small=Scripted(RESUMING, dying.script)) as running:
        asking = asyncio.create_task(running.ask(question("count", stream=True), auto="small"))
        await dying.said.wait()
        await asyncio.sleep(0.05)
        await away(running)
        await kill(running)
        other = Description("another", ("chat", "resume"), price=Price())
        again = await start_again(running, Scripted(other, goes_on))
        with pytest.raises(ComponentUnavailable, match="has died"):
            await asyncio.wait_for(asking, 10)
        await again.drain(0.1)


async def test_one_that_serves_and_says_no_is_not_waited_for() -> None:
    async with system(small=model(failing(ComponentUnavailable("not now")))) as running:
        with pytest.raises(ComponentUnavailable, match="not now"):
            await asyncio.wait_for(running.ask(question("hi"), auto="small"), 3)


class Late:
    """Is cut off before it says anything, and says it all when the wire is mended."""

    def __init__(self) -> None:
        self.asked, self.mended, self.stopped = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def script(self, task: Task) -> AsyncIterator[Event]:
        self.asked.set()
        try:
            await self.mended.wait()
            for word in ("late ", "words ", "of "):
                yield Delta(word)
                await asyncio.sleep(0)
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.stopped.set()
            raise


class Paced:
    """Says each of two words when it is allowed to."""

    def __init__(self) -> None:
        self.asked, self.begin, self.said, self.go_on = (asyncio.Event() for _ in range(4))

    async def script(self, task: Task) -> AsyncIterator[Event]:
        self.asked.set()
        await self.begin.wait()
        yield Delta("one ")
        self.said.set()
        await self.go_on.wait()
        yield Delta("two")
        yield Finished(Usage(1, 1))


async def test_what_one_that_was_taken_for_dead_says_late_does_not_mix_with_the_answer_and_it_is_stopped() -> None:
    late, paced = Late(), Paced()
    async with system(small=Scripted(RESUMING, late.script), cloud=Scripted(DEAR, paced.script)) as running:
        asking = asyncio.create_task(running.ask(question("count", stream=True), quality=0.0))
        await asyncio.wait_for(late.asked.wait(), 5)
        await kill(running)
        paced.begin.set()
        await asyncio.wait_for(paced.said.wait(), 5)
        late.mended.set()
        await asyncio.sleep(0.05)  # all of it has come
        paced.go_on.set()
        text, decision = await asyncio.wait_for(asking, 10)
        assert text == "one two"
        assert decision.component == "cloud"
        await asyncio.wait_for(late.stopped.wait(), 5)


async def test_one_that_comes_back_first_answers_and_the_other_is_stopped() -> None:
    late, paced = Late(), Paced()
    async with system(small=Scripted(RESUMING, paced.script), cloud=Scripted(DEAR, late.script)) as running:
        asking = asyncio.create_task(running.ask(question("count", stream=True), quality=0.0))
        await asyncio.wait_for(paced.asked.wait(), 5)
        await kill(running)
        await asyncio.wait_for(late.asked.wait(), 5)
        paced.begin.set()
        await asyncio.wait_for(paced.said.wait(), 5)
        late.mended.set()
        await asyncio.sleep(0.05)
        paced.go_on.set()
        text, _ = await asyncio.wait_for(asking, 10)
        assert text == "one two"
        await asyncio.wait_for(late.stopped.wait(), 5)


async def test_what_waits_at_one_that_leaves_is_answered_by_the_one_in_its_place() -> None:
    slow = Paced()
    async with system(small=Scripted(RESUMING, slow.script)) as running:
        old = running.workers["small"]
        asking = [asyncio.create_task(running.ask(question("count"), auto="small")) for _ in range(5)]
        async with asyncio.timeout(5):
            while not old.beat().queued:
                await asyncio.sleep(0)
        new = Worker(
            running.bus, model(), component="small", kind="llm_local", instance="small-2", generation=2, slots=4
        )
        await new.start()
        leaving = asyncio.create_task(old.drain(10.0, hand_back=True))
        done, _ = await asyncio.wait(asking, timeout=5, return_when=asyncio.FIRST_COMPLETED)
        (first,) = done
        text, decision = first.result()
        assert (text, decision.instance) == ("hello", "small-2")
        slow.begin.set()
        slow.go_on.set()
        assert sorted([text for text, _ in await asyncio.gather(*asking)]) == ["hello"] + ["one two"] * 4
        await leaving
        await new.drain(0.1)


async def test_one_that_is_between_two_connections_is_asked_again_when_it_speaks() -> None:
    async with system(small=model()) as running:
        worker = await away(running)
        asking = asyncio.create_task(running.ask(question("count"), auto="small"))
        await asyncio.sleep(0.1)
        assert not asking.done()
        await running.bus.subscribe(subjects.do("small", "small-1"), worker._on_task)
        await worker._announcer.announce()
        text, decision = await asyncio.wait_for(asking, 5)
    assert text == "hello"
    codes = [attempt.error.code if attempt.error else None for attempt in decision.attempts]
    assert codes == ["instance_unreached", None]


async def test_where_another_serves_nobody_waits_for_one_that_is_not_reached() -> None:
    async with system(small=model(), small2=model()) as running:
        await away(running)
        for _ in range(4):
            _, decision = await asyncio.wait_for(running.ask(question("count"), auto="small"), 0.5)
            assert decision.instance == "small2-1"


async def test_one_that_was_not_reached_and_stays_silent_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(coming, "_GAP_S", 0.3)
    async with system(small=model()) as running:
        await away(running)
        with pytest.raises(ComponentUnavailable):
            await asyncio.wait_for(running.ask(question("count"), auto="small"), 10)
