from __future__ import annotations

import pytest

from services.contracts.errors import ComponentUnavailable, UpstreamError
from services.llm_cloud.breaker import Breaker
from tests.services.llm_cloud.answers import hear
from tests.services.llm_cloud.conftest import Clock, Cloud
from tests.support.direct import chat
from tests.support.upstream import GOOD, Behaviour, Upstream


def state_of(breaker: Breaker) -> str:
    """Its state; a property that mypy would take for a constant."""
    return breaker.state


def broken(clock: Clock) -> Breaker:
    """A breaker that has just opened."""
    breaker = Breaker(clock, threshold=3, open_s=5.0, open_max_s=15.0)
    for _ in range(3):
        breaker.failure(breaker.admit(), "it said 500")
    return breaker


def test_failures_in_a_row_open_it_and_a_success_between_does_not(clock: Clock) -> None:
    breaker = Breaker(clock, threshold=3)
    for _ in range(2):
        breaker.failure(breaker.admit(), "x")
    breaker.success(breaker.admit())
    for _ in range(2):
        breaker.failure(breaker.admit(), "x")
    assert state_of(breaker) == "closed"
    breaker.failure(breaker.admit(), "x")
    assert state_of(breaker) == "open"


def test_open_it_refuses_and_says_when_to_retry(clock: Clock) -> None:
    breaker = broken(clock)
    clock.now_s += 2
    with pytest.raises(ComponentUnavailable, match="it said 500") as caught:
        breaker.admit()
    assert caught.value.retry_after_s == 3.0


def test_half_open_it_lets_one_request_through(clock: Clock) -> None:
    breaker = broken(clock)
    clock.now_s += 5
    assert state_of(breaker) == "half-open"
    probe = breaker.admit()
    with pytest.raises(ComponentUnavailable):
        breaker.admit()
    breaker.success(probe)
    assert state_of(breaker) == "closed"
    breaker.admit()


def test_a_failed_probe_opens_it_for_twice_as_long_up_to_a_limit(clock: Clock) -> None:
    breaker = broken(clock)
    waits_s = []
    for _ in range(3):
        clock.now_s += breaker.retry_after_s
        breaker.failure(breaker.admit(), "still 500")
        waits_s.append(breaker.retry_after_s)
    assert waits_s == [10.0, 15.0, 15.0]


def test_a_probe_that_was_cancelled_makes_room_for_another(clock: Clock) -> None:
    breaker = broken(clock)
    clock.now_s += 5
    breaker.forget(breaker.admit())
    breaker.success(breaker.admit())
    assert state_of(breaker) == "closed"


def test_answers_to_requests_from_before_it_opened_change_nothing(clock: Clock) -> None:
    breaker = Breaker(clock, threshold=1, open_s=5.0)
    old = [breaker.admit() for _ in range(3)]
    breaker.failure(old[0], "x")
    until_s = breaker.retry_after_s
    breaker.failure(old[1], "x")
    breaker.success(old[2])
    assert (breaker.state, breaker.retry_after_s) == ("open", until_s)


def test_a_stream_that_breaks_off_late_does_not_shorten_the_pause(clock: Clock) -> None:
    breaker = broken(clock)
    clock.now_s += 5
    breaker.failure(breaker.admit(), "still 500")
    for _ in range(5):
        breaker.failure(breaker.again(), "broke off")
    assert breaker.retry_after_s == 10.0


async def test_no_retry_is_made_once_it_has_opened(upstream: Upstream, cloud: Cloud, clock: Clock) -> None:
    upstream.always = Behaviour(status=500)
    async with cloud(retries=9) as direct:
        with pytest.raises(UpstreamError, match="500"):
            await hear(direct, chat("go"))
    assert (len(upstream.requests), len(clock.waited_s)) == (5, 4)


async def test_an_upstream_that_keeps_failing_is_left_alone_and_tried_again_later(
    upstream: Upstream, cloud: Cloud, clock: Clock
) -> None:
    upstream.always = Behaviour(status=500)
    async with cloud(retries=0) as direct:
        for _ in range(5):
            with pytest.raises(UpstreamError):
                await hear(direct, chat("go"))
        beat = direct.worker.beat()
        assert beat.facts["circuit_open"] == 1.0
        assert "left alone for 5 s" in beat.detail
        with pytest.raises(ComponentUnavailable) as caught:
            await hear(direct, chat("go"))
        assert caught.value.retry_after_s == 5.0
        assert len(upstream.requests) == 5, "nothing was sent while it is open"
        clock.now_s += 5
        upstream.always = GOOD
        assert (await hear(direct, chat("go"))).text
        assert direct.worker.beat().facts["circuit_open"] == 0.0


async def test_streams_that_break_off_open_it_too(upstream: Upstream, cloud: Cloud) -> None:
    upstream.always = Behaviour(cut_after=0)
    async with cloud() as direct:
        for _ in range(5):
            with pytest.raises(UpstreamError):
                await hear(direct, chat("go", stream=True))
        assert direct.worker.beat().facts["circuit_open"] == 1.0


async def test_a_clients_mistakes_do_not_open_it(upstream: Upstream, cloud: Cloud) -> None:
    upstream.always = Behaviour(status=400)
    async with cloud() as direct:
        for _ in range(8):
            with pytest.raises(Exception, match="invalid"):
                await hear(direct, chat("go"))
        assert direct.worker.beat().facts["circuit_open"] == 0.0
