"""What every bus must do: run on the in-memory one and on a real nats-server."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator

import pytest

from services.bus.memory import MemoryBus, matches
from services.bus.nats_bus import connect
from services.bus.port import Bus, Incoming
from services.contracts import subjects
from services.contracts.errors import ComponentTimeout, ComponentUnavailable, ConfigError, NotFound, Overloaded
from tests.support.nats import NatsServer


@pytest.fixture(params=["memory", "nats"])
async def any_bus(request: pytest.FixtureRequest, nats_server: NatsServer) -> AsyncIterator[Bus]:
    if request.param == "memory":
        memory = MemoryBus()
        yield memory
        await memory.close()
        return
    real = await connect(nats_server.url, name="contract")
    await real.ensure_storage()
    yield real
    await real.close()


def fresh(*parts: str) -> str:
    return ".".join(["test", secrets.token_hex(6), *parts])


async def collect(bus: Bus, subject: str, queue: str = "") -> asyncio.Queue[Incoming]:
    heard: asyncio.Queue[Incoming] = asyncio.Queue()
    await bus.subscribe(subject, heard.put, queue=queue)
    await bus.flush()
    return heard


async def test_subscriber_hears_what_matches_in_order(any_bus: Bus) -> None:
    name = fresh()
    heard = await collect(any_bus, f"{name}.*.b")
    for subject, data in ((f"{name}.a.b", b"1"), (f"{name}.a.c", b"no"), (f"{name}.x.b", b"2")):
        await any_bus.publish(subject, data)
    assert [(await asyncio.wait_for(heard.get(), 5)).data for _ in range(2)] == [b"1", b"2"]


async def test_queue_group_shares_the_messages(any_bus: Bus) -> None:
    name = fresh("work")
    one, two = await collect(any_bus, name, "q"), await collect(any_bus, name, "q")
    for _ in range(40):
        await any_bus.publish(name, b"x")
    async with asyncio.timeout(5):
        while one.qsize() + two.qsize() < 40:
            await asyncio.sleep(0)
    assert one.qsize() + two.qsize() == 40
    assert one.qsize() > 0
    assert two.qsize() > 0


async def test_ask_gets_the_answer(any_bus: Bus) -> None:
    name = fresh()

    async def double(message: Incoming) -> None:
        await any_bus.publish(message.reply, message.data * 2)

    await any_bus.subscribe(name, double)
    await any_bus.flush()
    assert await any_bus.ask(name, b"ab", 5) == b"abab"


async def test_ask_where_nobody_listens_fails_at_once(any_bus: Bus) -> None:
    with pytest.raises(ComponentUnavailable):
        await any_bus.ask(fresh(), b"", 30)


async def test_ask_that_nobody_answers_times_out(any_bus: Bus) -> None:
    name = fresh()
    await collect(any_bus, name)
    with pytest.raises(ComponentTimeout):
        await any_bus.ask(name, b"", 0.05)


async def test_inbox_keeps_the_order_of_its_sender(any_bus: Bus) -> None:
    inbox = any_bus.inbox()
    await any_bus.flush()
    for number in range(100):
        await any_bus.publish(inbox.subject, str(number).encode())
    got = [int(await asyncio.wait_for(inbox.next(), 5)) for _ in range(100)]
    assert got == list(range(100))


async def test_inbox_that_overflows_says_so_instead_of_losing_parts(any_bus: Bus) -> None:
    inbox = any_bus.inbox(capacity=2)
    for _ in range(3):
        inbox.offer(b"x")
    assert await inbox.next() == b"x"
    assert await inbox.next() == b"x"
    with pytest.raises(Overloaded):
        await inbox.next()


async def test_closed_inbox_does_not_disturb_its_sender(any_bus: Bus) -> None:
    inbox = any_bus.inbox()
    inbox.close()
    await any_bus.publish(inbox.subject, b"late")
    await any_bus.flush()


async def test_stopped_subscription_hears_nothing(any_bus: Bus) -> None:
    name = fresh()
    heard: asyncio.Queue[Incoming] = asyncio.Queue()
    subscription = await any_bus.subscribe(name, heard.put)
    await subscription.stop()
    await any_bus.flush()
    with pytest.raises(ComponentUnavailable):
        await any_bus.ask(name, b"x", 5)
    assert heard.empty()


async def test_record_keeps_the_last_word(any_bus: Bus) -> None:
    name = subjects.decision(secrets.token_hex(8))
    assert await any_bus.recall(name) is None
    await any_bus.record(name, b"first")
    await any_bus.record(name, b"second")
    assert await any_bus.recall(name) == b"second"


async def test_what_was_recorded_is_replayed_in_order_and_heard_at_once(any_bus: Bus) -> None:
    one, two, other = secrets.token_hex(8), secrets.token_hex(8), secrets.token_hex(8)
    heard = await collect(any_bus, f"turnout.v1.feedback.{one}.*")
    for name, data in ((one, b"1"), (two, b"2"), (one, b"3"), (other, b"4")):
        await any_bus.record(subjects.feedback(name, "client"), data)
    assert [(await asyncio.wait_for(heard.get(), 5)).data for _ in range(2)] == [b"1", b"3"]
    kept = [data async for data in any_bus.replay(subjects.FEEDBACK)]
    assert kept[-3:] == [b"2", b"3", b"4"]  # the last word on each subject, where it was said
    assert [data async for data in any_bus.replay(f"turnout.v1.feedback.{one}.*")] == [b"3"]
    assert [data async for data in any_bus.replay("turnout.v1.feedback.nobody.client")] == []


async def test_value_can_be_replaced_only_by_one_who_has_seen_it(any_bus: Bus) -> None:
    key = secrets.token_hex(8)
    assert await any_bus.kv_get(subjects.CATALOG_BUCKET, key) is None
    first = await any_bus.kv_put(subjects.CATALOG_BUCKET, key, b"1", after=0)
    second = await any_bus.kv_put(subjects.CATALOG_BUCKET, key, b"2", after=first)
    with pytest.raises(ConfigError):
        await any_bus.kv_put(subjects.CATALOG_BUCKET, key, b"3", after=first)
    assert await any_bus.kv_get(subjects.CATALOG_BUCKET, key) == (b"2", second)


async def test_blob_larger_than_a_message_comes_back_whole(any_bus: Bus) -> None:
    data = secrets.token_bytes(any_bus.max_payload_bytes + 12345)
    name = await any_bus.blob_put(data)
    assert await any_bus.blob_get(name) == data
    await any_bus.blob_delete(name)
    await any_bus.blob_delete(name)
    with pytest.raises(NotFound):
        await any_bus.blob_get(name)


@pytest.mark.parametrize(
    ("pattern", "subject", "expected"),
    [("a.*.c", "a.b.c", True), ("a.*", "a.b.c", False), ("a.>", "a.b.c", True), ("a.>", "a", False), ("a", "b", False)],
)
def test_subject_patterns(pattern: str, subject: str, expected: bool) -> None:
    assert matches(pattern, subject) is expected
