"""The arithmetic of the gateway benchmark."""

from __future__ import annotations

import math

import pytest

from evals.bench.samples import Sample, Spread, long_enough_s, per_round, quantile, spreads, targets


def sample(round_: int, system: str, load: str, **values: float) -> Sample:
    return Sample(round_, system, load, values)


def a_round(number: int, *, rps: tuple[float, float, float, float] = (1000, 700, 600, 50)) -> list[Sample]:
    mock, named, auto, litellm = rps
    return [
        sample(number, "mock", "c16", rps=mock),
        sample(number, "turnout", "c16", rps=named),
        sample(number, "turnout auto", "c16", rps=auto),
        sample(number, "litellm 1w", "c16", rps=litellm / 2),
        sample(number, "litellm 2w", "c16", rps=litellm),
    ]


@pytest.mark.parametrize(
    ("values", "share", "expected"),
    [
        ([3.0, 1.0, 2.0], 0.5, 2.0),
        ([1.0, 2.0, 3.0, 4.0], 0.5, 2.0),
        ([5.0], 0.99, 5.0),
        ([float(n) for n in range(1, 101)], 0.99, 99.0),
        ([float(n) for n in range(1, 102)], 0.99, 100.0),
        ([4.0, 9.0], 0.0, 4.0),
        ([4.0, 9.0], 1.0, 9.0),
    ],
)
def test_a_quantile_is_a_value_that_was_measured(values: list[float], share: float, expected: float) -> None:
    assert quantile(values, share) == expected


@pytest.mark.parametrize(("values", "share"), [([], 0.5), ([1.0], 1.5), ([1.0], -0.1)])
def test_a_quantile_of_nothing_is_refused(values: list[float], share: float) -> None:
    with pytest.raises(ValueError, match="quantile"):
        quantile(values, share)


def test_the_rounds_of_a_system_become_median_least_and_most() -> None:
    found = spreads([sample(n, "mock", "c1", p50_ms=value) for n, value in enumerate((3.0, 1.0, 8.0))])
    assert found == {("mock", "c1"): {"p50_ms": Spread(3.0, 1.0, 8.0)}}


def test_our_worse_way_is_compared_with_the_best_setup_of_litellm() -> None:
    ratios = per_round(a_round(1), "c16", "rps", lambda r: r.turnout / r.litellm)
    assert ratios == [600 / 50]


def test_a_ratio_is_taken_within_a_round_so_that_a_busy_minute_does_not_tilt_it() -> None:
    quiet, busy = a_round(1), a_round(2, rps=(500, 350, 300, 25))
    [target] = targets([*quiet, *busy])
    assert target.measured == Spread(12, 12, 12)
    assert target.met


def test_a_round_without_all_systems_is_left_out() -> None:
    partial = [one for one in a_round(2) if not one.system.startswith("litellm")]
    assert len(per_round([*a_round(1), *partial], "c16", "rps", lambda r: r.turnout)) == 1
    assert targets(partial) == []


def test_five_times_the_speed_is_not_enough() -> None:
    [target] = targets(a_round(1, rps=(1000, 300, 250, 50)))
    assert target.measured.median == 5
    assert not target.met


@pytest.mark.parametrize(("ours_ms", "met"), [(4.9, True), (5.2, False)])
def test_latency_is_judged_by_what_is_added_to_the_mock(ours_ms: float, met: bool) -> None:
    samples = [
        sample(1, "mock", "c1", p50_ms=1.0),
        sample(1, "turnout", "c1", p50_ms=2.0),
        sample(1, "turnout auto", "c1", p50_ms=ours_ms),
        sample(1, "litellm 1w", "c1", p50_ms=13.0),
        sample(1, "litellm 2w", "c1", p50_ms=14.0),
    ]
    [target] = targets(samples)
    assert target.measured.median == pytest.approx((ours_ms - 1) / 12)
    assert target.met is met


def test_a_first_token_as_late_as_litellms_misses_the_target() -> None:
    samples = [sample(1, name, "s16", ttft_p99_ms=ms) for name, ms in (("mock", 2), ("turnout", 9), ("litellm 1w", 9))]
    [target] = targets(samples)
    assert (target.measured.median, target.met) == (1.0, False)


def test_a_rival_that_seems_to_add_nothing_proves_nothing() -> None:
    samples = [sample(1, name, "c1", p50_ms=ms) for name, ms in (("mock", 2), ("turnout", 3), ("litellm 1w", 2))]
    [target] = targets(samples)
    assert target.measured.median == math.inf
    assert not target.met


@pytest.mark.parametrize(
    ("connections", "answers_per_s", "expected_s"),
    [(1, 1000.0, 4.0), (64, 1000.0, 4.0), (64, 96.0, 8.0), (64, 10.0, 16.0), (16, math.inf, 4.0), (1, 0.0, 16.0)],
    ids=["fast", "fast with many", "slow: longer", "very slow: bounded", "unknown yet", "no answer at all"],
)
def test_a_slow_system_is_measured_for_longer(connections: int, answers_per_s: float, expected_s: float) -> None:
    assert long_enough_s(4.0, connections, answers_per_s, 16.0) == expected_s
