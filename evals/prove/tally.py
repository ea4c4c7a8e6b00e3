"""Counts from the client's side what changes did to requests. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from evals.bench.samples import quantile


@dataclass(frozen=True, slots=True)
class Outcome:
    """One request as its client saw it. Times are seconds of one clock.

    Attributes:
        model: that answered, as the answer says.
        error: what failed, or empty. explicit: the failure was told by an error of ours, not by a broken connection.
        whole: the answer ended with a finish reason and, if streamed, with the end mark.
    """

    began_s: float
    ended_s: float
    streamed: bool
    model: str = ""
    error: str = ""
    explicit: bool = False
    whole: bool = False


@dataclass(frozen=True, slots=True)
class Change:
    """One order to change what runs: when it was given, when it was reported as done, and which model serves then."""

    asked_s: float
    done_s: float
    model: str


@dataclass(frozen=True, slots=True)
class Tally:
    """What the clients saw. Latencies are those of requests that touch no change, and of all, in milliseconds."""

    requests: int
    failed: int
    truncated: int
    wrong_model: int
    p50_ms: float
    p99_ms: float
    p99_all_ms: float

    @property
    def clean(self) -> bool:
        """Whether nobody noticed anything."""
        return not (self.failed or self.truncated or self.wrong_model)


def tally(outcomes: Sequence[Outcome], first_model: str, changes: Sequence[Change]) -> Tally:
    """Count.

    Args:
        first_model: what served before the first change.
    """
    good = [o for o in outcomes if not o.error]
    apart = [o for o in good if not any(_overlap(o, change) for change in changes)] or good
    times = sorted((o.ended_s - o.began_s) * 1000 for o in apart) or [0.0]
    every = sorted((o.ended_s - o.began_s) * 1000 for o in good) or [0.0]
    return Tally(
        requests=len(outcomes),
        failed=len(outcomes) - len(good),
        truncated=sum(not o.whole for o in good),
        wrong_model=sum(o.model not in expected(o, first_model, changes) for o in good),
        p50_ms=quantile(times, 0.5),
        p99_ms=quantile(times, 0.99),
        p99_all_ms=quantile(every, 0.99),
    )


def expected(outcome: Outcome, first_model: str, changes: Sequence[Change]) -> frozenset[str]:
    """Whose answers are right for a request: of the model in force when it began, or of one that a change under way
    at any moment of it was bringing in."""
    settled = [change.model for change in changes if change.done_s <= outcome.began_s]
    current = settled[-1] if settled else first_model
    return frozenset({current, *(change.model for change in changes if _overlap(outcome, change))})


def _overlap(outcome: Outcome, change: Change) -> bool:
    return outcome.began_s < change.done_s and change.asked_s < outcome.ended_s
