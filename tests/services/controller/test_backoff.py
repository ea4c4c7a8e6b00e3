from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from services.controller.backoff import FIRST_S, LONGEST_S, STABLE_AFTER_S, Backoff


def test_waits_double_up_to_the_longest() -> None:
    backoff = Backoff()
    waits = []
    for _ in range(8):
        backoff = backoff.died(lived_s=0.1)
        waits.append(round(backoff.delay_s(0.5), 2))
    assert waits == [0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 10.0, 10.0]


def test_a_long_life_forgives_the_earlier_deaths() -> None:
    backoff = Backoff(deaths=9)
    assert backoff.died(lived_s=STABLE_AFTER_S - 1).delay_s(0.5) == LONGEST_S
    assert backoff.died(lived_s=STABLE_AFTER_S).delay_s(0.5) == FIRST_S


@given(st.integers(1, 10**9), st.floats(0, 1))
def test_the_spread_stays_within_a_quarter(deaths: int, chance: float) -> None:
    middle_s = Backoff(deaths).delay_s(0.5)
    assert 0.75 * middle_s - 1e-9 <= Backoff(deaths).delay_s(chance) <= 1.25 * middle_s + 1e-9
