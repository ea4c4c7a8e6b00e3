"""Cost and quality of a policy as its dial is turned from cheapest to best, and how they vary by the prompts drawn."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from evals.routing.matrix import Floats, Matrix

Choices = npt.NDArray[np.int16]


@dataclass(frozen=True)
class Curve:
    """What came of the choices at every setting of the dial, from the cheapest on.

    Attributes:
        cost: [settings], mean per request, in the matrix's unit. quality: [settings], mean.
        share: [settings], of calls to the strong model; None where there is no pair.
    """

    cost: Floats
    quality: Floats
    share: Floats | None = None


def realised(matrix: Matrix, choices: Choices) -> tuple[Floats, Floats, Floats | None]:
    """(cost, quality, share of strong calls) of every choice, each [settings, n]."""
    rows = np.arange(len(matrix))
    cost = matrix.cost[rows, choices] * matrix.per
    strong = (choices == matrix.pair[1]).astype(float) if matrix.pair else None
    return cost, matrix.quality[rows, choices], strong


def curve_of(matrix: Matrix, choices: Choices, weights: Floats | None = None) -> list[Curve]:
    """The curve for every row of `weights` [draws, n] (how often each prompt was drawn); one of all prompts without.

    Args:
        matrix: what was measured.
        choices: [settings, n], columns of `matrix`.
    """
    weights = np.ones((1, len(matrix))) if weights is None else weights
    share = weights / weights.sum(axis=1, keepdims=True)
    cost, quality, strong = realised(matrix, choices)
    costs, qualities = share @ cost.T, share @ quality.T
    shares = None if strong is None else share @ strong.T
    return [Curve(costs[i], qualities[i], None if shares is None else shares[i]) for i in range(len(share))]


def draws(n: int, how_many: int, seed: int) -> Floats:
    """[how_many, n]: bootstrap samples of n prompts, as counts. Source: Efron, 1979."""
    rng = np.random.default_rng(seed)
    return rng.multinomial(n, np.full(n, 1 / n), size=how_many).astype(float)
