"""Exploration: reproducible, its probabilities true, and nothing drawn that could not do the task."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.explore import DEGRADED, PASSED_OVER, explored
from router.policy import Choice, Wanted
from services.contracts.beat import Speed
from services.contracts.draw import draw
from services.contracts.price import Price
from tests.router.test_policy import CLOUD, DOCS, SMALL, TOOLS, beat, first, pick

WANTED = Wanted(0.6, None, 60.0)


def test_a_draw_depends_on_the_id_alone_and_is_even() -> None:
    assert draw("abc", "explore") == draw("abc", "explore")
    drawn = [draw(f"task-{n}", "explore") for n in range(4000)]
    assert all(0 <= d < 1 for d in drawn)
    assert Counter(int(d * 4) for d in drawn) == pytest.approx({0: 1000, 1: 1000, 2: 1000, 3: 1000}, rel=0.12)


@given(share=st.floats(0.01, 1.0), drawn=st.floats(0, 1, exclude_max=True))
def test_the_propensities_are_those_of_the_draw(share: float, drawn: float) -> None:
    natural = pick(SMALL, CLOUD, TOOLS)
    found = explored(natural, WANTED, share, drawn)
    assert sum(found.propensities.values()) == pytest.approx(1.0)
    assert found.propensities["small"] == pytest.approx(1 - share + share / 3)
    assert found.propensities["cloud"] == pytest.approx(share / 3)
    assert found.explored == (found.order[0] is not natural.order[0])
    assert all(plan in natural.order for plan in found.order)
    assert len(found.order) == len(natural.order)
    assert [c.steps for c in found.candidates if c.rejected is None] == [found.order[0].steps]


def test_each_component_is_taken_as_often_as_its_propensity_says() -> None:
    natural = pick(SMALL, CLOUD, TOOLS)
    taken = Counter(explored(natural, WANTED, 0.3, n / 1000).order[0].answering.component for n in range(1000))
    assert taken == pytest.approx({"small": 800, "cloud": 100, "tools": 100}, abs=2)


def test_what_chance_took_is_told_apart_from_what_the_policy_would_have_taken() -> None:
    found = explored(pick(SMALL, CLOUD), WANTED, 0.5, 0.49)
    assert first(found) == ("cloud",)
    assert found.degraded == DEGRADED
    assert {c.steps: c.rejected for c in found.candidates} == {("cloud",): None, ("small",): PASSED_OVER}


def test_nothing_is_drawn_that_cannot_do_it_in_time() -> None:
    slow = beat("cloud", "llm_cloud", speed=Speed(service_s=90.0), price=Price(1, 4))
    assert explored(pick(SMALL, slow), WANTED, 1.0, 0.99).propensities == {}
    blind = pick(SMALL, CLOUD, max_cost_usd=1e-5)
    assert explored(blind, WANTED, 1.0, 0.99) == blind


def test_two_ways_to_one_component_are_one_choice() -> None:
    found = explored(pick(SMALL, CLOUD, DOCS, relevance=0.9), WANTED, 0.5, 0.9)
    assert found.propensities == pytest.approx({"small": 0.75, "cloud": 0.25})


def test_nobody_to_choose_from_is_left_as_it_is() -> None:
    assert explored(Choice((), ()), WANTED, 1.0, 0.0) == Choice((), ())
