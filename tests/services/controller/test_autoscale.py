from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from services.contracts.beat import Beat
from services.contracts.catalog import Replicas
from services.controller.autoscale import DOWN_AFTER_S, UP_AFTER_S, Watched, step


def beats(*loads: tuple[int, int], slots: int = 2) -> list[Beat]:
    """Instances by (slots in use, queued)."""
    return [
        Beat("small", "llm_local", f"small-{n}", 1, 1, "h", "ready", slots=slots, in_use=used, queued=queued)
        for n, (used, queued) in enumerate(loads)
    ]


def after(watched: Watched, loads: Sequence[Beat], bounds: Replicas, seconds: float) -> Watched:
    """Looks twice a second for so long."""
    now_s = 100.0
    for _ in range(int(seconds * 2) + 1):
        watched = step(watched, loads, bounds, now_s)
        now_s += 0.5
    return watched


def test_a_queue_brings_as_many_instances_as_would_take_it() -> None:
    assert after(Watched(1), beats((2, 6)), Replicas(min=1, max=8), UP_AFTER_S).wanted == 5


def test_full_slots_without_a_queue_bring_one() -> None:
    assert after(Watched(1), beats((2, 0)), Replicas(min=1, max=8), UP_AFTER_S).wanted == 2


def test_a_moment_of_pressure_brings_nothing() -> None:
    watched = step(Watched(1), beats((2, 1)), Replicas(min=1, max=8), 100.0)
    assert step(watched, beats((0, 0)), Replicas(min=1, max=8), 101.0).wanted == 1


def test_calm_takes_one_instance_a_minute() -> None:
    quiet, bounds = beats((1, 0), (0, 0), (0, 0)), Replicas(min=1, max=8)
    assert after(Watched(3), quiet, bounds, DOWN_AFTER_S - 1).wanted == 3
    assert after(Watched(3), quiet, bounds, DOWN_AFTER_S).wanted == 2


def test_only_a_component_that_may_sleep_is_put_to_sleep() -> None:
    assert after(Watched(1), beats((0, 0)), Replicas(min=0, max=1, idle_s=5), 5).wanted == 0
    assert after(Watched(1), beats((0, 0)), Replicas(min=0, max=1, idle_s=5), 4).wanted == 1
    assert after(Watched(1), beats((0, 0)), Replicas(min=1, max=2, idle_s=5), 500).wanted == 1
    assert after(Watched(1), beats((1, 0)), Replicas(min=0, max=1, idle_s=5), 50).wanted == 1


@given(
    st.lists(st.tuples(st.integers(0, 2), st.integers(0, 9)), min_size=1, max_size=5),
    st.integers(0, 4),
    st.integers(0, 4),
    st.floats(0, 500),
)
def test_the_bounds_are_never_left(loads: list[tuple[int, int]], least: int, more: int, seconds: float) -> None:
    bounds = Replicas(min=least, max=max(1, least + more), idle_s=10)
    wanted = after(
        Watched(min(max(len(loads), bounds.min), bounds.max)), beats(*loads), bounds, min(seconds, 100)
    ).wanted
    assert bounds.min <= wanted <= bounds.max
