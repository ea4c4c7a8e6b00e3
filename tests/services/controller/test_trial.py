"""What records of requests say of the instances that were asked."""

from __future__ import annotations

import msgspec

from services.contracts.decision import Attempt, Decision
from services.contracts.errors import Cancelled, ComponentUnavailable
from services.contracts.events import Usage
from services.controller.trial import Evidence, evidence

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
    assert changed() == [Evidence("small", "small-1", 120.0, 1.0)]


def test_an_answer_that_was_cut_off_or_is_empty_is_not_good() -> None:
    assert [it.quality for it in (*changed(finish_reason="length"), *changed(usage=Usage(5, 0)))] == [0.0, 0.0]


def test_a_failure_that_another_instance_made_good_counts_against_the_first() -> None:
    attempts = (Attempt("small", "small-2", 0.0, 1.0, DIED), Attempt("small", "small-1", 1.0, 2.0))
    assert changed(attempts=attempts) == [
        Evidence("small", "small-2", None),
        Evidence("small", "small-1", 120.0, 1.0),
    ]


def test_a_stream_that_broke_counts_against_who_wrote_it_and_a_client_that_left_against_nobody() -> None:
    assert changed(error=DIED, finish_reason="error") == [Evidence("small", "small-1", None)]
    assert changed(error=Cancelled("gone").to_info(), finish_reason="error") == []


def test_a_request_that_reached_nobody_says_nothing() -> None:
    assert changed(instance="", component="", error=DIED) == []
