"""The figures by which routers are compared. Pure; each has its source. See docs/evals.md."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from evals.routing.matrix import Floats

ROUTER_ARENA_BETA = 0.1
ROUTER_ARENA_LEAST_USD_PER_1K = 0.0044
ROUTER_ARENA_MOST_USD_PER_1K = 200.0
_ECE_BINS = 15


def apgr(share: Floats, quality: Floats, weak: float, strong: float) -> float:
    """Average performance gap recovered: the mean over all shares of calls to the strong model, 0..1, of PGR.

    PGR is (quality - weak) / (strong - weak). The mean is the area under the straight lines between the settings of
    the dial, which run from all weak to all strong; choosing at random gives 0.5. NaN if strong is not better.

    Args:
        share: [settings], of calls to the strong model. quality: [settings].
        weak: mean quality of the weak model alone; strong: of the strong one.

    Source: Ong et al., "RouteLLM", 2024 (https://arxiv.org/abs/2406.18665), equation 6; they sum over ten shares.
    """
    if strong <= weak:
        return float("nan")
    x, y = _from_weak_to_strong(share, quality, weak, strong)
    return float((np.trapezoid(y, x) - weak) / (strong - weak))


def cpt(share: Floats, quality: Floats, weak: float, strong: float, recovered: float) -> float:
    """Call-performance threshold: least percentage of calls to the strong model that recovers this part of the gap.

    Args:
        share, quality, weak, strong: as for `apgr`. recovered: 0..1, for example 0.5 for CPT(50%).

    Source: Ong et al., "RouteLLM", 2024 (https://arxiv.org/abs/2406.18665), section 3.2.
    """
    if strong <= weak:
        return float("nan")
    x, y = _from_weak_to_strong(share, quality, weak, strong)
    return 100 * cost_at(x, y, weak + recovered * (strong - weak))


def _from_weak_to_strong(share: Floats, quality: Floats, weak: float, strong: float) -> tuple[Floats, Floats]:
    """The curve with its ends, by share. A policy of one setting is mixed with either model at random."""
    x, y = np.concatenate([[0.0], share, [1.0]]), np.concatenate([[weak], quality, [strong]])
    order = np.argsort(x, kind="stable")
    return x[order], y[order]


def quality_at(cost: Floats, quality: Floats, budget: float) -> float:
    """Quality of the dial set so that it costs `budget` on average: between two settings, of their random mix.

    Above the dearest setting it is the quality of that one; NaN below the cheapest.
    """
    if budget < cost.min():
        return float("nan")
    order = np.argsort(cost, kind="stable")
    return float(np.interp(budget, cost[order], quality[order]))


def cost_at(cost: Floats, quality: Floats, wanted: float) -> float:
    """Least cost of a setting, or of a mix of two neighbours, that has the quality `wanted`; NaN if there is none."""
    order = np.argsort(cost, kind="stable")
    x, y = cost[order], quality[order]
    reached = np.flatnonzero(y >= wanted)
    if not len(reached):
        return float("nan")
    at = int(reached[0])
    if at == 0 or y[at] == y[at - 1]:
        return float(x[at])
    return float(x[at - 1] + (wanted - y[at - 1]) / (y[at] - y[at - 1]) * (x[at] - x[at - 1]))


def hull(cost: Floats, quality: Floats) -> tuple[Floats, Floats]:
    """Upper-left convex hull, non-decreasing: the best that random mixes of the points can do at each cost.

    Source: Andrew's monotone chain, 1979.
    """
    kept: list[tuple[float, float]] = []
    for i in np.lexsort((-quality, cost)):
        point = (float(cost[i]), float(quality[i]))
        if kept and point[1] <= kept[-1][1]:
            continue
        while len(kept) > 1 and _below(kept[-2], kept[-1], point):
            kept.pop()
        kept.append(point)
    x, y = zip(*kept, strict=True)
    return np.array(x), np.array(y)


def _below(left: tuple[float, float], middle: tuple[float, float], right: tuple[float, float]) -> bool:
    return (middle[1] - left[1]) * (right[0] - left[0]) <= (right[1] - left[1]) * (middle[0] - left[0])


def aiq(cost: Floats, quality: Floats, cheapest: tuple[float, float], most: float) -> float:
    """Average improvement in quality: mean height of the non-decreasing hull over the costs from cheapest to dearest.

    The hull includes the cheapest model alone, which any policy may be mixed with, and goes on level to the right.

    Args:
        cost, quality: [settings].
        cheapest: (cost, quality) of the cheapest model. most: cost of the dearest one.

    Source: Hu et al., "RouterBench", 2024 (https://arxiv.org/abs/2403.12031), section 3.
    """
    least = cheapest[0]
    x, y = hull(np.append(cost, least), np.append(quality, cheapest[1]))
    if most <= least:
        return float(y.max())
    inside = (x > least) & (x < most)
    grid = np.concatenate([[least], x[inside], [most]])
    return float(np.trapezoid(np.interp(grid, x, y), grid) / (most - least))


def gap_closed(value: float, chance: float, best: float) -> float:
    """Part of the way from `chance` to `best` that `value` has gone: 0 at chance, 1 at the oracle."""
    return (value - chance) / (best - chance) if best > chance else float("nan")


def router_arena(accuracy: Floats, usd_per_1k: Floats) -> Floats:
    """RouterArena's score of settings, 0..1: S = (1 + b) A C / (b A + C), where C falls with the logarithm of cost.

    Source: RouterArena, 2025 (https://arxiv.org/abs/2510.00202): b = 0.1, costs from $0.0044 to $200 per 1K requests.
    """
    most, least = np.log2(ROUTER_ARENA_MOST_USD_PER_1K), np.log2(ROUTER_ARENA_LEAST_USD_PER_1K)
    bounded = np.clip(usd_per_1k, ROUTER_ARENA_LEAST_USD_PER_1K, ROUTER_ARENA_MOST_USD_PER_1K)
    cheapness = (most - np.log2(bounded)) / (most - least)
    below = ROUTER_ARENA_BETA * accuracy + cheapness
    with np.errstate(invalid="ignore"):
        score = (1 + ROUTER_ARENA_BETA) * accuracy * cheapness / below
    return np.asarray(np.where(below > 0, score, 0.0))


def ece(predicted: npt.ArrayLike, quality: npt.ArrayLike, bins: int = _ECE_BINS) -> float:
    """Expected calibration error: mean distance of prediction and outcome in `bins` groups of equal size.

    Source: Nguyen and O'Connor, 2015 (https://arxiv.org/abs/1508.05154), adaptive bins; the name is from Naeini et al.
    """
    p, q = np.ravel(predicted), np.ravel(quality)
    groups = np.array_split(np.argsort(p, kind="stable"), min(bins, len(p)))
    return float(sum(abs(p[g].mean() - q[g].mean()) * len(g) for g in groups) / len(p))


def brier(predicted: npt.ArrayLike, quality: npt.ArrayLike) -> float:
    """Mean squared error of the predicted quality. Source: Brier, 1950."""
    return float(np.mean((np.ravel(predicted) - np.ravel(quality)) ** 2))
