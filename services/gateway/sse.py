"""An answer as server-sent events, written as raw bytes.

Until the first event nothing is sent, so that a failure still becomes a proper status. After it a failure is an event
of the stream, and its last one.

Source: https://html.spec.whatwg.org/multipage/server-sent-events.html
"""

from __future__ import annotations

import asyncio
import contextlib
from abc import ABC, abstractmethod
from contextlib import aclosing

from services.contracts.errors import ComponentUnavailable, InternalError, TurnoutError
from services.contracts.events import Delta, Event, Finished
from services.gateway.answers import predicted_cost_usd
from services.gateway.asking import Asking
from services.gateway.exchange import Exchange, Header
from services.gateway.gone import ClientGone

_HEADERS: list[Header] = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),
]


class AnswerStream(ABC):
    """Writes the events of one answer. What they look like is for the four methods that it lacks."""

    def __init__(self, exchange: Exchange, asking: Asking) -> None:
        self._exchange = exchange
        self._asking = asking

    async def run(self) -> None:
        """Send the whole answer, or its beginning and what ended it.

        Raises:
            TurnoutError: it failed; before anything was sent, or else the client has been told.
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

    @abstractmethod
    def opening(self, event: Event) -> bytes:
        """What comes before the first event."""

    @abstractmethod
    def piece(self, delta: Delta) -> bytes:
        """The next piece."""

    @abstractmethod
    def ending(self, finished: Finished) -> bytes:
        """The end of a good answer, which this settles."""

    @abstractmethod
    def failure(self, error: TurnoutError) -> bytes:
        """The end of an answer that broke off."""

    async def _send_all(self) -> None:
        finished = False
        async with aclosing(self._asking.events()) as events:  # type: ignore[type-var]  # it is an async generator
            async for event in events:
                opening = b"" if self._exchange.status else await self._open(event)
                if isinstance(event, Delta):
                    await self._exchange.write(opening + self.piece(event), more=True)
                elif isinstance(event, Finished):
                    finished = True
                    await self._exchange.write(opening + self.ending(event), more=False)
        if not finished:
            raise InternalError("the answer has no end")

    async def _open(self, event: Event) -> bytes:
        """Send the headers; returns what comes first."""
        decision = await self._asking.decision()
        self._exchange.cost_usd = predicted_cost_usd(decision)
        opening = self.opening(event)
        await self._exchange.begin(200, _HEADERS)
        return opening

    async def _break_off(self, error: TurnoutError) -> None:
        await self._exchange.write(self.failure(error), more=False)
