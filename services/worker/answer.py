"""Turns the events of a service into numbered envelopes in the asker's inbox, and one acknowledgement to the router.

Until the first envelope leaves, a failure goes to the router alone, which is then free to try elsewhere. A plain
(not streamed) answer leaves as one envelope at its end, so it stays retryable until then.
"""

from __future__ import annotations

import time

import msgspec

from services.bus.port import Bus
from services.contracts.errors import TurnoutError
from services.contracts.events import Ack, Delta, Envelope, Event, Failed, Started, ToolCallDelta, Usage
from services.contracts.messages import ChatRequest, Task, encode


class Answer:
    """One answer in the making."""

    def __init__(self, bus: Bus, task: Task, router_reply: str, started: Started) -> None:
        self._bus = bus
        self._task = task
        self._router_reply = router_reply
        self._pending: list[Event] = [started]
        self._streamed = isinstance(task.request, ChatRequest) and task.request.stream
        self._seq = 0
        self._begun_s = time.monotonic()
        self.first_event_s: float | None = None

    @property
    def begun(self) -> bool:
        """Whether anything has left for the inbox: from then on nobody else may answer."""
        return self._seq > 0

    async def add(self, event: Event) -> None:
        """Send an event, or keep it for the end when the answer is not streamed."""
        if self.first_event_s is None:
            self.first_event_s = time.monotonic() - self._begun_s
        self._pending.append(event)
        if self._streamed:
            await self._send()

    async def finish(self) -> None:
        """Send what is still here."""
        if self._pending:
            await self._send()

    async def fail(self, error: TurnoutError, usage: Usage) -> None:
        """End with an error, told to the one who can still do something about it."""
        if self.begun:
            self._pending = [Failed(error.to_info(), usage)]
            await self._send()
        elif self._router_reply:
            await self._bus.publish(self._router_reply, encode(Ack(error.to_info(), usage)))

    async def _send(self) -> None:
        envelope = Envelope(self._task.id, self._seq, tuple(merged(self._pending)))
        self._pending = []
        await self._bus.publish(self._task.inbox, encode(envelope))
        self._seq += 1
        if self._seq == 1 and self._router_reply:
            await self._bus.publish(self._router_reply, encode(Ack()))


def merged(events: list[Event]) -> list[Event]:
    """The same events with neighbouring deltas made one. Pure."""
    result: list[Event] = []
    run: list[Delta] = []
    for event in events:
        if isinstance(event, Delta):
            run.append(event)
            continue
        if run:
            result.append(_join(run))
            run = []
        result.append(event)
    if run:
        result.append(_join(run))
    return result


def _join(deltas: list[Delta]) -> Delta:
    if len(deltas) == 1:
        return deltas[0]
    calls: dict[int, ToolCallDelta] = {}
    for piece in (call for delta in deltas for call in delta.tool_calls):
        so_far = calls.get(piece.index)
        calls[piece.index] = piece if so_far is None else _extend(so_far, piece)
    return Delta(
        text="".join(delta.text for delta in deltas),
        tool_calls=tuple(calls[index] for index in sorted(calls)),
        logprobs=tuple(logprob for delta in deltas for logprob in delta.logprobs),
        refusal="".join(delta.refusal for delta in deltas),
    )


def _extend(call: ToolCallDelta, piece: ToolCallDelta) -> ToolCallDelta:
    return msgspec.structs.replace(
        call,
        id=call.id or piece.id,
        name=call.name or piece.name,
        arguments=call.arguments + piece.arguments,
    )
