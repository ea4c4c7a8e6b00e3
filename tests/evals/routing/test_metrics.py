"""The metrics against cases worked out by hand, and against what must hold for any curve."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evals.routing import metrics


def _array(*values: float) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    return np.array(values, dtype=float)


def test_apgr_of_the_straight_line_is_one_half() -> None:
    assert metrics.apgr(_array(0, 1), _array(0.6, 0.8), weak=0.6, strong=0.8) == pytest.approx(0.5)


def test_apgr_of_a_router_that_needs_a_quarter_of_the_calls() -> None:
    # From 0 to 1 recovered within the first quarter, then level: 1/2 * 1/4 + 3/4.
    value = metrics.apgr(_array(0, 0.25, 1), _array(0.6, 0.8, 0.8), weak=0.6, strong=0.8)

    assert value == pytest.approx(0.875)


def test_apgr_means_nothing_where_the_strong_model_is_not_better() -> None:
    assert math.isnan(metrics.apgr(_array(0, 1), _array(0.6, 0.6), weak=0.6, strong=0.6))


def test_cpt_is_a_percentage_of_calls() -> None:
    share, quality = _array(0, 0.4, 1), _array(0.6, 0.7, 0.8)

    assert metrics.cpt(share, quality, 0.6, 0.8, 0.5) == pytest.approx(40)
    assert metrics.cpt(share, quality, 0.6, 0.8, 0.8) == pytest.approx(76)


def test_quality_between_two_settings_is_that_of_their_mix() -> None:
    cost, quality = _array(3, 1), _array(0.9, 0.5)

    assert metrics.quality_at(cost, quality, 2) == pytest.approx(0.7)
    assert metrics.quality_at(cost, quality, 10) == pytest.approx(0.9)
    assert math.isnan(metrics.quality_at(cost, quality, 0.5))


def test_cost_of_a_quality() -> None:
    cost, quality = _array(1, 3), _array(0.5, 0.9)

    assert metrics.cost_at(cost, quality, 0.7) == pytest.approx(2)
    assert metrics.cost_at(cost, quality, 0.4) == pytest.approx(1)
    assert math.isnan(metrics.cost_at(cost, quality, 0.95))


def test_the_hull_leaves_out_what_a_mix_beats() -> None:
    x, y = metrics.hull(_array(1, 2, 3, 4), _array(0.2, 0.3, 0.8, 0.7))

    assert x.tolist() == [1, 3]
    assert y.tolist() == [0.2, 0.8]


def test_aiq_is_the_mean_height_of_the_hull() -> None:
    # 0.2 at 1, straight to 0.8 at 3, level to 5: mean 0.5 over half the way, then 0.8.
    value = metrics.aiq(_array(3), _array(0.8), cheapest=(1, 0.2), most=5)

    assert value == pytest.approx(0.65)


_POINTS = st.lists(st.tuples(st.floats(0.01, 10), st.floats(0, 1)), min_size=1, max_size=30)


@given(_POINTS)
def test_nothing_lies_above_the_hull(points: list[tuple[float, float]]) -> None:
    cost, quality = np.array(points).T

    x, y = metrics.hull(cost, quality)

    assert (np.interp(cost, x, y) >= quality - 1e-9).all()
    assert (np.diff(y) > 0).all()


@given(_POINTS)
def test_a_further_setting_never_lowers_aiq(points: list[tuple[float, float]]) -> None:
    cost, quality = np.array(points).T

    less = metrics.aiq(cost[:-1], quality[:-1], (0.01, 0.1), 10.0)

    assert metrics.aiq(cost, quality, (0.01, 0.1), 10.0) >= less - 1e-9


def test_router_arena_at_the_ends_of_its_scale() -> None:
    cost = _array(metrics.ROUTER_ARENA_LEAST_USD_PER_1K, metrics.ROUTER_ARENA_MOST_USD_PER_1K)

    scores = metrics.router_arena(_array(0.8, 0.8), cost)

    assert scores == pytest.approx([1.1 * 0.8 / (0.1 * 0.8 + 1), 0.0])


def test_router_arena_prefers_the_cheaper_of_two_that_are_equally_good() -> None:
    scores = metrics.router_arena(_array(0.8, 0.8), _array(0.1, 1.0))

    assert scores[0] > scores[1]


def test_calibration_errors() -> None:
    predicted, quality = _array(0.2, 0.2, 0.8, 0.8), _array(0, 0, 1, 0)

    assert metrics.ece(predicted, quality, bins=2) == pytest.approx((0.2 + 0.3) / 2)
    assert metrics.brier(predicted, quality) == pytest.approx((0.04 + 0.04 + 0.04 + 0.64) / 4)


def test_gap_closed() -> None:
    assert metrics.gap_closed(0.7, chance=0.6, best=0.8) == pytest.approx(0.5)
    assert math.isnan(metrics.gap_closed(0.7, chance=0.8, best=0.8))
