"""A conversation on its way: what chat and responses do alike, whatever their clients call it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

from services.contracts.messages import ChatRequest, Image
from services.gateway.asking import Asking, check_size
from services.gateway.edge import Edge
from services.gateway.exchange import Exchange
from services.gateway.gone import while_connected
from services.gateway.responses_schema import ResponsesBody
from services.gateway.schema import ChatBody
from services.gateway.translate import ImageAt


@asynccontextmanager
async def conversing(
    edge: Edge,
    exchange: Exchange,
    body: ChatBody | ResponsesBody,
    user: str,
    wanted: Sequence[ImageAt],
    to_request: Callable[[Mapping[str, Image]], ChatRequest],
) -> AsyncIterator[Asking]:
    """The task of a conversation, for as long as its client is there.

    Args:
        user: who asks, where many do under one key.
        wanted: the images of the conversation; they are fetched and checked first, and forgotten at the end.
        to_request: makes the request from them, by their parameters.

    Raises:
        TurnoutError: what ended it.
        ClientGone: the client left.
    """
    stored: list[str] = []
    try:
        async with while_connected(exchange):
            images = await edge.images.take(wanted, exchange.state.gateway, stored) if wanted else {}
            asking = Asking(edge, exchange, to_request(images), body.model, body.turnout, user)
            check_size(edge, asking.task, exchange.body_bytes)
            async with asking:
                yield asking
    finally:
        if stored:
            edge.images.forget(stored)


def user_of(raw: Mapping[str, Any]) -> str:
    """Who asks, in the client's words."""
    named = raw.get("safety_identifier") or raw.get("user")
    return named if isinstance(named, str) else ""
