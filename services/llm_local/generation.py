"""One answer in the making: what the decode thread works on, and the stream by which it reaches the event loop."""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass, field

import structlog

from services.contracts.errors import InvalidRequest, TurnoutError
from services.contracts.events import Delta, Event, Finished, FinishReason, Usage
from services.llm_local.native import Floats, Model
from services.llm_local.sampler import Chooser, Constraint, logprob_of
from services.llm_local.text import TextStream
from services.llm_local.tools import ToolReader

log = structlog.get_logger()


@dataclass(frozen=True)
class Parcel:
    """What a step made for one answer. `error` ends it, as does a `Finished` among the events."""

    events: tuple[Event, ...]
    usage: Usage
    error: TurnoutError | None = None


class Stream:
    """Parcels on their way from the decode thread to one coroutine. Lives on the event loop."""

    def __init__(self) -> None:
        self._parcels: deque[Parcel] = deque()
        self._arrived = asyncio.Event()

    def put(self, parcel: Parcel) -> None:
        """Add one; called on the event loop."""
        self._parcels.append(parcel)
        self._arrived.set()

    async def next(self) -> Parcel:
        """The next one, when it comes."""
        while not self._parcels:
            self._arrived.clear()
            await self._arrived.wait()
        return self._parcels.popleft()


@dataclass(eq=False)
class Generation:
    """One answer. Made on the event loop, then owned by the decode thread.

    Attributes:
        prompt: all its tokens, those of an answer already begun included; written: how many these are.
        max_tokens: after so many the answer is cut.
        deadline_s: seconds since the epoch.
        call_grammar: what the rest must follow once the model has begun a tool call by itself.
        computed: prompt tokens whose cells exist.
        cached: how many of them were there before.
        last: the newest token, not yet computed.
    """

    prompt: list[int]
    chooser: Chooser
    text: TextStream
    max_tokens: int
    deadline_s: float
    written: int = 0
    reader: ToolReader | None = None
    call_grammar: str = ""
    logprobs: bool = False
    top_logprobs: int = 0
    stream: Stream = field(default_factory=Stream)
    submitted_s: float = 0.0
    lane: int = -1
    computed: int = 0
    cached: int = 0
    last: int = -1
    count: int = 0
    done: bool = False

    @property
    def left(self) -> int:
        """Prompt tokens still to be computed."""
        return len(self.prompt) - self.computed

    @property
    def usage(self) -> Usage:
        """Tokens so far: those of the prompt once its computation has begun, and those written."""
        return Usage(len(self.prompt) - self.written, self.written + self.count, self.cached)

    def take(self, model: Model, token: int, logits: Floats) -> tuple[list[Event], FinishReason | None]:
        """Add a token; returns the events it makes, and why the answer ends with it if it does."""
        if token in model.ends:
            return [], "stop"
        self.count += 1
        self.last = token
        logprob = logprob_of(model, logits, token, self.top_logprobs) if self.logprobs else None
        events = self._told(self.text.push(model.pieces[token], logprob), model)
        if self.text.stopped:
            return events, "stop"
        if self.count >= self.max_tokens:
            return events, "length"
        return events, None

    def end(self, reason: FinishReason, *, deadline: bool = False) -> list[Event]:
        """The last events of the answer."""
        rest = self.text.finish()
        spoken, calls = rest, []
        if self.reader is not None:
            first, early = self.reader.push(rest)
            last, late = self.reader.finish()
            spoken, calls = first + last, early + late
            if reason == "stop" and self.reader.calls:
                reason = "tool_calls"
        logprobs = self.text.take_logprobs()
        events: list[Event] = []
        if spoken or calls or logprobs:
            events.append(Delta(spoken, tuple(calls), logprobs))
        events.append(Finished(self.usage, reason, detail={"deadline": True} if deadline else {}))
        return events

    def close(self) -> None:
        """Free the samplers."""
        self.done = True
        self.chooser.close()

    def _told(self, text: str, model: Model) -> list[Event]:
        if self.reader is None:
            logprobs = self.text.take_logprobs() if self.logprobs else ()
            return [Delta(text, (), logprobs)] if text or logprobs else []
        spoken, calls = self.reader.push(text)
        if self.reader.inside and self.call_grammar:
            self._constrain(model)
        logprobs = self.text.take_logprobs() if self.logprobs else ()
        return [Delta(spoken, tuple(calls), logprobs)] if spoken or calls or logprobs else []

    def _constrain(self, model: Model) -> None:
        """The model has begun a call by itself: from here on it must be one that can be read."""
        grammar, self.call_grammar = self.call_grammar, ""
        try:
            constraint = Constraint(model, grammar)
        except InvalidRequest as error:
            log.warning("call_grammar_refused", reason=error.message)
            return
        rest = self.reader.since_tag if self.reader is not None else ""
        if constraint.try_accept(model.tokenize(rest, special=False)):
            self.chooser.constraint = constraint
        else:
            constraint.close()
