"""From predictions to choices: what is taken at every setting of the dial from cheapest to best. Pure."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from evals.routing.curve import Choices
from evals.routing.matrix import Floats

SETTINGS = 257


@dataclass(frozen=True)
class Prediction:
    """What a policy expects of every model on every prompt: [n, m] each; cost in USD, or shares of strong calls."""

    quality: Floats
    cost: Floats


def by_price_of_quality(prediction: Prediction, settings: int = SETTINGS) -> Choices:
    """Maximise quality - rate x cost, for rates from infinite (the cheapest) to nearly none (the best), [settings, n].

    The rates are those at which predictions change their choice, evenly by rank: each setting moves about as many
    prompts. At equal worth the cheaper model is taken.
    """
    quality, cost = prediction.quality, prediction.cost
    gain = quality[:, :, None] - quality[:, None, :]
    extra = cost[:, :, None] - cost[:, None, :]
    rates = gain[(gain > 0) & (extra > 0)] / extra[(gain > 0) & (extra > 0)]
    least = rates.min() * 1e-6 if len(rates) else 1.0
    most = rates.max() * 2 if len(rates) else 1.0
    inner = np.quantile(rates, np.linspace(1, 0, settings - 2)) if len(rates) else np.empty(0)
    out = [(quality - rate * cost).argmax(axis=1) for rate in (*np.append(most, inner), least)]
    return np.asarray(out, dtype=np.int16)


def by_threshold(score: Floats, weak: int, strong: int, settings: int = SETTINGS) -> Choices:
    """The strong model where `score` [n] is above a threshold, from none to all of the prompts, [settings, n]."""
    inner = np.quantile(score, np.linspace(1, 0, settings - 1), method="higher")
    thresholds = np.unique(np.append(inner, np.nextafter(score.min(), -np.inf)))[::-1]
    return np.where(score[None, :] > thresholds[:, None], strong, weak).astype(np.int16)
