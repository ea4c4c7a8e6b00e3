from __future__ import annotations

from evals.prove.tally import Change, Outcome, expected, tally

CHANGE = Change(10.0, 14.0, "new")


def ok(began_s: float, ended_s: float, model: str, *, whole: bool = True) -> Outcome:
    return Outcome(began_s, ended_s, streamed=True, model=model, whole=whole)


def test_before_during_and_after_a_change_other_models_are_right() -> None:
    assert expected(ok(1, 2, ""), "old", [CHANGE]) == {"old"}
    assert expected(ok(9, 11, ""), "old", [CHANGE]) == {"old", "new"}
    assert expected(ok(13, 20, ""), "old", [CHANGE]) == {"old", "new"}
    assert expected(ok(15, 16, ""), "old", [CHANGE]) == {"new"}


def test_everything_that_anybody_would_notice_is_counted() -> None:
    outcomes = [
        ok(1, 2, "old"),
        ok(15, 16, "old"),
        ok(16, 17, "new", whole=False),
        Outcome(17, 18, streamed=False, error="APIError"),
    ]
    found = tally(outcomes, "old", [CHANGE])
    assert (found.requests, found.failed, found.truncated, found.wrong_model) == (4, 1, 1, 1)
    assert not found.clean


def test_latency_is_that_of_requests_which_touch_no_change() -> None:
    found = tally([ok(1, 2, "old"), ok(9, 19, "new")], "old", [CHANGE])
    assert found.clean
    assert (found.p99_ms, found.p99_all_ms) == (1000.0, 10_000.0)
