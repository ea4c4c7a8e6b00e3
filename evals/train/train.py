"""The whole training: held-out scores by prompt and by kind of task, the calibration they give, and the final heads."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.optimize import nnls

from evals.train.fit import HEADS, Model, Settings, calibrated, fit_members, idf_of, matrix, platt, raw_scores, targets
from evals.train.rows import Row
from evals.train.score import figures
from router.predictor import PROFILES

Array = npt.NDArray[Any]
_PROMPT_FOLDS = 3
_GROUP_FOLDS = 4
_GROUP_MEMBERS = 3
# The scores of kinds of task never seen count this much in the calibration: traffic is neither all known nor all new.
_UNSEEN_SHARE = 0.3
_LEAST_SD = 0.02
_PRIOR_SD = 0.3
_MOST_SLOPE = 6.0
_LEAST_GROUPS = 3


@dataclass(frozen=True)
class HeldOut:
    """Scores of every row by heads that did not see it. Arrays are [rows, heads] but for the folds."""

    groups: Array
    lengths: Array
    y: Array
    w: Array
    measured: Array
    by_prompt: Array
    by_group: Array
    group_members: Array
    prompt_fold: Array
    group_fold: Array


@dataclass
class Result:
    """The model, and its figures by split and profile."""

    model: Model
    settings: Settings
    rows: int
    sources: dict[str, int]
    by_prompt: dict[str, dict[str, float]] = field(default_factory=dict)
    by_group: dict[str, dict[str, float]] = field(default_factory=dict)
    floors: dict[str, dict[str, dict[str, float]]] = field(default_factory=dict)
    groups: dict[str, dict[str, tuple[float, float, int]]] = field(default_factory=dict)


def train(rows: Sequence[Row], settings: Settings, seed: int) -> Result:
    """Fit, hold out, calibrate."""
    idf = idf_of(rows, settings.buckets)
    x = matrix(rows, idf)
    held = _hold_out(rows, x, settings, seed)
    weights = fit_members(rows, x, settings, seed)
    calibration = np.zeros((4, len(HEADS)))
    calibration[0, -1] = 1.0
    sources = {source: sum(row.source == source for row in rows) for source in sorted({row.source for row in rows})}
    result = Result(Model(weights, idf, calibration, 1.0), settings, len(rows), sources)
    for at, name in enumerate(PROFILES):
        known = held.w[:, at] > 0
        scores = np.concatenate([held.by_prompt[known, at], held.by_group[known, at]])
        shares = np.repeat([1 - _UNSEEN_SHARE, _UNSEEN_SHARE], known.sum())
        calibration[:2, at] = platt(scores, np.tile(held.y[known, at], 2), np.tile(held.w[known, at], 2) * shares)
        calibration[2:, at] = _spread(held, at, calibration[:2, at])
        if held.measured[:, at].any():
            _report(result, name, at, held)
    _tokens(result, held)
    return result


def _hold_out(rows: Sequence[Row], x: Any, settings: Settings, seed: int) -> HeldOut:
    y, w = targets(rows, settings.group_power)
    prompt_fold = np.array([_hash(seed, row.features.text) % _PROMPT_FOLDS for row in rows])
    group_fold = np.array([_hash(seed, row.group) % _GROUP_FOLDS for row in rows])
    members = _scores(rows, x, replace(settings, members=_GROUP_MEMBERS), seed, group_fold)
    return HeldOut(
        groups=np.array([row.group for row in rows]),
        lengths=np.log1p([row.features.prompt_chars for row in rows]) / 6.0,
        y=y,
        w=w,
        measured=np.array([[name in row.measured for name in HEADS] for row in rows]),
        by_prompt=_scores(rows, x, replace(settings, members=1), seed, prompt_fold)[:, 0],
        by_group=members.mean(axis=1),
        group_members=members,
        prompt_fold=prompt_fold,
        group_fold=group_fold,
    )


def _hash(seed: int, text: str) -> int:
    return zlib.crc32(f"{seed}:{text}".encode("utf-8", "replace"))


def _scores(rows: Sequence[Row], x: Any, settings: Settings, seed: int, fold: Array) -> Array:
    """[rows, members, heads]: the score of every row by heads that never saw its fold."""
    out = np.zeros((len(rows), settings.members, len(HEADS)))
    for part in np.unique(fold):
        kept = [i for i in range(len(rows)) if fold[i] != part]
        tested = np.flatnonzero(fold == part)
        weights = fit_members([rows[i] for i in kept], x[kept], settings, seed)
        out[tested] = raw_scores(x[tested], weights)
    return out


def _spread(held: HeldOut, at: int, ab: Array) -> tuple[float, float]:
    """(sd floor, sd slope): how far a kind of task never seen is from its prediction, by how far members disagree."""
    known = held.w[:, at] > 0
    p = calibrated(held.group_members[:, :, at], ab[0], ab[1])
    errors, spreads = [], []
    for group in np.unique(held.groups[known & held.measured[:, at]]):
        inside = known & (held.groups == group)
        errors.append(float((p[inside].mean(axis=1) - held.y[inside, at]).mean()))
        spreads.append(float(p[inside].std(axis=1).mean()))
    if len(errors) < _LEAST_GROUPS:
        return _PRIOR_SD, 1.0
    squared, spread = np.square(errors), np.square(spreads)
    floor, slope = nnls(np.column_stack([np.ones_like(spread), spread]), squared)[0]
    return max(float(np.sqrt(floor)), _LEAST_SD), float(min(np.sqrt(slope), _MOST_SLOPE))


def _report(result: Result, name: str, at: int, held: HeldOut) -> None:
    scored = np.flatnonzero(held.measured[:, at])
    y = held.y[scored, at]
    unseen = _cross(held.by_group[:, at], held, at, held.group_fold)[scored]
    result.by_prompt[name] = figures(_cross(held.by_prompt[:, at], held, at, held.prompt_fold)[scored], y)
    result.by_group[name] = figures(unseen, y)
    constant, length = np.zeros(len(held.y)), np.zeros(len(held.y))
    for part in np.unique(held.prompt_fold):
        kept = scored[held.prompt_fold[scored] != part]
        tested = held.prompt_fold == part
        constant[tested] = held.y[kept, at].mean()
        length[tested] = calibrated(
            held.lengths[tested], *platt(held.lengths[kept], held.y[kept, at], np.ones(len(kept)))
        )
    result.floors[name] = {"constant": figures(constant[scored], y), "length": figures(length[scored], y)}
    result.groups[name] = {
        str(group): (float(unseen[inside].mean()), float(y[inside].mean()), int(inside.sum()))
        for group in np.unique(held.groups[scored])
        for inside in [held.groups[scored] == group]
    }


def _cross(scores: Array, held: HeldOut, at: int, fold: Array) -> Array:
    """Probabilities of all rows, each calibrated on the measured rows of the other folds."""
    out = np.zeros(len(scores))
    for part in np.unique(fold):
        kept = (fold != part) & held.measured[:, at]
        if kept.any():
            tested = fold == part
            out[tested] = calibrated(scores[tested], *platt(scores[kept], held.y[kept, at], held.w[kept, at]))
    return out


def _tokens(result: Result, held: HeldOut) -> None:
    """The factor from the mean of the logarithm to the mean, and how much of the logarithm is explained."""
    known = held.w[:, -1] > 0
    predicted, y = held.by_prompt[known, -1], held.y[known, -1]
    result.model.tokens_smear = float(np.expm1(y).mean() / max(np.expm1(predicted).mean(), 1e-6))
    explained = 1 - ((predicted - y) ** 2).sum() / ((y - y.mean()) ** 2).sum()
    result.by_prompt["tokens"] = {"n": float(known.sum()), "log_r2": float(explained)}
