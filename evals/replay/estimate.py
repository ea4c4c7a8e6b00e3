"""What another policy would have brought, from what one policy did. Pure.

An outcome is known where both choose alike. Elsewhere a model of outcomes answers, and what it gets wrong on the
choices they share corrects it, weighted by how likely those choices were: the doubly robust estimator. It is right if
either the model or the logged probabilities are.

Source: Dudik, Langford and Li, "Doubly Robust Policy Evaluation and Learning", 2011 (https://arxiv.org/abs/1103.4601);
outcome models are fitted on other decisions than those they are applied to, as in Chernozhukov et al., 2018
(https://arxiv.org/abs/1608.00060).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.intp]
_Z95 = 1.959963984540054
_RIDGE = 5.0
_PARTS = 5
_LEAST_KNOWN = 2
_NO_LEAN = 1e-6


@dataclass(frozen=True)
class Estimate:
    """A mean per decision with its 95% interval.

    Attributes:
        effective: how many decisions the correction rests on: (sum of weights)^2 / sum of their squares.
        direct: part of the decisions whose outcome is known, as both policies chose alike.
        modelled: part of the decisions whose outcome only the model tells: the log never chose this way at random.
    """

    mean: float
    low: float
    high: float
    effective: float
    direct: float
    modelled: float


def doubly_robust(
    reward: Floats,
    taken: Ints,
    chance: Floats,
    wanted: Ints,
    modelled: Floats,
    could: npt.NDArray[np.bool_],
    *,
    within_0_1: bool = False,
) -> Estimate:
    """The mean reward of the wanted choices.

    Args:
        reward: [n], of the choice that was taken; NaN where it is not known.
        taken: [n], what the log chose. chance: [n], with which probability.
        wanted: [n], what the policy in question chooses.
        modelled: [n, actions], what a model expects of every choice.
        could: [n], whether the log could have chosen as wanted, by its probabilities.
        within_0_1: rewards are, so that the model bounds how far they scatter. Where an answer is rarely wrong, a log
            may hold no wrong one at all; the interval would be far too narrow if it believed that.

    Rewards that are missing are taken to be missing at random: the others stand for them.
    """
    rows = np.arange(len(reward))
    known = np.isfinite(reward)
    if known.sum() < _LEAST_KNOWN:
        nothing = float("nan")
        return Estimate(nothing, nothing, nothing, 0.0, 0.0, 1.0)
    matched = known & (taken == wanted)
    weight = np.where(matched, 1 / (chance * known.mean()), 0.0)
    residual = np.where(matched, np.nan_to_num(reward) - modelled[rows, taken], 0.0)
    each = modelled[rows, wanted] + weight * residual
    variance = each.var(ddof=1)
    if within_0_1:
        expected = np.clip(modelled[rows, taken], 0, 1)
        scatter = (weight**2 * expected * (1 - expected)).mean()
        variance = max(variance, modelled[rows, wanted].var(ddof=1) + scatter)
    mean = float(each.mean())
    low, high = _interval(mean, float(np.sqrt(variance)), _skewness(each), len(each))
    effective = weight.sum() ** 2 / (weight**2).sum() if matched.any() else 0.0
    return Estimate(mean, low, high, float(effective), float(matched.mean()), float((~could).mean()))


def _skewness(values: Floats) -> float:
    spread = values.std()
    return float((((values - values.mean()) / spread) ** 3).mean()) if spread > 0 else 0.0


def _interval(mean: float, sd: float, skewness: float, n: int) -> tuple[float, float]:
    """95% interval of a mean whose values may be skewed, as costs are: a few requests make up most of the bill.

    Source: Hall, "On the removal of skewness by transformation", 1992; without skewness it is the normal interval.
    """
    root = np.sqrt(n)
    lean = skewness / root

    def corrected(z: float) -> float:
        return z if abs(lean) < _NO_LEAN else float(3 / lean * (np.cbrt(1 + lean * (z - lean / 6)) - 1))

    return mean - sd / float(root) * corrected(_Z95), mean - sd / float(root) * corrected(-_Z95)


def outcome_model(reward: Floats, taken: Ints, hints: Floats, parts: int = _PARTS, seed: int = 0) -> Floats:
    """[n, actions]: expected reward of every choice, by ridge on what was predicted of it, choice by choice.

    Every decision's values come from a fit that has not seen it. A choice that was never taken keeps its hint.

    Args:
        reward: [n], NaN where it is not known. taken: [n].
        hints: [n, actions], what the router predicted of every choice; NaN where it predicted nothing.
    """
    n, actions = hints.shape
    known = np.isfinite(reward)
    filled = np.where(np.isfinite(hints), hints, np.nan_to_num(np.nanmean(reward[known]) if known.any() else 0.0))
    out = filled.copy()
    part = np.random.default_rng(seed).permutation(n) % parts
    for action in range(actions):
        mine = known & (taken == action)
        for held in range(parts):
            fitted = mine & (part != held)
            if fitted.sum() < _LEAST_KNOWN:
                continue
            x, y = filled[fitted, action], reward[fitted]
            slope = ((x - x.mean()) * (y - y.mean())).sum() / (((x - x.mean()) ** 2).sum() + _RIDGE * x.var() + 1e-12)
            at = part == held
            out[at, action] = y.mean() + slope * (filled[at, action] - x.mean())
    return out
