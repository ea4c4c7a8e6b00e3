"""Every policy on the test prompts: fitted, timed, turned from cheapest to best, and scored with 95% intervals."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from evals.progress import Tell, silent
from evals.routing import metrics
from evals.routing.curve import Choices, Curve, curve_of, draws
from evals.routing.dial import Prediction
from evals.routing.matrix import Floats, Matrix
from evals.routing.policies.base import Policy

_DRAWS = 1000
_TIMED = 40
_INTERVAL = (2.5, 97.5)
_QUALITIES = (0.9, 0.95, 0.99, 1.0)
# A draw in which a quality is not reached at any cost, or nothing is to be had for the budget, is no reason to leave it
# out: it lies beyond all others.
_WITHOUT = {"cost_at": np.inf, "quality_at": -np.inf}


@dataclass(frozen=True)
class Bounds:
    """What the single models reach on the prompts at hand, in one draw of them. Costs on the axis of the reports."""

    cost: Floats
    quality: Floats
    pair: tuple[int, int] | None

    @property
    def cheapest(self) -> tuple[float, float]:
        """(cost, quality) of the cheapest model."""
        at = int(self.cost.argmin())
        return float(self.cost[at]), float(self.quality[at])

    @property
    def strongest(self) -> int:
        """The best model."""
        return int(self.quality.argmax())


@dataclass(frozen=True)
class Score:
    """One policy's figures.

    Attributes:
        values: by name; NaN where a figure has no meaning. intervals: (low, high) of the same names.
        curve: of all test prompts.
        choices: [settings, n], what it took.
        decision_ms: time of one decision, median of single prompts.
        predicted: what it expected of the test prompts.
    """

    name: str
    values: dict[str, float]
    intervals: dict[str, tuple[float, float]]
    curve: Curve
    choices: Choices
    decision_ms: float
    predicted: Prediction | None
    notes: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Wanted:
    """At which budgets policies are compared, on the cost axis of the reports, and with which random numbers."""

    budgets: tuple[float, ...]
    seed: int = 0
    draws: int = _DRAWS


def evaluate(
    policies: Sequence[Policy],
    train: Matrix,
    test: Matrix,
    wanted: Wanted,
    tell: Tell = silent,
) -> list[Score]:
    """Fit and score every policy. The same bootstrap draws serve all of them, so that they can be compared."""
    weights = draws(len(test), wanted.draws, wanted.seed)
    every = np.ones((1, len(test)))
    bounds = _bounds(test, np.vstack([every, weights]))
    curves: dict[str, list[Curve]] = {}
    scores = []
    for policy in policies:
        tell(f"{policy.name}: training")
        policy.fit(train, tell)
        tell(f"{policy.name}: choosing")
        choices = policy.choose(test)
        curves[policy.name] = curve_of(test, choices, np.vstack([every, weights]))
        scores.append((policy, choices, _latency_ms(policy, test)))
    tell("scoring")
    aiqs = {name: _aiqs(found, bounds) for name, found in curves.items()}
    return [
        _score(policy, choices, decision_ms, test, curves[policy.name], bounds, aiqs, wanted)
        for policy, choices, decision_ms in scores
    ]


def _bounds(test: Matrix, weights: Floats) -> list[Bounds]:
    share = weights / weights.sum(axis=1, keepdims=True)
    costs, qualities = share @ test.cost * test.per, share @ test.quality
    return [Bounds(c, q, test.pair) for c, q in zip(costs, qualities, strict=True)]


def _aiqs(curves: Sequence[Curve], bounds: Sequence[Bounds]) -> list[float]:
    return [
        metrics.aiq(curve.cost, curve.quality, bound.cheapest, float(bound.cost.max()))
        for curve, bound in zip(curves, bounds, strict=True)
    ]


def _score(
    policy: Policy,
    choices: Choices,
    decision_ms: float,
    test: Matrix,
    curves: Sequence[Curve],
    bounds: Sequence[Bounds],
    aiqs: dict[str, list[float]],
    wanted: Wanted,
) -> Score:
    found: dict[str, list[float]] = {}
    for at, (curve, bound) in enumerate(zip(curves, bounds, strict=True)):
        figures = _figures(curve, bound, test, wanted.budgets)
        figures["aiq"] = aiqs[policy.name][at]
        if "oracle" in aiqs and "random" in aiqs:
            figures["gap_closed"] = metrics.gap_closed(figures["aiq"], aiqs["random"][at], aiqs["oracle"][at])
        for name, value in figures.items():
            found.setdefault(name, []).append(value)
    values = {name: series[0] for name, series in found.items()}
    intervals = {name: _interval(series[1:], _WITHOUT.get(name.partition(":")[0])) for name, series in found.items()}
    predicted = policy.predict(test.prompts)
    values |= _calibration(predicted, test) | _latencies(test, choices[-1], decision_ms)
    notes = dict(getattr(policy, "notes", {}))
    return Score(policy.name, values, intervals, curves[0], choices, decision_ms, predicted, notes)


def _figures(curve: Curve, bound: Bounds, test: Matrix, budgets: Sequence[float]) -> dict[str, float]:
    figures = {"max_quality": float(curve.quality[-1]), "cost_at_max_quality": float(curve.cost[-1])}
    if bound.pair and curve.share is not None:
        weak, strong = (float(bound.quality[i]) for i in bound.pair)
        figures["apgr"] = metrics.apgr(curve.share, curve.quality, weak, strong)
        for percent in (50, 80):
            figures[f"cpt{percent}"] = metrics.cpt(curve.share, curve.quality, weak, strong, percent / 100)
    for budget in budgets:
        figures[f"quality_at:{budget:g}"] = metrics.quality_at(curve.cost, curve.quality, budget)
    best = float(bound.quality[bound.strongest])
    for part in _QUALITIES:
        figures[f"cost_at:{part:g}"] = metrics.cost_at(curve.cost, curve.quality, part * best)
    if test.priced:
        figures["router_arena"] = float(metrics.router_arena(curve.quality, curve.cost).max())
    return figures


def _interval(series: Sequence[float], without: float | None) -> tuple[float, float]:
    """Ends of the 95% interval; NaN for one that lies among draws in which nothing, or no amount, was enough."""
    values = np.array(series)
    values = values[np.isfinite(values)] if without is None else np.where(np.isfinite(values), values, without)
    if not len(values):
        return float("nan"), float("nan")
    with np.errstate(invalid="ignore"):  # an end between two infinities
        low, high = (float(end) for end in np.percentile(values, _INTERVAL))
    return (low if np.isfinite(low) else float("nan")), (high if np.isfinite(high) else float("nan"))


def _calibration(prediction: Prediction | None, test: Matrix) -> dict[str, float]:
    if prediction is None:
        return {}
    return {
        "ece": metrics.ece(prediction.quality, test.quality),
        "brier": metrics.brier(prediction.quality, test.quality),
    }


def _latency_ms(policy: Policy, test: Matrix) -> float:
    """Median time of deciding on one prompt, prompt by prompt as requests come."""
    taken = []
    for prompt in [*test.prompts[:_TIMED]]:
        began = time.perf_counter()
        policy.predict([prompt])
        taken.append(time.perf_counter() - began)
    return float(np.median(taken)) * 1000


def _latencies(test: Matrix, choices: Choices, decision_ms: float) -> dict[str, float]:
    """Percentiles of the answers' measured times at the best setting, each with the decision's time charged on it."""
    taken = test.latency_s[np.arange(len(test)), choices]
    known = taken[np.isfinite(taken)]
    if not len(known):
        return {}
    charged = known + decision_ms / 1000
    return {f"latency_s_p{p}": float(np.percentile(charged, p)) for p in (50, 95, 99)}
