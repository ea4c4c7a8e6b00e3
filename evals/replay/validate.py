"""Is the off-policy estimate right? Asked where the truth is known: logs are drawn from a full-information table.

A router that explores is let loose on prompts drawn from the table; its log holds only what it chose. From that the
value of other policies is estimated, and compared with what the table tells: of these very prompts, which is what a
replay is asked for, and of the whole table they were drawn from, as if later traffic were to be like this.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from evals.progress import Tell, silent
from evals.replay.estimate import Floats, Ints, doubly_robust, outcome_model
from evals.routing.matrix import Matrix, split
from evals.routing.policies.base import turn
from evals.routing.policies.floors import TfIdfRidge

_EXPLORE = 0.2
_DIALS = {"cheap": 0.1, "middle": 0.5, "good": 0.9}


@dataclass(frozen=True)
class Trial:
    """One policy, one figure, over many logs.

    Attributes:
        truth: of the whole table.
        bias, rmse: of the estimates, against the truth of each log's own prompts.
        naive_rmse: of the model alone, without correction: what the correction is for.
        covered: part of the intervals that hold the truth of their own log.
        covered_table: part of the intervals that hold that of the table.
    """

    policy: str
    figure: str
    truth: float
    bias: float
    rmse: float
    naive_rmse: float
    covered: float
    covered_table: float


@dataclass(frozen=True)
class _Once:
    """One estimate of one log, with the truth of that log and what the model alone says."""

    mean: float
    low: float
    high: float
    truth: float
    naive: float


def validate(matrix: Matrix, logs: int = 100, decisions: int = 1000, seed: int = 0, tell: Tell = silent) -> list[Trial]:
    """Draw logs and judge the estimates made of them."""
    learnt, rest = split(matrix, 0.7, seed)
    router = TfIdfRidge()
    router.fit(learnt)
    prediction = router.predict(rest.prompts)
    settings = turn(prediction, rest)
    at = {name: settings[round(part * (len(settings) - 1))].astype(np.intp) for name, part in _DIALS.items()}
    logging = at["middle"]
    chances = np.full(rest.quality.shape, _EXPLORE / len(rest.models))
    chances[np.arange(len(rest)), logging] += 1 - _EXPLORE
    found: dict[tuple[str, str], list[_Once]] = {}
    rng = np.random.default_rng(seed)
    for _ in range(logs):
        tell("logs")
        drawn = rng.integers(len(rest), size=decisions)
        taken = (rng.random((decisions, 1)) > chances[drawn].cumsum(axis=1)[:, :-1]).sum(axis=1).astype(np.intp)
        for figure, values, hints in (
            ("quality", rest.quality, prediction.quality),
            ("cost", rest.cost * rest.per, prediction.cost * rest.per),
        ):
            for name, wanted in at.items():
                found.setdefault((name, figure), []).append(
                    _once(values[drawn], hints[drawn], taken, wanted[drawn], chances[drawn], figure == "quality")
                )
    return [
        _judged(name, figure, _truth(rest, at[name], figure), estimates) for (name, figure), estimates in found.items()
    ]


def _once(values: Floats, hints: Floats, taken: Ints, wanted: Ints, chances: Floats, within_0_1: bool) -> _Once:
    rows = np.arange(len(taken))
    reward = values[rows, taken]
    modelled = outcome_model(reward, taken, hints)
    could = chances[rows, wanted] > 0
    estimate = doubly_robust(reward, taken, chances[rows, taken], wanted, modelled, could, within_0_1=within_0_1)
    truth, naive = float(values[rows, wanted].mean()), float(modelled[rows, wanted].mean())
    return _Once(estimate.mean, estimate.low, estimate.high, truth, naive)


def _truth(matrix: Matrix, wanted: Ints, figure: str) -> float:
    values = matrix.quality if figure == "quality" else matrix.cost * matrix.per
    return float(values[np.arange(len(matrix)), wanted].mean())


def _judged(policy: str, figure: str, truth: float, estimates: Sequence[_Once]) -> Trial:
    mean, low, high, own, naive = np.array([(e.mean, e.low, e.high, e.truth, e.naive) for e in estimates]).T
    return Trial(
        policy=policy,
        figure=figure,
        truth=truth,
        bias=float((mean - own).mean()),
        rmse=float(np.sqrt(((mean - own) ** 2).mean())),
        naive_rmse=float(np.sqrt(((naive - own) ** 2).mean())),
        covered=float(((low <= own) & (own <= high)).mean()),
        covered_table=float(((low <= truth) & (truth <= high)).mean()),
    )
