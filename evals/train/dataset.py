"""The training rows: recorded outcomes, our own measurements, and what follows from what a component is.

What is assumed rather than measured is marked so (`Row.measured`), counts less, and is listed in docs/predictor.md.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from typing import Any

import msgspec

from evals.train.agent import answers
from evals.train.families import documents
from evals.train.published import WEIGHT, scores_of
from evals.train.rows import Label, Row, prompt_features, read_table
from evals.train.sums import questions

MEASURED = Path(__file__).parent / "data" / "outcomes.jsonl"
_SUMS = 2400
_SIZES = ("tiny", "small", "medium", "large")
_ASSUMED_WEIGHT = 0.3
_NO_HELP_WEIGHT = 0.1
# How often the answer to a question of fact is read off a passage that holds it. The first two are what our own
# measurements say on the whole; the others stand for the extractive figures of 7-9B and frontier models.
_READS = {"tiny": 0.8, "small": 0.85, "medium": 0.92, "large": 0.97}
_REMEMBERING = ("natural_qa", "trivia_qa")
# Nothing is recorded of the screen agent yet: a prior, with the spread that says so.
_SCREEN = {True: 0.7, False: 0.03}


@dataclass(frozen=True)
class Ladder:
    """How often the next larger class is right, where a class was right or wrong. Measured on prompts both answered."""

    if_right: float
    if_wrong: float


def build(tables: list[Path], seed: int = 1) -> list[Row]:
    """All rows. `tables` are Parquet outcome tables."""
    rng = Random(seed)  # noqa: S311 - reproducible, not secret
    real = [row for path in tables for row in read_table(path)]
    for row in real:
        _complete_real(row)
    ladder = measure_ladder(real)
    suite = [_complete_suite(row, ladder) for row in read_measured(MEASURED)]
    rows = [*real, *suite, *_sums(rng)]
    for row, answered in zip(rows, answers(row.features.text for row in rows), strict=True):
        row.labels["tool_agent"] = Label(float(answered))
        row.labels["screen_agent"] = Label(_SCREEN[False])
        row.measured |= {"tool_agent"}
    rows += [_with_image(row) for row in rng.sample(rows, min(300, len(rows)))]
    return rows


def measure_ladder(rows: list[Row]) -> Ladder:
    """From medium to large, on the real prompts that both classes answered."""
    pairs = [(r.labels["medium"].quality, r.labels["large"].quality) for r in rows if {"medium", "large"} <= r.measured]
    if not pairs:
        raise SystemExit("no prompt was answered by both a medium and a large model: give more outcome tables")
    right = sum(m for m, _ in pairs)
    return Ladder(
        if_right=sum(m * q for m, q in pairs) / right,
        if_wrong=sum((1 - m) * q for m, q in pairs) / (len(pairs) - right),
    )


def read_measured(path: Path) -> Iterator[Row]:
    """The suite as it was measured: one row per case, labels by profile."""
    with path.open(encoding="utf-8") as lines:
        for line in lines:
            case: dict[str, Any] = json.loads(line)
            quality: dict[str, dict[str, float]] = case["quality"]
            labels = {profile: Label(sum(by.values()) / len(by)) for profile, by in quality.items() if by}
            yield Row(
                features=prompt_features(case["prompt"], case.get("system", "")),
                source="suite",
                group=f"suite:{case['family']}",
                labels=labels,
                measured=frozenset(labels),
                output_tokens=case.get("tokens"),
            )


def _complete_real(row: Row) -> None:
    """Labels of a real prompt for the profiles that nobody has measured on it."""
    if (scores := scores_of(row.group)) is not None:
        row.labels.setdefault("tiny", Label(scores[0], WEIGHT))
        row.labels.setdefault("small", Label(scores[1], WEIGHT))
    if row.source.startswith("bfcl"):
        row.labels.setdefault("tiny", Label(0.02, WEIGHT))  # it takes no tools
    remembers = row.group.endswith(_REMEMBERING)
    for size in _SIZES:
        # A passage is no help to reason, to code or to choose among options. To a question of fact it holds the answer.
        if remembers:
            row.labels[f"grounded_{size}"] = Label(_READS[size], _ASSUMED_WEIGHT)
        elif (label := row.labels.get(size)) is not None:
            row.labels[f"grounded_{size}"] = replace(label, weight=label.weight * _NO_HELP_WEIGHT)


def _complete_suite(row: Row, ladder: Ladder) -> Row:
    family = row.group.removeprefix("suite:")
    from_documents = family in documents.FAMILIES
    if "small" in row.labels and not from_documents:
        for size, below in (("medium", "small"), ("large", "medium")):
            known = row.labels[below].quality
            climbed = known * ladder.if_right + (1 - known) * ladder.if_wrong
            row.labels[size] = Label(climbed, _ASSUMED_WEIGHT)
    for size in _SIZES:
        grounded = f"grounded_{size}"
        if from_documents:
            row.labels.setdefault(grounded, Label(_READS[size], _ASSUMED_WEIGHT))
        elif size in row.labels:
            row.labels.setdefault(grounded, replace(row.labels[size], weight=_NO_HELP_WEIGHT))
    return row


def _sums(rng: Random) -> list[Row]:
    asked = dict.fromkeys(questions(rng, _SUMS))
    return [Row(prompt_features(question), "sums", f"sums:{kind}") for kind, question in asked]


def _with_image(row: Row) -> Row:
    features = msgspec.structs.replace(row.features, has_images=True)
    return Row(features, "images", "images:prior", {"screen_agent": Label(_SCREEN[True], _ASSUMED_WEIGHT)})
