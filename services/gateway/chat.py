"""`POST /v1/chat/completions`."""

from __future__ import annotations

from typing import Any

from services.gateway.answers import chat_out
from services.gateway.asking import Asking, check_model, check_size
from services.gateway.body import read_json
from services.gateway.edge import Edge
from services.gateway.exchange import Exchange
from services.gateway.gone import while_connected
from services.gateway.schema import ChatBody, parse
from services.gateway.sse import ChatStream
from services.gateway.translate import ImageAt, contents, to_chat


async def chat(edge: Edge, exchange: Exchange) -> None:
    """Answer a conversation, streamed or whole."""
    raw = await read_json(exchange)
    body = parse(ChatBody, raw)
    check_model(edge, exchange, body.model)
    parts = contents(body)
    wanted = [
        part for content in parts if not isinstance(content, str) for part in content if isinstance(part, ImageAt)
    ]
    stored: list[str] = []
    try:
        async with while_connected(exchange):
            images = await edge.images.take(wanted, exchange.state.gateway, stored) if wanted else {}
            request = to_chat(body, parts, images)
            asking = Asking(edge, exchange, request, body.model, body.turnout, _user(raw))
            check_size(edge, asking.task, exchange.body_bytes)
            async with asking:
                if request.stream:
                    options = body.stream_options
                    include_usage = options is not None and bool(options.include_usage)
                    await ChatStream(exchange, asking, include_usage=include_usage).run()
                    return
                answer = await asking.answer()
        await exchange.respond_json(
            chat_out(exchange.id, asking.created_s, answer.started, answer.deltas, answer.finished, answer.turnout)
        )
    finally:
        if stored:
            edge.images.forget(stored)


def _user(raw: dict[str, Any]) -> str:
    """Who asks, in the client's words, where many do under one key."""
    named = raw.get("safety_identifier") or raw.get("user")
    return named if isinstance(named, str) else ""
