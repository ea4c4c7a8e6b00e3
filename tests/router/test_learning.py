"""What feedback teaches: towards what was observed, never beyond bounds, and forgotten with time."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.learning import MOST, PRIOR_VARIANCE, Calibration, Offset, shifted, way
from services.contracts.feedback import Feedback

HOUR_S = 3600.0
PROBABILITY = st.floats(0, 1)
TOLD = st.lists(st.tuples(PROBABILITY, PROBABILITY, st.floats(0.01, 1)), max_size=60)


def after(told: list[tuple[float, float, float]]) -> Offset:
    belief = Offset()
    for prior, quality, weight in told:
        belief = belief.told(prior, quality, weight)
    return belief


@given(told=TOLD, prior=PROBABILITY, quality=PROBABILITY, weight=st.floats(0.01, 1))
def test_a_verdict_moves_towards_what_was_observed(
    told: list[tuple[float, float, float]], prior: float, quality: float, weight: float
) -> None:
    before = after(told)
    now = before.told(prior, quality, weight)
    expected = shifted(min(max(prior, 0.01), 0.99), before.mean)
    if quality > expected:
        assert now.mean >= before.mean
    else:
        assert now.mean <= before.mean
    assert now.variance <= before.variance
    assert abs(now.mean) <= MOST


@given(told=TOLD, first=st.floats(0, 1e7), second=st.floats(0, 1e7))
def test_time_draws_back_to_the_predictor_and_makes_uncertain_again(
    told: list[tuple[float, float, float]], first: float, second: float
) -> None:
    start = after(told)
    sooner, later = start.at(min(first, second), HOUR_S), start.at(max(first, second), HOUR_S)
    assert abs(later.mean) <= abs(sooner.mean) + 1e-12
    assert sooner.variance - 1e-12 <= later.variance <= PRIOR_VARIANCE + 1e-12
    assert start.at(first, HOUR_S).at(first + second, HOUR_S).mean == pytest.approx(
        start.at(first + second, HOUR_S).mean, abs=1e-9
    )


def test_half_is_forgotten_in_the_half_life() -> None:
    belief = after([(0.7, 0.0, 1.0)] * 10)
    assert belief.at(HOUR_S, HOUR_S).mean == pytest.approx(belief.mean / 2)


@given(probability=st.floats(0.01, 0.99), offset=st.floats(-MOST, MOST))
def test_a_shifted_probability_is_one_and_keeps_the_order(probability: float, offset: float) -> None:
    moved = shifted(probability, offset)
    assert 0 < moved < 1
    assert moved >= probability - 1e-9 if offset >= 0 else moved <= probability + 1e-9


def test_one_verdict_does_not_turn_the_routing_round_and_many_do() -> None:
    assert shifted(0.7, after([(0.7, 0.0, 1.0)]).mean) > 0.6
    assert shifted(0.7, after([(0.7, 0.0, 1.0)] * 30).mean) < 0.4


def test_it_comes_near_the_truth_where_the_predictor_is_wrong() -> None:
    belief = after([(0.8, float(n % 10 < 3), 1.0) for n in range(400)])
    assert shifted(0.8, belief.mean) == pytest.approx(0.3, abs=0.05)


class Clock:
    now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


def verdict(number: int, quality: float = 0.0, model: str = "m", **fields: object) -> Feedback:
    given: dict[str, object] = {"prior": 0.7, **fields}
    return Feedback(f"d{number}", quality, ("small",), model, 1000.0, **given)  # type: ignore[arg-type]


def test_another_model_is_learnt_from_the_beginning() -> None:
    known = Calibration(HOUR_S, Clock())
    for number in range(20):
        known.learn(verdict(number))
    assert known.offsets().keys() == {way(("small",), "m")}
    known.learn(verdict(99, 1.0, "other"))
    assert known.offsets()[way(("small",), "other")] > 0 > known.offsets()[way(("small",), "m")]


def test_a_decision_teaches_once() -> None:
    known = Calibration(HOUR_S, Clock())
    known.learn(verdict(1))
    once = dict(known.offsets())
    known.learn(verdict(1))
    assert known.offsets() == once


@pytest.mark.parametrize(
    "nonsense",
    [
        verdict(1, prior=None),
        verdict(1, math.nan),
        verdict(1, 2.0),
        verdict(1, -1.0),
        verdict(1, prior=math.nan),
        verdict(1, weight=0.0),
        verdict(1, weight=math.inf),
    ],
)
def test_what_teaches_nothing_is_passed_over(nonsense: Feedback) -> None:
    known = Calibration(HOUR_S, Clock())
    known.learn(nonsense)
    assert known.offsets() == {}


def test_what_is_shown_is_forgotten_too() -> None:
    clock = Clock()
    known = Calibration(HOUR_S, clock)
    known.learn(verdict(1))
    before = known.offsets()[way(("small",), "m")]
    clock.now_s += HOUR_S
    assert known.offsets()[way(("small",), "m")] == pytest.approx(before / 2)
