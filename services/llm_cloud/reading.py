"""Reads an answer as it arrives and says what it means, plain or streamed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from services.contracts.events import Delta, Event
from services.contracts.messages import ChatRequest
from services.llm_cloud.dialect import Dialect
from services.llm_cloud.http import Reply
from services.llm_cloud.sse import SseParser
from services.worker.answer import merged

MAX_ANSWER_BYTES = 16 * 1024 * 1024
MAX_STREAM_BYTES = 128 * 1024 * 1024


class Reading(Protocol):
    """One answer being read."""

    async def more(self) -> Sequence[Event]:
        """The next events; `Finished` is the last of all.

        Raises:
            UpstreamError: it is not the protocol, is over a limit, or was cut off.
            ComponentTimeout: the upstream fell silent.
        """
        ...


class PlainReading:
    """See `Reading`."""

    def __init__(self, reply: Reply, dialect: Dialect, request: ChatRequest) -> None:
        self._reply = reply
        self._dialect = dialect
        self._request = request

    async def more(self) -> Sequence[Event]:
        """See `Reading.more`."""
        parts: list[bytes] = []
        while piece := await self._reply.read(MAX_ANSWER_BYTES):
            parts.append(piece)
        events = self._dialect.answer(b"".join(parts), self._request)
        self._reply.worked()
        return events


class StreamReading:
    """See `Reading`."""

    def __init__(self, reply: Reply, dialect: Dialect, request: ChatRequest) -> None:
        self._reply = reply
        self._reader = dialect.reader(request)
        self._parser = SseParser()

    async def more(self) -> Sequence[Event]:
        """See `Reading.more`. What arrived together leaves together: one message on the bus, not one a token."""
        reader = self._reader
        deltas: list[Event] = []
        while not deltas:
            piece = await self._reply.read(MAX_STREAM_BYTES)
            for event in self._parser.feed(piece):
                delta: Delta | None = reader.take(event)
                if delta is not None:
                    deltas.append(delta)
                if reader.ended:
                    break
            if reader.ended or not piece:
                deltas.append(reader.finish())
        self._reply.worked()
        return merged(deltas)
