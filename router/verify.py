"""Whether an answer can be given to the client, judged by what is at hand. Pure.

Two things rule it out: it is not in the form that was asked for, or it was not brought to an end. What remains is
judged by how sure the model was of its words, at the place where it was least sure: by how much the token was ahead of
the next likely one. A logistic curve, fitted on measured answers (`evals.train.verifier`), makes a probability that the
answer is good of that and of what was predicted from the prompt.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import msgspec

from router.odds import log_odds, probability_of
from services.contracts.events import Delta, Event, Finished, TokenLogprob
from services.contracts.form import misfit
from services.contracts.messages import ChatRequest

TOP = 2
"""Rivals of each token that the evidence needs."""
MOST_AHEAD = 8.0
_LEAST_LOGPROB = -100.0


@dataclass(frozen=True)
class Verifier:
    """What the evidence is worth for one tier of models.

    Attributes:
        power: how far it tells good answers from bad ones: the distance of their means in standard deviations.
        weights: of 1, the log-odds predicted from the prompt, and the lead at the place of the least certainty.
    """

    power: float
    weights: tuple[float, ...]


MEASURED: Mapping[str, Verifier] = {"tiny": Verifier(0.23, (-0.3089, 0.9673, 0.9150))}
"""By tier; see docs/routing.md. A predictor file may bring others."""


@dataclass(frozen=True)
class Verdict:
    """What is thought of an answer: the probability that it is good, and why it is out of the question, or None."""

    score: float
    why: str | None = None


def judge(request: ChatRequest, events: Sequence[Event], prior: float, verifier: Verifier) -> Verdict:
    """The verdict on a whole answer, of which `prior` was expected from the prompt alone."""
    deltas = [event for event in events if isinstance(event, Delta)]
    end = next((event for event in events if isinstance(event, Finished)), None)
    text = "".join(delta.text for delta in deltas)
    if end is None or not text.strip() or any(delta.tool_calls or delta.refusal for delta in deltas):
        return Verdict(0.0, "no answer in text")
    if end.reason != "stop" and not (end.reason == "length" and request.sampling.max_tokens is not None):
        return Verdict(0.0, f"ended by {end.reason}")
    if (why := misfit(text, request.response_format)) is not None:
        return Verdict(0.0, why)
    leads = [lead_of(token) for delta in deltas for token in delta.logprobs]
    return Verdict(score(prior, min(leads), verifier) if leads else prior)


def with_evidence(request: ChatRequest) -> ChatRequest:
    """The request as it is put to a component whose answer will be judged: whole, and with what the judge needs."""
    sampling = request.sampling
    told = msgspec.structs.replace(sampling, logprobs=True, top_logprobs=max(TOP, sampling.top_logprobs))
    return msgspec.structs.replace(request, stream=False, sampling=told)


def as_asked(request: ChatRequest, events: Sequence[Event]) -> tuple[Event, ...]:
    """The events without the evidence that the client has not asked for."""
    wanted = request.sampling

    def shown(delta: Delta) -> Delta:
        if not wanted.logprobs:
            return msgspec.structs.replace(delta, logprobs=())
        kept = (msgspec.structs.replace(one, top=one.top[: wanted.top_logprobs]) for one in delta.logprobs)
        return msgspec.structs.replace(delta, logprobs=tuple(kept))

    return tuple(shown(event) if isinstance(event, Delta) else event for event in events)


def lead_of(token: TokenLogprob) -> float:
    """How far a token was ahead of its best rival, in log-probability; at least 0, at most `MOST_AHEAD`."""
    rivals = [max(logprob, _LEAST_LOGPROB) for text, logprob in token.top if text != token.token]
    ahead = max(token.logprob, _LEAST_LOGPROB) - max(rivals) if rivals else MOST_AHEAD
    return min(max(ahead, 0.0), MOST_AHEAD)


def score(prior: float, least_lead: float, verifier: Verifier) -> float:
    """The probability that an answer is good."""
    values = (1.0, log_odds(prior), least_lead)
    return probability_of(sum(weight * value for weight, value in zip(verifier.weights, values, strict=True)))
