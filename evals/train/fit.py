"""Fits the heads: ridge on the sparse vector, members by kind of task, then a calibration on prompts not trained on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp
from scipy.optimize import minimize

from evals.train.rows import Row
from router.predictor import PROFILES, vector
from router.vectoriser import SCALARS, grams, scalars

Array = npt.NDArray[Any]
HEADS: tuple[str, ...] = (*PROFILES, "tokens")
SCALAR_GAIN = 0.5
_MOST_STEPS = 200
_TOLERANCE = 2e-3
_TINY = 1e-30


@dataclass(frozen=True)
class Settings:
    """What was chosen by cross-validation; see docs/predictor.md."""

    buckets: int = 1 << 14
    members: int = 5
    alpha: float = 10.0
    left_out: float = 0.25
    group_power: float = 0.5


@dataclass
class Model:
    """Fitted heads before quantisation. Columns are member-major: member 0 of every head, member 1, ..."""

    weights: Array
    idf: Array
    calibration: Array
    tokens_smear: float


def idf_of(rows: Sequence[Row], buckets: int) -> Array:
    """Smoothed inverse document frequency of every bucket."""
    seen = np.zeros(buckets)
    for row in rows:
        word_at, _, char_at, _ = grams(row.features.text, buckets)
        seen[word_at] += 1
        seen[char_at] += 1
    return np.asarray(np.log((1 + len(rows)) / (1 + seen)) + 1.0, dtype=np.float16).astype(np.float32)


def matrix(rows: Sequence[Row], idf: Array) -> sp.csr_matrix:
    """[rows, buckets + scalars]: what the predictor sees."""
    data: list[Array] = []
    columns: list[Array] = []
    ends = [0]
    own = np.arange(len(idf), len(idf) + SCALARS)
    for row in rows:
        at, values = vector(row.features, idf)
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
    groups = {group: np.array([row.group == group for row in rows]) for group in {row.group for row in rows}}
    for members in groups.values():
        weights[members] /= members.sum() ** group_power
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


def fit_members(rows: Sequence[Row], x: sp.csr_matrix, settings: Settings, seed: int) -> Array:
    """[members, heads, columns]: every member leaves out a part of the groups of `left_out`."""
    rng = np.random.default_rng(seed)
    y, w = targets(rows, settings.group_power)
    names = np.array([row.group for row in rows])
    groups = np.unique(names)
    out = np.zeros((settings.members, len(HEADS), x.shape[1]), dtype=np.float32)
    # Every group is left out by the same number of members, as far as that goes.
    order = rng.permutation(len(groups))
    per = settings.left_out * len(groups)
    for member in range(settings.members):
        start = int(member * len(groups) / settings.members)
        gone = {groups[order[(start + i) % len(groups)]] for i in range(int(per))} if settings.members > 1 else set()
        kept = ~np.isin(names, list(gone))
        out[member] = ridge(x, y, w * kept[:, None], settings.alpha).T
    return out


def raw_scores(x: sp.csr_matrix, weights: Array) -> Array:
    """[rows, members, heads]."""
    members, heads, columns = weights.shape
    return np.asarray(x @ weights.reshape(members * heads, columns).T).reshape(-1, members, heads)


def platt(scores: Array, y: Array, w: Array) -> tuple[float, float]:
    """(slope, intercept) of the logistic curve that fits fractional labels best, mildly regularised.

    Source: Platt 1999, with the labels as they are in place of his smoothed ones.
    """
    weight = w / w.mean()

    def loss(parameters: Array) -> tuple[float, Array]:
        z = np.clip(parameters[0] * scores + parameters[1], -30, 30)
        p = 1 / (1 + np.exp(-z))
        nll = -(weight * (y * np.log(p + 1e-12) + (1 - y) * np.log(1 - p + 1e-12))).mean()
        slack = weight * (p - y)
        gradient = np.array([(slack * scores).mean(), slack.mean()])
        prior = parameters - np.array([4.0, -2.0])
        return nll + 1e-4 * float(prior @ prior), gradient + 2e-4 * prior

    found = minimize(loss, np.array([4.0, -2.0]), jac=True, method="L-BFGS-B", bounds=[(0.05, 60.0), (-40.0, 40.0)])
    return float(found.x[0]), float(found.x[1])


def calibrated(scores: Array, slope: float, intercept: float) -> Array:
    """Probabilities of raw scores."""
    return np.asarray(1 / (1 + np.exp(-np.clip(slope * scores + intercept, -30, 30))))
