"""A response as a stream of events. It ends with `response.completed`, `response.incomplete` or `error`."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

from typing_extensions import override

from services.contracts.errors import InternalError, TurnoutError
from services.contracts.events import Delta, Event, Finished
from services.gateway.asking import Asking
from services.gateway.exchange import ENCODER, Exchange
from services.gateway.responses_events import EVENTS, StreamEvent
from services.gateway.responses_in import in_own_words
from services.gateway.responses_writer import ResponseWriter
from services.gateway.sse import AnswerStream


class ResponseStream(AnswerStream):
    """Writes the events of one response."""

    def __init__(self, exchange: Exchange, asking: Asking, writer: Callable[[Asking], ResponseWriter]) -> None:
        super().__init__(exchange, asking)
        self._make = writer
        self._begun: ResponseWriter | None = None

    @property
    def _writer(self) -> ResponseWriter:
        if self._begun is None:
            raise InternalError("the response has not begun")
        return self._begun

    @override
    def opening(self, event: Event) -> bytes:
        self._begun = self._make(self._asking)
        return _written(self._begun.begin())

    @override
    def piece(self, delta: Delta) -> bytes:
        return _written(self._writer.add(delta))

    @override
    def ending(self, finished: Finished) -> bytes:
        return _written(self._writer.end(finished, self._asking.settle(finished), int(time.time())))

    @override
    def failure(self, error: TurnoutError) -> bytes:
        in_own_words(error)
        return _written(self._writer.fail(error))


_HEADS = {kind: b"event: %b\ndata: " % str(kind.__struct_config__.tag).encode() for kind in EVENTS}


def _written(events: Iterable[StreamEvent]) -> bytes:
    return b"".join(_HEADS[type(event)] + ENCODER.encode(event) + b"\n\n" for event in events)
