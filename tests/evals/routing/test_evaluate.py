"""The comparison of policies on a world that is known: who must beat whom, and what may never be seen."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from evals.routing.curve import curve_of, draws
from evals.routing.dial import Prediction, by_price_of_quality, by_threshold
from evals.routing.evaluate import Score, Wanted, evaluate
from evals.routing.matrix import Price, split, to_matrix, without
from evals.routing.policies.plain import Single
from evals.routing.run import everyone
from services.contracts.errors import ConfigError
from tests.evals.routing.support import STRONG, WEAK, frame, world


def _scores(*, priced: bool) -> dict[str, Score]:
    train, test = split(world(360, priced=priced), 0.4, seed=3)
    found = evaluate(everyone(test), train, test, Wanted((0.5,), draws=200))
    return {score.name: score for score in found}


@pytest.fixture(scope="module", params=[True, False], ids=["priced", "share"])
def scores(request: pytest.FixtureRequest) -> dict[str, Score]:
    return _scores(priced=request.param)


def test_the_learned_routers_lie_between_chance_and_the_oracle(scores: dict[str, Score]) -> None:
    for name in ("turnout", "tfidf-ridge", "knn"):
        assert 0.65 < scores[name].values["apgr"] <= scores["oracle"].values["apgr"]
        assert scores[name].values["gap_closed"] > 0.5


def test_chance_is_one_half(scores: dict[str, Score]) -> None:
    assert scores["random"].values["apgr"] == pytest.approx(0.5)
    assert scores["random"].values["cpt50"] == pytest.approx(50)
    assert scores["random"].values["gap_closed"] == pytest.approx(0)


def test_an_interval_holds_its_figure(scores: dict[str, Score]) -> None:
    for name in ("apgr", "aiq", "max_quality"):
        low, high = scores["turnout"].intervals[name]
        assert low < scores["turnout"].values[name] < high


def test_single_models_are_points(scores: dict[str, Score]) -> None:
    assert scores[STRONG].curve.quality[0] == scores["strongest"].curve.quality[0]
    assert scores[WEAK].curve.cost[0] == scores["cheapest"].curve.cost[0]


def test_predictions_are_calibrated_where_the_world_is_simple(scores: dict[str, Score]) -> None:
    assert scores["turnout"].values["ece"] < 0.15


def test_measured_times_are_charged_with_the_decision(scores: dict[str, Score]) -> None:
    slow, p50 = scores["turnout"].decision_ms / 1000, scores["turnout"].values["latency_s_p50"]

    assert p50 > slow
    assert scores["turnout"].values["latency_s_p99"] > p50


def test_a_policy_predicts_from_prompts_alone() -> None:
    train, test = split(world(200), 0.4, seed=3)
    blind = test.take(np.arange(len(test)))
    blind.quality[:] = 0.5
    ours = everyone(test)[-1]
    ours.fit(train)

    assert (ours.choose(test) == ours.choose(blind)).all()


def test_a_split_never_has_a_text_on_both_sides() -> None:
    twice = world(100)
    both = twice.take(np.concatenate([np.arange(100), np.arange(100)]))

    train, test = split(both, 0.3, seed=1)

    assert not set(train.prompts) & set(test.prompts)
    assert len(train) + len(test) == 200
    assert len(without(both, test)) == len(train)


def test_the_dial_goes_from_the_cheapest_to_the_best() -> None:
    matrix = world(50)
    rng = np.random.default_rng(0)
    prediction = Prediction(rng.random((50, 2)), matrix.cost)

    choices = by_price_of_quality(prediction)

    assert (choices[0] == matrix.cost.argmin(axis=1)).all()
    assert (choices[-1] == prediction.quality.argmax(axis=1)).all()
    assert (np.diff(curve_of(matrix, choices)[0].cost) >= -1e-12).all()


def test_of_two_equally_good_models_the_cheaper_is_taken() -> None:
    choices = by_price_of_quality(Prediction(np.full((3, 2), 0.5), np.array([[2.0, 1.0]] * 3)))

    assert (choices == 1).all()


def test_a_threshold_takes_all_of_a_tie_or_none() -> None:
    choices = by_threshold(np.array([1.0, 1.0, 2.0]), weak=0, strong=1)

    assert choices.tolist() == [[0, 0, 0], [0, 0, 1], [1, 1, 1]]


def test_bootstrap_draws_keep_the_number_of_prompts() -> None:
    drawn = draws(40, 10, seed=0)

    assert (drawn.sum(axis=1) == 40).all()
    assert drawn.std() > 0.5


def test_costs_come_from_tokens_where_a_price_is_given() -> None:
    rows = frame(30).with_columns(
        cost_usd=pl.lit(None, dtype=pl.Float64),
        input_tokens=pl.lit(1000, dtype=pl.Int64),
        output_tokens=pl.lit(500, dtype=pl.Int64),
    )

    matrix = to_matrix(rows, "t", prices={WEAK: Price(1.0, 2.0), STRONG: Price(10.0, 20.0)})

    assert matrix.priced
    assert matrix.models == (STRONG, WEAK)
    assert matrix.cost[0] == pytest.approx([0.02, 0.002])


def test_without_prices_the_calls_to_the_strong_model_are_counted() -> None:
    matrix = world(50, priced=False)

    assert not matrix.priced
    assert matrix.pair is not None
    assert matrix.models[matrix.pair[1]] == STRONG
    assert (matrix.cost[:, matrix.pair[1]] == 1).all()
    assert (matrix.cost[:, matrix.pair[0]] == 0).all()


def test_a_model_that_is_not_in_the_table_is_named() -> None:
    with pytest.raises(ConfigError, match="no rows of model other"):
        to_matrix(frame(30), "t", ["other"])


def test_a_cost_that_is_not_enough_in_many_draws_has_no_upper_end() -> None:
    whole = world(200)
    rng = np.random.default_rng(5)
    alike = replace(whole, quality=(rng.random(whole.quality.shape) < 0.7).astype(float))  # neither is the better
    train, test = split(alike, 0.5, seed=0)

    (score,) = evaluate([Single(WEAK)], train, test, Wanted((0.5,), draws=200))

    low, high = score.intervals["cost_at:1"]
    assert np.isfinite(low)
    assert np.isnan(high)
    assert score.intervals["quality_at:0.5"][0] < score.intervals["quality_at:0.5"][1]
