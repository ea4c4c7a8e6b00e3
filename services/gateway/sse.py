"""A chat answer as server-sent events, written as raw bytes.

Until the first event nothing is sent, so that a failure still becomes a proper status. After it a failure is an event
`data: {"error": {...}}` that ends the stream; `data: [DONE]` follows complete answers only.

Source: https://html.spec.whatwg.org/multipage/server-sent-events.html
"""

from __future__ import annotations

import asyncio
import contextlib
from contextlib import aclosing

from services.contracts.errors import ComponentUnavailable, InternalError, TurnoutError
from services.contracts.events import Delta, Event, Finished
from services.gateway.answers import (
    ChunkChoiceOut,
    ChunkOut,
    DeltaOut,
    delta_out,
    first_out,
    predicted_cost_usd,
    usage_out,
)
from services.gateway.asking import Asking
from services.gateway.exchange import ENCODER, Exchange, Header, error_json
from services.gateway.gone import ClientGone

DONE = b"data: [DONE]\n\n"
_HEADERS: list[Header] = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),
]


class ChatStream:
    """Writes the events of one answer."""

    def __init__(self, exchange: Exchange, asking: Asking, *, include_usage: bool) -> None:
        self._exchange = exchange
        self._asking = asking
        self._include_usage = include_usage
        self._model = ""

    async def run(self) -> None:
        """Send the whole answer, or its beginning and an error event.

        Raises:
            TurnoutError: it failed before anything was sent.
            ClientGone: nobody is there to be sent anything.
        """
        try:
            await self._send_all()
        except ClientGone:
            raise
        except TurnoutError as error:
            if not self._exchange.status:
                raise
            await self._break_off(error)
            raise
        except asyncio.CancelledError:
            if self._exchange.status:
                with contextlib.suppress(asyncio.CancelledError):
                    await self._break_off(ComponentUnavailable("the gateway is stopping"))
            raise

    async def _send_all(self) -> None:
        finished = False
        async with aclosing(self._asking.events()) as events:  # type: ignore[type-var]  # it is an async generator
            async for event in events:
                opening = b"" if self._exchange.status else await self._open(event)
                if isinstance(event, Delta):
                    await self._exchange.write(opening + self._chunk(delta_out(event)), more=True)
                elif isinstance(event, Finished):
                    finished = True
                    await self._exchange.write(opening + self._ending(event), more=False)
        if not finished:
            raise InternalError("the answer has no end")

    async def _open(self, event: Event) -> bytes:
        """Send the headers; returns the chunk that comes first."""
        decision = await self._asking.decision()
        self._model = self._asking.started.component
        self._exchange.cost_usd = predicted_cost_usd(decision)
        await self._exchange.begin(200, _HEADERS)
        return self._chunk(first_out(event))

    def _chunk(self, choice: ChunkChoiceOut) -> bytes:
        chunk = ChunkOut(f"chatcmpl-{self._exchange.id}", self._asking.created_s, self._model, [choice])
        if self._include_usage:
            chunk = ChunkOut(chunk.id, chunk.created, chunk.model, chunk.choices, usage=None)
        return b"data: " + ENCODER.encode(chunk) + b"\n\n"

    def _ending(self, finished: Finished) -> bytes:
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

    async def _break_off(self, error: TurnoutError) -> None:
        await self._exchange.write(b"data: " + error_json(error) + b"\n\n", more=False)
