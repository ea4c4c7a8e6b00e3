"""The off-policy estimate: exact where outcomes are known, right on average where not, honest about how sure."""

from __future__ import annotations

import math

import numpy as np
import pytest

from evals.replay.estimate import doubly_robust, outcome_model
from evals.replay.validate import validate
from tests.evals.routing.support import world


def test_a_policy_that_chose_the_same_gets_the_mean_of_what_happened() -> None:
    reward, taken = np.array([1.0, 0.0, 1.0, 1.0]), np.array([0, 1, 0, 1])

    found = doubly_robust(reward, taken, np.ones(4), taken, np.full((4, 2), 0.3), np.ones(4, dtype=bool))

    assert found.mean == pytest.approx(0.75)
    assert found.direct == 1
    assert found.modelled == 0


def test_a_wrong_model_is_corrected_by_what_happened() -> None:
    rng = np.random.default_rng(0)
    n = 20_000
    taken = (rng.random(n) < 0.25).astype(np.intp)
    reward = (rng.random(n) < np.where(taken == 1, 0.8, 0.4)).astype(float)
    chance = np.where(taken == 1, 0.25, 0.75)
    wrong = np.zeros((n, 2))

    found = doubly_robust(reward, taken, chance, np.ones(n, dtype=np.intp), wrong, np.ones(n, dtype=bool))

    assert found.mean == pytest.approx(0.8, abs=0.03)
    assert found.low < 0.8 < found.high


def test_missing_outcomes_are_stood_for_by_the_others() -> None:
    reward = np.array([1.0, math.nan] * 500)
    taken = np.zeros(1000, dtype=np.intp)

    found = doubly_robust(reward, taken, np.ones(1000), taken, np.zeros((1000, 1)), np.ones(1000, dtype=bool))

    assert found.mean == pytest.approx(1.0)
    assert found.direct == pytest.approx(0.5)


def test_without_any_outcome_nothing_is_claimed() -> None:
    taken = np.zeros(3, dtype=np.intp)

    found = doubly_robust(np.full(3, math.nan), taken, np.ones(3), taken, np.zeros((3, 1)), np.ones(3, dtype=bool))

    assert math.isnan(found.mean)


def test_a_log_without_one_wrong_answer_does_not_make_the_interval_vanish() -> None:
    taken, reward = np.zeros(50, dtype=np.intp), np.ones(50)
    modelled = np.full((50, 1), 0.9)

    def width(*, within_0_1: bool) -> float:
        could = np.ones(50, dtype=bool)
        found = doubly_robust(reward, taken, np.ones(50), taken, modelled, could, within_0_1=within_0_1)
        return found.high - found.low

    assert width(within_0_1=False) == 0
    assert width(within_0_1=True) > 0.1


def test_the_model_learns_the_scale_of_its_hints() -> None:
    rng = np.random.default_rng(0)
    hints = rng.random((2000, 2))
    taken = rng.integers(2, size=2000).astype(np.intp)
    truth = np.stack([0.2 + 0.1 * hints[:, 0], 0.9 - 0.5 * hints[:, 1]], axis=1)
    reward = truth[np.arange(2000), taken] + 0.01 * rng.standard_normal(2000)

    modelled = outcome_model(reward, taken, hints)

    assert np.abs(modelled - truth).max() < 0.05


def test_intervals_hold_the_truth_in_nine_of_ten_logs_of_a_known_world() -> None:
    trials = validate(world(500), logs=100, decisions=600)

    assert {trial.policy for trial in trials} == {"cheap", "middle", "good"}
    for trial in trials:
        assert trial.covered >= 0.9, trial
        assert abs(trial.bias) < 0.1 * abs(trial.truth)
