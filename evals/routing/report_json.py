"""`report.json`: the figures of a run, for programs. Its keys are a contract; see docs/evals.md."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from evals.routing.evaluate import Score
from evals.routing.matrix import Matrix

FORMAT = 1
_QUALITY_AT = "quality_at:"
_COST_AT = "cost_at:"


def as_json(test: Matrix, scores: Iterable[Score], about: Mapping[str, Any]) -> dict[str, Any]:
    """The report as JSON values. A figure that has no meaning for a policy is null."""
    return {
        "format": FORMAT,
        "dataset": test.name,
        "n_prompts": len(test),
        "models": list(test.models),
        "cost_unit": test.unit,
        "pair": None if test.pair is None else {"weak": test.models[test.pair[0]], "strong": test.models[test.pair[1]]},
        **about,
        "policies": {score.name: _policy(score, test) for score in scores},
    }


def write(path: Path, report: Mapping[str, Any]) -> None:
    """Write it, readable."""
    path.write_text(json.dumps(report, indent=1, allow_nan=False) + "\n", encoding="utf-8")


def _policy(score: Score, test: Matrix) -> dict[str, Any]:
    values = {name: _number(value) for name, value in score.values.items()}
    intervals = {name: [_number(end) for end in ends] for name, ends in score.intervals.items()}
    at = "quality_at_usd_per_1k" if test.priced else "quality_at_share"
    cost_at = "usd_per_1k_at_quality" if test.priced else "share_at_quality"
    plain = [name for name in values if ":" not in name]
    found: dict[str, Any] = dict.fromkeys(("apgr", "cpt50", "cpt80", "aiq", "max_quality"))
    found |= {name: values[name] for name in plain}
    found["curve"] = _curve(score.curve.cost.tolist(), score.curve.quality.tolist())
    found["quality_at_usd_per_1k"] = {}
    found[at] = _keyed(values, _QUALITY_AT)
    found[cost_at] = _keyed(values, _COST_AT)
    found["decision_ms_p50"] = round(score.decision_ms, 4)
    found["ci95"] = {name: intervals[name] for name in intervals if ":" not in name}
    found["ci95"] |= {at: _keyed(intervals, _QUALITY_AT), cost_at: _keyed(intervals, _COST_AT)}
    return found | ({"notes": score.notes} if score.notes else {})


def _curve(cost: Sequence[float], quality: Sequence[float]) -> list[list[float]]:
    """Points by cost; settings that came to the same are one."""
    points = {(round(c, 6), round(q, 6)): None for c, q in zip(cost, quality, strict=True)}
    return [list(point) for point in sorted(points)]


def _keyed(values: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    return {name.removeprefix(prefix): value for name, value in values.items() if name.startswith(prefix)}


def _number(value: float) -> float | None:
    return round(value, 6) if math.isfinite(value) else None
