"""What an upstream's refusals and failures become, when we ask again, and when we leave it alone."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from typing import Any

import pytest

from services.contracts import subjects
from services.contracts.errors import (
    Cancelled,
    ComponentTimeout,
    ComponentUnavailable,
    ContextLengthExceeded,
    InvalidRequest,
    Overloaded,
    PayloadTooLarge,
    TurnoutError,
    Unsupported,
    UpstreamError,
)
from services.contracts.events import Delta, Event
from tests.services.llm_cloud.answers import hear
from tests.services.llm_cloud.conftest import Clock, Cloud
from tests.support.direct import Direct, chat
from tests.support.upstream import GOOD, Behaviour, Upstream


def told(message: str, **more: Any) -> dict[str, Any]:
    return {"error": {"message": message, **more}}


@pytest.mark.parametrize(
    ("behaviour", "error", "match"),
    [
        (Behaviour(status=400, body=told("bad role", param="messages")), InvalidRequest, "bad role"),
        (Behaviour(status=422, body={"detail": "no such field"}), InvalidRequest, "no such field"),
        (Behaviour(status=400, body=told("?", code="context_length_exceeded")), ContextLengthExceeded, "too long"),
        (Behaviour(status=400, body=told("prompt is too long: 9 > 8")), ContextLengthExceeded, "9 > 8"),
        (Behaviour(status=400, body=told("no", code="unsupported_parameter", param="stop")), Unsupported, "no"),
        (Behaviour(status=400, body=told("Your credit balance is too low")), ComponentUnavailable, "account"),
        (Behaviour(status=401, body=told("wrong key")), ComponentUnavailable, "key"),
        (Behaviour(status=402, body=told("pay")), ComponentUnavailable, "key"),
        (Behaviour(status=403, body=told("forbidden")), ComponentUnavailable, "key"),
        (Behaviour(status=404, body=told("no such model")), UpstreamError, "no such model"),
        (Behaviour(status=413, body=told("big")), PayloadTooLarge, "big"),
        (Behaviour(status=429, body=told("quota", code="insufficient_quota")), ComponentUnavailable, "key"),
        (Behaviour(status=302, headers={"location": "http://127.0.0.1:1/"}), UpstreamError, "redirects"),
        (Behaviour(status=418, body=b"<html>teapot</html>", content_type="text/html"), UpstreamError, "answered 418$"),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
async def test_refusals_are_mapped_and_not_repeated(
    upstream: Upstream, cloud: Cloud, behaviour: Behaviour, error: type[TurnoutError], match: str, stream: bool
) -> None:
    upstream.always = behaviour
    async with cloud() as direct:
        with pytest.raises(error, match=match) as caught:
            await hear(direct, chat("go", stream=stream))
        assert direct.worker.beat().totals.cost_usd == 0
    assert type(caught.value) is error
    assert len(upstream.requests) == 1


async def test_a_vendors_message_is_bounded_to_one_line(upstream: Upstream, cloud: Cloud) -> None:
    upstream.script(Behaviour(status=400, body=told("first\nsecond\x00\x1b[31m" + "y" * 5000)))
    async with cloud() as direct:
        with pytest.raises(InvalidRequest) as caught:
            await hear(direct, chat("go"))
    assert len(caught.value.message) < 600
    assert caught.value.message.isprintable()


@pytest.mark.parametrize("status", [408, 409, 425, 429, 500, 502, 503, 504, 529])
async def test_what_may_pass_is_tried_again(upstream: Upstream, cloud: Cloud, clock: Clock, status: int) -> None:
    upstream.script(Behaviour(status=status), Behaviour(status=status), GOOD)
    async with cloud(retries=2) as direct:
        assert (await hear(direct, chat("go"))).text == "All is well here."
        assert direct.worker.beat().facts["retries"] == 2
    assert len(upstream.requests) == 3
    assert len(clock.waited_s) == 2
    assert all(0 <= wait_s <= 0.2 * 2**attempt for attempt, wait_s in enumerate(clock.waited_s))


@pytest.mark.parametrize(("status", "error"), [(429, Overloaded), (529, Overloaded), (500, UpstreamError)])
async def test_the_last_failure_is_told_when_retries_are_used_up(
    upstream: Upstream, cloud: Cloud, status: int, error: type[TurnoutError]
) -> None:
    upstream.always = Behaviour(status=status, body=told("not now"))
    async with cloud(retries=1) as direct:
        with pytest.raises(error, match="not now"):
            await hear(direct, chat("go"))
    assert len(upstream.requests) == 2


async def test_retry_after_is_waited_for(upstream: Upstream, cloud: Cloud, clock: Clock) -> None:
    upstream.script(Behaviour(status=429, headers={"retry-after": "3"}))
    async with cloud() as direct:
        await hear(direct, chat("go"))
    assert len(clock.waited_s) == 1
    assert 3 <= clock.waited_s[0] <= 3.2


@pytest.mark.parametrize(("retry_after", "timeout_s"), [("60", 600.0), ("8", 5.0)])
async def test_a_retry_that_would_come_too_late_is_left_to_the_caller(
    upstream: Upstream, cloud: Cloud, clock: Clock, retry_after: str, timeout_s: float
) -> None:
    upstream.always = Behaviour(status=429, headers={"retry-after": retry_after})
    async with cloud() as direct:
        with pytest.raises(Overloaded) as caught:
            await hear(direct, chat("go"), timeout_s=timeout_s)
    assert caught.value.retry_after_s == float(retry_after)
    assert (clock.waited_s, len(upstream.requests)) == ([], 1)


async def test_a_connection_cut_before_the_first_byte_is_tried_again(upstream: Upstream, cloud: Cloud) -> None:
    upstream.script(Behaviour(cut_before=True), GOOD)
    async with cloud() as direct:
        assert (await hear(direct, chat("go", stream=True))).text == "All is well here."
    assert len(upstream.requests) == 2


@pytest.mark.parametrize("stream", [False, True])
async def test_nothing_is_tried_again_after_the_first_byte(upstream: Upstream, cloud: Cloud, stream: bool) -> None:
    upstream.script(Behaviour(cut_after=2))
    async with cloud(retries=5) as direct:
        with pytest.raises(UpstreamError):
            await hear(direct, chat("go", stream=stream))
        totals = direct.worker.beat().totals
    assert len(upstream.requests) == 1
    assert totals.input_tokens > 0, "what was begun is charged"


_BODY = b'{"choices": [{"message": {"content": "1"}}]}'
CLOSES_AFTERWARDS = Behaviour(
    raw=b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b" % (len(_BODY), _BODY)
)


async def closed_by_the_peer(direct: Direct) -> None:
    """Return when the component has heard that its idle connection is over."""
    transport = direct.worker._service._transport  # type: ignore[attr-defined]
    (idle,) = transport._idle.values()
    async with asyncio.timeout(5):
        while not idle[-1].closed:
            await asyncio.sleep(0)


async def test_an_idle_connection_that_the_peer_has_closed_is_not_used(upstream: Upstream, cloud: Cloud) -> None:
    upstream.script(CLOSES_AFTERWARDS, GOOD)
    async with cloud(retries=0) as direct:
        await hear(direct, chat("one"))
        await closed_by_the_peer(direct)
        assert (await hear(direct, chat("two"))).text == "All is well here."
        assert direct.worker.beat().facts["retries"] == 0
    assert [r.prompt for r in upstream.requests] == ["one", "two"]
    assert upstream.connections == 2


async def test_a_request_lost_with_its_kept_connection_is_not_sent_again_unasked(
    upstream: Upstream, cloud: Cloud
) -> None:
    upstream.script(GOOD, Behaviour(cut_before=True), GOOD)
    async with cloud(retries=0) as direct:
        await hear(direct, chat("one"))
        with pytest.raises(UpstreamError, match="closed the connection instead of answering"):
            await hear(direct, chat("two"))
        assert (await hear(direct, chat("three"))).text == "All is well here."
    assert [(r.prompt, r.connection) for r in upstream.requests] == [("one", 1), ("two", 1), ("three", 2)]


async def test_a_request_lost_with_its_kept_connection_is_one_of_the_retries(
    upstream: Upstream, cloud: Cloud, clock: Clock
) -> None:
    upstream.script(GOOD, Behaviour(cut_before=True), GOOD)
    async with cloud(retries=1) as direct:
        await hear(direct, chat("one"))
        assert (await hear(direct, chat("two"))).text == "All is well here."
        assert direct.worker.beat().facts["retries"] == 1
    assert [r.prompt for r in upstream.requests] == ["one", "two", "two"]
    assert len(clock.waited_s) == 1


async def test_lost_kept_connections_do_not_open_the_circuit(upstream: Upstream, cloud: Cloud) -> None:
    count = 6
    upstream.script(*[Behaviour(stall_before=True)] * count)
    async with cloud(retries=0, slots=count) as direct:
        answers = [asyncio.ensure_future(hear(direct, chat("go"))) for _ in range(count)]
        await upstream.seen(count)
        upstream.release()
        await asyncio.gather(*answers)
        upstream.script(*[Behaviour(cut_before=True)] * count)
        for _ in range(count):
            with pytest.raises(UpstreamError, match="instead of answering"):
                await hear(direct, chat("lost"))
        assert direct.worker.beat().facts["circuit_open"] == 0
    assert upstream.connections == count


@pytest.mark.parametrize("stream", [False, True])
async def test_silence_before_the_first_byte_is_a_timeout(upstream: Upstream, cloud: Cloud, stream: bool) -> None:
    upstream.script(Behaviour(stall_before=True))
    async with cloud(read_timeout_s=0.1) as direct:
        with pytest.raises(ComponentTimeout, match=r"silent for 0\.1 s"):
            await hear(direct, chat("go", stream=stream))
        assert await asyncio.to_thread(upstream.requests[0].left.wait, 5), "its connection is closed"
        assert direct.worker.beat().totals.input_tokens == 1, "it was at work, so it is charged"
    assert len(upstream.requests) == 1


async def test_silence_mid_stream_is_a_timeout(upstream: Upstream, cloud: Cloud) -> None:
    upstream.script(Behaviour(stall_after=3))
    async with cloud(read_timeout_s=0.1) as direct:
        with pytest.raises(ComponentTimeout):
            await hear(direct, chat("go", stream=True))
        assert await asyncio.to_thread(upstream.requests[0].left.wait, 5)


async def test_the_tasks_deadline_ends_a_slow_answer(upstream: Upstream, cloud: Cloud) -> None:
    upstream.script(Behaviour(stall_before=True))
    async with cloud() as direct:
        with pytest.raises(ComponentTimeout):
            await hear(direct, chat("go"), timeout_s=0.3)
        assert await asyncio.to_thread(upstream.requests[0].left.wait, 5)


async def test_nobody_listening_is_unavailable_and_retried(cloud: Cloud, clock: Clock) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound and not listening: connections are refused
        async with cloud(base_url=f"http://127.0.0.1:{taken.getsockname()[1]}/v1") as direct:
            with pytest.raises(ComponentUnavailable, match="cannot be reached"):
                await hear(direct, chat("go"))
    assert len(clock.waited_s) == 2


@pytest.mark.parametrize("stall", [{"stall_before": True}, {"stall_after": 2}])
@pytest.mark.parametrize("stream", [False, True])
async def test_a_caller_that_leaves_closes_the_upstreams_connection_at_once(
    upstream: Upstream, cloud: Cloud, stall: dict[str, Any], stream: bool
) -> None:
    upstream.script(Behaviour(**(stall if stream else {"stall_before": True})))
    async with cloud() as direct:
        task, inbox = direct.task(chat("go on and on", stream=stream))
        began = asyncio.Event()
        listening = asyncio.create_task(_listen(direct.follow(task, inbox), began))
        received = await upstream.seen()
        if stream and "stall_after" in stall:
            await asyncio.wait_for(began.wait(), 5)
        await direct.bus.publish(subjects.cancel(task.root), task.id.encode())
        assert await asyncio.to_thread(received.left.wait, 5)
        with pytest.raises(Cancelled):
            await asyncio.wait_for(listening, 5)
        async with asyncio.timeout(5):
            while direct.worker.beat().in_use or not direct.worker.beat().totals.requests:
                await asyncio.sleep(0)
        totals = direct.worker.beat().totals
    assert totals.input_tokens == 3, "a prompt that was read is charged"
    assert totals.output_tokens == (1 if began.is_set() else 0)
    assert totals.errors == 0


async def _listen(events: AsyncIterator[Event], began: asyncio.Event) -> None:
    async for event in events:
        if isinstance(event, Delta):
            began.set()
