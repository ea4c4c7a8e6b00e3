"""A generation on trial: it takes a share of the requests, and what became of them is counted beside the old one's.

The evidence is in the records of requests that gateways publish, and in the verdicts on their answers. Nothing of a
trial is stored: a controller that starts anew finds the catalog that was in force, and the trial has not been.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import msgspec

from services.bus.port import Incoming
from services.contracts.catalog import Canary, Snapshot
from services.contracts.decision import DECISION_DECODER, Decision
from services.contracts.errors import Cancelled, Leaving
from services.contracts.feedback import FEEDBACK_DECODER, Feedback, Source
from services.contracts.keeper import Instance
from services.controller.judge import Judgement, Record, judge
from services.controller.rollout import Rollout

_NOBODY_FAILED = frozenset({Cancelled.code, Leaving.code})
_ENDED_WELL = frozenset({"stop", "tool_calls"})
_WORTH: dict[Source | None, int] = {None: 0, "retried": 1, "verified": 2, "schema": 3, "client": 4}
"""Whose word on an answer counts: of several the last of the highest. None: how it ended."""
_REMEMBERED = 100_000


@dataclass(frozen=True, slots=True)
class Evidence:
    """One answer of one instance. `time_ms` is None where it failed; `quality`, 0..1, where nothing is known of it.

    `decision_id` is that of the request, where the answer is the one that its client got.
    """

    component: str
    instance: str
    time_ms: float | None
    quality: float | None = None
    decision_id: str = ""


def evidence(decision: Decision) -> Iterator[Evidence]:
    """What the record of a request says of the instances that were asked.

    Whether an answer is good shows in how it ended: one that is empty or was cut off at its length limit is not.
    """
    for attempt in decision.attempts:
        if attempt.error is not None and attempt.error.code not in _NOBODY_FAILED:
            yield Evidence(attempt.component, attempt.instance, None)
    if not decision.instance:
        return
    if decision.error is not None:
        if decision.error.code not in _NOBODY_FAILED:
            yield Evidence(decision.component, decision.instance, None)
    elif decision.total_ms is not None:
        whole = ended_well(decision.finish_reason, decision.usage.output_tokens)
        yield Evidence(decision.component, decision.instance, decision.total_ms, float(whole), decision.id)


def ended_well(finish_reason: str, output_tokens: int) -> bool:
    """Whether an answer has an end of its own, and something before it."""
    return finish_reason in _ENDED_WELL and output_tokens > 0


@dataclass(eq=False)
class _Tally:
    """Grows as evidence comes in."""

    times_ms: list[float] = field(default_factory=list)
    failures: int = 0
    rated: dict[str, tuple[int, float]] = field(default_factory=dict)  # decision: whose word it is, and the quality

    def add(self, seen: Evidence) -> None:
        if seen.time_ms is None:
            self.failures += 1
        else:
            self.times_ms.append(seen.time_ms)
        if seen.quality is not None:
            self.rate(seen.decision_id, None, seen.quality)

    def rate(self, decision_id: str, source: Source | None, quality: float) -> None:
        known = self.rated.get(decision_id)
        if known is None or known[0] <= _WORTH[source]:
            self.rated[decision_id] = (_WORTH[source], quality)

    def record(self) -> Record:
        return Record(self.times_ms, self.failures, sum(q for _, q in self.rated.values()), len(self.rated))


class Trial:
    """One apply that waits for its verdict.

    Attributes:
        following: the catalog that will be in force if it passes.
        names: of the new instances; those on stand-by beside the ones that take a share are among them.
        lines: what the apply changes.
    """

    def __init__(
        self, rollout: Rollout, following: Snapshot, rules: Mapping[str, Canary], lines: tuple[str, ...]
    ) -> None:
        self.rollout = rollout
        self.following = following
        self.lines = lines
        self.names = frozenset(instance.name for instance in rollout.starting)
        self._rules = rules
        self._began_s = time.monotonic()
        self._old = {component: _Tally() for component in rules}
        self._new = {component: _Tally() for component in rules}
        self._early: OrderedDict[str, list[Feedback]] = OrderedDict()  # verdicts whose decision has not come yet

    def on_trial(self, component: str) -> bool:
        """Whether a component has two generations that serve."""
        return component in self._rules

    @property
    def text(self) -> str:
        """For a person."""
        parts = (
            f"{name} {'hears' if rules.shadow else 'takes'} {rules.share:.0%} of its requests "
            f"for {rules.requests} answers or {rules.minutes:g} min"
            for name, rules in self._rules.items()
        )
        return f"on trial: {'; '.join(parts)}"

    async def on_decision(self, message: Incoming) -> None:
        """Count the record of a request."""
        try:
            decision = DECISION_DECODER.decode(message.data)
        except msgspec.DecodeError:
            return  # written by another version; it says nothing to us
        for seen in evidence(decision):
            self.note(seen)
        for verdict in self._early.pop(decision.id, ()):
            self._rate(verdict)

    def note(self, seen: Evidence) -> None:
        """Count what one instance has done."""
        if seen.component in self._rules:
            side = self._new if seen.instance in self.names else self._old
            side[seen.component].add(seen)

    async def on_feedback(self, message: Incoming) -> None:
        """Take a verdict on an answer that counts here."""
        try:
            verdict = FEEDBACK_DECODER.decode(message.data)
        except msgspec.DecodeError:
            return
        if not self._rate(verdict):
            self._early.setdefault(verdict.decision_id, []).append(verdict)
            if len(self._early) > _REMEMBERED:
                self._early.popitem(last=False)

    def _rate(self, verdict: Feedback) -> bool:
        """Whether the answer is one of those that are compared."""
        for tally in (*self._new.values(), *self._old.values()):
            if verdict.decision_id in tally.rated:
                tally.rate(verdict.decision_id, verdict.source, verdict.quality)
                return True
        return False

    def judgement(self, died: Instance | None, now_s: float) -> Judgement:
        """All components must pass, one that fails is enough to roll back.

        Args:
            died: one of the new instances that has; that alone decides.
            now_s: of the monotonic clock.
        """
        if died is not None:
            return Judgement("roll back", f"{died.name} died")
        found = {
            name: judge(rules, self._old[name].record(), self._new[name].record(), now_s - self._began_s)
            for name, rules in self._rules.items()
        }
        for verdict in ("roll back", "go on"):
            for name, judged in found.items():
                if judged.verdict == verdict:
                    return Judgement(judged.verdict, f"{name}: {judged.why}")
        return Judgement("promote", "; ".join(f"{name}: {judged.why}" for name, judged in found.items()))
