"""Probabilities on the scale of log-odds, where what is learnt of them adds up. Pure.

No probability here is certain: what is nearer to 0 or 1 than `LEAST_P` counts as that near.
"""

from __future__ import annotations

import math

LEAST_P = 0.01
_MOST_LOG_ODDS = 30.0


def bounded(probability: float) -> float:
    """A probability that is not certain."""
    return min(max(probability, LEAST_P), 1 - LEAST_P)


def log_odds(probability: float) -> float:
    """The logarithm of the odds of a probability."""
    p = bounded(probability)
    return math.log(p / (1 - p))


def probability_of(odds: float) -> float:
    """The probability whose log-odds these are."""
    return 1 / (1 + math.exp(-min(max(odds, -_MOST_LOG_ODDS), _MOST_LOG_ODDS)))
