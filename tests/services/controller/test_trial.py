"""What records of requests say of the instances that were asked."""

from __future__ import annotations

from types import SimpleNamespace

import msgspec
import pytest

from services.bus.port import Incoming
from services.contracts.catalog import Canary, Catalog, Snapshot
from services.contracts.decision import Attempt, Decision
from services.contracts.errors import Cancelled, ComponentUnavailable, Leaving
from services.contracts.events import Usage
from services.contracts.feedback import Feedback, Source
from services.contracts.keeper import Instance
from services.contracts.messages import encode
from services.controller.trial import Evidence, Trial, evidence

GOOD = Decision(
    "a",
    0.0,
    "auto",
    1,
    "small",
    "small-1",
    usage=Usage(5, 3),
    finish_reason="stop",
    total_ms=120.0,
    first_token_ms=20.0,
)
DIED = ComponentUnavailable("it died").to_info()


def changed(**fields: object) -> list[Evidence]:
    return list(evidence(msgspec.structs.replace(GOOD, **fields)))


def test_a_good_answer_gives_its_time_and_that_it_is_whole() -> None:
    assert changed() == [Evidence("small", "small-1", 120.0, 1.0, "a")]


def test_an_answer_that_was_cut_off_or_is_empty_is_not_good() -> None:
    assert [it.quality for it in (*changed(finish_reason="length"), *changed(usage=Usage(5, 0)))] == [0.0, 0.0]


def test_a_failure_that_another_instance_made_good_counts_against_the_first() -> None:
    attempts = (Attempt("small", "small-2", 0.0, 1.0, DIED), Attempt("small", "small-1", 1.0, 2.0))
    assert changed(attempts=attempts) == [
        Evidence("small", "small-2", None),
        Evidence("small", "small-1", 120.0, 1.0, "a"),
    ]


def test_a_stream_that_broke_counts_against_who_wrote_it_and_a_client_that_left_against_nobody() -> None:
    assert changed(error=DIED, finish_reason="error") == [Evidence("small", "small-1", None)]
    assert changed(error=Cancelled("gone").to_info(), finish_reason="error") == []


def test_what_waited_at_an_instance_that_left_by_order_counts_against_nobody() -> None:
    left = Leaving("small-2 leaves").to_info()
    attempts = (Attempt("small", "small-2", 0.0, 1.0, left), Attempt("small", "small-1", 1.0, 2.0))
    assert changed(attempts=attempts) == [Evidence("small", "small-1", 120.0, 1.0, "a")]


def test_a_request_that_reached_nobody_says_nothing() -> None:
    assert changed(instance="", component="", error=DIED) == []


def trial() -> Trial:
    """One new instance, `small-2`, of `small`."""
    rollout = SimpleNamespace(starting=(Instance("small", "llm_local", "small-2", 2),))
    snapshot = Snapshot(catalog=Catalog.model_validate({"components": {"small": {"kind": "tool_agent"}}}))
    return Trial(rollout, snapshot, {"small": Canary(requests=10)}, ())  # type: ignore[arg-type]  # all of it that is used


async def decided(it: Trial, name: str) -> None:
    decision = msgspec.structs.replace(GOOD, id=name, instance="small-2")
    await it.on_decision(Incoming("", encode(decision)))


async def said(it: Trial, name: str, quality: float, source: Source) -> None:
    await it.on_feedback(Incoming("", encode(Feedback(name, quality, ("small",), "m", 0.0, source=source))))


@pytest.mark.parametrize("early", [True, False])
async def test_of_several_verdicts_the_client_s_counts_and_they_may_come_before_the_record(early: bool) -> None:
    it = trial()
    if not early:
        await decided(it, "x")
    await said(it, "x", 0.5, "client")
    await said(it, "x", 0.9, "verified")
    if early:
        await decided(it, "x")
    record = it._new["small"].record()
    assert (record.good, record.rated) == (0.5, 1)


async def test_a_verdict_on_somebody_else_s_answer_and_one_that_is_unreadable_change_nothing() -> None:
    it = trial()
    await said(it, "y", 0.0, "client")
    await it.on_feedback(Incoming("", b"\xff"))
    await it.on_decision(Incoming("", b"\xff"))
    assert it._new["small"].record().rated == 0
