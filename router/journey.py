"""What the graph knows of one request while it finds its way. One graph run owns it."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from router.cascade import Cascade
from router.features import Features
from router.needs import Needs
from router.policy import Plan, Profile, Wanted
from router.predictor import Estimate
from services.contracts.beat import Beat
from services.contracts.decision import Attempt, Candidate, Decision
from services.contracts.errors import ContextLengthExceeded, TurnoutError
from services.contracts.events import Passage, ScreenRead, Step, Usage
from services.contracts.messages import Task


@dataclass(frozen=True)
class Settings:
    """What the catalog says of routing, one revision of it. `sleepers` may have no instance and are woken on demand."""

    revision: int
    profiles: Mapping[str, Profile]
    quality_floor: float
    max_attempts: int
    sleepers: frozenset[str] = frozenset()
    explore: float = 0.0
    cascade: bool = False


@dataclass
class Journey:
    """The state of one routing.

    Attributes:
        task: as it came; `prepared` is what is sent where helpers have enriched it; `handed` is its id there.
        reply: the subject on which the asker waits for the decision; told: it has been sent.
        excluded: instances not to be tried again, as they were then. failures: what they said.
        held: components that have been waited for.
        propensities, explored: what chance had to do with the choice (`router.explore`).
        cascade: the attempt of a cheaper component that was worth making.
        running: what is being tried, and finally what answers.
        spent: by helpers and by attempts that failed; the answer's own usage comes with its end.
    """

    task: Task
    reply: str
    settings: Settings
    needs: Needs
    wanted: Wanted
    created_s: float = field(default_factory=time.time)
    features: Features | None = None
    estimates: Mapping[str, Estimate] = field(default_factory=dict)
    output_tokens: float = 0.0
    prediction: str = ""
    relevance: float = 0.0
    passages: tuple[Passage, ...] = ()
    screens: dict[int, ScreenRead] = field(default_factory=dict)
    prepared: Task | None = None
    handed: str = ""
    sources: tuple[Passage, ...] = ()
    excluded: dict[str, Beat] = field(default_factory=dict)
    unreached: list[Beat] = field(default_factory=list)
    held: set[str] = field(default_factory=set)
    failures: list[TurnoutError] = field(default_factory=list)
    attempts: list[Attempt] = field(default_factory=list)
    steps: list[Step] = field(default_factory=list)
    candidates: tuple[Candidate, ...] = ()
    degraded: str | None = None
    propensities: Mapping[str, float] = field(default_factory=dict)
    explored: bool = False
    cascade: Cascade | None = None
    running: Plan | None = None
    error: TurnoutError | None = None
    decision_s: float = 0.0
    told: bool = False
    spent: Usage = Usage()

    def failed(self, beat: Beat, error: TurnoutError, started_s: float, spent: Usage) -> None:
        """Note an attempt that did not work, and what it took all the same."""
        self.failures.append(error)
        self.spent += spent
        self.attempts.append(Attempt(beat.component, beat.instance, started_s, time.time(), error.to_info(), spent))
        self.running = None
        self.prepared = None
        self.sources = ()

    def forgive(self, beat: Beat) -> None:
        """An instance that has been started anew since it failed may be tried again."""
        failed = self.excluded.get(beat.instance)
        if failed is not None and failed.started_s != beat.started_s:
            del self.excluded[beat.instance]

    def take_unreached(self) -> list[Beat]:
        """Those that have not heard of the task at all; each may be tried once more."""
        beats, self.unreached = self.unreached, []
        for beat in beats:
            self.excluded.pop(beat.instance, None)
        return beats

    def wanted_now(self) -> Wanted:
        """The wishes, with what is left of the time."""
        return replace(self.wanted, deadline_in_s=self.task.deadline_s - time.time())

    def verdict(self) -> TurnoutError | None:
        """The failure that tells the caller most: one about its request before one about our parts."""
        own = [e for e in self.failures if isinstance(e, ContextLengthExceeded)]
        return own[0] if own else next(iter(self.failures), None)

    def decision(self) -> Decision:
        """The record of this journey."""
        running = self.running if self.error is None else None
        answering = running.answering if running is not None else None
        # The probabilities are those of the first component, and of it alone.
        first = self.attempts[0].component if self.attempts and self.cascade is None else None
        drawn = answering is not None and answering.component == first
        return Decision(
            id=self.task.root if self.task.depth == 0 else self.task.id,
            created_s=self.created_s,
            requested=self.task.model,
            revision=self.settings.revision,
            component=answering.component if answering else "",
            instance=answering.instance if answering else "",
            model=answering.model if answering else "",
            candidates=self.candidates,
            degraded=self.degraded if answering else None,
            attempts=tuple(self.attempts),
            steps=tuple(self.steps),
            prediction=self.prediction,
            predicted_quality=round(running.quality, 4) if running is not None and self.estimates else None,
            prior_quality=round(running.prior, 4) if running is not None and running.prior is not None else None,
            propensities=dict(self.propensities) if drawn else {},
            explored=self.explored and drawn,
            features=_shown(self.features),
            quality_floor=self.wanted.quality_floor,
            decision_ms=round(self.decision_s * 1000, 3),
            error=self.error.to_info() if self.error else None,
            usage=self.spent,
            tenant=self.task.tenant,
            trace_id=self.task.traceparent[3:35],
        )


def _shown(features: Features | None) -> dict[str, float]:
    """The features but for their text: a decision holds nothing of a prompt."""
    if features is None:
        return {}
    values = {name: getattr(features, name) for name in features.__struct_fields__}
    return {name: float(value) for name, value in values.items() if isinstance(value, int | float)}
