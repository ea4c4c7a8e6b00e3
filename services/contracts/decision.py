"""The record of one routed request: what was considered, what was done, what it took."""

from __future__ import annotations

import msgspec

from services.contracts.errors import ErrorInfo
from services.contracts.events import Passage, Step, Usage


class Candidate(msgspec.Struct, frozen=True, omit_defaults=True):
    """One way to do the task. `steps` are component names in order; the last one answers.

    Attributes:
        quality: predicted probability that the answer is good, 0..1; None where the caller chose and nothing was asked.
        cost_usd: predicted, for the whole way.
        wait_s: expected time until a slot is free; `finish_s`: until the answer is complete.
        rejected: why it was not chosen, or None for the one that was.
    """

    steps: tuple[str, ...]
    quality: float | None
    cost_usd: float
    wait_s: float
    finish_s: float
    rejected: str | None = None


class Attempt(msgspec.Struct, frozen=True, omit_defaults=True):
    """One try at one instance. Seconds since the epoch.

    Attributes:
        usage: of one that did not become the answer; what the answer took stands in the decision.
        verified: probability that its answer is good, once it was seen, where that was asked (`router.cascade`).
        rejected: why an answer that came was not given to the client.
    """

    component: str
    instance: str
    started_s: float
    ended_s: float
    error: ErrorInfo | None = None
    usage: Usage = Usage()
    verified: float | None = None
    rejected: str = ""


class Decision(msgspec.Struct, frozen=True, omit_defaults=True):
    """Everything about one request but its text.

    Attributes:
        id: equal to the request's id, and to `x-turnout-decision-id`.
        revision: of the catalog that was in force.
        degraded: why the best left was taken although it misses a wish, or None.
        prediction: version of the predictor that was used.
        predicted_quality: what was expected of the way that was taken; prior_quality: what the predictor alone said of
            it, before feedback corrected that. None where the caller chose, or the operator has set the quality.
        propensities: with which probability each component would have been taken; empty where chance had no say.
        explored: chance took this way, and not the policy.
        features: what the predictor was told beside the prompt (lengths, flags).
        decision_ms: time spent in choosing.
        usage: of everything: helpers, failed attempts and, once it has ended, the answer.
        finish_reason, first_token_ms, total_ms: filled in when the answer has ended.
    """

    id: str
    created_s: float
    requested: str
    revision: int
    component: str = ""
    instance: str = ""
    model: str = ""
    candidates: tuple[Candidate, ...] = ()
    degraded: str | None = None
    attempts: tuple[Attempt, ...] = ()
    steps: tuple[Step, ...] = ()
    prediction: str = ""
    predicted_quality: float | None = None
    prior_quality: float | None = None
    propensities: dict[str, float] = {}
    explored: bool = False
    features: dict[str, float] = {}
    quality_floor: float = 0.0
    decision_ms: float = 0.0
    usage: Usage = Usage()
    finish_reason: str = ""
    error: ErrorInfo | None = None
    first_token_ms: float | None = None
    total_ms: float | None = None
    tenant: str = ""
    trace_id: str = ""


class Routed(msgspec.Struct, frozen=True, omit_defaults=True):
    """The router's reply to the asker: the decision, and an error when nobody could take the task.

    Attributes:
        sources: the passages that were put before the answering component.
        task: the id under which it has the task; empty: that which it came with.
    """

    decision: Decision
    error: ErrorInfo | None = None
    sources: tuple[Passage, ...] = ()
    task: str = ""


ROUTED_DECODER = msgspec.msgpack.Decoder(Routed)
DECISION_DECODER = msgspec.msgpack.Decoder(Decision)
