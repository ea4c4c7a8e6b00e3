"""Makes a response out of the pieces of a chat answer, and the events that tell of it as it grows. Pure.

Text and refusals are parts of a message, each call is an item of its own. A call ends a message; calls may be written
in turns, so they end with the answer. A response that is not streamed is made in the same way, its events are dropped.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Literal

import msgspec

from services.contracts.errors import TurnoutError
from services.contracts.events import Delta, Finished, FinishReason, ToolCallDelta
from services.gateway.answers import TurnoutOut
from services.gateway.exchange import error_out
from services.gateway.responses_events import (
    ArgumentsAdded,
    ArgumentsDone,
    BrokenOff,
    Completed,
    Created,
    Incomplete,
    InProgress,
    ItemAdded,
    ItemDone,
    PartAdded,
    PartDone,
    RefusalAdded,
    RefusalDone,
    StreamEvent,
    TextAdded,
    TextDone,
    Told,
)
from services.gateway.responses_out import (
    IncompleteOut,
    ItemStatus,
    LogprobOut,
    OutputCall,
    OutputItem,
    OutputMessage,
    OutputPart,
    OutputRefusal,
    OutputText,
    ResponseOut,
    failure_of,
    logprobs_of,
    usage_of,
)

Kind = Literal["text", "refusal"]
_CUT: dict[FinishReason, Literal["max_output_tokens", "content_filter"]] = {
    "length": "max_output_tokens",
    "content_filter": "content_filter",
}


@dataclass(slots=True)
class _Part:
    """A part of a message. All but the last one are whole."""

    kind: Kind
    pieces: list[str] = field(default_factory=list)
    logprobs: list[LogprobOut] = field(default_factory=list)

    def shown(self) -> OutputPart:
        text = "".join(self.pieces)
        return OutputText(text, logprobs=self.logprobs) if self.kind == "text" else OutputRefusal(text)


@dataclass(slots=True)
class _Message:
    id: str
    index: int
    parts: list[_Part] = field(default_factory=list)
    status: ItemStatus = "in_progress"

    def shown(self) -> OutputItem:
        return OutputMessage(self.id, self.status, [part.shown() for part in self.parts])


@dataclass(slots=True)
class _Call:
    id: str = ""
    index: int = 0
    call_id: str = ""
    name: str = ""
    pieces: list[str] = field(default_factory=list)
    placed: bool = False
    status: ItemStatus = "in_progress"

    def shown(self) -> OutputItem:
        return OutputCall(self.id, self.status, self.call_id, self.name, "".join(self.pieces))


class ResponseWriter:
    """Writes one response. `begin`, any number of `add`, then `end` or `fail`."""

    def __init__(self, opened: ResponseOut) -> None:
        self.response = opened
        self._id = opened.id.removeprefix("resp_")
        self._numbers = count()
        self._items: list[_Message | _Call] = []
        self._message: _Message | None = None
        self._calls: dict[int, _Call] = {}
        self._last: _Message | _Call | None = None

    def begin(self) -> list[StreamEvent]:
        """The events before any piece."""
        return [Created(next(self._numbers), self.response), InProgress(next(self._numbers), self.response)]

    def add(self, delta: Delta) -> list[StreamEvent]:
        """The events of a piece."""
        events: list[StreamEvent] = []
        if delta.text or delta.logprobs:
            events += self._say("text", delta.text, logprobs_of(delta.logprobs))
        if delta.refusal:
            events += self._say("refusal", delta.refusal, ())
        for piece in delta.tool_calls:
            events += self._call(piece)
        return events

    def end(self, finished: Finished, turnout: TurnoutOut, ended_s: int) -> list[StreamEvent]:
        """The events at the end. After it `response` is complete."""
        events = [event for call in self._calls.values() if not call.placed for event in self._place(call)]
        if not self._items:
            events += self._say("text", "", ())  # who looks for the text finds it empty
        cut = _CUT.get(finished.reason)
        for item in self._items:
            if item.status == "in_progress":
                events += self._close(item, "incomplete" if cut and item is self._last else "completed")
        self.response = msgspec.structs.replace(
            self.response,
            status="incomplete" if cut else "completed",
            output=[item.shown() for item in self._items],
            usage=usage_of(finished.usage),
            turnout=turnout,
            incomplete_details=IncompleteOut(cut) if cut else None,
            completed_at=None if cut else ended_s,
        )
        last = Incomplete if cut else Completed
        return [*events, last(next(self._numbers), self.response)]

    def fail(self, error: TurnoutError) -> list[StreamEvent]:
        """The events when the answer breaks off."""
        self.response = msgspec.structs.replace(
            self.response, status="failed", output=[item.shown() for item in self._items], error=failure_of(error)
        )
        return [
            BrokenOff(next(self._numbers), self.response),
            Told(next(self._numbers), error.code, error.message, error.param, error_out(error)),
        ]

    def _say(self, kind: Kind, text: str, logprobs: Sequence[LogprobOut]) -> Iterator[StreamEvent]:
        message = self._message
        if message is None:
            message = self._message = _Message(f"msg_{self._id}_{len(self._items)}", len(self._items))
            yield self._added(message)
        self._last = message
        if not message.parts or message.parts[-1].kind != kind:
            if message.parts:
                yield from self._close_part(message)
            message.parts.append(_Part(kind))
            yield PartAdded(*self._at(message), message.parts[-1].shown())
        part = message.parts[-1]
        part.pieces.append(text)
        part.logprobs.extend(logprobs)
        if kind == "refusal":
            yield RefusalAdded(*self._at(message), text)
        elif text or logprobs:
            yield TextAdded(*self._at(message), text, logprobs)

    def _call(self, piece: ToolCallDelta) -> Iterator[StreamEvent]:
        call = self._calls.setdefault(piece.index, _Call())
        call.call_id = call.call_id or piece.id or ""
        call.name = call.name or piece.name or ""
        call.pieces.append(piece.arguments)
        if call.placed:
            self._last = call
            if piece.arguments:
                yield ArgumentsAdded(next(self._numbers), call.id, call.index, piece.arguments)
        elif call.name:  # until it is known, nobody can do anything with the call
            yield from self._place(call)

    def _place(self, call: _Call) -> Iterator[StreamEvent]:
        if self._message is not None:
            yield from self._close(self._message, "completed")
            self._message = None
        call.index = len(self._items)
        call.id = f"fc_{self._id}_{call.index}"
        call.call_id = call.call_id or f"call_{self._id}_{call.index}"
        call.placed, self._last = True, call
        arguments, call.pieces = "".join(call.pieces), []
        yield self._added(call)
        if arguments:
            call.pieces.append(arguments)
            yield ArgumentsAdded(next(self._numbers), call.id, call.index, arguments)

    def _added(self, item: _Message | _Call) -> StreamEvent:
        self._items.append(item)
        return ItemAdded(next(self._numbers), item.index, item.shown())

    def _close(self, item: _Message | _Call, status: ItemStatus) -> Iterator[StreamEvent]:
        if isinstance(item, _Message):
            yield from self._close_part(item)
        else:
            yield ArgumentsDone(next(self._numbers), item.id, item.index, item.name, "".join(item.pieces))
        item.status = status
        yield ItemDone(next(self._numbers), item.index, item.shown())

    def _close_part(self, message: _Message) -> Iterator[StreamEvent]:
        part = message.parts[-1].shown()
        if isinstance(part, OutputText):
            yield TextDone(*self._at(message), part.text, part.logprobs)
        else:
            yield RefusalDone(*self._at(message), part.refusal)
        yield PartDone(*self._at(message), part)

    def _at(self, message: _Message) -> tuple[int, str, int, int]:
        """Number of the event, and where the last part of the message stands."""
        return next(self._numbers), message.id, message.index, len(message.parts) - 1
