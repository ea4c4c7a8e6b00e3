"""Whether an answer can be given to the client, judged by what is at hand. Pure.

Two things rule it out: it is not in the form that was asked for, or it was not brought to an end. What remains is
judged by how sure the model was of its words: the log-probability of each token, and by how much it was ahead of the
next likely one. A logistic curve, fitted on measured answers (`evals.train.verifier`), makes a probability that the
answer is good of that and of what was predicted from the prompt.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from services.contracts.events import Delta, Event, Finished, TokenLogprob
from services.contracts.form import misfit
from services.contracts.messages import ChatRequest

TOP = 2
"""Rivals of each token that the evidence needs."""
POWER = 1.0
"""How far the evidence tells good answers from bad ones: the distance of their means in standard deviations."""
# Of 1, the log-odds predicted from the prompt, and `evidence`; see docs/routing.md for how they were found.
WEIGHTS = (0.8, 1.0, 1.0, 0.1, 0.05, -0.1)
_MOST_AHEAD = 8.0
_LEAST_LOGPROB = -8.0
_LEAST_P = 0.01


@dataclass(frozen=True)
class Verdict:
    """What is thought of an answer: the probability that it is good, and why it is out of the question, or None."""

    score: float
    why: str | None = None


def judge(request: ChatRequest, events: Sequence[Event], prior: float) -> Verdict:
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
    odds = [odds_of(token) for delta in deltas for token in delta.logprobs]
    if not odds:
        return Verdict(prior)
    return Verdict(score(prior, odds))


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


def odds_of(token: TokenLogprob) -> tuple[float, float]:
    """(log-probability, how far it was ahead of its best rival) of a token."""
    rivals = [logprob for text, logprob in token.top if text != token.token]
    return token.logprob, token.logprob - max(rivals) if rivals else _MOST_AHEAD


def score(prior: float, odds: Sequence[tuple[float, float]]) -> float:
    """The probability that an answer is good."""
    p = min(max(prior, _LEAST_P), 1 - _LEAST_P)
    values = (1.0, math.log(p / (1 - p)), *evidence(odds))
    return 1 / (1 + math.exp(-sum(weight * value for weight, value in zip(WEIGHTS, values, strict=True))))


def evidence(odds: Sequence[tuple[float, float]]) -> tuple[float, float, float, float]:
    """(mean log-probability, the lowest one, mean lead over the next likely token, logarithm of the length)."""
    logprobs = [max(logprob, _LEAST_LOGPROB) for logprob, _ in odds]
    leads = [min(max(lead, 0.0), _MOST_AHEAD) for _, lead in odds]
    n = len(odds)
    return sum(logprobs) / n, min(logprobs), sum(leads) / n, math.log(n)
