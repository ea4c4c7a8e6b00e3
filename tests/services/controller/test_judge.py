"""The judge of generations on trial."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.contracts.catalog import Canary
from services.controller.judge import LEAST_ANSWERS, Record, judge, p95

RULES = Canary(requests=100, minutes=10)
TIMES = st.lists(st.floats(1, 10_000), max_size=200)


@st.composite
def records(draw: st.DrawFn) -> Record:
    times = draw(TIMES)
    rated = draw(st.integers(0, len(times)))
    return Record(tuple(times), draw(st.integers(0, 100)), draw(st.floats(0, 1)) * rated, rated)


rules = st.builds(
    Canary,
    share=st.floats(0.01, 0.5),
    requests=st.integers(10, 300),
    minutes=st.floats(0.1, 60),
    max_errors=st.floats(0, 1),
    max_slowdown=st.floats(1, 10),
    max_quality_loss=st.floats(0, 1),
)


@given(rules, records(), records(), st.floats(0, 3600))
def test_nothing_is_promoted_before_its_time_or_by_too_little(
    how: Canary, old: Record, new: Record, elapsed_s: float
) -> None:
    if judge(how, old, new, elapsed_s).verdict == "promote":
        assert new.answers >= LEAST_ANSWERS
        assert new.answers >= how.requests or elapsed_s >= how.minutes * 60
        assert new.failure_rate <= old.failure_rate + how.max_errors


@given(rules, records(), records(), st.floats(0, 3600), st.integers(1, 500))
def test_more_failures_never_help(how: Canary, old: Record, new: Record, elapsed_s: float, more: int) -> None:
    late = max(elapsed_s, how.minutes * 60)
    if new.answers >= LEAST_ANSWERS and judge(how, old, new, late).verdict == "roll back":
        assert judge(how, old, replace(new, failures=new.failures + more), late).verdict == "roll back"


@given(rules, records())
def test_a_generation_like_the_old_one_is_promoted_in_the_end(how: Canary, record: Record) -> None:
    verdict = judge(how, record, record, how.minutes * 60).verdict
    assert verdict == ("promote" if record.answers >= LEAST_ANSWERS else "roll back")


@given(rules, records(), records(), st.floats(1.0, 100.0))
def test_a_slower_generation_never_fares_better(how: Canary, old: Record, new: Record, times: float) -> None:
    late = how.minutes * 60
    slower = replace(new, times_ms=tuple(it * times for it in new.times_ms))
    if judge(how, old, new, late).verdict == "roll back":
        assert judge(how, old, slower, late).verdict == "roll back"


@given(rules, records(), records())
def test_a_trial_always_ends(how: Canary, old: Record, new: Record) -> None:
    assert judge(how, old, new, how.minutes * 60).verdict != "go on"


@pytest.mark.parametrize(
    ("old", "new", "elapsed_s", "verdict", "why"),
    [
        (Record(), Record(), 60.0, "go on", "0 of 100 answers"),
        (Record(), Record(), 601.0, "roll back", "0 answers in 10 min are too few"),
        (Record((100.0,) * 90), Record((), 10), 5.0, "roll back", "10 of 10 failed, 0 of 90 before"),
        (Record((100.0,) * 90), Record((100.0,) * 9, 1), 5.0, "go on", "10 of 100 answers"),
        (Record((100.0,) * 90), Record((100.0,) * 97, 3), 5.0, "roll back", "3 of 100 failed"),
        (Record((100.0,) * 90, 2), Record((100.0,) * 97, 3), 5.0, "promote", "3 of 100 failed"),
        (Record((100.0,) * 99), Record((140.0,) * 100), 5.0, "promote", "p95 140 ms, 100 ms before"),
        (Record((100.0,) * 99), Record((151.0,) * 100), 5.0, "roll back", "p95 151 ms, 100 ms before"),
        (Record((100.0,) * 99, 0, 90, 99), Record((100.0,) * 100, 0, 80, 100), 5.0, "roll back", "80% good answers"),
        # Nobody asked the old one: there is nothing to compare with, and nothing against the new one.
        (Record(), Record((100.0,) * 100), 5.0, "promote", "0 of 100 failed, 0 of 0 before"),
    ],
)
def test_judgements_say_why(old: Record, new: Record, elapsed_s: float, verdict: str, why: str) -> None:
    found = judge(RULES, old, new, elapsed_s)
    assert found.verdict == verdict
    assert why in found.why


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=300))
def test_one_time_in_twenty_may_lie_beyond_the_95th_percentile(times: list[float]) -> None:
    found = p95(times)
    assert found in times
    assert sum(it > found for it in times) <= len(times) / 20
    assert sum(it >= found for it in times) > len(times) / 20 or len(times) == 1
