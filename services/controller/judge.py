"""Whether a generation on trial is as good as the one it is to replace. Pure: counts in, a judgement out.

While the trial runs, only a failure rate that cannot be chance ends it. At its end the two are compared as they are:
failed answers, the 95th percentile of the time to the end of an answer, and how good the answers were.

Source: the bounds are Wilson's score interval. https://doi.org/10.1080/01621459.1927.10502953
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from services.contracts.catalog import Canary

LEAST_ANSWERS = 10
"""With fewer than so many nothing is decided in favour of the new generation."""
_LEAST_TIMES = 20  # for a 95th percentile: one in twenty lies beyond it
_Z = 3.0  # looked at many times in a trial: one false alarm in several hundred

Verdict = Literal["go on", "promote", "roll back"]


@dataclass(frozen=True, slots=True)
class Record:
    """What one generation has done in the trial.

    Attributes:
        times_ms: of each good answer, from the request to the end.
        failures: answers that failed, those that another instance then gave included.
        good: sum of what is known of the quality of `rated` answers, each 0..1.
    """

    times_ms: Sequence[float] = ()
    failures: int = 0
    good: float = 0.0
    rated: int = 0

    @property
    def answers(self) -> int:
        """All of them, good and failed."""
        return len(self.times_ms) + self.failures

    @property
    def failure_rate(self) -> float:
        """0..1; 0 where there are none."""
        return self.failures / self.answers if self.answers else 0.0


@dataclass(frozen=True, slots=True)
class Judgement:
    """A verdict and its reason, for a person."""

    verdict: Verdict
    why: str


def judge(rules: Canary, old: Record, new: Record, elapsed_s: float) -> Judgement:
    """Compare two generations that have shared the traffic for `elapsed_s`."""
    low, _ = _bounds(new.failures, new.answers)
    _, high = _bounds(old.failures, old.answers)
    rates = f"{_share(new.failures, new.answers)} failed, {_share(old.failures, old.answers)} before"
    if low > min(1.0, high + rules.max_errors):
        return Judgement("roll back", rates)
    if new.answers < rules.requests and elapsed_s < rules.minutes * 60:
        return Judgement("go on", f"{new.answers} of {rules.requests} answers")
    if new.answers < LEAST_ANSWERS:
        return Judgement("roll back", f"{new.answers} answers in {rules.minutes:g} min are too few to judge by")
    if new.failure_rate > old.failure_rate + rules.max_errors:
        return Judgement("roll back", rates)
    facts = [rates]
    if min(len(old.times_ms), len(new.times_ms)) >= _LEAST_TIMES:
        slow, before = p95(new.times_ms), p95(old.times_ms)
        facts.append(f"p95 {slow:.0f} ms, {before:.0f} ms before")
        if slow > before * rules.max_slowdown:
            return Judgement("roll back", facts[-1])
    if old.rated and new.rated:
        worth, known = new.good / new.rated, old.good / old.rated
        facts.append(f"{worth:.0%} good answers, {known:.0%} before")
        if worth < known - rules.max_quality_loss:
            return Judgement("roll back", facts[-1])
    return Judgement("promote", "; ".join(facts))


def p95(times_ms: Sequence[float]) -> float:
    """The 95th percentile: the least of the times that at most one in twenty exceeds."""
    return sorted(times_ms)[math.ceil(0.95 * len(times_ms)) - 1]


def _bounds(count: int, of: int) -> tuple[float, float]:
    """Between what the true rate lies, as good as surely. Nothing seen: anything is possible."""
    if of == 0:
        return 0.0, 1.0
    rate, square = count / of, _Z * _Z
    centre = (rate + square / (2 * of)) / (1 + square / of)
    reach = _Z / (1 + square / of) * math.sqrt(rate * (1 - rate) / of + square / (4 * of * of))
    return max(0.0, centre - reach), min(1.0, centre + reach)


def _share(count: int, of: int) -> str:
    return f"{count} of {of}"
