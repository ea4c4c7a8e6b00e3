"""A chat answer as chunks. A failure is a chunk `data: {"error": {...}}`; `data: [DONE]` follows complete answers only.

Source: https://platform.openai.com/docs/api-reference/chat-streaming
"""

from __future__ import annotations

from typing_extensions import override

from services.contracts.errors import TurnoutError
from services.contracts.events import Delta, Event, Finished
from services.gateway.answers import ChunkChoiceOut, ChunkOut, DeltaOut, delta_out, first_out, usage_out
from services.gateway.asking import Asking
from services.gateway.exchange import ENCODER, Exchange, error_json
from services.gateway.sse import AnswerStream

DONE = b"data: [DONE]\n\n"


class ChatStream(AnswerStream):
    """Writes the chunks of one answer."""

    def __init__(self, exchange: Exchange, asking: Asking, *, include_usage: bool) -> None:
        super().__init__(exchange, asking)
        self._include_usage = include_usage
        self._model = ""

    @override
    def opening(self, event: Event) -> bytes:
        self._model = self._asking.started.component
        return self._chunk(first_out(event))

    @override
    def piece(self, delta: Delta) -> bytes:
        return self._chunk(delta_out(delta))

    @override
    def ending(self, finished: Finished) -> bytes:
        turnout = self._asking.settle(finished)
        id_, created_s = f"chatcmpl-{self._exchange.id}", self._asking.created_s
        last = [ChunkChoiceOut(DeltaOut(), finished.reason)]
        if self._include_usage:
            chunks = [
                ChunkOut(id_, created_s, self._model, last, usage=None),
                ChunkOut(id_, created_s, self._model, [], usage=usage_out(finished.usage), turnout=turnout),
            ]
        else:
            chunks = [ChunkOut(id_, created_s, self._model, last, turnout=turnout)]
        return b"".join(b"data: " + ENCODER.encode(chunk) + b"\n\n" for chunk in chunks) + DONE

    @override
    def failure(self, error: TurnoutError) -> bytes:
        return b"data: " + error_json(error) + b"\n\n"

    def _chunk(self, choice: ChunkChoiceOut) -> bytes:
        chunk = ChunkOut(f"chatcmpl-{self._exchange.id}", self._asking.created_s, self._model, [choice])
        if self._include_usage:
            chunk = ChunkOut(chunk.id, chunk.created, chunk.model, chunk.choices, usage=None)
        return b"data: " + ENCODER.encode(chunk) + b"\n\n"
