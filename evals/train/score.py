"""How good predicted probabilities are, on prompts that were not trained on."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.metrics import roc_auc_score

Array = npt.NDArray[Any]
_BINS = 10
FLOOR = 0.6


def ece(p: Array, y: Array) -> float:
    """Expected calibration error over ten bins of equal count: mean |predicted - observed|."""
    order = np.argsort(p, kind="stable")
    parts = [part for part in np.array_split(order, _BINS) if len(part)]
    return float(sum(len(part) * abs(p[part].mean() - y[part].mean()) for part in parts) / len(p))


def auc(p: Array, y: Array) -> float:
    """Area under the ROC curve; a fractional label counts as both outcomes, each by its share. NaN if all are alike."""
    if np.ptp(y) == 0:
        return float("nan")
    both = np.concatenate([np.ones_like(y), np.zeros_like(y)])
    weights = np.concatenate([y, 1 - y])
    kept = weights > 0
    return float(roc_auc_score(both[kept], np.concatenate([p, p])[kept], sample_weight=weights[kept]))


def brier(p: Array, y: Array) -> float:
    """Mean squared error of the probability."""
    return float(((p - y) ** 2).mean())


def figures(p: Array, y: Array) -> dict[str, float]:
    """All of them, with the number of prompts and the mean label.

    `above` is the share of prompts whose prediction reaches the default quality floor, `above_mean` what is observed
    on those: it should not be lower than the floor.
    """
    above = p >= FLOOR
    return {
        "n": float(len(y)),
        "mean": float(y.mean()),
        "auc": auc(p, y),
        "brier": brier(p, y),
        "ece": ece(p, y),
        "above": float(above.mean()),
        "above_mean": float(y[above].mean()) if above.any() else float("nan"),
    }
