"""Which generation of a component takes a request."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.generations import serving
from services.contracts.beat import Beat
from services.contracts.draw import draw


def beat(number: int, generation: int, share: float = 1.0, component: str = "small") -> Beat:
    return Beat(component, "k", f"{component}-{number}", generation, 1, "h", "ready", share=share)


def names(beats: Sequence[Beat]) -> list[str]:
    return [it.instance for it in beats]


OLD, OTHER_OLD, NEW = beat(1, 1), beat(2, 1), beat(3, 2)
TRIED = beat(3, 2, 0.25)


def test_the_newest_takes_all_once_it_serves() -> None:
    assert names(serving([OLD, NEW, OTHER_OLD], 0.99)) == ["small-3"]


def test_one_on_trial_takes_its_share() -> None:
    assert names(serving([OLD, TRIED, OTHER_OLD], 0.249)) == ["small-3"]
    assert names(serving([OLD, TRIED, OTHER_OLD], 0.25)) == ["small-1", "small-2"]


def test_a_request_that_a_generation_has_failed_goes_to_the_other() -> None:
    assert names(serving([OLD, TRIED], 0.1, {"small-3"})) == ["small-1"]
    assert names(serving([OLD, TRIED], 0.9, {"small-1"})) == ["small-3"]
    assert serving([OLD, TRIED], 0.9, {"small-1", "small-3"}) == []


def test_components_are_drawn_apart_only_by_their_own_generations() -> None:
    assert names(serving([OLD, TRIED, beat(1, 7, component="docs")], 0.1)) == ["small-3", "docs-1"]


@given(st.lists(st.tuples(st.integers(1, 4), st.floats(0.01, 1.0)), min_size=1, max_size=8), st.floats(0, 0.999))
def test_there_is_always_exactly_one_generation(members: list[tuple[int, float]], draw: float) -> None:
    found = serving([beat(n, generation, share) for n, (generation, share) in enumerate(members)], draw)
    (generation,) = {it.generation for it in found}
    assert len(found) == sum(g == generation for g, _ in members)


@pytest.mark.parametrize("share", [0.05, 0.25, 0.5])
def test_over_many_requests_the_share_is_as_it_was_set(share: float) -> None:
    taken = sum(draw(f"request-{number}", "generation") < share for number in range(20_000))
    assert taken / 20_000 == pytest.approx(share, abs=0.01)


@given(st.text())
def test_a_request_stays_where_it_is(root: str) -> None:
    assert draw(root, "generation") == draw(root, "generation")
    assert 0 <= draw(root, "generation") < 1
