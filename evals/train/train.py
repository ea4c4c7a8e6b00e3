"""The whole training: held-out scores by prompt and by kind of task, the calibration they give, and the final heads."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.optimize import nnls

from evals.train.fit import HEADS, Model, Settings, calibrate, familiar_of, idf_of, matrix, ridge, strangeness, targets
from evals.train.published import benchmark_of
from evals.train.rows import Row
from evals.train.score import figures
from router.predictor import calibrated
from services.contracts.predictor_file import CALIBRATION, PROFILES

Array = npt.NDArray[Any]
_PROMPT_FOLDS = 3
_KIND_FOLDS = 4
# The scores of kinds of task never seen count this much in the calibration: traffic is neither all known nor all new.
_UNSEEN_SHARE = 0.3
_LEAST_SD = 0.05
_PRIOR_SD = 0.3
_LEAST_GROUPS = 5


@dataclass(frozen=True)
class Scores:
    """Of every row, by heads that did not see its fold: [rows, heads] each, and the fold, [rows]."""

    score: Array
    strange: Array
    fold: Array


@dataclass(frozen=True)
class HeldOut:
    """What is known of the rows, and their scores by both ways of holding out."""

    groups: Array
    lengths: Array
    y: Array
    w: Array
    measured: Array
    by_prompt: Scores
    by_kind: Scores


@dataclass
class Result:
    """The model, and its figures by split and profile."""

    model: Model
    settings: Settings
    rows: int
    sources: dict[str, int]
    by_prompt: dict[str, dict[str, float]] = field(default_factory=dict)
    by_kind: dict[str, dict[str, float]] = field(default_factory=dict)
    floors: dict[str, dict[str, dict[str, float]]] = field(default_factory=dict)
    groups: dict[str, dict[str, tuple[float, float, int]]] = field(default_factory=dict)


def train(rows: Sequence[Row], settings: Settings, seed: int, base: Model | None = None) -> Result:
    """Fit, hold out, calibrate.

    With a `base` what is fitted is what it gets wrong: ridge draws the weights towards its own and not towards zero.
    """
    idf = idf_of(rows, settings.buckets) if base is None else base.idf
    x = matrix(rows, idf)
    start = np.zeros((x.shape[1], len(HEADS))) if base is None else base.weights
    held = _hold_out(rows, x, settings, seed, start)
    familiar = familiar_of(x, held.measured)
    model = Model(
        weights=start + ridge(x, held.y - x @ start, held.w, settings.alpha),
        familiar=familiar if base is None else familiar | base.familiar,
        idf=idf,
        calibration=np.zeros((len(CALIBRATION), len(HEADS))),
        tokens_smear=1.0,
    )
    sources = {source: sum(row.source == source for row in rows) for source in sorted({row.source for row in rows})}
    result = Result(model, settings, len(rows), sources)
    everyone = np.ones(len(rows), dtype=bool)
    for at, name in enumerate(PROFILES):
        model.calibration[:4, at] = _calibrate(held, at, everyone)
        model.calibration[4:, at] = _spread(held, at, model.calibration[:, at])
        if held.measured[:, at].any():
            _report(result, name, at, held)
    _tokens(result, held)
    return result


def _hold_out(rows: Sequence[Row], x: Any, settings: Settings, seed: int, start: Array) -> HeldOut:
    y, w = targets(rows, settings.group_power)
    measured = np.array([[name in row.measured for name in HEADS] for row in rows])
    prompt_fold = np.array([_hash(seed, row.features.text) % _PROMPT_FOLDS for row in rows])
    kind_fold = np.array([_hash(seed, kind_of(row.group)) % _KIND_FOLDS for row in rows])
    return HeldOut(
        groups=np.array([row.group for row in rows]),
        lengths=np.log1p([row.features.prompt_chars for row in rows]) / 6.0,
        y=y,
        w=w,
        measured=measured,
        by_prompt=_scores(x, y, w, measured, settings, prompt_fold, start),
        by_kind=_scores(x, y, w, measured, settings, kind_fold, start),
    )


def held_out_predictions(rows: Sequence[Row], settings: Settings, seed: int, name: str, split: str) -> Array:
    """[rows]: what heads and curves predict of one profile that have not seen the row's `split`: prompt or kind."""
    x = matrix(rows, idf_of(rows, settings.buckets))
    held = _hold_out(rows, x, settings, seed, np.zeros((x.shape[1], len(HEADS))))
    return _cross(held, PROFILES.index(name), held.by_kind if split == "kind" else held.by_prompt)


def kind_of(group: str) -> str:
    """What is held out together: a benchmark from whatever table, the families of the suite that do alike."""
    source, _, task = group.partition(":")
    if source == "suite":
        return f"suite:{task.split('-')[0]}"
    benchmark = benchmark_of(group)
    return group if benchmark in (None, "mmlu") else benchmark  # MMLU is a kind for each of its 57 subjects


def _hash(seed: int, text: str) -> int:
    return zlib.crc32(f"{seed}:{text}".encode("utf-8", "replace"))


def _scores(x: Any, y: Array, w: Array, measured: Array, settings: Settings, fold: Array, start: Array) -> Scores:
    score, strange = np.zeros(y.shape), np.zeros(y.shape)
    for part in np.unique(fold):
        kept, tested = np.flatnonzero(fold != part), np.flatnonzero(fold == part)
        fitted = start + ridge(x[kept], y[kept] - x[kept] @ start, w[kept], settings.alpha)
        score[tested] = x[tested] @ fitted
        strange[tested] = strangeness(x[tested], familiar_of(x[kept], measured[kept]))
    return Scores(score, strange, fold)


def _calibrate(held: HeldOut, at: int, chosen: Array) -> Array:
    """From the scores that the chosen rows got by either way of holding out."""
    known = np.flatnonzero(chosen & (held.w[:, at] > 0))
    both, w = (held.by_prompt, held.by_kind), held.w[known, at]
    return calibrate(
        np.concatenate([scores.score[known, at] for scores in both]),
        np.concatenate([scores.strange[known, at] for scores in both]),
        np.tile(held.y[known, at], 2),
        np.concatenate([w * (1 - _UNSEEN_SHARE), w * _UNSEEN_SHARE]),
    )


def _spread(held: HeldOut, at: int, calibration: Array) -> tuple[float, float]:
    """(sd, far sd): how far the mean of a kind of task is from its prediction, beyond chance, by strangeness."""
    design, squared = [], []
    for scores in (held.by_prompt, held.by_kind):
        p, _ = calibrated(scores.score[:, at], scores.strange[:, at], calibration)
        for group in np.unique(held.groups[held.measured[:, at]]):
            inside = held.measured[:, at] & (held.groups == group)
            strange, mean = float(scores.strange[inside, at].mean()), float(held.y[inside, at].mean())
            chance = max(mean * (1 - mean), 0.01) / inside.sum()
            squared.append(max(float((p[inside] - held.y[inside, at]).mean()) ** 2 - chance, 0.0))
            design.append((1 - strange, strange))
    if len(squared) < _LEAST_GROUPS:
        return _PRIOR_SD, _PRIOR_SD
    near, far = nnls(np.array(design), np.array(squared))[0]
    return max(float(np.sqrt(near)), _LEAST_SD), max(float(np.sqrt(far)), float(np.sqrt(near)), _LEAST_SD)


def _report(result: Result, name: str, at: int, held: HeldOut) -> None:
    scored = np.flatnonzero(held.measured[:, at])
    y = held.y[scored, at]
    unseen = _cross(held, at, held.by_kind)[scored]
    result.by_prompt[name] = figures(_cross(held, at, held.by_prompt)[scored], y)
    result.by_kind[name] = figures(unseen, y)
    constant, length = np.zeros(len(held.y)), np.zeros(len(held.y))
    for part in np.unique(held.by_prompt.fold):
        kept = scored[held.by_prompt.fold[scored] != part]
        tested = held.by_prompt.fold == part
        constant[tested] = held.y[kept, at].mean()
        curve = calibrate(held.lengths[kept], np.zeros(len(kept)), held.y[kept, at], np.ones(len(kept)))
        length[tested], _ = calibrated(held.lengths[tested], np.zeros(tested.sum()), np.append(curve, (0, 0)))
    result.floors[name] = {"constant": figures(constant[scored], y), "length": figures(length[scored], y)}
    result.groups[name] = {
        str(group): (float(unseen[inside].mean()), float(y[inside].mean()), int(inside.sum()))
        for group in np.unique(held.groups[scored])
        for inside in [held.groups[scored] == group]
    }


def _cross(held: HeldOut, at: int, scores: Scores) -> Array:
    """Probabilities of all rows, calibrated on the other folds as the final calibration is on all of them."""
    out = np.zeros(len(scores.fold))
    for part in np.unique(scores.fold):
        tested = scores.fold == part
        curve = _calibrate(held, at, ~tested)
        out[tested], _ = calibrated(scores.score[tested, at], scores.strange[tested, at], np.append(curve, (0, 0)))
    return out


def _tokens(result: Result, held: HeldOut) -> None:
    """The factor from the mean of the logarithm to the mean, and how much of the logarithm is explained."""
    known = held.w[:, -1] > 0
    if not known.any():
        return
    predicted, y = held.by_prompt.score[known, -1], held.y[known, -1]
    result.model.tokens_smear = float(np.expm1(y).mean() / max(np.expm1(predicted).mean(), 1e-6))
    explained = 1 - ((predicted - y) ** 2).sum() / ((y - y.mean()) ** 2).sum()
    result.by_prompt["tokens"] = {"n": float(known.sum()), "log_r2": float(explained)}
