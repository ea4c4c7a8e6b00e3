"""Fits the heads: ridge on the sparse vector, then calibrations on prompts that were not trained on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp
from scipy.optimize import minimize

from evals.train.rows import Row
from router.predictor import vector
from router.vectoriser import grams, scalars
from services.contracts.predictor_file import PROFILES, SCALARS

Array = npt.NDArray[Any]
HEADS: tuple[str, ...] = (*PROFILES, "tokens")
SCALAR_GAIN = 0.5
_MOST_STEPS = 200
_TOLERANCE = 2e-3
_TINY = 1e-30
_FAMILIAR_PROMPTS = 2
# Where the calibration starts, and a weak pull back to it where the data say little.
_PRIOR = np.array([4.0, -2.0, 4.0, -2.0])
_PULL = 2e-4


@dataclass(frozen=True)
class Settings:
    """What was chosen by cross-validation; see docs/predictor.md."""

    buckets: int = 1 << 15
    alpha: float = 10.0
    group_power: float = 0.5


@dataclass
class Model:
    """Fitted heads. `weights` is [buckets + scalars, heads]; `familiar` says on which words a head was measured."""

    weights: Array
    familiar: Array
    idf: Array
    calibration: Array
    tokens_smear: float


def idf_of(rows: Sequence[Row], buckets: int) -> Array:
    """Smoothed inverse document frequency of every bucket."""
    seen = np.zeros(buckets)
    for row in rows:
        seen[grams(row.features.text, buckets)[0]] += 1
    return np.asarray(np.log((1 + len(rows)) / (1 + seen)) + 1.0, dtype=np.float16).astype(np.float32)


def matrix(rows: Sequence[Row], idf: Array) -> sp.csr_matrix:
    """[rows, buckets + scalars]: what the predictor sees."""
    data: list[Array] = []
    columns: list[Array] = []
    ends = [0]
    own = np.arange(len(idf), len(idf) + SCALARS)
    for row in rows:
        at, values, _ = vector(row.features, idf)
        data += [values, scalars(row.features) * SCALAR_GAIN]
        columns += [at, own]
        ends.append(ends[-1] + len(at) + SCALARS)
    shape = (len(rows), len(idf) + SCALARS)
    return sp.csr_matrix((np.concatenate(data).astype(np.float32), np.concatenate(columns), ends), shape=shape)


def targets(rows: Sequence[Row], group_power: float) -> tuple[Array, Array]:
    """(labels, weights), [rows, heads]; weight 0 where nothing is known. A large group counts less per row."""
    labels, weights = np.zeros((len(rows), len(HEADS))), np.zeros((len(rows), len(HEADS)))
    for i, row in enumerate(rows):
        for name, label in row.labels.items():
            at = HEADS.index(name)
            labels[i, at], weights[i, at] = label.quality, label.weight
        if row.output_tokens is not None:
            labels[i, -1], weights[i, -1] = np.log1p(row.output_tokens), 1.0
    _, group, sizes = np.unique([row.group for row in rows], return_inverse=True, return_counts=True)
    weights /= (sizes[group] ** group_power)[:, None]
    return labels, weights / weights.max()


def ridge(x: sp.csr_matrix, y: Array, w: Array, alpha: float) -> Array:
    """Weighted ridge of every column of `y` at once, [columns, heads], by conjugate gradients side by side.

    Weights are brought to a mean of 1 over the rows a head knows, so that alpha means the same for all of them.
    """
    known = (w > 0).sum(axis=0)
    scaled = (w * np.divide(known, w.sum(axis=0), out=np.zeros(w.shape[1]), where=known > 0)).astype(np.float32)
    transposed = x.T.tocsr()
    right = transposed @ (scaled * y).astype(np.float32)
    found = np.zeros_like(right)
    residual, direction = right.copy(), right.copy()
    energy = first = (residual * residual).sum(axis=0)
    for _ in range(_MOST_STEPS):
        if (energy <= _TOLERANCE**2 * first).all():
            break
        image = transposed @ (scaled * (x @ direction)) + alpha * direction
        step = energy / np.maximum((direction * image).sum(axis=0), _TINY)
        found += step * direction
        residual -= step * image
        before, energy = energy, (residual * residual).sum(axis=0)
        direction = residual + energy / np.maximum(before, _TINY) * direction
    return np.asarray(found)


def familiar_of(x: sp.csr_matrix, measured: Array) -> Array:
    """[buckets of words, heads]: whether at least two measured prompts of a head fall into a bucket."""
    present = x[:, : (x.shape[1] - SCALARS) // 2].copy()
    present.data[:] = 1.0
    return np.asarray(present.T @ measured.astype(np.float32)) >= _FAMILIAR_PROMPTS


def strangeness(x: sp.csr_matrix, familiar: Array) -> Array:
    """[rows, heads]: as `router.predictor.strangeness_of`, for all rows at once."""
    energy = x[:, : len(familiar)].copy()
    energy.data **= 2
    return np.asarray(np.clip(1.0 - energy @ familiar.astype(np.float32), 0.0, 1.0))


def calibrate(scores: Array, strange: Array, y: Array, w: Array) -> Array:
    """(slope, intercept, far slope, far intercept) of the logistic curve that fits fractional labels best.

    Its slope and intercept go from the near pair to the far one with strangeness.
    Source: Platt 1999, with the labels as they are in place of his smoothed ones.
    """
    if not w.any():
        return np.zeros(len(_PRIOR))  # nothing is known: even odds
    weight = w / w.mean()
    design = np.column_stack([(1 - strange) * scores, 1 - strange, strange * scores, strange])

    def loss(parameters: Array) -> tuple[float, Array]:
        p = 1 / (1 + np.exp(-np.clip(design @ parameters, -30, 30)))
        nll = -(weight * (y * np.log(p + 1e-12) + (1 - y) * np.log(1 - p + 1e-12))).mean()
        pull = parameters - _PRIOR
        return nll + _PULL * float(pull @ pull), design.T @ (weight * (p - y)) / len(y) + 2 * _PULL * pull

    found = minimize(loss, _PRIOR, jac=True, method="L-BFGS-B", bounds=[(0.05, 60.0), (-40.0, 40.0)] * 2)
    return np.asarray(found.x)
